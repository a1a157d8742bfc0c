//! The interrupt flag and the task priority of the running core.

use core::arch::asm;

/// In RFLAGS: maskable interrupts are let in.
pub const INTERRUPT_FLAG: u64 = 1 << 9;
/// In RFLAGS: a trap after each instruction.
pub const TRAP_FLAG: u64 = 1 << 8;
/// In RFLAGS: breakpoints do not stop the next instruction.
pub const RESUME_FLAG: u64 = 1 << 16;

/// Lets maskable interrupts in.
#[inline]
pub fn enable_interrupts() {
    // SAFETY: whoever runs here has handlers for what may come. Not `nomem`: what was
    // stored before is stored when one comes.
    unsafe { asm!("sti", options(nostack, preserves_flags)) };
}

/// Keeps maskable interrupts out.
#[inline]
pub(crate) fn disable_interrupts() {
    // SAFETY: nothing is interrupted that would not be anyway.
    unsafe { asm!("cli", options(nostack, preserves_flags)) };
}

/// Returns true if maskable interrupts are let in.
#[must_use]
#[inline]
pub(crate) fn interrupts_are_enabled() -> bool {
    let flags: u64;
    // SAFETY: reads the flags. The kernel target has no red zone.
    unsafe { asm!("pushfq", "pop {}", out(reg) flags, options(preserves_flags)) };
    flags & INTERRUPT_FLAG != 0
}

/// The running core's task priority class, 0 to 15: interrupts of that class or a
/// lower one wait (SDM vol. 3, 12.8.6, CR8).
#[must_use]
pub(crate) fn task_priority() -> u8 {
    let class: u64;
    // SAFETY: reads a register.
    unsafe { asm!("mov {}, cr8", out(reg) class, options(nomem, nostack, preserves_flags)) };
    class.to_le_bytes()[0]
}

/// Sets the running core's task priority class, 0 to 15.
pub(crate) fn set_task_priority(class: u8) {
    let class = u64::from(class & 15);
    // SAFETY: any class may be written. Not `nomem`: what the core did before is
    // done before interrupts of the class can come.
    unsafe { asm!("mov cr8, {}", in(reg) class, options(nostack, preserves_flags)) };
}

/// Sets the running core's trap flag. The first trap comes after the instruction
/// behind the one that sets it.
#[inline(always)]
pub fn set_trap_flag() {
    // SAFETY: whoever is stepped has a handler of the trap, on a stack of its own. The red
    // zone is not used in kernels.
    unsafe {
        asm!("pushfq", "or qword ptr [rsp], {tf}", "popfq", tf = const TRAP_FLAG);
    };
}

/// Halts for good, maskable interrupts off.
pub fn halt() -> ! {
    loop {
        // SAFETY: an NMI ends the halt, and the next one begins.
        unsafe { asm!("cli", "hlt", options(nomem, nostack)) };
    }
}

/// Lets NMIs in that the one whose handler is running keeps out, as the handler's return
/// would. The entry of NMIs must have left the stack that the processor switched to.
pub fn allow_nmis() {
    // SAFETY: goes on behind itself, with the stack and the flags as they are. No code
    // that was compiled runs on the landing, and anywhere else an NMI is an interrupt like
    // any other.
    unsafe {
        asm!(
            "mov {stack}, rsp",
            "mov {word:e}, ss",
            "push {word}",
            "push {stack}",
            "pushfq",
            "mov {word:e}, cs",
            "push {word}",
            "lea {word}, [rip + 2f]",
            "push {word}",
            "iretq",
            "2:",
            stack = out(reg) _,
            word = out(reg) _,
        );
    }
}
