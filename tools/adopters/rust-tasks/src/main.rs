//! A small kernel for one core with cooperative tasks, whose stacks are cut off one piece of
//! memory one after the other: of any size, without a guard, and nobody keeps where they are.

#![no_std]
#![no_main]
#![feature(abi_x86_interrupt)]

mod arena;
mod boot;
mod profiling; // pmiscope
mod serial;
mod tables;
mod tasks;

use core::panic::PanicInfo;

use boot::Boot;
use x86_64::instructions::interrupts;

/// What a stack needs, at least.
const STACK_BYTES: usize = 8000;

#[unsafe(no_mangle)]
extern "C" fn kmain() -> ! {
    profiling::BOOT_STACK.ends_here(); // pmiscope
    tables::load();
    let boot = Boot::get();
    println!("rust-tasks: command line `{}`", boot.command_line);
    workload::tell_truth(|what, instructions| println!("truth: {what} {instructions}"));
    for number in 0..tasks::TASKS {
        tasks::create(number, work, STACK_BYTES + 1008 * number);
    }
    profiling::start(&boot); // pmiscope
    interrupts::enable();
    tasks::run()
}

/// What each task does: the first one a round in its turn, the second one two, and so on.
extern "C" fn work() -> ! {
    loop {
        workload::do_rounds(tasks::current() as u64 + 1);
        tasks::yield_now();
    }
}

#[panic_handler]
fn panic(info: &PanicInfo<'_>) -> ! {
    println!("rust-tasks: {info}");
    profiling::SAMPLER.panicked(); // pmiscope
    tables::halt()
}
