//! The names of code in an ELF file's symbol table.

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::Arc;

use object::read::elf::ElfSymbol64;
use object::{LittleEndian, Object as _, ObjectSection as _, ObjectSymbol as _, SymbolKind, elf};

use super::elf::{Elf, is_code};
use super::slide::LinkAddress;
use super::spans::Spans;

/// A symbol that names code.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct CodeSymbol {
    pub start: LinkAddress,
    /// Bytes of the code; 0 if it does not say.
    pub size: u64,
    /// As it is linked, without a default version. What is not UTF-8 of it is replaced.
    pub name: String,
    /// False for a label, as assembly has them: a symbol without a type.
    pub is_function: bool,
    /// True if code elsewhere has the same name: that of another file's static function.
    pub is_twin: bool,
    /// The source file of a local symbol, if the table says it.
    pub file: Option<Arc<str>>,
    /// The end of its section.
    pub limit: u64,
    /// Which goes first of those at one address: the lowest.
    rank: Rank,
}

/// A name goes before none, a function before a label, then a global name before a weak and a local one, one with a
/// size, one with fewer underscores: `__memcpy` is behind `memcpy`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
struct Rank {
    has_no_name: bool,
    is_label: bool,
    binding: u8,
    has_no_size: bool,
    underscores: usize,
}

impl CodeSymbol {
    /// The first address behind the code, if it says its size.
    pub fn end(&self) -> u64 {
        self.start.0.saturating_add(self.size)
    }

    /// Returns true if neither goes before the other at one address.
    pub fn ranks_as(&self, other: &Self) -> bool {
        self.rank == other.rank
    }

    /// Returns true if its name cannot be read: it stands for the code all the same.
    pub fn has_no_name(&self) -> bool {
        self.rank.has_no_name
    }

    pub fn covers(&self, address: LinkAddress) -> bool {
        self.start <= address && address.0 < self.end()
    }
}

/// The symbols of an ELF file that name code, in the order of its table: functions, and
/// labels in executable sections, but none that only the assembler or the linker uses. Of a
/// file without any, those that it shows to a dynamic linker: behind their ends is code that it
/// does not show.
pub(super) fn code_symbols(file: &Elf<'_>) -> impl Iterator<Item = CodeSymbol> {
    let mut all = all_symbols(file).peekable();
    let is_stripped = all.peek().is_none();
    let dynamic = file.dynamic_symbols().filter(move |_| is_stripped);
    let dynamic = dynamic.filter_map(|symbol| {
        let mut found = code_symbol(file, &symbol, None)?;
        found.symbol.limit = found
            .symbol
            .end()
            .max(found.symbol.start.0.saturating_add(1));
        Some(found)
    });
    all.chain(dynamic)
        .filter(|symbol| symbol.kind != Kind::Object)
        .map(|found| found.symbol)
}

/// Returns true if the names of functions were in what is damaged: linkers write none without a name.
pub(super) fn has_unreadable_names(file: &Elf<'_>) -> bool {
    let is_unreadable = |symbol: &ElfSymbol64<'_, '_, LittleEndian>| {
        let is_function = symbol.kind() == SymbolKind::Text && symbol.size() > 0;
        is_function && symbol.name_bytes().map_or(true, <[u8]>::is_empty)
    };
    let mut unreadable = file.symbols().filter(is_unreadable);
    unreadable.any(|symbol| code_symbol(file, &symbol, None).is_some())
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Function,
    Label,
    /// Data among code, which may be executed all the same.
    Object,
}

struct Found {
    kind: Kind,
    symbol: CodeSymbol,
}

/// All symbols in executable sections.
fn all_symbols(file: &Elf<'_>) -> impl Iterator<Item = Found> {
    // A file's symbols stand behind that of the file itself.
    let mut source = None;
    file.symbols().filter_map(move |symbol| {
        if symbol.kind() == SymbolKind::File {
            let name = symbol.name_bytes().ok().map(String::from_utf8_lossy);
            source = name.filter(|name| !name.is_empty()).map(Arc::from);
            return None;
        }
        code_symbol(file, &symbol, source.as_ref())
    })
}

/// Text of which most is UTF-8; what is not is replaced.
fn text(bytes: &[u8]) -> Cow<'_, str> {
    str::from_utf8(bytes).map_or_else(|_| String::from_utf8_lossy(bytes), Cow::Borrowed)
}

fn code_symbol(
    file: &Elf<'_>,
    symbol: &ElfSymbol64<'_, '_, LittleEndian>,
    source: Option<&Arc<str>>,
) -> Option<Found> {
    // An absolute one has no section.
    let section = file.section_by_index(symbol.section_index()?).ok()?;
    // Of unknown kind are labels, and what no file for x86-64 has.
    let kind = match symbol.kind() {
        SymbolKind::Text => Kind::Function,
        SymbolKind::Unknown => Kind::Label,
        SymbolKind::Data => Kind::Object,
        _ => return None,
    };
    let limit = section.address().saturating_add(section.size());
    // One that leaves its section would take the names of what is behind that.
    let size = symbol.size().min(limit.saturating_sub(symbol.address()));
    let name = match symbol.name_bytes() {
        Ok(name) if !name.is_empty() => text(name),
        // It covers its code all the same: what stands before it must not name that.
        _ if kind == Kind::Function && size > 0 => Cow::Borrowed(""),
        _ => return None,
    };
    if name.starts_with('$') || name.starts_with(".L") || !is_code(&section) {
        return None;
    }
    // Of `name@@VERSION`; what has another than the default version is another function.
    let name = match name.split_once("@@") {
        Some((name, _version)) if !name.is_empty() => name.to_owned(),
        _ => name.into_owned(),
    };
    let binding = match symbol.elf_symbol().st_bind() {
        elf::STB_LOCAL => 2,
        elf::STB_WEAK => 1,
        _ => 0,
    };
    let rank = Rank {
        has_no_name: name.is_empty(),
        is_label: kind != Kind::Function,
        binding,
        has_no_size: size == 0,
        underscores: name.bytes().take_while(|&byte| byte == b'_').count(),
    };
    let symbol = CodeSymbol {
        start: LinkAddress(symbol.address()),
        size,
        is_function: kind == Kind::Function,
        is_twin: false,
        file: source.filter(|_| symbol.is_local()).cloned(),
        limit,
        rank,
        name: if name.is_empty() {
            format!("{:#x}", symbol.address())
        } else {
            name
        },
    };
    Some(Found { kind, symbol })
}

/// The symbols that name code, by address.
#[derive(Clone, Debug, Default)]
pub(super) struct SymbolTable {
    /// By their starts; of those at one address, the one that names it is the first.
    symbols: Vec<CodeSymbol>,
    objects: Vec<CodeSymbol>,
    /// What each of these covers.
    functions: Spans,
    labels: Spans,
    data: Spans,
}

impl SymbolTable {
    /// The symbols of all these files of one kernel.
    pub(super) fn new<'a>(files: impl Iterator<Item = &'a Elf<'a>> + Clone) -> Self {
        let mut symbols: Vec<_> = files.clone().flat_map(code_symbols).collect();
        let objects = files.flat_map(all_symbols);
        let objects = objects.filter(|found| found.kind == Kind::Object);
        let mut objects: Vec<_> = objects.map(|found| found.symbol).collect();
        for symbols in [&mut symbols, &mut objects] {
            remove_repeated(symbols);
            // In the order of the table, where nothing else puts names in order.
            symbols.sort_by_key(|symbol| (symbol.start, symbol.rank));
        }
        mark_twins(&mut symbols);
        let spans = |symbols: &[CodeSymbol], is_wanted: fn(&CodeSymbol) -> bool| {
            let wanted = symbols.iter().enumerate();
            let wanted = wanted.filter(|(_, symbol)| is_wanted(symbol));
            Spans::new(wanted.map(|(index, symbol)| (symbol.start.0..symbol.end(), index)))
        };
        Self {
            functions: spans(&symbols, |symbol| symbol.is_function),
            labels: spans(&symbols, |symbol| !symbol.is_function),
            data: spans(&objects, |_| true),
            symbols,
            objects,
        }
    }

    /// The symbol whose code has `address`: the innermost function around it, or a label that
    /// says its size; else what stands last before it in its section. A label within a
    /// function stands for that.
    pub(super) fn at(&self, address: LinkAddress) -> Option<&CodeSymbol> {
        self.around(address).or_else(|| self.before(address))
    }

    /// The symbol that names the code at `address`. That is the one whose code has it, but that
    /// may as well be what is said to be data, where no code is said to be.
    pub(super) fn naming(&self, address: LinkAddress) -> Option<&CodeSymbol> {
        let object = || Some(&self.objects[self.data.at(address.0)?]);
        self.around(address)
            .or_else(object)
            .or_else(|| self.before(address))
    }

    /// The innermost function or sized label whose code has `address`, functions first.
    fn around(&self, address: LinkAddress) -> Option<&CodeSymbol> {
        let index = self.functions.at(address.0);
        let index = index.or_else(|| self.labels.at(address.0))?;
        Some(&self.symbols[index])
    }

    fn before(&self, address: LinkAddress) -> Option<&CodeSymbol> {
        let before = self.symbols[..self.after(address)].last()?;
        let named = self.starting_at(before.start).first()?;
        let named = self.around(named.start).unwrap_or(named);
        (address.0 < named.limit).then_some(named)
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

/// Leaves the first of those that are alike: several files have them, in any order.
fn remove_repeated(symbols: &mut Vec<CodeSymbol>) {
    let key = |index: usize| {
        let symbol = &symbols[index];
        let place = (symbol.start, symbol.rank, symbol.size);
        (place, &symbol.name, &symbol.file, index)
    };
    let mut order: Vec<_> = (0..symbols.len()).collect();
    order.sort_unstable_by(|&one, &other| key(one).cmp(&key(other)));
    let mut is_repeated = vec![false; symbols.len()];
    for pair in order.windows(2) {
        is_repeated[pair[1]] = symbols[pair[0]] == symbols[pair[1]];
    }
    let mut is_repeated = is_repeated.into_iter();
    symbols.retain(|_| is_repeated.next() == Some(false));
}

/// Marks those that have their name in common with code elsewhere.
fn mark_twins(symbols: &mut [CodeSymbol]) {
    let mut starts: HashMap<&str, (LinkAddress, bool)> = HashMap::new();
    for symbol in &*symbols {
        let (start, is_twin) = starts.entry(&symbol.name).or_insert((symbol.start, false));
        *is_twin |= *start != symbol.start;
    }
    let is_twin = |symbol: &CodeSymbol| starts.get(&*symbol.name).is_some_and(|&(_, twin)| twin);
    let twins: Vec<_> = symbols.iter().map(is_twin).collect();
    for (symbol, is_twin) in symbols.iter_mut().zip(twins) {
        symbol.is_twin = is_twin;
    }
}

#[cfg(test)]
mod tests {
    use super::{CodeSymbol, LinkAddress, Rank, remove_repeated};

    #[test]
    fn names_that_several_files_have_are_there_once_and_in_their_order() {
        let symbol = |name: &str| CodeSymbol {
            start: LinkAddress(16),
            size: 8,
            name: name.to_owned(),
            is_function: true,
            is_twin: false,
            file: None,
            limit: 64,
            rank: Rank {
                has_no_name: false,
                is_label: false,
                binding: 0,
                has_no_size: false,
                underscores: 0,
            },
        };
        let mut symbols = ["run", "alias", "run", "alias"].map(symbol).to_vec();
        remove_repeated(&mut symbols);
        let names: Vec<_> = symbols.iter().map(|symbol| &*symbol.name).collect();
        assert_eq!(names, ["run", "alias"]);
    }
}
