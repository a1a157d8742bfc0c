//! `completions` and `man`: what shells and `man` know of the tool, made of its command line.

use std::fs;

use anyhow::{Context as _, Result};

use crate::cli::{CompletionsArgs, ManArgs, shown};
use crate::exit::Exit;
use crate::output::to_stdout;

/// The name of the tool.
const NAME: &str = "pmiscope";

/// Prints the completions for a shell.
pub(super) fn completions(arguments: &CompletionsArgs) -> Result<Exit> {
    let mut script = Vec::new();
    let mut command = shown();
    clap_complete::generate(arguments.shell, &mut command, NAME, &mut script);
    to_stdout(&script).context("cannot write the completions")?;
    Ok(Exit::Success)
}

/// Writes the man pages.
pub(super) fn man(arguments: &ManArgs) -> Result<Exit> {
    let folder = &arguments.output;
    let problem = || format!("cannot write man pages to {}", folder.display());
    fs::create_dir_all(folder).with_context(problem)?;
    clap_mangen::generate_to(shown(), folder).with_context(problem)?;
    Ok(Exit::Success)
}
