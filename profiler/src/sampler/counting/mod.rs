//! Counting: how often events happen while each core does N units of the
//! workload, and no samples (`take=counts`).
//!
//! Each core counts from the start of its first unit to the end of its last one, then
//! stops its counters, whose registers are as before, and writes a
//! [`Count`] of each event to its ring. It goes on with units that are not counted, so
//! that the others have the company that they would have; when the last core is done,
//! the first one ends the run.
//!
//! If there are more events than counters, groups of them take turns
//! ([`crate::pmu::multiplex`]), by a maskable interrupt of the core's APIC timer.
//! It comes now and then if there are not, too: some code halts until an
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
//! event of an emulator that counts instructions), nothing of the sampler is in the
//! counts.
//!
//! # By process
//!
//! Where that is asked for, the kernel says what runs on a core whenever that changes
//! ([`super::Sampler::count_process`]), by the `int` that begins counting: the handler
//! attributes to the process before what was counted since. The `int` itself is taken
//! off. What a core has counted is then the sum of its processes' counts, exactly; code
//! on either side of the call is what it is counted for. User code and the kernel are
//! told apart by the events (`:u`, `:k`), which the processor does.
//!
//! For that, the way into the handler and out of it is the same whatever it came for:
//! one function for all of its vectors, whose first step stops the counters and whose
//! last one starts them.

mod measure;

use core::fmt::Write as _;
use core::sync::atomic::{AtomicU32, Ordering};

use super::cores::Cores;
use super::error::StartError;
use super::per_core::{Core, Output};
use super::phase::Phase;
use super::source::apic_timer;
use super::vector;
use crate::contract::settings::Settings;
use crate::format::count::Reading;
use crate::format::{Clock, Count, EventDescription, Text};
use crate::hw::control;
use crate::pmu::encode::NoEncoding;
use crate::pmu::event::{Event, EventList, MAX_EVENTS};
use crate::pmu::multiplex::Groups;
use crate::pmu::plan::{PlanError, PmuState};

use super::clock::RunClock;

/// What is counted where nothing else is asked for; what a core lacks of it is left
/// out there.
const DEFAULT_EVENTS: &str =
    "cycles,instructions,branches,branch-misses,cache-references,cache-misses";

/// For how long a group of events is counted until it is the next one's turn, in ticks
/// of each clock. Those that are instructions are all cores', so it is N for each.
const ROTATION_INSTRUCTIONS: u64 = 10_000;
const ROTATION_NANOSECONDS: u64 = 1_000_000;

/// A core with only one group is interrupted every so often, in rotations.
const IDLE_TURNS_PER_TICK: u32 = 10;

/// A run that counts.
pub(crate) struct Counting {
    /// What each core counts, in the order of its counts.
    pub events: EventList,
    /// Rounds of the workload on each core.
    pub units: u64,
    /// Counts are kept by process, too.
    pub by_process: bool,
    timer: TimerCounts,
    /// Cores that have measured what they need, and wait for the others.
    ready: AtomicU32,
}

impl Counting {
    /// Plans a run that counts, on the first core, which alone is awake.
    ///
    /// # Errors
    ///
    /// An event that was asked for cannot be counted on every core, or none can.
    pub(crate) fn prepare<'a>(
        cores: &[Core],
        settings: &Settings<'_>,
        clock: &RunClock,
    ) -> Result<Self, StartError<'a>> {
        let default = || EventList::parse(DEFAULT_EVENTS).expect("the default events have names");
        let events = settings.events.unwrap_or_else(default);
        let is_any = cores.iter().any(|core| !split(core, &events).is_empty());
        if settings.events.is_some() || !is_any {
            let problems = problems_of(cores, &events);
            if problems != Text::EMPTY {
                return Err(StartError::Events(problems));
            }
        }
        let counts =
            apic_timer::counts_in(rotation_ticks(clock.clock, cores.len()), clock, &cores[0]);
        Ok(Self {
            events,
            units: settings.units,
            by_process: settings.by_process,
            timer: TimerCounts::of(counts),
            ready: AtomicU32::new(0),
        })
    }

    /// The events, and the number of them, for the run's description.
    pub(crate) fn describe(&self) -> ([EventDescription; MAX_EVENTS], u8) {
        let mut table = [EventDescription::EMPTY; MAX_EVENTS];
        let mut count = 0;
        for (row, event) in table.iter_mut().zip(&self.events) {
            row.name = Text::formatted(format_args!("{}", event.counted()));
            count += 1;
        }
        (table, count)
    }

    /// Lets the running core, `core`, measure what it needs, and returns, interrupts on,
    /// when all cores have, or the run has ended. Interrupts are off when it is called: only
    /// the trials' own come.
    pub(crate) fn start(&self, cores: &Cores, core: &Core) {
        apic_timer::set_up(vector::COUNT_TIMER, core);
        measure::measure_groups(core, state_of(core), &self.events);
        core.counting.is_workload.store(true, Ordering::Relaxed);
        // What waits for time to pass may halt: the timer ends that.
        core.overflow.set_armed();
        control::enable_interrupts();
        self.ready.fetch_add(1, Ordering::AcqRel);
        let are_all_ready = || self.ready.load(Ordering::Acquire) as usize >= cores.all().len();
        while !are_all_ready() && cores.phase() != Phase::Ended {
            core::hint::spin_loop();
        }
    }

    /// Lets the timer interrupt at the end of the turn of one of `groups` groups; or after
    /// some time, so that a halt of the code ends.
    pub(crate) fn start_timer(&self, groups: usize) {
        apic_timer::start(self.timer.until_next(groups));
    }

    /// Writes what `core`, the running one, has counted to its ring, and what interrupts have
    /// cost to its page.
    pub(crate) fn write_counts(&self, core: &Core, clock: &RunClock, output: &Output) {
        note_costs(core, output);
        let groups = split(core, &self.events);
        for (index, event) in (0..).zip(0..self.events.as_slice().len()) {
            let mut reading = core.counting.multiplexer.reading(event);
            reading.enabled = clock.ticks(reading.enabled);
            reading.running = clock.ticks(reading.running);
            let is_encodable = !matches!(groups.problem(event), Some(PlanError::Event { .. }));
            let count = Count {
                event: index,
                is_supported: is_encodable,
                process: None,
                reading,
            };
            output.write(&count.encode());
        }
        let processes = &core.counting.processes;
        let mut take = |number, event, part| self.write_part((number, event, part), clock, output);
        processes.end(self.events.as_slice().len(), &mut take);
    }

    /// Writes a part of an event's count, which is of the process with this number, to a core's ring.
    pub(crate) fn write_part(
        &self,
        (number, event, mut reading): (u16, usize, Reading),
        clock: &RunClock,
        output: &Output,
    ) {
        reading.enabled = clock.ticks(reading.enabled);
        reading.running = clock.ticks(reading.running);
        let count = Count {
            // There are no more than a byte can number.
            event: event.to_le_bytes()[0],
            is_supported: true,
            process: Some(number),
            reading,
        };
        output.write(&count.encode());
    }
}

/// What was taken off for each interrupt, and how many there were: by so much a count may be
/// off as that varies.
fn note_costs(core: &Core, output: &Output) {
    let counting = &core.counting;
    let rows = output.overheads(0);
    for group in counting.groups.seen() {
        for (assignment, event) in group.events() {
            let cost = group.cost(assignment);
            if let Some(row) = rows.get(event) {
                row.calibrate(cost.overhead, cost.overhead, cost.spread, 0);
            }
        }
    }
    let passages = counting.multiplexer.passages();
    output.counters.taken.store(passages, Ordering::Relaxed);
}

/// Ticks of a group's turn where `cores` cores are counted.
const fn rotation_ticks(clock: Clock, cores: usize) -> u64 {
    match clock {
        Clock::Instructions => ROTATION_INSTRUCTIONS * cores as u64,
        Clock::Time | Clock::Ticks => ROTATION_NANOSECONDS,
    }
}

/// What the timer counts to its next interrupt.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct TimerCounts {
    /// In a group's turn.
    rotation: u32,
    /// Where there is only one group.
    tick: u32,
}

impl TimerCounts {
    /// Where a group's turn is `rotation` counts. One at least: 0 would stop the timer.
    fn of(rotation: u32) -> Self {
        let rotation = rotation.max(1);
        Self {
            rotation,
            tick: rotation.saturating_mul(IDLE_TURNS_PER_TICK),
        }
    }

    /// With so many groups.
    const fn until_next(self, groups: usize) -> u32 {
        if groups < 2 { self.tick } else { self.rotation }
    }
}

/// Which of `events` cannot be counted, and why. One of a kind of core is where there is one.
fn problems_of(cores: &[Core], events: &EventList) -> Text<512> {
    let mut problems = Text::EMPTY;
    let problem = |index: usize, core: &Core| split(core, events).problem(index).copied();
    for (index, event) in events.iter().enumerate() {
        let is_anywhere = cores.iter().any(|core| problem(index, core).is_none());
        // What is so on one core is so on the others, mostly.
        for core in cores {
            let found = problem(index, core);
            if let Some(problem) = found.filter(|it| !(is_anywhere && is_of_other_cores(it))) {
                add_problem(&mut problems, event, core.index, &problem);
                break;
            }
        }
    }
    problems
}

fn is_of_other_cores(problem: &PlanError) -> bool {
    let other = NoEncoding::OtherCores;
    matches!(problem, PlanError::Event { problem, .. } if *problem == other)
}

/// Adds why `event` cannot be counted on `core`, as far as there is room.
fn add_problem(text: &mut Text<512>, event: &Event, core: u32, problem: &PlanError) {
    text.append_item("; ", format_args!("`{event}`: "));
    // A text takes what fits: no error.
    if core != 0 {
        let _ = write!(text, "core {core}: ");
    }
    // As above. The event is named already, and not by its number.
    let _ = match problem {
        PlanError::Event { problem, .. } => write!(text, "{problem}"),
        other => write!(text, "{other}"),
    };
}

fn split(core: &Core, events: &EventList) -> Groups {
    Groups::split(state_of(core), events)
}

/// What `core` has found of its PMU. The source was chosen, so it has.
fn state_of(core: &Core) -> &PmuState {
    core.pmu.state().expect("every core has a PMU")
}

#[cfg(test)]
mod tests {
    use super::{Clock, TimerCounts, rotation_ticks};

    #[test]
    fn each_core_has_as_many_instructions_of_a_turn() {
        let instructions = [1, 2, 255].map(|cores| rotation_ticks(Clock::Instructions, cores));
        assert_eq!(instructions, [10_000, 20_000, 2_550_000]);
        // Time goes by on all of them.
        assert_eq!(
            [1, 255].map(|cores| rotation_ticks(Clock::Time, cores)),
            [1_000_000; 2]
        );
    }

    #[test]
    fn a_single_group_is_interrupted_less_often() {
        let counts = TimerCounts::of(20_000);
        assert_eq!([0, 1].map(|groups| counts.until_next(groups)), [200_000; 2]);
        assert_eq!([2, 8].map(|groups| counts.until_next(groups)), [20_000; 2]);
    }

    #[test]
    fn the_timer_never_stops() {
        let counts = TimerCounts::of(0);
        assert_eq!([1, 2].map(|groups| counts.until_next(groups)), [10, 1]);
        let counts = TimerCounts::of(u32::MAX);
        assert_eq!(
            [1, 2].map(|groups| counts.until_next(groups)),
            [u32::MAX; 2]
        );
    }
}
