//! Interrupts that firmware or the boot loader has left pending: a timer's, a device's. They
//! come as soon as a core lets interrupts in, whatever vectors they have, ours too. So a core
//! first lets them in by a table of their own, whose gates end and count them, until its APIC
//! has none. After that, an interrupt without a handler ends the run.

use core::fmt;
use core::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};

use profiler::entry::{TrapFrame, vectors};
use x86_64::VirtAddr;
use x86_64::instructions::{interrupts, nop};

use super::end_of_trap_call;
use crate::cpu::{apic, idt};

/// How often a core lets interrupts in before it gives up: what is still pending then is
/// raised again and again.
const MAX_PASSES: u32 = 512;

/// The vectors below are exceptions. An interrupt with such a vector waits for ever, by the
/// task priority.
const FIRST_VECTOR: u8 = 32;

/// How many there were on all cores.
static COUNT: AtomicU64 = AtomicU64::new(0);

/// A bit for each vector that there was.
static VECTORS: [AtomicU32; 8] = [const { AtomicU32::new(0) }; 8];

/// The gates of a core that lets them in.
static TABLE: idt::SharedTable = idt::SharedTable::new();

// One for all vectors: the APIC says which it was.
profiler::vector_entries! { handler: on_leftover, first: FIRST_VECTOR, count: 1 }

fn gate(vector: u8) -> VirtAddr {
    // The APIC's own are none.
    if (FIRST_VECTOR..apic::ERROR.number()).contains(&vector) {
        VirtAddr::new(vectors::entry(0))
    } else {
        super::gate(vector)
    }
}

/// Lets interrupts in on the running core, for the first time: those that were left first.
pub fn let_in() {
    if is_any_pending() {
        TABLE.load(gate, &[]);
        for _ in 0..MAX_PASSES {
            interrupts::enable();
            // What is pending comes behind the instruction that follows (SDM vol. 2, STI).
            nop();
            interrupts::disable();
            if !is_any_pending() {
                break;
            }
        }
        super::load();
    }
    interrupts::enable();
}

fn is_any_pending() -> bool {
    let highest = apic::registers().highest_requested();
    highest.is_some_and(|vector| vector >= FIRST_VECTOR)
}

/// What the entry calls.
#[unsafe(link_section = ".pmiscope.calls")]
extern "C" fn on_leftover(_: &mut TrapFrame) {
    let registers = apic::registers();
    if let Some(vector) = registers.highest_in_service() {
        COUNT.fetch_add(1, Relaxed);
        VECTORS[usize::from(vector / 32)].fetch_or(1 << (vector % 32), Relaxed);
        registers.end_of_interrupt();
    }
    end_of_trap_call();
}

/// Logs how many there were, if there were any.
pub fn log_count() {
    let count = COUNT.load(Relaxed);
    if count != 0 {
        log::info!("interrupts left pending by firmware: {count}, ended; vectors:{Vectors}");
    }
}

/// Which they were.
struct Vectors;

impl fmt::Display for Vectors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let is_one =
            |vector: &u8| VECTORS[usize::from(vector / 32)].load(Relaxed) & 1 << (vector % 32) != 0;
        let mut all = (0..=u8::MAX).filter(is_one);
        all.try_for_each(|vector| write!(f, " {vector:#x}"))
    }
}
