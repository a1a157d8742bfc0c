//! The kernel as the sampler sees it, and the sampler as the kernel starts it: all that
//! the one knows of the other.

use core::fmt::Display;

use profiler::address::{CodeAddress, StackAddress};
use profiler::contract::capabilities::Line;
use profiler::contract::settings::{SendTo, Settings};
use profiler::entry::{nmi, overflow};
use profiler::format::{Clock, Source, Text};
use profiler::hw::{control, tsc};
use profiler::sampler::{self, Config, Interrupted, Memory, Progress, RegionMemory, Sampler};
use profiler::sampler::{Settled, StartError, Target, vector};
use profiler::unwind::user::UserMemory;
use profiler::unwind::{Rule, StackBounds};
use spin::Once;
use x86_64::VirtAddr;

use crate::boot::entry::CoreMain;
use crate::boot::{BootInfo, entry};
use crate::config::{self, Order};
use crate::cpu::msr::gs;
use crate::cpu::{self, CoreBlock, apic, hpet, idle, pm_timer, tick};
use crate::memory::stacks;
use crate::trap::{self, TrapFrame};
use crate::watch::watchdog;
use crate::workload::{self, Counted};
use crate::{exit, kept, monitor, process, smp, task, waking, wire};

static SAMPLER: Sampler<ThisKernel> = Sampler::new(ThisKernel);

struct ThisKernel;

// SAFETY:
// 1. The stacks of cores and tasks are mapped for ever.
// 2. Each method reads some words, writes a register or ends the run.
unsafe impl Target for ThisKernel {
    const HAS_ROOT_RULES: bool = true;

    #[inline(always)]
    fn stack_of(&self, core: u32, sp: StackAddress) -> Option<StackBounds> {
        stacks::bounds_at(core, sp)
    }

    #[inline(always)]
    fn task(&self, core: u32) -> u16 {
        let core = cpu::core(core);
        if watchdog::is_on() {
            watchdog::look_on(core);
        }
        // The GS base may be the user's.
        task::current_name(core)
    }

    /// Stacks lie by their numbers, for ever, and halting is assembly. Where cores watch each
    /// other, they look at each sample: the task is asked for then.
    #[inline]
    fn settled(&self, core: u32) -> Option<Settled> {
        (!watchdog::is_on()).then(|| Settled {
            task: Some(task::name_word(cpu::core(core))),
        })
    }

    #[inline]
    fn is_halted_at(&self, pc: CodeAddress) -> bool {
        idle::is_halted_at(pc.0)
    }

    #[inline]
    fn rule(&self, address: CodeAddress) -> Rule {
        trap::rule(address)
    }

    #[inline]
    fn user_memory(&self, core: u32, stack: Option<StackAddress>) -> Option<UserMemory> {
        // What a trap has interrupted that has a stack of the core's is what runs.
        let on_stack = stack.and_then(stacks::task_with_sp);
        let task = on_stack.or_else(|| task::running_on(cpu::core(core)));
        process::memory_of_task(task?)
    }

    #[inline]
    fn user_sp(&self, core: u32) -> Option<StackAddress> {
        Some(StackAddress(cpu::core(core).descriptors.user_sp()))
    }

    fn begin(&self, _: u32, source: Source, clock: Clock) {
        match (source, clock) {
            // Neither ends a halt: counters stand still, and an emulator has no trap
            // behind `hlt`.
            (Source::Pmu, Clock::Instructions) => tick::enable(10_000),
            (Source::Pmu, Clock::Time | Clock::Ticks) => tick::enable(1_000_000),
            (Source::ApicTimer, _) => tick::rely_on_timer(),
            (Source::Step, _) => idle::poll_from_now_on(),
            _ => {}
        }
    }

    fn set_paused(&self, is_paused: bool) {
        tick::set_repeating(is_paused);
    }

    fn is_own_nmi(&self, core: u32) -> bool {
        smp::take_sent(cpu::core(core))
    }

    fn unclaimed_nmis(&self, core: u32) -> u64 {
        cpu::core(core).stray_nmis()
    }

    fn failed(&self, problem: &dyn Display) {
        refuse("sampling: ", problem)
    }

    fn show(&self, line: &Line) {
        log::info!("{line}");
    }

    fn finished(&self) {
        entry::restart_stack(cpu::current(), at_end())
    }
}

/// The handler of NMIs, which [`trap::nmi`]'s entry calls by its name.
#[unsafe(no_mangle)]
#[unsafe(link_section = ".pmiscope.calls")]
extern "C" fn kernel_nmi(frame: &mut TrapFrame, core: &'static CoreBlock, entry_tsc: u64) {
    let swapped = gs::own(core);
    let stand_still = || SAMPLER.stand_still(core.index);
    // Another core holds all, or ends the run, by NMI.
    let was_held = smp::stop_if_asked(frame, stand_still);
    trap::counts::count(trap::vector::NMI);
    let is_ports = monitor::is_expected(core.index) && monitor::on_nmi(frame, stand_still);
    let is_watchdogs = watchdog::is_asked(core);
    let mut at = Interrupted::from(&*frame);
    let is_kernels_stack = !nmi::has_user_stack(frame);
    at.is_nested = is_kernels_stack & stacks::is_in_nmi_handler(core, frame.rsp);
    at.is_kernels = was_held || is_ports || is_watchdogs;
    let is_samplers = SAMPLER.on_nmi(core.index, &mut at, entry_tsc);
    if !is_samplers && !at.is_kernels && !smp::take_sent(core) {
        core.count_unclaimed_nmi();
    }
    if is_watchdogs {
        // Behind the sampler: an overflow that comes meanwhile has an NMI of its own.
        let before = tsc::ticks();
        watchdog::report(core, frame);
        SAMPLER.leave_out(core.index, tsc::ticks().saturating_sub(before));
    }
    at.resume(frame);
    swapped.give_back();
    trap::end_of_trap_call();
}

profiler::overflow_entry! { handler: on_overflow, vector: vector::OVERFLOW, returns: true }

/// The handler of overflows that are maskable interrupts.
#[unsafe(link_section = ".pmiscope.calls")]
extern "C" fn on_overflow(frame: &mut TrapFrame, entry_tsc: u64) {
    let swapped = gs::own_if(trap::user::is_users(frame));
    let mut at = Interrupted::from(&*frame);
    SAMPLER.on_overflow(cpu::current_index(), &mut at, entry_tsc);
    swapped.give_back();
    trap::end_of_trap_call();
}

fn on_debug(frame: &mut TrapFrame) {
    // Nothing here would let counters go on that are stopped.
    smp::stop_if_asked(frame, || {});
    let mut at = Interrupted::from(&*frame);
    let is_ours = SAMPLER.on_debug(cpu::current_index(), &mut at);
    at.resume(frame);
    if !is_ours {
        // Of a program that steps itself, or of the kernel behind that.
        frame.rflags &= !control::TRAP_FLAG;
    }
}

fn on_interrupt(frame: &mut TrapFrame) {
    let mut at = Interrupted::from(&*frame);
    SAMPLER.on_interrupt(cpu::current_index(), frame.vector, &mut at);
}

fn on_tick(_: &mut TrapFrame) {
    apic::registers().end_of_interrupt();
    watchdog::look();
    SAMPLER.poll(cpu::current_index());
}

fn refuse(topic: &str, problem: &dyn Display) -> ! {
    exit::refuse(exit::ExitCode::SamplingUnavailable, topic, problem)
}

/// Memory that says why there is no run.
static REFUSAL: RegionMemory<4096> = RegionMemory::new();

/// What the first core does when all is done.
static END: Once<CoreMain> = Once::new();

fn at_end() -> CoreMain {
    *END.get().expect("`set_up` is called first")
}

/// Sets what leads to the sampler, and what is done when all is sampled. Before any core loads its gates.
pub fn set_up(end: CoreMain) {
    END.call_once(|| end);
    exit::on_refusal(|reason| REFUSAL.take().refuse(reason));
    trap::set_gate(vector::WAKE, VirtAddr::new(SAMPLER.wake_entry()));
    trap::set_gate(vector::OVERFLOW, VirtAddr::new(overflow::entry()));
    waking::set_up();
}

/// Samples what was selected to run: the first core. All others are idle.
pub fn start(boot: &BootInfo, order: &Order) -> ! {
    with_config(boot, order, Sampler::start);
    work()
}

/// Shows what the machine has to sample by, and ends the run: the first core.
pub fn list(boot: &BootInfo) -> ! {
    let nothing = Order {
        settings: Settings {
            ring_bytes: 0,
            workload: "",
            ..Settings::default()
        },
        words: config::of_sampler(boot.command_line),
    };
    with_config(boot, &nothing, Sampler::list);
    at_end()(cpu::current())
}

/// How far the run is, if there is one.
pub fn progress() -> Option<Progress> {
    SAMPLER.progress()
}

/// The sampler, to be looked at.
#[must_use]
pub fn sampler() -> &'static Sampler<impl Target> {
    &SAMPLER
}

/// Every core, once it is sampled.
fn work() -> ! {
    workload::run(Counted {
        units: SAMPLER.units(),
        begin: || SAMPLER.begin_counting(),
        finish: || SAMPLER.end_counting(),
    })
}

type Start =
    fn(&'static Sampler<ThisKernel>, Memory, &Config<'static>) -> Result<(), StartError<'static>>;

/// Lets the other cores come, and calls `start` with what the sampler asks for.
fn with_config(boot: &BootInfo, order: &Order, start: Start) {
    let settings = &order.settings;
    exit::on_begin(|| SAMPLER.stop());
    exit::on_failure(|| SAMPLER.fail());
    smp::set_wake(|| SAMPLER.wake_waiting());
    SAMPLER.call_where_cores_wait(smp::rest_if_asked);
    task::set_interrupt_source(|core| SAMPLER.will_interrupt(core.index));
    workload::set_request(|core| SAMPLER.send_nmi(core.index));
    trap::register(trap::vector::DEBUG, on_debug);
    trap::register(tick::VECTOR, on_tick);
    for vector in vector::HANDLED.filter(|vector| *vector != vector::OVERFLOW) {
        trap::register(vector, on_interrupt);
    }
    // How long making stacks takes depends on the memory map: not while sampling.
    task::make_stacks(cpu::cores().len() * task::TYPICAL_PER_CORE);
    process::set_announce(|core, process| SAMPLER.announce(core.index, process));
    if settings.by_process {
        process::set_on_change(|core, number| SAMPLER.count_process(core.index, number));
    }
    smp::give_others(join);
    let bytes = sampler::region_bytes(cpu::count(), settings.bytes_per_core()) as u64;
    let block = kept::take_region(bytes);
    let block = block.unwrap_or_else(|| refuse("sampling: ", &sampler::NoMemory { bytes }));
    if settings.send == SendTo::Serial {
        wire::send_at_end(|| SAMPLER.region());
    }
    // SAFETY: frames that are ours for ever, mapped in the direct map; nothing else
    // uses them.
    let memory = unsafe { Memory::new(block.bytes()) };
    let config = Config {
        command_line: order.words,
        apic_ids: cpu::apic_ids(),
        xapic: apic::address(),
        hpet: hpet::address().map(VirtAddr::as_u64),
        pm_timer: pm_timer::get(),
        no_hpet: boot.firmware.hpet.err().map(|problem| Text::of(&problem)),
        stack_slot: stacks::SLOT,
        bootloader: Text::of(&boot.loader()),
        workload: settings.workload,
        task_name: workload::task_name,
        ..Config::new()
    };
    if let Err(problem) = start(&SAMPLER, memory, &config) {
        refuse(problem.topic(), &problem)
    }
}

/// Every other core, as work for the first.
fn join() {
    match SAMPLER.join(cpu::current_index()) {
        Ok(()) => work(),
        Err(_) => smp::idle(),
    }
}
