//! What is counted, in which cycles.

use proptest::prelude::*;

use super::*;

/// A core that counts by counter 0, and what it has counted.
fn counting(model: Model, select: u64, program: &[(Cycle<'_>, u64)]) -> u64 {
    let core = Core::new(model);
    let (at_select, at_counter) = match core.model().kind {
        Kind::Intel(_) => (0x186, 0xc1),
        Kind::Amd(_) => (0xc001_0000, 0xc001_0004),
    };
    core.wrmsr(at_select, select).unwrap();
    for (cycle, cycles) in program {
        core.execute(cycle, *cycles);
    }
    let value = core.rdmsr(at_counter).unwrap();
    assert_eq!(core.counted(Id::General(0)), value);
    value
}

#[test]
fn a_counter_counts_its_event_in_its_privileges() {
    let program = [(KERNEL, 10), (USER, 100)];
    for (model, cycles) in all().map(|model| {
        let code = model.code(Event::Cycles).unwrap();
        (model, code)
    }) {
        for (privileges, expected) in [(0b00, 0), (0b01, 100), (0b10, 10), (0b11, 110)] {
            let select = cycles | privileges << 16 | 1 << 22;
            assert_eq!(counting(model.clone(), select, &program), expected);
            assert_eq!(counting(model.clone(), select & !(1 << 22), &program), 0);
        }
        let instructions = 0xc0 | 0b11 << 16 | 1 << 22;
        assert_eq!(counting(model.clone(), instructions, &program), 220);
        let other = 0x1c0 | 0b11 << 16 | 1 << 22;
        assert_eq!(counting(model, other, &program), 0);
    }
}

#[test]
fn the_global_control_stops_all() {
    let program = [(KERNEL, 10)];
    for (version, expected) in [(1, 10), (2, 0)] {
        let core = Core::new(Model::intel(version));
        assert_eq!(core.wrmsr(0x38f, 0b10).is_ok(), version > 1);
        core.wrmsr(0x186, CYCLES).unwrap();
        core.execute(&KERNEL, 10);
        assert_eq!(core.rdmsr(0xc1), Ok(expected));
    }
    // Fixed counters are not enabled by a reset.
    let core = Core::new(Model::intel(2));
    core.wrmsr(0x38d, 0x300 | 0x20 | 0x1).unwrap();
    let cycle = Cycle {
        events: &[
            (Event::TscCycles, 5),
            (Event::Instructions, 2),
            (Event::Cycles, 1),
        ],
        ..KERNEL
    };
    core.execute(&cycle, 1);
    core.wrmsr(0x38f, 0x7_0000_0000).unwrap();
    core.execute(&cycle, 1);
    core.execute(
        &Cycle {
            privilege: Privilege::User,
            ..cycle
        },
        1,
    );
    let counted = [0x309, 0x30a, 0x30b].map(|number| core.rdmsr(number).unwrap());
    assert_eq!(counted, [2, 1, 10]);
    assert_eq!(core.counted(Id::Fixed(2)), 10);
    let core = Core::new(Model::amd(AmdInterface::V2));
    core.wrmsr(0xc001_0200, AMD_CYCLES).unwrap();
    core.execute(&KERNEL, 10);
    core.wrmsr(0xc000_0301, 0).unwrap();
    core.execute(&KERNEL, 10);
    assert_eq!(core.rdmsr(0xc001_0201), Ok(10));
    assert_eq!(
        counting(Model::amd(AmdInterface::Core), AMD_CYCLES, &program),
        10
    );
}

#[test]
fn mask_invert_and_edge_count_cycles() {
    const fn branches(events: &[(Event, u32)]) -> Cycle<'_> {
        Cycle { events, ..KERNEL }
    }
    let [none, one, three] = [
        branches(&[]),
        branches(&[(Event::Branches, 1)]),
        branches(&[(Event::Branches, 2), (Event::Branches, 1)]),
    ];
    let program = [
        (none, 5),
        (one, 3),
        (none, 1),
        (three, 4),
        (one, 1),
        (USER, 7),
        (one, 2),
    ];
    const EDGE: u64 = 1 << 18;
    const INVERT: u64 = 1 << 23;
    const EQUAL: u64 = 1 << 36;
    const fn mask(mask: u64) -> u64 {
        mask << 24
    }
    let table = [
        (0, 18),
        (mask(1), 10),
        (mask(2), 4),
        (mask(4), 0),
        (mask(1) | INVERT, 6),
        (mask(3) | INVERT, 12),
        // Ignored without a mask.
        (INVERT, 18),
        // The user's cycles do not hold the condition.
        (EDGE, 3),
        (mask(2) | EDGE, 1),
        (mask(1) | INVERT | EDGE, 2),
    ];
    let equal = [
        (mask(1) | EQUAL, 6),
        (mask(3) | EQUAL, 4),
        (mask(1) | EQUAL | INVERT, 10),
        (EQUAL, 18),
    ];
    let select = |event: u64, flags: u64| event | 1 << 17 | 1 << 22 | flags;
    for (flags, expected) in table {
        let counted = counting(Model::intel(3), select(0xc4, flags), &program);
        assert_eq!(counted, expected, "Intel {flags:#x}");
        let amd = Model::amd(AmdInterface::Core);
        let counted = counting(amd, select(0xc2, flags), &program);
        assert_eq!(counted, expected, "AMD {flags:#x}");
    }
    for (flags, expected) in equal {
        let counted = counting(Model::intel(6), select(0xc4, flags), &program);
        assert_eq!(counted, expected, "EQUAL {flags:#x}");
    }
}

#[test]
fn a_counter_that_was_stopped_sees_an_edge() {
    let core = Core::new(Model::intel(4));
    let edge = CYCLES | 1 << 18;
    for control in [1, 0, 1] {
        core.wrmsr(0x186, edge).unwrap();
        core.wrmsr(0x38f, control).unwrap();
        core.execute(&KERNEL, 10);
    }
    assert_eq!(core.rdmsr(0xc1), Ok(2));
}

#[test]
fn events_have_their_vendors_numbers() {
    let mut model = Model::intel(5);
    assert_eq!(model.code(Event::CacheMisses), Some(0x412e));
    assert_eq!(model.code(Event::Slots), Some(0x01a4));
    assert_eq!(model.code(Event::TscCycles), None);
    model.as_intel().absent_events = 1 << 4;
    assert_eq!(model.code(Event::CacheMisses), None);
    let misses = Cycle {
        events: &[(Event::CacheMisses, 1)],
        ..KERNEL
    };
    // What is not available counts nothing.
    let select = 0x412e | 0b11 << 16 | 1 << 22;
    assert_eq!(counting(model, select, &[(misses, 9)]), 0);
    assert_eq!(counting(Model::intel(5), select, &[(misses, 9)]), 9);
    let old = Model::amd(AmdInterface::Legacy);
    assert_eq!(old.code(Event::CacheMisses), Some(0x077e));
    let zen = Model::amd(AmdInterface::Core);
    assert_eq!(zen.code(Event::CacheMisses), Some(0x0964));
    // Bits 11:8 of the number are high up.
    let event = Event::Raw(0x2_0000_01d6);
    let raw = Cycle {
        events: &[(event, 1)],
        ..KERNEL
    };
    let low = 0x01d6 | 0b11 << 16 | 1 << 22;
    assert_eq!(counting(zen.clone(), low, &[(raw, 9)]), 0);
    assert_eq!(counting(zen, low | 0x2_0000_0000, &[(raw, 9)]), 9);
}

#[test]
fn firmware_can_own_counters() {
    let core = Core::new(Model::intel(4));
    core.firmware_owns(Id::General(2), Event::Cycles, 7, true);
    core.firmware_owns(Id::Fixed(1), Event::Cycles, 9, false);
    core.execute(&USER, 100);
    assert_eq!(core.rdmsr(0xc3), Ok(107));
    assert_eq!(core.rdmsr(0x30a), Ok(109));
    assert_eq!(core.rdmsr(0x392), Ok(1 << 63 | 1 << 33 | 1 << 2));
}

#[test]
fn what_is_in_use_follows_from_the_selects() {
    let core = Core::new(Model::intel(4));
    let in_use = |number, value| {
        core.wrmsr(number, value).unwrap();
        core.rdmsr(0x392).unwrap()
    };
    assert_eq!(in_use(0x187, 0x4100), 0);
    assert_eq!(in_use(0x187, 0x3c), 1 << 1);
    assert_eq!(in_use(0x187, 0x3c | 1 << 20), 1 << 63 | 1 << 1);
    assert_eq!(in_use(0x187, 0), 0);
    assert_eq!(in_use(0x38d, 0x100), 1 << 34);
    assert_eq!(in_use(0x38d, 0x800), 1 << 63);
}

proptest! {
    /// Many cycles at once are the same as one after the other.
    #[test]
    fn cycles_can_be_executed_at_once(
        flags in 0_u64..1 << 16,
        values in prop::array::uniform3(1_u64..60),
        latency in 0_u32..4,
        program in prop::collection::vec((any::<bool>(), 0_u32..4, 1_u64..80), 1..8),
    ) {
        let mut model = Model::intel(4);
        model.quirks.status = Latency::random(0, latency);
        model.quirks.interrupt = Latency::fixed(latency);
        let cores = [Core::new(model.clone()), Core::new(model)];
        for core in &cores {
            core.write_lvtpc_bits(NMI);
            for (number, value) in (0..).zip(values) {
                let flags = flags >> (5 * number);
                let select = CYCLES | (flags & 1) << 18 | (flags >> 1 & 1) << 23
                    | (flags >> 2 & 3) << 24;
                core.wrmsr(0x186 + number, select).unwrap();
                core.wrmsr(0x4c1 + number, (1 << 48) - value).unwrap();
            }
            let is_single = core::ptr::eq(core, &raw const cores[0]);
            for (is_user, count, cycles) in &program {
                let privilege = if *is_user { Privilege::User } else { Privilege::Kernel };
                let cycle = Cycle { privilege, interrupts: true, events: &[(Event::Cycles, *count)] };
                if is_single {
                    for _ in 0..*cycles {
                        core.execute(&cycle, 1);
                    }
                } else {
                    core.execute(&cycle, *cycles);
                }
            }
        }
        let [one, other] = &cores;
        prop_assert_eq!(one.snapshot(), other.snapshot());
        prop_assert_eq!(one.deliveries(), other.deliveries());
        prop_assert_eq!(one.now(), other.now());
        for counter in (0..3).map(Id::General) {
            prop_assert_eq!(one.counted(counter), other.counted(counter));
            prop_assert_eq!(one.wraps(counter), other.wraps(counter));
        }
    }
}
