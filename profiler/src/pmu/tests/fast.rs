//! The fast path of a handler: that it is the exact one, and what it costs.

use std::cell::Cell;

use proptest::prelude::*;

use super::schedule::{Paths, Rig, Schedule, amd, intel, schedule};
use crate::pmu::event::EventList;
use crate::pmu::fast_form::FastForm;
use crate::pmu_model::{
    Accesses, AmdInterface, Core, Costs, Cycle, Event as Happening, Machine, Model, Privilege,
};

/// What a schedule is run with beside what it says: by how many events interrupts vary, and how
/// often there are checks.
///
/// A plan knows by how much they vary: it is measured ([`crate::pmu::cost`]), and a period below it
/// is refused. So the noise is never less than the slack of an entry and an exit. With less, an
/// interrupt that takes longer looks like code that moves, on either path: a period that is
/// shorter than that brings the next interrupt before the code has executed anything, for ever.
#[derive(Clone, Copy, Debug)]
struct Extras {
    slack: u32,
    /// Beyond that.
    noise: u64,
    tolerance: u64,
    check_every: u64,
}

fn extras() -> impl Strategy<Value = Extras> {
    let check_every = prop_oneof![Just(u64::MAX), 1..20_u64];
    (0..8_u32, 0..16_u64, 0..16_u64, check_every).prop_map(
        |(slack, noise, tolerance, check_every)| Extras {
            slack,
            noise,
            tolerance,
            check_every,
        },
    )
}

/// All that a run has found, and what it has left.
#[derive(PartialEq, Debug)]
struct Outcome {
    samples: Vec<Vec<(u64, u64)>>,
    happened: Vec<Vec<u64>>,
    /// Claimed, late, unclaimed, checks.
    interrupts: [u64; 4],
    checks: Vec<Vec<u64>>,
    books: Vec<[u64; 7]>,
    counted: Vec<u64>,
}

/// Runs `schedule` on some paths. Returns what comes of it, and how many handlers were fast.
fn outcome(schedule: &Schedule, extras: Extras, paths: Paths) -> (Outcome, u64) {
    let mut schedule = schedule.clone();
    // What is on its way arrives by the time that handlers take. So these take none, whatever
    // they access.
    if schedule.latency() != 0 {
        schedule.costs.0 = 0;
    }
    schedule.paths = paths;
    let mut rig = schedule.rig();
    rig.machine.costs.borrow_mut().slack = extras.slack;
    rig.check_every = extras.check_every;
    let events = rig.plan.assignments().count();
    for index in 0..events {
        let assignment = rig.plan.assignment_mut(index).unwrap();
        assignment.noise = 2 * u64::from(extras.slack) + extras.noise;
        assignment.tolerance = extras.tolerance;
    }
    rig.choose_form();
    schedule.play(&rig);
    let seen = rig.seen.take();
    let outcome = Outcome {
        samples: seen.samples,
        happened: seen.happened,
        interrupts: [seen.claimed, seen.late, seen.unclaimed, seen.begun],
        checks: seen.checks,
        books: (0..events)
            .map(|it| rig.driver.books(&rig.plan, it))
            .collect(),
        counted: (0..events)
            .map(|it| rig.machine.core.counted(rig.counter(it)))
            .collect(),
    };
    (outcome, seen.fast)
}

fn check(schedule: &Schedule, extras: Extras, seed: u64) -> Result<(), TestCaseError> {
    let (exact, _) = outcome(schedule, extras, Paths::Exact);
    let (fast, _) = outcome(schedule, extras, Paths::Fast);
    prop_assert_eq!(&fast, &exact);
    let (mixed, _) = outcome(schedule, extras, Paths::Either(Cell::new(seed)));
    prop_assert_eq!(&mixed, &exact);
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(3000))]

    #[test]
    fn on_intel_it_finds_what_the_exact_path_does(
        schedule in schedule(intel()),
        extras in extras(),
        seed in any::<u64>(),
    ) {
        check(&schedule, extras, seed)?;
    }

    #[test]
    fn on_amd_it_finds_what_the_exact_path_does(
        schedule in schedule(amd()),
        extras in extras(),
        seed in any::<u64>(),
    ) {
        check(&schedule, extras, seed)?;
    }
}

/// What handlers access of a run of `events`, each sampled in 1000 events, on a core of this
/// model; the first one's are not counted, nor that of the last.
fn accesses(model: Model, list: &str, paths: Paths) -> Accesses {
    let events = EventList::parse(list).unwrap();
    let machine = Machine::new(Core::new(model), Costs::of(2, 20, 15));
    let mut rig = Rig::new(machine, &events, true);
    rig.paths = paths;
    rig.start();
    let cycle = Cycle {
        privilege: Privilege::Kernel,
        interrupts: true,
        events: &[
            (Happening::Cycles, 1),
            (Happening::Instructions, 1),
            (Happening::Branches, 1),
        ],
    };
    rig.run([(cycle, 20_500)]);
    let seen = rig.seen.borrow();
    for samples in &seen.samples {
        assert_eq!(*samples, [(1000, 0); 20], "{list}");
    }
    assert_eq!(seen.late + seen.unclaimed, 0, "{list}");
    let fast = if matches!(rig.paths, Paths::Exact) {
        0
    } else {
        // It is not known before the first that it is the only one on its way.
        seen.claimed - 1
    };
    assert_eq!(seen.fast, fast, "{list}");
    seen.accesses
}

/// What a handler accesses: RDMSR, RDPMC, WRMSR; the APIC's entry is one more.
#[track_caller]
fn assert_accesses(model: &Model, list: &str, paths: Paths, expected: [u64; 3]) {
    let found = accesses(model.clone(), list, paths);
    let [rdmsr, rdpmc, wrmsr] = expected;
    let expected = Accesses {
        rdmsr,
        wrmsr,
        rdpmc,
        apic: 1,
    };
    assert_eq!(found, expected, "{list} on {:?}", model.kind);
}

#[test]
fn a_sample_takes_few_accesses() {
    use AmdInterface::{Core, Legacy, V2};
    let with_control = (2..=6).map(Model::intel).chain([Model::amd(V2)]);
    for model in with_control {
        // Stop, read, load, acknowledge, look, start.
        assert_accesses(&model, "cycles", Paths::Fast, [1, 1, 4]);
        assert_accesses(&model, "cycles", Paths::Exact, [4, 0, 4]);
        // Each further event is read and loaded.
        assert_accesses(&model, "cycles,instructions", Paths::Fast, [1, 2, 5]);
    }
    let without = [Model::intel(1), Model::amd(Legacy), Model::amd(Core)];
    for model in without {
        assert_accesses(&model, "cycles", Paths::Fast, [0, 1, 3]);
        assert_accesses(&model, "cycles", Paths::Exact, [1, 0, 3]);
        assert_accesses(&model, "cycles,instructions", Paths::Fast, [0, 2, 6]);
    }
}

#[test]
fn where_rdpmc_is_refused_counters_are_read_by_their_registers() {
    let mut model = Model::intel(4);
    model.quirks.has_rdpmc = false;
    assert_accesses(&model, "cycles", Paths::Fast, [2, 0, 4]);
    assert_accesses(&model, "cycles,instructions", Paths::Fast, [3, 0, 5]);
}

/// A period that is too short is lengthened when it is known what an interrupt costs: behind the
/// choice.
#[test]
fn a_handler_is_right_for_the_form_that_it_was_chosen_for() {
    let machine = Machine::new(Core::new(Model::intel(4)), Costs::FREE);
    let events = EventList::parse("cycles,instructions").unwrap();
    let mut rig = Rig::new(machine, &events, true);
    rig.choose_form();
    let right = |rig: &Rig| FastForm::is_right(&rig.plan);
    assert!(right(&rig));
    rig.plan.assignment_mut(1).unwrap().period = Some(20_000_000);
    assert_eq!(FastForm::of(&rig.plan), Some(FastForm::Any));
    assert!(!right(&rig), "periods have 24 bits in that of several");
    rig.choose_form();
    assert!(right(&rig));
    rig.plan.assignment_mut(1).unwrap().period = Some(1000);
    assert!(right(&rig), "that of any is right for all");
    rig.plan.form = None;
    assert!(!right(&rig));
}

#[test]
fn the_form_is_that_of_the_plan() {
    let form = |model: Model, list: &str, change: fn(&mut Rig)| {
        let machine = Machine::new(Core::new(model), Costs::FREE);
        let mut rig = Rig::new(machine, &EventList::parse(list).unwrap(), true);
        change(&mut rig);
        FastForm::of(&rig.plan)
    };
    let [one, several, any] = [FastForm::One, FastForm::Several, FastForm::Any].map(Some);
    assert_eq!(form(Model::intel(4), "cycles", |_| ()), one);
    assert_eq!(form(Model::amd(AmdInterface::V2), "cycles", |_| ()), one);
    assert_eq!(form(Model::amd(AmdInterface::Core), "cycles", |_| ()), one);
    assert_eq!(
        form(
            Model::amd(AmdInterface::Core),
            "cycles,instructions",
            |_| ()
        ),
        several
    );
    let both = "cycles,instructions";
    assert_eq!(form(Model::intel(4), both, |_| ()), several);
    assert_eq!(
        form(Model::intel(4), "cycles", |rig| {
            rig.plan.assignment_mut(0).unwrap().jitter = 1;
        }),
        several
    );
    assert_eq!(
        form(Model::intel(4), both, |rig| {
            rig.plan.assignment_mut(1).unwrap().period = Some(1 << 27);
        }),
        any
    );
    assert_eq!(
        form(Model::intel(4), "cycles", |rig| {
            rig.plan.assignment_mut(0).unwrap().period = Some(1 << 32);
        }),
        any
    );
    assert_eq!(
        form(Model::intel(4), "cycles", |rig| {
            rig.plan = rig.plan.without_periods();
        }),
        any
    );
}

#[test]
fn positions_beyond_32_bits_are_exact() {
    // The longest periods of which samples are fast, nearly.
    for (list, period) in [("cycles", 1 << 26), ("cycles,instructions", 1 << 22)] {
        let machine = Machine::new(Core::new(Model::intel(4)), Costs::of(2, 20, 15));
        let mut rig = Rig::new(machine, &EventList::parse(list).unwrap(), true);
        let events = rig.plan.event_count();
        for index in 0..events {
            rig.plan.assignment_mut(index).unwrap().period = Some(period);
        }
        rig.choose_form();
        assert_ne!(rig.plan.form, Some(FastForm::Any), "{list}");
        rig.paths = Paths::Fast;
        rig.start();
        let cycle = Cycle {
            privilege: Privilege::Kernel,
            interrupts: true,
            events: &[(Happening::Cycles, 1), (Happening::Instructions, 1)],
        };
        let count = (1_u64 << 32) / period + 7;
        rig.run([(cycle, count * period + 500)]);
        {
            let seen = rig.seen.borrow();
            for samples in &seen.samples {
                assert_eq!(samples.len() as u64, count, "{list}");
                assert!(samples.iter().all(|&it| it == (period, 0)), "{list}");
            }
            assert_eq!(seen.fast, seen.claimed - 1, "{list}");
        }
        rig.stop();
        for index in 0..events {
            assert!(rig.counted(index) > 1 << 32);
            assert_eq!(rig.counted(index), rig.happened(index), "{list}");
        }
    }
}

#[test]
fn a_count_of_more_than_32_bits_is_not_cut() {
    // The counter goes round, and on, while interrupts are off.
    for beyond in [
        (1_u64 << 32) - 1001,
        (1 << 32) - 1000,
        1 << 32,
        (1 << 33) + 7,
    ] {
        for list in ["cycles", "cycles,branches"] {
            check_count_beyond(list, beyond);
        }
    }
}

/// That of a run in which so many more than 500 are counted while interrupts are off.
#[track_caller]
fn check_count_beyond(list: &str, beyond: u64) {
    let machine = Machine::new(Core::new(Model::intel(4)), Costs::of(2, 20, 15));
    let mut rig = Rig::new(machine, &EventList::parse(list).unwrap(), false);
    rig.paths = Paths::Fast;
    rig.start();
    let cycle = |interrupts| Cycle {
        privilege: Privilege::Kernel,
        interrupts,
        events: &[(Happening::Cycles, 1)],
    };
    rig.run([(cycle(true), 2500), (cycle(false), 500 + beyond)]);
    rig.run([(cycle(true), 1500)]);
    let count = 2500 + 500 + beyond;
    let missed = (count - 3000) / 1000;
    let seen = rig.seen.borrow();
    assert_eq!(
        seen.samples[0][..3],
        [(1000, 0), (1000, 0), (count - 2000, missed)],
        "{beyond}"
    );
    drop(seen);
    rig.stop();
    assert_eq!(rig.counted(0), rig.happened(0), "{beyond}");
}
