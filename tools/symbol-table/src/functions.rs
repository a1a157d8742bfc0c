//! The functions of an ELF file, by its symbols.

use std::ops::Range;

use object::{Object as _, ObjectSymbol as _, SymbolKind};

/// A function of the kernel.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Named {
    /// Its addresses.
    pub addresses: Range<u64>,
    /// As it is shown: demangled, without hashes.
    pub name: String,
}

/// The functions that lie in `text`, in the order of their addresses. Of several at one address
/// it is the longest, then the one that other files can name, then the first by its name. One
/// that another one begins in ends there.
pub fn functions(file: &object::File<'_>, text: &Range<u64>) -> Vec<Named> {
    let is_function = |it: &object::Symbol<'_, '_>| {
        it.kind() == SymbolKind::Text && it.is_definition() && it.size() > 0
    };
    let mut symbols: Vec<_> = file
        .symbols()
        .filter(is_function)
        .filter_map(|it| {
            let end = it.address().checked_add(it.size())?;
            let is_inside = text.start <= it.address() && end <= text.end;
            let name = it.name().ok().filter(|name| !name.is_empty())?;
            is_inside.then(|| (it.address()..end, it.is_local(), name.to_owned()))
        })
        .collect();
    symbols.sort_by_key(|(addresses, is_local, name)| {
        let longest_first = u64::MAX - addresses.end;
        (addresses.start, longest_first, *is_local, name.clone())
    });
    symbols.dedup_by_key(|(addresses, ..)| addresses.start);
    let starts: Vec<u64> = symbols.iter().map(|it| it.0.start).collect();
    let next_starts = starts.into_iter().skip(1).chain([text.end]);
    symbols
        .into_iter()
        .zip(next_starts)
        .map(|((addresses, _, name), next)| Named {
            addresses: addresses.start..addresses.end.min(next),
            name: format!("{:#}", rustc_demangle::demangle(&name)),
        })
        .collect()
}
