//! The ring of one core: its writer is that core alone, from any context; its
//! reader is somewhere else, and may die at any moment.
//!
//! # How it works
//!
//! The ring is a power of two of units of 4 bytes. Positions are counts of units
//! since the start, they only grow, and a position's place is its value modulo
//! the capacity. There are three of them:
//!
//! ```text
//!   tail            head            reserved
//!    |  whole records |  being written  |
//! ```
//!
//! * `reserved`: taken by writes; the writer's own. Moved by one instruction that compares and
//!   exchanges, because an NMI can write in the middle of a write. Such a nested write lies
//!   wholly between two instructions of the outer one, so writes are last-in, first-out.
//! * `head`: everything before it is whole. Only the *outermost* write moves it:
//!   when that one is done, every write nested in it is done as well.
//! * `tail`: everything before it was copied by the reader, who alone moves it,
//!   after the copy. A reader that is killed leaves at worst records that the
//!   next reader sees again, and beside `tail` what has to be known to read on.
//!
//! A record that does not fit is not written and counts in
//! [`Control::lost`]: the writer never waits, the oldest record is never
//! overwritten, and so no unit is ever written that a reader may be reading.
//!
//! # Writes in place
//!
//! The usual sample is made where it will lie (`Writer::begin`), in what is free behind
//! `reserved`, and `reserved` is moved when it is done (`InPlace::finish`). What nests in that
//! write leaves its extent alone: it is written behind a *filler*, a record that says nothing, which
//! covers the extent. The write in place then finds `reserved` moved, and its sample is written
//! anew behind the nested ones.
//!
//! | nested write comes | `reserved` is | it lies | the write in place |
//! |---|---|---|---|
//! | before `reserved` is read | behind the nested | behind a filler | lies behind it |
//! | before `reserved` is moved | where it was | behind a filler over the extent | gives up |
//! | after that | behind the record | behind a filler behind the record | publishes it |
//!
//! No locked instruction is needed for any of this: other cores write to no part of it.
//!
//! # What was read already
//!
//! The units before `tail` stay what they are until they are written over, so the kernel itself can look at
//! the newest records of each ring, beside the reader ([`Recent`]). Where some of them begin the writer
//! notes, eight times in each lap; whether one was written over while it was copied, `reserved` says.

// loom's atomics are no memory to write to.
#[cfg(not(all(test, loom)))]
mod compact;
mod control;
mod in_place;
mod marks;
mod reader;
#[cfg(not(all(test, loom)))]
mod recent;
mod writer;

pub use control::Control;
pub use reader::{Corrupt, Reader};
#[cfg(not(all(test, loom)))]
pub use recent::{Recent, Skipped};
pub(crate) use writer::Base;
#[cfg(not(all(test, loom)))]
pub(crate) use writer::{IN_PLACE, offset};
pub use writer::{Lost, Writer};

/// Where a position is in the data of a ring of so many units, a power of two.
#[inline(always)]
pub(super) const fn place_of(position: u64, units: usize) -> usize {
    // The mask keeps the value below the length, a usize.
    #[allow(clippy::cast_possible_truncation)]
    let place = (position & (units as u64 - 1)) as usize;
    place
}

#[cfg(all(test, not(loom)))]
mod documented;
#[cfg(test)]
mod tests;
