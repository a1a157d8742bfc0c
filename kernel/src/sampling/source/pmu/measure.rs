//! What an interrupt costs in events, measured before it matters: on each core, one
//! after the other, while no other samples.

use alloc::vec::Vec;
use core::array;

use profiler::format::{EventDescription, Text};
use profiler::pmu::cost::Cost;
use profiler::pmu::event::MAX_EVENTS;
use profiler::pmu::plan::Plan;

use super::trial::{ARRIVAL, Trial};
use super::{DEFAULT_EVENTS, PATIENCE, Pmu, plan_on};
use crate::cpu::{self, CoreBlock};
use crate::sampling::source::Unavailable;
use crate::time::Deadline;

/// The period of the trial that shows whether overflows arrive.
const PROBE: u64 = 20_000;
/// How often overflows are tried for the lead.
const LEADS: usize = 8;
/// The period of the first event in these, in events.
const TRIAL: u64 = 5000;
/// How much longer that of the next is: another's interrupt must not come in between.
const APART: u64 = 1000;
/// How long events are waited for that may hardly happen while a core waits, in ticks of
/// the time stamp counter; and how often.
const GIVEN_UP_AFTER: u64 = 4_000_000;
const CHANCES: usize = 2;

/// What an interrupt costs, and what comes of that.
#[derive(Clone, Copy, Debug)]
pub struct Measured {
    /// Ticks of the time stamp counter that are neither the handler's nor the
    /// interrupted code's, on the first core.
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

/// What was measured on a core.
struct Costs {
    /// By event.
    events: [Cost; MAX_EVENTS],
    /// The passage, in ticks of the time stamp counter.
    passage: u64,
}

impl Pmu {
    /// Lets an overflow happen on every core.
    ///
    /// # Errors
    ///
    /// None arrives on one: a hypervisor whose virtual APIC does not deliver them.
    pub fn try_out(&self) -> Result<(), Unavailable> {
        for core in cpu::cores() {
            let pmu = &core.sampling.pmu;
            let asked = pmu.plan();
            pmu.set_plan(plan_on(core, &DEFAULT_EVENTS, Some(PROBE))?);
            let outcome = self.try_on(core, Trial::Overflows(ARRIVAL));
            pmu.bring_back(asked);
            outcome?;
            if pmu.trials.overflow(0).is_none() {
                return Err(Unavailable::NoOverflow { core: core.index });
            }
        }
        Ok(())
    }

    /// Measures on each of `cores` what an interrupt costs in each event of its one of
    /// `plans`, and settles these by that: events that have no period of their own get
    /// `period`, and one that is too short for any of the cores is lengthened for all.
    ///
    /// # Errors
    ///
    /// As [`Self::try_on`]. All cores are planned as they were.
    pub fn measure(
        &self,
        cores: &[&CoreBlock],
        mut plans: Vec<Plan>,
        period: u64,
        jitter: Jitter,
    ) -> Result<Measured, Unavailable> {
        let mut costs = Vec::with_capacity(cores.len());
        for (core, plan) in cores.iter().zip(&plans) {
            let pmu = &core.sampling.pmu;
            let before = pmu.plan();
            let outcome = self.measure_on(core, plan);
            pmu.bring_back(before);
            costs.push(outcome?);
        }
        let mut measured = Measured {
            passage: costs.first().map_or(0, |first| first.passage),
            events: [EventDescription::EMPTY; MAX_EVENTS],
            event_count: 0,
        };
        for (index, event) in measured.events.iter_mut().enumerate() {
            let floors = plans.iter().zip(&costs).filter_map(|(plan, costs)| {
                let slot = plan.assignment(index)?;
                Some(costs.events[index].min_period(slot.min_count))
            });
            let Some(floor) = floors.max() else {
                break;
            };
            for (plan, costs) in plans.iter_mut().zip(&costs) {
                let Some(slot) = plan.assignment_mut(index) else {
                    continue;
                };
                let requested_period = slot.event.period.unwrap_or(period);
                let period = requested_period.max(floor);
                costs.events[index].apply_to(slot, period, jitter.percent);
                *event = EventDescription {
                    name: Text::formatted(format_args!("{}", slot.event.counted())),
                    requested_period,
                    period,
                    floor,
                };
            }
            measured.event_count += 1;
        }
        for (core, mut plan) in cores.iter().zip(plans) {
            // Else the cores would keep step with each other.
            plan.seed = jitter.seed ^ u64::from(core.index) << 32;
            core.sampling.pmu.set_plan(plan);
        }
        Ok(measured)
    }

    /// Measures on `core` what `asked` counts. It has another plan afterwards.
    fn measure_on(&self, core: &CoreBlock, asked: &Plan) -> Result<Costs, Unavailable> {
        let pmu = &core.sampling.pmu;
        pmu.set_plan(asked.without_periods());
        self.try_on(core, Trial::Passages)?;
        let mut events =
            array::from_fn(|index| Cost::from_overheads(&mut pmu.trials.passages(index)));
        let passage = pmu.trials.ticks();

        let mut plan = *asked;
        let due: [u64; MAX_EVENTS] =
            array::from_fn(|index| (TRIAL + APART * index as u64).max(events[index].min_period(0)));
        for (index, cost) in events.iter().enumerate() {
            if let Some(slot) = plan.assignment_mut(index) {
                cost.apply_to(slot, due[index], 0);
                // Where it comes is what is asked for.
                slot.tolerance = u64::MAX;
            }
        }
        pmu.set_plan(plan);
        let mut has_come = [false; MAX_EVENTS];
        for number in 0..LEADS {
            self.try_on(
                core,
                Trial::Overflows(match number < CHANCES {
                    true => GIVEN_UP_AFTER,
                    // What has come comes again.
                    false => ARRIVAL,
                }),
            )?;
            for (index, cost) in events.iter_mut().enumerate() {
                if let Some(position) = pmu.trials.overflow(index) {
                    cost.record_overflow(due[index], position);
                    has_come[index] = true;
                }
            }
            if number + 1 == CHANCES {
                for (index, _) in has_come.iter().enumerate().filter(|(_, it)| !**it) {
                    if let Some(slot) = plan.assignment_mut(index) {
                        slot.period = None;
                    }
                }
                pmu.set_plan(plan);
            }
        }
        for (index, slot) in asked.assignments() {
            log::debug!(
                "core {}: {}: {:?}",
                core.index,
                slot.event.counted(),
                events[index]
            );
        }
        Ok(Costs { events, passage })
    }

    /// Lets `core`, whose counters stand still, try something.
    ///
    /// # Errors
    ///
    /// It does not answer, or the processor refuses what is to be counted.
    fn try_on(&self, core: &CoreBlock, trial: Trial) -> Result<(), Unavailable> {
        let pmu = &core.sampling.pmu;
        pmu.trials.prepare(trial);
        let index = core.index;
        if index == cpu::current_index() {
            self.try_here(core, trial);
        } else {
            self.ask(core, trial.into());
            let is_done = || Deadline::after(PATIENCE).wait_for(|| pmu.trials.is_done());
            // One that has begun when it is no longer to is waited for: it ends by itself,
            // and uses what the core is to have afterwards.
            if !is_done() && (self.ask_nothing(core) || !is_done()) {
                return Err(Unavailable::NoAnswer { core: index });
            }
        }
        match pmu.refusal() {
            Some(problem) => Err(Unavailable::Pmu {
                core: index,
                problem: problem.into(),
            }),
            None if !pmu.trials.have_come() => Err(Unavailable::NoneFromItself { core: index }),
            None => Ok(()),
        }
    }
}
