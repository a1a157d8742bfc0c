//! Traps: exceptions and interrupts, from the entry stubs to who handles them.
//!
//! A handler is registered for its vector once, before the vector is used. A trap
//! that has none ends the run, with all that is known about it.

pub mod debug;
pub mod entry;
pub mod nmi;
mod report;
pub mod vector;

use profiler::address::CodeAddress;
use profiler::hw::{control, msr};
use profiler::unwind::{Rule, assembly};
use spin::Once;
use x86_64::VirtAddr;

use crate::cpu::CoreBlock;
pub use crate::cpu::frame::TrapFrame;
use crate::cpu::{apic, idt};

/// What handles a trap. It runs with interrupts off.
pub type Handler = fn(&mut TrapFrame);

static HANDLERS: [Once<Handler>; 256] = [const { Once::new() }; 256];

/// Lets `handler` handle the traps of `vector`, on all cores, from now on.
///
/// # Panics
///
/// If the vector has a handler already.
pub fn register(vector: u8, handler: Handler) {
    let slot = &HANDLERS[usize::from(vector)];
    let mut is_new = false;
    slot.call_once(|| {
        is_new = true;
        handler
    });
    assert!(is_new, "vector {vector:#x} has a handler already");
}

/// By vector: the entry that its gate leads to in place of the stub.
static GATES: [Once<VirtAddr>; 256] = [const { Once::new() }; 256];

/// Lets the gate of `vector` lead to code of its own at `entry`, which follows the
/// processor's convention. Only before a core has called [`load`].
///
/// # Panics
///
/// If the vector has an entry of its own already.
pub fn set_gate(vector: u8, entry: VirtAddr) {
    let mut is_new = false;
    GATES[usize::from(vector)].call_once(|| {
        is_new = true;
        entry
    });
    assert!(is_new, "vector {vector:#x} has an entry of its own already");
}

fn gate(vector: u8) -> VirtAddr {
    let own = GATES[usize::from(vector)].get().copied();
    own.unwrap_or_else(|| entry::stub(vector))
}

/// How code keeps its caller while the instruction at `address` has not been executed.
#[must_use]
#[inline]
pub fn rule(address: CodeAddress) -> Rule {
    if assembly::contains(address) {
        rule_of_assembly(address)
    } else {
        Rule::FramePointer
    }
}

fn rule_of_assembly(address: CodeAddress) -> Rule {
    if let Some(rule) = entry::stub_rule(address) {
        return rule;
    }
    assembly::rule_of_assembly(address)
}

/// Loads gates for the time before the first core has its own segments and stacks.
pub fn load_early() {
    idt::load_early(entry::stub);
}

/// Loads the gates on the running core, which has its own segments.
pub fn load() {
    idt::load(gate);
}

/// Registers the handlers of what the processor itself raises, and the entries that are
/// no stubs.
pub fn start() {
    set_gate(vector::NMI, nmi::entry());
    set_gate(vector::DEBUG, debug::entry());
    assert!(
        assembly::is_sorted(),
        "the rules of the assembly are not in the order of the code"
    );
    register(apic::SPURIOUS_VECTOR, |_| {});
    register(vector::GENERAL_PROTECTION, |frame| {
        // A register that was only tried may be refused.
        match msr::recover(frame.rip) {
            Some(resumed) => frame.rip = resumed,
            None => report::unhandled(vector::GENERAL_PROTECTION, frame),
        }
    });
}

unsafe extern "C" {
    /// What the NMI's entry calls, on the NMI handler's stack of `core`, the running
    /// core. `entry_tsc` is the time stamp counter at the entry.
    ///
    /// Whoever uses the kernel defines it, once, in the section `.pmiscope.calls` and
    /// with [`end_of_trap_call`] at its end.
    #[expect(improper_ctypes, reason = "both sides are Rust, of one compilation")]
    fn kernel_nmi(frame: &mut TrapFrame, core: &'static CoreBlock, entry_tsc: u64);
}

/// What the entry stubs call.
#[unsafe(link_section = ".pmiscope.calls")]
extern "C" fn dispatch(frame: &mut TrapFrame) {
    let vector = frame.vector.to_le_bytes()[0];
    // The processor has taken the trap flag away. The handler of the trap itself
    // must go without.
    if frame.rflags & control::TRAP_FLAG != 0 && vector != vector::DEBUG {
        control::set_trap_flag();
    }
    match HANDLERS[usize::from(vector)].get() {
        Some(handler) => handler(frame),
        None => report::unhandled(vector, frame),
    }
    end_of_trap_call();
}

/// Comes last in what an entry stub calls, so that the compiler does not jump to
/// the function called before: the walk knows the stubs' own by their addresses.
#[inline(always)]
pub fn end_of_trap_call() {
    // SAFETY: does nothing.
    unsafe { core::arch::asm!("", options(nomem, nostack, preserves_flags)) };
}
