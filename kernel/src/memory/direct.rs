//! The direct map: where all RAM is seen, at one offset.

use spin::Once;
use x86_64::{PhysAddr, VirtAddr};

static OFFSET: Once<VirtAddr> = Once::new();

/// Sets where physical address zero is: as the boot loader has it, and as the kernel's
/// own page tables keep it.
pub(super) fn start(offset: VirtAddr) {
    OFFSET.call_once(|| offset);
}

/// Where physical address zero is.
///
/// # Panics
///
/// Before `start`.
#[must_use]
pub fn offset() -> VirtAddr {
    *OFFSET.get().expect("the direct map is asked for too early")
}

/// Where the direct map has this physical address.
#[must_use]
pub fn address_of(address: PhysAddr) -> VirtAddr {
    offset() + address.as_u64()
}

/// The physical address of memory that is seen through the direct map.
///
/// # Panics
///
/// If `pointer` is not in the direct map.
#[must_use]
pub fn physical<T>(pointer: *const T) -> PhysAddr {
    let address = VirtAddr::from_ptr(pointer).as_u64();
    let from_zero = address.checked_sub(offset().as_u64());
    PhysAddr::new(from_zero.expect("an address below the direct map"))
}
