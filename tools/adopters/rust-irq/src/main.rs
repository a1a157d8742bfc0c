//! A small kernel for one core, in the shape of the Limine template for Rust: the boot loader
//! enters compiled code, on a stack of its own, and nothing here is in assembly.

#![no_std]
#![no_main]
#![feature(abi_x86_interrupt)]

mod boot;
mod idt;
mod profiling; // pmiscope
mod serial;

use core::panic::PanicInfo;

use boot::Boot;
use x86_64::instructions::interrupts;

#[unsafe(no_mangle)]
extern "C" fn kmain() -> ! {
    profiling::SAMPLER.target().ends_here(); // pmiscope
    idt::load();
    let boot = Boot::get();
    println!("rust-irq: command line `{}`", boot.command_line);
    workload::tell_truth(|what, instructions| println!("truth: {what} {instructions}"));
    profiling::start(boot.command_line, boot.direct_map + 0xfee0_0000); // pmiscope
    interrupts::enable();
    workload::run()
}

#[panic_handler]
fn panic(info: &PanicInfo<'_>) -> ! {
    println!("rust-irq: {info}");
    profiling::SAMPLER.panicked(); // pmiscope
    idt::halt()
}
