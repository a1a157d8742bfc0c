//! What the linker knows of the kernel that this library is linked into: the symbols of
//! the fragment `pmiscope.ld`.

use core::slice;

use crate::address::{CodeAddress, CodeRange};
use crate::format::note;

unsafe extern "C" {
    static __pmiscope_text_start: u8;
    static __pmiscope_text_end: u8;
    static __pmiscope_build_id_start: u8;
    static __pmiscope_build_id_end: u8;
}

/// The code between two symbols of a linker script.
#[inline]
pub(crate) fn code_between(start: *const u8, end: *const u8) -> CodeRange {
    CodeRange {
        start: CodeAddress(start.addr() as u64),
        end: CodeAddress(end.addr() as u64),
    }
}

/// The kernel's text.
#[must_use]
#[inline]
pub fn text() -> CodeRange {
    code_between(
        &raw const __pmiscope_text_start,
        &raw const __pmiscope_text_end,
    )
}

/// The kernel's GNU build-id: the hash by which a profile names it, SHA-1 as the linker
/// makes it by `--build-id=sha1`. Zeros if there is none, which the host refuses.
#[must_use]
pub fn build_id() -> [u8; 20] {
    let start = &raw const __pmiscope_build_id_start;
    let length = (&raw const __pmiscope_build_id_end).addr() - start.addr();
    // SAFETY: the linker script puts both symbols around a section that is loaded,
    // initialized and never written.
    let notes = unsafe { slice::from_raw_parts(start, length) };
    let mut id = [0; 20];
    if let Some(found) = note::build_id(notes) {
        id.iter_mut().zip(found).for_each(|(to, from)| *to = *from);
    }
    id
}
