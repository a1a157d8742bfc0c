//! The functions of an ELF file, by its symbol table: found here once more, by other code.

use std::collections::BTreeMap;

use object::{Object as _, ObjectSection as _, ObjectSymbol as _, SectionFlags, SymbolKind, elf};

/// What is in a symbol table, by its address.
pub struct Functions {
    /// Each start: the names of all functions there, as they are linked, and their ends.
    functions: BTreeMap<u64, Vec<(String, u64)>>,
    /// Labels: symbols of code without a type.
    labels: BTreeMap<u64, Vec<String>>,
    largest: u64,
}

impl Functions {
    pub fn of(bytes: &[u8]) -> Self {
        let file = object::File::parse(bytes).expect("an ELF file");
        let mut functions: BTreeMap<_, Vec<_>> = BTreeMap::new();
        let mut labels: BTreeMap<_, Vec<_>> = BTreeMap::new();
        let mut largest = 0;
        for symbol in file.symbols() {
            let section = symbol.section_index();
            let section = section.and_then(|index| file.section_by_index(index).ok());
            let is_code = section.is_some_and(|section| match section.flags() {
                SectionFlags::Elf { sh_flags, .. } => {
                    sh_flags & elf::SHF_EXECINSTR == elf::SHF_EXECINSTR
                }
                _ => false,
            });
            let name = String::from_utf8_lossy(symbol.name_bytes().unwrap_or_default());
            if !is_code || name.is_empty() {
                continue;
            }
            let start = symbol.address();
            match symbol.kind() {
                SymbolKind::Text => {
                    largest = largest.max(symbol.size());
                    let function = (name.into_owned(), start + symbol.size());
                    functions.entry(start).or_default().push(function);
                }
                SymbolKind::Unknown => labels.entry(start).or_default().push(name.into_owned()),
                _ => {}
            }
        }
        Self {
            functions,
            labels,
            largest,
        }
    }

    /// The number of addresses at which functions begin.
    pub fn count(&self) -> usize {
        self.functions.len()
    }

    /// Of each function the first address, one in its middle, and the last one.
    pub fn addresses(&self) -> Vec<u64> {
        let mut addresses = Vec::new();
        for (&start, names) in &self.functions {
            let ends = names.iter().map(|&(_, end)| end).filter(|&end| end > start);
            addresses.extend(ends.flat_map(|end| [start, start + (end - start) / 2, end - 1]));
        }
        addresses.sort_unstable();
        addresses.dedup();
        addresses
    }

    /// The names of all functions that cover an address, those that begin last first.
    pub fn around(&self, address: u64) -> Vec<&str> {
        let near = address.saturating_sub(self.largest)..=address;
        let near = self.functions.range(near).rev();
        let names = near.flat_map(|(_, names)| names);
        let around = names.filter(|&&(_, end)| address < end);
        around.map(|(name, _)| &**name).collect()
    }

    /// The names of all functions that begin where the innermost one around an address does.
    pub fn aliases(&self, address: u64) -> Vec<&str> {
        let near = address.saturating_sub(self.largest)..=address;
        let covers = |names: &[(String, u64)]| names.iter().any(|&(_, end)| address < end);
        let innermost = self
            .functions
            .range(near)
            .rev()
            .find(|(_, names)| covers(names));
        let names = innermost.map(|(_, names)| names).into_iter().flatten();
        names.map(|(name, _)| &**name).collect()
    }

    /// The labels that are last before an address.
    pub fn labels(&self, address: u64) -> Vec<&str> {
        let last = self.labels.range(..=address).next_back();
        let names = last.map(|(_, names)| names).into_iter().flatten();
        names.map(String::as_str).collect()
    }
}
