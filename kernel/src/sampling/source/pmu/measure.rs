//! What an interrupt costs in events, measured before it matters: on the first core,
//! while all others are halted.
//!
//! * The *passage* of an event: what its counter counts on the way into the handler and
//!   out of it, while the counters run. Two sampling interrupts are raised by software,
//!   one right behind the other.
//! * The *lead*: what it counts on the way out alone, less what an interrupt comes late
//!   by. One overflow is let happen in code that waits for it.
//! * The *floor*: the shortest period that is more than the passage varies by.

use core::sync::atomic::{AtomicU64, Ordering::Relaxed};

use profiler::format::{Clock, Delivery, EventDescription, Text};
use profiler::pmu::event::{MAX_EVENTS, Named, What};
use profiler::pmu::plan::{Plan, Slot};
use profiler::pmu::unit::Overflows;

use x86_64::instructions::interrupts;

use super::Pmu;
use crate::cpu::{self, CoreBlock, control};
use crate::sampling::calibration;
use crate::time::Deadline;
use crate::trap::vector;

/// How often the passage is measured; what is least is taken. The first time finds cold
/// caches, and is left out.
const TRIALS: usize = 32;
/// How many of these may be longer than what the passage is said to vary by: something
/// else came in between.
const OUTLIERS: usize = 4;
/// The period of the trial that finds the lead of the first event, in events.
const TRIAL: u64 = 5000;
/// How much longer that of the next is: another's interrupt must not come in between.
const APART: u64 = 1000;
/// How long events may take to overflow in that, in ticks of the time stamp counter.
/// Those that do not happen while a core waits have no lead.
const PATIENCE: u64 = 10_000_000;

/// What handlers note while calibrating, by event.
#[derive(Default)]
pub struct Trials {
    /// The position at the last interrupt, and how far that was from the one before.
    positions: [AtomicU64; MAX_EVENTS],
    distances: [AtomicU64; MAX_EVENTS],
    /// The position at the first overflow.
    overflows: [AtomicU64; MAX_EVENTS],
    /// Of all events: how far the last interrupt was from the arming before, in ticks of
    /// the time stamp counter.
    gap: AtomicU64,
}

/// What an interrupt costs, and what comes of that.
#[derive(Clone, Copy, Debug)]
pub struct Measured {
    /// Ticks of the time stamp counter that are neither the handler's nor the
    /// interrupted code's.
    pub passage: u64,
    /// How each event is sampled.
    pub events: [EventDescription; MAX_EVENTS],
    /// How many there are.
    pub event_count: u8,
}

/// How overflows are displaced at random.
#[derive(Clone, Copy, Debug)]
pub struct Jitter {
    /// By up to so much of the period, either way.
    pub percent: u8,
    /// Where the random numbers begin.
    pub seed: u64,
}

/// What is measured of an event.
#[derive(Clone, Copy)]
struct Cost {
    /// The least and the most of it that two interrupts are apart.
    least: u64,
    most: u64,
    lead: u64,
}

impl Pmu {
    /// Measures what an interrupt costs in each event on the running core, and plans
    /// by that for all cores: events that have no period of their own get `period`, and
    /// one that is too short is lengthened.
    pub fn measure(&self, clock: Clock, period: u64, jitter: Jitter) -> Measured {
        let core = cpu::current();
        let pmu = &core.sampling.pmu;
        let mut measured = Measured {
            passage: u64::MAX,
            events: [EventDescription::EMPTY; MAX_EVENTS],
            event_count: 0,
        };
        let Some(asked) = pmu.plan() else {
            return measured;
        };
        let mut costs = [Cost {
            least: u64::MAX,
            most: 0,
            lead: 0,
        }; MAX_EVENTS];
        measured.passage = self.measure_passages(core, asked, &mut costs);
        self.measure_leads(core, asked, clock, &mut costs);
        pmu.set_plan(*asked);
        for core in cpu::cores() {
            let Some(plan) = core.sampling.pmu.plan() else {
                continue;
            };
            let mut plan = *plan;
            // Else the cores would keep step with each other.
            plan.seed = jitter.seed ^ u64::from(core.index) << 32;
            for (index, cost) in costs.iter().enumerate() {
                let Some(slot) = plan.slot_mut(index) else {
                    continue;
                };
                let floor = settle(slot, cost, clock, period, jitter);
                if core.index == 0 {
                    measured.events[index] = EventDescription {
                        name: Text::formatted(format_args!("{}", slot.event.counted())),
                        requested_period: slot.event.period.unwrap_or(period),
                        period: slot.period.unwrap_or(0),
                        floor,
                    };
                    measured.event_count += 1;
                }
            }
            core.sampling.pmu.set_plan(plan);
        }
        measured
    }

    /// Gives the passage in ticks of the time stamp counter.
    fn measure_passages(&self, core: &CoreBlock, asked: &Plan, costs: &mut [Cost]) -> u64 {
        let pmu = &core.sampling.pmu;
        pmu.set_plan(asked.without_periods());
        self.start(core);
        let mut passage = u64::MAX;
        let mut distances = [[0; TRIALS]; MAX_EVENTS];
        calibration::raise_two(self.delivery);
        for trial in 0..TRIALS {
            calibration::raise_two(self.delivery);
            // Without the second `int` itself.
            passage = passage.min(pmu.trials.gap.load(Relaxed).saturating_sub(1));
            for (all, distance) in distances.iter_mut().zip(&pmu.trials.distances) {
                all[trial] = distance.load(Relaxed);
            }
        }
        self.stop(core);
        for (cost, all) in costs.iter_mut().zip(&mut distances) {
            all.sort_unstable();
            cost.least = all[0];
            cost.most = all[TRIALS - 1 - OUTLIERS];
        }
        passage
    }

    fn measure_leads(&self, core: &CoreBlock, asked: &Plan, clock: Clock, costs: &mut [Cost]) {
        let pmu = &core.sampling.pmu;
        let mut plan = *asked;
        for (index, cost) in costs.iter().enumerate() {
            if let Some(slot) = plan.slot_mut(index) {
                slot.passage = passage(slot, cost.least, clock);
                slot.period = Some(trial(index));
                // Where it comes is what is asked for.
                slot.tolerance = u64::MAX;
            }
        }
        pmu.set_plan(plan);
        let overflows = &pmu.trials.overflows;
        overflows.iter().for_each(|it| it.store(0, Relaxed));
        let has_come = |index: usize| overflows[index].load(Relaxed) != 0;
        let all_have = || plan.slots().all(|(index, _)| has_come(index));
        self.letting_in(|| {
            self.start(core);
            let _ = Deadline::after(PATIENCE).wait_for(all_have);
            self.stop(core);
        });
        for (index, cost) in costs.iter_mut().enumerate() {
            if has_come(index) {
                let came_at = overflows[index].load(Relaxed);
                cost.lead = trial(index).saturating_sub(came_at);
            }
        }
    }

    /// Does `work` with the sampling interrupt let in, and no other that can be kept out:
    /// the core may be in the handler of one.
    fn letting_in(&self, work: impl FnOnce()) {
        if self.delivery == Delivery::Nmi || interrupts::are_enabled() {
            return work();
        }
        let before = control::task_priority();
        control::set_task_priority((vector::SAMPLING >> 4) - 1);
        interrupts::enable();
        work();
        interrupts::disable();
        control::set_task_priority(before);
    }

    /// An interrupt while calibrating, which has entered: notes how far the events have
    /// come.
    pub fn note_trial(&self, core: &CoreBlock, entered: u64, overflows: Overflows) {
        let pmu = &core.sampling.pmu;
        let armed_at = core.sampling.armed_at.load(Relaxed);
        let gap = entered.saturating_sub(armed_at);
        pmu.trials.gap.store(gap, Relaxed);
        core.sampling.trials.fetch_add(1, Relaxed);
        for index in 0..MAX_EVENTS {
            let position = pmu.unit.position(index);
            let before = pmu.trials.positions[index].swap(position, Relaxed);
            let distance = position.wrapping_sub(before);
            pmu.trials.distances[index].store(distance, Relaxed);
        }
        for index in overflows.iter() {
            let first = &pmu.trials.overflows[index];
            if first.load(Relaxed) == 0 {
                first.store(pmu.unit.position(index), Relaxed);
            }
        }
    }
}

const fn trial(index: usize) -> u64 {
    TRIAL + APART * index as u64
}

/// The passage of an event of which two interrupts are `least` apart: without the second
/// `int` itself, an instruction, and where instructions are the clock, a cycle.
fn passage(slot: &Slot, least: u64, clock: Clock) -> u64 {
    let is_counted = match slot.event.what {
        What::Named(Named::Instructions) => true,
        _ => clock == Clock::Instructions && least > 0,
    };
    least.saturating_sub(u64::from(is_counted))
}

/// Fills in what was measured. Gives the shortest period that can be kept.
fn settle(slot: &mut Slot, cost: &Cost, clock: Clock, period: u64, jitter: Jitter) -> u64 {
    let spread = cost.most - cost.least;
    slot.passage = passage(slot, cost.least, clock);
    slot.lead = cost.lead;
    slot.noise = spread;
    // An interrupt more for the last few events costs more than it is worth.
    slot.tolerance = spread;
    let floor = (2 * spread).max(slot.least);
    let period = slot.event.period.unwrap_or(period).max(floor);
    slot.period = Some(period);
    slot.jitter = period * u64::from(jitter.percent) / 100;
    floor
}
