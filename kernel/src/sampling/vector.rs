//! The vectors of sampling's interrupts.

pub use crate::trap::vector::{DEBUG, NMI};

/// The host may have asked for something: see [`super::control`].
pub const CONTROL: u8 = 0x46;
/// An overflow, where overflows come as maskable interrupts.
pub const SAMPLING: u8 = 0xf0;
/// The core's turn has come: see [`super::turns`].
pub const TURN: u8 = 0xf1;
/// A group of events has had its turn: see [`super::counting`], as for the four that
/// follow.
pub const COUNT_TIMER: u8 = 0xf2;
/// A counter has gone round.
pub const COUNT_OVERFLOW: u8 = 0xf3;
/// What a core begins to count itself by.
pub const COUNT_BEGIN: u8 = 0xf4;
/// What it ends by.
pub const COUNT_END: u8 = 0xf5;
/// The last core has done its work.
pub const COUNT_DONE: u8 = 0xf6;
