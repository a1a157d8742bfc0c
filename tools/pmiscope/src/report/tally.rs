//! Counts a profile's samples, in one pass over each core's records, which
//! completes their chains.

use std::collections::HashMap;

use profiler::format::sample::SampleError;
use profiler::format::{ChainEnd, Sample, kind};

use super::Stack;
use crate::chain::{Link, Repair, Repaired};
use crate::profile::Profile;
use crate::symbols::callframe::Callers;

/// Marks an interrupt's link in a stack's key: no return address has this in its upper
/// half.
const INTERRUPTED: u64 = 0x0100_c055_0000_0000;

/// A profile's samples, counted.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Tally {
    /// Which samples are counted.
    pub selection: Selection,
    /// Each core that was asked for.
    pub cores: Vec<CoreTally>,
    /// Every different stack, in the order in which they were first seen.
    pub stacks: Vec<Stack>,
    /// The achieved periods, in ticks, of all samples but each core's first,
    /// whose period began when the core was armed. None where the run has events.
    pub periods: Distribution,
    /// Each of the run's events, in their order.
    pub events: Vec<EventTally>,
    /// The cost of each sample's handler, in ticks, as the next sample reports it; of all
    /// events, whichever are counted.
    pub handler: Distribution,
    /// Records that this version cannot read.
    pub unreadable: u64,
}

/// Which of a profile's samples are counted.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Selection {
    /// Only this core's.
    pub core: Option<u32>,
    /// Only this event's, by its number.
    pub event: Option<u8>,
}

/// An event's samples, counted.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct EventTally {
    pub samples: u64,
    /// Those of them that have an exact address.
    pub exact: u64,
    /// Its achieved periods, in events, but the first of each core.
    pub periods: Distribution,
    by_core: HashMap<u32, OnCore>,
}

/// An event's samples on one core.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
struct OnCore {
    samples: u64,
    /// The most samples of all events from one of its samples, which is left out, to the next.
    most_apart: u64,
}

impl EventTally {
    /// Its samples on this core.
    #[must_use]
    pub fn samples_of(&self, core: u32) -> u64 {
        self.by_core.get(&core).map_or(0, |it| it.samples)
    }

    /// The most samples that this core took, whatever they are of, in a period of the event: its
    /// own one at the end, and those that were lost, included. At least 1.
    #[must_use]
    pub fn most_in_a_period(&self, core: u32) -> u64 {
        self.by_core.get(&core).map_or(1, |it| it.most_apart.max(1))
    }
}

/// A core's samples, counted.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct CoreTally {
    pub core: u32,
    pub samples: u64,
    /// Samples that its sequence numbers say are missing between those that are
    /// there.
    pub gaps: u64,
}

/// Numbers whose smallest, median and largest are reported.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Distribution(Vec<u64>);

impl Distribution {
    /// Smallest, median and largest; `None` without any numbers. The median of
    /// an even number of them is the lower one of the two in the middle.
    #[must_use]
    pub fn summary(&self) -> Option<[u64; 3]> {
        let mut numbers = self.0.clone();
        let middle = numbers.len().checked_sub(1)? / 2;
        let (low, &mut median, high) = numbers.select_nth_unstable(middle);
        let min = low.iter().copied().min().unwrap_or(median);
        let max = high.iter().copied().max().unwrap_or(median);
        Some([min, median, max])
    }
}

impl Tally {
    /// Counts the samples of `selection`.
    /// `callers` are those of the profile's kernel.
    #[must_use]
    pub fn new(profile: &Profile, callers: &Callers, selection: Selection) -> Self {
        let mut tally = Self {
            selection,
            events: vec![EventTally::default(); profile.events().len()],
            ..Self::default()
        };
        let mut known = HashMap::new();
        let is_selected = |&id: &u32| selection.core.is_none_or(|core| core == id);
        for core in (0..profile.cores()).filter(is_selected) {
            tally.count_core(profile, callers, core, selection.event, &mut known);
        }
        tally
    }

    fn count_core(
        &mut self,
        profile: &Profile,
        callers: &Callers,
        core: u32,
        only_event: Option<u8>,
        known: &mut HashMap<Box<[u64]>, usize>,
    ) {
        let repair = Repair {
            callers,
            text: profile.description.text,
        };
        let mut counted = CoreTally {
            core,
            samples: 0,
            gaps: 0,
        };
        let mut numbers = Numbers::default();
        let mut others = 0;
        let mut last = [None; 1 << u8::BITS];
        let mut records = 0;
        let mut key = Vec::new();
        let mut chain = Vec::new();
        profile.for_each_record(core, |record| {
            let sample = match Sample::decode(record) {
                Ok(sample) => sample,
                Err(SampleError::OtherKind(kind::EVENT)) => return,
                Err(_) => {
                    self.unreadable += 1;
                    return;
                }
            };
            numbers.pass(sample.sequence);
            records += 1;
            if sample.sequence != 0 {
                self.handler.0.push(u64::from(sample.handler_cost));
            }
            if only_event.is_some_and(|event| event != sample.event) {
                others += 1;
                return;
            }
            counted.samples += 1;
            let last = &mut last[usize::from(sample.event)];
            let before = last.replace(numbers.0.max(records));
            let apart = before.map(|before| numbers.0.max(records) - before);
            self.count_period(core, &sample, apart);
            let repaired = repair.chain(&sample, &mut chain);
            make_key(core, &sample, &chain, repaired, &mut key);
            match known.get(&key[..]) {
                Some(&index) => self.stacks[index].samples += 1,
                None => {
                    known.insert(key.as_slice().into(), self.stacks.len());
                    self.stacks.push(stack(core, &sample, &chain, repaired));
                }
            }
        });
        counted.gaps = numbers.0.saturating_sub(counted.samples + others);
        self.cores.push(counted);
    }

    /// Counts the achieved period of a sample of `core`, which is so many samples behind the
    /// event's last one there, if it had one.
    fn count_period(&mut self, core: u32, sample: &Sample<'_>, apart: Option<u64>) {
        let event = usize::from(sample.event);
        if let Some(tally) = self.events.get_mut(event) {
            tally.samples += 1;
            tally.exact += u64::from(sample.exact.is_some());
            let on_core = tally.by_core.entry(core).or_default();
            on_core.samples += 1;
            if let Some(apart) = apart {
                on_core.most_apart = on_core.most_apart.max(apart);
                tally.periods.0.push(sample.period);
            }
        } else if self.events.is_empty() && sample.sequence != 0 {
            self.periods.0.push(sample.period);
        }
    }

    /// The samples of all cores that were asked for.
    #[must_use]
    pub fn samples(&self) -> u64 {
        self.cores.iter().map(|core| core.samples).sum()
    }

    /// Samples by how their chains ended, in the order of [`ChainEnd::ALL`].
    #[must_use]
    pub fn chain_ends(&self) -> [(ChainEnd, u64); ChainEnd::ALL.len()] {
        ChainEnd::ALL.map(|end| (end, self.samples_where(|stack| stack.end == end)))
    }

    /// The samples whose stack has a property.
    pub fn samples_where(&self, has: impl Fn(&Stack) -> bool) -> u64 {
        let having = self.stacks.iter().filter(|stack| has(stack));
        having.map(|stack| stack.samples).sum()
    }
}

/// The number of sequence numbers that a core has given out, as far as its records tell.
/// They are modulo 2³²: half of them lie ahead. An overflow in the handler of another one
/// is recorded before it, and has the higher number.
#[derive(Default)]
struct Numbers(u64);

impl Numbers {
    fn pass(&mut self, sequence: u32) {
        #[allow(clippy::cast_possible_truncation)] // modulo 2³²
        let ahead = sequence.wrapping_sub(self.0 as u32);
        if ahead < 1 << 31 {
            self.0 += u64::from(ahead) + 1;
        }
    }
}

/// Writes the key of a stack into `key`: equal stacks have equal keys.
fn make_key(
    core: u32,
    sample: &Sample<'_>,
    chain: &[Link],
    repaired: Repaired,
    key: &mut Vec<u64>,
) {
    key.clear();
    key.push(u64::from(core) | u64::from(sample.task) << 32);
    key.push(u64::from(sample.state.0) | u64::from(repaired.end as u8) << 8);
    // A chain has far fewer places than 2¹⁶.
    let Repaired {
        added,
        doubtful,
        undecided,
        ..
    } = repaired;
    key.push(u64::from(added) | u64::from(doubtful) << 16 | u64::from(undecided) << 32);
    key.push(sample.pc.0);
    // No code is at 0.
    key.push(sample.exact.map_or(0, |exact| exact.0));
    for link in chain {
        match *link {
            Link::Return(address) => key.push(address.0),
            Link::Interrupted { vector, pc } => key.extend([INTERRUPTED | u64::from(vector), pc.0]),
        }
    }
}

fn stack(core: u32, sample: &Sample<'_>, chain: &[Link], repaired: Repaired) -> Stack {
    Stack {
        core,
        task: sample.task,
        state: sample.state,
        pc: sample.pc,
        exact: sample.exact,
        chain: chain.to_vec(),
        end: repaired.end,
        is_repaired: repaired.added > 0,
        is_doubtful: repaired.doubtful > 0,
        is_undecided: repaired.undecided > 0,
        samples: 1,
    }
}
