//! Which of two names of code goes first: the symbol table's or DWARF's.
//!
//! The table has the names by which code is linked, and every clone of a function that the
//! compiler has made. DWARF may have only a part of a name (`new` of `heap::Block::new`), or speak
//! of code that the linker has removed. So what the table has goes first, but where DWARF has the
//! name by which the same code is linked, or knows code within what the table has as one.

use std::cell::OnceCell;

use super::FunctionId;
use super::declaration::Declaration;
use super::demangle::demangle;
use super::functions::{Functions, Identity};
use super::names::CodeSymbol;
use super::slide::LinkAddress;

/// A function that debug information has an entry of.
pub(super) struct Declared {
    /// As it is linked, or else as it is in the source.
    name: Option<String>,
    declaration: Declaration,
    /// The function of that name, once it was asked for.
    function: OnceCell<FunctionId>,
}

/// What names code.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Verdict<'a> {
    /// Its entry in the debug information.
    Declared,
    /// A symbol; what else the entry says is right.
    Symbol(&'a CodeSymbol),
    /// The symbol alone: the entry is about other code.
    OnlySymbol,
}

impl Declared {
    pub(super) fn new(name: Option<String>, declaration: Declaration) -> Self {
        Self {
            name,
            declaration,
            function: OnceCell::new(),
        }
    }

    /// Returns true if the entry has a name.
    pub(super) fn is_named(&self) -> bool {
        self.name.is_some()
    }

    /// The section of the name that cannot be read, if that is why there is none.
    pub(super) fn unreadable_name(&self) -> Option<&'static str> {
        self.declaration
            .unreadable_name
            .filter(|_| self.name.is_none())
    }

    /// The function of the name that the entry has, if it has one.
    pub(super) fn function(&self, functions: &mut Functions) -> Option<FunctionId> {
        let name = self.name.as_deref()?;
        let intern = || {
            let name = functions.demangled(name);
            self.function_named(name, functions)
        };
        Some(*self.function.get_or_init(intern))
    }

    /// The function that is declared here and has another name.
    pub(super) fn function_named(&self, name: String, functions: &mut Functions) -> FunctionId {
        let identity = Identity {
            name,
            path: self.declaration.path.clone(),
            line: self.declaration.line,
            start: None,
        };
        functions.intern(identity, self.declaration.file.clone())
    }

    /// Which name the code at `address` has: that of its entry, or of `symbol`, the innermost
    /// function there, which has `all` these names.
    pub(super) fn judge<'a>(
        &self,
        address: LinkAddress,
        symbol: &'a CodeSymbol,
        all: &'a [CodeSymbol],
    ) -> Verdict<'a> {
        if symbol.has_no_name() {
            return match &self.name {
                Some(_) => Verdict::Declared,
                None => Verdict::OnlySymbol,
            };
        }
        let code = self.declaration.code.iter();
        let part = code.clone().find(|range| range.contains(&address.0));
        let start = part.map_or(symbol.start, |range| LinkAddress(range.start));
        if start > symbol.start {
            return match &self.name {
                Some(_) => Verdict::Declared,
                None => Verdict::OnlySymbol,
            };
        }
        let Some(name) = self.name.as_deref() else {
            return Verdict::Symbol(symbol);
        };
        let mut functions = all.iter().filter(|symbol| symbol.is_function);
        let same = functions.clone().find(|symbol| symbol.name == name);
        if same.is_some() && self.declaration.has_linkage_name {
            return Verdict::Declared;
        }
        let is_linked = self.declaration.has_linkage_name;
        let is_it = |symbol: &CodeSymbol| {
            let linked = &*symbol.name;
            is_variant(linked, name)
                || (is_linked && reads_as(linked, name))
                || (!is_linked && has_part(linked, name))
        };
        if start != symbol.start || !functions.any(is_it) {
            return Verdict::OnlySymbol;
        }
        // Of names that nothing else puts in order, that of the source goes first.
        Verdict::Symbol(same.filter(|same| same.ranks_as(symbol)).unwrap_or(symbol))
    }
}

/// Returns true if `linked` is a function called `name`, or one that a compiler has made of it: it
/// has a dot and more behind the name. Versions are behind an `@`.
fn is_variant(linked: &str, name: &str) -> bool {
    let rest = linked.strip_prefix(name);
    rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '@']))
}

/// Returns true if two linked names are those of one function, for people. Of a constructor the
/// declaration has another than any code; a thunk has its own.
fn reads_as(linked: &str, name: &str) -> bool {
    has_words(&demangle(linked), &demangle(name))
}

/// Returns true if a mangled name has `name`, as it is in the source, for a part.
fn has_part(linked: &str, name: &str) -> bool {
    let read = demangle(linked);
    // Arguments of templates are not spelled alike, nor are things without a name.
    let stem = name.split(['<', '{']).next().unwrap_or_default();
    let stem = stem.trim_end();
    // What is nothing but these is in a name as a whole or not at all.
    read != linked && has_words(&read, if stem.is_empty() { name } else { stem })
}

/// Returns true if `text` has `words` in it, and not as parts of longer ones.
fn has_words(text: &str, words: &str) -> bool {
    if words.is_empty() {
        return false;
    }
    let is_within =
        |c: Option<char>| c.is_some_and(|c| c == '_' || c == '$' || c.is_alphanumeric());
    let [first, last] = [words.chars().next(), words.chars().next_back()].map(is_within);
    text.match_indices(words).any(|(start, _)| {
        let before = text[..start].chars().next_back();
        let behind = text[start + words.len()..].chars().next();
        let is_part = (first && is_within(before)) || (last && is_within(behind));
        !is_part
    })
}

#[cfg(test)]
mod tests {
    use super::{has_part, is_variant, reads_as};

    #[test]
    fn a_variant_has_more_behind_its_name() {
        for (linked, name, expected) in [
            ("run", "run", true),
            ("run.constprop.0", "run", true),
            ("run.cold", "run", true),
            ("run@V1", "run", true),
            ("runner", "run", false),
            ("ru", "run", false),
        ] {
            assert_eq!(is_variant(linked, name), expected, "{linked} of {name}");
        }
    }

    #[test]
    fn a_part_of_a_name_is_in_what_is_mangled() {
        for (linked, name, expected) in [
            ("_RNvNtNtCs1234_6kernel8workload4hash3run", "run", true),
            ("_RNvNtNtCs1234_6kernel8workload4hash3run", "run<u8>", true),
            (
                "_RNvNtNtCs1234_6kernel8workload4hash3run",
                "{closure#0}",
                false,
            ),
            (
                "_RNCNvNtNtCs1234_6kernel8workload4hash3run0B5_",
                "{closure#0}",
                true,
            ),
            (
                "_RNvNtNtCs1234_6kernel8workload4hash3run",
                "<impl T>::f",
                false,
            ),
            ("_RNvNtNtCs1234_6kernel8workload4hash3run", "", false),
            ("_RNvNtNtCs1234_6kernel8workload4hash3run", "stop", false),
            ("_ZN4kern3runERNS_5QueueIiEEi", "run", true),
            ("run_all", "run", false),
            ("_RNvNtNtCs1234_6kernel8workload4hash5rerun", "run", false),
            ("_RNvNtNtCs1234_6kernel8workload4hash6run_to", "run", false),
            ("_ZN4kern5rerunEv", "run", false),
            ("_ZN4kernplERKNS_1AES2_", "operator+", true),
        ] {
            assert_eq!(has_part(linked, name), expected, "{linked} of {name}");
        }
    }

    #[test]
    fn linked_names_are_the_same_if_people_read_the_same() {
        for (linked, name, expected) in [
            ("_ZN4kern5QueueC2Ev.isra.0", "_ZN4kern5QueueC4Ev", true),
            ("_ZThn8_N4kern5QueueD1Ev", "_ZN4kern5QueueD4Ev", true),
            ("_ZN4kern5QueueD1Ev", "_ZN4kern5QueueC4Ev", false),
        ] {
            assert_eq!(reads_as(linked, name), expected, "{linked} of {name}");
        }
    }
}
