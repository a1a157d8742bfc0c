//! Instruction-Based Sampling of ops, against the model of the hardware, in which the
//! address of an op is the number of its cycle.

use std::cell::RefCell;

use crate::hw::apic::{Delivery, PerformanceEntry, Vector};
use crate::pmu::detect;
use crate::pmu::driver::{Interrupt, PmuDriver};
use crate::pmu::event::EventList;
use crate::pmu::ibs::NoIbs;
use crate::pmu::plan::{Plan, PlanError, PmuState};
use crate::pmu_model::{
    AmdInterface, Core, Costs, Cycle, Event as Happening, Latency, Machine, Model, Privilege,
    Snapshot,
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
    // Stopped, with a maximum and a count: `samples` compares.
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
    let in_use = core(AmdInterface::V2, 0);
    in_use.wrmsr(OP_CONTROL, 1 << 17 | 0x1000).unwrap();
    for (core, problem) in [
        (without, NoIbs::NotHere),
        (no_entry, NoIbs::NoEntry),
        (in_use, NoIbs::InUse),
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
