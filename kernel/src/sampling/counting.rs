//! Counting: how often events happen while each core does so many units of the
//! workload, and no samples (`take=counts`).
//!
//! Each core counts from the start of its first unit to the end of its last one, then
//! stops its counters, whose registers are as before, and writes a
//! [`Count`] of each event to its ring. It goes on with units that are not counted, so
//! that the others have the company that they would have; when the last core is done,
//! the first one comes to [`super::end`].
//!
//! If there are more events than counters, groups of them take turns
//! ([`profiler::pmu::multiplex`]), which a maskable interrupt of the core's APIC timer
//! hands on. It comes now and then if there are not, too: some code halts until an
//! interrupt comes, and there are no samples here.
//!
//! # What is counted
//!
//! What the core executes between the `int` instructions that begin and end it: the
//! units themselves and the loop around them, four or five instructions a unit; all
//! that other tasks do on the core meanwhile; the kernel on their behalf, with its
//! idle loop and its handlers of interrupts. Not the handler in here: counters stand
//! still in it, and its entry and exit are measured before and taken off, as is the
//! `int` that ends it. Where the measure of an event does not vary (instructions; any
//! event of an emulator that counts instructions), nothing of the profiler is in the
//! counts.
//!
//! For that, the way into the handler and out of it is the same whatever it came for:
//! one function for all of its vectors, whose first step stops the counters and whose
//! last one starts them.

use alloc::boxed::Box;
use alloc::vec::Vec;
use core::arch::asm;
use core::fmt::Write as _;
use core::sync::atomic::{AtomicBool, AtomicPtr, AtomicU32, Ordering};

use profiler::contract::settings::Settings;
use profiler::format::{Clock, Count, EventDescription, Text};
use profiler::pmu::event::{Event, EventList, MAX_EVENTS};
use profiler::pmu::multiplex::{Cost, Group, Groups, Multiplexer};
use profiler::pmu::plan::{PlanError, PmuState};
use x86_64::instructions::interrupts;

use super::clock::RunClock;
use super::source::apic_timer;
use super::{Run, control, end, run};
use crate::boot;
use crate::cpu::apic::{self, Destination, Message, Register};
use crate::cpu::msr::pmu::ThisCore;
use crate::cpu::{self, CoreBlock};
use crate::exit::{self, ExitCode};
use crate::time;
use crate::trap::{self, TrapFrame, vector};
use crate::workload;

/// What is counted where nothing else is asked for; what a core lacks of it is left
/// out there.
const DEFAULT_EVENTS: &str =
    "cycles,instructions,branches,branch-misses,cache-references,cache-misses";

/// For how long a group of events is counted until it is the next one's turn, in ticks
/// of each clock. Those that are instructions are all cores', so it is so many for each.
const TURN_INSTRUCTIONS: u64 = 10_000;
const TURN_NANOSECONDS: u64 = 1_000_000;

/// In so many turns a core is interrupted if there is only one group.
const BEAT: u32 = 10;

/// How often the way through the handler is measured; what is least is taken.
const TRIALS: u32 = 16;

/// A run that counts.
pub struct Counting {
    events: EventList,
    /// Rounds of the workload on each core.
    units: u64,
    /// Counts of the timer in a group's turn.
    turn: u32,
    /// The same of a beat, where there is only one group.
    beat: u32,
    /// Cores that have measured what they need, and wait for the others.
    ready: AtomicU32,
}

/// What a core knows of its counting. Written by that core.
#[derive(Default)]
pub struct CoreCounting {
    multiplexer: Multiplexer,
    /// What takes turns: null, or leaked.
    groups: AtomicPtr<Vec<Group>>,
    /// The workload is counted, and not a trial.
    is_workload: AtomicBool,
}

impl CoreCounting {
    #[inline]
    fn groups(&self) -> &'static [Group] {
        // SAFETY: null, or what `set_groups` leaked: it lives for ever, and nobody
        // changes it.
        let groups = unsafe { self.groups.load(Ordering::Acquire).as_ref() };
        groups.map_or(&[], Vec::as_slice)
    }

    fn set_groups(&self, groups: Vec<Group>) {
        let groups: *mut Vec<Group> = Box::leak(Box::new(groups));
        self.groups.store(groups, Ordering::Release);
    }
}

/// Where the counters' overflows go.
const LVTPC: u32 = vector::COUNT_OVERFLOW as u32;

/// Plans a run that counts, on the first core, which alone is awake. Ends the run if
/// an event that was asked for cannot be counted on every core, or none can.
pub(super) fn prepare(settings: &Settings<'_>, clock: &RunClock) -> Counting {
    let refuse = |problem: core::fmt::Arguments<'_>| -> ! {
        log::error!("counting: {problem}");
        exit::exit(ExitCode::SamplingUnavailable)
    };
    let default = || EventList::parse(DEFAULT_EVENTS).expect("the default events have names");
    let events = settings.events.unwrap_or_else(default);
    let split: Vec<_> = cpu::cores()
        .iter()
        .map(|core| Groups::split(found(core), &events))
        .collect();
    let is_any = split.iter().any(|groups| !groups.is_empty());
    if settings.events.is_some() || !is_any {
        let mut problems: Text<512> = Text::EMPTY;
        for (index, event) in events.iter().enumerate() {
            // What is so on one core is so on the others, mostly.
            let first = split.iter().enumerate().find_map(|(core, groups)| {
                let problem = groups.problem(index)?;
                Some((core, problem))
            });
            if let Some((core, problem)) = first {
                add_problem(&mut problems, event, core, problem);
            }
        }
        if !problems.as_str().is_empty() {
            refuse(format_args!("{}", problems.as_str()));
        }
    }
    for vector in [
        vector::COUNT_TIMER,
        vector::COUNT_OVERFLOW,
        vector::COUNT_BEGIN,
        vector::COUNT_END,
        vector::COUNT_DONE,
    ] {
        trap::register(vector, interrupt);
    }
    let turn = match clock.clock {
        Clock::Instructions => TURN_INSTRUCTIONS * cpu::cores().len() as u64,
        Clock::Time => TURN_NANOSECONDS,
    };
    let turn = apic_timer::counts_in(turn, clock).max(1);
    Counting {
        events,
        units: settings.units,
        turn,
        beat: turn.saturating_mul(BEAT),
        ready: AtomicU32::new(0),
    }
}

/// Adds why `event` cannot be counted on `core`, as far as there is room.
fn add_problem(text: &mut Text<512>, event: &Event, core: usize, problem: &PlanError) {
    text.append_item("; ", format_args!("`{event}`: "));
    // A text takes what fits: no error.
    if core != 0 {
        let _ = write!(text, "core {core}: ");
    }
    // As above. The event is named already, and not by its number.
    let _ = match problem {
        PlanError::Event { problem, .. } => write!(text, "{problem}"),
        other @ PlanError::TooMany { .. } => write!(text, "{other}"),
    };
}

/// What `core` has found of its PMU. The source was chosen, so it has.
fn found(core: &CoreBlock) -> &PmuState {
    core.sampling.pmu.found().expect("every core has a PMU")
}

impl Counting {
    /// The events, and how many there are, for the run's description.
    pub(super) fn describe(&self) -> ([EventDescription; MAX_EVENTS], u8) {
        let mut table = [EventDescription::EMPTY; MAX_EVENTS];
        let mut count = 0;
        for (row, event) in table.iter_mut().zip(&self.events) {
            row.name = Text::formatted(format_args!("{}", event.counted()));
            count += 1;
        }
        (table, count)
    }

    /// Rounds of the workload on each core.
    pub const fn units(&self) -> u64 {
        self.units
    }

    /// Lets the running core, `core`, measure what it needs, and go to work when all
    /// have.
    pub(super) fn start(&self, core: &'static CoreBlock, run: &'static Run) -> ! {
        // Only the trials' own interrupts.
        interrupts::disable();
        // SAFETY: a valid divider; a stopped timer delivers nothing.
        unsafe { apic::registers().write(Register::TimerDivide, apic::TIMER_DIVIDE_BY_1) };
        // SAFETY: one shot; the vector has a handler.
        unsafe { apic::registers().write(Register::LvtTimer, vector::COUNT_TIMER.into()) };
        let found = found(core);
        let split = Groups::split(found, &self.events);
        let groups: Vec<_> = (0..split.len())
            .filter_map(|number| split.group(found, &self.events, number))
            .map(|group| measured(core, group))
            .collect();
        log::debug!(
            "core {}: counting: {} groups of events",
            core.index,
            groups.len()
        );
        let state = &core.sampling.counting;
        state.set_groups(groups);
        state.is_workload.store(true, Ordering::Relaxed);
        // What waits for time to pass may halt: the timer ends that.
        core.sampling.armed.store(true, Ordering::Relaxed);
        interrupts::enable();
        self.ready.fetch_add(1, Ordering::AcqRel);
        while (self.ready.load(Ordering::Acquire) as usize) < cpu::cores().len() {
            core::hint::spin_loop();
        }
        workload::start_counted(core, run.workload)
    }
}

/// Measures, on the running core, what an interrupt costs in each event of `group`. It
/// is the least of what is counted between two `int`s, one right behind the other; and
/// what one instruction more adds to that is what an `int` itself is.
fn measured(core: &CoreBlock, mut group: Group) -> Group {
    let state = &core.sampling.counting;
    state.set_groups(alloc::vec![group.clone()]);
    let mut least = [[u64::MAX; 2]; MAX_EVENTS];
    let mut least_time = [u64::MAX; 2];
    for _ in 0..TRIALS {
        for (way, call) in [at_once, after_an_instruction].into_iter().enumerate() {
            call();
            for (slot, event) in group.events() {
                let count = state.multiplexer.reading(event).count;
                least[slot][way] = least[slot][way].min(count);
                let time = state.multiplexer.reading(event).enabled;
                least_time[way] = least_time[way].min(time);
            }
        }
    }
    let slots: Vec<_> = group.events().map(|(slot, _)| slot).collect();
    for slot in slots {
        group.set_cost(slot, cost(least[slot]));
    }
    group.set_time(cost(least_time));
    group
}

/// The cost of coming through the handler, from what was counted without anything
/// between, and with one instruction.
const fn cost([between, with_one]: [u64; 2]) -> Cost {
    let call = with_one.saturating_sub(between);
    Cost {
        overhead: between.saturating_sub(call),
        call,
    }
}

fn at_once() {
    // SAFETY: the gates' handler returns; its end of interrupt finds nothing to end.
    unsafe {
        asm!("int {begin}", "int {end}", begin = const vector::COUNT_BEGIN, end = const vector::COUNT_END);
    };
}

fn after_an_instruction() {
    // SAFETY: as above.
    unsafe {
        asm!("int {begin}", "nop", "int {end}", begin = const vector::COUNT_BEGIN, end = const vector::COUNT_END);
    };
}

/// The running core's work begins.
#[inline(always)]
pub fn begin() {
    // SAFETY: as above.
    unsafe { asm!("int {begin}", begin = const vector::COUNT_BEGIN) };
}

/// The running core's work ends: writes what it has counted to its ring.
#[inline(always)]
pub fn finish() {
    // SAFETY: as above.
    unsafe { asm!("int {end}", end = const vector::COUNT_END) };
}

/// Rounds of the workload on each core; 0 if the run does not count.
#[must_use]
pub fn units() -> u64 {
    let counting = run().and_then(|run| run.counting.as_ref());
    counting.map_or(0, Counting::units)
}

/// Every interrupt that has to do with counting. Interrupts are off.
fn interrupt(frame: &mut TrapFrame) {
    let core = cpu::current();
    let state = &core.sampling.counting;
    let groups = state.groups();
    let counters = &state.multiplexer;
    let was_on = counters.pause(&ThisCore, groups, time::ticks());
    // It finds nothing to end where an instruction has called.
    apic::registers().end_of_interrupt();
    let is_on = match frame.vector.to_le_bytes()[0] {
        vector::COUNT_BEGIN => {
            taken(counters.begin(&ThisCore, groups));
            arm(core, groups);
            !groups.is_empty()
        }
        vector::COUNT_END => {
            if was_on {
                counters.end(&ThisCore, groups, true);
            }
            if state.is_workload.load(Ordering::Relaxed) {
                done(core);
            }
            false
        }
        vector::COUNT_TIMER => {
            if was_on && groups.len() > 1 {
                taken(counters.rotate(&ThisCore, groups));
            }
            if let Some(run) = run() {
                control::look(core, run);
            }
            // Where nothing is counted any more, the others want company.
            arm(core, groups);
            was_on
        }
        _ => was_on,
    };
    if core.index == 0
        && let Some(run) = run()
        && run.active.load(Ordering::Acquire) == 0
    {
        // As after a last sample: what was interrupted is never gone on with.
        boot::entry::divert_to_stack(frame, core, end);
    }
    if is_on {
        counters.resume(&ThisCore, groups, LVTPC, time::ticks());
    }
}

/// A processor may refuse what it took on another core; then there are no counts.
fn taken(outcome: Result<(), profiler::pmu::registers::MsrFault>) {
    if let Err(problem) = outcome {
        log::error!("counting: {problem}");
        exit::exit(ExitCode::SamplingUnavailable)
    }
}

/// Lets the timer interrupt at the end of the turn of one of `groups`; or after some
/// time, so that a halt of the code ends. Not in a trial.
fn arm(core: &CoreBlock, groups: &[Group]) {
    if !core.sampling.counting.is_workload.load(Ordering::Relaxed) {
        return;
    }
    let counting = run().and_then(|run| run.counting.as_ref());
    if let Some(counting) = counting {
        let is_alone = groups.len() < 2;
        let count = if is_alone {
            counting.beat
        } else {
            counting.turn
        };
        // SAFETY: any count may be written; `Counting::start` said what it delivers.
        unsafe { apic::registers().write(Register::TimerInitialCount, count) };
    }
}

/// The running core, `core`, has done its units: writes its counts to its ring.
fn done(core: &'static CoreBlock) {
    let Some((run, counting)) = run().and_then(|run| Some((run, run.counting.as_ref()?))) else {
        return;
    };
    let ring = run.ring(core);
    let split = Groups::split(found(core), &counting.events);
    for (index, event) in (0..).zip(0..counting.events.as_slice().len()) {
        let mut reading = core.sampling.counting.multiplexer.reading(event);
        reading.enabled = run.clock.ticks(reading.enabled);
        reading.running = run.clock.ticks(reading.running);
        let is_encodable = !matches!(split.problem(event), Some(PlanError::Event { .. }));
        let count = Count {
            event: index,
            is_supported: is_encodable,
            reading,
        };
        // A loss is counted in the ring.
        if ring.writer.write(&count.encode()).is_ok() {
            ring.counters.stored.fetch_add(1, Ordering::Relaxed);
        }
    }
    let is_last = run.active.fetch_sub(1, Ordering::AcqRel) == 1;
    if is_last && core.index != 0 {
        let message = Message::Fixed(vector::COUNT_DONE);
        let first = Destination::Core(cpu::core(0).apic_id);
        // SAFETY: the vector has a handler, on all cores.
        unsafe { apic::registers().send(message, first) };
    }
}
