//! The order in which the kernel starts.
//!
//! The boot loader enters on its own stack and page tables, interrupts off, with
//! the other cores waiting.

#![no_std]
#![no_main]

use kernel::cpu::CoreBlock;
use kernel::cpu::features::Features;
use kernel::memory::paging;
use kernel::{boot, config, cpu, log, memory, sampling, selftest, smp, task, trap, workload};
use profiler::contract::settings::RunKind;

/// The first core, on the boot loader's stack.
#[unsafe(no_mangle)]
extern "C" fn kernel_entry() -> ! {
    log::start();
    trap::load_early();
    let boot = boot::info();
    memory::start(boot, Features::get());
    memory::stacks::create_cores(boot.apic_ids());
    boot::entry::enter_first_core(cpu::core(0), first_core)
}

/// The first core, on its own stack.
extern "C" fn first_core(core: &'static CoreBlock) -> ! {
    let boot = boot::info();
    trap::start();
    smp::start();
    task::start(workload::task_name);
    workload::start();
    workload::set_request(sampling::source::ipi::Driver::ask);
    sampling::set_gates();
    adopt(core);
    cpu::hpet::start(boot.hpet.ok().map(paging::map_device));
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
    adopt(core);
    smp::online();
    smp::idle()
}

/// Makes the running core this block's.
fn adopt(core: &'static CoreBlock) {
    cpu::adopt(core);
    trap::load();
    cpu::enable(core, Features::get(), paging::map_device);
}

mod summary;
