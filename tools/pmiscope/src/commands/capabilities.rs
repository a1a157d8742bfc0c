//! Boots a guest that reports the capabilities of its machine.

use std::time::Duration;

use anyhow::{Context as _, Result};
use profiler::contract::settings::{RunKind, Settings};

use super::kernel::{Kernel, load};
use super::run::plan::{self, BASE_MEMORY, CORE_MEMORY, built, kernel_memory};
use super::run::unsampled;
use crate::capabilities::Capabilities;
use crate::cli::CapabilitiesArgs;
use crate::input;
use crate::output::say;
use crate::profile::Outcome;
use crate::qemu::{
    Boot, Choice, Ended, Guest, GuestMemory, Limits, Machine, Observer, PmuModel, Qemu, Seen,
    has_lab,
};

/// What a guest has reported, and how it ended.
pub(super) struct Probed {
    pub(super) capabilities: Capabilities,
    pub(super) ended: Ended,
}

impl Probed {
    /// Returns true if the guest has reported everything and ended well.
    pub(super) fn is_whole(&self) -> bool {
        self.ended.end.outcome == Outcome::Finished && self.capabilities.incomplete().is_none()
    }
}

/// The boot of the kernel, with a command line that asks for the capabilities.
pub(super) struct CapabilitiesBoot {
    boot: Boot,
    /// What is known of it before the guest starts.
    known: unsampled::Boot,
    /// Whether the machine has a framebuffer.
    framebuffer: bool,
    /// Memory that the kernel needs beside what every machine has.
    memory: u64,
}

/// The boot of the kernel, with a command line that asks for the capabilities.
///
/// # Errors
///
/// The kernel or the loader is missing, or cannot be loaded so.
pub(super) fn boot(arguments: &CapabilitiesArgs) -> Result<CapabilitiesBoot> {
    let settings = Settings {
        kind: RunKind::Survey,
        ..Settings::default()
    };
    let wanted = &arguments.machine;
    let kernel = built(wanted.kernel.as_deref(), "kernel")?;
    let elf = input::read(&kernel)
        .with_context(|| format!("cannot read the kernel {}", kernel.display()))?;
    plan::is_kernel(&elf).with_context(|| format!("the kernel {}", kernel.display()))?;
    let loaded = Kernel::new(&elf, &wanted.load)?;
    let load = load(&wanted.load)?;
    Ok(CapabilitiesBoot {
        known: unsampled::Boot {
            has_sampler: unsampled::has_sampler(&elf),
            is_disc: false,
            menu: None,
            mode: wanted.mode,
        },
        framebuffer: loaded.gets_framebuffer(wanted),
        memory: kernel_memory(&elf) + loaded.memory(wanted, Some(&load))?,
        boot: plan::boot(wanted, (kernel, &elf), load, settings.to_string())?,
    })
}

/// The QEMU to use, and the counters that it is asked for.
///
/// # Errors
///
/// The QEMU that was named has no counters, or not in this mode.
pub(super) fn emulator(arguments: &CapabilitiesArgs) -> Result<(Choice, Option<PmuModel>)> {
    plan::emulator(&arguments.machine, false, has_lab)
}

/// Reads the guest's log.
struct Reader {
    capabilities: Capabilities,
    is_verbose: bool,
}

impl Observer<'_> for Reader {
    fn on_line(&mut self, line: &str) {
        self.capabilities.read(line);
        if self.is_verbose {
            say!("{line}");
        }
    }
}

/// Boots the machine, and reads what its guest reports.
///
/// # Errors
///
/// The guest cannot be started or followed. A guest that fails is no error.
pub(super) fn probe(
    (qemu, pmu): (&Qemu, Option<PmuModel>),
    boot: CapabilitiesBoot,
    arguments: &CapabilitiesArgs,
) -> Result<Probed> {
    let wanted = &arguments.machine;
    let machine = Machine {
        mode: wanted.mode,
        pmu,
        cores: wanted.smp,
        // It needs no rings.
        memory: BASE_MEMORY + boot.memory + u64::from(wanted.smp) * CORE_MEMORY,
        boot: boot.boot,
        firmware: None,
        // As in a run whose source is chosen.
        hpet: true,
        framebuffer: boot.framebuffer,
        additions: plan::additions(wanted)?,
    };
    let memory = GuestMemory::new(machine.memory)?;
    let guest = Guest::start(qemu, &machine, &memory)?;
    if wanted.verbose {
        say!("pmiscope: {}", guest.command_line());
    }
    let limits = Limits {
        silence: Duration::from_secs(arguments.timeout),
        silence_means: "no line of the log",
        total: None,
    };
    let mut reader = Reader {
        capabilities: Capabilities::default(),
        is_verbose: wanted.verbose,
    };
    let mut ended = guest.follow(&limits, &mut reader)?;
    if ended.end.outcome == Outcome::Hung && ended.seen == Seen::Nothing {
        ended.end.message += "; ";
        ended.end.message += &boot.known.reason(ended.heard);
    }
    let capabilities = reader.capabilities;
    if ended.end.outcome == Outcome::Finished {
        ended.end.message = capabilities.incomplete().unwrap_or_default();
    }
    let mut probed = Probed {
        capabilities,
        ended,
    };
    if !probed.is_whole() && !probed.ended.qemu_said.is_empty() {
        let Ended { end, qemu_said, .. } = &mut probed.ended;
        let between = if end.message.is_empty() { "" } else { "; " };
        end.message += &format!("{between}QEMU said: {qemu_said}");
    }
    Ok(probed)
}
