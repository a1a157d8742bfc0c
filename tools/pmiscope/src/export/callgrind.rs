//! The format of callgrind, for kcachegrind and `callgrind_annotate`
//! (<https://valgrind.org/docs/manual/cl-format.html>).
//!
//! Costs are samples. A function costs with all that it has called what those cost that call it, or its
//! own lines and calls: readers take either. So in each sample a function stands once, where it is
//! innermost, between one that calls it and one that it calls; and what calls the outermost is
//! [`ROOT`].
//!
//! Of a function all lines are of one file: a reader takes those of another for another function.

use std::collections::BTreeMap;
use std::io::Write;

use anyhow::Result;

use super::Export;
use super::tree::{Frame, Tree};
use crate::output::one_line;

/// Where a file is not known.
const UNKNOWN: &str = "???";
const ROOT: &str = "[all]";

/// What one function costs.
#[derive(Default)]
struct Costs {
    /// By line.
    own: BTreeMap<u32, u64>,
    /// By the line that calls, and what is called.
    calls: BTreeMap<(u32, u32), u64>,
}

/// Writes it.
pub(super) fn write(export: &Export<'_>, out: &mut dyn Write) -> Result<()> {
    let tree = &export.tree;
    writeln!(out, "# callgrind format\nversion: 1")?;
    writeln!(out, "creator: pmiscope-{}", env!("CARGO_PKG_VERSION"))?;
    writeln!(out, "cmd: {}\npart: 1\n", one_line(&export.title()))?;
    writeln!(out, "positions: line\nevents: Samples")?;
    writeln!(out, "summary: {}", export.tally.samples())?;
    let files = files(tree);
    let mut names = Names::new(tree, &files);
    for (function, costs) in (0..).zip(costs(export, &files)) {
        names.function(function, &costs, out)?;
    }
    Ok(())
}

/// The costs of each function, and behind them those of the root.
fn costs(export: &Export<'_>, files: &[Option<u32>]) -> Vec<Costs> {
    let tree = &export.tree;
    let mut all: Vec<Costs> = Vec::new();
    all.resize_with(tree.functions.len() + 1, Costs::default);
    let mut last_seen = vec![0; all.len()];
    let stacks = export.tally.numbered_stacks();
    for (turn, (number, stack)) in (1_u64..).zip(stacks) {
        let mut called = None;
        let mut add = |function: usize, line, called| {
            let costs = &mut all[function];
            let cost = match called {
                None => costs.own.entry(line).or_default(),
                Some(called) => costs.calls.entry((line, called)).or_default(),
            };
            *cost += stack.samples;
        };
        let frames = tree.leaf(number).into_iter();
        for frame in frames.flat_map(|leaf| tree.frames_of(leaf)) {
            let function = frame.function as usize;
            if std::mem::replace(&mut last_seen[function], turn) != turn {
                add(function, line_of(tree, frame, files), called);
                called = Some(frame.function);
            }
        }
        add(tree.functions.len(), 0, called);
    }
    all
}

/// The file of each function: the one that most of its places have lines of.
fn files(tree: &Tree) -> Vec<Option<u32>> {
    let mut places: BTreeMap<(u32, u32), u64> = BTreeMap::new();
    for frame in tree.places.iter().flat_map(|place| &place.frames) {
        if let Some((file, _)) = frame.line {
            *places.entry((frame.function, file)).or_default() += 1;
        }
    }
    let declared = tree.functions.iter().map(|function| function.file);
    let mut files: Vec<_> = declared.collect();
    let mut most = vec![0; files.len()];
    for ((function, file), count) in places {
        let function = function as usize;
        if count > most[function] {
            most[function] = count;
            files[function] = Some(file);
        }
    }
    files
}

/// Where a frame is in its function's file: where that is declared, if the line is of another.
fn line_of(tree: &Tree, frame: Frame, files: &[Option<u32>]) -> u32 {
    let own = files[frame.function as usize];
    let line = frame.line.filter(|&(file, _)| Some(file) == own);
    let declared = tree.functions[frame.function as usize].line;
    line.map(|(_, line)| line).or(declared).unwrap_or_default()
}

/// Names of files and functions, which stand with their numbers the first time, and then these alone.
struct Names<'a> {
    tree: &'a Tree,
    files: &'a [Option<u32>],
    files_known: Vec<bool>,
    functions_known: Vec<bool>,
}

impl<'a> Names<'a> {
    fn new(tree: &'a Tree, files: &'a [Option<u32>]) -> Self {
        Self {
            tree,
            files,
            files_known: vec![false; tree.files.len() + 1],
            functions_known: vec![false; tree.functions.len() + 1],
        }
    }

    /// What stands for a function's file.
    fn file(&mut self, function: u32) -> String {
        let file = self.files.get(function as usize).copied().flatten();
        let number = file.map_or(0, |file| file as usize + 1);
        if std::mem::replace(&mut self.files_known[number], true) {
            return format!("({number})");
        }
        let name = file.map_or(UNKNOWN, |file| &self.tree.files[file as usize]);
        format!("({number}) {}", one_line(name))
    }

    /// What stands for a function.
    fn name(&mut self, function: u32) -> String {
        let number = function as usize;
        if std::mem::replace(&mut self.functions_known[number], true) {
            return format!("({number})");
        }
        let function = self.tree.functions.get(number);
        let name = function.map_or(ROOT, |function| &function.name);
        format!("({number}) {}", one_line(name))
    }

    fn function(&mut self, function: u32, costs: &Costs, out: &mut dyn Write) -> Result<()> {
        if costs.own.is_empty() && costs.calls.is_empty() {
            return Ok(());
        }
        writeln!(out, "\nfl={}", self.file(function))?;
        writeln!(out, "fn={}", self.name(function))?;
        for (line, samples) in &costs.own {
            writeln!(out, "{line} {samples}")?;
        }
        for ((line, called), samples) in &costs.calls {
            writeln!(out, "cfi={}", self.file(*called))?;
            writeln!(out, "cfn={}", self.name(*called))?;
            // How often it was called is not known, and 0 would make a line of it that calls nothing.
            let declared = self.tree.functions[*called as usize].line;
            writeln!(out, "calls={samples} {}", declared.unwrap_or_default())?;
            writeln!(out, "{line} {samples}")?;
        }
        Ok(())
    }
}
