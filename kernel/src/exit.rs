//! How a run ends: a status to QEMU, and all cores at rest.

use core::sync::atomic::{AtomicU32, Ordering};

use x86_64::instructions::{hlt, interrupts, port::PortWriteOnly};

use crate::cpu;
use crate::sampling;
use crate::serial;
use crate::smp;

/// Why the run ended. QEMU's own status is twice the number plus one.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum ExitCode {
    /// All was done. (33)
    Success = 0x10,
    /// The command line has a word that is not understood. (35)
    BadCommandLine = 0x11,
    /// A panic. (37)
    Panic = 0x12,
    /// A trap that nobody handles. (39)
    Exception = 0x13,
    /// No source of overflows works here. (41)
    SamplingUnavailable = 0x14,
}

/// QEMU's `isa-debug-exit`, where the tools put it.
const DEBUG_EXIT: u16 = 0xf4;

const NOBODY: u32 = u32::MAX;

/// The core that is ending the run.
static ENDING: AtomicU32 = AtomicU32::new(NOBODY);

/// Makes this core the one that ends the run, and stops the others. If another
/// core is at it already, this one does not return; if this one is (a panic in a
/// panic, say), it goes on.
pub fn begin() {
    interrupts::disable();
    // No sample from here on: its handler could wait for a core that is stopped.
    sampling::cease();
    let me = cpu::current_index();
    match ENDING.compare_exchange(NOBODY, me, Ordering::AcqRel, Ordering::Acquire) {
        Ok(_) => smp::stop_others(),
        Err(other) if other == me => {}
        Err(_) => smp::stop_here(),
    }
}

/// Whether this core was ending the run before.
#[must_use]
pub fn is_ending_here() -> bool {
    ENDING.load(Ordering::Acquire) == cpu::current_index()
}

/// Ends the run. On a machine without the device that takes the status, this
/// core halts for ever, as the others do by then.
pub fn exit(code: ExitCode) -> ! {
    begin();
    if code != ExitCode::Success {
        sampling::fail();
    }
    serial::drain();
    // SAFETY: with the device QEMU ends; without it nothing listens at this port
    // on a PC.
    unsafe { PortWriteOnly::new(DEBUG_EXIT).write(code as u8) };
    loop {
        hlt();
    }
}
