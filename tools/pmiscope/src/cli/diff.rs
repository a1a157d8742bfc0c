//! What `diff` takes.

use std::path::PathBuf;

use clap::Args;

use super::{ProfileArgs, ReportFormat, SelectArgs};
use crate::report::SortBy;

pub(super) const EXAMPLES: &str = "\
Examples:
  pmiscope diff before.pmi after.pmi
  pmiscope diff before.pmi after.pmi --sort total --exclude idle
  pmiscope diff before.pmi after.pmi -o diff.svg     a differential flame graph

Functions are matched by their names, so that the profiles may be of different builds.";

/// What `diff` takes.
#[derive(Args, Debug)]
pub struct DiffArgs {
    /// The profile to compare with
    #[arg(value_name = "BEFORE")]
    pub before: PathBuf,

    /// The profile that is compared
    #[arg(value_name = "AFTER")]
    pub after: PathBuf,

    /// Take the symbols of the first from this ELF file; it must have the profile's build-id
    #[arg(long, value_name = "KERNEL")]
    pub elf_before: Option<PathBuf>,

    /// Likewise of the second
    #[arg(long, value_name = "KERNEL")]
    pub elf_after: Option<PathBuf>,

    #[command(flatten)]
    pub select: SelectArgs,

    /// Draw a differential flame graph (SVG) as well: red is hotter, blue colder; - is the standard
    /// output, in place of the text
    #[arg(short, long, value_name = "OUT.svg")]
    pub output: Option<PathBuf>,

    /// How the difference is written
    #[arg(long, value_enum, default_value_t = ReportFormat::Text)]
    pub format: ReportFormat,

    /// What is compared of functions: the samples in which one was executing itself, or was anywhere
    /// on the stack
    #[arg(long, value_enum, default_value_t)]
    pub sort: SortBy,

    /// The most functions to show, and a third as many stacks [default: 30 as text, all as JSON]
    #[arg(long, value_name = "N")]
    pub top: Option<usize>,
}

impl DiffArgs {
    /// The two profiles, each as other commands take one.
    #[must_use]
    pub fn profiles(&self) -> [ProfileArgs; 2] {
        let of = |profile: &PathBuf, elf: &Option<PathBuf>| ProfileArgs {
            profile: profile.clone(),
            elf: elf.clone(),
            debug_file: Vec::new(),
            program: Vec::new(),
            force: false,
        };
        [
            of(&self.before, &self.elf_before),
            of(&self.after, &self.elf_after),
        ]
    }
}
