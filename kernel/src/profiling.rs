//! The kernel as the sampler sees it, and the sampler as the kernel starts it: all that
//! the one knows of the other.

use core::fmt;
use core::sync::atomic::Ordering;

use profiler::address::{CodeAddress, StackAddress};
use profiler::contract::capabilities::Line;
use profiler::contract::settings::Settings;
use profiler::format::description::MAX_TASKS;
use profiler::format::{Clock, Source, Text};
use profiler::sampler::{self, Config, Interrupted, Memory, Sampler, Target, vector};
use profiler::unwind::{Rule, StackBounds};
use x86_64::{PhysAddr, VirtAddr};

use crate::boot::{self, BootInfo};
use crate::cpu::apic::{self, Registers};
use crate::cpu::stack::{Stack, StackKind};
use crate::cpu::{self, CoreBlock, MAX_CORES, hpet, idle, tick};
use crate::exit::{self, ExitCode};
use crate::memory::{frames, stacks};
use crate::trap::{self, TrapFrame, debug, nmi};
use crate::workload::{self, Workload};
use crate::{smp, task};

static SAMPLER: Sampler<ThisKernel> = Sampler::new(ThisKernel);

/// This kernel.
struct ThisKernel;

// SAFETY:
// 1. The stacks of cores and tasks are mapped for ever.
// 2. Each method reads some words, writes a register or ends the run.
unsafe impl Target for ThisKernel {
    #[inline]
    fn stack_of(&self, core: u32, sp: StackAddress) -> Option<StackBounds> {
        let bounds = |stack: &Stack| StackBounds {
            low: stack.low.as_u64(),
            high: stack.high.as_u64(),
        };
        let own = cpu::core(core).stacks.iter().map(bounds);
        own.into_iter()
            .find(|stack| stack.holds_pointer(sp))
            .or_else(|| stacks::of_task_at(sp.0).map(|stack| bounds(&stack)))
    }

    fn current_core(&self) -> Option<u32> {
        Some(cpu::current_index())
    }

    #[inline]
    fn task(&self, core: u32) -> u16 {
        task::current_name(cpu::core(core))
    }

    #[inline]
    fn is_halted_at(&self, pc: CodeAddress) -> bool {
        idle::is_halted_at(pc.0)
    }

    #[inline]
    fn rule(&self, address: CodeAddress) -> Rule {
        trap::rule(address)
    }

    fn has_root_rules(&self) -> bool {
        true
    }

    fn is_debug_entry(&self, address: CodeAddress) -> bool {
        debug::code().contains(address)
    }

    fn is_nmi_landing(&self, address: CodeAddress) -> bool {
        nmi::is_landing(address)
    }

    fn begin(&self, _: u32, source: Source, clock: Clock) {
        match source {
            // The counters do not end a halt.
            Source::Pmu => {
                tick::start(match clock {
                    Clock::Instructions => 10_000,
                    Clock::Time => 1_000_000,
                });
                tick::enable();
            }
            // An emulator has no trap behind `hlt`.
            Source::Step => idle::poll_from_now_on(),
            Source::ApicTimer | Source::Hpet | Source::Ipi => {}
        }
    }

    fn paused(&self) {
        tick::repeat();
    }

    fn resumed(&self) {
        tick::enable();
    }

    fn unclaimed_nmis(&self, core: u32) -> u64 {
        let core = cpu::core(core);
        [&core.nmis_without_room, &core.unclaimed_nmis]
            .map(|count| count.load(Ordering::Relaxed))
            .iter()
            .sum()
    }

    fn failed(&self, problem: &dyn fmt::Display) {
        refuse(problem)
    }

    fn show(&self, line: &Line) {
        log::info!("{line}");
    }

    fn finished(&self) {
        boot::entry::restart_stack(cpu::current(), end)
    }
}

/// The first core, on its own stack, when every core has taken its last sample.
extern "C" fn end(_: &'static CoreBlock) -> ! {
    stacks::assert_canaries();
    log::info!("sampling: done");
    exit::exit(ExitCode::Success)
}

fn refuse(problem: &dyn fmt::Display) -> ! {
    log::error!("{problem}");
    exit::exit(ExitCode::SamplingUnavailable)
}

fn interrupted(frame: &TrapFrame) -> Interrupted {
    Interrupted::new(frame.rip, frame.rsp, frame.rbp, frame.rflags)
}

/// The handler of NMIs, which [`trap::nmi`]'s entry calls by its name.
#[unsafe(no_mangle)]
#[unsafe(link_section = ".pmiscope.calls")]
extern "C" fn kernel_nmi(frame: &mut TrapFrame, core: &'static CoreBlock, entry_tsc: u64) {
    // Another core ends the run, and asks everyone to stop by NMI.
    smp::stop_if_asked();
    let handlers = core.stack(StackKind::NmiHandler);
    let mut at = interrupted(frame);
    at.is_nested = (handlers.low.as_u64()..handlers.high.as_u64()).contains(&frame.rsp);
    if !SAMPLER.on_nmi(core.index, &mut at, entry_tsc) {
        core.unclaimed_nmis.fetch_add(1, Ordering::Relaxed);
    }
    trap::end_of_trap_call();
}

fn on_debug(frame: &mut TrapFrame) {
    smp::stop_if_asked();
    let mut at = interrupted(frame);
    SAMPLER.on_debug(&mut at);
    frame.rflags = at.flags;
}

fn on_interrupt(frame: &mut TrapFrame) {
    SAMPLER.on_interrupt(frame.vector.to_le_bytes()[0], &mut interrupted(frame));
}

fn on_tick(_: &mut TrapFrame) {
    apic::registers().end_of_interrupt();
    SAMPLER.poll();
}

/// Sets the gates that lead to the sampler. Before any core loads its gates.
pub fn set_gates() {
    trap::set_gate(vector::WAKE, VirtAddr::new_truncate(SAMPLER.wake_entry()));
    workload::set_request(|core| SAMPLER.send_nmi(core.index));
}

/// Samples `workload` as `settings` say: the first core. All others are idle.
pub fn start(boot: &BootInfo, settings: &Settings<'_>, workload: &'static Workload) -> ! {
    WORKLOAD.call_once(|| workload);
    with_config(boot, workload.name, |config| {
        let memory = memory(settings.ring_bytes);
        SAMPLER
            .start(memory, config)
            .unwrap_or_else(|problem| refuse(&problem));
    });
    work()
}

/// Shows what the machine has to sample by, and ends the run: the first core.
pub fn list(boot: &BootInfo) -> ! {
    with_config(boot, "", |config| {
        let no_hpet = boot.hpet.as_ref().err();
        let no_hpet = no_hpet.map(|problem| problem as &dyn fmt::Display);
        let listed = SAMPLER.list(memory(0), config, no_hpet);
        listed.unwrap_or_else(|problem| refuse(&problem));
    });
    exit::exit(ExitCode::Success)
}

static WORKLOAD: spin::Once<&'static Workload> = spin::Once::new();

/// Every core, once it is sampled.
fn work() -> ! {
    let workload = WORKLOAD.get().expect("the first core has set it");
    match SAMPLER.units() {
        0 => workload::run(cpu::current(), workload),
        units => {
            let counted = workload::Counted {
                units,
                begin: || SAMPLER.begin_counting(),
                finish: || SAMPLER.end_counting(),
            };
            workload::run_counted(cpu::current(), workload, counted)
        }
    }
}

/// The tasks that most workloads have on a core at a time.
const STACKS_PER_CORE: usize = 5;

/// Makes `start` find everything that the sampler asks for, and the other cores come.
fn with_config(boot: &BootInfo, workload: &str, start: impl FnOnce(&Config<'_>)) {
    exit::on_begin(|| SAMPLER.stop());
    exit::on_failure(|| SAMPLER.fail());
    task::set_interrupt_source(|core| SAMPLER.will_interrupt(core.index));
    // How long making stacks takes depends on the memory map: not while sampling.
    task::make_stacks(cpu::cores().len() * STACKS_PER_CORE);
    trap::register(trap::vector::DEBUG, on_debug);
    trap::register(tick::VECTOR, on_tick);
    for vector in vector::ALL.filter(|&vector| vector != vector::WAKE) {
        trap::register(vector, on_interrupt);
    }
    let mut apic_ids = [0; MAX_CORES];
    for core in cpu::cores() {
        apic_ids[core.index as usize] = core.apic_id;
    }
    let others = &cpu::cores()[1..];
    others.iter().for_each(|core| smp::give(core, join));
    let (loader, version) = (boot.bootloader, boot.bootloader_version);
    let bootloader = Text::<64>::formatted(format_args!("{loader} {version}"));
    let mut numbers = 0..;
    let task_names = [(); MAX_TASKS].map(|()| numbers.next().map_or("", workload::task_name));
    start(&Config {
        command_line: boot.command_line,
        apic_ids: &apic_ids[..cpu::cores().len()],
        xapic: match apic::registers() {
            Registers::XApic(address) => Some(address),
            Registers::X2Apic => None,
        },
        hpet: hpet::address().map(VirtAddr::as_u64),
        stack_slot: stacks::SLOT,
        bootloader: bootloader.as_str(),
        workload,
        task_names: &task_names,
        ..Config::new()
    });
}

/// Every other core, as work that the first gives it.
fn join() {
    match SAMPLER.join(cpu::current_index()) {
        Ok(()) => work(),
        Err(_) => smp::idle(),
    }
}

/// Below it a machine's memory has no gap, so that a place in the file behind it
/// is an address.
const HOST_FINDS_BELOW: PhysAddr = PhysAddr::new(2 << 30);

/// Frames in a row, for rings of so many bytes.
fn memory(ring_bytes: u64) -> Memory {
    let cores = u32::try_from(cpu::cores().len()).unwrap_or(u32::MAX);
    let bytes = sampler::region_bytes(cores, ring_bytes) as u64;
    let block = [Some(HOST_FINDS_BELOW), None]
        .into_iter()
        .find_map(|below| frames::take_block(bytes, frames::FRAME, below));
    let Some(block) = block else {
        let mib = bytes >> 20;
        refuse(&format_args!(
            "sampling: no {mib} MiB of memory in a row for the rings: give the machine more, or the rings less (ring=)"
        ))
    };
    // SAFETY: frames that are ours for ever, mapped in the direct map; nobody else knows
    // them.
    unsafe { Memory::new(block.bytes()) }
}
