//! Where the HPET is.

use profiler::hw::hpet::Hpet;
use spin::Once;
use x86_64::VirtAddr;

static ADDRESS: Once<Option<VirtAddr>> = Once::new();

/// Says where the HPET's registers are mapped, in a page of their own, if there is one. What
/// firmware has left armed of it interrupts no more.
pub fn start(address: Option<VirtAddr>) {
    ADDRESS.call_once(|| address);
    if let Some(hpet) = get() {
        hpet.take_over();
    }
}

/// Where its registers are; `None` without one, and before [`start`].
#[must_use]
pub fn address() -> Option<VirtAddr> {
    *ADDRESS.get()?
}

/// The machine's HPET, if there is one where firmware says so.
#[must_use]
pub fn get() -> Option<Hpet> {
    // SAFETY: mapped there, for ever, as every device's page is.
    let hpet = address().map(|address| unsafe { Hpet::at(address.as_u64()) })?;
    hpet.check().is_ok().then_some(hpet)
}
