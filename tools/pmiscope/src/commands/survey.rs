//! A guest that surveys its machine, from its start to its end.

use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use profiler::contract::settings::{RunKind, Settings};

use super::run::log::{Log, last_line};
use super::run::plan::{self, BASE_MEMORY, CORE_MEMORY, built};
use crate::cli::SurveyArgs;
use crate::collect::{guest_memory, log_file};
use crate::profile::Outcome;
use crate::qemu::{Boot, Choice, Machine, PmuModel, Process, Qemu, WhenEnded, has_lab};
use crate::survey::Survey;

/// Between two looks at the log.
const POLL: Duration = Duration::from_millis(5);

/// What came of a guest.
pub(super) struct Surveyed {
    /// What it has said.
    pub(super) survey: Survey,
    pub(super) outcome: Outcome,
    /// What is known of why; empty if all is well.
    pub(super) message: String,
    /// The last lines of its log.
    pub(super) log: Vec<String>,
}

impl Surveyed {
    /// Whether the guest has said all and ended well.
    pub(super) fn is_whole(&self) -> bool {
        self.outcome == Outcome::Finished && self.survey.incomplete().is_none()
    }
}

/// What is booted.
///
/// # Errors
///
/// The kernel or the loader is not there.
pub(super) fn boot(arguments: &SurveyArgs) -> Result<Boot> {
    let settings = Settings {
        kind: RunKind::Survey,
        ..Settings::default()
    };
    let wanted = &arguments.machine;
    Ok(Boot::Loader {
        kernel: built(wanted.kernel.as_deref(), "kernel")?,
        loader: built(wanted.loader.as_deref(), "loader")?,
        command_line: settings.to_string(),
    })
}

/// Which QEMU, and the counters that it is asked for.
///
/// # Errors
///
/// The QEMU that was named has no counters, or not in this mode.
pub(super) fn emulator(arguments: &SurveyArgs) -> Result<(Choice, Option<PmuModel>)> {
    plan::emulator(&arguments.machine, false, has_lab)
}

/// Boots the machine, and reads its survey.
///
/// # Errors
///
/// The guest cannot be started or followed. One that fails is none.
pub(super) fn survey(
    (qemu, pmu): (&Qemu, Option<PmuModel>),
    boot: Boot,
    arguments: &SurveyArgs,
) -> Result<Surveyed> {
    let wanted = &arguments.machine;
    // It needs no rings.
    let memory = BASE_MEMORY + u64::from(wanted.smp) * CORE_MEMORY;
    let memory_file = guest_memory(memory)?;
    let serial = log_file().context("cannot make a file for the guest's log")?;
    let messages = log_file().context("cannot make a file for QEMU's messages")?;
    let machine = Machine {
        mode: wanted.mode,
        cores: wanted.smp,
        memory,
        memory_file: memory_file.path.clone(),
        serial_file: serial.path.clone(),
        boot,
        firmware: None,
        pmu,
        // As a run has it whose source is chosen.
        hpet: true,
    };
    let words = machine.arguments();
    if wanted.verbose {
        let shown: Vec<_> = words.iter().map(|word| word.to_string_lossy()).collect();
        eprintln!("pmiscope: {} {}", qemu.program.display(), shown.join(" "));
    }
    let mut process = Process::start(qemu, &words, &messages.file)
        .with_context(|| format!("cannot start {}", qemu.program.display()))?;
    let mut log = Log::new(&serial.file);
    let mut survey = Survey::default();
    let mut follow = |log: &mut Log<'_>| -> Result<bool> {
        let lines = log.poll().context("cannot read the guest's log")?;
        for line in &lines {
            survey.take(line);
            if wanted.verbose {
                eprintln!("{line}");
            }
        }
        Ok(!lines.is_empty())
    };
    let patience = Duration::from_secs(arguments.timeout);
    let mut active = Instant::now();
    let ended = loop {
        // Before the log is read: what an ended guest has written is read then.
        let ended = process.ended().context("cannot wait for QEMU")?;
        if follow(&mut log)? {
            active = Instant::now();
        }
        if ended.is_some() || active.elapsed() >= patience {
            break ended;
        }
        thread::sleep(POLL);
    };
    process.kill();
    follow(&mut log)?;
    log.finish();
    let (outcome, message) = match ended {
        None => {
            let seconds = arguments.timeout;
            let message = format!("no line of the log for {seconds} s (--timeout)");
            (Outcome::Hung, message)
        }
        Some(WhenEnded { outcome, status }) => {
            let message = match outcome {
                Outcome::Finished => survey.incomplete().unwrap_or_default(),
                Outcome::LoaderFailed => log.loader_error().unwrap_or_default().to_owned(),
                Outcome::QemuFailed => match last_line(&messages.file) {
                    said if said.is_empty() => status,
                    said => format!("{status}; {said}"),
                },
                _ => log.error().unwrap_or_default().to_owned(),
            };
            (outcome, message)
        }
    };
    Ok(Surveyed {
        survey,
        outcome,
        message,
        log: log.tail().map(str::to_owned).collect(),
    })
}
