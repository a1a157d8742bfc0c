//! What `serve` takes.

use clap::Args;

use super::{ProfileArgs, SelectArgs, SourceArgs};

pub(super) const EXAMPLES: &str = "\
Examples:
  pmiscope run --samples 10000000 -o profile.pmi    a long run
  pmiscope serve profile.pmi                        from another terminal: a page that follows it

The address has a secret in it; only programs on this machine reach it. ^C ends it, with
status 0.";

/// What `serve` takes.
#[derive(Args, Debug)]
pub struct ServeArgs {
    #[command(flatten)]
    pub profile: ProfileArgs,

    #[command(flatten)]
    pub select: SelectArgs,

    #[command(flatten)]
    pub source: SourceArgs,

    /// The port to listen on, on 127.0.0.1 [default: any that is free]
    #[arg(long, value_name = "N", default_value_t = 0, hide_default_value = true)]
    pub port: u16,
}
