//! `run`: boots a guest, collects its samples and shows them.

pub(super) mod log;
pub(super) mod plan;
mod progress;
mod session;
pub(super) mod stat;

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use anyhow::{Context as _, Result, anyhow};
use signal_hook::consts::{SIGINT, SIGTERM};

use super::{because, show};
use crate::cli::RunArgs;
use crate::collect::{Mapping, guest_memory, log_file};
use crate::control::Server;
use crate::exit::Exit;
use crate::profile::{Host, Outcome};
use crate::qemu::{Machine, Process};
use crate::report::text::outcome_name;
use log::Log;
use plan::Plan;
use progress::Progress;
use session::{Ended, Session};

pub(super) fn run(arguments: &RunArgs) -> Result<Exit> {
    let plan = Plan::new(arguments)?;
    let ended = boot_and_follow(&plan)?;
    let took_no_samples = !ended.has_profile && arguments.self_test.is_none();
    if ended.outcome == Outcome::Finished && took_no_samples {
        return Err(anyhow!(
            "the guest ended without having sampled{}",
            because(&ended.message)
        ));
    }
    if ended.outcome != Outcome::Finished {
        explain(&ended, false);
    }
    if ended.has_profile {
        let picture = show::show_run(&plan.output, arguments.format)?;
        eprintln!("pmiscope: profile      {}", plan.output.display());
        if let Some(picture) = picture {
            eprintln!("pmiscope: flame graph  {}", picture.display());
        }
    }
    Ok(ended.outcome.into())
}

fn boot_and_follow(plan: &Plan) -> Result<Ended> {
    let memory_file = guest_memory(plan.memory)?;
    let serial = log_file().context("cannot make a file for the guest's log")?;
    let messages = log_file().context("cannot make a file for QEMU's messages")?;
    let length = usize::try_from(plan.memory).context("too much memory")?;
    let memory =
        Mapping::new(&memory_file.file, length).context("cannot map the guest's memory")?;
    let machine = Machine {
        mode: plan.mode,
        pmu: plan.pmu,
        cores: plan.cores,
        memory: plan.memory,
        memory_file: memory_file.path.clone(),
        serial_file: serial.path.clone(),
        boot: plan.boot.clone(),
        firmware: plan.firmware.clone(),
        hpet: plan.hpet,
    };
    let qemu_arguments = machine.arguments();
    let shown: Vec<String> = qemu_arguments
        .iter()
        .map(|word| word.to_string_lossy().into_owned())
        .collect();
    if plan.verbose {
        eprintln!(
            "pmiscope: {} {}",
            plan.qemu.program.display(),
            shown.join(" ")
        );
    }
    let interrupted = on_signals().context("cannot catch signals")?;
    let process = Process::start(&plan.qemu, &qemu_arguments, &messages.file)
        .with_context(|| format!("cannot start {}", plan.qemu.program.display()))?;
    let session = Session {
        plan,
        host: Host {
            pmiscope: env!("CARGO_PKG_VERSION").into(),
            qemu: plan.qemu.version.to_string(),
            emulator: plan.qemu.emulator,
            pmu: plan.pmu,
            mode: plan.mode,
            arguments: shown,
        },
        memory_file: &memory_file,
        memory: &memory,
        log: Log::new(&serial.file),
        messages: &messages.file,
        interrupted,
        progress: Progress::new(),
        not_shared: None,
        control: listen(),
    };
    session.follow(process)
}

/// Without a place to listen a run goes on all the same.
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

/// Says why a run ended before its time, with the end of the guest's log.
fn explain(ended: &Ended, is_counting: bool) {
    let name = match ended.outcome {
        Outcome::SamplingUnavailable if is_counting => "the kernel could not count",
        other => outcome_name(other),
    };
    if ended.outcome == Outcome::SamplingUnavailable && !ended.has_profile {
        // The log says no more than its last line does.
        let message = ended.message.split_once(": ");
        let message = match message {
            Some(("sampling" | "counting", why)) => why,
            _ => &ended.message,
        };
        eprintln!(
            "pmiscope: {name}{} (pmiscope doctor says what to change)",
            because(message)
        );
        return;
    }
    eprintln!("pmiscope: {name}{}", because(&ended.message));
    if ended.outcome != Outcome::Interrupted && !ended.log.is_empty() {
        eprintln!("pmiscope: the guest's log ends with:");
        ended.log.iter().for_each(|line| eprintln!("  {line}"));
    }
    if !ended.has_profile {
        let begun = if is_counting { "count" } else { "sample" };
        eprintln!("pmiscope: no profile was written: the guest had not begun to {begun}");
    }
}
