//! What the kernel says when it has failed: the failure, how the code came there, and where all
//! other cores were. One core says it all, the one that ends the run; the others are stopped,
//! and leave behind what it needs ([`crate::cpu::stop`]).

use core::fmt;
use core::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use spin::Once;

use super::backtrace::Backtrace;
use crate::cpu::{self, CoreBlock, stop};
use crate::exit::{self, ExitCode, Failure};
use crate::log;

/// How often the core has failed that was saying why the run ends.
static AGAIN: AtomicU32 = AtomicU32::new(0);

/// The run ends by a failure, and not because something was refused.
static FAILS: AtomicBool = AtomicBool::new(false);

/// What is asked whether the run really ends: the monitor.
static BEFORE_END: Once<fn(ExitCode, &Failure<'_>)> = Once::new();

/// Registers what comes once all has been said, before the run ends; it need not return. Called
/// on the core that has failed, with the others held.
pub fn before_end(hook: fn(ExitCode, &Failure<'_>)) {
    BEFORE_END.call_once(|| hook);
}

/// Nothing is said of the other cores any more: somebody has seen what they wanted to.
pub fn keep_quiet() {
    IS_SAID.store(true, Ordering::Relaxed);
}

/// Other failures are to be told as this one was: the run goes on.
pub fn forget() {
    FAILS.store(false, Ordering::Relaxed);
    IS_SAID.store(false, Ordering::Relaxed);
    AGAIN.store(0, Ordering::Relaxed);
}

/// What knows more of what a core was doing.
static MORE: Once<fn(&CoreBlock, &mut fmt::Formatter<'_>) -> fmt::Result> = Once::new();

/// Has this say whole lines of what a core was doing that has failed, or that was stopped.
pub fn on_last_words(more: fn(&CoreBlock, &mut fmt::Formatter<'_>) -> fmt::Result) {
    MORE.call_once(|| more);
}

/// What somebody else knows of a core.
struct More(Option<&'static CoreBlock>);

impl fmt::Display for More {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.0, MORE.get()) {
            (Some(core), Some(more)) => more(core, f),
            _ => Ok(()),
        }
    }
}

/// Ends the run by a failure: says what it is, and `details` of it; then exits.
///
/// `kind` is what it is called if this core was ending the run already.
pub fn fail(code: ExitCode, kind: &str, failure: &Failure<'_>, details: fmt::Arguments<'_>) -> ! {
    FAILS.store(true, Ordering::Relaxed);
    if exit::is_ending_here() {
        fail_again(code, kind, failure);
    }
    exit::begin_failed(failure);
    log::last_words(format_args!(
        "{}\n{details}{}{}",
        failure.message,
        More(cpu::cores().get(cpu::current_index() as usize).copied()),
        backtrace(failure)
    ));
    if let Some(hook) = BEFORE_END.get() {
        of_other_cores();
        hook(code, failure);
    }
    exit::exit(code)
}

fn backtrace(failure: &Failure<'_>) -> Backtrace {
    Backtrace {
        core: cpu::current_index(),
        at: failure.at,
    }
}

/// The same while this core was already saying why the run ends: what it was to show is not to
/// be trusted, so it is not shown; and each time it does less.
fn fail_again(code: ExitCode, kind: &str, failure: &Failure<'_>) -> ! {
    let times = AGAIN.fetch_add(1, Ordering::Relaxed);
    if times > 2 {
        exit::leave(code);
    }
    log::raw("\n");
    log::raw(kind);
    log::raw(" while ending the run\n");
    if times == 0 {
        log::last_words(format_args!("it came there by\n{}", backtrace(failure)));
    }
    exit::exit(code)
}

/// What the other cores were doing has been said.
static IS_SAID: AtomicBool = AtomicBool::new(false);

/// What the other cores were doing, if any core has failed. What fails in that is not done again.
pub(super) fn of_other_cores() {
    let has_failed = FAILS.load(Ordering::Relaxed) || stop::any_failed().is_some();
    if !has_failed || IS_SAID.swap(true, Ordering::Relaxed) {
        return;
    }
    let me = cpu::current_index();
    let others = cpu::cores().iter().filter(|core| core.index != me);
    for core in others.filter(|core| core.online.load(Ordering::Acquire)) {
        log::last_words_of_others(format_args!("{}", OtherCore(core)));
    }
}

/// A core that does not end the run.
struct OtherCore(&'static CoreBlock);

impl fmt::Display for OtherCore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let core = self.0;
        write!(f, "core {} (APIC id {}) ", core.index, core.apic_id)?;
        if !stop::is_at_rest(core) {
            let fails = stop::has_failed(core);
            let why = if fails { ": it has failed as well" } else { "" };
            return writeln!(f, "has not stopped{why}");
        }
        match (stop::message_of(core), stop::has_failed(core)) {
            (_, true) if stop::has_told(core) => f.write_str("has failed before")?,
            (Some(message), _) => write!(f, "has failed as well: {message}")?,
            (None, true) => f.write_str("has failed as well, and again in saying why")?,
            (None, false) => f.write_str("was stopped")?,
        }
        f.write_str("\n")?;
        let Some(at) = stop::registers_of(core) else {
            return Ok(());
        };
        write!(f, "{}", More(Some(core)))?;
        let core = core.index;
        writeln!(f, "{}", Backtrace { core, at })
    }
}
