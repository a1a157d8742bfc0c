//! The command line, or the end of the run if it cannot be understood. Each word is the
//! sampler's or the kernel's own.

use alloc::boxed::Box;
use core::fmt::Display;

use kernel_core::words::{self, MonitorEntry, PortName, Words};
use profiler::contract::settings::{BadWord, Problem, SendTo, Settings};
use spin::Once;

use crate::exit::{self, ExitCode};

/// What the sampler is to do.
pub struct Order {
    pub settings: Settings<'static>,
    /// The words that say so.
    pub words: &'static str,
}

/// The kernel's own words. Those that are not understood count as if they were not there until
/// [`parse`] ends the run for them, in a log whose place they may have been meant to name.
#[must_use]
pub fn own(command_line: &str) -> Words<'_> {
    Words::parse(command_line).unwrap_or_default()
}

/// The words of the sampler.
pub fn of_sampler(command_line: &'static str) -> &'static str {
    static LINE: Once<&str> = Once::new();
    LINE.call_once(|| {
        if words::has_own(command_line) {
            Box::leak(words::without_own(command_line).into_boxed_str())
        } else {
            command_line
        }
    })
}

/// Parses the words that the kernel was started with. A word that is not known
/// ends the run: a profile of something else than what was asked for is worth
/// nothing.
#[must_use]
pub fn parse(command_line: &'static str) -> Settings<'static> {
    let own = Words::parse(command_line).unwrap_or_else(|problem| refuse(&problem));
    let settings = Settings::parse(of_sampler(command_line));
    let settings = settings.unwrap_or_else(|problem| refuse_word(&problem));
    if settings.send == SendTo::Serial && own.serial.name == PortName::None {
        refuse(&"send=serial needs a port: leave out serial=none");
    }
    if own.monitor != MonitorEntry::Off && own.serial.name == PortName::None {
        refuse(&"monitor= needs a port: leave out serial=none");
    }
    settings
}

/// The sampler lists its words to whoever has written none of them; ours belong to that list.
fn refuse_word(problem: &BadWord<'_>) -> ! {
    if problem.problem == Problem::Unknown {
        refuse(&format_args!("{problem}, {}", words::LISTED))
    }
    refuse(problem)
}

fn refuse(problem: &dyn Display) -> ! {
    let problem = format_args!("command line: {problem}");
    exit::refuse(ExitCode::BadCommandLine, "", &problem)
}
