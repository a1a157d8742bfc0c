//! How a run ends: a status to QEMU, or what the command line says of the machine, and all
//! cores at rest.
//!
//! Who has something to do then registers a hook:
//!
//! | hook           | called on                              | for example                |
//! |----------------|----------------------------------------|----------------------------|
//! | [`on_begin`]   | every core that is about to end the run | no sample any more         |
//! | [`on_claim`]   | the one core that does, once           | stop the other cores       |
//! | [`on_failure`] | that core, if the run has failed       | tell the host              |
//! | [`on_end`]     | that core, when nothing more is done   | send what was sampled      |

use core::fmt::{self, Display};
use core::sync::atomic::{AtomicU32, Ordering};

use kernel_core::words::AtEnd;
use profiler::entry::TrapFrame;
use profiler::hw::exit as status;
use profiler::unwind::Registers;
use spin::Once;
use x86_64::instructions::{hlt, interrupts};

use crate::cpu::{self, stop};
use crate::{power, serial};

/// Why the run ended. QEMU's own status is twice the number plus one.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum ExitCode {
    /// All was done. (33)
    Success = status::SUCCESS,
    /// The command line has a word that is not understood. (35)
    BadCommandLine = status::BAD_COMMAND_LINE,
    /// A panic. (37)
    Panic = status::PANIC,
    /// A trap without a handler. (39)
    Exception = status::EXCEPTION,
    /// No source of overflows works here. (41)
    SamplingUnavailable = status::UNAVAILABLE,
}

const NOBODY: u32 = u32::MAX;

/// The core that is ending the run.
static ENDING: AtomicU32 = AtomicU32::new(NOBODY);

/// The most hooks of a kind.
const MAX_HOOKS: usize = 4;

/// Functions that are called in the order in which they were registered.
struct Hooks([Once<fn()>; MAX_HOOKS]);

impl Hooks {
    const fn new() -> Self {
        Self([const { Once::new() }; MAX_HOOKS])
    }

    fn register(&self, hook: fn()) {
        let mut is_registered = false;
        for slot in &self.0 {
            slot.call_once(|| {
                is_registered = true;
                hook
            });
            if is_registered {
                return;
            }
        }
        panic!("there are more than {MAX_HOOKS} hooks");
    }

    fn call(&self) {
        self.0.iter().filter_map(Once::get).for_each(|hook| hook());
    }
}

static ON_BEGIN: Hooks = Hooks::new();
static ON_CLAIM: Hooks = Hooks::new();
static ON_FAILURE: Hooks = Hooks::new();
static ON_END: Hooks = Hooks::new();

/// Registers what every core does first that is about to end the run. It may be
/// called several times, and on several cores at once.
///
/// # Panics
///
/// If there are too many hooks.
pub fn on_begin(hook: fn()) {
    ON_BEGIN.register(hook);
}

/// Registers what the core does that ends the run: once, interrupts off.
///
/// # Panics
///
/// If there are too many hooks.
pub fn on_claim(hook: fn()) {
    ON_CLAIM.register(hook);
}

/// Registers what is done if the run ends with another code than
/// [`ExitCode::Success`].
///
/// # Panics
///
/// If there are too many hooks.
pub fn on_failure(hook: fn()) {
    ON_FAILURE.register(hook);
}

/// Registers what is done before the machine is left, however the run has ended. It is called
/// again in a panic in it.
///
/// # Panics
///
/// If there are too many hooks.
pub fn on_end(hook: fn()) {
    ON_END.register(hook);
}

/// Why the run has to end here.
pub struct Failure<'a> {
    /// Where the core was.
    pub at: Registers,
    /// All its registers, if they are known.
    pub frame: Option<&'a TrapFrame>,
    /// What it has to say, in a line or two.
    pub message: fmt::Arguments<'a>,
}

/// Makes this core the one that ends the run. Does not return if another core is
/// ending it already, unless that lets all go on; returns at once if this one is, as in a panic
/// in a panic.
fn begin() {
    while !claim() {
        stop::rest(stop::here(), None);
    }
}

/// The same for a core that fails. Where another one is ending the run, that will show this
/// failure as well.
pub fn begin_failed(failure: &Failure<'_>) {
    let again = stop::begin_failing();
    if claim() {
        stop::leave_registers(failure.at);
        return;
    }
    if again {
        stop::stop_at(failure.at);
    }
    stop::stop_failed(failure.at, failure.message)
}

/// Returns true if this core is the one that ends the run.
fn claim() -> bool {
    interrupts::disable();
    // On this core before it can stop for another one.
    ON_BEGIN.call();
    let me = cpu::current_index();
    match ENDING.compare_exchange(NOBODY, me, Ordering::AcqRel, Ordering::Acquire) {
        Ok(_) => ON_CLAIM.call(),
        Err(other) => return other == me,
    }
    true
}

/// The run goes on, which this core was ending because it has failed.
pub fn resume() {
    let me = cpu::current_index();
    // Another core's, if that is ending it.
    let _ = ENDING.compare_exchange(me, NOBODY, Ordering::AcqRel, Ordering::Relaxed);
}

/// Returns true if another core than this one is ending the run.
#[must_use]
pub fn is_ending_elsewhere() -> bool {
    ![NOBODY, cpu::current_index()].contains(&ENDING.load(Ordering::Acquire))
}

/// Returns true if this core is the one that ends the run.
#[must_use]
pub fn is_ending_here() -> bool {
    ENDING.load(Ordering::Acquire) == cpu::current_index()
}

/// What tells the host why there is no run.
static ON_REFUSAL: Once<fn(&dyn Display)> = Once::new();

/// Registers what tells the host why there is no run: see [`refuse`].
pub fn on_refusal(hook: fn(&dyn Display)) {
    ON_REFUSAL.call_once(|| hook);
}

/// Ends the run before it has begun: `problem` says why, and `topic` of what, for the log.
pub fn refuse(code: ExitCode, topic: &str, problem: &dyn Display) -> ! {
    log::error!("{topic}{problem}");
    if let Some(hook) = ON_REFUSAL.get() {
        hook(problem);
    }
    exit(code)
}

/// Ends the run. Where the machine is to stay, or does not do what it is told, this core halts
/// for ever, as the others do by then.
///
/// Where all was done but another core has failed meanwhile, or before, it is as if this one had.
pub fn exit(code: ExitCode) -> ! {
    begin();
    let code = match stop::any_failed().filter(|_| code == ExitCode::Success) {
        Some(core) => {
            let (index, message) = (core.index, stop::message_of(core).unwrap_or_default());
            if stop::has_told(core) {
                log::error!("core {index} has failed before, so the run has failed");
            } else {
                log::error!("core {index} has failed while the run ended: {message}");
            }
            ExitCode::Panic
        }
        None => code,
    };
    if code != ExitCode::Success {
        ON_FAILURE.call();
    }
    ON_END.call();
    leave(code)
}

/// Ends a run that has not come to its end, as somebody wants it, with this status. That of
/// [`ExitCode::Success`] does not say that it has failed.
pub fn exit_early(status: u8) -> ! {
    begin();
    if status != ExitCode::Success as u8 || stop::any_failed().is_some() {
        ON_FAILURE.call();
    }
    ON_END.call();
    serial::drain();
    status::exit_qemu(status);
    halt()
}

/// Leaves the machine as it is, without any hook: for what fails in those.
pub fn leave(code: ExitCode) -> ! {
    serial::drain();
    match power::at_end() {
        AtEnd::Exit => status::exit_qemu(code as u8),
        AtEnd::Stay => {}
        AtEnd::Reboot => power::reboot(),
        AtEnd::Off => power::off(),
    }
    halt()
}

fn halt() -> ! {
    loop {
        hlt();
    }
}
