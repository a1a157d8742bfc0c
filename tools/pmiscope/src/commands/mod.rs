//! The subcommands.

mod annotate;
mod attach;
mod capabilities;
mod ctl;
mod diff;
mod doctor;
mod embed;
mod export;
mod html;
mod import;
mod kernel;
mod list;
mod monitor;
mod postmortem;
mod programs;
mod run;
mod select;
mod serve;
mod shell;
mod show;
mod stress_boot;
mod symbols;
mod timeline;
mod verify;
mod views;

use std::io;

use crate::cli::Command;
use crate::exit::Exit;
use crate::output::{say, to_stdout};
use crate::qemu;

/// Executes a subcommand.
///
/// # Errors
///
/// A message that says what failed and what to do about it.
pub fn execute(command: &Command) -> anyhow::Result<Exit> {
    match command {
        Command::Run(arguments) => run::run(arguments),
        Command::Top(arguments) => run::top(&arguments.run),
        Command::Stat(arguments) => run::stat(arguments),
        Command::Attach(arguments) => attach::attach(arguments),
        Command::Import(arguments) => import::import(arguments),
        Command::Report(arguments) => show::report(arguments),
        Command::Diff(arguments) => diff::diff(arguments),
        Command::Timeline(arguments) => timeline::timeline(arguments),
        Command::Flamegraph(arguments) => show::flamegraph(arguments),
        Command::Export(arguments) => export::export(arguments),
        Command::Annotate(arguments) => annotate::annotate(arguments),
        Command::EmbedSymbols(arguments) => embed::embed(arguments),
        Command::Html(arguments) => html::html(arguments),
        Command::Serve(arguments) => serve::serve(arguments),
        Command::Verify(arguments) => verify::run(arguments),
        Command::Ctl(arguments) => ctl::run(arguments),
        Command::Monitor(arguments) => monitor::run(arguments),
        Command::Postmortem(arguments) => postmortem::postmortem(arguments),
        Command::Log(arguments) => postmortem::log(arguments),
        Command::List(arguments) => list::list(arguments),
        Command::Doctor(arguments) => doctor::doctor(arguments),
        Command::StressBoot(arguments) => stress_boot::run(arguments),
        Command::Completions(arguments) => shell::completions(arguments),
        Command::Man(arguments) => shell::man(arguments),
        Command::Warden(arguments) => {
            if !qemu::is_warden() {
                say!("pmiscope: warden: pmiscope alone starts it, for a QEMU of its own");
                return Ok(Exit::Usage);
            }
            qemu::watch(arguments.mark)?;
            Ok(Exit::Success)
        }
    }
}

/// A message behind what it explains, if there is one.
fn with_reason(message: &str) -> String {
    match message {
        "" => String::new(),
        message => format!(": {message}"),
    }
}

/// Prints to the standard output.
fn print(text: &str) -> io::Result<()> {
    to_stdout(text.as_bytes())
}
