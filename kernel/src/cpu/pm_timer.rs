//! The power management timer.

use kernel_core::acpi;
use profiler::hw::pm_timer::{PmTimer, Register};

/// The timer that ACPI names, where it is read by a port as on every PC.
#[must_use]
pub fn found(timer: acpi::PmTimer) -> Option<PmTimer> {
    match timer.place {
        acpi::Place::Port(port) => Some(PmTimer {
            register: Register::Port(port),
            has_32_bits: timer.has_32_bits,
        }),
        acpi::Place::Memory(_) => None,
    }
}
