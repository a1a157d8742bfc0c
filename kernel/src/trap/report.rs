//! The end of a run by a trap without a handler.

use core::fmt;

use kernel_core::exceptions::{ErrorCode, Flags};
use profiler::entry::{TrapFrame, nmi};
use x86_64::VirtAddr;
use x86_64::registers::control::{Cr2, Cr3};
use x86_64::registers::model_specific::{FsBase, GsBase};

use super::backtrace::Symbol;
use super::walk::registers_of;
use super::{last_words, vector};
use crate::cpu;
use crate::exit::{ExitCode, Failure};
use crate::memory::stacks;

/// Says what happened, where, and on which stack; then exits.
pub(super) fn unhandled(vector: u8, frame: &TrapFrame) -> ! {
    // Before anything faults that shows it.
    let cr2 = Cr2::read_raw();
    let name = vector::name(vector);
    let rip = frame.rip;
    let place = Symbol::of_instruction(rip);
    let source = place.source();
    let failure = Failure {
        at: registers_of(frame),
        frame: Some(frame),
        message: format_args!("{name} (vector {vector}) at {rip:#018x}{place}{source}"),
    };
    let details = format_args!(
        "{frame}\n{}{}{}{}\n",
        System { frame },
        Accessed { vector, cr2, frame },
        Landing(rip),
        OnStack(frame.rsp),
    );
    last_words::fail(ExitCode::Exception, "trap", &failure, details)
}

/// What the frame does not have.
struct System<'a> {
    frame: &'a TrapFrame,
}

impl fmt::Display for System<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "  rflags {}", Flags(self.frame.rflags))?;
        let cr3 = Cr3::read_raw().0.start_address().as_u64();
        let (fs, gs) = (FsBase::read().as_u64(), GsBase::read().as_u64());
        writeln!(f, "  cr3 {cr3:016x}  fs base {fs:016x}  gs base {gs:016x}")?;
        let index = cpu::current_index();
        let core = cpu::cores().get(index as usize);
        match core {
            Some(core) => writeln!(f, "  core {index}, APIC id {}", core.apic_id),
            None => writeln!(f, "  core {index}, before it has a block"),
        }
    }
}

/// What was accessed, or what the error code says.
struct Accessed<'a> {
    vector: u8,
    /// The address of the last page fault.
    cr2: u64,
    frame: &'a TrapFrame,
}

impl fmt::Display for Accessed<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let error = ErrorCode {
            vector: self.vector,
            code: self.frame.error_code,
        };
        // A double fault is often a page fault that found no stack: CR2 still says
        // which address that was.
        if ![vector::PAGE_FAULT, vector::DOUBLE_FAULT].contains(&self.vector) {
            return if error.has_meaning() {
                writeln!(f, "  error code: {error}")
            } else {
                Ok(())
            };
        }
        write!(f, "  cr2 {:016x}", self.cr2)?;
        if let Some(place) = stacks::locate(VirtAddr::new_truncate(self.cr2)) {
            write!(f, ": {place}")?;
        }
        if error.has_meaning() {
            write!(f, " ({error})")?;
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
