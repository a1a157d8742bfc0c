//! Samples are counted column by column where they are alike, and one by one where they are not:
//! compared with what counting them one by one, as they came, has to say.

use std::collections::BTreeMap;

use pmiscope::internals::Profile;
use pmiscope::internals::report::{Selection, Tally};
use pmiscope::profile::{Head, Writer};
use pmiscope::symbols::Symbols;
use profiler::format::Description;
use proptest::prelude::*;

use crate::fixture::{Seen, description, host, kernel, run_end, two_events};

/// What is counted of a run's samples.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
struct Counts {
    /// Of each core: its number, the samples, how many are missing between them.
    cores: Vec<(u32, u64, u64)>,
    handler: Option<[u64; 3]>,
    periods: Option<[u64; 3]>,
    events: Vec<OfEvent>,
    stacks: BTreeMap<(u64, Option<u64>), u64>,
    tasks: BTreeMap<u16, u64>,
}

/// What is counted of an event's samples.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
struct OfEvent {
    samples: u64,
    /// Those with an exact address.
    exact: u64,
    periods: Option<[u64; 3]>,
    /// Of each core the samples, and the most in a period.
    cores: [(u64, u64); 2],
}

impl Counts {
    fn of(tally: &Tally) -> Self {
        let mut stacks = BTreeMap::new();
        for stack in tally.stacks() {
            let exact = stack.exact.map(|exact| exact.0);
            *stacks.entry((stack.pc.0, exact)).or_default() += stack.samples;
        }
        let cores = tally.cores.iter();
        let events = tally.events.iter().map(|event| {
            let of_core = |core| (event.samples_of(core), event.most_in_a_period(core));
            OfEvent {
                samples: event.samples,
                exact: event.exact,
                periods: event.periods.summary(),
                cores: [of_core(0), of_core(1)],
            }
        });
        Self {
            cores: cores.map(|it| (it.core, it.samples, it.gaps)).collect(),
            handler: tally.handler.summary(),
            periods: tally.periods.summary(),
            events: events.collect(),
            stacks,
            tasks: tally.tasks().collect(),
        }
    }

    /// What counting one by one says.
    fn expected(cores: &[Vec<Seen>; 2], selection: &Selection, events: usize) -> Self {
        let mut counts = Self::default();
        let (mut handler, mut periods) = (Vec::new(), Vec::new());
        let mut of_events = vec![OfEvent::default(); events];
        let mut of_periods = vec![Vec::new(); events];
        of_events
            .iter_mut()
            .for_each(|event| event.cores = [(0, 1); 2]);
        for (core, samples) in (0..).zip(cores) {
            if !selection.cores.has(core) {
                continue;
            }
            let (mut given_out, mut seen, mut counted) = (0_u64, 0, 0);
            let mut last = [None; 2];
            for sample in samples {
                #[allow(clippy::cast_possible_truncation)] // modulo 2³²
                let ahead = sample.sequence.wrapping_sub(given_out as u32);
                given_out += if ahead < 1 << 31 {
                    u64::from(ahead) + 1
                } else {
                    0
                };
                seen += 1;
                if sample.sequence != 0 {
                    handler.push(sample.handler_cost.into());
                }
                if !selection.events.has(sample.event) {
                    continue;
                }
                counted += 1;
                let now = given_out.max(seen);
                let before = last[usize::from(sample.event)].replace(now);
                let number = usize::from(sample.event);
                if let Some(event) = of_events.get_mut(number) {
                    event.samples += 1;
                    event.exact += u64::from(sample.exact.is_some());
                    of_periods[number].extend(before.map(|_| sample.period));
                    let (samples, most) = &mut event.cores[core as usize];
                    *samples += 1;
                    *most = before.map_or(*most, |before| (*most).max(now - before));
                } else if sample.sequence != 0 {
                    periods.push(sample.period);
                }
                let place = (sample.pc.0, sample.exact.map(|exact| exact.0));
                *counts.stacks.entry(place).or_default() += 1;
                *counts.tasks.entry(sample.task).or_default() += 1;
            }
            counts
                .cores
                .push((core, counted, given_out.saturating_sub(seen)));
        }
        counts.handler = summary(handler);
        counts.periods = summary(periods);
        for (event, periods) in of_events.iter_mut().zip(of_periods) {
            event.periods = summary(periods);
        }
        counts.events = of_events;
        counts
    }
}

fn summary(mut numbers: Vec<u64>) -> Option<[u64; 3]> {
    numbers.sort_unstable();
    let median = *numbers.get((numbers.len().max(1) - 1) / 2)?;
    Some([numbers[0], median, numbers[numbers.len() - 1]])
}

/// A profile of these samples, a block for each so many of them, the cores in turn.
fn profile_of(description: &Description, cores: &[Vec<Seen>; 2], block: usize) -> Profile {
    let host = host();
    let head = Head {
        description,
        host: &host,
        kernel: &kernel().elf,
    };
    let mut writer = Writer::new(Vec::new(), &head).unwrap();
    let most = cores.iter().map(Vec::len).max().unwrap_or(0);
    for index in 0..most {
        for (core, samples) in (0..).zip(cores) {
            if let Some(sample) = samples.get(index) {
                writer.record(core, &sample.record()).unwrap();
            }
        }
        if (index + 1) % block == 0 {
            writer.flush().unwrap();
        }
    }
    let mut end = run_end();
    for (core, samples) in end.cores.iter_mut().zip(cores) {
        core.stored = samples.len() as u64;
    }
    Profile::read(writer.finish(&end).unwrap()).unwrap()
}

/// A core's samples. Where they are alike, each has the number that follows, and all are of one event.
fn samples(is_alike: bool) -> impl Strategy<Value = Vec<Seen>> {
    // Behind the second, 2³² are given out soon: one has the number 0 once more.
    let starts = [vec![0], vec![3], vec![(1 << 31) - 1, u32::MAX - 3]];
    let one = (
        0..10_u32,
        0..2_u8,
        0..3_usize,
        0..3_u16,
        0..5_u64,
        any::<bool>(),
    );
    let all = prop::collection::vec(one, 0..30);
    (prop::sample::select(starts.to_vec()), all).prop_map(move |(start, all)| {
        let mut start = start.into_iter();
        let mut next = 0_u32;
        let seen = all
            .into_iter()
            .map(|(gap, event, place, task, more, is_exact)| {
                let sequence = match (start.next(), gap) {
                    (Some(number), _) => number,
                    (None, 0) if !is_alike => next.wrapping_add(3),
                    // It was recorded before the one that it came behind.
                    (None, 1) if !is_alike => next.wrapping_sub(2),
                    (None, _) => next,
                };
                next = sequence.wrapping_add(1);
                let pc = kernel().at(["in_hash", "in_idle", "in_middle"][place]);
                Seen {
                    event: if is_alike { 0 } else { event },
                    task,
                    period: if gap == 2 { 1 << 20 } else { 100 + more },
                    handler_cost: 300 + gap,
                    exact: (is_exact && place == 0).then_some(pc),
                    ..Seen::new(sequence, pc, &[kernel().return_to("in_idle")])
                }
            });
        seen.collect()
    })
}

proptest! {
    #[test]
    fn samples_are_counted_as_if_one_by_one(
        (cores, has_events) in any::<[bool; 3]>().prop_flat_map(|[first, second, has_events]| {
            ([samples(first), samples(second)], Just(has_events))
        }),
        block in 1..12_usize,
    ) {
        let run = if has_events { two_events() } else { description() };
        let mut cores = cores;
        if !has_events {
            cores.iter_mut().flatten().for_each(|sample| sample.event = 0);
        }
        let profile = profile_of(&run, &cores, block);
        prop_assert_eq!(profile.incomplete(), None);
        let symbols = Symbols::without_elf();
        for core in [None, Some(1)] {
            for event in [None, Some(0), Some(1)] {
                let selection = Selection {
                    cores: core.into_iter().collect(),
                    events: event.into_iter().collect(),
                    ..Selection::default()
                };
                let tally = Tally::with_costs(&profile, symbols.callers(), selection.clone()).unwrap();
                let events = profile.events().len();
                let expected = Counts::expected(&cores, &selection, events);
                prop_assert_eq!(Counts::of(&tally), expected.clone());
                let tally = Tally::new(&profile, symbols.callers(), selection).unwrap();
                let without_costs = Counts { handler: None, ..expected };
                prop_assert_eq!(Counts::of(&tally), without_costs);
            }
        }
    }
}

/// What is said of a run by the samples of a core, such as how exact periods are, is not said by those
/// that somebody chooses.
#[test]
fn a_core_has_all_its_samples_whichever_are_chosen() {
    let pc = kernel().at("in_hash");
    let seen = (0..10).map(|sequence| Seen {
        task: u16::from(sequence == 4),
        ..Seen::new(sequence, pc, &[])
    });
    let run = two_events();
    let profile = profile_of(&run, &[seen.collect(), Vec::new()], 4);
    let symbols = Symbols::without_elf();
    let of_task = Selection {
        tasks: Some((0..=u16::MAX).map(|task| task == 1).collect()),
        ..Selection::default()
    };
    let of_time = Selection {
        time: Some(0..1),
        ..Selection::default()
    };
    for selection in [of_task, of_time] {
        let tally = Tally::with_costs(&profile, symbols.callers(), selection).unwrap();
        assert!(tally.samples() < 10);
        let event = &tally.events[0];
        assert_eq!(event.samples, tally.samples());
        assert_eq!((event.samples_of(0), event.most_in_a_period(0)), (10, 1));
    }
}
