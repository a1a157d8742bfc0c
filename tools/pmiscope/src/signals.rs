//! The signals that end a run, and those that halt it for a while.

use std::fs;
use std::io;
use std::sync::atomic::{AtomicBool, AtomicI32, Ordering};
use std::sync::{Arc, OnceLock};
use std::thread;
use std::time::{Duration, Instant};

use signal_hook::consts::{SIGCHLD, SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGTSTP, SIGXFSZ};
use signal_hook::iterator::Signals;
use signal_hook::{flag, low_level};

use crate::exit::Exit;

/// How long a signal may be followed by others that mean the same: `timeout` sends its own to
/// the process and to its group, a shell that hangs up to each of its jobs.
const ECHO: Duration = Duration::from_millis(500);

/// What the signals that end a run have said.
#[derive(Clone, Default)]
pub struct Interrupt {
    /// The signal by which somebody wanted an end first; 0 if nobody does.
    first: Arc<AtomicI32>,
    /// Nothing is left that a signal could end in an orderly way.
    is_over: Arc<AtomicBool>,
}

/// What is done before a signal ends the tool at once.
static BEFORE_EXIT: OnceLock<fn()> = OnceLock::new();

/// Lets this be done before a signal ends the tool at once, where nothing is dropped: the first that is said.
pub fn before_exit(action: fn()) {
    BEFORE_EXIT.get_or_init(|| action);
}

impl Interrupt {
    /// Catches ^C, SIGTERM, SIGQUIT and SIGHUP: the first says that an end is wanted. Another one
    /// but SIGHUP then ends the tool at once.
    ///
    /// SIGHUP stays ignored where it was (`nohup`). Others do not: shells ignore some for
    /// what a script starts in the background, and a `kill -INT` there is meant.
    ///
    /// # Errors
    ///
    /// Those of catching signals.
    pub fn catch() -> io::Result<Self> {
        let interrupt = Self::default();
        let all = [SIGINT, SIGTERM, SIGQUIT, SIGHUP];
        let caught = all.iter().filter(|&&it| it != SIGHUP || !is_ignored(it));
        let mut signals = Signals::new(caught)?;
        let seen = interrupt.clone();
        let listen = move || {
            let mut first = None::<Instant>;
            for signal in signals.forever() {
                let is_again = first.is_some_and(|first| first.elapsed() >= ECHO);
                let is_late = first.is_none() && seen.is_over.load(Ordering::Relaxed);
                if signal != SIGHUP && (is_again || is_late) {
                    if let Some(action) = BEFORE_EXIT.get() {
                        action();
                    }
                    low_level::exit(Exit::Interrupted as i32);
                }
                first.get_or_insert_with(Instant::now);
                let relaxed = Ordering::Relaxed;
                let _ = seen.first.compare_exchange(0, signal, relaxed, relaxed);
            }
        };
        thread::Builder::new()
            .name("signals".into())
            .spawn(listen)?;
        Ok(interrupt)
    }

    /// The signal by which somebody wants an end, if so: its name.
    #[must_use]
    pub fn wanted_by(&self) -> Option<&'static str> {
        match self.first.load(Ordering::Relaxed) {
            0 => None,
            signal => Some(low_level::signal_name(signal).unwrap_or("a signal")),
        }
    }

    /// From now on, the next signal ends the tool at once.
    pub fn is_over(&self) {
        self.is_over.store(true, Ordering::Relaxed);
    }
}

/// What ^Z does.
#[derive(Default)]
struct OnHalt {
    /// Set by ^Z.
    wanted: Arc<AtomicBool>,
    /// It stops this process at once: nobody follows a guest.
    is_default: Arc<AtomicBool>,
}

static ON_HALT: OnceLock<OnHalt> = OnceLock::new();

/// ^Z as long as a guest is followed: whoever does that halts it with the tool, by
/// [`Self::take`] and [`halt`]. When this is dropped, ^Z is what it was.
pub struct Halts(&'static OnHalt);

impl Halts {
    /// Catches ^Z.
    pub fn catch() -> Self {
        let on_halt = ON_HALT.get_or_init(|| {
            let new = OnHalt::default();
            if !is_ignored(SIGTSTP) {
                // Without it the guest goes on while the tool is stopped.
                let _ = flag::register(SIGTSTP, Arc::clone(&new.wanted));
                let is_default = Arc::clone(&new.is_default);
                let _ = flag::register_conditional_default(SIGTSTP, is_default);
            }
            new
        });
        on_halt.is_default.store(false, Ordering::SeqCst);
        // What came before has stopped the tool.
        on_halt.wanted.store(false, Ordering::SeqCst);
        Self(on_halt)
    }

    /// Returns true once for each ^Z.
    pub fn take(&self) -> bool {
        self.0.wanted.swap(false, Ordering::SeqCst)
    }
}

impl Drop for Halts {
    fn drop(&mut self) {
        self.0.is_default.store(true, Ordering::SeqCst);
        // One that came too late for the guest.
        if self.take() {
            halt();
        }
    }
}

/// Stops this process, as ^Z does that nobody catches, and returns when it is continued.
pub fn halt() {
    // It fails for signals only that are not known.
    let _ = low_level::emulate_default_handler(SIGTSTP);
}

/// Lets a file that grows beyond `ulimit -f` be an error of the write, with a message, and
/// not the end of this process.
pub fn survive_size_limits() {
    // If it fails, it is as without this.
    let _ = flag::register(SIGXFSZ, Arc::default());
}

/// Lets this process wait for those that it starts, where whoever has started it ignores
/// their ends: Linux then keeps no status of them.
pub fn see_children_end() {
    // One that is caught is not ignored, and is as usual in what is started.
    let _ = flag::register(SIGCHLD, Arc::default());
}

/// Lets ^C and SIGTERM end the tool with this status at once: what it does has no other end. So it is too
/// where a shell lets it ignore ^C, as for what a script starts in the background.
///
/// # Errors
///
/// Those of catching signals.
pub fn end_with(exit: Exit) -> io::Result<()> {
    let mut signals = Signals::new([SIGINT, SIGTERM])?;
    let wait = move || {
        if signals.forever().next().is_some() {
            low_level::exit(exit as i32);
        }
    };
    thread::Builder::new().name("signals".into()).spawn(wait)?;
    Ok(())
}

/// Lets this process outlive the signals that end a run.
pub fn ignore_ends() {
    for signal in [SIGINT, SIGTERM, SIGHUP, SIGQUIT] {
        let _ = flag::register(signal, Arc::default());
    }
}

/// Returns true if this process was started with the signal ignored.
fn is_ignored(signal: i32) -> bool {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    is_in_mask(&status, signal)
}

/// Reads the mask of ignored signals in `/proc/PID/status` (proc(5)): bit 0 is signal 1.
fn is_in_mask(status: &str, signal: i32) -> bool {
    let mut lines = status.lines();
    let mask = lines.find_map(|line| line.strip_prefix("SigIgn:"));
    let mask = mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
    mask.is_some_and(|mask| mask >> (signal - 1) & 1 == 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ignored_signals_are_read_off_the_mask() {
        let status =
            "SigBlk:\t0000000000000001\nSigIgn:\t0000000000001002\nSigCgt:\t0000000000000001\n";
        for (signal, expected) in [(SIGHUP, false), (SIGINT, true), (13, true), (64, false)] {
            assert_eq!(is_in_mask(status, signal), expected, "{signal}");
        }
        assert!(!is_in_mask("", SIGHUP));
        assert!(!is_in_mask("SigIgn: x", SIGHUP));
    }
}
