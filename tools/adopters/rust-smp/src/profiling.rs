//! What the sampler and this kernel know of each other.

use profiler::address::StackAddress;
use profiler::entry::stacks::TrapStacks;
use profiler::sampler::{Config, RegionMemory, Sampler, Target, gates, region_bytes};
use profiler::unwind::StackBounds;

use crate::boot::Boot;
use crate::{cpu, idt, println};

pub static SAMPLER: Sampler<ThisKernel> = Sampler::new(ThisKernel);
static STACKS: TrapStacks<{ cpu::MAX_CORES }> = TrapStacks::new();
static MEMORY: RegionMemory<{ region_bytes(cpu::MAX_CORES as u32, 2 << 20) }> = RegionMemory::new();
profiler::sampler_gates!(SAMPLER, STACKS);

pub struct ThisKernel;

// SAFETY: stacks are statics, and looking one up is arithmetic.
unsafe impl Target for ThisKernel {
    fn stack_of(&self, core: u32, sp: StackAddress) -> Option<StackBounds> {
        // An empty stack's pointer is the stack's end.
        let own = cpu::stack_of(sp.0 - 1).map(|stack| StackBounds {
            low: stack.start,
            high: stack.end,
        });
        own.or_else(|| STACKS.stack_of(core, sp))
    }

    fn unclaimed_nmis(&self, core: u32) -> u64 {
        STACKS.without_room(core)
    }
}

/// Prepares all cores, before any but the first is started.
pub fn set_up(boot: &Boot) {
    for core in 0..boot.cores() {
        let tops = STACKS.set_up(core as u32);
        // SAFETY: the stacks are the sampler's, and only its gates name them.
        unsafe { cpu::set_interrupt_stack(core, 0, tops.nmi) };
        // SAFETY: likewise.
        unsafe { cpu::set_interrupt_stack(core, 1, tops.debug) };
    }
    for gate in gates() {
        // SAFETY: the sampler's own entries, and none of its interrupts comes yet.
        unsafe { idt::set_gate(gate.vector, gate.entry, gate.stack.index(0, 1)) };
    }
}

/// Samples as the command line says: the first core.
pub fn start(boot: &Boot) {
    let config = Config {
        command_line: boot.command_line,
        apic_ids: &boot.apic_ids()[..boot.cores()],
        xapic: Some(boot.direct_map + 0xfee0_0000),
        stack_slot: cpu::STACK_SIZE as u64,
        ..Config::new()
    };
    if let Err(problem) = SAMPLER.start(MEMORY.take(), &config) {
        println!("{problem}");
        profiler::hw::exit::exit_qemu(problem.exit_status());
    }
}

/// Takes part: every other core.
pub fn join(core: usize) {
    let _ = SAMPLER.join(core as u32);
}
