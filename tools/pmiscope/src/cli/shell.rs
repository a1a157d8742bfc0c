//! What `completions` and `man` take.

use std::path::PathBuf;

use clap::{Args, Command, CommandFactory as _};
use clap_complete::Shell;

use super::Cli;

pub(super) const COMPLETIONS_EXAMPLES: &str = "\
Example:
  pmiscope completions bash    into ~/.local/share/bash-completion/completions/pmiscope
  pmiscope completions zsh     into a file _pmiscope in a folder of fpath
  pmiscope completions fish    into ~/.config/fish/completions/pmiscope.fish";

/// What `completions` takes.
#[derive(Args, Debug)]
pub struct CompletionsArgs {
    /// The shell
    #[arg(value_enum)]
    pub shell: Shell,
}

/// What `man` takes.
#[derive(Args, Debug)]
pub struct ManArgs {
    /// The folder to write them to, which is made if it is missing: a page for each subcommand
    #[arg(short, long, value_name = "FOLDER")]
    pub output: PathBuf,
}

/// The command line without what is hidden: a shell would offer that as well.
pub fn shown() -> Command {
    let whole = Cli::command();
    let subcommands = whole.get_subcommands().filter(|it| !it.is_hide_set());
    let shown = Command::new("pmiscope")
        .version(env!("CARGO_PKG_VERSION"))
        .subcommands(subcommands.cloned())
        .subcommand_required(true);
    let about = whole.get_about().cloned().unwrap_or_default();
    let after = whole.get_after_help().cloned().unwrap_or_default();
    shown.about(about).after_help(after)
}
