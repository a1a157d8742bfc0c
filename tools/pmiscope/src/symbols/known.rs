//! What is known of the code at an address, for what is said of a report that is worse than it
//! looks.

use gimli::AttributeValue;
use profiler::address::CodeAddress;

use super::{LinkAddress, Symbols};

/// What is known of the code at an address.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Known {
    /// Whether symbols or debug information name it.
    pub is_named: bool,
    /// Whether debug information says what was inlined there, or has nothing to say: of
    /// assembly, as far as that can be told.
    pub has_inlining: bool,
}

/// Languages in which nothing is inlined (DWARF 5, table 7.17, and what assemblers use).
const ASSEMBLY: [gimli::DwLang; 2] = [gimli::DW_LANG_Mips_Assembler, gimli::DwLang(0x31)];

impl Symbols {
    /// What is known of the code at an address; `None` if it is not the kernel's.
    pub(crate) fn known_at(&self, address: CodeAddress) -> Option<Known> {
        if !self.slide.has_code_at(address) {
            return None;
        }
        let link = self.slide.link(address)?;
        let by_debug_info = self.unit_knows(link);
        let symbol = self.table.at(link);
        // What a compiler makes has a type and a size.
        let is_label = symbol.is_some_and(|symbol| !symbol.is_function || symbol.size == 0);
        Some(Known {
            is_named: by_debug_info == Some(true) || symbol.is_some(),
            has_inlining: by_debug_info.unwrap_or(is_label),
        })
    }

    /// Whether debug information that covers an address says which function it is, or need
    /// not say it; `None` if none covers it.
    fn unit_knows(&self, address: LinkAddress) -> Option<bool> {
        let unit = self.debug.unit_at(address)?;
        let mut entries = unit.entries();
        let root = entries.next_dfs().ok().flatten();
        let language = root.and_then(|root| root.attr_value(gimli::DW_AT_language));
        if let Some(AttributeValue::Language(language)) = language
            && ASSEMBLY.contains(&language)
        {
            return Some(true);
        }
        let found = self.debug.find(address);
        let innermost = found.as_ref().and_then(|found| found.entries.first());
        Some(innermost.is_some_and(|(_, name)| name.is_some()))
    }
}
