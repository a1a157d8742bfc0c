//! `doctor`: what there is to sample by, and what to change to have something better.

use anyhow::{Context as _, Result};

use super::survey::{Surveyed, boot, emulator, survey};
use super::{because, print};
use crate::cli::SurveyArgs;
use crate::doctor::{Diagnosis, Finding, guest, host};
use crate::exit::Exit;
use crate::qemu::Qemu;
use crate::report::text::outcome_name;
use crate::survey::json;

pub(super) fn doctor(arguments: &SurveyArgs) -> Result<Exit> {
    let (choice, pmu) = emulator(arguments)?;
    let qemu = Qemu::find(&choice);
    let mut findings = host::qemu(&qemu);
    let processor = host::Processor::find();
    findings.push(processor.finding());
    let kvm = host::Kvm::find(qemu.as_ref().ok());
    findings.push(kvm.finding());
    let host = guest::Host {
        has_pmu: processor.has_pmu(),
        has_kvm: kvm.is_usable(),
    };
    let boot = boot(arguments);
    if let Err(problem) = &boot {
        findings.push(Finding::problem("kernel", format!("{problem:#}")));
    }
    let surveyed = match (&qemu, boot) {
        (Ok(qemu), Ok(boot)) => match survey((qemu, pmu), boot, arguments) {
            Ok(surveyed) => Some(surveyed),
            Err(problem) => {
                findings.push(Finding::problem("machine", format!("{problem:#}")));
                None
            }
        },
        _ => None,
    };
    let mut log = Vec::new();
    if let Some(surveyed) = &surveyed {
        findings.push(booted(surveyed, arguments));
        findings.extend(guest::findings(&surveyed.survey, &host));
        if !surveyed.is_whole() {
            log.clone_from(&surveyed.log);
        }
    }
    let diagnosis = Diagnosis {
        possible: surveyed
            .as_ref()
            .is_some_and(|surveyed| surveyed.is_whole() && guest::is_possible(&surveyed.survey)),
        findings,
        log,
        survey: surveyed
            .as_ref()
            .map(|surveyed| json::Surveyed::from(&surveyed.survey)),
    };
    let text = match arguments.json {
        true => crate::report::pretty(&diagnosis)?,
        false => diagnosis.text(),
    };
    print(&text).context("cannot write the findings")?;
    Ok(match diagnosis.possible {
        true => Exit::Success,
        false => Exit::Failure,
    })
}

/// How the guest did.
fn booted(surveyed: &Surveyed, arguments: &SurveyArgs) -> Finding {
    if surveyed.is_whole() {
        let cores = crate::units::counted(arguments.machine.smp.into(), "core");
        let says = format!(
            "the kernel boots, {cores}, --mode {}",
            arguments.machine.mode
        );
        return Finding::ok("kernel", says);
    }
    let says = format!(
        "the kernel has not surveyed the machine: {}{}",
        outcome_name(surveyed.outcome),
        because(&surveyed.message)
    );
    let remedy = "see the end of its log; `make build` makes the kernel and the loader that belong to this tool";
    Finding::problem("kernel", says).with(remedy)
}
