//! What the sampler and this kernel know of each other.

use profiler::sampler::{Config, Interrupted, OneStack, RegionMemory, Sampler};
use profiler::sampler::{region_bytes, vector};
use x86_64::structures::idt::InterruptStackFrame;

// SAFETY: Limine's stacks have 64 KiB or more, and this kernel uses its memory for nothing
// else. All of it is compiled with frame pointers.
pub static SAMPLER: Sampler<OneStack> = Sampler::new(unsafe { OneStack::new(64 << 10) });
static MEMORY: RegionMemory<{ region_bytes(1, 8 << 20) }> = RegionMemory::new();

/// The handler of the interrupts that are samples.
pub extern "x86-interrupt" fn on_overflow(frame: InterruptStackFrame) {
    // SAFETY: this handler's argument, of a vector without an error code.
    let mut interrupted = unsafe { Interrupted::of_compiled_handler(&frame) };
    SAMPLER.on_interrupt_here(vector::OVERFLOW.into(), &mut interrupted);
}

/// Samples as the command line says, if that can be.
pub fn start(command_line: &str, xapic: u64) {
    let config = Config {
        command_line,
        xapic: Some(xapic),
        ..Config::new()
    };
    if let Err(problem) = SAMPLER.start(MEMORY.take(), &config) {
        // The host has read why.
        profiler::hw::exit::exit_qemu(problem.exit_status());
    }
}
