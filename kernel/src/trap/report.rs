//! The end of a run by a trap without a handler.

use core::fmt;

use profiler::entry::nmi;
use x86_64::VirtAddr;
use x86_64::registers::control::Cr2;

use super::{TrapFrame, vector};
use crate::exit::{self, ExitCode};
use crate::log;
use crate::memory::stacks;

/// Says what happened, where, and on which stack; then exits.
pub(super) fn unhandled(vector: u8, frame: &TrapFrame) -> ! {
    // While this core was already saying why the run ends: what was to be shown is
    // not to be trusted, so nothing is.
    if exit::is_ending_here() {
        log::raw("\ntrap while ending the run\n");
        exit::exit(ExitCode::Exception);
    }
    exit::begin();
    let name = vector::name(vector);
    let rip = frame.rip;
    log::last_words(format_args!(
        "{name} (vector {vector}) at {rip:#018x}\n{frame}\n{}{}{}",
        Accessed { vector, frame },
        Landing(rip),
        OnStack(frame.rsp),
    ));
    exit::exit(ExitCode::Exception)
}

/// What was accessed, if it was memory, and whose it is.
struct Accessed<'a> {
    vector: u8,
    frame: &'a TrapFrame,
}

impl fmt::Display for Accessed<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // A double fault is often a page fault that found no stack: CR2 still says
        // which address that was.
        if ![vector::PAGE_FAULT, vector::DOUBLE_FAULT].contains(&self.vector) {
            return Ok(());
        }
        let address = Cr2::read_raw();
        write!(f, "  cr2 {address:016x}")?;
        if let Some(place) = stacks::locate(VirtAddr::new_truncate(address)) {
            write!(f, ": {place}")?;
        }
        if self.vector == vector::PAGE_FAULT {
            // SDM vol. 3, figure 5-12.
            let code = self.frame.error_code;
            let bit = |mask, yes, no| if code & mask != 0 { yes } else { no };
            let access = bit(1 << 4, "executing", bit(1 << 1, "writing", "reading"));
            let cause = bit(1, "not allowed", "not mapped");
            write!(f, " ({access}, {cause})")?;
        }
        f.write_str("\n")
    }
}

/// Why there is an invalid opcode in the entry of NMIs.
struct Landing(u64);

impl fmt::Display for Landing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if nmi::interrupted_landing(self.0) {
            f.write_str(
                "  an NMI came while NMIs were blocked, and overwrote where another one is to return\n  \
                 to: firmware lets them in while it handles an SMI; sample by IRQ, delivery=irq\n",
            )?;
        }
        Ok(())
    }
}

/// The stack that was in use.
struct OnStack(u64);

impl fmt::Display for OnStack {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // A full descending stack: the pointer may equal the upper end.
        let last_pushed = VirtAddr::new_truncate(self.0.wrapping_sub(1));
        match stacks::locate(last_pushed) {
            Some(place) => write!(f, "  stack pointer: {place}"),
            None => f.write_str("  stack pointer: on no stack of the kernel"),
        }
    }
}
