//! Waiting: a core halts until another one wakes it.
//!
//! The handler halts with interrupts on, and the core that passes the turn
//! sends the interrupt [`vector::WAKE`]. The task priority keeps all others out,
//! so that no handler runs on top of the sample handler. The interrupt is not
//! ended by `iret`, which would let NMIs in: its entry stub drops the
//! interrupt's frame by restoring the stack pointer, since it knows exactly
//! where it came from.

use core::mem;
use core::ptr;
use core::sync::atomic::{AtomicPtr, Ordering};

use super::per_core::Core;
use super::phase::{CurrentPhase, Phase};
use super::vector;
use crate::assembly;
use crate::hw::apic::{self, Destination, Message};
use crate::hw::control;

unsafe extern "C" {
    /// Halts with interrupts on until an interrupt was taken; returns with
    /// interrupts off. Returns true if it was the wake-up, which is to be ended; others were
    /// by their handlers. See the assembly below.
    safe fn pmiscope_wait() -> bool;
    /// The gate of [`vector::WAKE`].
    fn pmiscope_wake_entry();
    /// The gate of [`vector::SPURIOUS`].
    fn pmiscope_spurious_entry();
}

assembly!(
    r#"
    # A maskable interrupt is recognized only after the instruction behind `sti`, so none
    # can come between it and `hlt` and leave the core halted (SDM vol. 2, STI). What an NMI
    # there has let in does not either: see `halt`.
    .global pmiscope_wait
    .type pmiscope_wait, @function
pmiscope_wait:
    .cfi_startproc
    RULE FRAME
    xor eax, eax
    sti
    hlt
    # Where the interrupt returns to, or its stub jumps.
pmiscope_waited:
    cli
    ret
    .cfi_endproc
    .size pmiscope_wait, . - pmiscope_wait

    # Interrupt gate, no stack switch, no error code: [rsp] is the program
    # counter, [rsp + 24] the stack pointer that was interrupted.
    .global pmiscope_wake_entry
    .type pmiscope_wake_entry, @function
pmiscope_wake_entry:
    .cfi_startproc simple
    .cfi_signal_frame
    .cfi_def_cfa rsp, 40
    .cfi_offset rip, -40
    .cfi_offset rsp, -16
    RULE INTERRUPTED, 0, {vector}
    push rax
    .cfi_adjust_cfa_offset 8
    RULE INTERRUPTED, 1, {vector}
    lea rax, [rip + pmiscope_waited]
    cmp [rsp + 8], rax
    jne 2f
    # The waiting core's rax is what pmiscope_wait returns.
    mov rsp, [rsp + 32]
    .cfi_remember_state
    .cfi_def_cfa rsp, 8
    .cfi_offset rip, -8
    RULE FRAME
    mov eax, 1
    jmp pmiscope_waited
    .cfi_restore_state
    # It came late: the core does not wait any more. An interrupt like others, which is
    # ended here. Registers are moved, not pushed: each push would have a rule of its own.
2:
    RULE INTERRUPTED, 1, {vector}
    sub rsp, 16
    .cfi_adjust_cfa_offset 16
    RULE INTERRUPTED, 3, {vector}
    mov [rsp + 8], rcx
    mov [rsp], rdx
    mov rax, [rip + {registers}]
    xor edx, edx
    cmp rax, 1
    je 3f
    # xAPIC: write 0 to the register.
    mov [rax + {end_of_interrupt}], edx
    jmp 4f
    # x2APIC: the same by its MSR.
3:
    mov ecx, {end_of_interrupt_msr}
    xor eax, eax
    wrmsr
4:
    mov rdx, [rsp]
    mov rcx, [rsp + 8]
    mov rax, [rsp + 16]
    add rsp, 24
    .cfi_adjust_cfa_offset -24
    RULE INTERRUPTED, 0, {vector}
    # An interrupt that is not to be ended has its entry here.
    .global pmiscope_spurious_entry
pmiscope_spurious_entry:
    iretq
    .cfi_endproc
    .size pmiscope_wake_entry, . - pmiscope_wake_entry
    "#,
    vector = const vector::WAKE,
    registers = sym apic::REGISTERS,
    end_of_interrupt = const apic::Register::EndOfInterrupt as u32,
    end_of_interrupt_msr = const apic::msr_of(apic::Register::EndOfInterrupt),
);

/// How often a core that was woken lets others go on before it does, at most.
const YIELDS: u32 = 4;

/// Ends the wait of a core, or the next one that it begins.
pub(crate) fn wake(core: &Core) {
    let message = Message::Fixed(vector::WAKE);
    // SAFETY: the gate's stub takes it, waiting or not.
    unsafe { apic::registers().send(message, Destination::Core(core.apic_id)) };
}

/// What the kernel has its cores do where they wait, whenever they were woken: a `fn()`, or null.
static HOOK: AtomicPtr<()> = AtomicPtr::new(ptr::null_mut());

/// Lets cores call `hook` where they wait, whenever they were woken.
pub(crate) fn set_hook(hook: fn()) {
    HOOK.store(hook as *mut (), Ordering::Release);
}

fn call_hook() {
    // SAFETY: null, which is `None`, or what `set_hook` stored.
    let hook = unsafe { mem::transmute::<*mut (), Option<fn()>>(HOOK.load(Ordering::Acquire)) };
    if let Some(hook) = hook {
        hook();
    }
}

/// Halts the running core, `core`, until `condition` returns something, looking at it whenever the
/// core was woken; `None` if the run ends meanwhile. Interrupts are off, and only a wake-up
/// interrupts the wait. Who goes on then [lets others halt](let_halt) first.
pub(crate) fn wait_until<T>(
    core: &Core,
    phase: &CurrentPhase,
    condition: impl Fn() -> Option<T>,
) -> Option<T> {
    let before = control::task_priority();
    // Interrupts of the priority class of the wake-up only.
    control::set_task_priority(vector::CLASS_BELOW);
    let outcome = loop {
        if let Some(outcome) = condition() {
            break Some(outcome);
        }
        if phase.get() == Phase::Ended {
            break None;
        }
        call_hook();
        core.wait.is_halting.store(true, Ordering::Release);
        let is_woken = pmiscope_wait();
        core.wait.is_halting.store(false, Ordering::Release);
        if is_woken {
            apic::registers().end_of_interrupt();
        }
    };
    control::set_task_priority(before);
    outcome
}

/// Lets the core that has woken the running one halt, or whoever it was, if that is not known.
///
/// It may be on its last instructions before its own halt still. Under instruction counting a pause
/// ends an emulator's time slice: it gets there now, and not while this core's clock runs. Each
/// pause is a round over all cores to an emulator, so there are no more of them than it takes.
pub(crate) fn let_halt(waker: Option<&Core>) {
    for _ in 0..YIELDS {
        // Some instructions are left then: one more pause.
        let is_halting = waker.is_some_and(|core| core.wait.is_halting.load(Ordering::Acquire));
        core::hint::spin_loop();
        if is_halting {
            break;
        }
    }
}

/// The gate of [`vector::WAKE`].
#[must_use]
pub(crate) fn wake_entry() -> u64 {
    (pmiscope_wake_entry as *const ()).addr() as u64
}

/// The gate of [`vector::SPURIOUS`], where the kernel has none.
#[must_use]
pub(crate) fn spurious_entry() -> u64 {
    (pmiscope_spurious_entry as *const ()).addr() as u64
}
