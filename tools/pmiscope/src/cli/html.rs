//! What `html` takes.

use std::path::PathBuf;

use clap::Args;

use super::ProfileArgs;

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

    /// Take only this event's samples, by its name or number
    #[arg(long, value_name = "NAME|INDEX")]
    pub event: Option<String>,
}
