//! `run` and `stat`: boot a guest, collect what it writes, and show it.

mod attended;
mod outputs;
mod places;
pub(super) mod plan;
mod programs;
mod progress;
mod session;
pub(super) mod unsampled;
mod view;

use std::fmt::Write as _;
use std::io::{self, IsTerminal as _};
use std::path::Path;

use anyhow::{Context as _, Result, bail};
use profiler::contract::settings::Settings;

use super::postmortem::symbol_files;
use super::{embed, show, with_reason};
use crate::cli::{ReportFormat, RunArgs, StatArgs};
use crate::control::Server;
use crate::exit::Exit;
use crate::output::say;
use crate::postmortem::{self, Files, Newest, Story};
use crate::profile::{Host, Outcome};
use crate::qemu::{Guest, GuestMemory, Seen};
use crate::report::text;
use crate::signals::Interrupt;
use plan::{Plan, Recording};
pub(super) use session::{FinishedRun, Session};
use unsampled::Boot;

/// `pmiscope run`: boots a guest, collects its samples and shows them.
pub(super) fn run(arguments: &RunArgs) -> Result<Exit> {
    let mut plan = Plan::new(arguments)?;
    let run = boot_and_follow(&mut plan)?;
    let is_test = arguments.self_test.is_some();
    finish(
        &plan,
        &run,
        Shown {
            format: arguments.format,
            per_core: false,
            is_expected: !is_test,
            begun: "sampled",
        },
    )
}

/// `pmiscope top`: the same with a view of it while it goes on, until somebody ends that.
pub(super) fn top(arguments: &RunArgs) -> Result<Exit> {
    let mut arguments = arguments.clone();
    let most = *Settings::SAMPLES.end();
    arguments.work.samples.get_or_insert(most);
    // The tool keeps up with what is sampled: all samples need not fit.
    arguments.boot.ring.get_or_insert(RING_OF_TOP);
    may_show(arguments.monitor.is_some())?;
    let mut plan = Plan::new(&arguments)?;
    plan.recording.has_view = true;
    let run = boot_and_follow(&mut plan)?;
    let shown = Shown {
        format: arguments.format,
        per_core: false,
        is_expected: true,
        begun: "sampled",
    };
    finish(&plan, &run, shown)
}

/// Each core's ring where nobody says how many samples there are.
const RING_OF_TOP: u64 = 8 << 20;

/// Refuses a view where there is no terminal for it.
pub(super) fn may_show(has_monitor: bool) -> Result<()> {
    if has_monitor {
        bail!("top: --monitor needs the terminal as well: say pmiscope monitor in another one");
    }
    if !io::stdout().is_terminal() || !io::stdin().is_terminal() {
        bail!("top: this is no terminal: pmiscope run reports without one");
    }
    Ok(())
}

/// `pmiscope stat`: boots a guest and shows how often events happened in it.
pub(super) fn stat(arguments: &StatArgs) -> Result<Exit> {
    let mut plan = Plan::new(&arguments.run())?;
    let run = boot_and_follow(&mut plan)?;
    finish(
        &plan,
        &run,
        Shown {
            format: arguments.shown.format(),
            per_core: arguments.shown.per_core,
            is_expected: true,
            begun: "counted",
        },
    )
}

/// How a run is shown.
#[derive(Clone, Copy)]
struct Shown {
    format: ReportFormat,
    per_core: bool,
    /// Whether there is to be anything to show.
    is_expected: bool,
    /// What the kernel was to have done.
    begun: &'static str,
}

/// Says how a run ended, and shows what there is.
fn finish(plan: &Plan, run: &FinishedRun, shown: Shown) -> Result<Exit> {
    let outcome = run.outcome();
    let has_nothing = run.profile.is_none() && shown.is_expected;
    if outcome != Outcome::Finished || has_nothing {
        explain(Some(&plan.boot), run, shown.begun);
    } else if !run.message().is_empty() {
        say!("pmiscope: {}", text::outcome(Some(outcome), run.message()));
    }
    let exit = match outcome {
        Outcome::Finished if has_nothing => Exit::Failure,
        // That is how it ends.
        Outcome::Interrupted if plan.recording.has_view && run.profile.is_some() => Exit::Success,
        other => Exit::from(other),
    };
    let Some(profile) = &run.profile else {
        return Ok(exit);
    };
    let picture = plan.recording.outputs.picture.as_ref();
    let of_profile = show::show_run((profile, picture), shown.format, shown.per_core);
    let of_profile = of_profile.and_then(|of_profile| {
        Ok(of_profile.or(match plan.recording.embeds_names {
            true => embed::embed_in(profile)?,
            false => Exit::Success,
        }))
    });
    match (of_profile, exit) {
        // How the run ended says more.
        (Err(problem), exit) if exit != Exit::Success => {
            say!("pmiscope: {problem:#}");
            Ok(exit)
        }
        (of_profile, exit) => of_profile.map(|of_profile| exit.or(of_profile)),
    }
}

/// Boots the guest of a plan and follows it to its end.
fn boot_and_follow(plan: &mut Plan) -> Result<FinishedRun> {
    let memory = GuestMemory::new(plan.machine.memory)?;
    let interrupt = Interrupt::catch().context("cannot catch signals")?;
    let embedded = plan.recording.embedded()?;
    let guest = Guest::start(&plan.qemu, &plan.machine, &memory)?;
    if plan.recording.verbose {
        say!("pmiscope: {}", guest.command_line());
    }
    for warning in plan.boot.warnings() {
        say!("pmiscope: warning: {warning}");
    }
    let host = Host {
        pmiscope: env!("CARGO_PKG_VERSION").into(),
        qemu: plan.qemu.version.to_string(),
        emulator: plan.qemu.emulator,
        pmu: plan.machine.pmu,
        mode: plan.machine.mode,
        arguments: guest.arguments().to_vec(),
        asked: plan.asked.clone(),
        imported: None,
    };
    let mut session = Session::new(
        &plan.recording,
        (host, embedded),
        interrupt.clone(),
        listen(),
    );
    if let Some(attended) = plan.serial.take() {
        session = session.attended(attended);
    }
    let run = match guest.follow(&plan.limits, &mut session) {
        Ok(ended) => session.finish(ended),
        Err(error) => Err(session.abandon(error)),
    };
    interrupt.is_over();
    let mut run = run?;
    if failed(run.outcome()) {
        let story = story(&memory, &plan.recording, &run);
        // Where there is none, the kernel is another one, or it had not come so far.
        run.story = story.unwrap_or_default();
    }
    Ok(run)
}

/// Returns true if the kernel may be asked how it came to such an end.
fn failed(outcome: Outcome) -> bool {
    matches!(
        outcome,
        Outcome::Panic | Outcome::Exception | Outcome::Failed | Outcome::Hung | Outcome::Reset
    )
}

/// What the memory of a guest that has ended says of how it failed.
fn story(memory: &GuestMemory, recording: &Recording, run: &FinishedRun) -> Result<String> {
    let image = memory.image()?;
    let mut dead = postmortem::find(&image, Some(recording.build_id))?;
    if dead.build_id() != recording.build_id {
        return Ok(String::new());
    }
    let files = symbol_files(
        Path::new("the kernel"),
        &recording.kernel,
        &recording.debug_files,
    )?;
    dead.processors = postmortem::processors_said(&run.ended.registers);
    let mut files = Files::new(&files, &dead);
    let newest: Vec<_> = run.newest.iter().map(|it| Newest::of_record(it)).collect();
    Ok(Story::new(&dead, &mut files, &newest).short())
}

/// Opens the socket for `pmiscope ctl`. A run works without one.
pub(super) fn listen() -> Option<Server> {
    Server::new()
        .inspect_err(|error| say!("pmiscope: pmiscope ctl will not find this run: {error}"))
        .ok()
}

/// Says what the kernel asked the loader for and did not get: it may be why it ended so, but
/// not of one that came so far as to sample.
fn explain_unanswered(run: &FinishedRun) {
    let is_cause = !run.has_sampled
        && matches!(
            run.outcome(),
            Outcome::Finished
                | Outcome::EndedEarly
                | Outcome::Panic
                | Outcome::Exception
                | Outcome::Failed
                | Outcome::UnknownValue
                | Outcome::Reset
                | Outcome::QemuFailed
                | Outcome::Hung
                | Outcome::TimeLimit
        );
    if let Some(list) = run.ended.unanswered.as_ref().filter(|_| is_cause) {
        say!("pmiscope: the kernel asked for what the loader did not answer: {list}");
    }
}

/// Says why a run ended before its time, with the end of the guest's log.
///
/// `boot` is what is known of a guest that the tool has booted.
pub(super) fn explain(boot: Option<&Boot>, run: &FinishedRun, begun: &str) {
    let outcome = run.outcome();
    let mut line = match name(run, begun) {
        Some(name) => name + &with_reason(run.message()),
        None => text::outcome(Some(outcome), run.message()),
    };
    if let Some(boot) = boot
        && run.ended.seen == Seen::Nothing
        && is_unexplained(outcome)
    {
        let _ = write!(line, "; {}", boot.reason(run.ended.heard));
    }
    if outcome == Outcome::SamplingUnavailable && run.profile.is_none() {
        // The rest of the log says no more.
        say!("pmiscope: {line} (pmiscope doctor says what to change)");
        return;
    }
    say!("pmiscope: {line}");
    run.story.lines().for_each(|line| say!("  {line}"));
    // To one who has ended it and has samples, it matters no more.
    let is_left_out = outcome == Outcome::Interrupted && run.profile.is_some();
    if !run.ended.qemu_said.is_empty() && !is_left_out {
        say!("pmiscope: QEMU said: {}", run.ended.qemu_said);
    }
    explain_unanswered(run);
    let log = &run.ended.log;
    if outcome != Outcome::Interrupted && !log.is_empty() {
        say!("pmiscope: the guest's log ends with:");
        let lines = log.iter().filter(|line| !line.trim().is_empty());
        lines.for_each(|line| say!("  {line}"));
    }
    if run.profile.is_none() {
        let why = match &run.ended.seen {
            Seen::Nothing => format!(": the kernel has not {begun}"),
            _ => String::new(),
        };
        say!("pmiscope: no profile was written{why}");
    }
}

/// What ended a run, where that is more than its outcome says.
fn name(run: &FinishedRun, begun: &str) -> Option<String> {
    match (run.outcome(), &run.ended.seen) {
        (Outcome::SamplingUnavailable, _) if begun == "counted" => {
            Some("the kernel could not count".into())
        }
        (Outcome::Hung, Seen::Nothing) => Some(format!("the kernel has not {begun} and was ended")),
        (Outcome::Finished, _) => Some(format!("the guest ended without having {begun}")),
        _ => None,
    }
}

/// Returns true if such an end does not say why there was no region.
fn is_unexplained(outcome: Outcome) -> bool {
    matches!(
        outcome,
        Outcome::Finished
            | Outcome::Hung
            | Outcome::TimeLimit
            | Outcome::UnknownValue
            | Outcome::Reset
    )
}
