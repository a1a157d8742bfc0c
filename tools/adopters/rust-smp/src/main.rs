//! A small kernel for all cores of a machine, booted by Limine: it prints to the
//! serial port, has its own stacks, segments and interrupt table, starts every core,
//! and lets each do the same work for ever.

#![no_std]
#![no_main]
#![feature(abi_x86_interrupt)]

mod boot;
mod cpu;
mod idt;
mod profiling; // pmiscope
mod serial;

use core::panic::PanicInfo;
use core::sync::atomic::{AtomicUsize, Ordering};

use boot::Boot;
use limine::mp::MpInfo;
use x86_64::instructions::interrupts;

/// Cores that are ready to work.
static ONLINE: AtomicUsize = AtomicUsize::new(0);

/// The first core, on the boot loader's stack.
#[unsafe(no_mangle)]
extern "C" fn kmain() -> ! {
    cpu::enter(0, first_core)
}

/// Every other core, on the boot loader's stack.
extern "C" fn enter_other_core(core: &MpInfo) -> ! {
    cpu::enter(core.extra_argument() as usize, other_core)
}

/// The first core, on its own stack.
extern "C" fn first_core(index: usize) -> ! {
    cpu::start(index);
    let boot = Boot::get();
    println!("rust-smp: {boot}");
    workload::tell_truth(|what, instructions| println!("truth: {what} {instructions}"));
    profiling::set_up(&boot); // pmiscope
    boot.start_others(enter_other_core);
    come_online(boot.cores());
    println!("rust-smp: {} cores online", boot.cores());
    let panics = panics(&boot, index);
    profiling::start(&boot); // pmiscope
    interrupts::enable();
    work(panics)
}

/// Every other core, on its own stack.
extern "C" fn other_core(index: usize) -> ! {
    cpu::start(index);
    let boot = Boot::get();
    let panics = panics(&boot, index);
    come_online(boot.cores());
    profiling::join(index); // pmiscope
    interrupts::enable();
    work(panics)
}

/// Returns true if the core with this index is to panic half-way: the last one, if the command
/// line has the words for that.
fn panics(boot: &Boot, index: usize) -> bool {
    index + 1 == boot.cores() && boot.command_line.contains("workload=panic")
}

/// What every core does from now on.
fn work(panics: bool) -> ! {
    const ROUNDS: u64 = 100;
    if panics {
        workload::do_rounds(ROUNDS);
        let core = cpu::index();
        panic!("core {core} has done {ROUNDS} rounds, and that is enough");
    }
    workload::run()
}

/// Waits until all cores are here.
fn come_online(cores: usize) {
    ONLINE.fetch_add(1, Ordering::AcqRel);
    while ONLINE.load(Ordering::Acquire) < cores {
        core::hint::spin_loop();
    }
}

#[panic_handler]
fn panic(info: &PanicInfo<'_>) -> ! {
    println!("rust-smp: {info}");
    profiling::SAMPLER.panicked(); // pmiscope
    cpu::halt()
}
