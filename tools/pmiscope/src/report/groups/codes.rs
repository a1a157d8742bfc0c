//! Code, by what it is grouped by: each different group has a number.

use std::rc::Rc;

use hashbrown::HashMap;
use profiler::address::CodeAddress;

use super::By;
use crate::report::{Chain, Stack, Tally};
use crate::symbols::{Frame, Lines, Symbols, in_its_file};

/// What stands for a file that is not known.
pub(super) const UNKNOWN: &str = "??";

/// What a group of code is called, in the order of what it is grouped by.
type Name = Vec<String>;

/// The groups of code.
pub(super) struct Codes<'a> {
    by: Vec<By>,
    symbols: &'a Symbols,
    lines: &'a Lines,
    numbers: HashMap<Name, u32>,
    names: Vec<Name>,
    of_addresses: HashMap<CodeAddress, Rc<[u32]>>,
}

impl<'a> Codes<'a> {
    /// Those by what of `by` says which code.
    pub(super) fn new(by: &[By], symbols: &'a Symbols, lines: &'a Lines) -> Self {
        Self {
            by: by.iter().copied().filter(|it| it.is_code()).collect(),
            symbols,
            lines,
            numbers: HashMap::new(),
            names: Vec::new(),
            of_addresses: HashMap::new(),
        }
    }

    /// Returns true if nothing says which code.
    pub(super) fn is_empty(&self) -> bool {
        self.by.is_empty()
    }

    pub(super) fn name(&self, number: u32) -> &[String] {
        &self.names[number as usize]
    }

    /// The groups at an address, innermost first: one or more.
    fn at(&mut self, address: CodeAddress) -> Rc<[u32]> {
        if let Some(known) = self.of_addresses.get(&address) {
            return Rc::clone(known);
        }
        let frames = self.symbols.frames(address);
        let lines = self.lines_at(address, frames.len());
        let names: Vec<_> = frames
            .iter()
            .zip(&lines)
            .map(|(&frame, line)| self.name_of(address, frame, line.as_ref()))
            .collect();
        let numbers = names.into_iter().map(|name| self.number(name));
        let numbers: Rc<[u32]> = numbers.collect();
        self.of_addresses.insert(address, Rc::clone(&numbers));
        numbers
    }

    /// The file and line of each of the frames at an address, if they are known.
    fn lines_at(&self, address: CodeAddress, frames: usize) -> Vec<Option<(String, u32)>> {
        if !self.by.iter().any(|by| by.has_lines()) {
            return vec![None; frames];
        }
        let lines = self.lines.of_code(address, self.symbols).into_iter();
        lines
            .map(|line| line.map(|it| (it.file, it.line)))
            .collect()
    }

    fn name_of(&self, address: CodeAddress, frame: Frame, line: Option<&(String, u32)>) -> Name {
        let label = self.symbols.label(frame.function);
        let name = |&by: &By| match (by, line) {
            (By::Line, Some((file, line))) => format!("{file}:{line}"),
            // Of what the compiler made up, or nobody describes.
            (By::Line, None) => format!("{UNKNOWN} {label}"),
            (By::File, Some((file, _))) => file.clone(),
            (By::File, None) => self.file_of(address, frame).unwrap_or(UNKNOWN).to_owned(),
            (By::Address, _) => format!("{:#x}", in_its_file(self.symbols.place(address))),
            _ => label.to_owned(),
        };
        self.by.iter().map(name).collect()
    }

    /// Where a function is declared, as far as there are no lines that know more.
    fn file_of(&self, address: CodeAddress, frame: Frame) -> Option<&str> {
        let function = self.symbols.function(frame.function);
        let has_none = self.lines.is_empty_at(address, self.symbols);
        function.file.as_deref().filter(|_| has_none)
    }

    fn number(&mut self, name: Name) -> u32 {
        let names = &mut self.names;
        *self.numbers.entry(name).or_insert_with_key(|name| {
            names.push(name.clone());
            u32::try_from(names.len() - 1).expect("fewer than 2³²")
        })
    }

    /// The group of the code that a sample was executing.
    pub(super) fn own(&mut self, stack: &Stack<'_>) -> u32 {
        self.at(stack.exact.unwrap_or(stack.pc))[0]
    }

    /// The different groups of what was interrupted, the own one too.
    pub(super) fn innermost(&mut self, stack: &Stack<'_>, own: u32) -> Vec<u32> {
        let mut all = vec![own];
        let added = stack.added.map(|it| CodeAddress(it.0.wrapping_sub(1)));
        for address in [Some(stack.innermost_address(self.symbols)), added] {
            let Some(address) = address else { continue };
            for &number in self.at(address).iter() {
                if !all.contains(&number) {
                    all.push(number);
                }
            }
        }
        all
    }

    /// The different groups of a chain.
    pub(super) fn of_chain(&mut self, chain: Chain<'_>) -> Vec<u32> {
        let mut all = Vec::new();
        for link in chain.links() {
            all.extend_from_slice(&self.at(link.lookup()));
        }
        all.sort_unstable();
        all.dedup();
        all
    }

    /// Those of each chain of a tally, by their numbers.
    pub(super) fn of_chains(&mut self, tally: &Tally) -> Vec<Vec<u32>> {
        tally.chains().map(|chain| self.of_chain(chain)).collect()
    }
}
