//! Instruction-Based Sampling of ops, against the model of the hardware, in which the
//! address of an op is the number of its cycle.

use std::cell::RefCell;

use crate::hw::apic::{Delivery, ExtendedEntry, PerformanceEntry, Vector};
use crate::pmu::detect;
use crate::pmu::driver::{Cause, Interrupt, PmuDriver};
use crate::pmu::event::EventList;
use crate::pmu::ibs::NoIbs;
use crate::pmu::plan::{Plan, PlanError, PmuState};
use crate::pmu::registers::{MsrFault, Registers};
use crate::pmu_model::{
    AmdInterface, Core, Costs, Cycle, Event as Happening, Latency, Machine, Model, OUTSIDE,
    Privilege, Snapshot,
};

const BY_NMI: PerformanceEntry = PerformanceEntry::NMI;
const BY_VECTOR: PerformanceEntry = PerformanceEntry::new(Delivery::Fixed(Vector::new(0xf0)));
/// The extended local vector table's, which firmware has chosen.
const ENTRY: u8 = 1;
const OP_CONTROL: u32 = 0xc001_1033;
const CYCLE: Cycle<'static> = Cycle {
    privilege: Privilege::Kernel,
    interrupts: true,
    events: &[
        (Happening::Cycles, 1),
        (Happening::Instructions, 1),
        (Happening::Raw(0xc1), 1),
    ],
};

fn core(interface: AmdInterface, skid: u32) -> Core {
    let mut model = Model::amd(interface);
    model.as_amd().ibs = Some(ENTRY);
    model.quirks.interrupt = Latency::fixed(skid);
    Core::new(model)
}

fn probe(core: &Core) -> PmuState {
    let capabilities = detect::detect(|leaf, subleaf| core.model().cpuid(leaf, subleaf));
    let before = core.snapshot();
    let found = PmuState::probe(core, &capabilities.unwrap()).unwrap();
    assert_eq!(core.snapshot(), before, "looking changes nothing");
    found
}

fn plan(core: &Core, events: &str) -> Result<Plan, PlanError> {
    Plan::make(&probe(core), &EventList::parse(events).unwrap(), Some(1000))
}

/// A sample: the place of its event, its address, the number of the cycle that was
/// interrupted, and what ran since the one before.
type Seen = (usize, Option<u64>, u64, u64);

/// The registers after the driver, if they were so before it: entries have a legal vector.
fn restored(before: Snapshot) -> Snapshot {
    let mut after = before.restored();
    let entry = &mut after.extended[usize::from(ENTRY)];
    *entry = PerformanceEntry::as_left(*entry).bits();
    after
}

/// What comes of `cycles` cycles. The registers are then as they were.
fn samples(core: Core, events: &str, lvtpc: PerformanceEntry, cycles: u64) -> (Machine, Vec<Seen>) {
    let plan = plan(&core, events).unwrap();
    let before = core.snapshot();
    let machine = Machine::new(core, Costs::FREE);
    let driver = PmuDriver::default();
    let seen = RefCell::new(Vec::new());
    driver.start(&machine, &plan).unwrap();
    driver.resume(&machine, &plan, lvtpc);
    machine.run([(CYCLE, cycles)], |machine, _| {
        let Interrupt::Stopped(overflows, _) = driver.on_interrupt(machine, &plan) else {
            panic!("it runs");
        };
        for event in overflows.iter() {
            let exact = driver.exact_address(&plan, event);
            let ran = driver.overflow(event).ran;
            seen.borrow_mut()
                .push((event, exact, machine.core.now(), ran));
        }
        driver.resume(machine, &plan, lvtpc);
    });
    driver.stop(&machine, &plan);
    assert_eq!(
        machine.core.snapshot(),
        restored(before),
        "all registers are restored"
    );
    (machine, seen.into_inner())
}

#[test]
fn an_address_is_that_of_the_op_that_was_due() {
    for interface in [AmdInterface::Core, AmdInterface::V2] {
        for lvtpc in [BY_NMI, BY_VECTOR] {
            for events in ["ibs_op", "ibs_op//", "ibs_op/cnt_ctl=1/"] {
                for skid in [0, 1, 7] {
                    let (_, seen) = samples(core(interface, skid), events, lvtpc, 10_100);
                    let skid = u64::from(skid);
                    // The op is the last of the distance that is left; what skids is
                    // missing from the next.
                    let expected: Vec<Seen> = (1..=10)
                        .map(|number| {
                            let due = 1000 * number;
                            let ran = if number == 1 { 1000 + skid } else { 1000 };
                            (0, Some(due - 1), due + skid, ran)
                        })
                        .collect();
                    assert_eq!(seen, expected, "{interface:?} {events} {skid}");
                }
            }
        }
    }
}

#[test]
fn a_period_need_not_be_a_maximum() {
    let (_, seen) = samples(
        core(AmdInterface::V2, 0),
        "ibs_op/period=333/",
        BY_NMI,
        1000,
    );
    let addresses: Vec<_> = seen.iter().map(|(_, exact, ..)| exact.unwrap()).collect();
    assert_eq!(addresses, [332, 665, 998]);
    let (_, seen) = samples(core(AmdInterface::V2, 0), "ibs_op/period=50/", BY_NMI, 100);
    assert_eq!(seen, [(0, Some(49), 50, 50), (0, Some(99), 100, 50)]);
}

#[test]
fn a_period_is_longer_than_the_count() {
    let period = 1 << 28;
    let events = format!("ibs_op/period={period}/");
    let (_, seen) = samples(core(AmdInterface::V2, 0), &events, BY_NMI, period + 10);
    assert_eq!(seen, [(0, Some(period - 1), period, period)]);
}

#[test]
fn it_samples_beside_counters() {
    let events = "instructions/period=300/,ibs_op,cycles/period=1500/";
    let (_, seen) = samples(core(AmdInterface::V2, 0), events, BY_NMI, 3000);
    let of = |event| seen.iter().filter(move |it| it.0 == event);
    assert_eq!([0, 1, 2].map(|event| of(event).count()), [10, 3, 2]);
    assert!(of(0).chain(of(2)).all(|it| it.1.is_none()), "{seen:?}");
    let exact: Vec<_> = of(1).map(|it| it.1.unwrap()).collect();
    assert_eq!(exact, [999, 1999, 2999]);
}

#[test]
fn a_sample_without_address_says_so() {
    let core = core(AmdInterface::V2, 0);
    core.lose_addresses(true);
    let (_, seen) = samples(core, "ibs_op", BY_NMI, 2000);
    assert_eq!(seen, [(0, None, 1000, 1000), (0, None, 2000, 1000)]);
}

#[test]
fn what_others_have_left_is_restored() {
    let core = core(AmdInterface::V2, 0);
    // Stopped, with a maximum and a count, and an entry that is not masked: `samples` compares.
    core.write_extended_lvt(ExtendedEntry::new(ENTRY).unwrap(), BY_NMI);
    core.wrmsr(OP_CONTROL, 0x1234 << 32 | 0x5678).unwrap();
    let (machine, _) = samples(core, "ibs_op", BY_NMI, 2000);
    let control = machine.core.rdmsr(OP_CONTROL).unwrap();
    assert_eq!(control, 0x1234 << 32 | 0x5678);
}

#[test]
fn it_is_refused_where_it_is_not_or_is_in_use() {
    let without = Core::new(Model::amd(AmdInterface::V2));
    let mut model = Model::amd(AmdInterface::V2);
    model.as_amd().ibs = Some(4);
    let no_entry = Core::new(model);
    let old = core(AmdInterface::Legacy, 0);
    let forgets = core(AmdInterface::V2, 0);
    forgets.forget_count();
    let in_use = core(AmdInterface::V2, 0);
    in_use.wrmsr(OP_CONTROL, 1 << 17 | 0x1000).unwrap();
    for (core, problem) in [
        (without, NoIbs::NotHere),
        (no_entry, NoIbs::NoEntry),
        (in_use, NoIbs::InUse),
        (old, NoIbs::Erratum420),
        (forgets, NoIbs::Forgets),
    ] {
        assert_eq!(plan(&core, "ibs_op"), Err(PlanError::NoIbs(problem)));
        // Counters work all the same.
        assert!(plan(&core, "cycles").is_ok());
    }
    let one = core(AmdInterface::V2, 0);
    let two = plan(&one, "ibs_op,ibs_op/cnt_ctl=1/");
    assert_eq!(two, Err(PlanError::TwoIbs));
    let intel = Core::new(Model::intel(5));
    assert_eq!(
        plan(&intel, "ibs_op"),
        Err(PlanError::NoIbs(NoIbs::NotHere))
    );
}

#[test]
fn a_register_that_is_refused_takes_no_counter_away() {
    for (number, name) in [
        (0xc001_103a, "MSR 0xc001103a"),
        (OP_CONTROL, "MSR 0xc0011033"),
        (0xc001_1034, "MSR 0xc0011034"),
    ] {
        let mut model = Model::amd(AmdInterface::V2);
        model.as_amd().ibs = Some(ENTRY);
        model.quirks.refused = vec![number];
        let core = Core::new(model);
        let refused = plan(&core, "ibs_op").unwrap_err();
        let expected = format!("ibs_op: the processor refuses {name}, which CPUID announces");
        assert_eq!(refused.to_string(), expected);
        let is_fault = |fault: MsrFault| fault.number() == number;
        assert!(matches!(refused, PlanError::NoIbs(NoIbs::Refused(fault)) if is_fault(fault)));
        assert!(plan(&core, "cycles").is_ok());
    }
}

#[test]
fn bits_that_are_said_to_mean_nothing_mean_nothing() {
    let core = core(AmdInterface::V2, 0);
    let capabilities = detect::detect(|leaf, subleaf| core.model().cpuid(leaf, subleaf));
    let mut capabilities = capabilities.unwrap();
    assert!(PmuState::probe(&core, &capabilities).unwrap().ibs.is_ok());
    // IBSFFV.
    capabilities.ibs &= !1;
    let found = PmuState::probe(&core, &capabilities).unwrap();
    assert_eq!(found.ibs, Err(NoIbs::NotHere));
}

/// A machine whose interrupts cost something, and `events` planned by what they cost.
fn costly(events: &str) -> (Machine, Plan) {
    let costs = Costs {
        events: CYCLE.events.to_vec(),
        ..Costs::of(2, 20, 15)
    };
    let core = core(AmdInterface::V2, 7);
    let mut plan = plan(&core, events).unwrap();
    let machine = Machine::new(core, costs);
    // Interrupts in a row.
    let silent = plan.without_periods();
    let driver = PmuDriver::default();
    let mut to_come = 4;
    let mut counted = [0; 2];
    machine.core.send_nmi();
    machine.take_all(false, |machine, _| {
        match driver.on_interrupt(machine, &silent) {
            Interrupt::Off => driver.start(machine, &silent).unwrap(),
            _ => counted = [counted[1], driver.position(0)],
        }
        to_come -= 1;
        match to_come {
            0 => driver.stop(machine, &silent),
            _ => machine.core.send_nmi(),
        }
        driver.resume(machine, &silent, BY_NMI);
    });
    let overhead = counted[1] - counted[0];
    assert_eq!(overhead, 37, "in, out, and an access");
    let places: Vec<_> = plan.assignments().map(|(index, _)| index).collect();
    for index in places {
        plan.assignment_mut(index).unwrap().overhead = overhead;
    }
    // The way out, less the skid.
    plan.assignment_mut(0).unwrap().arm_latency = 2 + 15 - 7;
    (machine, plan)
}

/// The samples of the first event, and the number of interrupts, in so many cycles.
fn first_event(machine: &Machine, plan: &Plan, cycles: u64) -> (Vec<Seen>, u64) {
    let driver = PmuDriver::default();
    let mut seen = Vec::new();
    let mut interrupts = 0;
    machine.core.send_nmi();
    machine.run([(CYCLE, cycles)], |machine, _| {
        match driver.on_interrupt(machine, plan) {
            Interrupt::Off => driver.start(machine, plan).unwrap(),
            Interrupt::Stopped(overflows, _) => {
                interrupts += 1;
                let exact = driver.exact_address(plan, 0);
                let sample = (0, exact, driver.position(0), driver.overflow(0).ran);
                seen.extend(overflows.iter().any(|it| it == 0).then_some(sample));
            }
            other => panic!("{other:?}"),
        }
        driver.resume(machine, plan, BY_NMI);
    });
    driver.stop(machine, plan);
    (seen, interrupts)
}

fn is_the_programs(sample: &Seen) -> bool {
    sample.1.unwrap() & OUTSIDE == 0
}

#[test]
fn more_ops_than_retire_make_a_sample_no_less_the_programs() {
    for percent in [100, 115, 130, 200] {
        let (machine, plan) = costly("ibs_op/cnt_ctl=1/");
        machine.core.dispatch(percent);
        let (seen, interrupts) = first_event(&machine, &plan, 100_100);
        assert_eq!(interrupts, seen.len() as u64, "{percent}: each is a sample");
        assert!(seen.iter().all(is_the_programs), "{percent}: {seen:?}");
        assert!(seen.len().abs_diff(100) <= 1, "{percent}: {}", seen.len());
        // Once the distance has made up for it.
        let ran = seen[20..].iter().map(|it| it.3);
        assert!(
            ran.clone().all(|it| it.abs_diff(1000) <= 3),
            "{percent}: {seen:?}"
        );
    }
}

#[test]
fn no_op_is_tagged_on_the_way_out_of_a_handler() {
    for count in ["", "cnt_ctl=1,"] {
        let events = format!("ibs_op/{count}period=1000/,instructions/period=137/");
        let (machine, plan) = costly(&events);
        let (seen, _) = first_event(&machine, &plan, 200_000);
        assert!(seen.iter().all(is_the_programs), "{seen:?}");
        assert!(seen.len().abs_diff(200) <= 1, "{}", seen.len());
    }
}

/// How far behind the last op of each period an op was tagged.
fn spread(seed: u64) -> Vec<u64> {
    let core = core(AmdInterface::V2, 0);
    let mut plan = plan(&core, "ibs_op").unwrap();
    plan.seed = seed;
    plan.ibs.as_mut().unwrap().spread_over(1000);
    let machine = Machine::new(core, Costs::FREE);
    let (seen, _) = first_event(&machine, &plan, 200_100);
    assert_eq!(seen.len(), 200);
    let ran: u64 = seen.iter().map(|it| it.3).sum();
    assert_eq!(ran, seen[199].2, "no event is lost");
    let due = (1..=200).map(|number| number * 1000 - 1);
    let tagged = seen.iter().zip(due).map(|(it, due)| it.1.unwrap() - due);
    tagged.collect()
}

#[test]
fn ops_are_tagged_at_random_behind_where_they_are_due() {
    let all = spread(42);
    let mut seen = [false; 64];
    for &it in &all {
        seen[usize::try_from(it).unwrap()] = true;
    }
    let different = seen.iter().filter(|it| **it).count();
    assert!(different > 50, "{different} of 64: {all:?}");
    let mean = all.iter().sum::<u64>() / 200;
    assert!((25..38).contains(&mean), "{mean}");
    assert_eq!(all, spread(42), "the same seed gives the same run");
    assert_ne!(all, spread(43));
}

#[test]
fn ops_that_do_not_retire_make_periods_longer_and_no_event_is_lost() {
    // Of 100 periods. A tag that aborts costs a whole distance: where each fifth does, the
    // periods of those 20 are missed, and the one behind each is shorter. Where every second
    // does, it is most often one of the short distances.
    for (each, samples) in [(2, 90..=100), (5, 80..=80), (1, 0..=0)] {
        let core = core(AmdInterface::V2, 0);
        core.abort_tagged(each);
        let plan = plan(&core, "ibs_op").unwrap();
        let machine = Machine::new(core, Costs::FREE);
        let (seen, interrupts) = first_event(&machine, &plan, 100_000);
        assert!(samples.contains(&seen.len()), "{each}: {}", seen.len());
        if each == 1 {
            assert!(interrupts >= 16, "its counter interrupts: {interrupts}");
            continue;
        }
        let longest = seen.iter().map(|it| it.3).max();
        assert!(longest > Some(1800), "{each}: {longest:?}");
        let ran: u64 = seen.iter().map(|it| it.3).sum();
        assert_eq!(seen.last().map(|it| it.2), Some(ran), "no event is lost");
    }
}

#[test]
fn what_stands_still_is_started_by_its_counter() {
    let core = core(AmdInterface::V2, 0);
    let plan = plan(&core, "ibs_op").unwrap();
    let machine = Machine::new(core, Costs::FREE);
    let driver = PmuDriver::default();
    driver.start(&machine, &plan).unwrap();
    driver.resume(&machine, &plan, BY_NMI);
    let seen = RefCell::new(Vec::new());
    let handler = |machine: &Machine, _| {
        let Interrupt::Stopped(overflows, cause) = driver.on_interrupt(machine, &plan) else {
            panic!("it runs");
        };
        let position = driver.position(0);
        seen.borrow_mut()
            .push((position, overflows.is_empty(), cause));
        driver.resume(machine, &plan, BY_NMI);
    };
    machine.run([(CYCLE, 1500)], handler);
    // As a processor may come back from a deep sleep.
    machine.core.wrmsr(OP_CONTROL, 0).unwrap();
    machine.run([(CYCLE, 8000)], handler);
    driver.stop(&machine, &plan);
    // Four periods behind the sample that was lost, which are missed; then as before.
    let expected = [1000, 6000, 6001, 7000, 8000, 9000].map(|it| (it, it == 6000, Cause::Counter));
    assert_eq!(seen.into_inner(), expected);
}

#[test]
fn an_op_on_its_way_when_it_is_stopped_may_interrupt_once() {
    // Far from a sample, near one, and when an op was tagged and has not retired.
    for (cycles, is_late) in [(500, false), (990, true), (1002, true)] {
        let core = core(AmdInterface::V2, 0);
        core.abort_tagged(1);
        let plan = plan(&core, "ibs_op").unwrap();
        let machine = Machine::new(core, Costs::FREE);
        let driver = PmuDriver::default();
        driver.start(&machine, &plan).unwrap();
        driver.resume(&machine, &plan, BY_NMI);
        machine.run([(CYCLE, cycles)], |_, _| panic!("none retires"));
        // Another's.
        driver.on_interrupt(&machine, &plan);
        driver.resume(&machine, &plan, BY_NMI);
        let next = driver.on_interrupt(&machine, &plan);
        let expected = if is_late { Cause::Late } else { Cause::Other };
        assert!(
            matches!(next, Interrupt::Stopped(none, cause) if none.is_empty() && cause == expected),
            "{cycles}: {next:?}"
        );
        driver.resume(&machine, &plan, BY_NMI);
        driver.stop(&machine, &plan);
        let after = [(); 2].map(|()| driver.on_interrupt(&machine, &plan));
        let first = if is_late {
            Interrupt::OffLate
        } else {
            Interrupt::Off
        };
        assert_eq!(after, [first, Interrupt::Off], "{cycles}");
    }
}
