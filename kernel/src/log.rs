//! Log lines on the serial port, and on the screen: `[LEVEL coreN] message`.
//!
//! One core at a time writes. A core that wants to write while it writes already
//! (a trap in the middle of a line) starts a new line and writes at once; one
//! that waits too long for another, which may have died, does the same. So a
//! message may be torn, but none is lost and no core waits for ever. Once a core ends the run,
//! it alone writes.
//!
//! What is written is kept as well, for whoever finds the kernel dead: in a ring for which nobody
//! waits ([`kernel_core::log_ring`]).

use core::fmt::{self, Write};
use core::sync::atomic::{AtomicU32, Ordering};

use kernel_core::log_filter::{Importance, LogFilter};
use kernel_core::log_ring::{self, Level};
use kernel_core::postmortem::Block;
use log::{LevelFilter, Log, Metadata, Record};
use spin::Once;
use x86_64::instructions::interrupts;

use crate::cpu::{self, stop};
use crate::exit;
use crate::screen;
use crate::serial::{self, Serial};
use profiler::hw::tsc::{self, Deadline};

const NOBODY: u32 = u32::MAX;

/// The core that writes.
static WRITER: AtomicU32 = AtomicU32::new(NOBODY);

/// The last messages, and before them what leads to everything else.
static BLOCK: Block = Block::new();

/// Which messages are made.
static FILTER: Once<LogFilter<'static>> = Once::new();

/// All that shows the log, at once and without a lock. The port first: what is drawn may fault.
pub struct Output;

impl Write for Output {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let written = Serial.write_str(text);
        screen::write(text);
        written
    }
}

/// Shows a message, and keeps it.
struct Kept<'a>(log_ring::Writer<'a>);

impl Write for Kept<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.0.write_str(text)?;
        Output.write_str(text)
    }
}

struct SerialLog;

impl Log for SerialLog {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        let wanted = FILTER
            .get()
            .map(|filter| filter.of_module(metadata.target()));
        wanted.is_none_or(|wanted| metadata.level() <= level_filter(wanted))
    }

    fn log(&self, record: &Record<'_>) {
        if self.enabled(record.metadata()) {
            let level = match record.level() {
                log::Level::Error => Level::Error,
                log::Level::Warn => Level::Warn,
                log::Level::Info => Level::Info,
                log::Level::Debug => Level::Debug,
                log::Level::Trace => Level::Trace,
            };
            line(level, *record.args(), TIMEOUT_TICKS);
        }
    }

    fn flush(&self) {
        serial::drain();
    }
}

/// Sets the port up and makes it the backend of the `log` crate.
///
/// # Panics
///
/// On the second call.
pub fn start() {
    serial::start();
    log::set_logger(&SerialLog).expect("the log was started before");
    log::set_max_level(LevelFilter::Debug);
}

/// Makes only these messages from now on. The first call counts.
pub fn set_filter(filter: LogFilter<'static>) {
    log::set_max_level(level_filter(filter.least()));
    FILTER.call_once(|| filter);
}

const fn level_filter(least: Importance) -> LevelFilter {
    match least {
        Importance::Off => LevelFilter::Off,
        Importance::Error => LevelFilter::Error,
        Importance::Warn => LevelFilter::Warn,
        Importance::Info => LevelFilter::Info,
        Importance::Debug => LevelFilter::Debug,
        Importance::Trace => LevelFilter::Trace,
    }
}

/// What is kept for whoever finds the kernel dead.
#[must_use]
pub fn block() -> &'static Block {
    &BLOCK
}

/// The message with which a run ends. The other cores have been stopped, maybe in
/// the middle of a line, so there is no core to wait for.
pub fn last_words(message: fmt::Arguments<'_>) {
    line(Level::LastWords, message, 0);
}

/// What the other cores were doing, behind that: on the port alone, as on a screen it would
/// take the place of the message itself.
pub fn last_words_of_others(message: fmt::Arguments<'_>) {
    // As in `line`.
    let _ = Serial.write_fmt(message);
    let mut kept = begin(cpu::current_index(), Level::Raw);
    let _ = kept.write_fmt(message);
    kept.finish();
}

/// Bytes, at once, without a lock or formatting.
pub fn raw(text: &str) {
    // It takes what it is given.
    let _ = Output.write_str(text);
    let mut kept = begin(cpu::current_index(), Level::Raw);
    let _ = kept.write_str(text);
    kept.finish();
}

/// Begins to keep a message.
fn begin(core: u32, level: Level) -> log_ring::Writer<'static> {
    BLOCK.log.begin(core, level, tsc::ticks())
}

/// Half a second of the fastest time stamp counters; a line takes milliseconds.
const TIMEOUT_TICKS: u64 = 1 << 31;

fn line(level: Level, message: fmt::Arguments<'_>, timeout: u64) {
    while exit::is_ending_elsewhere() && !stop::is_working() {
        // It is stopped by an NMI, but that has not come yet, or cannot.
        interrupts::without_interrupts(|| stop::rest(stop::here(), None));
    }
    let me = cpu::current_index();
    let turn = Turn::take(me, timeout);
    if turn.is_borrowed {
        let _ = Output.write_str("\n");
    }
    // An error can only come from what is formatted; the line then ends early.
    let _ = write!(Output, "[{} core{me}] ", level.name());
    let mut kept = Kept(begin(me, level));
    let _ = kept.write_fmt(message);
    kept.0.finish();
    let _ = Output.write_str("\n");
    drop(turn);
}

/// The right to write a line.
struct Turn {
    /// Taken without the holder's leave: not given back.
    is_borrowed: bool,
}

impl Turn {
    /// For core `me`, after at most `timeout` ticks of the time stamp counter.
    fn take(me: u32, timeout: u64) -> Self {
        let free = || {
            WRITER
                .compare_exchange(NOBODY, me, Ordering::Acquire, Ordering::Relaxed)
                .is_ok()
        };
        let nested = WRITER.load(Ordering::Relaxed) == me;
        Self {
            is_borrowed: nested || !Deadline::after(timeout).wait_for(free),
        }
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        if !self.is_borrowed {
            WRITER.store(NOBODY, Ordering::Release);
        }
    }
}
