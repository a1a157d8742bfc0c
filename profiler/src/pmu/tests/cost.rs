//! What an interrupt costs, as a kernel measures it: on the model of the hardware.

use proptest::prelude::*;

use super::schedule::{Paths, Rig, amd, costs, intel};
use crate::pmu::cost::{Cost, Leads};
use crate::pmu::driver::{Interrupt, PmuDriver};
use crate::pmu::event::{Event, EventList, Named, What};
use crate::pmu::plan::Plan;
use crate::pmu_model::{
    AmdInterface, Core, Costs, Cycle, Event as Happening, Latency, Machine, Model, Privilege,
};

#[test]
fn costs_are_means_and_outliers_are_not_believed() {
    assert_eq!(Cost::from_overheads(&mut []), Cost::default());
    let alike = Cost::from_overheads(&mut [70; 32]);
    assert_eq!((alike.overhead, alike.spread()), (70, 0));

    // Two in five are longer, as where something is cached or not.
    let mut skewed = [100; 30];
    skewed[..12].fill(160);
    let cost = Cost::from_overheads(&mut skewed);
    assert_eq!((cost.overhead, cost.spread()), (124, 60));

    let mut overheads: Vec<u64> = (0..32).map(|it| 100 + it).rev().collect();
    // Caches were cold; firmware had something to do.
    overheads[..4].copy_from_slice(&[900, 400, 100_000, 300]);
    let cost = Cost::from_overheads(&mut overheads);
    assert_eq!((cost.overhead, cost.spread()), (114, 27));
    assert_eq!(cost.min_period(2), 108);
    assert_eq!(cost.min_period(200), 200);

    // Too many to be something else.
    overheads[..16].fill(1000);
    assert_eq!(Cost::from_overheads(&mut overheads).spread(), 884);

    let mut plan = rig(Model::intel(4), 0, 0, 0, 0).plan;
    let assignment = plan.assignment_mut(0).unwrap();
    let cost = Cost {
        arm_latency: 9,
        ..cost
    };
    cost.apply_to(assignment, 3000, 5);
    assert_eq!((assignment.overhead, assignment.arm_latency), (114, 9));
    assert_eq!((assignment.noise, assignment.tolerance), (27, 27));
    assert_eq!((assignment.period, assignment.jitter), (Some(3000), 150));
}

#[test]
fn what_is_subtracted_is_what_it_costs_where_all_cores_are_at_it() {
    let mut busy = [570, 560, 566, 564];
    let mut rest = [557, 555, 556, 556];
    let cost = Cost::from_overheads(&mut busy).with_rest(&mut rest);
    assert_eq!((cost.overhead, cost.at_rest), (565, 556));
    // The difference of the two trials is in the spread.
    assert_eq!((cost.least, cost.most, cost.spread()), (555, 570, 15));
    assert_eq!(cost.min_period(2), 60);
    assert_eq!(cost.resting().overhead, 556);
    assert_eq!(cost.resting().spread(), 15);

    // Where instructions are counted, whoever comes first.
    let exact = Cost::from_overheads(&mut [70; 32]).with_rest(&mut [70; 32]);
    assert_eq!((exact.overhead, exact.at_rest, exact.spread()), (70, 70, 0));
}

#[test]
fn the_lead_is_that_of_the_overflow_that_came_first() {
    let latency = |positions: &[u64]| {
        let mut leads = Leads::default();
        for &position in positions {
            leads.record(5000, position);
        }
        leads.arm_latency()
    };
    assert_eq!(latency(&[]), 0);
    assert_eq!(latency(&[5003, 4990, 4985, 6000, 4988]), 15);
    assert_eq!(latency(&[5000, 5004]), 0);
    assert_eq!(latency(&[5003; 8]), -3, "each was late by as much");
    assert_eq!(latency(&[5003, 5004]), 0, "it varies");
}

/// Interrupts of each of these are later than the way out of a handler is long.
#[test]
fn overflows_that_are_late_by_one_number_are_brought_forward() {
    let skid = 40;
    for mut model in [Model::intel(4), Model::amd(AmdInterface::Legacy)] {
        model.quirks.interrupt = Latency::fixed(skid);
        let mut rig = rig(model, 2, 20, 15, 0);
        let (cost, (_, way_out)) = (measured(&rig)[0], costs(&rig.machine, &rig.plan)[0]);
        assert_eq!(cost.arm_latency, way_out - i64::from(skid), "{cost:?}");
        assert!(cost.arm_latency < 0, "{cost:?}");
        for paths in [Paths::Exact, Paths::Fast] {
            cost.apply_to(rig.plan.assignment_mut(0).unwrap(), 100, 0);
            rig.plan.assignment_mut(1).unwrap().period = Some(100);
            rig.choose_form();
            rig.paths = paths;
            rig.start();
            let before = rig.seen.borrow().samples[0].len();
            rig.run([(cycle(WAITING), 5000)]);
            let samples = rig.seen.borrow().samples[0][before..].to_vec();
            assert_eq!(samples, [(100, 0); 50], "{:?}", rig.paths);
            rig.stop();
        }
        let seen = rig.seen.borrow();
        assert_eq!(seen.claimed, 100, "no interrupt is wasted: {seen:?}");
    }
}

/// Cycles of the kernel, interrupts on, in each of which so many of these happen.
pub fn cycle(events: &[(Happening, u32)]) -> Cycle<'_> {
    Cycle {
        privilege: Privilege::Kernel,
        interrupts: true,
        events,
    }
}

pub const WAITING: &[(Happening, u32)] = &[(Happening::Cycles, 1), (Happening::Instructions, 1)];

/// Where an overflow is due that is tried.
const TRIAL: u64 = 5000;

/// Tries what a kernel tries.
pub fn measured(rig: &Rig) -> Vec<Cost> {
    let count = rig.plan.assignments().count();
    let mut overheads = vec![Vec::new(); count];
    let plan = rig.plan.without_periods();
    let driver = PmuDriver::default();
    let mut before = vec![0; count];
    let mut to_come = 34;
    rig.machine.core.send_nmi();
    rig.machine.take_all(false, |machine, _| {
        match driver.on_interrupt(machine, &plan) {
            Interrupt::Off => driver.start(machine, &plan).unwrap(),
            _ => {
                for (index, before) in before.iter_mut().enumerate() {
                    let position = driver.position(index);
                    overheads[index].push(position - *before);
                    *before = position;
                }
            }
        }
        to_come -= 1;
        match to_come {
            0 => driver.stop(machine, &plan),
            _ => machine.core.send_nmi(),
        }
        driver.resume(machine, &plan, rig.lvtpc);
    });
    let mut costs: Vec<_> = overheads
        .iter_mut()
        .map(|all| Cost::from_overheads(&mut all[1..]))
        .collect();
    let mut leads = vec![Leads::default(); count];
    for _ in 0..8 {
        for (index, position) in overflows(rig, &costs).into_iter().enumerate() {
            if let Some(position) = position {
                leads[index].record(TRIAL, position);
            }
        }
    }
    for (cost, leads) in costs.iter_mut().zip(leads) {
        cost.arm_latency = leads.arm_latency();
    }
    costs
}

/// Where each event overflows that is due after [`TRIAL`], if it does.
fn overflows(rig: &Rig, costs: &[Cost]) -> Vec<Option<u64>> {
    let mut plan: Plan = rig.plan;
    for (index, cost) in costs.iter().enumerate() {
        let assignment = plan.assignment_mut(index).unwrap();
        Cost {
            arm_latency: 0,
            ..*cost
        }
        .apply_to(assignment, TRIAL, 0);
        assignment.tolerance = u64::MAX;
    }
    let driver = PmuDriver::default();
    let mut first = vec![None; costs.len()];
    let mut handler = |machine: &Machine| {
        if let Interrupt::Stopped(overflows, _) = driver.on_interrupt(machine, &plan) {
            for index in overflows.iter() {
                first[index].get_or_insert(driver.position(index));
            }
            driver.resume(machine, &plan, rig.lvtpc);
        } else {
            driver.start(machine, &plan).unwrap();
            driver.resume(machine, &plan, rig.lvtpc);
        }
    };
    rig.machine.core.send_nmi();
    let wait = [(cycle(WAITING), TRIAL + 1000)];
    rig.machine.run(wait, |machine, _| handler(machine));
    driver.stop(&rig.machine, &plan);
    first
}

/// A processor with these costs, and what is sampled on it.
pub fn rig(model: Model, access: u64, entry: u64, exit: u64, slack: u32) -> Rig {
    let costs = Costs {
        slack,
        ..Costs::of(access, entry, exit)
    };
    let events = [Named::Cycles, Named::CacheMisses].map(|named| Event {
        user: false,
        ..Event::new(What::Named(named))
    });
    let list = EventList::of(events[0]).and(events[1]).unwrap();
    let mut rig = Rig::new(Machine::new(Core::new(model), costs), &list, true);
    for index in 0..2 {
        Cost::default().apply_to(rig.plan.assignment_mut(index).unwrap(), 0, 0);
    }
    rig
}

/// A processor by whose interrupts overflows come so many cycles late.
pub fn model() -> impl Strategy<Value = (Model, u32)> {
    let skid = prop_oneof![Just(0), 1..60_u32];
    (prop_oneof![intel(), amd()], skid, 1..u64::MAX).prop_map(|(mut model, skid, seed)| {
        model.quirks.seed = seed;
        model.quirks.interrupt = Latency::fixed(skid);
        (model, skid)
    })
}

proptest! {
    #[test]
    fn what_does_not_vary_is_measured_exactly(
        (model, skid) in model(),
        (access, entry, exit) in (0..4_u64, 0..60_u64, 0..40_u64),
    ) {
        let rig = rig(model, access, entry, exit, 0);
        let known = costs(&rig.machine, &rig.plan);
        let measured = measured(&rig);
        let (overhead, arm_latency) = known[0];
        prop_assert_eq!((measured[0].overhead, measured[0].spread()), (overhead, 0));
        prop_assert_eq!(measured[0].arm_latency, arm_latency - i64::from(skid));
        // What never happens costs nothing.
        prop_assert_eq!(measured[1], Cost::default());
    }

    #[test]
    fn however_much_it_varies_positions_stay_true_and_no_interrupt_is_wasted(
        (model, _) in model(),
        (access, entry, exit) in (0..4_u64, 0..60_u64, 0..40_u64),
        slack in 2..200_u32,
        more in prop_oneof![Just(0_u64), 1..3000_u64],
    ) {
        let mut rig = rig(model, access, entry, exit, slack);
        let cost = measured(&rig)[0];
        let period = cost.min_period(100) + more;
        cost.apply_to(rig.plan.assignment_mut(0).unwrap(), period, 0);
        let before = rig.happened(0);
        rig.start();
        const SAMPLES: u64 = 1000;
        rig.run([(cycle(WAITING), SAMPLES * period)]);
        {
            let seen = rig.seen.borrow();
            prop_assert_eq!(seen.claimed, seen.samples[0].len() as u64, "each interrupt is a sample");
        }
        // The way out of the last handler is known in the next one.
        rig.machine.core.send_nmi();
        rig.run([(cycle(&[]), 1)]);
        let (happened, counted) = (rig.happened(0) - before, rig.counted(0));
        let seen = rig.seen.borrow();
        let samples = seen.samples[0].len() as u64;
        let missed: u64 = seen.samples[0].iter().map(|it| it.1).sum();
        prop_assert!(
            happened.abs_diff(counted) <= SAMPLES * cost.spread() / 3,
            "{happened} events, {counted} counted, {cost:?}"
        );
        prop_assert_eq!(missed, 0);
        prop_assert!(samples.abs_diff(counted / period) <= 1, "{} of {}", samples, counted / period);
    }
}
