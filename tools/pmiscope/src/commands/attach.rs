//! `attach`: reads a guest that somebody else has started, live or dead.

use std::collections::HashMap;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use profiler::format::region::RunState;

use super::run::plan::Recording;
use super::run::{FinishedRun, Session, explain, listen, may_show};
use super::{embed, show};
use crate::attach::{
    self, CUT, Chosen, Copies, FAILED, Found, Guest, Image, NO_REGION, Process, Regions, Seen,
};
use crate::cli::{AttachArgs, ReportFormat};
use crate::exit::Exit;
use crate::output::say;
use crate::profile::{Asked, Host, Mode, Outcome};
use crate::qemu::{self, Emulator, End, Ended, Heard, Limits, Look, Observer as _};
use crate::signals::Interrupt;

/// How long a guest whose process is not seen may give nothing, and how long the region may
/// take to come.
const SILENCE: Duration = Duration::from_secs(60);

/// What is to be done with the file.
enum Plan {
    /// A guest that runs, of this process if it can be seen.
    Follow(Option<Process>),
    /// Nobody writes to it, or it is only looked at; what is to be said of that.
    Copy(Option<String>),
}

pub(super) fn attach(arguments: &AttachArgs) -> Result<Exit> {
    let image = Image::open(&arguments.ram)?;
    let mut recording = Recording::of_other_guest(
        arguments.kernel.as_deref(),
        arguments.output.as_deref(),
        &arguments.debug_file,
        Some(("the guest's memory", arguments.ram.clone())),
    )?;
    recording.embeds_names = arguments.embed_symbols;
    if arguments.top {
        may_show(false)?;
        recording.has_view = true;
    }
    match plan(arguments, &image)? {
        Plan::Follow(process) => follow(arguments, &image, process, &recording),
        Plan::Copy(note) => copy(arguments, &image, &recording, note.as_deref()),
    }
}

fn plan(arguments: &AttachArgs, image: &Image) -> Result<Plan> {
    let asks_for_a_guest = arguments.live || arguments.pid.is_some();
    if image.is_dump() && asks_for_a_guest {
        bail!(
            "{} is a dump, which no guest writes to: leave out --pid and --live",
            image.name()
        );
    }
    if image.is_dump() || arguments.once {
        return Ok(Plan::Copy(None));
    }
    if let Some(pid) = arguments.pid {
        return Ok(Plan::Follow(Some(Process::of_pid(pid, image)?)));
    }
    match attach::find(image)? {
        Seen::One(process) => Ok(Plan::Follow(Some(process))),
        Seen::Several(processes) => bail!(
            "several processes map {}: {}: say which is the guest's by --pid",
            image.name(),
            processes.join(", ")
        ),
        Seen::Hidden(_) | Seen::Nobody if arguments.live => Ok(Plan::Follow(None)),
        Seen::Hidden(processes) => bail!(
            "it cannot be seen whether another user's QEMU maps {}: process {}: be root, or say --live if one does, --once if none",
            image.name(),
            processes.join(", ")
        ),
        Seen::Nobody => Ok(Plan::Copy(Some(format!(
            "no process that can be seen maps {}: this is what it has (--live follows it all the same)",
            image.name()
        )))),
    }
}

/// Follows a guest that runs.
fn follow(
    arguments: &AttachArgs,
    image: &Image,
    process: Option<Process>,
    recording: &Recording,
) -> Result<Exit> {
    image.claim(true)?;
    let memory = image.map()?;
    let interrupt = Interrupt::catch().context("cannot catch signals")?;
    let wanted = arguments.timeout.map(Duration::from_secs);
    let silence = match &process {
        Some(_) => wanted.unwrap_or(Duration::MAX),
        None => wanted.unwrap_or(SILENCE),
    };
    let limits = Limits {
        silence,
        silence_means: "no sample",
        total: arguments.time_limit.map(Duration::from_secs),
    };
    if let Some(process) = &process {
        say!("pmiscope: attached to {}", process.display());
        if !process.is_qemu() {
            say!("pmiscope: it is not called as QEMU is, and is followed all the same");
        }
    }
    let host = host(
        process
            .as_ref()
            .map_or(&[][..], |process| &process.arguments),
    );
    let mut session = Session::new(
        recording,
        (host, recording.embedded()?),
        interrupt.clone(),
        listen(),
    );
    let guest = Guest::new(image, &memory, process, recording.build_id);
    let end = match guest.follow(&limits, &mut session) {
        Ok(end) => end,
        Err(error) => return Err(session.abandon(error)),
    };
    let goes_on = matches!(
        end.outcome,
        Outcome::Interrupted | Outcome::TimeLimit | Outcome::Silent | Outcome::Unfinished
    );
    let ended = without_log(end);
    let run = if goes_on {
        session.detach(ended)
    } else {
        session.finish(ended)
    };
    interrupt.is_over();
    conclude(&run?, arguments.format, recording)
}

/// Takes what the rings of a guest have that nobody writes to, or that is only looked at.
fn copy(
    arguments: &AttachArgs,
    image: &Image,
    recording: &Recording,
    note: Option<&str>,
) -> Result<Exit> {
    if !image.is_dump() {
        image.claim(false)?;
    }
    let copies = Copies::new(image)?;
    profile_copy(
        (image, &copies),
        recording,
        note,
        end_of_copy,
        arguments.format,
    )
}

/// Makes a profile of one of the regions that were copied of a memory.
pub(super) fn profile_copy(
    (image, copies): (&Image, &Copies),
    recording: &Recording,
    note: Option<&str>,
    end_of: fn(RunState) -> End,
    format: ReportFormat,
) -> Result<Exit> {
    let interrupt = Interrupt::catch().context("cannot catch signals")?;
    let regions = Regions::copied(copies);
    let (refusal, unreadable) = (regions.refusal.clone(), regions.unreadable.clone());
    let mut session = Session::new(
        recording,
        (host(&[]), recording.embedded()?),
        interrupt.clone(),
        None,
    );
    let (found, others) = match regions.choose(recording.build_id, &HashMap::new()) {
        Chosen::Run(found, others) => (found, others),
        // The session says that it is another kernel's.
        Chosen::Other(found) => (found, Vec::new()),
        Chosen::Read(found) => bail!(
            "{}: {} has nothing left to read: pmiscope has read it before",
            image.name(),
            found.name()
        ),
        Chosen::Nothing => bail!(
            "{}: {}",
            image.name(),
            refusal.map_or_else(
                || unreadable.unwrap_or_else(|| NO_REGION.to_owned()),
                |reason| format!("the kernel could not sample: {reason}")
            )
        ),
    };
    for other in others {
        session.on_note(&format!(
            "{other} is left alone: {} is the run",
            found.name()
        ));
    }
    if found.description.build_id == recording.build_id.0 {
        has_unread(&found, image)?;
    }
    note.into_iter().for_each(|note| session.on_note(note));
    let state = found.region.state();
    let end = match session.on_region(found.region, &found.description)? {
        Look::End(end) => end,
        Look::Idle | Look::Active => end_of(state),
    };
    let run = session.finish(without_log(end))?;
    interrupt.is_over();
    conclude(&run, format, recording)
}

/// Refuses a region whose rings have nothing, and says why.
fn has_unread(found: &Found<'_>, image: &Image) -> Result<()> {
    let (ram, region) = (image.name(), found.name());
    match (found.unread(), found.read()) {
        (0, 0) => bail!("{ram}: the guest had not begun to sample: {region} has no sample"),
        (0, _) => bail!("{ram}: {region} has nothing left to read: pmiscope has read it before"),
        _ => Ok(()),
    }
}

/// How a run ended whose memory was copied.
pub(super) fn end_of_copy(state: RunState) -> End {
    let (outcome, message) = match state {
        RunState::Finished => (Outcome::Finished, ""),
        RunState::Failed => (Outcome::Panic, FAILED),
        RunState::Cut => (Outcome::Reset, CUT),
        RunState::Refused => (Outcome::SamplingUnavailable, ""),
        RunState::Starting | RunState::Sampling | RunState::Paused => (
            Outcome::Unfinished,
            "these are the samples that the rings had",
        ),
    };
    End {
        outcome,
        message: message.to_owned(),
    }
}

pub(super) fn without_log(end: End) -> Ended {
    let state = match end.outcome {
        Outcome::Finished => RunState::Finished,
        _ => RunState::Sampling,
    };
    Ended {
        end,
        seen: qemu::Seen::Run(state),
        heard: Heard::Nothing,
        unanswered: None,
        log: Vec::new(),
        qemu_said: String::new(),
        registers: String::new(),
    }
}

/// Shows what there is. A profile that is not whole is no success.
pub(super) fn conclude(
    run: &FinishedRun,
    format: ReportFormat,
    recording: &Recording,
) -> Result<Exit> {
    if run.outcome() != Outcome::Finished {
        explain(None, run, "sampled");
    }
    let exit = match run.outcome() {
        // That is how it ends.
        Outcome::Interrupted if recording.has_view && run.profile.is_some() => Exit::Success,
        outcome => Exit::from(outcome),
    };
    let Some(profile) = &run.profile else {
        return Ok(exit);
    };
    let picture = recording.outputs.picture.as_ref();
    let of_profile = show::show_run((profile, picture), format, false)?;
    let embedded = match recording.embeds_names {
        true => embed::embed_in(profile)?,
        false => Exit::Success,
    };
    Ok(exit.or(of_profile).or(embedded))
}

/// What is known of a QEMU that was started with these arguments; none if they are not known.
pub(super) fn host(arguments: &[String]) -> Host {
    let has = |part: &str| arguments.iter().any(|word| word.contains(part));
    let mode = if has("-icount") {
        Mode::Deterministic
    } else if has("-enable-kvm") || has("accel=kvm") || follows(arguments, "-accel", "kvm") {
        Mode::Kvm
    } else {
        Mode::Realtime
    };
    Host {
        pmiscope: env!("CARGO_PKG_VERSION").into(),
        qemu: "(not started by pmiscope)".into(),
        emulator: Emulator::Other,
        pmu: None,
        mode,
        arguments: arguments.to_vec(),
        asked: Asked::default(),
        imported: None,
    }
}

/// Returns true if the option's value begins so.
fn follows(arguments: &[String], option: &str, value: &str) -> bool {
    let mut pairs = arguments.windows(2);
    pairs.any(|pair| pair[0] == option && pair[1].starts_with(value))
}

#[cfg(test)]
mod tests {
    use super::host;
    use crate::profile::Mode;

    #[test]
    fn the_mode_is_read_off_the_command_line() {
        for (line, mode) in [
            ("", Mode::Realtime),
            ("-m 1G -accel tcg -icount shift=0", Mode::Deterministic),
            ("-enable-kvm -m 1G", Mode::Kvm),
            ("-accel kvm", Mode::Kvm),
            ("-machine q35,accel=kvm", Mode::Kvm),
            ("-accel tcg -name kvm", Mode::Realtime),
        ] {
            let words: Vec<_> = line.split_whitespace().map(str::to_owned).collect();
            let host = host(&words);
            assert_eq!((host.mode, host.arguments), (mode, words), "{line}");
        }
    }
}
