//! What is asked of the stacks of samples: what the processor was doing, whose the code was, which
//! functions it came through.

use std::rc::Rc;

use profiler::format::State;

use super::matching::Matching;
use super::processes;
use super::{Pattern, Stack, Tally};
use crate::symbols::Symbols;

/// What is asked of a stack; all of it has to hold.
#[derive(Clone, Default, Debug)]
pub struct StackFilter {
    /// Whether the code was in user mode.
    pub user: Option<bool>,
    /// Interrupts were off.
    pub interrupts_off: bool,
    /// Whether the core was halted.
    pub idle: Option<bool>,
    /// Whose processes it was, in their own code or in the kernel's on their behalf: the numbers that
    /// their addresses have.
    pub processes: Option<Vec<u16>>,
    /// Each has to match some frame.
    pub filter: Vec<Pattern>,
    /// None may match a frame.
    pub exclude: Vec<Pattern>,
    /// A function that has to be there: of this whole name, or else of any that match.
    pub focus: Option<Pattern>,
}

impl StackFilter {
    /// Returns true if nothing is asked.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        let has_state = self.user.is_some() || self.interrupts_off || self.idle.is_some();
        !has_state && self.processes.is_none() && !self.has_patterns()
    }

    fn has_patterns(&self) -> bool {
        !self.filter.is_empty() || !self.exclude.is_empty() || self.focus.is_some()
    }

    /// The function that is none of those there are, and why it is no expression either.
    #[must_use]
    pub fn unknown(&self, tally: &Tally, symbols: &Symbols) -> Option<(&Pattern, &str)> {
        let focus = self.focus.as_ref()?;
        let problem = focus.problem()?;
        (!Matching::is_named(focus, tally, symbols)).then_some((focus, problem))
    }

    /// Which of a profile's stacks, by their numbers there, are asked for. `tally` is of all samples
    /// that may be, and its addresses are resolved; `stacks` is how many the profile has.
    #[must_use]
    pub fn marks(&self, tally: &Tally, symbols: &Symbols, stacks: usize) -> Rc<[bool]> {
        let mut is_asked_for: Vec<bool> = tally.stacks().map(|it| self.has_state(&it)).collect();
        let mut and = |other: Vec<bool>, expected: bool| {
            for (mark, other) in is_asked_for.iter_mut().zip(other) {
                *mark &= other == expected;
            }
        };
        if let Some(numbers) = &self.processes {
            let of_stacks = processes::by_stack(tally);
            let is_one = |(_, number): (_, Option<u16>)| {
                number.is_some_and(|number| numbers.contains(&number))
            };
            and(of_stacks.map(is_one).collect(), true);
        }
        for pattern in &self.filter {
            and(
                Matching::new(pattern, tally, symbols).stacks(tally, symbols),
                true,
            );
        }
        for pattern in &self.exclude {
            and(
                Matching::new(pattern, tally, symbols).stacks(tally, symbols),
                false,
            );
        }
        if let Some(focus) = &self.focus {
            let matching = Matching::of_function(focus, tally, symbols);
            and(matching.stacks(tally, symbols), true);
        }
        let mut marks = vec![false; stacks];
        for ((number, _), mark) in tally.numbered_stacks().zip(is_asked_for) {
            marks[number as usize] = mark;
        }
        marks.into()
    }

    fn has_state(&self, stack: &Stack<'_>) -> bool {
        self.user.is_none_or(|user| user == stack.is_user())
            && !(self.interrupts_off && stack.state.has(State::INTERRUPTS_ON))
            && self
                .idle
                .is_none_or(|idle| idle == stack.state.has(State::IDLE))
    }
}
