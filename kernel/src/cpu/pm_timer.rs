//! Where ACPI's power management timer is.

use kernel_core::acpi;
use profiler::hw::pm_timer::{PmTimer, Register};
use spin::Once;
use x86_64::{PhysAddr, VirtAddr};

static TIMER: Once<Option<PmTimer>> = Once::new();

/// Says where ACPI has found it, if there is one; `map` maps the page of a register in memory.
pub fn start(found: Option<acpi::PmTimer>, map: impl FnOnce(PhysAddr) -> VirtAddr) {
    TIMER.call_once(|| {
        let found = found?;
        let register = match found.place {
            acpi::Place::Port(port) => Register::Port(port),
            acpi::Place::Memory(address) => {
                Register::Memory(map(PhysAddr::try_new(address).ok()?).as_u64())
            }
        };
        Some(PmTimer {
            register,
            has_32_bits: found.has_32_bits,
        })
    });
}

/// The machine's power management timer; `None` without one, and before [`start`].
#[must_use]
pub fn get() -> Option<PmTimer> {
    *TIMER.get()?
}
