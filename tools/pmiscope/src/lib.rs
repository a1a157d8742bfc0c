//! The host's side of pmiscope: it boots the kernel in QEMU, drains the rings
//! that the kernel fills, keeps the samples in a profile, and shows where the
//! time went.
//!
//! # Data flow
//!
//! `qemu` starts the machine on a memory file; `collect` finds the rings in
//! that file and moves their records, while the guest runs, into a [`profile`];
//! `report` and `flame` read the profile, complete its chains (`chain`), look
//! its addresses up by [`symbols`], and show it, `export` in the forms of other tools, `page` in browsers, `annotate` as code. `verify` compares every chain
//! with the true one. `attach` does the first two for a guest that somebody else has
//! started, `import` for a machine that sends by a serial line; `top` shows a run while it goes on; `foreign` reads what other profilers have recorded; `stress` draws boots; `cargo` builds
//! a project's kernel before. `commands` are the subcommands that tie these together.
//!
//! # What is public
//!
//! The command is the interface. Programs that write profiles of their own find the
//! format in [`profile`], [`qemu::Emulator`] and [`symbols::build_id`]. All else is
//! private, so that the compiler finds what is no longer used; [`internals`] lists
//! what this package's own tests and benches look at.

#![allow(
    missing_docs,
    reason = "what is reachable by `internals` alone is no interface"
)]

use std::io::{self, Write as _};
use std::process::ExitCode;

use clap::{CommandFactory as _, Parser as _};

mod addresses;
mod annotate;
mod attach;
mod capabilities;
mod cargo;
mod chain;
mod cli;
mod collect;
mod commands;
mod console;
mod control;
mod doctor;
mod exit;
mod export;
mod flame;
mod foreign;
mod import;
mod input;
mod output;
mod page;
mod postmortem;
#[warn(missing_docs)]
pub mod profile;
pub mod qemu;
mod report;
mod signals;
mod stress;
#[warn(missing_docs)]
pub mod symbols;
#[cfg(test)]
mod test_sample;
mod timeline;
mod top;
mod units;
mod verify;

/// Runs the command `pmiscope` with this process's arguments.
#[must_use]
pub fn main() -> ExitCode {
    signals::survive_size_limits();
    signals::see_children_end();
    qemu::allow_wardens();
    let cli = match cli::Cli::try_parse() {
        Ok(cli) => cli,
        Err(help) if !help.use_stderr() => return print_help(&help),
        Err(error) => {
            let command = cli::Cli::command();
            let mistake = cli::Mistake::new(&command, std::env::args_os());
            output::say!("pmiscope: {}", mistake.line(&error));
            return exit::Exit::Usage.into();
        }
    };
    match commands::execute(&cli.command) {
        Ok(exit) => exit.into(),
        Err(error) => {
            output::say!("pmiscope: {error:#}");
            exit::Exit::of_error(&error).into()
        }
    }
}

/// Runs the command `cargo pmiscope` with this process's arguments.
#[must_use]
pub fn cargo_main() -> ExitCode {
    match cargo::run() {
        Ok(exit) => exit.into(),
        Err(error) => {
            output::say!("cargo pmiscope: {error:#}");
            exit::Exit::Failure.into()
        }
    }
}

/// Prints what `--help` and `--version` ask for.
fn print_help(help: &clap::Error) -> ExitCode {
    // It may end without an end of line, which is then not written yet.
    match help.print().and_then(|()| io::stdout().flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            output::say!("pmiscope: cannot write to the standard output: {error}");
            exit::Exit::Failure.into()
        }
        _ => exit::Exit::Success.into(),
    }
}

/// What this package's tests and benches look at from outside; no interface.
#[doc(hidden)]
pub mod internals {
    pub use crate::chain::{Link, Repair};
    pub use crate::doctor::host::Kvm;
    pub use crate::profile::read::{Profile, ProfileError};
    pub use crate::symbols::callframe::{Caller, Callers};
    pub use crate::symbols::demangle::demangle;
    pub use crate::symbols::elf::entry_of;

    pub mod capabilities {
        pub use crate::capabilities::Capabilities;
        pub use crate::capabilities::json::Document;
        pub use crate::capabilities::list::text;
    }

    pub mod collect {
        pub use crate::collect::{Collector, InheritedFile, Mapping, Search, find, guest_memory};
    }

    pub mod import {
        pub use crate::import::{Arrived, Blocks, Image, ImageError};
    }

    pub mod flame {
        pub use crate::flame::{Root, Stacks, draw};
        pub use crate::output::folded::unescape;
    }

    pub mod qemu {
        pub use crate::qemu::disc::{Disc, Drive};
        pub use crate::qemu::emulator::{Choice, Qemu, has_lab};
        pub use crate::qemu::ending::{End, Seen};
        pub use crate::qemu::guest::{Ended, Guest, GuestMemory, Limits, Look, Observer};
        pub use crate::qemu::load::Load;
        pub use crate::qemu::machine::{Additions, Boot, Machine};
    }

    pub mod report {
        pub use crate::report::event::find as find_event;
        pub use crate::report::model::{Core, Cost, CounterTotals, Counters};
        pub use crate::report::text::text;
        pub use crate::report::{
            Only, Options, Pattern, Report, Selection, SortBy, StackFilter, Tally, TimeWindow, json,
        };
    }

    pub mod counts {
        pub use crate::report::counts::text::text;
        pub use crate::report::counts::{Counts, Selection, json};
    }

    pub mod postmortem {
        pub use crate::postmortem::{Memory, told_without_files};
    }

    pub mod units {
        pub use crate::units::{duration, grouped, percent, size};
    }
}
