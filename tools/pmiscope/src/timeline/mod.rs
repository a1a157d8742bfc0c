//! What cores did over time: samples by core and by when they were.

pub mod text;

use std::ops::Range;

use clap::ValueEnum;
use profiler::format::{Clock, State};
use serde::Serialize;

use crate::profile::{Counted, Profile, ReadError, Reading};
use crate::report::Selection;

/// What is shown of each piece of time.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub enum Show {
    /// The share of samples of cores that were not halted
    Busy,
    /// The share of samples that the other options choose
    Selected,
    /// How many samples there are, of the most
    Samples,
    /// The share of samples in user mode
    User,
    /// The share of samples with interrupts off
    InterruptsOff,
}

impl Show {
    /// Whether a sample with this state is shown.
    fn has(self, state: State) -> bool {
        match self {
            Self::Busy => !state.has(State::IDLE),
            Self::Selected | Self::Samples => true,
            Self::User => state.0 & State::RING != 0,
            Self::InterruptsOff => !state.has(State::INTERRUPTS_ON),
        }
    }
}

/// Samples by core and time.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct Timeline {
    /// What is asked of the samples that are shown.
    pub only: Vec<String>,
    #[serde(serialize_with = "name")]
    pub show: Show,
    /// What a tick is.
    pub clock: &'static str,
    /// The time that is shown, in ticks since sampling began, and one column's.
    pub from: u64,
    pub to: u64,
    pub ticks_per_column: u64,
    pub cores: Vec<CoreTimeline>,
    /// All samples that are asked for, shown or not.
    #[serde(skip)]
    pub chosen: u64,
}

/// A core's samples, by the columns of time.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct CoreTimeline {
    pub core: u32,
    /// Those that are shown.
    pub shown: Vec<u64>,
    /// All of this event.
    pub samples: Vec<u64>,
}

fn name<S: serde::Serializer>(show: &Show, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(match show {
        Show::Busy => "busy",
        Show::Selected => "selected",
        Show::Samples => "samples",
        Show::User => "user",
        Show::InterruptsOff => "interrupts-off",
    })
}

impl Timeline {
    /// Counts the samples of a selection in so many columns, at most: those of its core, event and time
    /// are all, those that it asks for beside that are shown. `last` is the time of the last sample.
    ///
    /// # Errors
    ///
    /// Samples cannot be read that were there when the profile was opened.
    pub fn new(
        profile: &Profile,
        (selection, show): (&Selection, Show),
        (columns, last): (u64, u64),
        only: Vec<String>,
    ) -> Result<Self, ReadError> {
        let time = window(selection, last);
        let ticks_per_column = (time.end - time.start).div_ceil(columns.max(1)).max(1);
        let count = (time.end - time.start).div_ceil(ticks_per_column);
        let mut cores = empty(profile, selection, count);
        let is_shown = shown_stacks(profile, show);
        let mut chosen = 0;
        let asked = Selection {
            time: None,
            ..selection.clone()
        };
        profile.for_each_of(
            |core| selection.has_core(core),
            Reading::Times,
            |samples| {
                let mut shown = cores.iter_mut();
                let Some(core) = shown.find(|it| it.core == samples.core) else {
                    return Ok(());
                };
                samples.for_each(|sample| {
                    let &Counted {
                        stack,
                        task,
                        time: at,
                        ..
                    } = sample;
                    if !selection.has_event(sample.event) || !time.contains(&at) {
                        return;
                    }
                    #[allow(clippy::cast_possible_truncation)] // one of the columns
                    let column = ((at - time.start) / ticks_per_column) as usize;
                    core.samples[column] += 1;
                    let is_asked_for = asked.has(stack, task, at);
                    chosen += u64::from(is_asked_for);
                    let is_it = is_shown[stack as usize] && is_asked_for;
                    core.shown[column] += u64::from(is_it);
                })
            },
        )?;
        Ok(Self {
            only,
            show,
            clock: profile.description.clock.name(),
            from: time.start,
            to: time.end,
            ticks_per_column,
            cores,
            chosen,
        })
    }

    /// Returns true if there is no sample.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        let mut samples = self.cores.iter().flat_map(|core| &core.samples);
        samples.all(|&samples| samples == 0)
    }

    /// How long so many ticks are, if that is known.
    fn has_unit(&self) -> bool {
        self.clock != Clock::Ticks.name()
    }

    /// The most samples that a column of a core shows.
    fn most(&self) -> u64 {
        let shown = self.cores.iter().flat_map(|core| &core.shown);
        shown.copied().max().unwrap_or(0)
    }
}

/// The cores of a selection, with so many columns.
fn empty(profile: &Profile, selection: &Selection, columns: u64) -> Vec<CoreTimeline> {
    #[allow(clippy::cast_possible_truncation)] // as many as were asked for at most
    let empty = vec![0; columns as usize];
    let cores = (0..profile.cores()).filter(|&core| selection.has_core(core));
    cores
        .map(|core| CoreTimeline {
            core,
            shown: empty.clone(),
            samples: empty.clone(),
        })
        .collect()
}

/// Which stacks are shown, by their numbers in the profile.
fn shown_stacks(profile: &Profile, show: Show) -> Vec<bool> {
    let stacks = (0..profile.stacks().len()).map(|number| profile.stacks().get(number));
    stacks
        .map(|stack| stack.is_some_and(|stack| show.has(stack.state)))
        .collect()
}

/// The time that is shown: up to the last sample.
fn window(selection: &Selection, last: u64) -> Range<u64> {
    let asked_for = selection.time.clone().unwrap_or(0..u64::MAX);
    let end = asked_for.end.min(last.saturating_add(1));
    asked_for.start.min(end)..end
}
