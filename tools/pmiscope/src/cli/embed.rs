//! What `embed-symbols` takes.

use std::path::PathBuf;

use clap::Args;

use super::ProfileArgs;

pub(super) const EXAMPLES: &str = "\
Examples:
  pmiscope embed-symbols profile.pmi -o shared.pmi
  pmiscope embed-symbols profile.pmi -o shared.pmi --debug-file kernel.debug
  pmiscope run --embed-symbols                       at once, at the end of a run";

/// What `embed-symbols` takes.
#[derive(Args, Debug)]
pub struct EmbedArgs {
    #[command(flatten)]
    pub profile: ProfileArgs,

    /// The profile to write
    #[arg(short, long, value_name = "OUT")]
    pub output: PathBuf,
}
