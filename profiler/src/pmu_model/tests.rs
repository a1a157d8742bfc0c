//! The model against the manuals: what registers there are and take, and CPUID.

mod counting;
mod overflow;
mod running;

use super::map::Register;
use super::*;
use crate::pmu::registers::{amd, debug_control, intel};

/// A cycle of the kernel with one of each of these.
const KERNEL: Cycle<'static> = Cycle {
    privilege: Privilege::Kernel,
    interrupts: true,
    events: &[(Event::Cycles, 1), (Event::Instructions, 2)],
};

/// The same of a user's program.
const USER: Cycle<'static> = Cycle {
    privilege: Privilege::User,
    ..KERNEL
};

/// Count cycles in both privileges, and interrupt.
const CYCLES: u64 = 0x3c | 0b11 << 16 | 1 << 20 | 1 << 22;
/// The same, AMD's.
const AMD_CYCLES: u64 = CYCLES ^ 0x3c ^ 0x76;
/// Deliver an NMI.
const NMI: u32 = 0x400;
/// LVTPC is masked.
const MASKED: u32 = 0x1_0000;

fn all() -> impl Iterator<Item = Model> {
    let intel = (1..=6).map(Model::intel);
    intel.chain([AmdInterface::Legacy, AmdInterface::Core, AmdInterface::V2].map(Model::amd))
}

/// The bits that the register takes, each by itself; `None`: it takes not even 0.
fn takes(model: &Model, number: u32) -> Option<u64> {
    let core = Core::new(model.clone());
    core.wrmsr(number, 0).ok()?;
    let bits = (0..64).map(|bit| 1 << bit);
    Some(bits.filter(|bit| core.wrmsr(number, *bit).is_ok()).sum())
}

/// Bits `from` to `to`.
const fn bits(from: u32, to: u32) -> u64 {
    (u64::MAX >> (63 - to)) & (u64::MAX << from)
}

#[test]
fn reserved_bits_and_absent_registers_are_refused() {
    let [v1, v2, v3, v4, v5, v6] = [1, 2, 3, 4, 5, 6].map(Model::intel);
    let mut guest = v4.clone();
    let vpmu = guest.as_intel();
    (vpmu.uncore, vpmu.trace, vpmu.sgx) = (false, false, false);
    let [legacy, core, perf_mon] =
        [AmdInterface::Legacy, AmdInterface::Core, AmdInterface::V2].map(Model::amd);
    let no_any = bits(0, 31) & !(1 << 21);
    let counters = |general: u32, fixed: u32| bits(0, general - 1) | bits(32, 31 + fixed);
    let amd_select = bits(0, 35) & !(1 << 19) & !(1 << 21) | bits(40, 41);
    let table: &[(&Model, u32, Option<u64>)] = &[
        // IA32_PERFEVTSEL0: ANY from version 3 on, until it is deprecated.
        (&v1, 0x186, Some(no_any)),
        (&v2, 0x186, Some(no_any)),
        (&v3, 0x186, Some(bits(0, 31))),
        (&v4, 0x186, Some(bits(0, 31))),
        (&v5, 0x186, Some(no_any)),
        (&v6, 0x1901, Some(no_any | 1 << 36 | bits(40, 47))),
        (&v6, 0x186, Some(no_any | 1 << 36 | bits(40, 47))),
        // The last one, and the next.
        (&v2, 0x187, Some(no_any)),
        (&v2, 0x188, None),
        (&v5, 0x18d, Some(no_any)),
        (&v5, 0x18e, None),
        // Counters 4 and 7 and fixed counter 3 are holes; 8 and 9 have no number below.
        (&v6, 0x1911, None),
        (&v6, 0x18a, None),
        (&v6, 0xc5, None),
        (&v6, 0x191c, None),
        (&v6, 0x18e, None),
        (&v6, 0x1924, Some(bits(0, 47))),
        (&v6, 0x1928, None),
        (&v6, 0x1988, Some(bits(0, 47))),
        (&v6, 0x198c, None),
        (&v6, 0x30c, None),
        (&v5, 0x1900, None),
        // Counters: IA32_PMCn ignores EDX; the others have their width.
        (&v1, 0xc1, Some(u64::MAX)),
        (&v4, 0xc4, Some(u64::MAX)),
        (&v4, 0xc5, None),
        (&v2, 0x4c1, None),
        (&v4, 0x4c1, Some(bits(0, 47))),
        (&v1, 0x309, None),
        (&v2, 0x309, Some(bits(0, 39))),
        (&v4, 0x30b, Some(bits(0, 47))),
        (&v4, 0x30c, None),
        // IA32_FIXED_CTR_CTRL.
        (&v1, 0x38d, None),
        (&v2, 0x38d, Some(0xbbb)),
        (&v3, 0x38d, Some(0xfff)),
        (&v5, 0x38d, Some(0xbbbb)),
        (&v6, 0x38d, Some(0xbbb_0bbb)),
        // IA32_PERF_GLOBAL_STATUS and INUSE are read-only.
        (&v2, 0x38e, None),
        (&v4, 0x38e, None),
        (&v4, 0x392, None),
        // IA32_PERF_GLOBAL_CTRL.
        (&v1, 0x38f, None),
        (&v2, 0x38f, Some(counters(2, 3))),
        (&v5, 0x38f, Some(counters(8, 4))),
        (&v6, 0x38f, Some(0x77_0000_036f)),
        // IA32_PERF_GLOBAL_OVF_CTRL, STATUS_RESET, STATUS_SET.
        (&v1, 0x390, None),
        (&v2, 0x390, Some(counters(2, 3) | bits(62, 63))),
        (&v3, 0x390, Some(counters(4, 3) | bits(61, 63))),
        (&v4, 0x390, Some(counters(4, 3) | 1 << 55 | bits(58, 63))),
        (
            &guest,
            0x390,
            Some(counters(4, 3) | bits(58, 59) | bits(62, 63)),
        ),
        (&v3, 0x391, None),
        (&v4, 0x391, Some(counters(4, 3) | 1 << 55 | bits(58, 62))),
        // IA32_DEBUGCTL, IA32_PERF_CAPABILITIES.
        (&v1, 0x1d9, Some(0b11 | bits(6, 10))),
        (&v2, 0x1d9, Some(0b11 | bits(6, 12))),
        (&v4, 0x1d9, Some(0b11 | bits(6, 14))),
        (&v4, 0x345, None),
        // AMD.
        (&legacy, 0xc001_0000, Some(amd_select)),
        (&legacy, 0xc001_0003, Some(amd_select)),
        (&legacy, 0xc001_0007, Some(bits(0, 47))),
        (&legacy, 0xc001_0008, None),
        (&legacy, 0xc001_0200, None),
        (&core, 0xc001_020a, Some(amd_select)),
        (&core, 0xc001_020b, Some(bits(0, 47))),
        (&core, 0xc001_020c, None),
        (&core, 0xc000_0301, None),
        (&core, 0x186, None),
        (&perf_mon, 0xc000_0300, None),
        (&perf_mon, 0xc000_0301, Some(bits(0, 5))),
        (&perf_mon, 0xc000_0302, Some(bits(0, 5) | bits(58, 59))),
        (&perf_mon, 0xc000_0303, None),
        (&perf_mon, 0x1d9, Some(0b11 | bits(11, 12))),
        (&core, 0x1d9, Some(0b11)),
    ];
    for (model, number, expected) in table {
        let found = takes(model, *number);
        assert_eq!(found, *expected, "{:?}: {number:#x}", model.kind);
    }
}

#[test]
fn registers_that_only_read_are_readable() {
    let core = Core::new(Model::intel(4));
    for (number, value) in [(0x345, bits(12, 13)), (0x38e, 0), (0x390, 0), (0x391, 0)] {
        assert_eq!(core.rdmsr(number), Ok(value), "{number:#x}");
    }
    assert!(Core::new(Model::intel(1)).rdmsr(0x345).is_err());
    assert_eq!(Core::new(Model::intel(2)).rdmsr(0x345), Ok(0));
}

#[test]
fn a_reset_enables_the_general_counters_and_masks_lvtpc() {
    for model in all() {
        let core = Core::new(model);
        let mut snapshot = core.snapshot();
        let control = [0x38f, 0xc000_0301].map(|number| snapshot.msrs.remove(&number));
        let expected = match &core.model().kind {
            Kind::Intel(intel) if intel.version == 1 => [None, None],
            Kind::Intel(intel) => [Some(intel.general.into()), None],
            Kind::Amd(amd) if amd.interface < AmdInterface::V2 => [None, None],
            Kind::Amd(_) => [None, Some(0x3f)],
        };
        assert_eq!(control, expected);
        assert!(snapshot.msrs.values().all(|value| *value == 0));
        assert_eq!(snapshot.lvtpc, MASKED);
    }
}

#[test]
fn short_writes_extend_the_sign_to_the_width() {
    for (version, width) in [(1, 40), (2, 40), (3, 48), (4, 48), (6, 48)] {
        let core = Core::new(Model::intel(version));
        let written = |value| {
            core.wrmsr(0xc1, value).unwrap();
            core.rdmsr(0xc1).unwrap()
        };
        assert_eq!(written(0x7fff_ffff), 0x7fff_ffff);
        assert_eq!(written(0x8000_0000), bits(31, width - 1));
        assert_eq!(written(-100_i64 as u64), bits(0, width - 1) - 99);
        // EDX is ignored.
        assert_eq!(written(0x1234_0000_0005), 5);
    }
}

#[test]
fn one_counter_has_several_numbers() {
    let pairs = [
        (Model::intel(4), vec![(0x4c2, 0xc2)]),
        (
            Model::intel(6),
            vec![
                (0x1904, 0xc2),
                (0x1904, 0x4c2),
                (0x1905, 0x187),
                (0x1984, 0x30a),
            ],
        ),
        (
            Model::amd(AmdInterface::Core),
            vec![(0xc001_0206, 0xc001_0003), (0xc001_0207, 0xc001_0007)],
        ),
    ];
    for (model, pairs) in pairs {
        let core = Core::new(model);
        for (at, (one, other)) in (0x70..).zip(pairs) {
            core.wrmsr(one, at).unwrap();
            assert_eq!(core.rdmsr(other), Ok(at), "{one:#x} {other:#x}");
            core.wrmsr(other, at + 1).unwrap();
            assert_eq!(core.rdmsr(one), Ok(at + 1), "{one:#x} {other:#x}");
        }
    }
}

#[test]
fn each_state_is_in_the_snapshot_once() {
    for model in all() {
        let core = Core::new(model);
        let (general, fixed) = core.model().counters();
        let counters = general.count_ones() * 2 + fixed.count_ones();
        let others = match core.model().version() {
            Some(1) => 1,
            Some(_) => 4,
            None if core.model().has_global() => 3,
            None => 1,
        };
        let before = core.snapshot();
        assert_eq!(before.msrs.len(), (counters + others) as usize);
        for number in before.msrs.keys() {
            if core.wrmsr(*number, 1).is_ok() {
                assert_eq!(core.snapshot().msrs[number], 1, "{number:#x}");
            }
        }
    }
}

/// The driver's table of registers says what the manual says.
#[test]
fn the_registers_have_the_manuals_numbers() {
    let model = Model::intel(6);
    let counter = Some(Register::ShortCounter(3));
    let pairs = [
        (intel::CAPABILITIES, Some(Register::Capabilities)),
        (intel::FIXED_CONTROL, Some(Register::FixedControl)),
        (intel::GLOBAL_STATUS, Some(Register::Status)),
        (intel::GLOBAL_CONTROL, Some(Register::Control)),
        (intel::GLOBAL_STATUS_RESET, Some(Register::StatusReset)),
        (intel::event_select(3), Some(Register::Select(3))),
        (intel::counter(3), counter),
        (intel::full_width_counter(3), Some(Register::Counter(3))),
        (intel::fixed_counter(2), Some(Register::Fixed(2))),
        (intel::v6::event_select(9), Some(Register::Select(9))),
        (intel::v6::counter(9), Some(Register::Counter(9))),
        (intel::v6::fixed_counter(6), Some(Register::Fixed(6))),
    ];
    for (msr, register) in pairs {
        assert_eq!(model.register(msr.number()), register, "{msr:?}");
    }
    let model = Model::amd(AmdInterface::V2);
    let pairs = [
        (amd::GLOBAL_STATUS, Register::Status),
        (amd::GLOBAL_CONTROL, Register::Control),
        (amd::GLOBAL_STATUS_CLEAR, Register::StatusReset),
        (amd::legacy_event_select(3), Register::Select(3)),
        (amd::legacy_counter(3), Register::Counter(3)),
        (amd::event_select(5), Register::Select(5)),
        (amd::counter(5), Register::Counter(5)),
    ];
    for (msr, register) in pairs {
        assert_eq!(model.register(msr.number()), Some(register), "{msr:?}");
    }
    for model in all() {
        let register = model.register(debug_control::NUMBER);
        assert_eq!(register, Some(Register::DebugControl));
    }
}

#[test]
fn hypervisors_err() {
    let mut refusing = Model::intel(4);
    refusing.quirks.refused = vec![0x38f];
    let core = Core::new(refusing);
    assert!(core.rdmsr(0x38f).is_err());
    assert!(core.wrmsr(0x38f, 0).is_err());
    assert!(core.rdmsr(0x38e).is_ok());

    let mut ignoring = Model::intel(0);
    assert!(Core::new(ignoring.clone()).rdmsr(0xc1).is_err());
    ignoring.quirks.ignores_unknown = true;
    let core = Core::new(ignoring);
    assert_eq!(core.wrmsr(0xc1, 5), Ok(()));
    assert_eq!(core.rdmsr(0xc1), Ok(0));

    let mut dropping = Model::amd(AmdInterface::V2);
    dropping.quirks.drops_reserved = true;
    let core = Core::new(dropping);
    core.wrmsr(0xc001_0200, u64::MAX).unwrap();
    assert_eq!(core.rdmsr(0xc001_0200), Ok(0x30f_ffd7_ffff));
    core.wrmsr(0xc001_0201, u64::MAX).unwrap();
    assert_eq!(core.rdmsr(0xc001_0201), Ok(bits(0, 47)));
    core.wrmsr(0xc000_0300, 1).unwrap();
    assert_eq!(core.rdmsr(0xc000_0300), Ok(0));
}

#[test]
fn cpuid_tells_what_there_is() {
    let leaf = |model: &Model, leaf| model.cpuid(leaf, 0);
    let names = |[_, b, c, d]: [u32; 4]| [b, d, c].map(u32::to_le_bytes).concat();
    let v4 = Model::intel(4);
    assert_eq!(names(leaf(&v4, 0)), b"GenuineIntel");
    assert_eq!(leaf(&v4, 1), [0x0005_06e1, 0, 1 << 15, 0]);
    assert_eq!(leaf(&v4, 0xa), [0x0730_0404, 0, 0, 0x0603]);
    assert_eq!(leaf(&Model::intel(1), 0xa), [0x0728_0201, 0, 0, 0]);
    assert_eq!(leaf(&Model::intel(0), 0xa), [0; 4]);
    assert_eq!(leaf(&Model::intel(5), 0xa), [0x0830_0805, 0, 0xf, 0x8604]);

    let mut v6 = Model::intel(6);
    v6.as_intel().absent_events = 0b10;
    v6.as_intel().core_type = Some(0x20);
    assert_eq!(v6.cpuid(7, 1), [1 << 8, 0, 0, 0]);
    assert_eq!(leaf(&v6, 7)[3], 1 << 15);
    assert_eq!(leaf(&v6, 0x1a)[0] >> 24, 0x20);
    assert_eq!(leaf(&v6, 0xa), [0x0830_0406, 0b10, 0x77, 0x8603]);
    assert_eq!(leaf(&v6, 0x23), [0b1011, 0b11, 0, 0]);
    assert_eq!(v6.cpuid(0x23, 1), [0x36f, 0x77, 0, 0]);
    assert_eq!(v6.cpuid(0x23, 3), [0b1111_1101, 0, 0, 0]);

    let amd = Model::amd(AmdInterface::V2);
    assert_eq!(names(leaf(&amd, 0)), b"AuthenticAMD");
    assert_eq!(leaf(&amd, 1)[0], 0x00a1_0f11);
    assert_eq!(leaf(&amd, 0x8000_0000)[0], 0x8000_0028);
    assert_eq!(leaf(&amd, 0x8000_0001)[2], 1 << 23);
    assert_eq!(leaf(&amd, 0x8000_0022), [0b101, 6, 0, 0]);
    let legacy = Model::amd(AmdInterface::Legacy);
    assert_eq!(leaf(&legacy, 0x8000_0001)[2], 0);
}

#[test]
fn cpuid_above_the_maximum_is_not_to_be_trusted() {
    let mut model = Model::intel(1);
    // No hypervisor: not even that leaf.
    for leaf in [0xb, 0x23, 0x4000_0000, 0x8000_0022] {
        assert_eq!(model.cpuid(leaf, 0), model.cpuid(0xa, 0), "{leaf:#x}");
    }
    model.above = Above::Garbage;
    model.max_leaf = 4;
    assert_ne!(model.cpuid(0xa, 0)[0] & 0xff, 0);
    model.hypervisor = Some(*b"KVMKVMKVM\0\0\0");
    assert_eq!(model.cpuid(1, 0)[2] >> 31, 1);
    assert_eq!(model.cpuid(0x4000_0000, 0)[1], u32::from_le_bytes(*b"KVMK"));
    assert_eq!(Model::amd(AmdInterface::Core).cpuid(0x8000_0022, 0), [0; 4]);
}
