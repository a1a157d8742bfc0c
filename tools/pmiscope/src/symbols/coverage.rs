//! What is known of the code at an address, for what is said of a report that is worse than it
//! looks.

use profiler::address::CodeAddress;

use super::{DebugNames, Symbols};

/// What is known of the code at an address.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Coverage {
    /// Whether symbols or debug information name it.
    pub is_named: bool,
    /// False if its name is that of a function that ends before it.
    pub is_covered: bool,
    /// Whether debug information says what was inlined there, or has nothing to say: of
    /// assembly, as far as that can be told.
    pub has_inlining: bool,
}

impl Symbols {
    /// What is known of the code at an address that was resolved; `None` if it is not the
    /// kernel's.
    pub(crate) fn coverage_at(&self, address: CodeAddress) -> Option<Coverage> {
        if let Some(known) = self.covered.get(&address) {
            return Some(*known);
        }
        if !self.slide.has_code_at(address) {
            return None;
        }
        let link = self.slide.link(address)?;
        let resolved = self.resolved.get(&address);
        let names = resolved.map(|it| it.names);
        let by_debug_info = match names {
            Some(DebugNames::Innermost) => Some(true),
            Some(DebugNames::Unreadable) => Some(false),
            _ => self.debug.knows(link),
        };
        let symbol = self.table.naming(link);
        // What a compiler makes has a type and a size.
        let is_label = symbol.is_some_and(|symbol| !symbol.is_function || symbol.size == 0);
        Some(Coverage {
            is_named: match symbol {
                Some(symbol) if symbol.has_no_name() => names == Some(DebugNames::Innermost),
                symbol => by_debug_info == Some(true) || symbol.is_some(),
            },
            is_covered: is_label
                || by_debug_info == Some(true)
                || symbol.is_none_or(|symbol| symbol.covers(link)),
            has_inlining: by_debug_info.unwrap_or(is_label),
        })
    }
}
