//! What an interrupt costs while a run lasts: on the model of the hardware, whose interrupts
//! become dearer, or cheaper, once they are measured.

use proptest::prelude::*;

use super::cost::{WAITING, cycle, measured, model, rig};
use super::schedule::Rig;
use crate::format::region::{Accuracy, Overhead, OverheadCounters};
use crate::pmu::cost::Cost;
use crate::pmu::driver::{Cause, Interrupt, Place};
use crate::pmu_model::{Costs, Event as Happening, Model};

/// A run whose interrupts cost `factor` hundredths of what they did when they were measured.
struct Drifted {
    rig: Rig,
    cost: Cost,
    period: u64,
}

impl Drifted {
    /// On a machine as in the report that this began with.
    fn new(asked: u64, factor: u64) -> Self {
        let rig = rig(Model::intel(4), 120, 250, 150, 40);
        Self::on(rig, asked, factor, 64)
    }

    /// With a check at each of so many samples.
    fn on(mut rig: Rig, asked: u64, factor: u64, check_every: u64) -> Self {
        let cost = measured(&rig)[0];
        let period = asked.max(cost.min_period(0));
        cost.apply_to(rig.plan.assignment_mut(0).unwrap(), period, 0);
        rig.check_every = check_every;
        {
            let mut costs = rig.machine.costs.borrow_mut();
            let dearer = |cost: u64| cost * factor / 100;
            *costs = Costs {
                access: dearer(costs.access),
                entry: dearer(costs.entry),
                exit: dearer(costs.exit),
                slack: u32::try_from(dearer(costs.slack.into())).unwrap(),
                events: costs.events.clone(),
            };
        }
        rig.start();
        Self { rig, cost, period }
    }

    fn run(&self, periods: u64) {
        self.rig.run([(cycle(WAITING), periods * self.period)]);
    }

    /// What a region would hold, and what the report makes of it.
    fn overhead(&self) -> Overhead {
        let row = OverheadCounters::default();
        let Cost {
            overhead, at_rest, ..
        } = self.cost;
        row.calibrate(at_rest, overhead, self.cost.spread(), 0);
        let seen = self.rig.seen.borrow();
        seen.checks[0].iter().for_each(|&it| row.add_check(it));
        row.load()
    }

    fn samples(&self) -> u64 {
        self.rig.seen.borrow().samples[0].len() as u64
    }

    /// Of each sample but the first: what the code is said to have got since the one before,
    /// and what it got.
    fn periods(&self) -> Vec<(u64, u64)> {
        let seen = self.rig.seen.borrow();
        let truth = seen.happened[0].windows(2).map(|it| it[1] - it[0]);
        let said = seen.samples[0][1..].iter().map(|it| it.0);
        said.zip(truth).collect()
    }

    /// What that is in the mean.
    fn reported_and_true(&self) -> (u64, u64) {
        let periods = self.periods();
        let mean =
            |of: fn(&(u64, u64)) -> u64| periods.iter().map(of).sum::<u64>() / periods.len() as u64;
        (mean(|it| it.0), mean(|it| it.1))
    }

    /// Within how many events periods are said to be known.
    fn accuracy(&self) -> Accuracy {
        let interrupts = {
            let seen = self.rig.seen.borrow();
            seen.claimed + seen.late + seen.unclaimed
        };
        let most = self.rig.seen.borrow().most[0];
        let accuracy = self.overhead().accuracy(interrupts, self.samples(), most);
        accuracy.expect("there were checks")
    }
}

/// What was the failing state: a report says 1,000, and the code got 645.
#[test]
fn what_is_reported_is_true_to_within_what_is_said() {
    for factor in [50, 77, 100, 130, 170, 200] {
        for asked in [256, 1000, 5000] {
            let run = Drifted::new(asked, factor);
            run.run(4000);
            let (reported, truth) = run.reported_and_true();
            let (overhead, known) = (run.overhead(), run.accuracy());
            let seen = format!(
                "x{factor}% of {asked}: {reported} reported, {truth} true, {known:?}, {overhead:?}"
            );
            assert!(reported.abs_diff(truth) <= known.mean, "{seen}");
            let errors = run.periods().into_iter().map(|it| it.0.abs_diff(it.1));
            let largest = errors.max().expect("there are periods");
            assert!(largest <= known.each, "{seen}: one is off by {largest}");
            assert!(overhead.checks >= 10, "{seen}");
            // It says so if it is elsewhere than where it was measured.
            assert_eq!(overhead.is_out_of_range(), factor != 100, "{seen}");
            if factor == 100 {
                assert!(
                    reported.abs_diff(asked) <= SLACK && truth.abs_diff(asked) <= SLACK,
                    "{seen}"
                );
                assert!(known.mean <= SLACK && known.each <= 2 * SLACK, "{seen}");
            } else {
                // Nor is it far more than it takes.
                let error = reported.abs_diff(truth);
                assert!(known.mean <= 2 * error + 2 * SLACK, "{seen}");
            }
        }
    }
}

/// By how much an overhead varies, and a little.
const SLACK: u64 = 2 * 40 + 10;

/// What an overhead has no part in is as it would be without a check.
#[test]
fn where_nothing_varies_a_check_changes_no_sample() {
    for asked in [600, 1000, 5000] {
        let [with, without] = [7, u64::MAX].map(|check_every| {
            let rig = rig(Model::intel(4), 3, 250, 150, 0);
            let run = Drifted::on(rig, asked, 100, check_every);
            run.run(1000);
            run
        });
        let samples = |run: &Drifted| run.rig.seen.borrow().samples[0].clone();
        assert_eq!(samples(&with), samples(&without));
        assert_eq!(with.rig.counted(0), without.rig.counted(0));
        let overhead = with.overhead();
        assert_eq!([overhead.min, overhead.max], [with.cost.overhead; 2]);
        assert_eq!(overhead.excess(), Some(0));
        assert_eq!(with.accuracy(), Accuracy::default());
        let seen = with.rig.seen.borrow();
        assert_eq!((seen.begun, overhead.checks), (142, 142), "none is lost");
        assert_eq!((seen.claimed, seen.late, seen.unclaimed), (1000, 0, 0));
    }
}

/// A check of an event that is sampled each `period` events, which costs 61 of them: `spent`
/// ones before its interrupt comes. Returns what that is taken for, what the check has counted,
/// and how far the code is said to have moved.
fn check_that_counts(period: u64, spent: u64) -> (Cause, u64, u64) {
    let run = Drifted::on(rig(Model::intel(4), 3, 25, 15, 0), period, 100, u64::MAX);
    let Drifted { rig, cost, .. } = &run;
    assert_eq!((cost.overhead, cost.spread()), (OVERHEAD, 0));
    let here = Place { pc: 7, sp: 7 };
    let enters = || rig.driver.on_interrupt_at(&rig.machine, &rig.plan, here);
    let _ = enters();
    assert!(rig.driver.begin_check(&rig.machine, &rig.plan, here));
    rig.driver.resume(&rig.machine, &rig.plan, rig.lvtpc);
    let before = rig.driver.position(0);
    // The last of it is the access that stops the counters.
    rig.machine.spend(spent - 3);
    let Interrupt::Stopped(_, cause) = enters() else {
        panic!("the counters ran");
    };
    let moved = rig.driver.position(0) - before;
    (cause, rig.driver.checked(0), moved)
}

/// What an interrupt costs where an access takes 3 cycles, an entry 25, and an exit 15.
const OVERHEAD: u64 = 43;

#[test]
fn a_check_counts_none_of_the_codes_events_and_no_more_than_an_overhead_can_be() {
    // That and four times as much; however far the next overflow is.
    let most = 5 * OVERHEAD;
    for period in [1000, 5000, 1_000_000] {
        for spent in [3, OVERHEAD, 3 * OVERHEAD, most] {
            let seen = check_that_counts(period, spent);
            assert_eq!(seen, (Cause::Check, spent, 0), "{period}: {spent}");
        }
        for spent in [most + 1, 700] {
            let seen = check_that_counts(period, spent);
            // Something else came between, and is the code's.
            let expected = (Cause::Late, 0, spent - OVERHEAD);
            assert_eq!(seen, expected, "{period}: {spent}");
        }
    }
}

/// A user's event has no part in an interrupt, and its counter is not reloaded by each.
#[test]
fn a_lost_check_puts_off_no_event() {
    let mut rig = rig(Model::intel(4), 3, 25, 15, 0);
    let [cycles, _] = measured(&rig)[..] else {
        panic!("two events");
    };
    cycles.apply_to(rig.plan.assignment_mut(0).unwrap(), 1_000_000, 0);
    Cost::default().apply_to(rig.plan.assignment_mut(1).unwrap(), 5000, 0);
    let misses = [(Happening::Cycles, 1), (Happening::CacheMisses, 1)];
    rig.start();
    rig.run([(cycle(&misses), 3000)]);
    let registers = &rig.machine;
    let [here, elsewhere] = [7, 8].map(|pc| Place { pc, sp: 7 });
    let enters = |place| rig.driver.on_interrupt_at(registers, &rig.plan, place);
    let _ = enters(here);
    assert!(rig.driver.begin_check(registers, &rig.plan, here));
    rig.driver.resume(registers, &rig.plan, rig.lvtpc);
    let lost = enters(elsewhere);
    assert!(
        matches!(lost, Interrupt::Stopped(overflows, Cause::Late) if overflows.is_empty()),
        "{lost:?}"
    );
    rig.driver.resume(registers, &rig.plan, rig.lvtpc);
    rig.run([(cycle(&misses), 2010)]);
    assert_eq!(rig.seen.borrow().samples[1], [(5000, 0)]);
}

/// A check that is begun and comes to nothing: what the next interrupt is taken for.
#[derive(Clone, Copy, Debug)]
enum Lost {
    /// The program went on before it came.
    Elsewhere,
    /// It comes together with an overflow.
    WithOverflow,
    /// An NMI comes where overflows are maskable.
    Foreign,
    /// It comes while the driver works.
    Busy,
    /// Others are to come before it.
    GivenUp,
    /// Counting is stopped before it comes.
    Stopped,
}

#[test]
fn a_check_that_was_disturbed_is_none_and_its_interrupt_is_late() {
    for lost in [
        Lost::Elsewhere,
        Lost::WithOverflow,
        Lost::Foreign,
        Lost::Busy,
        Lost::GivenUp,
        Lost::Stopped,
    ] {
        let run = Drifted::on(rig(Model::intel(4), 3, 25, 15, 0), 5000, 100, u64::MAX);
        let Drifted { rig, .. } = &run;
        let registers = &rig.machine;
        let here = Place { pc: 7, sp: 7 };
        let enters = |place| rig.driver.on_interrupt_at(registers, &rig.plan, place);
        let _ = enters(here);
        assert!(rig.driver.begin_check(registers, &rig.plan, here));
        match lost {
            Lost::Busy => assert_eq!(enters(here), Interrupt::Busy),
            Lost::GivenUp => rig.driver.lose_check(),
            _ => {}
        }
        rig.driver.resume(registers, &rig.plan, rig.lvtpc);
        let spent = match lost {
            Lost::WithOverflow => 50_000,
            _ => run.cost.overhead,
        };
        registers.spend(spent);
        let before = rig.driver.position(0);
        let expected = match lost {
            Lost::Elsewhere => (enters(Place { pc: 8, sp: 7 }), Cause::Late),
            Lost::WithOverflow => (enters(here), Cause::Counter),
            Lost::Foreign => (
                rig.driver.on_foreign_nmi(registers, &rig.plan),
                Cause::Other,
            ),
            Lost::Busy | Lost::GivenUp => (enters(here), Cause::Late),
            Lost::Stopped => {
                rig.driver.stop(registers, &rig.plan);
                assert_eq!(enters(here), Interrupt::Off);
                rig.driver.start(registers, &rig.plan).unwrap();
                rig.driver.resume(registers, &rig.plan, rig.lvtpc);
                (enters(here), Cause::Other)
            }
        };
        let (Interrupt::Stopped(_, cause), expected) = expected else {
            panic!("{lost:?}: {expected:?}");
        };
        assert_eq!(cause, expected, "{lost:?}");
        assert_eq!(rig.driver.checked(0), 0, "{lost:?}");
        // What was counted is the code's, but for one overhead.
        let counted = rig.driver.position(0) - before;
        let is_stopped = matches!(lost, Lost::Stopped);
        assert!(
            is_stopped || counted.abs_diff(spent - run.cost.overhead) < 60,
            "{lost:?}"
        );
        // The next one is what it would be.
        rig.driver.resume(registers, &rig.plan, rig.lvtpc);
        assert!(matches!(
            enters(here),
            Interrupt::Stopped(_, Cause::Late | Cause::Other)
        ));
    }
}

/// Without what the checks know it would be taken for progress that ways have become long.
#[test]
fn code_gets_on_however_dear_interrupts_become() {
    for factor in [300, 500] {
        let run = Drifted::new(256, factor);
        run.rig.machine.most_in_a_row.set(2000);
        run.run(500);
        assert!(run.overhead().checks > 10);
        let before = (run.rig.happened(0), run.samples());
        run.run(500);
        let truth = run.rig.happened(0) - before.0;
        let samples = run.samples() - before.1;
        assert_eq!(truth, 500 * run.period, "x{factor}%");
        // So of each period it gets a third at least, though it is one overhead long.
        assert!(samples <= 3 * 500, "x{factor}%: {samples}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn whatever_becomes_of_costs_periods_are_true_to_within_what_is_said(
        (model, _) in model(),
        (access, entry, exit, slack) in (0..100_u64, 20..300_u64, 20..200_u64, 0..60_u32),
        factor in 50..200_u64,
        more in 0..5000_u64,
    ) {
        let rig = rig(model, access, entry, exit, slack);
        let run = Drifted::on(rig, 300 + more, factor, 32);
        run.run(1500);
        let (reported, truth) = run.reported_and_true();
        let known = run.accuracy();
        prop_assert!(
            reported.abs_diff(truth) <= known.mean + 1,
            "{reported} reported, {truth} true, {known:?}, {:?}", run.overhead()
        );
        for (reported, truth) in run.periods() {
            prop_assert!(
                reported.abs_diff(truth) <= known.each,
                "{reported} reported, {truth} true, {known:?}, {:?}", run.overhead()
            );
        }
    }
}
