//! Events as registers take them, by maker and family.

use super::detect::Cpu;
use crate::pmu::counters::Counters;
use crate::pmu::detect::Capabilities;
use crate::pmu::encode::{Encoding, NoEncoding};
use crate::pmu::event::EventList;

fn encode(pmu: &Capabilities, event: &str) -> Result<Encoding, NoEncoding> {
    let list = EventList::parse(event).unwrap();
    pmu.encode(&list.as_slice()[0])
}

fn skylake() -> Capabilities {
    Cpu::intel(0x16, 0x506e3, [0x0730_0404, 0, 0, 0x0603])
        .detect()
        .unwrap()
}

fn ice_lake() -> Capabilities {
    Cpu::intel(0x1b, 0x706e5, [0x0830_0805, 0, 0xf, 0x8604])
        .detect()
        .unwrap()
}

fn zen(version: u32, has_v2: bool) -> Capabilities {
    let cpu = Cpu::amd(version, 1 << 23);
    let cpu = if has_v2 {
        cpu.with(0x8000_0022, 0, [1, 6, 0, 0])
    } else {
        cpu
    };
    cpu.detect().unwrap()
}

const USER: u64 = 1 << 16;
const KERNEL: u64 = 1 << 17;

#[test]
fn intels_architectural_events() {
    let pmu = skylake();
    for (event, select, fixed) in [
        ("cycles", 0x003c, 0b010),
        ("instructions", 0x00c0, 0b001),
        ("bus-cycles", 0x013c, 0),
        ("cache-references", 0x4f2e, 0),
        ("cache-misses", 0x412e, 0),
        ("branches", 0x00c4, 0),
        ("branch-misses", 0x00c5, 0),
    ] {
        let encoding = encode(&pmu, event).unwrap();
        assert_eq!(encoding.select, select | USER | KERNEL, "{event}");
        assert_eq!(
            encoding.counters,
            Counters {
                general: 0xf,
                fixed
            },
            "{event}"
        );
        assert_eq!(encoding.fixed, 0b11, "{event}");
    }
    // On the fixed counter alone.
    let reference = encode(&pmu, "ref-cycles").unwrap();
    assert_eq!(
        reference.counters,
        Counters {
            general: 0,
            fixed: 0b100
        }
    );
    for event in ["slots", "stalled-cycles-frontend"] {
        assert_eq!(encode(&pmu, event), Err(NoEncoding::NotHere), "{event}");
    }
    let slots = encode(&ice_lake(), "slots").unwrap();
    assert_eq!(slots.select & 0xffff, 0x01a4);
    assert_eq!(
        slots.counters,
        Counters {
            general: 0xff,
            fixed: 0b1000
        }
    );
}

#[test]
fn an_event_that_leaf_0xa_takes_back_is_not_here() {
    // Bit 6: no branch misses. The vector has seven bits, so no slots either.
    let pmu = Cpu::intel(0x16, 0x506e3, [0x0730_0404, 1 << 6 | 1 << 1, 0, 0x0603])
        .detect()
        .unwrap();
    assert_eq!(encode(&pmu, "branch-misses"), Err(NoEncoding::NotHere));
    // Instructions are left on their fixed counter, which has its own existence.
    let instructions = encode(&pmu, "instructions").unwrap();
    assert_eq!(
        instructions.counters,
        Counters {
            general: 0,
            fixed: 0b001
        }
    );
}

#[test]
fn privilege_edge_and_mask_go_to_their_bits() {
    let pmu = skylake();
    assert_eq!(encode(&pmu, "cycles:u").unwrap().select, 0x3c | USER);
    assert_eq!(encode(&pmu, "cycles:u").unwrap().fixed, 0b10);
    assert_eq!(encode(&pmu, "cycles:k").unwrap().select, 0x3c | KERNEL);
    assert_eq!(encode(&pmu, "cycles:k").unwrap().fixed, 0b01);
    let raw = encode(&pmu, "cpu/event=0xa3,umask=0x4,cmask=4,inv,edge/k").unwrap();
    assert_eq!(raw.select, 0x04a3 | KERNEL | 1 << 18 | 1 << 23 | 4 << 24);
    // A fixed counter has no such bits.
    let masked = encode(&pmu, "instructions/cmask=1/").unwrap();
    assert_eq!(masked.counters.fixed, 0);
    assert_eq!(encode(&pmu, "ref-cycles/edge/"), Err(NoEncoding::PlainOnly));
}

#[test]
fn a_raw_event_takes_a_fixed_counter_too() {
    let pmu = skylake();
    assert_eq!(encode(&pmu, "r00c0").unwrap().counters.fixed, 0b001);
    assert_eq!(encode(&pmu, "r003c").unwrap().counters.fixed, 0b010);
    assert_eq!(encode(&pmu, "r01c0").unwrap().counters.fixed, 0);
}

#[test]
fn bits_of_the_other_maker_are_refused() {
    assert_eq!(
        encode(&skylake(), "cpu/event=0x120/"),
        Err(NoEncoding::Bits(1 << 32))
    );
    assert_eq!(
        encode(&skylake(), "cpu/event=0xc0,umask=0x101/"),
        Err(NoEncoding::Bits(1 << 40))
    );
    let zen = zen(0x0080_0f11, false);
    assert_eq!(
        encode(&zen, "cpu/event=0x120/").unwrap().select & !(USER | KERNEL),
        1 << 32 | 0x20
    );
    assert_eq!(
        encode(&zen, "cpu/event=0xc0,umask=0x101/"),
        Err(NoEncoding::Bits(1 << 40))
    );
}

#[test]
fn an_event_is_restricted_to_counters_by_name() {
    let pmu = skylake();
    let on_two = encode(&pmu, "cpu/event=0x48,umask=1,counters=0x4/").unwrap();
    assert_eq!(
        on_two.counters,
        Counters {
            general: 0b100,
            fixed: 0
        }
    );
    let none = encode(&pmu, "cpu/event=0x48,umask=1,counters=0xf0/");
    assert_eq!(none, Err(NoEncoding::NoSuchCounter(0xf0)));
}

#[test]
fn amds_events_by_family() {
    let k10 = Cpu::amd(0x0010_0f42, 0).detect().unwrap();
    let (zen1, zen2) = (zen(0x0080_0f11, false), zen(0x0083_0f10, false));
    let (zen3, zen4) = (zen(0x00a2_0f10, false), zen(0x00a1_0f11, true));
    let zen5 = zen(0x00b0_0f21, true);
    let all = [k10, zen1, zen2, zen3, zen4, zen5];
    let none = None;
    for (event, expected) in [
        ("cycles", [Some(0x76); 6]),
        ("instructions", [Some(0xc0); 6]),
        ("branches", [Some(0xc2); 6]),
        ("branch-misses", [Some(0xc3); 6]),
        (
            "cache-references",
            [
                Some(0x077d),
                Some(0xff60),
                Some(0xff60),
                Some(0xff60),
                Some(0xff60),
                Some(0xff60),
            ],
        ),
        (
            "cache-misses",
            [
                Some(0x077e),
                Some(0x0964),
                Some(0x0964),
                Some(0x0964),
                Some(0x0964),
                Some(0x0964),
            ],
        ),
        (
            "ref-cycles",
            [
                none,
                none,
                none,
                none,
                Some(0x1_0000_0120),
                Some(0x1_0000_0120),
            ],
        ),
        (
            "stalled-cycles-frontend",
            [
                Some(0xd0),
                Some(0x0287),
                Some(0xa9),
                Some(0xa9),
                Some(0xa9),
                Some(0xa9),
            ],
        ),
        (
            "stalled-cycles-backend",
            [Some(0xd1), Some(0x0187), none, none, none, none],
        ),
        ("slots", [none; 6]),
        ("bus-cycles", [none; 6]),
    ] {
        let found = all.map(|pmu| {
            encode(&pmu, event)
                .ok()
                .map(|it| it.select & !(USER | KERNEL))
        });
        assert_eq!(found, expected, "{event}");
    }
}

#[test]
fn events_of_family_15h_have_their_counters() {
    let bulldozer = zen(0x0060_0f12, false);
    for (event, general) in [
        ("cycles", 0b111),
        ("cache-references", 0b111),
        ("cache-misses", 0b111),
        ("stalled-cycles-frontend", 0b111),
        ("stalled-cycles-backend", 0b111),
        ("instructions", 0b11_1111),
        ("branches", 0b11_1111),
        ("branch-misses", 0b11_1111),
        ("r0076", 0b111),
        ("cpu/event=0x60/", 0b111),
        ("cpu/event=0x9f/", 0b111),
        ("cpu/event=0x40/", 0b11_1111),
        ("cpu/event=0x43/", 0b111),
        ("cpu/event=0xdb/", 0b11_1111),
        ("cpu/event=0x1d6/", 0b11_1111),
        ("cpu/event=0x10/", 0b11_1000),
        ("cpu/event=0x1c0/", 0b11_1000),
        ("cpu/event=0x03,umask=0xff/", 0b1000),
        ("cpu/event=0x2d/", 0b1000),
        ("cpu/event=0x2e/", 0b1001),
        ("cpu/event=0x8f/", 0b1),
        ("cpu/event=0x187/", 0b1),
    ] {
        let counters = encode(&bulldozer, event).unwrap().counters;
        assert_eq!(counters, Counters { general, fixed: 0 }, "{event}");
    }
    // The northbridge has counters of its own.
    assert_eq!(
        encode(&bulldozer, "cpu/event=0xe0/"),
        Err(NoEncoding::NotHere)
    );
    let elsewhere = encode(&bulldozer, "cpu/event=0x76,counters=0x8/");
    assert_eq!(elsewhere, Err(NoEncoding::NoSuchCounter(0x8)));
    // Before and after it each counter counts each event.
    for (pmu, general) in [
        (Cpu::amd(0x0010_0f42, 0).detect().unwrap(), 0xf),
        (zen(0x0080_0f11, false), 0x3f),
    ] {
        for event in ["cycles", "stalled-cycles-backend", "cpu/event=0xe0/"] {
            let counters = encode(&pmu, event).unwrap().counters;
            assert_eq!(counters, Counters { general, fixed: 0 }, "{event}");
        }
    }
}

#[test]
fn an_event_without_any_counter_is_not_here() {
    // A leaf 0x23 without general counters.
    let pmu = Capabilities {
        counters: Counters::NONE,
        ..skylake()
    };
    for event in ["branches", "r01c0", "branches/edge/"] {
        assert_eq!(encode(&pmu, event), Err(NoEncoding::NotHere), "{event}");
    }
}

#[test]
fn short_periods_are_lengthened_by_the_model() {
    let of = |version| {
        Cpu::intel(0xd, version, [0x0730_0403, 0, 0, 0x0603])
            .detect()
            .unwrap()
    };
    for (name, versions, instructions, others) in [
        ("Nehalem", &[0x106a5, 0x106e5, 0x106f0, 0x206e6][..], 32, 32),
        ("Westmere", &[0x20652, 0x206c2, 0x206f2], 32, 32),
        ("Sandy Bridge", &[0x206a7], 2, 2),
        ("Haswell", &[0x306c3, 0x306f2, 0x40651, 0x40661], 128, 32),
        ("Broadwell", &[0x306d4, 0x40671, 0x406f1, 0x50663], 128, 2),
        ("Skylake", &[0x506e3], 2, 2),
    ] {
        for version in versions {
            let pmu = of(*version);
            for (event, least) in [
                ("instructions", instructions),
                ("rc0", instructions),
                ("r01c0", instructions),
                ("cycles", others),
                ("ref-cycles", others),
                ("r02c0", others),
            ] {
                let encoding = encode(&pmu, event).unwrap();
                assert_eq!(encoding.min_count, least, "{event} on {name} {version:#x}");
            }
        }
    }
    // Another family with the same number.
    assert_eq!(
        encode(&zen(0x0003_0fc3, false), "cycles")
            .unwrap()
            .min_count,
        2
    );
}
