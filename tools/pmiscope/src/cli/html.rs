//! What `html` takes.

use std::path::PathBuf;

use clap::Args;

use super::{ProfileArgs, SelectArgs, SourceArgs};

pub(super) const EXAMPLES: &str = "\
Examples:
  pmiscope html profile.pmi -o profile.html
  pmiscope html after.pmi --base before.pmi -o diff.html";

/// What `html` takes.
#[derive(Args, Debug)]
pub struct HtmlArgs {
    #[command(flatten)]
    pub profile: ProfileArgs,

    /// The page to write; - is the standard output
    #[arg(short, long, value_name = "PAGE")]
    pub output: PathBuf,

    /// Show what has changed since this profile
    #[arg(long, value_name = "OLD")]
    pub base: Option<PathBuf>,

    #[command(flatten)]
    pub select: SelectArgs,

    #[command(flatten)]
    pub source: SourceArgs,
}
