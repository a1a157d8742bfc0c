//! The samples of an export: in the order of time, or counted by what they have in common.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use anyhow::Result;
use profiler::format::{Clock, Sample};

use super::Export;
use crate::profile::{Profile, Reading, Timed};
use crate::report::Tally;
use crate::report::event::AIMED;
use crate::report::model::{task_name, task_of};
use crate::report::tally::SampleKey;

/// A sample, or several that nothing tells apart.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Weighted {
    pub core: u32,
    pub task: u16,
    /// Its place in [`Events`].
    pub event: usize,
    /// The number of its stack in the profile.
    pub stack: u32,
    pub samples: u64,
}

/// The same with when it was, and whether samples before it on its core were lost.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct InTime {
    pub sample: Weighted,
    /// In ticks of the run, never less than that of the one before.
    pub time: u64,
    pub lost_before: u32,
}

/// What samples are of.
pub(crate) struct Events {
    /// Those of the run, of which some may be without a sample.
    pub all: Vec<Event>,
    /// Where those of the profile are in `all`, by their numbers, and behind them that of aims.
    places: Vec<usize>,
}

/// What a sample is of.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Event {
    pub name: String,
    /// What lies between two samples.
    pub period: u64,
    pub samples: u64,
}

impl Events {
    /// Those of the samples that a tally counts.
    pub(crate) fn new(profile: &Profile, tally: &Tally) -> Self {
        let selection = &tally.selection;
        // Overflows beside those of the period, which have none.
        let aimed = Some(Event::new(AIMED, 1)).filter(|_| selection.has_event(Sample::AIMED));
        let mut events = Self {
            all: Vec::new(),
            places: Vec::new(),
        };
        for (number, event) in of_run(profile).into_iter().enumerate() {
            events.places.push(events.all.len());
            if u8::try_from(number).is_ok_and(|number| selection.has_event(number)) {
                events.all.push(event);
            }
        }
        events.places.push(events.all.len());
        events.all.extend(aimed);
        for (event, samples) in tally.event_numbers() {
            let place = events.place(event);
            events.all[place].samples += samples;
        }
        events
    }

    /// The places of those that have samples; of the first one, if none has.
    pub(crate) fn seen(&self) -> Vec<usize> {
        let seen: Vec<_> = (0..self.all.len())
            .filter(|&place| self.all[place].samples > 0)
            .collect();
        if seen.is_empty() { vec![0] } else { seen }
    }

    /// The place of an event's number.
    fn place(&self, event: u8) -> usize {
        let aimed = self.places.len() - 1;
        let number = match event {
            Sample::AIMED => aimed,
            _ => usize::from(event).min(aimed - 1),
        };
        self.places[number]
    }
}

impl Event {
    fn new(name: &str, period: u64) -> Self {
        Self {
            name: name.to_owned(),
            period: period.max(1),
            samples: 0,
        }
    }
}

/// What a run's samples are of by their numbers.
fn of_run(profile: &Profile) -> Vec<Event> {
    let run = &profile.description;
    if profile.events().is_empty() {
        let name = match run.clock {
            Clock::Instructions => "instructions",
            Clock::Time => "time",
            Clock::Ticks => "ticks",
        };
        return vec![Event::new(name, run.period)];
    }
    let events = profile.events().iter();
    events
        .map(|event| Event::new(event.name.as_str(), event.period))
        .collect()
}

impl Export<'_> {
    /// Calls `each` with every sample, in the order of time. Where equal chains were counted in
    /// place there is no such order: each chain stands once, and a core's follow each other as
    /// if they had come so.
    ///
    /// # Errors
    ///
    /// Samples cannot be read; those of `each`.
    pub(crate) fn for_each_in_time(
        &self,
        mut each: impl FnMut(&InTime) -> Result<()>,
    ) -> Result<()> {
        if self.profile.keeps_chains() {
            return self.chains_in_turn()?.iter().try_for_each(each);
        }
        let mut cores = self.profile.samples_of_cores()?;
        let mut next: Vec<Option<Timed>> = Vec::new();
        let mut waiting = BinaryHeap::new();
        for core in &mut cores {
            let first = core.next_timed()?;
            waiting.extend(first.map(|it| Reverse((it.time, it.core))));
            next.push(first);
        }
        let mut expected = vec![0_u32; cores.len()];
        let mut now = 0;
        while let Some(Reverse((_, number))) = waiting.pop() {
            let number = number as usize;
            let Some(seen) = next[number] else { continue };
            next[number] = cores[number].next_timed()?;
            waiting.extend(next[number].map(|it| Reverse((it.time, it.core))));
            let lost_before = lost(&mut expected[number], seen.sequence);
            now = seen.time.max(now);
            let selection = &self.tally.selection;
            if selection.has_event(seen.event)
                && selection.has_core(seen.core)
                && selection.has(seen.stack, seen.task, seen.time)
            {
                each(&InTime {
                    sample: self.weighted(seen.core, (seen.stack, seen.task, seen.event), 1),
                    time: now,
                    lost_before,
                })?;
            }
        }
        Ok(())
    }

    /// Calls `each` with every sample, each core's in the order of time, but the cores in any: it
    /// takes less than [`Self::for_each_in_time`]. The run has kept that order.
    ///
    /// # Errors
    ///
    /// Samples cannot be read.
    pub(crate) fn for_each_of_cores(&self, mut each: impl FnMut(&InTime)) -> Result<()> {
        let selection = &self.tally.selection;
        let mut expected = vec![0_u32; self.profile.cores() as usize];
        self.profile.for_each_of(
            |core| selection.has_core(core),
            Reading::Times,
            |samples| {
                let core = samples.core;
                let expected = &mut expected[core as usize];
                samples.for_each(|seen| {
                    let lost_before = lost(expected, seen.sequence);
                    if selection.has_event(seen.event)
                        && selection.has(seen.stack, seen.task, seen.time)
                    {
                        each(&InTime {
                            sample: self.weighted(core, (seen.stack, seen.task, seen.event), 1),
                            time: seen.time,
                            lost_before,
                        });
                    }
                })
            },
        )?;
        Ok(())
    }

    /// The number of the task of a sample's.
    pub(crate) fn task_of(&self, number: u16) -> u16 {
        task_of(&self.profile.description, number)
    }

    /// The chains of a run that kept no order, each core's by stack.
    fn chains_in_turn(&self) -> Result<Vec<InTime>> {
        let mut clocks = vec![0_u64; self.profile.cores() as usize];
        let mut all: Vec<_> = self.counted()?;
        all.sort_by_key(|it| (it.core, it.event, it.task, it.stack));
        let in_turn = all.into_iter().map(|sample| {
            let clock = &mut clocks[sample.core as usize];
            let time = *clock;
            let period = self.events.all[sample.event].period;
            *clock = time.saturating_add(period.saturating_mul(sample.samples));
            InTime {
                sample,
                time,
                lost_before: 0,
            }
        });
        let mut in_turn: Vec<_> = in_turn.collect();
        in_turn.sort_by_key(|it| (it.time, it.sample.core));
        Ok(in_turn)
    }

    /// The samples by all that is known of them but when they were: in an order that repeats.
    ///
    /// # Errors
    ///
    /// Samples cannot be read.
    pub(crate) fn counted(&self) -> Result<Vec<Weighted>> {
        let counts = self.tally.counted_by(self.profile, |of| of)?.into_counts();
        let counts = counts.map(|((SampleKey { core, task, event }, stack), samples)| {
            ((core, stack, task, event), samples)
        });
        let mut all: Vec<_> = counts.collect();
        all.sort_unstable();
        let weighted = |((core, stack, task, event), samples)| {
            self.weighted(core, (stack, task, event), samples)
        };
        Ok(all.into_iter().map(weighted).collect())
    }

    fn weighted(&self, core: u32, (stack, task, event): (u32, u16, u8), samples: u64) -> Weighted {
        Weighted {
            core,
            task,
            event: self.events.place(event),
            stack,
            samples,
        }
    }

    /// The tasks that ran, with their names.
    pub(crate) fn tasks(&self) -> impl Iterator<Item = (u16, String)> {
        let tasks = self.tally.tasks();
        tasks.map(|(task, _)| (task, task_name(&self.profile.description, task)))
    }
}

/// How many sequence numbers are missing before this one.
fn lost(expected: &mut u32, sequence: u32) -> u32 {
    let ahead = sequence.wrapping_sub(*expected);
    // A nested overflow is recorded before the one that it has interrupted.
    if ahead >= 1 << 31 {
        return 0;
    }
    *expected = sequence.wrapping_add(1);
    ahead
}
