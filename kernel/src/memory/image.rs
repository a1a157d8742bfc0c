//! Where the parts of the kernel's image lie: the linker script's symbols.

use core::ops::Range;

use x86_64::VirtAddr;

unsafe extern "C" {
    static __text_start: u8;
    static __text_end: u8;
    static __rodata_start: u8;
    static __rodata_end: u8;
    static __data_start: u8;
    static __data_end: u8;
}

fn between(start: *const u8, end: *const u8) -> Range<VirtAddr> {
    VirtAddr::from_ptr(start)..VirtAddr::from_ptr(end)
}

/// The code; whole pages.
#[must_use]
pub fn text() -> Range<VirtAddr> {
    between(&raw const __text_start, &raw const __text_end)
}

/// The constants; whole pages.
#[must_use]
pub fn rodata() -> Range<VirtAddr> {
    between(&raw const __rodata_start, &raw const __rodata_end)
}

/// The variables; whole pages.
#[must_use]
pub fn data() -> Range<VirtAddr> {
    between(&raw const __data_start, &raw const __data_end)
}
