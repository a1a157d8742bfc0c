//! Traps: exceptions and interrupts, from the entry stubs to who handles them.
//!
//! A handler is registered for its vector once, before the vector is used. A trap
//! that has none ends the run, with all that is known about it.

pub mod backtrace;
pub mod counts;
mod debug;
mod dispatch;
pub mod isolation;
pub mod last_words;
pub mod leftovers;
mod nmi;
mod report;
mod stub;
pub mod user;
pub mod vector;
mod walk;

use profiler::entry;
use profiler::hw::msr;
use profiler::unwind::assembly;
use spin::Once;
use x86_64::VirtAddr;

use crate::cpu::{apic, idt};
use crate::exit;
pub use backtrace::{Backtrace, Symbol, show_lines};
pub use dispatch::{end_of_trap_call, register};
pub use profiler::entry::TrapFrame;
pub use walk::{places, registers_of, rule};

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
    own.unwrap_or_else(|| stub::of(vector))
}

/// Loads gates for the time before the first core has its own segments and stacks.
pub fn load_early() {
    idt::load_early(stub::of);
}

/// Loads the gates on the running core, which has its own segments.
pub fn load() {
    static TABLE: idt::SharedTable = idt::SharedTable::new();
    TABLE.load(gate, &[]);
}

/// Registers the handlers of what the processor itself raises, and the entries that are
/// no stubs.
pub fn start() {
    for (vector, entry) in [
        (vector::NMI, entry::nmi::entry()),
        (vector::DEBUG, entry::switched::debug()),
        (vector::DOUBLE_FAULT, entry::switched::double_fault()),
        (vector::MACHINE_CHECK, entry::switched::machine_check()),
    ] {
        set_gate(vector, VirtAddr::new(entry));
    }
    assert!(
        assembly::is_sorted(),
        "the rules of the assembly are not in the order of the code"
    );
    // Not to be ended.
    register(apic::SPURIOUS.number(), |_| {});
    register(apic::ERROR.number(), |_| apic::errors::on_error());
    exit::on_claim(apic::errors::log_count);
    register(vector::GENERAL_PROTECTION, |frame| {
        // A register that was only tried may be refused.
        match msr::recover(frame.rip) {
            Some(resumed) => frame.rip = resumed,
            None => report::unhandled(vector::GENERAL_PROTECTION, frame),
        }
    });
    exit::on_failure(last_words::of_other_cores);
}
