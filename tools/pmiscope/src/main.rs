//! The command `pmiscope`; all of it is in the library.

use std::process::ExitCode;

use clap::Parser as _;
use pmiscope::cli::{self, Cli};
use pmiscope::commands;
use pmiscope::exit::Exit;

fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(said) if !said.use_stderr() => said.exit(), // --help, --version
        Err(error) => {
            eprintln!("pmiscope: {}", cli::one_line(&error));
            return Exit::Usage.into();
        }
    };
    match commands::execute(&cli.command) {
        Ok(exit) => exit.into(),
        Err(error) => {
            eprintln!("pmiscope: {error:#}");
            Exit::Failure.into()
        }
    }
}
