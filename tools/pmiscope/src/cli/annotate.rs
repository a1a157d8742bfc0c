//! What `annotate` takes.

use std::path::PathBuf;

use clap::Args;

use super::{ProfileArgs, ReportFormat, SelectArgs};
use crate::annotate::Syntax;
use crate::report::Pattern;

pub(super) const EXAMPLES: &str = "\
Examples:
  pmiscope annotate profile.pmi kernel::workload::recursion::ackermann
  pmiscope annotate profile.pmi 'hash::.*' --top 3 --no-source
  pmiscope annotate profile.pmi memcpy --syntax att --format json | jq .[0].code";

/// What `annotate` takes.
#[derive(Args, Debug)]
pub struct AnnotateArgs {
    #[command(flatten)]
    pub profile: ProfileArgs,

    /// The function, by its whole name; else those whose names match it as a regular expression
    #[arg(value_name = "FUNCTION", value_parser = Pattern::of_function)]
    pub function: Pattern,

    #[command(flatten)]
    pub select: SelectArgs,

    #[command(flatten)]
    pub source: SourceArgs,

    /// How instructions are written
    #[arg(long, value_enum, default_value_t)]
    pub syntax: Syntax,

    /// How the code is written
    #[arg(long, value_enum, default_value_t = ReportFormat::Text)]
    pub format: ReportFormat,

    /// The most functions to show, where several match: those with the most samples
    #[arg(long, value_name = "N", default_value = "5", value_parser = functions)]
    pub top: usize,
}

fn functions(text: &str) -> Result<usize, String> {
    let number = text.parse().ok().filter(|&number| number > 0);
    number.ok_or_else(|| "must be a number from 1 on".into())
}

/// Where source is taken from.
#[derive(Args, Debug)]
pub struct SourceArgs {
    /// Look for source files in this folder before where they were compiled. Can be said several
    /// times
    #[arg(long, value_name = "FOLDER")]
    pub source: Vec<PathBuf>,

    /// Leave source files out
    #[arg(long, conflicts_with = "source")]
    pub no_source: bool,
}
