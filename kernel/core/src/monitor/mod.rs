//! The monitor: what a line that somebody types asks for, and what they see of it.
//!
//! What touches the machine is in the kernel: it has the commands, each a [`Command`].
//!
//! * [`arguments`]: the words behind a command's name; [`place`]: one that stands for an address.
//! * [`editor`]: from bytes to a line, which is shown meanwhile; [`history`]: those before it.
//! * [`ahead`]: what is typed while a command runs.
//! * [`lookup`]: which command a word means; [`names`]: which function.
//! * [`hexdump`]: bytes as a line.

pub mod ahead;
pub mod arguments;
pub mod editor;
pub mod hexdump;
pub mod history;
pub mod line;
pub mod lookup;
pub mod names;
pub mod place;

use core::fmt;

use profiler::format::Text;

pub use ahead::Ahead;
pub use arguments::Arguments;
pub use editor::{Completions, Edit, Editor};
pub use line::Line;
pub use lookup::find_command;

/// Bytes of a problem's line.
const PROBLEM_BYTES: usize = 120;

/// Something that can be asked for.
#[derive(Clone, Copy, Debug)]
pub struct Command {
    /// Its first word.
    pub name: &'static str,
    /// What follows, as help shows it: `ADDR [LEN]`.
    pub arguments: &'static str,
    /// What it does, in a line.
    pub summary: &'static str,
    /// Does it, and writes what is to be seen.
    pub run: fn(Arguments<'_>, &mut dyn fmt::Write) -> Result<(), Problem>,
}

/// Why a command could not do what it was asked for, in a line that says what to do instead.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Problem(Text<PROBLEM_BYTES>);

impl Problem {
    /// A problem that this describes; what is longer than a line is cut.
    #[must_use]
    pub fn new(message: fmt::Arguments<'_>) -> Self {
        Self(Text::formatted(message))
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.as_str())
    }
}

impl core::error::Error for Problem {}

/// Nobody reads what is written any more: the command ends.
impl From<fmt::Error> for Problem {
    fn from(_: fmt::Error) -> Self {
        Self::new(format_args!("the output ended early"))
    }
}
