//! Where the parts of the kernel's image lie: the linker script's symbols.

use core::ops::Range;

use profiler::address::{CodeAddress, CodeRange};
use x86_64::VirtAddr;

unsafe extern "C" {
    static __text_start: u8;
    static __text_end: u8;
    static __rodata_start: u8;
    static __rodata_end: u8;
    static __data_start: u8;
    static __data_end: u8;
    static __trap_calls_start: u8;
    static __trap_calls_end: u8;
    static __build_id_start: u8;
    static __build_id_end: u8;
}

fn between(start: *const u8, end: *const u8) -> Range<VirtAddr> {
    VirtAddr::from_ptr(start)..VirtAddr::from_ptr(end)
}

/// The code; whole pages.
#[must_use]
pub fn text() -> Range<VirtAddr> {
    between(&raw const __text_start, &raw const __text_end)
}

/// The code, as the walk over stacks knows it.
#[must_use]
#[inline]
pub fn code() -> CodeRange {
    code_between(&raw const __text_start, &raw const __text_end)
}

/// The functions that entry stubs call: those in the section `.text.trap_calls`.
#[must_use]
#[inline]
pub fn trap_calls() -> CodeRange {
    code_between(&raw const __trap_calls_start, &raw const __trap_calls_end)
}

#[inline]
fn code_between(start: *const u8, end: *const u8) -> CodeRange {
    CodeRange {
        start: CodeAddress(start.addr() as u64),
        end: CodeAddress(end.addr() as u64),
    }
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

/// The section of ELF notes that holds the build-id.
#[must_use]
pub fn build_id_notes() -> &'static [u8] {
    let notes = between(&raw const __build_id_start, &raw const __build_id_end);
    let length = usize::try_from(notes.end - notes.start).unwrap_or(0);
    // SAFETY: the linker script puts both symbols around a section of `.rodata`'s
    // segment, which is loaded, initialized and never written.
    unsafe { core::slice::from_raw_parts(notes.start.as_ptr(), length) }
}
