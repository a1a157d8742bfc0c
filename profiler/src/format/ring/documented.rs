//! The ring's part of the ring page, as `docs/region.md` has it.

use core::mem::offset_of;

use super::{Control, ReaderState, WriterState};
use crate::format::documented::fields;

#[test]
fn the_control_block_is_as_the_page_has_it() {
    let writer = offset_of!(Control, writer);
    let reader = offset_of!(Control, reader);
    let expected = [
        (writer + offset_of!(WriterState, reserved), 8, "reserved"),
        (writer + offset_of!(WriterState, head), 8, "head"),
        (writer + offset_of!(WriterState, writing), 8, "writing"),
        (writer + offset_of!(WriterState, lost), 8, "lost"),
        (reader + offset_of!(ReaderState, tail), 8, "tail"),
    ];
    assert_eq!(fields("Ring page")[..expected.len()], expected);
}
