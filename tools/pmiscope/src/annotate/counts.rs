//! The samples of a function's lines and instructions.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use super::listing::{Instruction, Listing, Listings};
use super::source::Sources;
use crate::export::Export;
use crate::export::tree::{Frame, Kind, Place};
use crate::symbols::in_its_file;
use crate::units;

/// A function's code with its samples.
#[derive(Debug, Serialize)]
pub(crate) struct Annotation {
    pub function: String,
    pub file: Option<String>,
    pub line: Option<u32>,
    /// All samples that are counted.
    pub samples: u64,
    #[serde(rename = "self")]
    pub own: u64,
    pub total: u64,
    /// Its lines that have samples; the last one is of samples of which the line is not known.
    pub lines: Vec<LineRow>,
    /// Its code, and code that it is inlined into, of which what is its own.
    pub code: Vec<CodeRows>,
}

/// A line.
#[derive(Debug, Serialize)]
pub(crate) struct LineRow {
    pub file: Option<String>,
    pub line: Option<u32>,
    /// Samples in which the function itself was executing there.
    #[serde(rename = "self")]
    pub own: u64,
    /// Samples of stacks that have the line, once each.
    pub total: u64,
    /// As the source has it, if it was found.
    pub text: Option<String>,
}

/// What one symbol names.
#[derive(Debug, Serialize)]
pub(crate) struct CodeRows {
    pub symbol: String,
    pub instructions: Vec<InstructionRow>,
}

/// An instruction.
#[derive(Debug, Serialize)]
pub(crate) struct InstructionRow {
    /// As the ELF file has it.
    pub address: String,
    pub text: String,
    /// Samples in which it was the next one to execute.
    #[serde(rename = "self")]
    pub own: u64,
    /// Samples of stacks that have it, once each.
    pub total: u64,
    pub file: Option<String>,
    pub line: Option<u32>,
    /// The functions that are inlined there, innermost first.
    pub inlined: Vec<String>,
}

/// The functions with these numbers in the export's tree: as many as `top`, those with most samples
/// of their own first.
pub(crate) fn annotate(
    export: &Export<'_>,
    listings: &Listings,
    sources: &Sources<'_>,
    (functions, top): (&[u32], usize),
) -> Vec<Annotation> {
    let counting = Counting::new(export);
    let mut functions = functions.to_vec();
    let ranks = counting.ranks();
    functions.sort_by_key(|&own| Reverse(ranks[own as usize]));
    functions.truncate(top);
    let of = functions.iter();
    of.map(|&own| counting.function(own, listings, sources))
        .collect()
}

/// Counts along the tree.
struct Counting<'a> {
    export: &'a Export<'a>,
    /// Samples of each node, and of those further in.
    nodes: Vec<u64>,
    /// Samples by the place that they are of.
    own: Vec<u64>,
    /// Samples of a place that is not on their stack.
    elsewhere: Vec<u64>,
    samples: u64,
}

impl<'a> Counting<'a> {
    fn new(export: &'a Export<'a>) -> Self {
        let tree = &export.tree;
        let mut nodes = vec![0; tree.len()];
        let mut own = vec![0; tree.places.len()];
        let mut elsewhere = vec![0; tree.places.len()];
        for (number, stack) in export.tally.numbered_stacks() {
            let Some(leaf) = tree.leaf(number) else {
                continue;
            };
            nodes[leaf as usize] += stack.samples;
            match tree.exact_elsewhere(number) {
                Some(place) => {
                    own[place as usize] += stack.samples;
                    elsewhere[place as usize] += stack.samples;
                }
                None => own[tree.place_of(leaf) as usize] += stack.samples,
            }
        }
        for node in (0..nodes.len()).rev() {
            let number = u32::try_from(node).expect("fewer than 2³²");
            if let Some(parent) = tree.parent(number) {
                nodes[parent as usize] += nodes[node];
            }
        }
        Self {
            export,
            nodes,
            own,
            elsewhere,
            samples: export.tally.samples(),
        }
    }

    fn function(&self, own: u32, listings: &Listings, sources: &Sources<'_>) -> Annotation {
        let tree = &self.export.tree;
        let function = &tree.functions[own as usize];
        let (file, line) = tree.declared(function);
        // One key for all its frames: each stack once.
        let totals = self.totals(|place| self.frames(place, own).map(|_| ()).collect());
        Annotation {
            function: function.name.clone(),
            file: file.map(str::to_owned),
            line,
            samples: self.samples,
            own: units::total(self.own_places(own).map(|(_, samples)| samples)),
            total: totals.get(&()).copied().unwrap_or(0),
            lines: self.lines(own, sources),
            code: self.code(own, listings),
        }
    }

    /// For each function its own samples, and how often it is on stacks: a recursion counts often, as
    /// this is only for an order.
    fn ranks(&self) -> Vec<(u64, u64)> {
        let tree = &self.export.tree;
        let mut ranks = vec![(0, 0); tree.functions.len()];
        for (place, &samples) in tree.places.iter().zip(&self.own) {
            ranks[place.frames[0].function as usize].0 += samples;
        }
        for (node, &samples) in (0..).zip(&self.nodes) {
            for frame in &tree.places[tree.place_of(node) as usize].frames {
                ranks[frame.function as usize].1 += samples;
            }
        }
        ranks
    }

    /// The innermost frames that are the function's, and the samples of each.
    fn own_places(&self, own: u32) -> impl Iterator<Item = (Frame, u64)> {
        let places = self.export.tree.places.iter().zip(&self.own);
        let innermost = places.map(|(place, &samples)| (place.frames[0], samples));
        innermost.filter(move |(frame, samples)| frame.function == own && *samples > 0)
    }

    /// The frames of a function at a place: more than one if it is inlined into itself.
    fn frames(&self, place: &'a Place, own: u32) -> impl Iterator<Item = &'a Frame> {
        place
            .frames
            .iter()
            .filter(move |frame| frame.function == own)
    }

    /// The samples of stacks by what `keys` makes of their places: each key once a stack.
    fn totals<K: Ord + Clone>(&self, keys: impl Fn(&'a Place) -> Vec<K>) -> BTreeMap<K, u64> {
        let tree = &self.export.tree;
        let of_places: Vec<_> = tree.places.iter().map(keys).collect();
        let mut totals: BTreeMap<K, u64> = BTreeMap::new();
        for (keys, &samples) in of_places.iter().zip(&self.elsewhere) {
            for key in keys.iter().collect::<BTreeSet<_>>() {
                *totals.entry(key.clone()).or_default() += samples;
            }
        }
        for (node, &samples) in (0..).zip(&self.nodes) {
            let keys_of = |node| &of_places[tree.place_of(node) as usize];
            for key in keys_of(node).iter().collect::<BTreeSet<_>>() {
                let mut outer = std::iter::successors(tree.parent(node), |&it| tree.parent(it));
                if !outer.any(|it| keys_of(it).contains(key)) {
                    *totals.entry(key.clone()).or_default() += samples;
                }
            }
        }
        totals
    }

    fn lines(&self, own: u32, sources: &Sources<'_>) -> Vec<LineRow> {
        let mut owns: BTreeMap<Option<(u32, u32)>, u64> = BTreeMap::new();
        for (frame, samples) in self.own_places(own) {
            *owns.entry(frame.line).or_default() += samples;
        }
        let lines = |place| self.frames(place, own).map(|frame| frame.line).collect();
        let mut totals = self.totals(lines);
        let unknown = totals.remove_entry(&None);
        let totals = totals.into_iter().chain(unknown);
        let totals = totals.filter(|&(_, total)| total > 0);
        totals
            .map(|(place, total)| {
                let file = place.map(|(file, _)| self.export.tree.files[file as usize].clone());
                let line = place.map(|(_, line)| line);
                LineRow {
                    text: file
                        .as_deref()
                        .zip(line)
                        .and_then(|(file, line)| sources.line(file, line)),
                    own: owns.get(&place).copied().unwrap_or(0),
                    file,
                    line,
                    total,
                }
            })
            .collect()
    }

    fn code(&self, own: u32, listings: &Listings) -> Vec<CodeRows> {
        let name = &self.export.tree.functions[own as usize].name;
        let its = listings.all().filter(|listing| listing.has(name));
        its.map(|listing| self.rows(listing, name)).collect()
    }

    fn rows(&self, listing: &Listing, name: &str) -> CodeRows {
        let index_of = |place: &Place| match place.kind {
            Kind::Code(address) => listing.index_of(address),
            Kind::Interrupt(_) | Kind::Border(_) | Kind::Cut(_) => None,
        };
        let totals = self.totals(|place| index_of(place).into_iter().collect());
        let mut owns = vec![0; listing.instructions.len()];
        for (place, samples) in self.export.tree.places.iter().zip(&self.own) {
            if let Some(index) = index_of(place) {
                owns[index] += samples;
            }
        }
        let instructions = listing.instructions.iter().enumerate();
        let its = instructions.filter(|(_, it)| listing.name == name || it.is_of(name));
        let row = |(index, it): (usize, &Instruction)| {
            let (inlined, _) = it.frames.split_at(it.frames.len() - 1);
            let line = it.frames[0].1.as_ref();
            InstructionRow {
                address: format!("{:#x}", in_its_file(listing.start + it.offset)),
                text: it.text.clone(),
                own: owns[index],
                total: totals.get(&index).copied().unwrap_or(0),
                file: line.map(|line| line.file.clone()),
                line: line.map(|line| line.line),
                inlined: inlined.iter().map(|frame| frame.0.clone()).collect(),
            }
        };
        CodeRows {
            symbol: listing.name.clone(),
            instructions: its.map(row).collect(),
        }
    }
}
