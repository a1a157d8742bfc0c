//! The kernel of pmiscope: what is profiled, and where the profiler is proven.
//!
//! This file is the order in which things start; each folder is one thing. What does
//! not touch the hardware is the crate `kernel_core`, whose tests run on the host.
//!
//! # Layers
//!
//! Each imports only from those before it (`tools/layers/layers.toml`). Who is below does
//! not name its users: they register handlers, gates and hooks, and declare their own
//! per-core variables.
//!
//! 1. The crate `kernel_core`.
//! 2. `cpu`, `sync`, `serial`, `screen`, `log`, `power`, `exit`: the processor, locks, what shows
//!    the log, the end of a run.
//! 3. `boot`: what the boot loader told, and the way onto our own stacks.
//! 4. `memory`.
//! 5. `trap`.
//! 6. `task` and `smp`.
//! 7. `process`.
//! 8. `monitor`.
//! 9. What uses all that: `profiling`, `live`, `postmortem`, `wire`, `kept`, `workload`, `selftest`,
//!    this file.
//!
//! # Principles
//!
//! 1. **Each core owns its own.** What a core needs in a trap is in its
//!    `cpu::CoreBlock` or on its stacks; only booting and logging share locks.
//! 2. **A stack says whose it is.** Every stack lies in one area of addresses,
//!    by core and kind, over a hole that nothing is mapped in.
//! 3. **The boot loader is left behind early**: `boot::BootInfo` is all that is
//!    kept of it, then the kernel runs on its own stacks and page tables.
//! 4. **What is not understood ends the run**, with a message that names the
//!    core and a status that the host sees.
//!
//! The boot loader enters on its own stack and page tables, interrupts off, with
//! the other cores waiting.

#![no_std]
#![no_main]

extern crate alloc;

mod boot;
mod config;
mod console;
mod cpu;
mod exit;
mod kept;
mod live;
mod log;
mod memory;
mod monitor;
mod panic;
mod postmortem;
mod power;
mod process;
mod profiling;
mod progress;
mod screen;
mod selftest;
mod serial;
mod smp;
mod summary;
mod sync;
mod task;
mod trap;
mod waking;
mod watch;
mod watching;
mod wire;
mod workload;

use kernel_core::acpi::Reset;
use kernel_core::place::Place;
use kernel_core::words::Words;
use x86_64::PhysAddr;

use crate::boot::BootInfo;
use crate::config::Order;
use crate::cpu::CoreBlock;
use crate::cpu::features::Features;
use crate::memory::{paging, stacks};
use profiler::contract::settings::RunKind;

/// The first core, on the boot loader's stack.
#[unsafe(no_mangle)]
extern "C" fn kernel_entry() -> ! {
    log::start();
    trap::load_early();
    // Handlers first: the register that limits CPUID may be refused.
    trap::start();
    cpu::unlimit_cpuid();
    let boot = boot::info();
    if let Ok(found) = &boot.screen {
        // SAFETY: the boot loader's map has it there, and nobody else uses it.
        unsafe { screen::start(found.layout, found.pixels) };
    }
    let words = config::own(boot.command_line);
    monitor::add(live::COMMANDS);
    monitor::add(watch::COMMANDS);
    monitor::prepare(&words);
    log::set_filter(words.log);
    trap::show_lines(words.lines);
    memory::start(boot, Features::get(), |free| kept::look(free, words.kept));
    postmortem::tell_of_image(boot);
    console::start(boot, &words);
    plan_end(boot, &words);
    let apic_ids = cpu::apic::choose_cores(boot.apic_ids());
    memory::stacks::create_cores(apic_ids.into_iter());
    boot::entry::enter_first_core(cpu::core(0), first_core)
}

/// The first core, on its own stack.
extern "C" fn first_core(core: &'static CoreBlock) -> ! {
    let boot = boot::info();
    smp::start();
    task::start(workload::task_name);
    workload::start();
    profiling::set_up(end);
    watching::set_up();
    postmortem::tell_of_all(boot);
    adopt(core);
    cpu::hpet::start(boot.firmware.hpet.ok().map(paging::map_device));
    cpu::pm_timer::start(boot.firmware.pm_timer.ok(), paging::map_device);
    smp::online();
    smp::start_others(boot, other_core);
    smp::ping_others();
    summary::log(boot);

    let settings = config::parse(boot.command_line);
    kept::handle(config::own(boot.command_line).kept, settings.send);
    if settings.kind == RunKind::Survey {
        wire::log_unused(settings.send);
        profiling::list(boot)
    }
    let words = config::own(boot.command_line);
    watching::start(&words, settings.workload);
    monitor::start(boot, &words);
    let order = live::in_place_of(Order {
        settings,
        words: config::of_sampler(boot.command_line),
    });
    let selected = match order.settings.test {
        Some(test) => selftest::run_or_refuse(test),
        None => workload::find_or_refuse(order.settings.workload),
    };
    if words.kpti {
        process::isolate();
    }
    workload::prepare_processes(selected);
    workload::select(selected);
    progress::start();
    profiling::start(boot, &order)
}

/// Every other core, on its own stack.
extern "C" fn other_core(core: &'static CoreBlock) -> ! {
    adopt(core);
    smp::online();
    smp::idle()
}

/// Sets what becomes of the machine at the end, and says what will not.
fn plan_end(boot: &BootInfo, words: &Words<'_>) {
    let reset = boot.firmware.reset.and_then(Result::ok);
    if let Some(Err(problem)) = boot.firmware.off {
        ::log::warn!("at-end=off: {problem}; the machine will stay as it is");
    }
    power::start(power::Plan {
        at_end: words.at_end,
        reset: reset.and_then(mapped),
        off: boot.firmware.off.and_then(Result::ok),
    });
}

/// The same register, mapped where it is in memory.
fn mapped(reset: Reset) -> Option<Reset> {
    let place = match reset.place {
        Place::Memory(address) => {
            let address = PhysAddr::try_new(address).ok()?;
            Place::Memory(paging::map_device(address).as_u64())
        }
        port @ Place::Port(_) => port,
    };
    Some(Reset { place, ..reset })
}

/// Makes the running core this block's.
fn adopt(core: &'static CoreBlock) {
    cpu::adopt(core);
    sync::know_cores();
    trap::load();
    cpu::enable(core, Features::get(), paging::map_device);
}

/// The first core, on its own stack, when all that was asked for is done.
extern "C" fn end(_: &'static CoreBlock) -> ! {
    stacks::assert_canaries();
    watch::log_at_end();
    live::log_at_end();
    progress::show();
    ::log::info!("sampling: done");
    exit::exit(exit::ExitCode::Success)
}
