//! The order in which the kernel starts.
//!
//! The boot loader enters on its own stack and page tables, interrupts off, with
//! the other cores waiting.

#![no_std]
#![no_main]

use kernel::cpu::CoreBlock;
use kernel::cpu::features::Features;
use kernel::{boot, config, cpu, log, memory, sampling, selftest, smp, trap, workload};
use profiler::contract::settings::RunKind;

/// The first core, on the boot loader's stack.
#[unsafe(no_mangle)]
extern "C" fn kernel_entry() -> ! {
    log::start();
    cpu::idt::load_early();
    let boot = boot::info();
    memory::start(boot, Features::get());
    cpu::create_blocks(boot);
    boot::entry::enter_first_core(cpu::core(0), first_core)
}

/// The first core, on its own stack.
extern "C" fn first_core(core: &'static CoreBlock) -> ! {
    let boot = boot::info();
    cpu::adopt(core, Features::get());
    cpu::hpet::start(boot);
    trap::start();
    smp::online();
    smp::start_others(boot, other_core);
    smp::ping_others();
    summary::log(boot);

    let settings = config::parse(boot.command_line);
    if settings.kind == RunKind::Survey {
        sampling::survey::run(boot)
    }
    let workload = match settings.test {
        Some(test) => selftest::run_or_refuse(test),
        None => workload::find_or_refuse(settings.workload),
    };
    sampling::start(boot, &settings, workload)
}

/// Every other core, on its own stack.
extern "C" fn other_core(core: &'static CoreBlock) -> ! {
    cpu::adopt(core, Features::get());
    smp::online();
    smp::idle()
}

mod summary;
