//! Overflows that are displaced at random: how far, and that it is nothing in the mean.

use proptest::prelude::*;

use super::schedule::Rig;
use crate::pmu::event::EventList;
use crate::pmu_model::{
    AmdInterface, Core, Costs, Cycle, Event as Happening, Machine, Model, Privilege,
};

/// How many periods there are, and samples.
const PERIODS: u64 = 200;
const SAMPLES: usize = 200;

/// Where the samples are of which each is displaced by up to `jitter`.
fn positions(model: Model, period: u64, jitter: u64, seed: u64) -> Vec<u64> {
    let events = EventList::parse("cycles:u").unwrap();
    let machine = Machine::new(Core::new(model), Costs::of(2, 20, 15));
    let mut rig = Rig::new(machine, &events, true);
    rig.plan.seed = seed;
    let assignment = rig.plan.assignment_mut(0).unwrap();
    (assignment.period, assignment.jitter) = (Some(period), jitter);
    rig.start();
    let cycle = Cycle {
        privilege: Privilege::User,
        interrupts: true,
        events: &[(Happening::Cycles, 1)],
    };
    rig.run([(cycle, PERIODS * period + jitter)]);
    let seen = rig.seen.borrow();
    let mut position = 0;
    let samples = seen.samples[0].iter().map(|&(ran, missed)| {
        assert_eq!(missed, 0);
        position += ran;
        position
    });
    samples.take(SAMPLES).collect()
}

fn models() -> impl Strategy<Value = Model> {
    let amd = [AmdInterface::Legacy, AmdInterface::V2].map(Model::amd);
    prop::sample::select((1..=6).map(Model::intel).chain(amd).collect::<Vec<_>>())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn jitter_moves_each_overflow_and_not_the_mean(
        model in models(),
        (period, jitter) in (100..5000_u64).prop_flat_map(|it| (Just(it), 10..=it / 2)),
        seed in any::<u64>(),
    ) {
        let found = positions(model.clone(), period, jitter, seed);
        // None is lacking and none too many: in the mean it is the period.
        prop_assert_eq!(found.len(), SAMPLES);
        let mut displacements = Vec::new();
        for (number, position) in (1..).zip(&found) {
            let displaced = position.wrapping_sub(number * period).cast_signed();
            // Two that would meet are two events apart.
            prop_assert!(displaced.unsigned_abs() <= jitter + 2, "{displaced} of {jitter}");
            displacements.push(displaced);
        }
        let sum: i64 = displacements.iter().sum();
        let limit = (jitter * PERIODS / 4).cast_signed();
        prop_assert!(sum.abs() <= limit, "{sum} in all, of up to {limit}");
        let quarter = (jitter / 2).cast_signed();
        prop_assert!(displacements.iter().any(|it| *it > quarter));
        prop_assert!(displacements.iter().any(|it| *it < -quarter));

        // The seed says all of it, and another one another.
        prop_assert_eq!(&positions(model.clone(), period, jitter, seed), &found);
        prop_assert_ne!(positions(model, period, jitter, seed ^ 2), found);
    }

    #[test]
    fn without_jitter_each_overflow_is_where_it_is_due(
        model in models(),
        period in 2..5000_u64,
    ) {
        let found = positions(model, period, 0, 1);
        let due: Vec<_> = (1..=PERIODS).map(|number| number * period).collect();
        prop_assert_eq!(found, due);
    }
}

#[test]
fn neighbouring_seeds_displace_in_other_ways() {
    let of = |seed| positions(Model::intel(4), 1000, 100, seed);
    for seed in [0, 6, 42] {
        assert_ne!(of(seed), of(seed + 1), "{seed}");
    }
}
