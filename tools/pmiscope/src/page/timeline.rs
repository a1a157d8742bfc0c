//! When the samples were: each core's, counted in steps of time that are equal for all.

use anyhow::Result;

use super::rows::{Doing, Finder, Rows};
use crate::export::Export;
use crate::export::samples::Weighted;

/// The most steps: more than a screen has columns that a person can tell apart.
const MOST_STEPS: usize = 1024;
/// So many steps there are, if there is time for them, whatever they take.
const FEW_STEPS: usize = 128;
/// The most counts of all steps. A page opens within a second with so many.
const MOST_COUNTS: usize = 1_500_000;

/// The samples of a profile by core, time and row.
pub(super) struct Timeline {
    pub rows: Rows,
    /// Where the first step starts, and how long each is, in ticks; `None` if it is not known when
    /// samples were. There is one step then.
    pub start: Option<u64>,
    pub shift: u32,
    pub cores: Vec<Core>,
    /// What the cores did in shorter steps, where those have too many counts: `None` if they are all
    /// there.
    pub lanes: Option<Lanes>,
}

/// What cores did in steps of time, in numbers alone.
pub(super) struct Lanes {
    /// A step of the timeline is so many of these, as a logarithm.
    pub shorter: u32,
    /// Of each core where its first step is, and its steps: samples by [`Doing`].
    pub cores: Vec<(u64, Vec<[u64; Doing::ALL]>)>,
}

impl Lanes {
    fn new(cores: &[Core], rows: &Rows) -> Self {
        let of_step = |step: &Step| {
            let mut sums = [0; Doing::ALL];
            for &(row, samples) in &step.counts {
                sums[rows.doing(row)] += samples;
            }
            sums
        };
        let of_core = |core: &Core| (core.first, core.steps.iter().map(of_step).collect());
        Self {
            shorter: 0,
            cores: cores.iter().map(of_core).collect(),
        }
    }
}

/// A core's samples.
#[derive(Default)]
pub(super) struct Core {
    /// The first step's number.
    first: u64,
    shift: u32,
    steps: Vec<Step>,
    /// The counts of the step that is not over.
    open: Vec<u64>,
    touched: Vec<u32>,
    lost: u64,
}

/// What a core did in a step of time.
#[derive(Default)]
pub(super) struct Step {
    /// Rows, ascending, and the samples of each.
    pub counts: Vec<(u32, u64)>,
    /// Samples that were lost.
    pub lost: u64,
}

impl Step {
    /// The same of both.
    fn merge(self, later: Self) -> Self {
        if self.counts.is_empty() || later.counts.is_empty() {
            let mut counts = self.counts;
            counts.extend(later.counts);
            let lost = self.lost + later.lost;
            return Self { counts, lost };
        }
        let mut counts = Vec::with_capacity(self.counts.len().max(later.counts.len()));
        let mut left = self.counts.into_iter().peekable();
        let mut right = later.counts.into_iter().peekable();
        loop {
            let is_left = match (left.peek(), right.peek()) {
                (None, None) => break,
                (Some(_), None) => true,
                (None, Some(_)) => false,
                (Some(a), Some(b)) if a.0 == b.0 => {
                    let later = right.next().map_or(0, |it| it.1);
                    counts.extend(left.next().map(|(row, samples)| (row, samples + later)));
                    continue;
                }
                (Some(a), Some(b)) => a.0 < b.0,
            };
            counts.extend(if is_left { left.next() } else { right.next() });
        }
        Self {
            counts,
            lost: self.lost + later.lost,
        }
    }
}

impl Core {
    fn add(&mut self, time: u64, lost_before: u32, row: Option<u32>, samples: u64) {
        self.advance(time);
        self.lost += u64::from(lost_before);
        let Some(row) = row else { return };
        let place = row as usize;
        if place >= self.open.len() {
            self.open.resize(place + 1, 0);
        }
        if self.open[place] == 0 {
            self.touched.push(row);
        }
        self.open[place] += samples;
    }

    /// Makes the step of this time the open one.
    fn advance(&mut self, time: u64) {
        if self.steps.is_empty() {
            self.first = time >> self.shift;
            self.steps.push(Step::default());
            return;
        }
        // A core's samples are in the order of time, but for those that interrupt each other.
        let step = |core: &Self| (time >> core.shift).saturating_sub(core.first);
        let last = (self.steps.len() - 1) as u64;
        if step(self) <= last {
            return;
        }
        self.close();
        while step(self) >= MOST_STEPS as u64 {
            self.double();
        }
        let last = (self.steps.len() - 1) as u64;
        for _ in last..step(self) {
            self.steps.push(Step::default());
        }
        // Of a step that was doubled the later half may be still to come.
        let open = self
            .steps
            .last_mut()
            .map(std::mem::take)
            .unwrap_or_default();
        self.lost = open.lost;
        for (row, samples) in open.counts {
            self.open[row as usize] = samples;
            self.touched.push(row);
        }
    }

    /// Writes the open step down.
    fn close(&mut self) {
        self.touched.sort_unstable();
        let counts = self.touched.drain(..);
        let open = &mut self.open;
        let counts = counts.map(|row| (row, std::mem::take(&mut open[row as usize])));
        let counts = counts.collect();
        let lost = std::mem::take(&mut self.lost);
        if let Some(step) = self.steps.last_mut() {
            *step = Step { counts, lost };
        }
    }

    /// Makes each step twice as long. None is open.
    fn double(&mut self) {
        let mut steps = Vec::with_capacity(self.steps.len() / 2 + 1);
        let mut old = std::mem::take(&mut self.steps).into_iter();
        if self.first % 2 == 1 {
            steps.extend(old.next());
        }
        while let Some(step) = old.next() {
            steps.push(match old.next() {
                Some(later) => step.merge(later),
                None => step,
            });
        }
        self.steps = steps;
        self.first /= 2;
        self.shift += 1;
    }

    /// The steps, from the run's first on.
    pub(super) fn steps(&self, first: u64) -> impl Iterator<Item = (u64, &Step)> {
        // A core without samples has no first step.
        (self.first.saturating_sub(first)..).zip(&self.steps)
    }

    fn end(&self) -> u64 {
        self.first + self.steps.len() as u64
    }
}

impl Timeline {
    /// That of an export.
    ///
    /// # Errors
    ///
    /// Samples cannot be read.
    pub(super) fn new(export: &Export<'_>) -> Result<Self> {
        let mut finder = Finder::new(export);
        let mut cores: Vec<Core> = Vec::new();
        cores.resize_with(export.profile.cores() as usize, Core::default);
        let has_times = !export.profile.keeps_chains();
        let mut add = |sample: &Weighted, time, lost_before| {
            let row = finder.row(sample);
            cores[sample.core as usize].add(time, lost_before, row, sample.samples);
        };
        if has_times {
            export.for_each_of_cores(|seen| add(&seen.sample, seen.time, seen.lost_before))?;
        } else {
            export
                .counted()?
                .iter()
                .for_each(|sample| add(sample, 0, 0));
        }
        cores.iter_mut().for_each(Core::close);
        let shift = make_alike(&mut cores);
        let mut timeline = Self {
            rows: finder.finish(),
            start: None,
            shift,
            cores,
            lanes: None,
        };
        while timeline.steps() > FEW_STEPS && timeline.counts() > MOST_COUNTS {
            let new = || Lanes::new(&timeline.cores, &timeline.rows);
            let mut lanes = timeline.lanes.take().unwrap_or_else(new);
            lanes.shorter += 1;
            timeline.lanes = Some(lanes);
            timeline.cores.iter_mut().for_each(Core::double);
            timeline.shift += 1;
        }
        timeline.start = has_times.then(|| timeline.first() << timeline.shift);
        Ok(timeline)
    }

    /// The number of the first step of all cores.
    pub(super) fn first(&self) -> u64 {
        let seen = self.cores.iter().filter(|core| !core.steps.is_empty());
        seen.map(|core| core.first).min().unwrap_or(0)
    }

    /// The number of steps.
    pub(super) fn steps(&self) -> usize {
        let end = self.cores.iter().map(Core::end).max().unwrap_or(0);
        usize::try_from(end.saturating_sub(self.first())).unwrap_or(usize::MAX)
    }

    /// The number of counts.
    pub(super) fn counts(&self) -> usize {
        let steps = self.cores.iter().flat_map(|core| &core.steps);
        steps.map(|step| step.counts.len()).sum()
    }
}

/// Gives all cores steps of one length, and not too many. Returns its logarithm.
fn make_alike(cores: &mut [Core]) -> u32 {
    loop {
        let seen = || cores.iter().filter(|core| !core.steps.is_empty());
        let shift = seen().map(|core| core.shift).max().unwrap_or(0);
        let is_alike = seen().all(|core| core.shift == shift);
        let first = seen().map(|core| core.first).min().unwrap_or(0);
        let end = seen().map(Core::end).max().unwrap_or(0);
        if is_alike && end - first <= MOST_STEPS as u64 {
            return shift;
        }
        for core in cores.iter_mut().filter(|core| !core.steps.is_empty()) {
            while core.shift < shift || (is_alike && core.shift == shift) {
                core.double();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn core_of(samples: &[(u64, u32)]) -> Core {
        let mut core = Core::default();
        for &(time, row) in samples {
            core.add(time, 1, Some(row), 2);
        }
        core.close();
        core
    }

    #[test]
    fn steps_double_until_all_fit() {
        let mut core = core_of(&[(5, 0), (5, 1), (5, 0), (5 + 1024, 1)]);
        assert_eq!(core.shift, 1);
        let of = |core: &Core| {
            let steps = core.steps(0).filter(|(_, step)| !step.counts.is_empty());
            let steps = steps.map(|(number, step)| (number, step.counts.clone(), step.lost));
            steps.collect::<Vec<_>>()
        };
        assert_eq!(
            of(&core),
            [(2, vec![(0, 4), (1, 2)], 3), (514, vec![(1, 2)], 1)]
        );
        core.double();
        assert_eq!(
            of(&core),
            [(1, vec![(0, 4), (1, 2)], 3), (257, vec![(1, 2)], 1)]
        );
    }

    proptest! {
        #[test]
        fn every_sample_is_in_the_step_of_its_time(
            mut samples in prop::collection::vec((0..1_000_000_u64, 0..5_u32), 1..200),
        ) {
            samples.sort_unstable();
            let core = core_of(&samples);
            prop_assert!(core.steps.len() <= MOST_STEPS);
            for (number, step) in core.steps(0) {
                let here = samples.iter().filter(|(time, _)| time >> core.shift == number);
                prop_assert_eq!(step.lost, here.clone().count() as u64);
                for row in 0..5 {
                    let count = here.clone().filter(|it| it.1 == row).count() as u64 * 2;
                    let found = step.counts.iter().find(|it| it.0 == row).map_or(0, |it| it.1);
                    prop_assert_eq!(found, count);
                }
                prop_assert!(step.counts.is_sorted_by(|a, b| a.0 < b.0));
            }
        }

        #[test]
        fn cores_have_steps_of_one_length(
            times in prop::collection::vec(prop::collection::vec(0..3_000_000_u64, 0..20), 1..4),
        ) {
            let mut cores: Vec<Core> = Vec::new();
            for times in &times {
                let mut times: Vec<_> = times.iter().map(|&time| (time, 0)).collect();
                times.sort_unstable();
                cores.push(core_of(&times));
            }
            let shift = make_alike(&mut cores);
            let all: u64 = times.iter().map(|of| of.len() as u64 * 2).sum();
            let timeline = Timeline { rows: Rows::default(), start: None, shift, cores, lanes: None };
            prop_assert!(timeline.steps() <= MOST_STEPS);
            let steps = timeline.cores.iter().flat_map(|core| core.steps(timeline.first()));
            let found: u64 = steps.flat_map(|(_, step)| &step.counts).map(|it| it.1).sum();
            prop_assert_eq!(found, all);
        }
    }
}
