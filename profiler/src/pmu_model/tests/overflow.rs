//! From the wrap of a counter to the interrupt.

use super::*;
use crate::pmu::registers::Registers;

/// A core of which a counter wraps after `events` cycles, and interrupts.
fn armed(model: Model, events: u64) -> Core {
    let core = Core::new(model);
    core.write_lvtpc_bits(NMI);
    match core.model().kind {
        Kind::Intel(_) => {
            core.wrmsr(0x186, CYCLES).unwrap();
            core.wrmsr(0xc1, events.wrapping_neg()).unwrap();
        }
        Kind::Amd(_) => {
            core.wrmsr(0xc001_0000, AMD_CYCLES).unwrap();
            rearm(&core, events);
        }
    }
    core
}

/// The counter wraps again after `events` cycles.
fn rearm(core: &Core, events: u64) {
    let value = events.wrapping_neg();
    match core.model().kind {
        Kind::Intel(_) => core.wrmsr(0xc1, value).unwrap(),
        Kind::Amd(_) => core.wrmsr(0xc001_0004, value & bits(0, 47)).unwrap(),
    }
}

/// The NMI of counter 0.
const OF_COUNTER_0: Delivered = Delivered::Nmi {
    overflows: 1,
    foreign: 0,
};

#[test]
fn a_wrap_sets_its_status_and_interrupts() {
    for model in all() {
        let core = armed(model, 100);
        core.execute(&KERNEL, 99);
        assert!(!core.pending_nmi());
        core.execute(&KERNEL, 1);
        assert!(core.pending_nmi());
        assert_eq!(core.wraps(Id::General(0)), 1);
        assert_eq!(core.raised(Id::General(0)), 1);
        let status = [0x38e, 0xc000_0300].map(|number| core.rdmsr(number).ok());
        match core.model().version() {
            Some(2..) => assert_eq!(status, [Some(1), None]),
            None if core.model().has_global() => assert_eq!(status, [None, Some(1)]),
            _ => assert_eq!(status, [None, None]),
        }
        assert_eq!(core.take_nmi(), OF_COUNTER_0);
        // It goes on counting from 0.
        core.execute(&KERNEL, 5);
        let (Ok(value) | Err(value)) = core.rdmsr(0xc1).or(core.rdmsr(0xc001_0004)).map_err(|_| 0);
        assert_eq!(value, 5);
    }
}

#[test]
fn without_int_there_is_status_only() {
    let core = armed(Model::intel(4), 1);
    core.wrmsr(0x186, CYCLES & !(1 << 20)).unwrap();
    core.wrmsr(0x309, bits(0, 47)).unwrap();
    core.wrmsr(0x38d, 0b0011).unwrap();
    core.wrmsr(0x38f, 0x1_0000_0001).unwrap();
    core.execute(&KERNEL, 1);
    assert_eq!(core.rdmsr(0x38e), Ok(1 << 32 | 1));
    assert_eq!(core.deliveries().raised, 0);
    core.wrmsr(0x390, 1 << 32).unwrap();
    assert_eq!(core.rdmsr(0x38e), Ok(1));
    core.wrmsr(0x38d, 0b1011).unwrap();
    core.wrmsr(0x309, bits(0, 47)).unwrap();
    core.execute(&KERNEL, 1);
    assert_eq!(core.raised(Id::Fixed(0)), 1);
    assert_eq!(core.take_nmi().overflows(), 1 << 32);
}

#[test]
fn a_stale_status_keeps_the_interrupt_back() {
    for needs_clear_status in [true, false] {
        let mut model = Model::intel(4);
        model.quirks.needs_clear_status = needs_clear_status;
        let core = armed(model, 1);
        core.wrmsr(0x391, 1).unwrap();
        assert_eq!(core.rdmsr(0x38e), Ok(1));
        core.execute(&KERNEL, 1);
        assert_eq!(core.pending_nmi(), !needs_clear_status);
        core.wrmsr(0x390, 0).unwrap();
        assert_eq!(core.rdmsr(0x38e), Ok(1));
        core.wrmsr(0x390, 1).unwrap();
        assert_eq!(core.rdmsr(0x38e), Ok(0));
        rearm(&core, 1);
        core.execute(&KERNEL, 1);
        assert!(core.pending_nmi());
    }
}

#[test]
fn a_delivery_masks_lvtpc_where_it_does() {
    for masks in [true, false] {
        let mut model = Model::intel(1);
        model.quirks.masks_on_delivery = masks;
        let core = armed(model, 1);
        core.execute(&KERNEL, 1);
        assert_eq!(core.read_lvtpc(), if masks { NMI | MASKED } else { NMI });
        core.take_nmi();
        core.iret();
        rearm(&core, 1);
        core.execute(&KERNEL, 1);
        assert_eq!(core.pending_nmi(), !masks);
        let deliveries = core.deliveries();
        assert_eq!(deliveries.masked, u64::from(masks));
        assert_eq!(deliveries.latched, 2 - u64::from(masks));
        // What was lost does not come back.
        core.write_lvtpc_bits(NMI);
        assert_eq!(core.pending_nmi(), !masks);
    }
    assert!(Model::intel(4).quirks.masks_on_delivery);
    assert!(!Model::amd(AmdInterface::V2).quirks.masks_on_delivery);
}

#[test]
fn nmis_are_blocked_until_iret_and_latch_once() {
    let core = armed(Model::amd(AmdInterface::Core), 1);
    core.execute(&KERNEL, 1);
    core.take_nmi();
    for _ in 0..3 {
        rearm(&core, 1);
        core.execute(&KERNEL, 1);
    }
    core.send_nmi();
    assert!(!core.pending_nmi());
    core.iret();
    let merged = Delivered::Nmi {
        overflows: 1,
        foreign: 1,
    };
    assert_eq!(core.take_nmi(), merged);
    core.iret();
    assert!(!core.pending_nmi());
    let deliveries = core.deliveries();
    assert_eq!(
        (deliveries.raised, deliveries.latched, deliveries.merged),
        (4, 2, 2)
    );
    assert_eq!((deliveries.nmis, deliveries.foreign), (2, 1));
}

#[test]
#[should_panic(expected = "there is no NMI to be taken")]
fn a_blocked_nmi_cannot_be_taken() {
    let core = Core::new(Model::intel(4));
    core.send_nmi();
    core.take_nmi();
    core.send_nmi();
    core.take_nmi();
}

#[test]
fn a_vector_waits_for_interrupts_to_be_on() {
    let core = armed(Model::intel(4), 1);
    core.write_lvtpc_bits(0x42);
    core.execute(&KERNEL, 1);
    assert_eq!(core.pending(false), None);
    let expected = Delivered::Vector {
        vector: 0x42,
        overflows: 1,
    };
    assert_eq!(core.take(true), Some(expected));
    core.wrmsr(0x390, 1).unwrap();
    core.write_lvtpc_bits(0x42);
    rearm(&core, 1);
    core.execute(&KERNEL, 1);
    assert_eq!(core.take(true), None);
    core.end_of_interrupt();
    assert_eq!(core.take(true), Some(expected));
    assert_eq!(core.deliveries().interrupts, 2);
}

#[test]
fn an_interrupt_skids() {
    let mut model = Model::intel(4);
    model.quirks.status = Latency::fixed(2);
    model.quirks.interrupt = Latency::fixed(3);
    let core = armed(model.clone(), 10);
    let mut seen = Vec::new();
    for _ in 0..16 {
        core.execute(&KERNEL, 1);
        seen.push((core.rdmsr(0x38e).unwrap(), core.pending_nmi()));
    }
    let expected = [(11, (0, false)), (3, (1, false)), (2, (1, true))];
    let expected = expected
        .into_iter()
        .flat_map(|(cycles, what)| vec![what; cycles]);
    assert_eq!(seen, expected.collect::<Vec<_>>());

    model.quirks.interrupt = Latency::random(1, 5);
    let mut counts = [0; 7];
    for seed in 0..100 {
        model.quirks.seed = seed;
        let core = armed(model.clone(), 1);
        let waited = core.execute_until_interrupt(&KERNEL, 100);
        counts[usize::try_from(waited - 3).unwrap()] += 1;
    }
    assert!(counts[0] == 0 && counts[6] == 0, "{counts:?}");
    assert!(counts[1..=5].iter().all(|count| *count > 5), "{counts:?}");
}

#[test]
fn an_overflow_may_arrive_after_its_counter_was_stopped() {
    for mut model in all() {
        model.quirks.status = Latency::fixed(4);
        for late in [None, Some(Latency::fixed(50))] {
            model.quirks.late = late;
            let core = armed(model.clone(), 1);
            core.execute(&KERNEL, 1);
            assert_eq!(core.on_their_way(), [Id::General(0)]);
            let select = if model.version().is_some() {
                0x186
            } else {
                0xc001_0000
            };
            core.wrmsr(select, 0).unwrap();
            assert_eq!(core.pending_nmi(), late.is_none());
            core.execute(&KERNEL, 40);
            assert_eq!(core.pending_nmi(), late.is_none());
            core.execute(&KERNEL, 40);
            assert!(core.pending_nmi());
            assert_eq!(core.deliveries().raised, 1);
        }
    }
    // A counter that goes on is not affected.
    let mut model = Model::intel(4);
    model.quirks.status = Latency::fixed(4);
    let core = armed(model, 1);
    core.execute(&KERNEL, 1);
    core.wrmsr(0x187, 0).unwrap();
    core.wrmsr(0x186, CYCLES | 1 << 19).unwrap();
    assert!(!core.pending_nmi());
}

#[test]
fn counters_freeze_at_an_interrupt() {
    // Before version 4 the enable bits go.
    let core = armed(Model::intel(3), 10);
    core.wrmsr(0x1d9, 1 << 12).unwrap();
    core.execute(&KERNEL, 30);
    assert_eq!(core.rdmsr(0xc1), Ok(0));
    assert_eq!(core.rdmsr(0x38f), Ok(0));
    assert_eq!(core.rdmsr(0x38e), Ok(1));
    // From then on there is a bit for it, to be cleared.
    for (model, control, status, reset, counter) in [
        (Model::intel(4), 0x38f, 0x38e, 0x390, 0xc1),
        (
            Model::amd(AmdInterface::V2),
            0xc000_0301,
            0xc000_0300,
            0xc000_0302,
            0xc001_0201,
        ),
    ] {
        let core = armed(model, 10);
        let enabled = core.rdmsr(control);
        core.wrmsr(0x1d9, 0b11 << 11).unwrap();
        core.execute(&KERNEL, 30);
        assert_eq!(core.rdmsr(counter), Ok(0));
        assert_eq!(core.rdmsr(control), enabled);
        assert_eq!(core.rdmsr(status), Ok(0b11 << 58 | 1));
        core.wrmsr(reset, 1).unwrap();
        core.execute(&KERNEL, 30);
        assert_eq!(core.rdmsr(counter), Ok(0));
        core.wrmsr(reset, 0b11 << 58).unwrap();
        core.execute(&KERNEL, 30);
        assert_eq!(core.rdmsr(counter), Ok(30));
    }
}

#[test]
fn freezing_may_not_be_relied_on() {
    let frozen = |freezing| {
        let mut model = Model::intel(4);
        model.quirks.freezing = freezing;
        let frozen = (0..40).filter(|seed| {
            model.quirks.seed = *seed;
            let core = armed(model.clone(), 1);
            core.wrmsr(0x1d9, 1 << 12).unwrap();
            core.execute(&KERNEL, 10);
            core.rdmsr(0xc1) == Ok(0)
        });
        frozen.count()
    };
    assert_eq!(frozen(Freezing::Always), 40);
    assert_eq!(frozen(Freezing::Never), 0);
    assert!((5..35).contains(&frozen(Freezing::Sometimes)));
}

#[test]
fn an_interrupt_may_never_be_delivered() {
    let mut model = Model::intel(4);
    model.quirks.delivers = false;
    let core = armed(model, 1);
    core.execute(&KERNEL, 10);
    assert!(!core.pending_nmi());
    assert_eq!(core.read_lvtpc(), NMI);
    assert_eq!(core.rdmsr(0x38e), Ok(1));
    assert_eq!(core.deliveries().undelivered, 1);
}

#[test]
fn others_set_the_status_too() {
    let core = armed(Model::intel(4), 1000);
    core.set_status(1 << 63, false);
    assert!(!core.pending_nmi());
    core.set_status(1 << 61, true);
    assert_eq!(core.take_nmi().overflows(), 1 << 61);
    assert_eq!(core.rdmsr(0x38e), Ok(1 << 63 | 1 << 61));
    core.wrmsr(0x390, 1 << 63).unwrap();
    assert_eq!(core.rdmsr(0x38e), Ok(1 << 61));
    core.set_status(1 << 59, false);
    core.execute(&KERNEL, 2000);
    assert_eq!(core.wraps(Id::General(0)), 0);
}

#[test]
fn lvtpc_takes_what_is_defined_only() {
    let panics = |entry| {
        let core = Core::new(Model::intel(4));
        let write = || core.write_lvtpc_bits(entry);
        std::panic::catch_unwind(std::panic::AssertUnwindSafe(write)).is_err()
    };
    for entry in [0x20, 0x1_0020, 0x400, 0x1_0400, 0x1400, 0x4ff] {
        assert!(!panics(entry), "{entry:#x}");
    }
    for entry in [
        0, 0xf, 0x1_0000, 0x1_000f, 0x200, 0x500, 0x700, 0x2_0400, 0x8400, 0x2400, 0xc00,
    ] {
        assert!(panics(entry), "{entry:#x}");
    }
}

#[test]
#[should_panic(expected = "#GP: wrmsr 0x38f 0x10: reserved bits 0x10; the accesses before")]
fn a_wrong_write_says_what_is_wrong() {
    Core::new(Model::intel(4)).write(intel::GLOBAL_CONTROL, 0x10);
}

#[test]
#[should_panic(expected = "#GP: rdmsr 0x38e: there is no such register")]
fn a_wrong_read_says_what_is_wrong() {
    Core::new(Model::intel(1)).read(intel::GLOBAL_STATUS);
}
