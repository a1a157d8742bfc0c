//! The monitor: a prompt at which somebody looks around in a kernel that stands still.
//!
//! It is entered on the core that has failed, or on the first core by a key, or before the run. All
//! other cores are held meanwhile, by NMI, so that interrupts may be off there: see [`crate::cpu::stop`].
//! No command takes a lock that a held core may have, allocates, or faults.
//!
//! * [`session`]: the prompt; [`owner`]: whose it is. [`commands`]: all commands; layers above [`add`] theirs.
//! * [`control`], [`code`], [`memory`], [`tasks`], [`machine`], [`call`]: those of the monitor itself.
//! * [`cores`]: which core or place is meant. [`key`]: what leads here while all runs. [`console`].

mod call;
mod code;
mod commands;
mod console;
mod control;
mod cores;
mod key;
mod machine;
mod memory;
mod owner;
mod session;
mod tasks;

use core::fmt::Write;
use core::sync::atomic::Ordering;

use kernel_core::monitor::Problem;
use kernel_core::words::{MonitorEntry, Words};
use profiler::entry::TrapFrame;
use profiler::hw::control::allow_nmis;
use profiler::unwind::Registers;

use crate::boot::{BootInfo, entry};
use crate::cpu::stop::StandStill;
use crate::cpu::{self, CoreBlock, stop};
use crate::exit::{self, ExitCode, Failure};
use crate::memory::stacks;
use crate::trap::{self, last_words};
use crate::{smp, task};
use console::Console;
use key::Came;
use owner::Leave;

pub use commands::add;
pub use cores::core_if_named;
pub use key::is_expected;
pub use owner::check_is_here;

/// Prepares what the monitor needs, if the command line wants it: before there are stacks.
pub fn prepare(words: &Words<'_>) {
    if words.monitor == MonitorEntry::Off {
        return;
    }
    stacks::paint_from_now_on();
    if words.monitor.is_by_failure() {
        smp::hold_on_failure();
        last_words::before_end(after_failure);
    }
}

/// Lets a key lead to the monitor, and shows the prompt, if the command line wants it: when all
/// cores are up.
pub fn start(boot: &BootInfo, words: &Words<'_>) {
    if words.monitor.is_by_key() {
        exit::on_claim(key::stop);
        key::start(boot);
    }
    if words.monitor.is_at_start() {
        x86_64::instructions::interrupts::without_interrupts(|| {
            enter("before the run", stop::here(), None);
        });
    }
}

/// An NMI of the first core, which may be the port's, has interrupted what is in `frame`. Returns
/// true if it was the port's. Before a session it calls `stand_still`.
#[cold]
pub fn on_nmi(frame: &TrapFrame, stand_still: impl FnOnce()) -> bool {
    let is_ending = exit::is_ending_elsewhere() || exit::is_ending_here();
    if is_ending || owner::is_open() {
        return false;
    }
    let came = key::take_by_nmi();
    if came == Came::Key {
        stand_still();
        enter("by key", trap::registers_of(frame), Some(frame));
    }
    came != Came::Nothing
}

/// Lets all cores go on behind the command that is running.
///
/// # Errors
///
/// It does not run on the core with the prompt.
pub fn leave_to_go_on() -> Result<(), Problem> {
    owner::leave_by(Leave::Resume)
}

/// Holds all other cores, and shows the prompt. Returns when all go on.
fn enter(how: &str, at: Registers, frame: Option<&TrapFrame>) {
    if !smp::hold_others() {
        return;
    }
    stop::leave_frame(frame);
    stop::leave_own(Some(at));
    let standing = StandStill::begin();
    greet(how);
    let leave = session::run();
    drop(standing);
    stop::leave_own(None);
    stop::leave_frame(None);
    if leave != Leave::Lost {
        smp::release_others();
    }
    key::restart();
    if leave == Leave::Idle {
        stop::recover();
        idle();
    }
    if leave == Leave::Lost {
        // What it asks for instead.
        stop::rest(at, frame);
    }
}

fn greet(how: &str) {
    let me = cpu::current_index();
    let mut out = Console;
    // The port takes what it is given.
    let _ = writeln!(
        out,
        "\nmonitor: core {me}, {how}; `help` lists commands, `resume` lets all go on"
    );
    let others = cpu::cores().iter().filter(|core| core.index != me);
    for core in others.filter(|core| core.online.load(Ordering::Acquire)) {
        if !stop::is_at_rest(core) {
            let _ = writeln!(out, "monitor: core {} does not answer", core.index);
        }
    }
}

/// The prompt of a core that has failed. Returns if the run is to end.
fn after_failure(code: ExitCode, failure: &Failure<'_>) {
    if owner::is_open() && stop::is_asking() && owner::is_here() {
        // In the monitor itself.
        return;
    }
    control::set_status(code as u8);
    stop::leave_frame(failure.frame);
    stop::leave_own(Some(failure.at));
    let _standing = StandStill::begin();
    greet("which has failed");
    match session::run() {
        Leave::End => smp::stop_others(),
        Leave::Lost => {
            stop::rest(failure.at, failure.frame);
        }
        Leave::Idle => {
            stop::recover();
            go_on_without_it("gives up what it did");
            key::restart();
            idle();
        }
        Leave::Resume | Leave::Stay => {
            go_on_without_it("has failed and stays at rest; ^C leads back to it");
            rest_failed(failure)
        }
    }
}

/// Lets all others go on, whose run is no longer sampled.
fn go_on_without_it(what: &str) {
    let me = cpu::current_index();
    let _ = writeln!(
        Console,
        "monitor: core {me} {what}; the others go on, and are not sampled any more"
    );
    last_words::forget();
    stop::tell();
    exit::resume();
    smp::release_others();
}

/// Waits for the key, and for what others ask for. NMIs may be blocked here, and interrupts are off.
fn rest_failed(failure: &Failure<'_>) -> ! {
    loop {
        stop::rest(failure.at, failure.frame);
        if !owner::is_open() && key::take() == Came::Key {
            enter("which has failed", failure.at, failure.frame);
        }
        core::hint::spin_loop();
    }
}

/// Gives up what this core does, for its idle loop, and lets NMIs in again.
fn idle() -> ! {
    entry::restart_stack(cpu::current(), idle_main)
}

extern "C" fn idle_main(core: &'static CoreBlock) -> ! {
    allow_nmis();
    if task::runs_tasks(core) {
        task::run(core)
    }
    smp::idle()
}
