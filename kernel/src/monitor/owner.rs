//! Whose the prompt is, and how it is left.

use core::sync::atomic::{AtomicU8, AtomicU32, Ordering};

use kernel_core::monitor::Problem;

use crate::cpu::{self, stop};

/// How a session ends.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum Leave {
    /// It goes on.
    Stay,
    /// All go on where they were.
    Resume,
    /// The same, but for this core, which goes to its idle loop.
    Idle,
    /// The run ends.
    End,
    /// Another core holds all now, or ends the run.
    Lost,
}

/// What the last command wants.
static LEAVE: AtomicU8 = AtomicU8::new(0);

const NOBODY: u32 = u32::MAX;

/// The core at whose prompt somebody is.
static OWNER: AtomicU32 = AtomicU32::new(NOBODY);

/// The running core has the prompt from now on.
pub fn open() {
    OWNER.store(cpu::current_index(), Ordering::Release);
}

/// It has it no more, if no other core has taken it.
pub fn close() {
    let me = cpu::current_index();
    let _ = OWNER.compare_exchange(me, NOBODY, Ordering::AcqRel, Ordering::Relaxed);
}

/// Returns true if a core is at the prompt.
#[must_use]
pub fn is_open() -> bool {
    OWNER.load(Ordering::Acquire) != NOBODY
}

/// Lets the session end behind the running command.
///
/// # Errors
///
/// It is not the session's core that asks.
pub fn leave_by(leave: Leave) -> Result<(), Problem> {
    check_is_here()?;
    LEAVE.store(leave as u8, Ordering::Release);
    Ok(())
}

/// Makes sure that the prompt is the running core's.
///
/// # Errors
///
/// It is not.
pub fn check_is_here() -> Result<(), Problem> {
    let problem = || {
        Problem::new(format_args!(
            "only the core with the prompt can do that: leave out `on`"
        ))
    };
    is_here().then_some(()).ok_or_else(problem)
}

/// How the last command wants the session to end; it is forgotten.
pub fn wanted() -> Leave {
    match LEAVE.swap(0, Ordering::AcqRel) {
        1 => Leave::Resume,
        2 => Leave::Idle,
        3 => Leave::End,
        _ => Leave::Stay,
    }
}

/// Returns true if another core is the one that asks for something now.
#[must_use]
pub fn is_lost() -> bool {
    !stop::is_asking()
}

/// Returns true if the prompt is the running core's.
#[must_use]
pub fn is_here() -> bool {
    is_of(cpu::current_index())
}

/// Returns true if the prompt is that core's.
#[must_use]
pub fn is_of(core: u32) -> bool {
    OWNER.load(Ordering::Acquire) == core
}
