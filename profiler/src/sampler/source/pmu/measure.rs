//! What an interrupt costs in events, measured before it matters: on each core, one
//! after the other, while no other samples.

use core::array;

use super::{DEFAULT_EVENTS, Pmu, plan_for};
use crate::format::{EventDescription, Text};
use crate::pmu::cost::Cost;
use crate::pmu::event::{EventList, MAX_EVENTS};
use crate::pmu::plan::Plan;
use crate::sampler::cores::Cores;
use crate::sampler::per_core::Core;
use crate::sampler::per_core::pmu::Command;
use crate::sampler::per_core::trials::Trial;
use crate::sampler::source::SourceError;
use crate::sampler::trial::ARRIVAL_TIMEOUT_TICKS;

/// The period of the trial that shows whether overflows arrive.
const PROBE_PERIOD: u64 = 20_000;
/// How often overflows are tried for the arm latency.
const LATENCY_TRIALS: usize = 8;
/// The period of the first event in these, in events.
const TRIAL_PERIOD: u64 = 5000;
/// How much longer that of the next is: another's interrupt must not come in between.
const TRIAL_SPACING: u64 = 1000;
/// How long events are waited for that may hardly happen while a core waits; and how
/// often.
const RARE_EVENT_TIMEOUT_TICKS: u64 = 4_000_000;
const MAX_RETRIES: usize = 2;

/// What an interrupt costs, and what comes of that.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Measured {
    /// Ticks of the time stamp counter that are neither the handler's nor the
    /// interrupted code's, on the first core.
    pub ticks: u64,
    /// How each event is sampled.
    pub events: [EventDescription; MAX_EVENTS],
    /// The number of events.
    pub event_count: u8,
}

/// How overflows are displaced at random.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Jitter {
    /// By up to so much of the period, either way.
    pub percent: u8,
    /// Where the random numbers begin.
    pub seed: u64,
}

impl Pmu {
    /// Makes sure that an overflow interrupts every core.
    ///
    /// # Errors
    ///
    /// None arrives on one: a hypervisor whose virtual APIC does not deliver them.
    pub(crate) fn try_out(&self, cores: &Cores) -> Result<(), SourceError> {
        for core in cores.all() {
            let pmu = &core.pmu;
            let plan = plan_for(core, &DEFAULT_EVENTS, Some(PROBE_PERIOD))?;
            pmu.keep_plan();
            pmu.set_plan(plan);
            let outcome = self.try_on(cores, core, Trial::Overflows(ARRIVAL_TIMEOUT_TICKS));
            pmu.restore_plan();
            outcome?;
            if pmu.trials.overflow(0).is_none() {
                return Err(SourceError::NoOverflow { core: core.index });
            }
        }
        Ok(())
    }

    /// Measures on each core that `takes_part` what an interrupt costs in each of
    /// `events`, and plans them by that: events that have no period of their own get
    /// `period`, and one that is too short for any of the cores is lengthened for all.
    ///
    /// # Errors
    ///
    /// A core cannot count the events, or as [`Self::try_on`]. All cores are planned as
    /// they were.
    pub(crate) fn measure(
        &self,
        cores: &Cores,
        takes_part: impl Fn(&Core) -> bool,
        events: &EventList,
        period: u64,
        jitter: Jitter,
    ) -> Result<Measured, SourceError> {
        let taking_part = || cores.all().iter().filter(|core| takes_part(core));
        for core in taking_part() {
            plan_for(core, events, None)?;
        }
        let mut first_ticks = None;
        for core in taking_part() {
            let plan = plan_for(core, events, None)?;
            core.pmu.keep_plan();
            let outcome = self.measure_on(cores, core, &plan);
            core.pmu.restore_plan();
            let ticks = outcome?;
            first_ticks = first_ticks.or(Some(ticks));
        }
        let mut measured = Measured {
            ticks: first_ticks.unwrap_or(0),
            events: [EventDescription::EMPTY; MAX_EVENTS],
            event_count: 0,
        };
        for (index, asked) in events.iter().enumerate() {
            let requested_period = asked.period.unwrap_or(period);
            let mut floor = 0;
            for core in taking_part() {
                let plan = plan_for(core, events, None)?;
                let least = plan.assignment(index).map_or(0, |it| it.min_count);
                floor = floor.max(core.pmu.trials.costs()[index].min_period(least));
            }
            measured.events[index] = EventDescription {
                name: Text::formatted(format_args!("{}", asked.counted())),
                requested_period,
                period: requested_period.max(floor),
                floor,
            };
            measured.event_count += 1;
        }
        for core in taking_part() {
            let mut plan = plan_for(core, events, None)?;
            for (index, cost) in core.pmu.trials.costs().iter().enumerate() {
                if let Some(assignment) = plan.assignment_mut(index) {
                    let period = measured.events[index].period;
                    cost.apply_to(assignment, period, jitter.percent);
                }
            }
            // Else the cores would keep step with each other.
            plan.seed = jitter.seed ^ u64::from(core.index) << 32;
            core.pmu.set_plan(plan);
        }
        Ok(measured)
    }

    /// Measures on `core` what `asked` counts. Returns the ticks of an interrupt's way.
    /// The core has another plan afterwards.
    fn measure_on(&self, cores: &Cores, core: &Core, asked: &Plan) -> Result<u64, SourceError> {
        let pmu = &core.pmu;
        pmu.set_plan(asked.without_periods());
        self.try_on(cores, core, Trial::Overheads)?;
        let mut costs =
            array::from_fn(|index| Cost::from_overheads(&mut pmu.trials.overheads(index)));
        let ticks = pmu.trials.ticks();
        self.measure_latencies(cores, core, asked, &mut costs)?;
        pmu.trials.set_costs(&costs);
        Ok(ticks)
    }

    /// Measures on `core` by how many events overflows are early or late.
    fn measure_latencies(
        &self,
        cores: &Cores,
        core: &Core,
        asked: &Plan,
        costs: &mut [Cost; MAX_EVENTS],
    ) -> Result<(), SourceError> {
        let pmu = &core.pmu;
        let mut plan = *asked;
        let due: [u64; MAX_EVENTS] = array::from_fn(|index| {
            let period = TRIAL_PERIOD + TRIAL_SPACING * index as u64;
            period.max(costs[index].min_period(0))
        });
        for (index, cost) in costs.iter().enumerate() {
            if let Some(assignment) = plan.assignment_mut(index) {
                cost.apply_to(assignment, due[index], 0);
                // Where it comes is what is asked for.
                assignment.tolerance = u64::MAX;
            }
        }
        pmu.set_plan(plan);
        let mut has_come = [false; MAX_EVENTS];
        for number in 0..LATENCY_TRIALS {
            let timeout = if number < MAX_RETRIES {
                RARE_EVENT_TIMEOUT_TICKS
            } else {
                // What has come comes again.
                ARRIVAL_TIMEOUT_TICKS
            };
            self.try_on(cores, core, Trial::Overflows(timeout))?;
            for (index, cost) in costs.iter_mut().enumerate() {
                if let Some(position) = pmu.trials.overflow(index) {
                    cost.record_overflow(due[index], position);
                    has_come[index] = true;
                }
            }
            if number + 1 == MAX_RETRIES {
                for (index, _) in has_come.iter().enumerate().filter(|(_, it)| !**it) {
                    if let Some(assignment) = plan.assignment_mut(index) {
                        assignment.period = None;
                    }
                }
                pmu.set_plan(plan);
            }
        }
        Ok(())
    }

    /// Lets `core`, whose counters stand still, try something.
    ///
    /// # Errors
    ///
    /// It does not answer, or the processor refuses what is to be counted.
    fn try_on(&self, cores: &Cores, core: &Core, trial: Trial) -> Result<(), SourceError> {
        let pmu = &core.pmu;
        pmu.trials.prepare(trial);
        let index = core.index;
        if index == cores.first().index {
            self.try_here(core, trial);
        } else {
            self.ask(core, Command::from(trial));
            // One that has begun when it is no longer to is waited for: it ends by itself,
            // and uses what the core is to have afterwards.
            if !Self::await_answer(core) && (self.cancel(core) || !Self::await_answer(core)) {
                return Err(SourceError::NoAnswer { core: index });
            }
        }
        match pmu.fault() {
            Some(problem) => Err(SourceError::Pmu {
                core: index,
                problem: problem.into(),
            }),
            None if !pmu.trials.have_come() => Err(SourceError::NoneFromItself { core: index }),
            None => Ok(()),
        }
    }
}
