//! A region as it leaves a machine byte by byte, by a serial line that loses and damages bytes and
//! has other things in between.
//!
//! What a region has is cut into *blocks*, each in a *frame* of its own. All frames have the same
//! length, begin with a marker, and end with parity:
//!
//! | what happens to the bytes | is |
//! |---|---|
//! | up to 24 of a frame are damaged, 8 of each third byte | mended |
//! | more, or some are lost or come in between | the frame is lost, and no other one |
//! | a frame is lost | what it had is missing, and is asked for again if that is possible |
//! | frames come twice, or in another order | nothing |
//!
//! A frame without parity would be lost by one damaged byte, and one so short that damage costs
//! little would be mostly head. Compression and a head favour long frames, lost bytes short ones:
//! this length is the least that holds the longest record as it is.
//!
//! A block of records has whole ones, and what its reader has to know of those before it: it is
//! read, and unpacked, without any other block. In place of blocks that are missing there is a gap.
//! A block of a table has whole entries; those that are missing are counted as missing samples.
//!
//! Functions with buffers on their stack are `#[inline(never)]`: what one of them has is then not
//! there for each of its calls, in kernels whose stacks are small.
//!
//! A kernel sends by [`Sender`]; the host finds frames by [`Scanner`] and makes a region of them by
//! [`RingBlocks`]. As tables: `docs/wire.md`.

mod crc;
mod cut;
mod frame;
mod pack;
mod parity;
mod place;
mod scan;
mod send;

pub(in crate::format) use cut::Record;
pub use frame::{FRAME_BYTES, Frame, Kind, Number, Part};
pub use place::{Misplaced, RingBlocks, TableBlocks};
pub use scan::Scanner;
pub use send::{Port, REQUEST_RANGES, Sender, Sent, done, request};

#[cfg(test)]
mod documented;
#[cfg(test)]
mod tests;
