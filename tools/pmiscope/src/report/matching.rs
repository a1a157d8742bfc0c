//! Which frames a pattern means.

use super::{Pattern, Stack, Step, Tally};
use crate::symbols::Symbols;

/// The frames that a pattern means, of all that a tally's stacks have.
#[derive(Clone, Debug)]
pub struct Matching<'a> {
    pattern: &'a Pattern,
    /// Of functions by their numbers.
    functions: Vec<bool>,
}

impl<'a> Matching<'a> {
    /// The frames whose names match. Addresses must have been resolved.
    #[must_use]
    pub fn new(pattern: &'a Pattern, tally: &Tally, symbols: &Symbols) -> Self {
        Self::with(pattern, tally, symbols, Pattern::is_in)
    }

    /// Returns true if the pattern is a function's whole name.
    #[must_use]
    pub fn is_named(pattern: &'a Pattern, tally: &Tally, symbols: &Symbols) -> bool {
        let named = Self::with(pattern, tally, symbols, Pattern::is_name);
        named.functions.contains(&true)
    }

    /// The functions whose whole name the pattern is; if there is none, those that match.
    #[must_use]
    pub fn of_function(pattern: &'a Pattern, tally: &Tally, symbols: &Symbols) -> Self {
        let named = Self::with(pattern, tally, symbols, Pattern::is_name);
        if named.functions.contains(&true) || pattern.is_mark() {
            return named;
        }
        Self::new(pattern, tally, symbols)
    }

    fn with(
        pattern: &'a Pattern,
        tally: &Tally,
        symbols: &Symbols,
        is_meant: impl Fn(&Pattern, &str) -> bool,
    ) -> Self {
        let mut known: Vec<Option<bool>> = Vec::new();
        for frame in tally.addresses().flat_map(|it| symbols.frames(it)) {
            let index = frame.function.index();
            if index >= known.len() {
                known.resize(index + 1, None);
            }
            known[index].get_or_insert_with(|| is_meant(pattern, symbols.label(frame.function)));
        }
        Self {
            pattern,
            functions: known.into_iter().map(Option::unwrap_or_default).collect(),
        }
    }

    /// Returns true if the step is one of these frames.
    #[must_use]
    pub fn has(&self, step: Step, symbols: &Symbols) -> bool {
        match step {
            Step::Frame(frame) => self.functions.get(frame.function.index()) == Some(&true),
            Step::Interrupt(_) | Step::Border(_) => {
                let label = step.label(symbols);
                self.has_mark(&label)
            }
        }
    }

    /// Returns true if what stands among frames and is no function is meant.
    fn has_mark(&self, label: &str) -> bool {
        self.pattern.is_name(label) || !self.pattern.is_mark() && self.pattern.is_in(label)
    }

    /// Whether each different stack has one of these frames, in the order of [`Tally::stacks`].
    #[must_use]
    pub fn stacks(&self, tally: &Tally, symbols: &Symbols) -> Vec<bool> {
        // Many stacks have one chain.
        let is_in = |mut steps: Box<dyn Iterator<Item = Step> + '_>| {
            steps.any(|step| self.has(step, symbols))
        };
        let chains = tally.chains();
        let chains: Vec<_> = chains
            .map(|chain| is_in(Box::new(chain.steps(symbols))))
            .collect();
        let is_in_stack = |stack: Stack<'_>| {
            chains[stack.outer.number]
                || stack.cut_label().is_some_and(|label| self.has_mark(&label))
                || is_in(Box::new(stack.innermost(symbols)))
        };
        tally.stacks().map(is_in_stack).collect()
    }
}
