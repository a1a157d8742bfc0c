//! What reaches a person: text from outside, made safe for where it is shown.
//!
//! Names of functions, paths, the guest's log and QEMU's messages are bytes that somebody
//! else chose. Each kind of output has one function that escapes for it; nothing else
//! writes there.

mod terminal;

pub(crate) use terminal::{say, to_stderr};
