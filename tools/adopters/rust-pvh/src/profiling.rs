//! What the sampler and this kernel know of each other.

use profiler::address::StackAddress;
use profiler::entry::stacks::TrapStacks;
use profiler::sampler::{Config, RegionMemory, Sampler, Target, gates, region_bytes};
use profiler::unwind::StackBounds;

use crate::{println, stack, tables};

pub static SAMPLER: Sampler<ThisKernel> = Sampler::new(ThisKernel);
static STACKS: TrapStacks<1> = TrapStacks::new();
static MEMORY: RegionMemory<{ region_bytes(1, 8 << 20) }> = RegionMemory::new();
profiler::sampler_gates!(SAMPLER, STACKS);

pub struct ThisKernel;

// SAFETY: stacks are statics, and looking one up is arithmetic.
unsafe impl Target for ThisKernel {
    fn stack_of(&self, core: u32, sp: StackAddress) -> Option<StackBounds> {
        let stack = stack::addresses();
        let own = StackBounds {
            low: stack.start,
            high: stack.end,
        };
        let own = own.holds_pointer(sp).then_some(own);
        own.or_else(|| STACKS.stack_of(core, sp))
    }

    fn unclaimed_nmis(&self, core: u32) -> u64 {
        STACKS.without_room(core)
    }
}

/// Samples as the command line says.
pub fn start(command_line: &str) {
    let tops = STACKS.set_up(0);
    // SAFETY: the stacks are the sampler's, and only its gates name them.
    unsafe { tables::set_interrupt_stack(0, tops.nmi) };
    // SAFETY: likewise.
    unsafe { tables::set_interrupt_stack(1, tops.debug) };
    for gate in gates() {
        // SAFETY: the sampler's own entries, and none of its interrupts comes yet.
        unsafe { tables::set_gate(gate.vector, gate.entry, gate.stack.index(0, 1)) };
    }
    let config = Config {
        command_line,
        // The page tables map it, and the firmware has made it uncached.
        xapic: Some(0xfee0_0000),
        ..Config::new()
    };
    if let Err(problem) = SAMPLER.start(MEMORY.take(), &config) {
        println!("{problem}");
        profiler::hw::exit::exit_qemu(problem.exit_status());
    }
}
