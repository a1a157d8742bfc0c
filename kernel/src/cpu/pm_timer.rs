//! Where ACPI's power management timer is.

use kernel_core::acpi;
use profiler::hw::pm_timer::PmTimer;
use spin::Once;
use x86_64::{PhysAddr, VirtAddr};

static TIMER: Once<Option<PmTimer>> = Once::new();

/// Says where ACPI has found it, if there is one; `map` maps the page of a register in memory.
pub fn start(found: Option<acpi::PmTimer>, map: impl FnOnce(PhysAddr) -> VirtAddr) {
    TIMER.call_once(|| match found? {
        acpi::PmTimer::Port(port) => Some(PmTimer::Port(port)),
        acpi::PmTimer::Memory(address) => {
            let mapped = map(PhysAddr::try_new(address).ok()?);
            Some(PmTimer::Memory(mapped.as_u64()))
        }
    });
}

/// The machine's power management timer; `None` without one, and before [`start`].
#[must_use]
pub fn get() -> Option<PmTimer> {
    *TIMER.get()?
}
