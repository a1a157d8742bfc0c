//! Where the parts of the kernel's image lie: the linker script's symbols.

use core::ops::Range;
use core::slice;

use kernel_core::symbols::{Name, Table};
use x86_64::VirtAddr;

unsafe extern "C" {
    static __text_start: u8;
    static __text_end: u8;
    static __rodata_start: u8;
    static __rodata_end: u8;
    static __symbols_start: u8;
    static __symbols_end: u8;
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

/// A function of the kernel.
pub struct Function {
    /// Its first address.
    pub start: u64,
    /// What it is called.
    pub name: Name<'static>,
}

/// The function that the byte at an address belongs to, if it is code and the image has a table
/// of names.
#[must_use]
pub fn function_at(address: u64) -> Option<Function> {
    let start = &raw const __symbols_start;
    let bytes = (&raw const __symbols_end).addr() - start.addr();
    // SAFETY: the linker script puts both symbols around a section that is loaded with the
    // constants and never written.
    let table = Table::new(unsafe { slice::from_raw_parts(start, bytes) })?;
    let text = text().start.as_u64();
    let found = table.find(address.checked_sub(text)?)?;
    Some(Function {
        start: text + u64::from(found.start),
        name: found.name,
    })
}
