//! The command line, or the end of the run if it cannot be understood.

use profiler::contract::settings::Settings;

use crate::exit::{self, ExitCode};

/// Parses the words that the kernel was started with. A word that is not known
/// ends the run: a profile of something else than what was asked for is worth
/// nothing.
#[must_use]
pub fn parse(command_line: &'static str) -> Settings<'static> {
    Settings::parse(command_line).unwrap_or_else(|problem| {
        let problem = format_args!("command line: {problem}");
        exit::refuse(ExitCode::BadCommandLine, "", &problem)
    })
}
