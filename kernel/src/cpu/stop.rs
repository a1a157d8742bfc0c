//! What a core leaves behind that is stopped: where it was, and what it had to say. The core that
//! ends the run shows it, so that one core alone writes.

use core::arch::asm;
use core::fmt;
use core::mem::offset_of;
use core::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use profiler::address::{CodeAddress, StackAddress};
use profiler::format::Text;
use profiler::unwind::Registers;
use spin::Once;

use super::block::CoreBlock;
use super::per_core::per_core;
use super::{GS_BASE_SET, cores, stop_here};

/// Bytes of a message that are kept.
const MESSAGE_BYTES: usize = 256;

/// What a core leaves behind. It writes that itself, and once.
struct Left {
    /// It is about to say why it fails. NMIs let it.
    fails: AtomicBool,
    message: Once<Text<MESSAGE_BYTES>>,
    /// Program counter, stack pointer and frame pointer; a program counter of 0: none.
    registers: [AtomicU64; 3],
}

per_core! {
    /// What each core leaves behind.
    static LEFT: Left = Left {
        fails: AtomicBool::new(false),
        message: Once::new(),
        registers: [const { AtomicU64::new(0) }; 3],
    };
}

/// The running core's; `None` as long as it has no block.
fn own() -> Option<&'static Left> {
    GS_BASE_SET.load(Ordering::Relaxed).then(|| LEFT.current())
}

/// The running core fails, and is going to say why. Returns true if it has said so before: then
/// it has failed in that.
pub fn begin_failing() -> bool {
    own().is_some_and(|left| left.fails.swap(true, Ordering::Relaxed))
}

/// Returns true if the running core is about to say why it fails.
#[must_use]
pub fn is_failing() -> bool {
    own().is_some_and(|left| left.fails.load(Ordering::Relaxed))
}

/// The registers of the running code.
#[inline(always)]
#[must_use]
pub fn here() -> Registers {
    let (pc, sp, fp): (u64, u64, u64);
    // SAFETY: registers are read.
    unsafe {
        asm!(
            "lea {}, [rip]", "mov {}, rsp", "mov {}, rbp",
            out(reg) pc, out(reg) sp, out(reg) fp,
            options(nomem, nostack, preserves_flags),
        );
    };
    Registers {
        pc: CodeAddress(pc),
        sp: StackAddress(sp),
        fp: StackAddress(fp),
    }
}

/// Stops this core for good, where these registers are of.
pub fn stop_at(at: Registers) -> ! {
    leave_registers(at);
    stop_here()
}

/// The same of a core that fails, with what it has to say.
pub fn stop_failed(at: Registers, message: fmt::Arguments<'_>) -> ! {
    leave_registers(at);
    if let Some(left) = own() {
        // It may fail in formatting, and comes to `stop_at` then.
        let message = Text::formatted(message);
        left.message.call_once(|| message);
    }
    stop_here()
}

/// Where the tool finds the registers that a core of a dead kernel has left, and whether it fails.
#[must_use]
pub fn places() -> [u64; 2] {
    let left = LEFT.in_template();
    let at = |offset: usize| left + offset as u64;
    [at(offset_of!(Left, registers)), at(offset_of!(Left, fails))]
}

/// Leaves behind where this core has failed, or was stopped.
pub fn leave_registers(at: Registers) {
    let Some(left) = own() else { return };
    // What a core has failed of comes before what it fails of then.
    if left.registers[0].load(Ordering::Relaxed) != 0 {
        return;
    }
    for (to, from) in left.registers.iter().zip([at.pc.0, at.sp.0, at.fp.0]) {
        to.store(from, Ordering::Relaxed);
    }
}

/// Where `core` was stopped; `None` if that is not known. For a core that has stopped.
#[must_use]
pub fn registers_of(core: &CoreBlock) -> Option<Registers> {
    let registers = LEFT.get(core).registers.each_ref();
    let [pc, sp, fp] = registers.map(|register| register.load(Ordering::Relaxed));
    (pc != 0).then_some(Registers {
        pc: CodeAddress(pc),
        sp: StackAddress(sp),
        fp: StackAddress(fp),
    })
}

/// Returns true if `core` fails, or has failed.
#[must_use]
pub fn has_failed(core: &CoreBlock) -> bool {
    LEFT.get(core).fails.load(Ordering::Relaxed)
}

/// What `core` had to say.
#[must_use]
pub fn message_of(core: &CoreBlock) -> Option<&'static str> {
    LEFT.get(core).message.get().map(Text::as_str)
}

/// A core that fails, or has failed, if there is one.
#[must_use]
pub fn any_failed() -> Option<&'static CoreBlock> {
    cores().iter().copied().find(|core| has_failed(core))
}
