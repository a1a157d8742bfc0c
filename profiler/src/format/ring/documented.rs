//! The ring's part of the ring page, as `docs/region.md` has it.

use core::mem::offset_of;

use super::Control;
use super::control::{ReaderContexts, ReaderState, Slot, WriterState};
use crate::format::documented::fields;

#[test]
fn the_control_block_is_as_the_page_has_it() {
    let writer = offset_of!(Control, writer);
    let reader = offset_of!(Control, reader);
    let contexts = offset_of!(Control, contexts) + offset_of!(ReaderContexts, slots);
    let expected = [
        (writer + offset_of!(WriterState, head), 8, "head"),
        (writer + offset_of!(WriterState, lost), 8, "lost"),
        (writer + offset_of!(WriterState, fast), 8, "fast"),
        (reader + offset_of!(ReaderState, tail), 8, "tail"),
        (contexts, 2 * size_of::<Slot>(), "contexts"),
    ];
    assert_eq!(fields("Ring page")[..expected.len()], expected);
    let slot = [
        (offset_of!(Slot, position), 8, "position"),
        (offset_of!(Slot, time), 8, "time"),
        (offset_of!(Slot, sp), 8, "sp"),
        (offset_of!(Slot, next), 4, "next"),
        (offset_of!(Slot, next) + 4, 4, "is_there"),
    ];
    assert_eq!(fields("Context"), slot);
}
