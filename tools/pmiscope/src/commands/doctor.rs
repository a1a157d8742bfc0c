//! `doctor`: what there is to sample by, and what to change to have something better.

use anyhow::{Context as _, Result};

use super::capabilities::{Probed, boot, emulator, probe};
use super::{print, with_reason};
use crate::capabilities::json;
use crate::cli::CapabilitiesArgs;
use crate::doctor::{Diagnosis, Finding, guest, host};
use crate::exit::Exit;
use crate::qemu::Qemu;
use crate::report::text::outcome_name;

pub(super) fn doctor(arguments: &CapabilitiesArgs) -> Result<Exit> {
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
    let probed = match (&qemu, boot) {
        (Ok(qemu), Ok(boot)) => match probe((qemu, pmu), boot, arguments) {
            Ok(probed) => Some(probed),
            Err(problem) => {
                findings.push(Finding::problem("machine", format!("{problem:#}")));
                None
            }
        },
        _ => None,
    };
    let mut log = Vec::new();
    if let Some(probed) = &probed {
        findings.push(booted(probed, arguments));
        findings.extend(guest::findings(&probed.capabilities, &host));
        if !probed.is_whole() {
            log.clone_from(&probed.ended.log);
        }
    }
    let diagnosis = Diagnosis {
        possible: probed
            .as_ref()
            .is_some_and(|probed| probed.is_whole() && guest::is_possible(&probed.capabilities)),
        findings,
        log,
        survey: probed
            .as_ref()
            .map(|probed| json::Document::from(&probed.capabilities)),
    };
    let text = if arguments.json {
        crate::output::json(&diagnosis)?
    } else {
        diagnosis.text()
    };
    print(&text).context("cannot write the findings")?;
    Ok(if diagnosis.possible {
        Exit::Success
    } else {
        Exit::Failure
    })
}

/// The finding about the kernel's boot.
fn booted(probed: &Probed, arguments: &CapabilitiesArgs) -> Finding {
    if probed.is_whole() {
        let cores = crate::units::counted(arguments.machine.smp.into(), "core");
        let says = format!(
            "the kernel boots, {cores}, --mode {}",
            arguments.machine.mode
        );
        return Finding::ok("kernel", says);
    }
    let says = format!(
        "the kernel has not surveyed the machine: {}{}",
        outcome_name(probed.ended.end.outcome),
        with_reason(&probed.ended.end.message)
    );
    let remedy = "see the end of its log; `make build` makes the kernel and the loader that belong to this tool";
    Finding::problem("kernel", says).with(remedy)
}
