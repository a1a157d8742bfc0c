//! What an interrupt costs in events, measured before it matters: on all cores at the same
//! time, as it will be while they sample; then on each, one after the other, while no other
//! samples (see [`crate::pmu::cost`]).

use core::array;

use super::{ANSWER_TIMEOUT_TICKS, DEFAULT_EVENTS, Pmu, plan_for};
use crate::format::{EventDescription, Text};
use crate::hw::tsc::Deadline;
use crate::pmu::cost::{Cost, Leads};
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
#[derive(Clone, Copy, Default, Debug)]
pub(crate) struct Jitter {
    /// By up to so much of the period, either way.
    pub percent: u8,
    /// Where the random numbers begin.
    pub seed: u64,
}

/// What is to be sampled, and how.
struct Asked<'a> {
    events: &'a EventList,
    period: u64,
    jitter: Jitter,
}

impl Asked<'_> {
    /// Plans that for `core`, without periods yet.
    fn plan_for(&self, core: &Core) -> Result<Plan, SourceError> {
        let mut plan = plan_for(core, self.events, None)?;
        plan.choose_form(self.period, self.jitter.percent);
        Ok(plan)
    }
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
        let all = || cores.all().iter().filter(|core| takes_part(core));
        for core in all() {
            plan_for(core, events, None)?;
        }
        all().for_each(|core| core.pmu.keep_plan());
        let asked = Asked {
            events,
            period,
            jitter,
        };
        let ticks = self.measure_all(cores, &all, &asked);
        all().for_each(|core| core.pmu.restore_plan());
        Ok(Measured {
            ticks: ticks?,
            events: plan_as_measured(all, events, period, jitter)?,
            event_count: u8::try_from(events.as_slice().len()).unwrap_or(u8::MAX),
        })
    }

    /// Measures on each core of `all` what an interrupt costs. Returns the ticks of its way
    /// on the first. The cores have other plans afterwards.
    fn measure_all<'a, I: Iterator<Item = &'a Core>>(
        &self,
        cores: &Cores,
        all: &impl Fn() -> I,
        asked: &Asked<'_>,
    ) -> Result<u64, SourceError> {
        // A single one is busy if it is at rest.
        let are_several = all().nth(1).is_some();
        if are_several {
            self.measure_busy(cores, all, asked)?;
            cores.settle();
        }
        let mut first_ticks = None;
        for core in all() {
            let plan = asked.plan_for(core)?;
            let ticks = self.measure_on(cores, core, &plan, are_several)?;
            first_ticks = first_ticks.or(Some(ticks));
        }
        Ok(first_ticks.unwrap_or(0))
    }

    /// Measures overheads on all cores of `all` at the same time.
    fn measure_busy<'a, I: Iterator<Item = &'a Core>>(
        &self,
        cores: &Cores,
        all: &impl Fn() -> I,
        asked: &Asked<'_>,
    ) -> Result<(), SourceError> {
        let first = cores.first().index;
        let others = || all().filter(|core| core.index != first);
        for core in all() {
            let plan = asked.plan_for(core)?;
            core.pmu.set_plan(plan.without_periods());
            core.pmu.trials.prepare(Trial::BusyOverheads);
        }
        others().for_each(|core| self.ask(core, Command::TryBusyOverheads));
        let let_all_begin = || {
            // One that does not come is found out below.
            let are_ready = || others().all(|core| core.pmu.trials.is_ready());
            let _ = Deadline::after(ANSWER_TIMEOUT_TICKS).wait_for(are_ready);
            others().for_each(|core| core.pmu.trials.let_begin());
        };
        match all().find(|core| core.index == first) {
            Some(core) => self.try_here_after(core, Trial::BusyOverheads, let_all_begin),
            None => let_all_begin(),
        }
        // All, before any outcome counts: none is to be at it still.
        let outcomes = others().map(|core| self.await_trial(core));
        outcomes.fold(Ok(()), Result::and)?;
        for core in all() {
            Self::check_trial(core)?;
            let trials = &core.pmu.trials;
            let cost = |index| Cost::from_overheads(&mut trials.overheads(index));
            trials.set_costs(&array::from_fn(cost));
        }
        Ok(())
    }

    /// Measures on `core` what `asked` counts, while the others rest; if `is_busy_known`, in
    /// addition to what all cores have measured at the same time. Returns the ticks of an
    /// interrupt's way. The core has another plan afterwards.
    fn measure_on(
        &self,
        cores: &Cores,
        core: &Core,
        asked: &Plan,
        is_busy_known: bool,
    ) -> Result<u64, SourceError> {
        let pmu = &core.pmu;
        pmu.set_plan(asked.without_periods());
        self.try_on(cores, core, Trial::Overheads)?;
        let busy = pmu.trials.costs();
        let mut costs = array::from_fn(|index| {
            let overheads = &mut pmu.trials.overheads(index);
            if is_busy_known {
                busy[index].with_rest(overheads)
            } else {
                Cost::from_overheads(overheads)
            }
        });
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
                // The others rest.
                cost.resting().apply_to(assignment, due[index], 0);
                // Where it comes is what is asked for.
                assignment.tolerance = u64::MAX;
            }
        }
        pmu.set_plan(plan);
        let mut leads = [Leads::default(); MAX_EVENTS];
        for number in 0..LATENCY_TRIALS {
            let timeout = if number < MAX_RETRIES {
                RARE_EVENT_TIMEOUT_TICKS
            } else {
                // What has come comes again.
                ARRIVAL_TIMEOUT_TICKS
            };
            self.try_on(cores, core, Trial::Overflows(timeout))?;
            for (index, leads) in leads.iter_mut().enumerate() {
                if let Some(position) = pmu.trials.overflow(index) {
                    leads.record(due[index], position);
                }
            }
            if number + 1 == MAX_RETRIES {
                for (index, _) in leads.iter().enumerate().filter(|(_, it)| it.is_empty()) {
                    if let Some(assignment) = plan.assignment_mut(index) {
                        assignment.period = None;
                    }
                }
                pmu.set_plan(plan);
            }
        }
        for (index, (cost, leads)) in costs.iter_mut().zip(leads).enumerate() {
            cost.arm_latency = match asked.sampling_of(index) {
                None => leads.arm_latency(),
                // Its samples are of the op that was tagged, however late they come.
                Some(_) => leads.arm_latency().max(0),
            };
        }
        // Counters were tried before; this has an interrupt of its own.
        match asked.ibs {
            Some(sampling) if leads[sampling.event].is_empty() => {
                Err(SourceError::NoOverflow { core: core.index })
            }
            _ => Ok(()),
        }
    }

    /// Lets `core`, whose counters stand still, try something.
    ///
    /// # Errors
    ///
    /// It does not answer, or the processor refuses what is to be counted.
    fn try_on(&self, cores: &Cores, core: &Core, trial: Trial) -> Result<(), SourceError> {
        let pmu = &core.pmu;
        pmu.trials.prepare(trial);
        if core.index == cores.first().index {
            self.try_here(core, trial);
        } else {
            self.ask(core, Command::from(trial));
            self.await_trial(core)?;
        }
        Self::check_trial(core)
    }

    /// Waits until `core`, another one, has done its trial.
    fn await_trial(&self, core: &Core) -> Result<(), SourceError> {
        // One that has begun when it is no longer to is waited for: it ends by itself,
        // and uses what the core is to have afterwards.
        if !Self::await_answer(core) && (self.cancel(core) || !Self::await_answer(core)) {
            return Err(SourceError::NoAnswer { core: core.index });
        }
        Ok(())
    }

    /// Returns what went wrong with the last trial of `core`, if anything did.
    fn check_trial(core: &Core) -> Result<(), SourceError> {
        let index = core.index;
        match core.pmu.fault() {
            Some(problem) => Err(SourceError::Pmu {
                core: index,
                problem: problem.into(),
            }),
            None if !core.pmu.trials.have_come() => {
                Err(SourceError::NoneFromItself { core: index })
            }
            None => Ok(()),
        }
    }
}

/// Plans `events` on each core of `all` by what they have measured: see [`Pmu::measure`].
/// Returns how each event is sampled.
fn plan_as_measured<'a, I: Iterator<Item = &'a Core>>(
    all: impl Fn() -> I,
    events: &EventList,
    period: u64,
    jitter: Jitter,
) -> Result<[EventDescription; MAX_EVENTS], SourceError> {
    let mut table = [EventDescription::EMPTY; MAX_EVENTS];
    for (index, (row, asked)) in table.iter_mut().zip(events).enumerate() {
        let requested_period = asked.period.unwrap_or(period);
        let mut floor = 0;
        for core in all() {
            let plan = plan_for(core, events, None)?;
            let least = plan.assignment(index).map_or(0, |it| it.min_count);
            floor = floor.max(core.pmu.trials.costs()[index].min_period(least));
        }
        *row = EventDescription {
            name: Text::formatted(format_args!("{}", asked.counted())),
            requested_period,
            period: requested_period.max(floor),
            floor,
        };
    }
    for core in all() {
        let asked = Asked {
            events,
            period,
            jitter,
        };
        let mut plan = asked.plan_for(core)?;
        for (index, cost) in core.pmu.trials.costs().iter().enumerate() {
            if let Some(assignment) = plan.assignment_mut(index) {
                cost.apply_to(assignment, table[index].period, jitter.percent);
            }
        }
        if let Some(sampling) = &mut plan.ibs {
            sampling.spread_over(table[sampling.event].period);
        }
        // Else the cores would keep step with each other.
        plan.seed = jitter.seed ^ u64::from(core.index) << 32;
        core.pmu.set_plan(plan);
    }
    Ok(table)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pmu::detect::{self, CoreKind};
    use crate::pmu::plan::PmuState;
    use crate::pmu_model::{self, Model};
    use crate::sampler::per_core::tests::cores;

    const JITTER: Jitter = Jitter {
        percent: 10,
        seed: 42,
    };

    /// What a processor of this model finds.
    fn state(model: Model) -> PmuState {
        let core = pmu_model::Core::new(model);
        let capabilities = detect::detect(|leaf, subleaf| core.model().cpuid(leaf, subleaf));
        PmuState::probe(&core, &capabilities.unwrap()).unwrap()
    }

    /// Cores of Intel's processors, each of which has measured these costs of its events.
    fn measured(costs: &[&[Cost]]) -> &'static [Core] {
        let cores = cores(&vec![0; costs.len()]);
        for (core, costs) in cores.iter().zip(costs) {
            core.pmu.set_probed(state(Model::intel(4)));
            let mut all = [Cost::default(); MAX_EVENTS];
            all[..costs.len()].copy_from_slice(costs);
            core.pmu.trials.set_costs(&all);
        }
        cores
    }

    const fn cost(overhead: u64, spread: u64, arm_latency: i64) -> Cost {
        Cost {
            overhead,
            at_rest: overhead,
            least: 0,
            most: spread,
            arm_latency,
        }
    }

    fn events(list: &str) -> EventList {
        EventList::parse(list).unwrap()
    }

    /// A performance core and an efficiency core of one processor.
    fn hybrid() -> [PmuState; 2] {
        [CoreKind::Core, CoreKind::Atom].map(|kind| {
            let mut state = state(Model::intel(4));
            state.capabilities.core_kind = Some(kind);
            state
        })
    }

    /// The places of the events that are counted on a core.
    fn planned(state: &PmuState, list: &str) -> Result<Vec<usize>, String> {
        let plan = Plan::make(state, &events(list), Some(1000));
        let plan = plan.map_err(|problem| problem.to_string())?;
        Ok(plan.assignments().map(|(place, _)| place).collect())
    }

    #[test]
    fn an_event_of_one_kind_of_core_is_counted_there_and_left_out_elsewhere() {
        let [performance, efficiency] = hybrid();
        for (list, on_performance, on_efficiency) in [
            ("cycles,cpu_core/instructions/", vec![0, 1], vec![0]),
            ("cpu_core/cycles/,cpu_atom/cycles/", vec![0], vec![1]),
            (
                "cpu_atom/event=0xc4/,cycles,cpu_core/branches/k",
                vec![1, 2],
                vec![0, 1],
            ),
        ] {
            assert_eq!(planned(&performance, list), Ok(on_performance), "{list}");
            assert_eq!(planned(&efficiency, list), Ok(on_efficiency), "{list}");
        }
        let none = planned(&efficiency, "cpu_core/cycles/").unwrap_err();
        assert_eq!(
            none,
            "event 1, cpu_core/cycles/: this core is of another kind, and has no event of its \
             own; add one"
        );
        let not_hybrid = planned(&state(Model::intel(4)), "cycles,cpu_core/cycles/k").unwrap_err();
        assert_eq!(
            not_hybrid,
            "event 2, cpu_core/cycles/k: all cores of this processor are of one kind; leave out \
             cpu_core, cpu_atom"
        );
    }

    #[test]
    fn a_period_is_as_long_as_the_slowest_core_needs() {
        let spreads = [10, 60, 20];
        let costs = spreads.map(|spread| [cost(100, spread, 0)]);
        let cores = measured(&costs.each_ref().map(|it| it.as_slice()));
        let list = events("cycles");
        for (asked, expected) in [(100, 240), (240, 240), (1000, 1000)] {
            let table = plan_as_measured(|| cores.iter(), &list, asked, JITTER).unwrap();
            let EventDescription {
                requested_period,
                period,
                floor,
                ..
            } = table[0];
            assert_eq!((requested_period, period, floor), (asked, expected, 240));
            assert_eq!(table[0].name.as_str(), "cycles");
            assert_eq!(table[1], EventDescription::EMPTY);
            for core in cores {
                let assignment = core.pmu.plan().unwrap().assignment(0).unwrap();
                assert_eq!(assignment.period, Some(expected));
                assert_eq!(assignment.jitter, expected / 10);
            }
        }
        // The second has taken its last sample.
        let others = || cores.iter().filter(|core| core.index != 1);
        let table = plan_as_measured(others, &list, 50, JITTER).unwrap();
        assert_eq!((table[0].period, table[0].floor), (80, 80));
        let periods = [0, 1, 2].map(|core: usize| {
            let plan = cores[core].pmu.plan().unwrap();
            plan.assignment(0).unwrap().period
        });
        assert_eq!(periods, [Some(80), Some(1000), Some(80)]);
    }

    #[test]
    fn each_core_is_planned_by_its_own_costs_and_each_event_by_its_own_period() {
        let first = [cost(100, 10, 3), cost(70, 0, 1)];
        let second = [cost(200, 20, 5), cost(80, 2, 2)];
        let cores = measured(&[&first, &second]);
        let list = events("cycles,instructions/period=500/");
        let table = plan_as_measured(|| cores.iter(), &list, 1000, JITTER).unwrap();
        assert_eq!([0, 1].map(|it| table[it].period), [1000, 500]);
        for (core, costs) in cores.iter().zip([first, second]) {
            let plan = core.pmu.plan().unwrap();
            assert_eq!(plan.seed, 42 ^ u64::from(core.index) << 32);
            for (index, assignment) in plan.assignments() {
                let cost = costs[index];
                assert_eq!(assignment.period, Some([1000, 500][index]));
                assert_eq!(assignment.overhead, cost.overhead);
                assert_eq!(assignment.arm_latency, cost.arm_latency);
                assert_eq!(assignment.noise, cost.spread());
            }
            assert_eq!(plan.assignments().count(), 2);
        }
    }

    #[test]
    fn a_core_that_was_not_probed_is_not_planned() {
        let cores = cores(&[0]);
        let outcome = plan_as_measured(|| cores.iter(), &events("cycles"), 1000, JITTER);
        assert_eq!(outcome.map(|_| ()), Err(SourceError::NotProbed));
        assert_eq!(cores[0].pmu.plan(), None);
    }
}
