//! The code that a page has: instructions of functions that have samples, and the source around the
//! lines that are named.

use std::collections::{BTreeMap, BTreeSet};

use hashbrown::HashMap;
use serde::Serialize;

use crate::annotate::{Instruction, Listing, Listings, Sources};
use crate::export::tree::Tree;
use crate::output::one_line;

/// Lines that are this close are in one piece of source.
const GAP: u32 = 24;
/// So many lines more are there before and behind it.
const AROUND: u32 = 4;

/// Instructions and source.
#[derive(Serialize, Default)]
pub(super) struct Code {
    strings: Vec<String>,
    listings: Vec<SymbolCode>,
    /// By file: pieces, each its first line's number and its lines.
    sources: BTreeMap<String, Vec<(u32, Vec<String>)>>,
    /// Files that were changed after the profile was written.
    changed: Vec<String>,
}

/// The code that one symbol names; texts by their places among the strings.
#[derive(Serialize)]
struct SymbolCode {
    name: usize,
    /// In hexadecimal, as the places have it.
    start: String,
    size: u64,
    /// Offset, length, text, where it jumps to, and its frames.
    instructions: Vec<(u64, u64, String, Option<u64>, usize)>,
    /// Function, file and line, innermost first.
    frames: Vec<Frames>,
}

type Frames = Vec<(usize, Option<usize>, Option<u32>)>;

/// Texts, each once.
#[derive(Default)]
struct Strings {
    all: Vec<String>,
    places: HashMap<String, usize>,
}

impl Strings {
    fn place(&mut self, text: &str) -> usize {
        let text = one_line(text);
        if let Some(&place) = self.places.get(&*text) {
            return place;
        }
        self.all.push(text.clone().into_owned());
        self.places.insert(text.into_owned(), self.all.len() - 1);
        self.all.len() - 1
    }
}

impl Code {
    pub(super) fn new(tree: &Tree, listings: &Listings, sources: &Sources<'_>) -> Self {
        let mut strings = Strings::default();
        let mut lines: BTreeMap<&str, BTreeSet<u32>> = BTreeMap::new();
        let frames = tree.places.iter().flat_map(|place| &place.frames);
        for (file, line) in frames.filter_map(|frame| frame.line) {
            lines
                .entry(&tree.files[file as usize])
                .or_default()
                .insert(line);
        }
        for frame in listings
            .all()
            .flat_map(|it| &it.instructions)
            .flat_map(|it| &it.frames)
        {
            if let Some(line) = &frame.1 {
                lines.entry(&line.file).or_default().insert(line.line);
            }
        }
        let listings = listings
            .all()
            .map(|listing| listing_of(listing, &mut strings));
        let listings = listings.collect();
        let pieces = lines.into_iter().filter_map(|(file, lines)| {
            let text = sources.text(file)?;
            Some((one_line(file).into_owned(), pieces(&lines, &text)))
        });
        Self {
            listings,
            sources: pieces.collect(),
            strings: strings.all,
            changed: sources.changed(),
        }
    }
}

fn listing_of(listing: &Listing, strings: &mut Strings) -> SymbolCode {
    let mut frames: Vec<Frames> = Vec::new();
    let mut known: HashMap<Frames, usize> = HashMap::new();
    let mut instruction = |it: &Instruction| {
        let of_it = it.frames.iter().map(|(name, line)| {
            let file = line.as_ref().map(|line| strings.place(&line.file));
            (
                strings.place(name),
                file,
                line.as_ref().map(|line| line.line),
            )
        });
        let of_it: Frames = of_it.collect();
        let place = *known.entry(of_it.clone()).or_insert_with(|| {
            frames.push(of_it);
            frames.len() - 1
        });
        (
            it.offset,
            it.length,
            one_line(&it.text).into_owned(),
            it.target,
            place,
        )
    };
    let instructions = listing.instructions.iter().map(&mut instruction).collect();
    SymbolCode {
        start: format!("{:x}", listing.start),
        size: listing.size,
        instructions,
        frames,
        name: strings.place(&listing.name),
    }
}

/// The pieces of a source that these lines are in.
fn pieces(lines: &BTreeSet<u32>, text: &[String]) -> Vec<(u32, Vec<String>)> {
    let mut ranges: Vec<(u32, u32)> = Vec::new();
    for &line in lines {
        match ranges.last_mut() {
            Some(last) if line - last.1 <= GAP => last.1 = line,
            _ => ranges.push((line, line)),
        }
    }
    let piece = |(first, last): (u32, u32)| {
        let first = first.saturating_sub(AROUND).max(1);
        let wanted = text
            .iter()
            .skip(first as usize - 1)
            .take((last + AROUND - first + 1) as usize);
        (first, wanted.cloned().collect::<Vec<_>>())
    };
    let pieces = ranges.into_iter().map(piece);
    pieces.filter(|(_, lines)| !lines.is_empty()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn source_is_there_around_the_lines_that_are_named() {
        let text: Vec<_> = (1..=100).map(|line| format!("line {line}")).collect();
        let of = |lines: &[u32]| {
            let pieces = pieces(&lines.iter().copied().collect(), &text);
            let bounds = pieces.iter().map(|(first, lines)| {
                assert_eq!(lines[0], format!("line {first}"));
                (*first, first + u32::try_from(lines.len()).unwrap() - 1)
            });
            bounds.collect::<Vec<_>>()
        };
        assert_eq!(of(&[]), []);
        assert_eq!(of(&[1]), [(1, 5)]);
        assert_eq!(of(&[10, 34, 59]), [(6, 38), (55, 63)]);
        // Of another file than the kernel was compiled from.
        assert_eq!(of(&[99, 1000]), [(95, 100)]);
    }
}
