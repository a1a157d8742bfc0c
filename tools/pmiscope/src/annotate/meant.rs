//! Which addresses and stacks a function is on that was asked for: only these are looked at, as all
//! others would take longer than counting does.

use hashbrown::HashSet;
use profiler::address::CodeAddress;

use crate::report::{Pattern, Stack, Tally};
use crate::symbols::{Frame, Symbols};

/// Where functions are that a pattern may mean.
pub(crate) struct Meant {
    addresses: HashSet<CodeAddress>,
    /// Whether chains have any of them, by their numbers.
    chains: Vec<bool>,
}

impl Meant {
    /// The addresses of a tally must have been resolved.
    pub(crate) fn new(tally: &Tally, symbols: &Symbols, function: &Pattern) -> Self {
        let may_be_meant = |frame: &Frame| {
            let label = symbols.label(frame.function);
            function.is_name(label) || function.is_in(label)
        };
        let all = tally.addresses();
        let addresses: HashSet<_> = all
            .filter(|&address| symbols.frames(address).iter().any(may_be_meant))
            .collect();
        let is_meant = |address| addresses.contains(&address);
        let chains = tally.chains();
        let chains = chains
            .map(|chain| chain.addresses().any(is_meant))
            .collect();
        Self { addresses, chains }
    }

    pub(crate) fn addresses(&self) -> impl Iterator<Item = CodeAddress> {
        self.addresses.iter().copied()
    }

    /// Returns true if a stack has one of the functions.
    pub(crate) fn is_on(&self, stack: &Stack<'_>) -> bool {
        let mut own = stack.addresses();
        self.chains[stack.outer.number] || own.any(|address| self.addresses.contains(&address))
    }
}
