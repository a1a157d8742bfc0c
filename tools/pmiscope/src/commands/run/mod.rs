//! `run` and `stat`: boot a guest, collect what it writes, and show it.

pub(super) mod plan;
mod progress;
mod session;

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use anyhow::{Context as _, Result, bail};
use signal_hook::consts::{SIGINT, SIGTERM};

use super::{show, with_reason};
use crate::cli::{RunArgs, StatArgs};
use crate::control::Server;
use crate::exit::Exit;
use crate::profile::{Host, Outcome};
use crate::qemu::{Guest, GuestMemory};
use crate::report::counts::Selection;
use crate::report::text::outcome_name;
use plan::Plan;
use session::{FinishedRun, Session};

/// `pmiscope run`: boots a guest, collects its samples and shows them.
pub(super) fn run(arguments: &RunArgs) -> Result<Exit> {
    let plan = Plan::new(arguments)?;
    let run = boot_and_follow(&plan)?;
    let took_no_samples = !run.has_profile && arguments.self_test.is_none();
    if run.outcome() == Outcome::Finished && took_no_samples {
        explain_unanswered(&run);
        bail!(
            "the guest ended without having sampled{}",
            with_reason(run.message())
        );
    }
    if run.outcome() != Outcome::Finished {
        explain(&run, false);
    }
    let mut exit = Exit::from(run.outcome());
    if run.has_profile {
        let shown = show::show_run(&plan.output, arguments.format)?;
        eprintln!("pmiscope: profile      {}", plan.output.display());
        if let Some(picture) = shown.picture {
            eprintln!("pmiscope: flame graph  {}", picture.display());
        }
        if exit == Exit::Success && !shown.has_names {
            exit = Exit::Incomplete;
        }
    }
    Ok(exit)
}

/// `pmiscope stat`: boots a guest and shows how often events happened in it.
pub(super) fn stat(arguments: &StatArgs) -> Result<Exit> {
    let plan = Plan::new(&arguments.run())?;
    let run = boot_and_follow(&plan)?;
    if run.outcome() != Outcome::Finished {
        explain(&run, true);
    } else if !run.has_profile {
        explain_unanswered(&run);
        bail!(
            "the guest ended without having counted{}",
            with_reason(run.message())
        );
    }
    if run.has_profile {
        let profile = show::open(&plan.output)?;
        let selection = Selection {
            per_core: arguments.shown.per_core,
            ..Selection::default()
        };
        show::print_counts(&profile, arguments.shown.format(), selection)
            .context("cannot write the counts")?;
        eprintln!("pmiscope: profile      {}", plan.output.display());
    }
    Ok(run.outcome().into())
}

/// Boots the guest of a plan and follows it to its end.
fn boot_and_follow(plan: &Plan) -> Result<FinishedRun> {
    let memory = GuestMemory::new(plan.machine.memory)?;
    let interrupted = on_signals().context("cannot catch signals")?;
    let guest = Guest::start(&plan.qemu, &plan.machine, &memory)?;
    if plan.verbose {
        eprintln!("pmiscope: {}", guest.command_line());
    }
    let host = Host {
        pmiscope: env!("CARGO_PKG_VERSION").into(),
        qemu: plan.qemu.version.to_string(),
        emulator: plan.qemu.emulator,
        pmu: plan.machine.pmu,
        mode: plan.machine.mode,
        arguments: guest.arguments().to_vec(),
    };
    let mut session = Session::new(plan, host, interrupted, listen());
    let ended = guest.follow(&plan.limits, &mut session)?;
    session.finish(ended)
}

/// Opens the socket for `pmiscope ctl`. A run works without one.
fn listen() -> Option<Server> {
    Server::new()
        .inspect_err(|error| eprintln!("pmiscope: pmiscope ctl will not find this run: {error}"))
        .ok()
}

/// A flag that ^C and SIGTERM set. A second one ends the tool at once, and QEMU
/// with it.
fn on_signals() -> std::io::Result<Arc<AtomicBool>> {
    let flag = Arc::new(AtomicBool::new(false));
    for signal in [SIGINT, SIGTERM] {
        let status = Exit::Interrupted as i32;
        signal_hook::flag::register_conditional_shutdown(signal, status, Arc::clone(&flag))?;
        signal_hook::flag::register(signal, Arc::clone(&flag))?;
    }
    Ok(flag)
}

/// Says what the kernel asked the loader for and did not get: it may be why it ended so.
fn explain_unanswered(run: &FinishedRun) {
    let is_cause = matches!(
        run.outcome(),
        Outcome::Finished
            | Outcome::Panic
            | Outcome::Exception
            | Outcome::QemuFailed
            | Outcome::Hung
            | Outcome::TimeLimit
    );
    if let Some(list) = run.ended.unanswered.as_ref().filter(|_| is_cause) {
        eprintln!("pmiscope: the kernel asked for what the loader did not answer: {list}");
    }
}

/// Says why a run ended before its time, with the end of the guest's log.
fn explain(run: &FinishedRun, is_counting: bool) {
    let (outcome, message) = (run.outcome(), run.message());
    let name = match outcome {
        Outcome::SamplingUnavailable if is_counting => "the kernel could not count",
        other => outcome_name(other),
    };
    if outcome == Outcome::SamplingUnavailable && !run.has_profile {
        // The rest of the log says no more.
        eprintln!(
            "pmiscope: {name}{} (pmiscope doctor says what to change)",
            with_reason(message)
        );
        return;
    }
    eprintln!("pmiscope: {name}{}", with_reason(message));
    explain_unanswered(run);
    let log = &run.ended.log;
    if outcome != Outcome::Interrupted && !log.is_empty() {
        eprintln!("pmiscope: the guest's log ends with:");
        log.iter().for_each(|line| eprintln!("  {line}"));
    }
    if !run.has_profile {
        let begun = if is_counting { "count" } else { "sample" };
        eprintln!("pmiscope: no profile was written: the guest had not begun to {begun}");
    }
}
