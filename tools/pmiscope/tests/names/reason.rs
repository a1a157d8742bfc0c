//! Why two tools call the same code by different names.

use pmiscope::internals::demangle;

use crate::function::Functions;
use crate::others::Frames;

/// What is called differently.
pub struct Difference<'a> {
    pub address: u64,
    pub ours: &'a Frames,
    /// What the other says, as it is linked.
    pub theirs: &'a Frames,
    pub functions: &'a Functions,
}

/// Those that are known, in the order in which they are tried.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Reason {
    Spelling,
    Clone,
    Alias,
    Part,
    Code,
    Label,
    NotInlined,
    NoName,
    Unknown,
}

impl Reason {
    /// What a reader is told.
    pub fn words(self) -> &'static str {
        match self {
            Self::Spelling => "the same linked name, spelled otherwise when it is demangled",
            Self::Clone => {
                "a clone or an old version: the symbol table has a suffix, DWARF has not"
            }
            Self::Alias => "an alias: another name of the same address",
            Self::Code => {
                "the other has the name of the code for a call in it whose own name is not linked"
            }
            Self::Part => "DWARF without a linkage name has a part of the name",
            Self::Label => "a label within a function, or a function within another",
            Self::NotInlined => "the other sees no inlined calls there",
            Self::NoName => "the other has no name for it",
            Self::Unknown => "for no reason that is known",
        }
    }
}

impl Difference<'_> {
    /// The first reason that explains it.
    pub fn reason(&self) -> Reason {
        let read = |linked: &String| demangle(without_version(linked));
        let theirs: Frames = self.theirs.iter().map(read).collect();
        if *self.ours == theirs {
            return Reason::Spelling;
        }
        let Some((their_name, their_inlined)) = theirs.split_last() else {
            return Reason::NoName;
        };
        let (our_name, our_inlined) = self.ours.split_last().expect("a frame");
        let of_code = self.reason_of_code(our_name, their_name);
        if our_inlined == their_inlined || of_code == Reason::Unknown {
            return of_code;
        }
        if their_inlined.is_empty() {
            return Reason::NotInlined;
        }
        let aliases: Vec<_> = self.aliases().collect();
        let mut calls = our_inlined.iter().zip(their_inlined);
        let is_named = |(ours, theirs)| ours == theirs || aliases.contains(theirs);
        if our_inlined.len() == their_inlined.len() && calls.all(is_named) {
            return Reason::Code;
        }
        Reason::Unknown
    }

    /// The names of the function that has the code, demangled.
    fn aliases(&self) -> impl Iterator<Item = String> {
        let aliases = self.functions.aliases(self.address).into_iter();
        aliases.map(|linked| demangle(without_version(linked)))
    }

    /// The same of the function that has the code.
    fn reason_of_code(&self, ours: &str, theirs: &str) -> Reason {
        let is_clone = |of: &str, name: &str| {
            let rest = of.strip_prefix(name);
            rest.is_some_and(|rest| [".", "@", " [clone "].iter().any(|it| rest.starts_with(it)))
        };
        if ours == theirs {
            return Reason::Spelling;
        }
        if is_clone(ours, theirs) || is_clone(theirs, ours) {
            return Reason::Clone;
        }
        let is_old = |rest: &str| rest.is_empty() || rest.starts_with('@');
        let known = |read: &str| {
            self.aliases()
                .any(|alias| alias.strip_prefix(read).is_some_and(is_old))
        };
        if !known(ours) {
            return Reason::Unknown;
        }
        if known(theirs) {
            return Reason::Alias;
        }
        let is_mangled = self.functions.aliases(self.address);
        let is_mangled = is_mangled.iter().any(|linked| demangle(linked) != *linked);
        let stem = theirs.split(['<', '{']).next().unwrap_or_default();
        if is_mangled && ours.contains(stem) {
            return Reason::Part;
        }
        let around = self.functions.around(self.address);
        let labels = self.functions.labels(self.address);
        let mut others = around.iter().chain(&labels);
        if others.any(|linked| demangle(without_version(linked)) == theirs) {
            return Reason::Label;
        }
        Reason::Unknown
    }
}

/// The name of `name@@VERSION`.
fn without_version(linked: &str) -> &str {
    linked.split_once("@@").map_or(linked, |(name, _)| name)
}
