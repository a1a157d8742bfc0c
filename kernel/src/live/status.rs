//! `prof status`, and what changes a run.

use core::fmt;
use core::sync::atomic::{AtomicU32, Ordering};

use kernel_core::monitor::Problem;
use profiler::contract::mailbox::{Answer, Mailbox, Request};
use profiler::format::region::RunState;
use profiler::hw::tsc::Deadline;
use profiler::sampler::{CoreLook, Look};

use crate::cpu;
use crate::profiling::sampler;

/// The number of the last request that was made here; 0 before the first.
static ASKED: AtomicU32 = AtomicU32::new(0);

/// How long another core's answer is waited for.
const ANSWER_TICKS: u64 = 200_000_000;

/// There is no run to look at.
pub(super) fn nothing_sampled() -> Problem {
    Problem::new(format_args!("nothing is sampled: the run has not begun"))
}

/// Shows how the run stands.
pub(super) fn show(to: &mut dyn fmt::Write) -> Result<(), Problem> {
    let look = sampler().look().ok_or_else(nothing_sampled)?;
    let Look { source, state, .. } = look;
    write!(to, "source {source}, ")?;
    if look.period == 0 {
        write!(to, "counting")?;
    } else {
        write!(to, "period {}", look.period)?;
    }
    writeln!(to, ", {}", state.name())?;
    if let Some(events) = sampler().events() {
        writeln!(to, "events {events}")?;
    }
    writeln!(
        to,
        "core     taken    wanted    stored      lost unclaimed  unread bytes"
    )?;
    let mut sum = CoreLook::default();
    for index in 0..look.cores {
        let core = sampler().look_at(index).unwrap_or_default();
        write!(to, "{index:4}")?;
        write_row(&core, to)?;
        sum.wanted += core.wanted;
        sum.taken += core.taken;
        sum.stored += core.stored;
        sum.lost += core.lost;
        sum.unclaimed += core.unclaimed;
        sum.unread_bytes += core.unread_bytes;
    }
    to.write_str(" all")?;
    write_row(&sum, to)?;
    let asked = ASKED.load(Ordering::Relaxed);
    if let Some(mailbox) = sampler().mailbox().filter(|_| asked != 0) {
        to.write_str("asked last: ")?;
        write_answer(&mailbox, asked, to)?;
    }
    Ok(())
}

fn write_row(core: &CoreLook, to: &mut dyn fmt::Write) -> fmt::Result {
    let CoreLook {
        wanted,
        taken,
        stored,
        lost,
        unclaimed,
        unread_bytes,
    } = core;
    writeln!(
        to,
        " {taken:9} {wanted:9} {stored:9} {lost:9} {unclaimed:9} {unread_bytes:13}"
    )
}

/// Asks for a change of the run, as the host does. The first core makes it, in an interrupt: not while
/// it stands still, or has interrupts off.
pub(super) fn ask(request: &Request, to: &mut dyn fmt::Write) -> Result<(), Problem> {
    let look = sampler().look().ok_or_else(nothing_sampled)?;
    if !matches!(look.state, RunState::Sampling | RunState::Paused) {
        let state = look.state.name();
        return Err(Problem::new(format_args!(
            "nothing to change: the run is {state}"
        )));
    }
    let Some(mailbox) = sampler().mailbox() else {
        let source = look.source;
        return Err(Problem::new(format_args!(
            "a run by {source} goes on as it began: only counters can be changed. status, top and trace work"
        )));
    };
    let before = ASKED.load(Ordering::Relaxed);
    let is_own = before != 0 && mailbox.answer(before).is_none();
    // One that was asked for here and is not done yet is taken back by the next one.
    if mailbox.has_request() && !is_own {
        return Err(Problem::new(format_args!(
            "the run is busy with a request of the host: ask again"
        )));
    }
    let number = mailbox.request(request);
    let number =
        number.map_err(|_| Problem::new(format_args!("that list of events is too long")))?;
    ASKED.store(number, Ordering::Relaxed);
    if cpu::current_index() != 0 {
        let is_answered = || mailbox.answer(number).is_some();
        let _ = Deadline::after(ANSWER_TICKS).wait_for(is_answered);
    }
    write_answer(&mailbox, number, to)?;
    Ok(())
}

fn write_answer(mailbox: &Mailbox<'_>, number: u32, to: &mut dyn fmt::Write) -> fmt::Result {
    match mailbox.answer(number) {
        Some(Answer::Done) => writeln!(to, "done"),
        Some(Answer::Refused(reason)) => writeln!(to, "refused: {}", reason.as_str()),
        None => writeln!(
            to,
            "no answer yet: core 0 does it once it runs with interrupts on; prof status has the answer then"
        ),
    }
}
