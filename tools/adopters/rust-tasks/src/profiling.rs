//! What the sampler and this kernel know of each other.

use profiler::address::StackAddress;
use profiler::entry::stacks::TrapStacks;
use profiler::sampler::{Config, OneStack, RegionMemory, Sampler, Target, gates, region_bytes};
use profiler::unwind::StackBounds;

use crate::boot::Boot;
use crate::{arena, println, tables, tasks};

// SAFETY: Limine's stacks have 64 KiB or more, and this kernel uses its memory for nothing
// else. All of it is compiled with frame pointers.
pub static BOOT_STACK: OneStack = unsafe { OneStack::new(64 << 10) };
pub static SAMPLER: Sampler<ThisKernel> = Sampler::new(ThisKernel);
static STACKS: TrapStacks<1> = TrapStacks::new();
static MEMORY: RegionMemory<{ region_bytes(1, 32 << 20) }> = RegionMemory::new();
profiler::sampler_gates!(SAMPLER, STACKS);

pub struct ThisKernel;

// SAFETY: all stacks are in statics, and looking one up is arithmetic.
unsafe impl Target for ThisKernel {
    /// A task's stack ends somewhere in the arena, nobody knows where. So the bounds are wider
    /// than the stack: up from the stack pointer, over the stacks of other tasks. The walk goes
    /// from frame to frame, each above the one before, and ends at the task's first function,
    /// which has no caller.
    fn stack_of(&self, core: u32, sp: StackAddress) -> Option<StackBounds> {
        let arena = arena::addresses();
        let rest = StackBounds {
            low: sp.0,
            high: arena.end,
        };
        let rest = arena.contains(&sp.0).then_some(rest);
        rest.or_else(|| BOOT_STACK.stack_of(core, sp))
            .or_else(|| STACKS.stack_of(core, sp))
    }

    fn task(&self, _core: u32) -> u16 {
        tasks::current() as u16
    }

    fn unclaimed_nmis(&self, core: u32) -> u64 {
        STACKS.without_room(core)
    }
}

/// Samples as the command line says.
pub fn start(boot: &Boot) {
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
        command_line: boot.command_line,
        xapic: Some(boot.direct_map + 0xfee0_0000),
        ..Config::new()
    };
    if let Err(problem) = SAMPLER.start(MEMORY.take(), &config) {
        println!("{problem}");
        profiler::hw::exit::exit_qemu(problem.exit_status());
    }
}
