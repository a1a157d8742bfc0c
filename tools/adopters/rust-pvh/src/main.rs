//! A small kernel for one core that QEMU starts by itself (`qemu-system-x86_64 -kernel`): its
//! ELF has a PVH note. It runs where it lies in memory, below 2 GiB.

#![no_std]
#![no_main]
#![feature(abi_x86_interrupt)]

mod entry;
mod profiling; // pmiscope
mod serial;
mod stack;
mod tables;

use core::panic::PanicInfo;

use entry::StartInfo;
use x86_64::instructions::interrupts;

extern "C" fn kmain(info: &StartInfo) -> ! {
    tables::load();
    println!("rust-pvh: command line `{}`", info.command_line());
    workload::tell_truth(|what, instructions| println!("truth: {what} {instructions}"));
    profiling::start(info.command_line()); // pmiscope
    interrupts::enable();
    workload::run()
}

#[panic_handler]
fn panic(info: &PanicInfo<'_>) -> ! {
    println!("rust-pvh: {info}");
    profiling::SAMPLER.panicked(); // pmiscope
    tables::halt()
}
