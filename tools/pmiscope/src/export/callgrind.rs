//! The format of callgrind, for kcachegrind and `callgrind_annotate`
//! (<https://valgrind.org/docs/manual/cl-format.html>).
//!
//! Costs are samples. What a function costs with all that it has called is the sum of its own lines
//! and of its calls; so each sample is counted at one place of each function, the innermost. Of
//! a function that calls itself, the calls to itself are left out.

use std::collections::BTreeMap;
use std::io::Write;

use anyhow::Result;

use super::Export;
use super::tree::{Frame, Tree};
use crate::output::one_line;

/// Where a file is not known.
const UNKNOWN: &str = "???";

/// A line: of a file, or of none that is known.
type Line = (Option<u32>, u32);

/// What one function costs.
#[derive(Default)]
struct Costs {
    own: BTreeMap<Line, u64>,
    /// By the line that calls, and what is called.
    calls: BTreeMap<(Line, u32), u64>,
}

/// Writes it.
pub(super) fn write(export: &Export<'_>, out: &mut dyn Write) -> Result<()> {
    let tree = &export.tree;
    let title = export.title();
    writeln!(out, "# callgrind format\nversion: 1")?;
    writeln!(out, "creator: pmiscope-{}", env!("CARGO_PKG_VERSION"))?;
    writeln!(out, "cmd: {}\npart: 1\n", one_line(&title))?;
    writeln!(out, "positions: line\nevents: Samples")?;
    writeln!(out, "summary: {}", export.tally.samples())?;
    let mut names = Names::new(tree);
    for (function, costs) in (0..).zip(costs(export)) {
        names.function(function, &costs, out)?;
    }
    Ok(())
}

fn costs(export: &Export<'_>) -> Vec<Costs> {
    let tree = &export.tree;
    let mut all: Vec<Costs> = Vec::new();
    all.resize_with(tree.functions.len(), Costs::default);
    let mut last_seen = vec![0; all.len()];
    let stacks = export.tally.numbered_stacks();
    for (turn, (number, stack)) in (1_u64..).zip(stacks) {
        let mut called = None;
        let frames = tree.leaf(number).into_iter();
        for frame in frames.flat_map(|leaf| tree.frames_of(leaf)) {
            let function = frame.function as usize;
            if std::mem::replace(&mut last_seen[function], turn) != turn {
                let (costs, line) = (&mut all[function], line_of(tree, frame));
                let cost = match called {
                    None => costs.own.entry(line).or_default(),
                    Some(called) => costs.calls.entry((line, called)).or_default(),
                };
                *cost += stack.samples;
            }
            called = Some(frame.function);
        }
    }
    all
}

/// Where a frame is: else where its function is.
fn line_of(tree: &Tree, frame: Frame) -> Line {
    let function = &tree.functions[frame.function as usize];
    frame.line.map_or(
        (function.file, function.line.unwrap_or_default()),
        |(file, line)| (Some(file), line),
    )
}

/// Names of files and functions, which stand with their numbers the first time, and then these alone.
struct Names<'a> {
    tree: &'a Tree,
    files: Vec<bool>,
    functions: Vec<bool>,
}

impl<'a> Names<'a> {
    fn new(tree: &'a Tree) -> Self {
        Self {
            tree,
            files: vec![false; tree.files.len() + 1],
            functions: vec![false; tree.functions.len()],
        }
    }

    /// What stands for a file.
    fn file(&mut self, file: Option<u32>) -> String {
        let number = file.map_or(0, |file| file as usize + 1);
        if std::mem::replace(&mut self.files[number], true) {
            return format!("({number})");
        }
        let name = file.map_or(UNKNOWN, |file| &self.tree.files[file as usize]);
        format!("({number}) {}", one_line(name))
    }

    /// What stands for a function.
    fn name(&mut self, function: u32) -> String {
        let number = function as usize;
        if std::mem::replace(&mut self.functions[number], true) {
            return format!("({number})");
        }
        let name = one_line(&self.tree.functions[number].name);
        format!("({number}) {name}")
    }

    fn function(&mut self, function: u32, costs: &Costs, out: &mut dyn Write) -> Result<()> {
        if costs.own.is_empty() && costs.calls.is_empty() {
            return Ok(());
        }
        let tree = self.tree;
        let declared = |function: u32| &tree.functions[function as usize];
        let own_file = declared(function).file;
        writeln!(out, "\nfl={}", self.file(own_file))?;
        writeln!(out, "fn={}", self.name(function))?;
        let mut file = own_file;
        for (&line, &samples) in &costs.own {
            self.go_to(line.0, (&mut file, own_file), out)?;
            writeln!(out, "{} {samples}", line.1)?;
        }
        for (&(line, called), &samples) in &costs.calls {
            self.go_to(line.0, (&mut file, own_file), out)?;
            let target = declared(called);
            writeln!(out, "cfi={}", self.file(target.file))?;
            writeln!(out, "cfn={}", self.name(called))?;
            // How often it was called is not known.
            writeln!(out, "calls=0 {}", target.line.unwrap_or_default())?;
            writeln!(out, "{} {samples}", line.1)?;
        }
        Ok(())
    }

    /// Says which file the next lines are of.
    fn go_to(
        &mut self,
        file: Option<u32>,
        (at, own): (&mut Option<u32>, Option<u32>),
        out: &mut dyn Write,
    ) -> Result<()> {
        if std::mem::replace(at, file) != file {
            let word = if file == own { "fe" } else { "fi" };
            writeln!(out, "{word}={}", self.file(file))?;
        }
        Ok(())
    }
}
