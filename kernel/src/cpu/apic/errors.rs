//! Errors that the local APIC reports: counted, the first with a line of the log. They end
//! nothing: what went wrong is a message that did not arrive, and whoever waits for it says so.

use core::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};

use x2apic::lapic::ErrorFlags;

use super::registers;
use crate::cpu;
use crate::cpu::per_core::per_core;

per_core! {
    /// Interrupts by which each core's APIC has reported errors.
    static ERRORS: AtomicU64 = AtomicU64::new(0);
}

static IS_LOGGED: AtomicBool = AtomicBool::new(false);

/// The handler of the errors' vector.
pub fn on_error() {
    let status = registers().take_errors();
    registers().end_of_interrupt();
    ERRORS.current().fetch_add(1, Relaxed);
    if !IS_LOGGED.swap(true, Relaxed) {
        let [bits, ..] = status.to_le_bytes();
        log::warn!(
            "local APIC error: {:?} (ESR {status:#x}); the following ones are counted",
            ErrorFlags::from_bits_truncate(bits)
        );
    }
}

/// Logs how many there were, if there were any.
pub fn log_count() {
    let all = cpu::cores().iter();
    let errors: u64 = all.map(|core| ERRORS.get(core).load(Relaxed)).sum();
    if errors != 0 {
        log::warn!("local APIC errors: {errors} in all");
    }
}
