//! Taking turns: one core runs at a time, each from one of its samples to its
//! next.
//!
//! Under instruction counting an emulator has one clock for all cores, so what
//! one core executes makes the timers of all others run. A period of 1000 would
//! then be 1000 instructions of *somebody*. Taking turns makes it exact: a core
//! that has recorded its sample hands the turn to the next core, and halts; it
//! re-arms its timer when the turn comes back. Between the two it executes
//! nothing, so while a core runs, the clock counts its instructions alone. Code
//! that waits for another core waits as it would on a machine whose cores are
//! scheduled in slices of one period: correct, slow, and the same each time.
//!
//! # Halting in an NMI handler
//!
//! The handler halts with interrupts on, and the core that hands over the turn
//! sends the interrupt [`vector::TURN`]. The task priority keeps all others out,
//! so that no handler runs on top of the sample handler. The interrupt is not
//! ended by `iret`, which would let NMIs in: its entry stub drops the
//! interrupt's frame by restoring the stack pointer, since it knows exactly
//! where it came from.
//!
//! The wait is bounded: the core whose turn it is has its source armed, and its
//! next overflow hands the turn on, whatever it executes. A core that has taken
//! its last sample leaves the circle.
//!
//! Where overflows are maskable interrupts that is not so: the core may have
//! interrupts off, and wait for a lock that a halted one holds. There a core
//! that waits arms its own source, as a watchdog, and takes the turn when the
//! circle has not come round in time; two cores then run at once, until the one
//! that was robbed of the turn has its overflow and finds that it has none to
//! hand on.

use core::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use crate::assembly;
use crate::cpu::apic::{self, Destination, Message};
use crate::cpu::{self, CoreBlock, control};
use crate::sampling::vector;
use crate::trap::TrapFrame;

/// Whose turn it is, and who still takes turns.
pub struct Turns {
    /// The index of the core that runs.
    holder: AtomicU32,
    /// By index: the core takes no more samples.
    left: [AtomicBool; cpu::MAX_CORES],
}

unsafe extern "C" {
    /// Halts with interrupts on until an interrupt was taken; returns with
    /// interrupts off. See the assembly below.
    safe fn turn_park();
    /// The gate of [`vector::TURN`].
    fn turn_entry();
}

assembly!(
    r#"
    # An interrupt is recognized only after the instruction behind `sti`, so none
    # can come between it and `hlt` and leave the core halted (SDM vol. 2, STI).
    .global turn_park
    .type turn_park, @function
turn_park:
    .cfi_startproc
    RULE FRAME
    sti
    hlt
    # Where the interrupt returns to, or its stub jumps.
turn_parked:
    cli
    ret
    .cfi_endproc
    .size turn_park, . - turn_park

    # Interrupt gate, no stack switch, no error code: [rsp] is the program
    # counter, [rsp + 24] the stack pointer that was interrupted.
    .global turn_entry
    .type turn_entry, @function
turn_entry:
    .cfi_startproc simple
    .cfi_signal_frame
    .cfi_def_cfa rsp, 40
    .cfi_offset rip, -40
    .cfi_offset rsp, -16
    RULE INTERRUPTED, 0, {vector}
    push rax
    .cfi_adjust_cfa_offset 8
    RULE INTERRUPTED, 1, {vector}
    lea rax, [rip + turn_parked]
    cmp [rsp + 8], rax
    jne 2f
    # The parked core's rax is dead: the caller of turn_park does not keep it.
    mov rsp, [rsp + 32]
    .cfi_remember_state
    .cfi_def_cfa rsp, 8
    .cfi_offset rip, -8
    RULE FRAME
    jmp turn_parked
    .cfi_restore_state
    # It came late: the core is not parked any more. An interrupt like others.
2:
    RULE INTERRUPTED, 1, {vector}
    pop rax
    .cfi_adjust_cfa_offset -8
    RULE INTERRUPTED, 0, {vector}
    jmp trap_stubs + {late}
    .cfi_endproc
    .size turn_entry, . - turn_entry
    "#,
    vector = const vector::TURN,
    late = const LATE_STUB,
);

/// How often a core that was woken lets others go on before it does.
const YIELDS: u32 = 4;

/// What the gate's stub goes to when the core was not parked.
const LATE_STUB: u32 = vector::TURN as u32 * 16;

impl Turns {
    /// All cores take turns, and the first has it.
    pub(super) fn new() -> Self {
        Self {
            holder: AtomicU32::new(0),
            left: [const { AtomicBool::new(false) }; cpu::MAX_CORES],
        }
    }

    /// Whether it is the turn of `core`.
    #[must_use]
    pub fn is_turn_of(&self, core: &CoreBlock) -> bool {
        self.holder.load(Ordering::Acquire) == core.index
    }

    /// Hands the turn of the running core, `core`, to the next, and waits until it
    /// comes back.
    pub(super) fn next(&self, core: &CoreBlock) {
        self.hand_on(core);
        wait_until(|| self.is_turn_of(core).then_some(()));
    }

    /// The same, but takes the turn if it has not come back when `watchdog`, to
    /// which the source is armed, has interrupted the wait.
    pub(super) fn next_or_take(&self, core: &CoreBlock, watchdog: impl Fn()) {
        if self.is_turn_of(core) {
            self.hand_on(core);
        }
        let state = &core.sampling;
        state.barked.store(false, Ordering::Relaxed);
        state.parked.store(true, Ordering::Relaxed);
        watchdog();
        wait_until(|| {
            if state.barked.load(Ordering::Relaxed) {
                self.holder.store(core.index, Ordering::Release);
            }
            self.is_turn_of(core).then_some(())
        });
        state.parked.store(false, Ordering::Relaxed);
    }

    /// Hands the turn of the running core, `core`, on for good.
    pub(super) fn leave(&self, core: &CoreBlock) {
        self.left[core.index as usize].store(true, Ordering::Release);
        self.hand_on(core);
    }

    fn hand_on(&self, core: &CoreBlock) {
        let cores = cpu::cores();
        let after = core.index as usize + 1;
        // Around the circle once, this core last.
        let circle = cores[after..].iter().chain(&cores[..after]);
        let stays = |next: &&&CoreBlock| !self.left[next.index as usize].load(Ordering::Acquire);
        let Some(next) = circle.copied().find(|next| stays(&next)) else {
            return;
        };
        self.holder.store(next.index, Ordering::Release);
        if next.index != core.index {
            wake(next);
        }
    }
}

/// Ends the halt of a core that is parked, or the next one that it begins.
pub(super) fn wake(core: &CoreBlock) {
    let turn = Message::Fixed(vector::TURN);
    // SAFETY: the gate's stub takes it, parked or not.
    unsafe { apic::registers().send(turn, Destination::Core(core.apic_id)) };
}

/// Halts until `condition` gives something, looking at it whenever the core was
/// woken. Interrupts are off, and nothing but a wake-up is let in meanwhile.
pub(super) fn wait_until<T>(condition: impl Fn() -> Option<T>) -> T {
    let resting = &cpu::current().stopped;
    resting.store(true, Ordering::Release);
    let before = control::task_priority();
    // Interrupts of the priority class of the wake-up only.
    control::set_task_priority((vector::TURN >> 4) - 1);
    let outcome = loop {
        if let Some(outcome) = condition() {
            break outcome;
        }
        turn_park();
        apic::registers().end_of_interrupt();
    };
    // The core that sent the wake-up may be on its last instructions before its own
    // halt still. Under instruction counting a pause ends an emulator's time slice:
    // it gets there now, and not while this core's clock runs.
    for _ in 0..YIELDS {
        core::hint::spin_loop();
    }
    control::set_task_priority(before);
    resting.store(false, Ordering::Release);
    outcome
}

/// The gate of [`vector::TURN`].
#[must_use]
pub fn entry() -> x86_64::VirtAddr {
    x86_64::VirtAddr::from_ptr(turn_entry as *const ())
}

/// The handler of [`vector::TURN`] where it finds the core not parked.
pub fn late(_: &mut TrapFrame) {
    apic::registers().end_of_interrupt();
}
