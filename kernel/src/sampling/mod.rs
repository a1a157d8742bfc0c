//! Sampling: every core interrupted each so many events, and what it was doing
//! written to its ring.
//!
//! * [`clock`]: what a tick is on this machine.
//! * [`source`]: where overflows come from.
//! * [`survey`]: what this machine has to sample by, and no samples.
//! * [`calibration`]: what an overflow costs beside its handler.
//! * [`overflow`]: the handler, from the interrupt to the record.
//! * [`counted`]: the same, where overflows are performance counters'.
//! * [`walk`]: the stacks and the code that the walk may look at.
//! * [`counting`]: how often events happen, in place of samples.
//! * [`aim`]: single overflows at certain instructions.
//! * [`control`]: what can be changed meanwhile.
//! * [`turns`]: one core at a time, where instructions are counted.
//!
//! A run begins on the first core, which chooses the source, calibrates it while
//! all others are halted (counters let each of them measure, one by one), and makes the
//! shared block; then every core arms its source and goes to work. A core that has taken its share of samples stops
//! where it is, in its last handler, for good; when all have, the first core
//! comes back to [`end`]. So the end needs nothing from the code that is sampled,
//! which may loop for ever with interrupts off.

pub mod aim;
pub mod calibration;
pub mod clock;
pub mod control;
mod counted;
pub mod counting;
pub mod overflow;
pub mod source;
pub mod survey;
pub mod turns;
pub mod walk;

use alloc::vec::Vec;
use core::sync::atomic::{AtomicU8, AtomicU32, AtomicU64, Ordering};

use profiler::contract::mailbox::Mailbox;
use profiler::contract::settings::{RunKind, Settings, SourceChoice};
use profiler::format::description::MAX_TASKS;
use profiler::format::region::{CoreCounters, PAGE, Region, RegionLayout, RunState};
use profiler::format::ring::Writer;
use profiler::format::{Clock, Delivery, Description, EventDescription, Text};
use profiler::pmu::event::MAX_EVENTS;
use spin::Once;
use x86_64::PhysAddr;
use x86_64::instructions::interrupts;

use crate::boot::{self, BootInfo, build_id};
use crate::cpu::{self, CoreBlock, tick};
use crate::exit::{self, ExitCode};
use crate::memory::{frames, image, stacks};
use crate::trap::{self, TrapFrame, debug, nmi, vector};
use crate::workload::{self, Workload};
use crate::{smp, task, time};
use aim::Aimed;
use calibration::Calibration;
use clock::RunClock;
use control::Control;
use counting::Counting;
pub use overflow::CoreState;
use source::pmu::{self, Jitter};
use source::{Source, Wanted, apic_timer, step};
use turns::Turns;

/// The period where the command line says none, in ticks of each clock.
const DEFAULT_INSTRUCTIONS: u64 = 1000;
const DEFAULT_NANOSECONDS: u64 = 1_000_000;
/// The same, of a counter where the clock is time, in its events.
const DEFAULT_EVENTS_APART: u64 = 100_000;

/// A run, once everything about it is known.
pub struct Run {
    shared: Region<'static>,
    /// By core index.
    rings: Vec<CoreRing>,
    source: Source,
    delivery: Delivery,
    clock: RunClock,
    calibration: Calibration,
    /// What the source is armed with.
    count: u32,
    /// Overflows beside those of the period.
    aimed: Option<Aimed>,
    /// The count after which a core that waits for its turn takes it.
    patience: u32,
    /// The requested period, in ticks of the run.
    period: u64,
    /// The time stamp counter when sampling began.
    began: AtomicU64,
    turns: Option<Turns>,
    /// Events are counted, and not sampled.
    counting: Option<Counting>,
    workload: &'static Workload,
    control: Control,
    /// Cores that have not taken their last sample, or done their last unit.
    active: AtomicU32,
}

/// What a core writes to.
struct CoreRing {
    /// Used on that core alone.
    writer: Writer<'static>,
    counters: &'static CoreCounters,
}

impl Run {
    /// What `core`, the running core, writes to.
    #[inline]
    fn ring(&self, core: &CoreBlock) -> &CoreRing {
        &self.rings[core.index as usize]
    }
}

static RUN: Once<Run> = Once::new();
static PHASE: AtomicU8 = AtomicU8::new(Phase::Off as u8);

/// How long a halt lasts at most where counters are the source, which count nothing
/// meanwhile.
const HALT_INSTRUCTIONS: u64 = 10_000;
const HALT_NANOSECONDS: u64 = 1_000_000;

/// The tasks that most workloads have on a core at a time. Their stacks are made
/// before sampling begins: how long that takes depends on the memory map, and with
/// it on the boot loader.
const TASKS_A_CORE: usize = 5;

/// How many periods of every core a core waits for its turn where it may not
/// come; and no shorter than this count, which is longer than any handler.
const PATIENCE: u32 = 4;
const LEAST_PATIENCE: u32 = 100_000;

/// What an overflow interrupt means.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
enum Phase {
    /// Nothing: none is due.
    Off,
    /// A trial: one core at a time.
    Probing,
    /// A sample.
    Sampling,
    /// Nothing: events are counted.
    Counting,
}

#[inline]
fn phase() -> Phase {
    match PHASE.load(Ordering::Acquire) {
        1 => Phase::Probing,
        2 => Phase::Sampling,
        3 => Phase::Counting,
        _ => Phase::Off,
    }
}

fn set_phase(phase: Phase) {
    PHASE.store(phase as u8, Ordering::Release);
}

#[inline]
fn run() -> Option<&'static Run> {
    RUN.get()
}

/// Makes the interrupts that sampling has be taken.
fn register_handlers() {
    trap::register(vector::SAMPLING, overflow::irq);
    trap::register(vector::TURN, turns::late);
    trap::register(vector::DEBUG, overflow::debug);
}

/// Samples `workload` as `settings` say: the first core. All others are idle.
pub fn start(boot: &BootInfo, settings: &Settings<'_>, workload: &'static Workload) -> ! {
    register_handlers();
    task::make_stacks(cpu::cores().len() * TASKS_A_CORE);
    let run = RUN.call_once(|| prepare(boot, settings, workload));
    let Run {
        period,
        count,
        calibration,
        ..
    } = run;
    log::info!("sampling: period {period}, count {count}, {calibration:?}");
    set_phase(match run.counting {
        None => Phase::Sampling,
        Some(_) => Phase::Counting,
    });
    run.began.store(time::ticks(), Ordering::Relaxed);
    run.shared.set_state(RunState::Sampling);
    if run.turns.is_none() {
        cpu::cores()[1..].iter().for_each(|&core| turns::wake(core));
    }
    begin(cpu::current(), run)
}

/// Every other core, as work that the first gives it: waits for the run to start,
/// then takes part.
fn join() {
    let core = cpu::current();
    interrupts::disable();
    core.joined.store(true, Ordering::Release);
    let run = turns::wait_until(|| {
        let has_begun = matches!(phase(), Phase::Sampling | Phase::Counting);
        let run = run().filter(|_| has_begun)?;
        let turn = run.turns.as_ref();
        turn.is_none_or(|turns| turns.is_turn_of(core))
            .then_some(run)
    });
    begin(core, run)
}

/// Arms the running core's source and goes to work.
fn begin(core: &'static CoreBlock, run: &'static Run) -> ! {
    if let Some(counting) = &run.counting {
        counting.start(core, run)
    }
    if let Some(aim) = run.aimed.map(|aimed| aimed.address()) {
        aim::enable(aim);
    }
    run.source.enable(core);
    interrupts::enable();
    match run.source {
        Source::Pmu(pmu) => {
            tick::enable();
            pmu.start(core);
            if let Some(problem) = core.sampling.pmu.refusal() {
                log::error!("sampling: core {}: {problem}", core.index);
                exit::exit(ExitCode::SamplingUnavailable)
            }
        }
        _ => overflow::arm(core, run.count),
    }
    if let Source::Ipi(driver) = run.source
        && core.index == 0
    {
        driver.drive(u64::from(run.count));
    }
    if let Source::Step = run.source {
        cpu::idle::poll_from_now_on();
        step::begin();
    }
    workload::start(core, run.workload)
}

/// No interrupt is a sample any more.
pub fn cease() {
    set_phase(Phase::Off);
}

/// Tells the host that the run has failed; what the rings hold is true.
pub fn fail() {
    if let Some(run) = run() {
        run.shared.set_state(RunState::Failed);
    }
}

/// Says what `core` works on, for its samples: the number of a task's name.
#[inline]
pub fn set_task_of(core: &CoreBlock, task: u16) {
    core.sampling.task.store(task, Ordering::Relaxed);
}

/// Whether the source is armed on `core`, the running core, so that an interrupt
/// will come.
#[must_use]
pub fn is_armed(core: &CoreBlock) -> bool {
    core.sampling.armed.load(Ordering::Relaxed)
}

/// Chooses and calibrates the source, and makes the rings.
fn prepare(boot: &BootInfo, settings: &Settings<'_>, workload: &'static Workload) -> Run {
    let is_counting = settings.kind == RunKind::Counts;
    let events = settings.events.unwrap_or(pmu::DEFAULT_EVENTS);
    if settings.source.may_be_pmu() {
        // What is counted need not fit the counters at once.
        pmu::survey(match is_counting {
            true => pmu::DEFAULT_EVENTS,
            false => events,
        });
    }
    halt_others();
    let refuse = |problem: core::fmt::Arguments<'_>| -> ! {
        let what = if is_counting { "counting" } else { "sampling" };
        log::error!("{what}: {problem}");
        exit::exit(ExitCode::SamplingUnavailable)
    };
    let clock = RunClock::detect().unwrap_or_else(|problem| refuse(format_args!("{problem}")));
    set_phase(Phase::Probing);
    let mut reason = Text::EMPTY;
    let wanted = Wanted {
        delivery: settings.delivery,
        clock: &clock,
        has_events: settings.events.is_some() && !is_counting,
        has_aim: settings.aim.is_some(),
        period: settings.period,
    };
    // Only counters count.
    let choice = match is_counting {
        false => settings.source,
        true => SourceChoice::Only(profiler::format::Source::Pmu),
    };
    let source = Source::choose(choice, &wanted, &mut reason);
    let source = source.unwrap_or_else(|| {
        let reason = reason.as_str();
        match choice {
            _ if is_counting => refuse(format_args!("it needs performance counters: {reason}")),
            SourceChoice::Auto => refuse(format_args!("no source works: {reason}")),
            SourceChoice::Only(_) => refuse(format_args!("{reason}")),
        }
    });
    source::make_current(source, settings.delivery);
    let mut calibration = calibration::measure(&source, settings.delivery, &clock)
        .unwrap_or_else(|problem| refuse(format_args!("{}: {problem}", source.kind())));
    let aimed = settings.aim.map(|aim| {
        if debug::code().contains(aim.address) {
            refuse(format_args!(
                "aim=: the entry of debug exceptions is what aims are made of"
            ))
        }
        if nmi::is_landing(aim.address) {
            refuse(format_args!(
                "aim=: no NMI can come where one has just landed; nmi_landed is the first instruction"
            ))
        }
        let counted = clock.clock == Clock::Instructions && matches!(source, Source::ApicTimer(_));
        counted
            .then(|| aim::calibrate(aim, &source, cpu::current()))
            .flatten()
            .unwrap_or_else(|| {
                refuse(format_args!(
                    "aim= needs counted instructions and source=apic-timer as NMI"
                ))
            })
    });
    let counting = is_counting.then(|| counting::prepare(settings, &clock));
    let period = settings.period.unwrap_or(match (source, clock.clock) {
        _ if is_counting => 0,
        (Source::Step, _) => 1,
        (Source::Pmu(_), Clock::Time) => DEFAULT_EVENTS_APART,
        (_, Clock::Instructions) => DEFAULT_INSTRUCTIONS,
        (_, Clock::Time) => DEFAULT_NANOSECONDS,
    });
    let jitter = Jitter {
        percent: settings.jitter,
        seed: settings.seed,
    };
    let (event_table, event_count) = match (source, &counting) {
        (_, Some(counting)) => counting.describe(),
        (Source::Pmu(pmu), None) => {
            let measured = pmu::plan_all(cpu::cores(), &events)
                .and_then(|plans| pmu.measure(cpu::cores(), plans, period, jitter))
                .unwrap_or_else(|problem| refuse(format_args!("{problem}")));
            calibration.passage = measured.passage;
            calibration.floor = measured.events[0].floor;
            (measured.events, measured.event_count)
        }
        _ => ([EventDescription::EMPTY; MAX_EVENTS], 0),
    };
    let floor = calibration.floor;
    source.disarm(cpu::current());
    set_phase(Phase::Off);
    if let Source::Pmu(_) = source
        && !is_counting
    {
        let ticks = match clock.clock {
            Clock::Instructions => HALT_INSTRUCTIONS,
            Clock::Time => HALT_NANOSECONDS,
        };
        tick::enable();
        tick::start(apic_timer::counts_in(ticks, &clock));
    }
    if let Source::Step = source
        && settings.period.is_some_and(|period| period != 1)
    {
        refuse(format_args!(
            "step: every instruction is a sample: leave out period="
        ))
    }
    if period < floor && !matches!(source, Source::Pmu(_)) {
        refuse(format_args!(
            "a period of {period} makes no progress here: the smallest that does is {floor}"
        ));
    }
    let count = source.counts(period) + calibration.lead;
    let Ok(count) = u32::try_from(count) else {
        refuse(format_args!(
            "a period of {period} is more than the source can count"
        ))
    };
    let turns = clock.clock == Clock::Instructions && source.is_one_shot();
    let cores = u32::try_from(cpu::cores().len()).unwrap_or(u32::MAX);
    let description = Description {
        build_id: build_id::build_id().bytes(),
        cores,
        ring_words: settings.ring_bytes / 8,
        source: source.kind(),
        delivery: settings.delivery,
        clock: clock.clock,
        turns,
        period,
        period_floor: floor,
        overhead: clock.ticks(calibration.passage),
        samples: if is_counting { 0 } else { settings.samples },
        text: image::code(),
        stack_slot: stacks::SLOT,
        reason,
        bootloader: Text::formatted(format_args!(
            "{} {}",
            boot.bootloader, boot.bootloader_version
        )),
        workload: Text::new(workload.name),
        command_line: Text::new(boot.command_line),
        tasks: task_names(),
        event_table,
        event_count,
    };
    let shared = shared_block(&description);
    let rings = (0..cores).map(|core| CoreRing {
        // SAFETY: `Run::ring` gives it to that core only, whose handlers end before
        // what they interrupted goes on.
        writer: unsafe { shared.writer(core) },
        counters: shared.counters(core),
    });
    let run = Run {
        shared,
        rings: rings.collect(),
        source,
        delivery: settings.delivery,
        clock,
        calibration,
        count,
        aimed,
        patience: count.saturating_mul(PATIENCE * cores).max(LEAST_PATIENCE),
        period,
        began: AtomicU64::new(0),
        turns: turns.then(Turns::new),
        counting,
        workload,
        control: Control::new(events, event_count, period, settings),
        active: AtomicU32::new(cores),
    };
    for core in cpu::cores() {
        // The first cores take one more each where it does not come out even.
        let share = settings.samples / u64::from(cores);
        let one_more = u64::from(core.index) < settings.samples % u64::from(cores);
        let quota = share + u64::from(one_more);
        core.sampling.quota.store(quota.max(1), Ordering::Relaxed);
        core.sampling.sequence.store(0, Ordering::Relaxed);
        run.shared
            .counters(core.index)
            .apic_id
            .store(core.apic_id.into(), Ordering::Relaxed);
    }
    run
}

/// Sends each other core to [`join`]. It halts there within a few
/// instructions; they are waited for as well, since under instruction counting
/// everything that another core executes would be measured here.
fn halt_others() {
    let others = &cpu::cores()[1..];
    others.iter().for_each(|core| smp::give(core, join));
    let all = || {
        others
            .iter()
            .all(|core| core.joined.load(Ordering::Acquire))
    };
    let came = time::Deadline::after(smp::PATIENCE).wait_for(all);
    assert!(came, "a core did not come to sample");
    let _ = time::Deadline::after(SETTLING).wait_for(|| false);
}

/// More than another core executes between joining and halting, however the
/// emulator lets them take turns, in ticks.
const SETTLING: u64 = 200_000;

fn task_names() -> [Text<32>; MAX_TASKS] {
    let mut numbers = 0..;
    [(); MAX_TASKS].map(|()| Text::new(numbers.next().map_or("", workload::task_name)))
}

/// Below it a machine's memory has no gap, so that a place in the file behind it
/// is an address.
const HOST_FINDS_BELOW: PhysAddr = PhysAddr::new(2 << 30);

/// Frames in a row, made into the block that the host looks for.
fn shared_block(description: &Description) -> Region<'static> {
    let Description {
        cores, ring_words, ..
    } = *description;
    let bytes = RegionLayout { cores, ring_words }.bytes();
    let bytes = bytes.map_or(u64::MAX, |bytes| bytes as u64);
    let block = [Some(HOST_FINDS_BELOW), None]
        .into_iter()
        .find_map(|below| frames::take_block(bytes, PAGE as u64, below));
    let memory = block.unwrap_or_else(|| {
        let mib = bytes >> 20;
        log::error!("sampling: no {mib} MiB of memory in a row for the rings: give the machine more, or the rings less (ring=)");
        exit::exit(ExitCode::SamplingUnavailable)
    });
    // SAFETY: frames that are ours for ever, mapped in the direct map; nobody else
    // knows them.
    unsafe { Region::create(memory.bytes(), description) }
}

/// The running core has taken its last sample: it stops here for good, in its
/// handler. Only the first core returns, when all have: to [`end`].
fn leave(frame: &mut TrapFrame, core: &'static CoreBlock, run: &'static Run) {
    if let Some(turns) = &run.turns {
        turns.leave(core);
    }
    let first = cpu::core(0);
    if run.active.fetch_sub(1, Ordering::AcqRel) == 1 {
        turns::wake(first);
    }
    if core.index != first.index {
        smp::stop_here();
    }
    // It is the one that would answer: see `control`.
    Mailbox::new(run.shared.mailbox()).close();
    if let Source::Ipi(driver) = run.source {
        let all_done = || run.active.load(Ordering::Acquire) == 0;
        driver.drive_others(u64::from(run.count), all_done);
    }
    turns::wait_until(|| (run.active.load(Ordering::Acquire) == 0).then_some(()));
    // The interrupted code is never gone on with: the core starts anew on its own
    // stack, as it did at boot.
    boot::entry::divert_to_stack(frame, core, end);
}

/// The first core, when every core has taken its last sample.
extern "C" fn end(_: &'static CoreBlock) -> ! {
    cease();
    if let Some(run) = run() {
        for core in cpu::cores() {
            let counters = run.shared.counters(core.index);
            // NMIs that could not even be looked at, and those that came while nothing was
            // sampled.
            let nobodys = core.nmis_without_room.load(Ordering::Relaxed)
                + core.unclaimed_nmis.load(Ordering::Relaxed);
            counters.taken.fetch_add(nobodys, Ordering::Relaxed);
            counters.unclaimed.fetch_add(nobodys, Ordering::Relaxed);
            let [taken, stored, unclaimed] =
                [&counters.taken, &counters.stored, &counters.unclaimed]
                    .map(|counter| counter.load(Ordering::Relaxed));
            let lost = run.shared.control(core.index).lost();
            log::debug!(
                "core {}: {taken} overflows: {stored} samples stored, {lost} lost; {unclaimed} unclaimed",
                core.index
            );
        }
        stacks::assert_canaries();
        run.shared.set_state(RunState::Finished);
    }
    log::info!("sampling: done");
    exit::exit(ExitCode::Success)
}
