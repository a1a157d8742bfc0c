//! Where the parts of the kernel's image lie: the linker script's symbols.

use core::ops::Range;
use core::slice;

use kernel_core::symbols::lines::{Line, LineTable};
use kernel_core::symbols::{Name, Place, Table};
use x86_64::VirtAddr;

unsafe extern "C" {
    static __text_start: u8;
    static __text_end: u8;
    static __border_start: u8;
    static __border_end: u8;
    static __rodata_start: u8;
    static __rodata_end: u8;
    static __symbols_start: u8;
    static __symbols_end: u8;
    static __lines_start: u8;
    static __lines_end: u8;
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

/// The part of the code that the page tables of isolated programs have too; whole pages.
#[must_use]
pub fn border() -> Range<VirtAddr> {
    between(&raw const __border_start, &raw const __border_end)
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
    /// Its bytes.
    pub bytes: u64,
    /// What it is called.
    pub name: Name<'static>,
}

impl Function {
    fn at(place: &Place<'static>) -> Self {
        Self {
            start: text().start.as_u64() + u64::from(place.start),
            bytes: place.size.into(),
            name: place.name,
        }
    }
}

/// The table of names, if the image has one.
fn names() -> Option<Table<'static>> {
    // SAFETY: the linker script puts both symbols around a section of constants.
    Table::new(unsafe { section(&raw const __symbols_start, &raw const __symbols_end) })
}

/// The bytes between two symbols.
///
/// # Safety
///
/// What lies between them is loaded with the constants, and never written.
unsafe fn section(start: *const u8, end: *const u8) -> &'static [u8] {
    // SAFETY: the caller's promise.
    unsafe { slice::from_raw_parts(start, end.addr() - start.addr()) }
}

/// Where in its source the code is that the byte at an address belongs to, if it is code and the
/// image has a table of lines.
#[must_use]
pub fn line_at(address: u64) -> Option<Line<'static>> {
    // SAFETY: the linker script puts both symbols around a section of constants.
    let table = unsafe { section(&raw const __lines_start, &raw const __lines_end) };
    let offset = address.checked_sub(text().start.as_u64())?;
    LineTable::new(table)?.find(offset)
}

/// The function that the byte at an address belongs to, if it is code and the image has a table
/// of names.
#[must_use]
pub fn function_at(address: u64) -> Option<Function> {
    let text = text().start.as_u64();
    let found = names()?.find(address.checked_sub(text)?)?;
    Some(Function::at(&found))
}

/// All functions, in the order of their addresses; none if the image has no table of names.
pub fn functions() -> impl Iterator<Item = Function> {
    let places = names().into_iter();
    let places = places.flat_map(Table::functions);
    places.map(|place| Function::at(&place))
}
