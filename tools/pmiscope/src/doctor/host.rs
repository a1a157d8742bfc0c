//! Findings on the host: QEMU, the processor, KVM.

use std::fs::{self, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};

use super::Finding;
use crate::qemu::{KVM_MACHINE, Qemu, QemuError, Version};

/// Which QEMU there is, and what it has.
#[must_use]
pub fn qemu(found: &Result<Qemu, QemuError>) -> Vec<Finding> {
    let qemu = match found {
        Ok(qemu) => qemu,
        Err(problem) => {
            let message = problem.to_string();
            let says = message.strip_suffix(QemuError::REMEDY).unwrap_or(&message);
            let says = says.trim_end_matches([' ', ':']);
            return vec![Finding::problem("qemu", says).with(QemuError::REMEDY)];
        }
    };
    let Qemu {
        program, version, ..
    } = qemu;
    let x2apic = if *version >= Version::X2APIC {
        let says = format!("QEMU {version} emulates x2APIC; --mode realtime uses it");
        Finding::ok("x2apic", says)
    } else {
        let says = format!("QEMU {version} emulates xAPIC only");
        Finding::note("x2apic", says).with("QEMU 9.0 or newer has x2APIC, in realtime mode")
    };
    vec![
        Finding::ok("qemu", format!("QEMU {version}, {}", program.display())),
        x2apic,
    ]
}

#[derive(Clone, Debug)]
pub struct Processor {
    name: String,
    /// Where Linux shows its counters, if it has a driver for them.
    counters: Option<PathBuf>,
}

/// Where Linux shows what counts events.
const EVENT_SOURCES: &str = "/sys/bus/event_source/devices";

impl Processor {
    /// Looks at the host's processor.
    #[must_use]
    pub fn find() -> Self {
        let information = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        let mut lines = information.lines();
        let name = lines.find_map(|line| line.strip_prefix("model name")?.split_once(": "));
        // The second and third: of hybrid processors.
        let sources = ["cpu", "cpu_core", "cpu_atom"];
        let sources = sources.map(|name| Path::new(EVENT_SOURCES).join(name));
        Self {
            name: name.map_or_else(|| "a processor".into(), |(_, name)| name.to_owned()),
            counters: sources.into_iter().find(|path| path.exists()),
        }
    }

    /// Returns true if it has counters that Linux can use.
    #[must_use]
    pub const fn has_pmu(&self) -> bool {
        self.counters.is_some()
    }

    #[must_use]
    pub fn finding(&self) -> Finding {
        let name = &self.name;
        match &self.counters {
            Some(path) => {
                let path = path.display();
                Finding::ok("processor", format!("{name}, with counters ({path})"))
            }
            None => {
                let says = format!(
                    "{name}, of which Linux knows no counters (no cpu, cpu_core or cpu_atom in {EVENT_SOURCES})"
                );
                Finding::note("processor", says).with(
                    "if this host is itself a virtual machine, its host can give it a PMU; else see what the firmware says of one",
                )
            }
        }
    }
}

/// The state of KVM on this host.
#[derive(Debug)]
pub enum Kvm {
    /// There is no device.
    Missing,
    /// The device cannot be opened.
    Closed(io::Error),
    /// The device can be opened; there is no QEMU to try it with.
    Untried,
    /// QEMU with it, on the host's processor with its PMU, fails with this message.
    Refused(String),
    /// QEMU with it runs.
    Usable,
}

const DEVICE: &str = "/dev/kvm";

/// The remedy where KVM exists and does not work.
const NESTED: &str =
    "if this host is itself a virtual machine, its host has to offer nested virtualization";

impl Kvm {
    #[must_use]
    pub fn find(qemu: Option<&Qemu>) -> Self {
        let opened = OpenOptions::new().read(true).write(true).open(DEVICE);
        match (opened, qemu) {
            (Err(error), _) if error.kind() == io::ErrorKind::NotFound => Self::Missing,
            (Err(error), _) => Self::Closed(error),
            (Ok(_), None) => Self::Untried,
            (Ok(_), Some(qemu)) => match qemu.try_machine(&KVM_MACHINE) {
                Ok(()) => Self::Usable,
                Err(said) => Self::Refused(said),
            },
        }
    }

    /// Returns true if a guest can run by it.
    #[must_use]
    pub const fn is_usable(&self) -> bool {
        matches!(self, Self::Usable)
    }

    #[must_use]
    pub fn finding(&self) -> Finding {
        let options = KVM_MACHINE.join(" ");
        match self {
            Self::Missing => Finding::note("kvm", format!("no {DEVICE}")).with(
                "switch virtualization on in the firmware and load kvm_intel or kvm_amd, to have the processor's own counters in a guest",
            ),
            Self::Closed(error) => {
                let remedy = "let your user open it: on Debian by `adduser USER kvm`, and a new login";
                Finding::note("kvm", format!("{DEVICE} cannot be opened: {error}")).with(remedy)
            }
            Self::Untried => Finding::ok("kvm", format!("{DEVICE} can be opened")),
            Self::Refused(said) => {
                let says = format!("{DEVICE} can be opened, but QEMU with `{options}` ends: {said}");
                Finding::note("kvm", says).with(if said.contains("invalid accelerator") {
                    "this QEMU was built without KVM; say where another is by --qemu PATH"
                } else {
                    NESTED
                })
            }
            Self::Usable => Finding::ok("kvm", format!("QEMU runs with `{options}`")),
        }
    }
}
