//! Findings in the guest, by the capabilities that it reports.

use profiler::contract::capabilities::{Hpet, Reason};
use profiler::format::{Clock, Delivery, Source};

use super::Finding;
use crate::capabilities::list::{of_cores, state};
use crate::capabilities::{Attempt, Auto, Capabilities, name, pmu};
use crate::qemu::HPET_TIMERS;
use crate::units::counted;

/// What the host can offer to a guest.
#[derive(Clone, Copy, Debug)]
pub struct Host {
    /// Its processor has counters.
    pub has_pmu: bool,
    /// KVM can run a guest.
    pub has_kvm: bool,
}

/// Returns true if samples can be taken: `--source auto` finds one.
#[must_use]
pub fn is_possible(capabilities: &Capabilities) -> bool {
    let taken = |delivery| capabilities.auto(delivery).source().is_some();
    taken(Delivery::Nmi) || taken(Delivery::Irq)
}

/// The findings, as far as the guest has reported.
#[must_use]
pub fn findings(capabilities: &Capabilities, host: &Host) -> Vec<Finding> {
    let mut findings = Vec::new();
    findings.extend(cpu_model(capabilities));
    findings.extend(apic(capabilities));
    findings.extend(clock(capabilities));
    findings.extend(hpet(capabilities));
    findings.extend(pmus(capabilities, host));
    findings.extend(sources(capabilities));
    findings.extend(auto(capabilities));
    findings
}

fn cpu_model(capabilities: &Capabilities) -> Option<Finding> {
    let (identity, called) = capabilities.processor()?;
    let mut says = format!("{}, {}", called.as_str(), name(identity.vendor));
    if let Some(hypervisor) = identity.hypervisor {
        says += &format!(", under {}", name(hypervisor));
    }
    Some(Finding::ok("cpu model", says))
}

fn apic(capabilities: &Capabilities) -> Option<Finding> {
    let is_x2apic = capabilities.machine()?.is_x2apic;
    let says = if is_x2apic {
        "x2APIC: interrupts are controlled by MSRs"
    } else {
        "xAPIC: interrupts are controlled by memory"
    };
    Some(Finding::ok("apic", says))
}

fn clock(capabilities: &Capabilities) -> Option<Finding> {
    let rate = if capabilities.machine()?.has_invariant_tsc {
        "CPUID promises a constant rate"
    } else {
        "CPUID promises no constant rate"
    };
    let clock = capabilities.clock()?;
    Some(match clock.tick {
        Clock::Instructions => Finding::ok("clock", format!("{clock}: a run repeats exactly")),
        Clock::Time => Finding::note("clock", format!("{clock}; {rate}"))
            .with("--mode deterministic counts instructions, and a run repeats exactly"),
        Clock::Ticks => Finding::note("clock", format!("{clock}; {rate}")).with(
            "give the machine an HPET (leave out hpet=off), or the kernel's Config a PM timer: times are then in nanoseconds",
        ),
    })
}

fn hpet(capabilities: &Capabilities) -> Option<Finding> {
    let cores = capabilities.machine()?.cores;
    let Hpet {
        timers, messages, ..
    } = match capabilities.hpet()? {
        Ok(hpet) => hpet,
        Err(why) => return Some(Finding::note("hpet", format!("none: {}", why.as_str()))),
    };
    let says = format!(
        "{}, {messages} with messages to cores; {}",
        counted(timers.into(), "timer"),
        counted(cores.into(), "core")
    );
    let remedy = if messages >= cores {
        return Some(Finding::ok("hpet", says));
    } else if messages < timers {
        "QEMU's `-global hpet.msi=on` gives the timers messages".into()
    } else if cores > HPET_TIMERS {
        format!(
            "QEMU's HPET has {HPET_TIMERS} timers that can be reached: --smp {HPET_TIMERS} or less, for the source hpet"
        )
    } else {
        format!("QEMU's `-global hpet.timers={cores}` gives a timer to each core")
    };
    Some(Finding::note("hpet", says).with(remedy))
}

fn pmus(capabilities: &Capabilities, host: &Host) -> Vec<Finding> {
    let mut findings = Vec::new();
    for group in capabilities.pmus() {
        let of = of_cores(&group.cores);
        findings.push(match group.outcome {
            Err(why) => {
                let says = format!("none on {of}: {}", why.as_str());
                Finding::note("pmu", says).with(another_pmu(host))
            }
            Ok(found) => {
                let says = format!("{of}: {}; {}", pmu(&found), state(&found));
                if found.free() == found.counters {
                    Finding::ok("pmu", says)
                } else if found.free().is_empty() && found.busy.is_empty() {
                    Finding::note("pmu", says).with(another_pmu(host))
                } else {
                    Finding::note("pmu", says)
                        .with("switch off the firmware's own use of performance counters")
                }
            }
        });
    }
    for group in capabilities.ibs() {
        if group.outcome.is_ok() {
            let of = of_cores(&group.cores);
            let says = format!("{of}: samples with exact addresses, by --event ibs_op");
            findings.push(Finding::ok("ibs", says));
        }
    }
    findings
}

/// How to have counters.
fn another_pmu(host: &Host) -> String {
    let emulated =
        "`make qemu-pmu` builds a QEMU that emulates counters (tools/qemu-pmu/README.md)";
    let lacks = match (host.has_pmu, host.has_kvm) {
        (true, true) => {
            return format!("{emulated}; `--mode kvm` has this host's own");
        }
        (false, false) => "a PMU and a KVM that can do so",
        (false, true) => "a PMU",
        (true, false) => "a KVM that can do so",
    };
    format!("{emulated}; `--mode kvm` has the host's own, but this one lacks {lacks}")
}

/// The remedy for an APIC timer that behaves as the manuals say.
const NOT_AN_NMI: &str = "only an emulated APIC's timer can be an NMI; the source hpet takes its place, or --delivery irq";

/// A finding for each source, both ways to interrupt in one.
fn sources(capabilities: &Capabilities) -> Vec<Finding> {
    let attempts: Vec<Attempt> = capabilities.attempts().collect();
    let by_irq = |source: Source| {
        let mut attempts = attempts.iter();
        attempts.find(|attempt| attempt.source == source && attempt.delivery == Delivery::Irq)
    };
    let is_alone = capabilities
        .machine()
        .is_some_and(|machine| machine.cores == 1);
    let by_nmi = attempts
        .iter()
        .filter(|attempt| attempt.delivery == Delivery::Nmi);
    by_nmi
        .map(
            |&Attempt {
                 source, works: nmi, ..
             }| {
                let why = |why: &Reason| why.as_str().to_owned();
                let says = match (&nmi, by_irq(source).map(|attempt| &attempt.works)) {
                    (Ok(()), None) => format!("{source} works as NMI"),
                    (Ok(()), Some(Ok(()))) => format!("{source} works as NMI and as IRQ"),
                    (Ok(()), Some(Err(irq))) => {
                        format!("{source} works as NMI; not as IRQ: {}", why(irq))
                    }
                    (Err(nmi), Some(Ok(()))) => {
                        format!("{source} works as IRQ; not as NMI: {}", why(nmi))
                    }
                    (Err(nmi), Some(Err(irq))) if nmi != irq => {
                        format!(
                            "{source} does not work as NMI: {}; as IRQ: {}",
                            why(nmi),
                            why(irq)
                        )
                    }
                    (Err(nmi), _) => format!("{source} does not work: {}", why(nmi)),
                };
                match (nmi, source) {
                    (Ok(()), _) => Finding::ok("source", says),
                    (Err(_), Source::Ipi) if is_alone => {
                        Finding::note("source", says).with("--smp 2 or more, for the source ipi")
                    }
                    (Err(_), Source::ApicTimer) => Finding::note("source", says).with(NOT_AN_NMI),
                    // The remedy is that of the device.
                    (Err(_), _) => Finding::note("source", says),
                }
            },
        )
        .collect()
}

/// What is taken without being asked for by name.
fn auto(capabilities: &Capabilities) -> Option<Finding> {
    let irq = capabilities.auto(Delivery::Irq).source();
    let by_irq = irq.map(|source| format!("with --delivery irq it takes {source}"));
    Some(match (capabilities.auto(Delivery::Nmi), by_irq) {
        (Auto::Unknown, _) => return None,
        (Auto::Takes(source), None) => Finding::ok("auto", format!("takes {source} as NMI")),
        (Auto::Takes(source), Some(by_irq)) => {
            Finding::ok("auto", format!("takes {source} as NMI; {by_irq}"))
        }
        (Auto::Nothing, Some(by_irq)) => {
            Finding::note("auto", format!("takes nothing as NMI; {by_irq}"))
                .with("--delivery irq samples all but code with interrupts off")
        }
        (Auto::Nothing, None) => Finding::problem("auto", "no source works"),
    })
}
