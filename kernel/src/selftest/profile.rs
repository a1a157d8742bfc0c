//! The monitor's commands of the run, asked behind a run whose samples are known: for the test that
//! compares them with what the host has.

use core::fmt;

use kernel_core::monitor::Arguments;
use spin::Once;

use crate::exit;
use crate::live;
use crate::task;
use crate::watch;
use crate::workload::scratch::Scratch;
use crate::workload::{arithmetic, hash, recursion};

/// What is asked.
const LINES: &[&str] = &[
    "prof",
    "prof top 1000",
    "prof top 2 by task",
    "prof top by core",
    "prof top by moon",
    "prof top by lock",
    "locks",
    "prof stop",
    "prof period 0",
    "prof event nothing",
    "prof sleep",
    "trace 3",
    "trace 65",
    "stat arithmetic",
    "stat ping-pong",
    "stat nothing",
];

/// A unit of three workloads, each as a task of its own.
pub(super) fn unit(scratch: &mut Scratch) {
    static ASKS: Once<()> = Once::new();
    ASKS.call_once(|| exit::on_end(ask_all));
    task::set_name(1);
    arithmetic::unit(scratch);
    task::set_name(2);
    hash::unit(scratch);
    task::set_name(3);
    recursion::unit(scratch);
}

fn ask_all() {
    for line in LINES {
        ask(line);
    }
}

/// What a prompt does with a line.
fn ask(line: &str) {
    let mut out = Raw;
    let (name, rest) = line.split_once(' ').unwrap_or((line, ""));
    let commands = live::COMMANDS.iter().chain(watch::COMMANDS);
    let Some(command) = commands.clone().find(|command| command.name == name) else {
        return;
    };
    // It takes what it is given.
    let _ = fmt::Write::write_fmt(&mut out, format_args!("monitor> {line}\n"));
    if let Err(problem) = (command.run)(Arguments::new(rest), &mut out) {
        let _ = fmt::Write::write_fmt(&mut out, format_args!("problem: {problem}\n"));
    }
}

struct Raw;

impl fmt::Write for Raw {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        crate::log::raw(text);
        Ok(())
    }
}
