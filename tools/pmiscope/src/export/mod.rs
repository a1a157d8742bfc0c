//! Profiles in the forms that other tools read: one file a form, each a function that writes to
//! a stream.
//!
//! All forms have the same stacks, those of folded stacks: [`tree`] has each once, with names,
//! inlined calls and lines, and [`samples`] has what stands on them. So the samples of each
//! function, by itself and with what it has called, are the same in all of them.

mod callgrind;
mod code_files;
mod counts;
mod csv;
mod firefox;
mod perf;
mod perfetto;
mod pprof;
pub(crate) mod samples;
mod speedscope;
pub(crate) mod tree;

use std::collections::BTreeSet;
use std::io::Write;

use anyhow::Result;

use crate::profile::Profile;
use crate::report::processes::of_stack;
use crate::report::{Stack, Tally};
use crate::symbols::{Lines, Symbols};
use samples::Events;
use tree::Tree;

pub(crate) use perf::{Anchor, MappedProgram, VERSION as PERF_VERSION};

/// The forms that an [`Export`] can be written in.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Form {
    Callgrind,
    Csv,
    Firefox,
    Perf,
    Perfetto,
    Pprof,
    Speedscope,
}

/// What is exported: samples that are counted, and whose addresses are resolved.
pub(crate) struct Export<'a> {
    pub profile: &'a Profile,
    pub tally: &'a Tally,
    pub symbols: &'a Symbols,
    pub tree: Tree,
    pub events: Events,
    /// By what perf finds the kernel's code.
    anchor: Option<Anchor>,
    /// And the code of programs.
    programs: Vec<MappedProgram>,
}

impl<'a> Export<'a> {
    /// What a tally of a profile has; `lines` are of the same files as `symbols`.
    pub(crate) fn new(
        profile: &'a Profile,
        (tally, symbols): (&'a Tally, &'a mut Symbols),
        lines: &Lines,
    ) -> Self {
        Self::of_stacks(profile, (tally, symbols), lines, |_| true)
    }

    /// The same with these stacks alone in the tree.
    pub(crate) fn of_stacks(
        profile: &'a Profile,
        (tally, symbols): (&'a Tally, &'a mut Symbols),
        lines: &Lines,
        is_in: impl Fn(&Stack<'_>) -> bool,
    ) -> Self {
        symbols.resolve(tally.addresses());
        Self {
            profile,
            tally,
            symbols,
            tree: Tree::new(tally, symbols, lines, is_in),
            events: Events::new(profile, tally),
            anchor: None,
            programs: Vec::new(),
        }
    }

    /// The same for perf, which is given this ELF file, and those of programs.
    pub(crate) fn with_files(self, anchor: Option<Anchor>, programs: Vec<MappedProgram>) -> Self {
        Self {
            anchor,
            programs,
            ..self
        }
    }

    /// The programs that ran, or that the kernel served.
    pub(crate) fn programs_seen(&self) -> BTreeSet<u16> {
        let stacks = self.tally.numbered_stacks();
        let processes = stacks.filter_map(|(_, stack)| of_stack(&stack));
        processes.map(|it| self.symbols.program_of(it)).collect()
    }

    /// Writes it.
    ///
    /// # Errors
    ///
    /// Samples cannot be read; those of `out`.
    pub(crate) fn write(&self, form: Form, out: &mut dyn Write) -> Result<()> {
        match form {
            Form::Callgrind => callgrind::write(self, out),
            Form::Csv => csv::write(self, out),
            Form::Firefox => firefox::write(self, out),
            Form::Perf => perf::write(self, out),
            Form::Perfetto => perfetto::write(self, out),
            Form::Pprof => pprof::write(self, out),
            Form::Speedscope => speedscope::write(self, out),
        }
    }

    /// What the run was of, for titles.
    fn title(&self) -> String {
        format!("pmiscope: {}", self.profile.description.workload.as_str())
    }
}
