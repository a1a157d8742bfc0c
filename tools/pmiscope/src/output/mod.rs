//! What leaves the tool: text from outside, made safe for where it goes, and files that are
//! whole or not there.
//!
//! Names of functions, paths, the guest's log and QEMU's messages are bytes that somebody
//! else chose. Each kind of output has one function that escapes for it; nothing else
//! writes there.
//!
//! | where | by |
//! |---|---|
//! | a line of a report, of a message | [`one_line`] |
//! | a line that a person may give to a shell | [`shell_word`] |
//! | JSON | [`json`], [`compact_json`] |
//! | folded stacks | [`folded`] |
//! | a picture (SVG) | [`svg`] |
//! | a page (HTML) | base64, in [`crate::page`] |

mod destination;
mod file;
pub mod folded;
mod json;
mod shell;
pub(crate) mod svg;
mod terminal;
mod working;

pub(crate) use destination::{Destination, to_stdout};
pub(crate) use file::{Draft, Target, Written, beginning, parts_of};
pub(crate) use json::{compact_json, json};
pub(crate) use shell::shell_word;
pub(crate) use terminal::{line_of_log, one_line, padded, say, to_stderr, width, width_of};
pub(crate) use working::Working;
