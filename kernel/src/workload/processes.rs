//! Processes: programs in user mode, each run to its end, one after the other on each core.
//!
//! A unit of `process-NAME` runs the program of that name once: a process is made, works, and is
//! gone. `processes` runs all of them but the hostile one. What each one's profile should show is at the top of its file
//! in `kernel/programs/src/bin/`.

use super::scratch::Scratch;
use crate::cpu;
use crate::process;
use crate::task;

/// The programs of `processes`, each with a workload of its own: its name, and the number of the
/// name for its samples.
pub type Program = (&'static str, u16);

/// Runs a program to its end.
///
/// # Panics
///
/// If it cannot be run, or does not end as it should.
pub fn run((name, number): Program) {
    match process::run(name, number) {
        Ok(0) => {}
        Ok(status) => panic!("the program {name} has ended with the status {status:#x}"),
        Err(error) => panic!("the program {name} cannot be run: {error}"),
    }
}

/// The one that does what programs must not.
pub const HOSTILE: &str = "process-hostile";

/// Ticks between looks of a core that has nothing to do but to run what others send it.
const REST_TICKS: u64 = 20_000;

/// Runs something on the first core. The others run what tasks come to them.
pub fn on_first_core(action: fn()) {
    if cpu::current_index() == 0 {
        action();
    } else {
        task::sleep(REST_TICKS);
    }
}

/// A unit of work: all programs.
pub fn unit(_: &mut Scratch) {
    for program in super::run::programs().filter(|program| program.0 != HOSTILE) {
        task::set_name(program.1);
        run(program);
    }
}
