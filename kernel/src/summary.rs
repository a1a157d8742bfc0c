//! What the log says once everything is up.

use core::fmt;

use profiler::linked;

use crate::boot::BootInfo;
use crate::cpu::features::Features;
use crate::cpu::{self, apic, hpet, pm_timer};
use crate::memory::{frames, paging};
use crate::trap::leftovers;

/// Logs what was found and what was made of it.
///
/// # Panics
///
/// If the page tables allow anything that they should not.
pub fn log(boot: &BootInfo) {
    log::info!("pmiscope kernel, build-id {BuildId}");
    log::info!(
        "boot loader: {}; command line: `{}`",
        boot.loader(),
        boot.command_line
    );
    let apic = apic::registers().mode();
    let cores = cpu::cores().len();
    log::info!("cores: {cores} online, every one answered a ping; {apic}");
    leftovers::log_count();
    log::info!("features: {}", Features::get());
    if Features::get().always_running_timer.is_none() {
        log::info!(
            "the APIC timer stops while a core halts (no ARAT): where a run needs it, cores poll"
        );
    }
    if let Some(hpet) = hpet::get() {
        let (timers, period) = (hpet.timers(), hpet.period_femtoseconds());
        log::info!("HPET: {timers} timers, {period} fs per tick");
    }
    if let Err(problem) = boot.firmware.hpet {
        log::info!("no HPET: {problem}");
    }
    match (boot.firmware.pm_timer, pm_timer::get()) {
        (Ok(found), Some(_)) => log::info!("PM timer: {found}"),
        (Ok(found), None) => log::info!("no PM timer: nothing can be at {found}"),
        (Err(problem), _) => log::info!("no PM timer: {problem}"),
    }
    match &boot.screen {
        Ok(screen) => log::info!("screen: {}", screen.layout),
        Err(problem) => log::info!("no screen: {problem}"),
    }
    for module in boot.modules() {
        let (name, bytes) = (module.name, module.content.len());
        log::info!("module: {name}, {bytes} bytes, `{}`", module.command_line);
    }
    let audit = paging::audit::check(boot);
    log::info!(
        "memory: {} MiB free; {} KiB of text, mapped once and read-only; {} mappings",
        frames::free_bytes() >> 20,
        audit.executable >> 10,
        audit.mappings,
    );
}

/// The hash that the linker made of the whole file, by which a profile names the kernel.
struct BuildId;

impl fmt::Display for BuildId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let id = linked::build_id();
        id.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}
