//! The names of code in an ELF file's symbol table.

use std::collections::{HashMap, HashSet};

use object::read::elf::ElfSymbol64;
use object::{LittleEndian, Object as _, ObjectSection as _, ObjectSymbol as _, SymbolKind, elf};

use super::elf::{Elf, is_code};
use super::slide::LinkAddress;

/// A symbol that names code.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct CodeSymbol {
    pub start: LinkAddress,
    /// Bytes of the code; 0 if it does not say.
    pub size: u64,
    /// As it is linked. What is not UTF-8 of it is replaced.
    pub name: String,
    /// False for a label, as assembly has them: a symbol without a type.
    pub is_function: bool,
    /// True if code elsewhere has the same name: that of another file's static function.
    pub is_twin: bool,
    /// The end of its section.
    pub limit: u64,
    /// Which goes first of those at one address: the lowest.
    rank: (bool, u8, bool, usize),
}

impl CodeSymbol {
    /// The first address behind the code, if it says its size.
    pub fn end(&self) -> u64 {
        self.start.0.saturating_add(self.size)
    }

    pub fn covers(&self, address: LinkAddress) -> bool {
        self.start <= address && address.0 < self.end()
    }
}

/// The symbols of an ELF file that name code, in the order of its table: functions, and
/// labels in executable sections, but none that only the assembler or the linker uses.
pub(super) fn code_symbols(file: &Elf<'_>) -> impl Iterator<Item = CodeSymbol> {
    file.symbols()
        .filter_map(|symbol| code_symbol(file, &symbol))
}

fn code_symbol(file: &Elf<'_>, symbol: &ElfSymbol64<'_, '_, LittleEndian>) -> Option<CodeSymbol> {
    // An absolute one has no section.
    let section = file.section_by_index(symbol.section_index()?).ok()?;
    // Of unknown kind are labels, and what no file for x86-64 has.
    let is_function = match symbol.kind() {
        SymbolKind::Text => true,
        SymbolKind::Unknown => false,
        _ => return None,
    };
    let name = String::from_utf8_lossy(symbol.name_bytes().ok()?);
    let is_name = !name.is_empty() && !name.starts_with('$') && !name.starts_with(".L");
    if !is_name || !is_code(&section) {
        return None;
    }
    let binding = match symbol.elf_symbol().st_bind() {
        elf::STB_LOCAL => 2,
        elf::STB_WEAK => 1,
        _ => 0,
    };
    Some(CodeSymbol {
        start: LinkAddress(symbol.address()),
        size: symbol.size(),
        is_function,
        is_twin: false,
        limit: section.address().saturating_add(section.size()),
        // `__memcpy` is behind `memcpy`.
        rank: (
            !is_function,
            binding,
            symbol.size() == 0,
            name.bytes().take_while(|&byte| byte == b'_').count(),
        ),
        name: name.into_owned(),
    })
}

/// The symbols that name code, by address.
#[derive(Clone, Debug, Default)]
pub(super) struct SymbolTable {
    /// By their starts; of those at one address, the one that names it is the first.
    symbols: Vec<CodeSymbol>,
    /// Of each and all before it, the furthest end.
    reach: Vec<u64>,
}

impl SymbolTable {
    /// The symbols of all these files of one kernel.
    pub(super) fn new<'a>(files: impl Iterator<Item = &'a Elf<'a>>) -> Self {
        let mut symbols: Vec<_> = files.flat_map(code_symbols).collect();
        symbols.sort_by_key(|symbol| (symbol.start, symbol.rank));
        // What several files have.
        symbols.dedup();
        mark_twins(&mut symbols);
        let reach = symbols.iter().scan(0, |reach: &mut u64, symbol| {
            *reach = symbol.end().max(*reach);
            Some(*reach)
        });
        let reach = reach.collect();
        Self { symbols, reach }
    }

    /// The symbol whose code has `address`: the innermost function around it, or a label that
    /// says its size; else what stands last before it in its section. A label within a
    /// function stands for that.
    pub(super) fn at(&self, address: LinkAddress) -> Option<&CodeSymbol> {
        self.around(address).or_else(|| {
            let before = self.symbols[..self.after(address)].last()?;
            let first = self.after_all_below(before.start);
            let named = &self.symbols[first];
            let named = self.around(named.start).unwrap_or(named);
            (address.0 < named.limit).then_some(named)
        })
    }

    /// The innermost function or sized label whose code has `address`, functions first.
    fn around(&self, address: LinkAddress) -> Option<&CodeSymbol> {
        let mut label = None;
        let mut function: Option<&CodeSymbol> = None;
        let before = 0..self.after(address);
        // Backwards, so of those at one address the first one is met last.
        for index in before
            .rev()
            .take_while(|&index| self.reach[index] > address.0)
        {
            let symbol = &self.symbols[index];
            if !symbol.covers(address) {
                continue;
            }
            match (symbol.is_function, function) {
                (true, Some(inner)) if inner.start != symbol.start => break,
                (true, _) => function = Some(symbol),
                (false, _) if label.is_none_or(|it: &CodeSymbol| it.start == symbol.start) => {
                    label = Some(symbol);
                }
                (false, _) => {}
            }
        }
        function.or(label)
    }

    /// All names of the code at `address`, if it begins there.
    pub(super) fn starting_at(&self, address: LinkAddress) -> &[CodeSymbol] {
        &self.symbols[self.after_all_below(address)..self.after(address)]
    }

    /// The symbols that start behind `address`, in order.
    pub(super) fn all_behind(&self, address: LinkAddress) -> impl Iterator<Item = &CodeSymbol> {
        self.symbols[self.after(address)..].iter()
    }

    /// All symbols, in the order of their starts.
    pub(super) fn all(&self) -> &[CodeSymbol] {
        &self.symbols
    }

    fn after(&self, address: LinkAddress) -> usize {
        self.symbols
            .partition_point(|symbol| symbol.start <= address)
    }

    fn after_all_below(&self, address: LinkAddress) -> usize {
        self.symbols
            .partition_point(|symbol| symbol.start < address)
    }
}

/// Marks those that have their name in common with code elsewhere.
fn mark_twins(symbols: &mut [CodeSymbol]) {
    let mut starts: HashMap<&str, (LinkAddress, bool)> = HashMap::new();
    for symbol in &*symbols {
        let (start, is_twin) = starts.entry(&symbol.name).or_insert((symbol.start, false));
        *is_twin |= *start != symbol.start;
    }
    let twins = starts.into_iter().filter(|&(_, (_, is_twin))| is_twin);
    let twins: HashSet<String> = twins.map(|(name, _)| name.to_owned()).collect();
    for symbol in symbols {
        symbol.is_twin = twins.contains(&symbol.name);
    }
}
