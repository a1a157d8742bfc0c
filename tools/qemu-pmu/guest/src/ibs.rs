//! Instruction-Based Sampling of ops: its registers, and where its samples and
//! their interrupts come.

use crate::code;
use crate::machine::{self, read_msr, try_read_msr, write_faults, write_msr};
use crate::model::{Counter, Expected, Switch};
use crate::report::{equal, test};
use crate::sampling::{self, Setup};

const OP_CTL: u32 = 0xc001_1033;
/// The address of the op that was sampled.
pub const OP_RIP: u32 = 0xc001_1034;
const OP_DATA1: u32 = 0xc001_1035;
const CONTROL: u32 = 0xc001_103a;

const ENABLE: u64 = 1 << 17;
const VALID: u64 = 1 << 18;
const COUNT_OPS: u64 = 1 << 19;

/// In the first extended entry of the local vector table, which is IBS's.
const ENTRY: u32 = 0x500;
const EXTENDED_FEATURE: u32 = 0x400;

/// Turns of loops.
const TURNS: u64 = 500;

/// All of them, if there is IBS; else that there is none.
pub fn all(expected: &Expected) {
    let has_leaf = machine::cpuid(0x8000_0000)[0] >= 0x8000_001b;
    let announced = has_leaf && machine::cpuid(0x8000_0001)[2] & 1 << 10 != 0;
    equal(format_args!("IBS"), announced, expected.ibs);
    if !expected.ibs {
        return;
    }
    if expected.aborts {
        return aborting();
    }
    registers();
    counting();
    for (name, entry, flags) in [
        ("by NMI", machine::LVT_NMI, COUNT_OPS),
        ("by NMI, cycles", machine::LVT_NMI, 0),
        ("by vector", machine::OVERFLOW_VECTOR.into(), COUNT_OPS),
    ] {
        for period in [100, 144, 1000] {
            sampling(expected, name, entry, period, flags);
        }
    }
    redirected(expected);
    stopping(expected);
}

/// What lets it count `ops`, and samples the last of them.
fn control(ops: u64, flags: u64) -> u64 {
    let max = ops.next_multiple_of(16).max(144);
    max >> 4 & 0xffff | max & 0x7f0_0000 | flags | ENABLE | (max - ops) << 32
}

fn registers() {
    let leaf = machine::cpuid(0x8000_001b)[0];
    equal(format_args!("leaf 8000001Bh"), leaf, 0b1101_1101);
    equal(format_args!("IbsControl"), read_msr(CONTROL), 1 << 8);
    equal(format_args!("IbsOpCtl at reset"), read_msr(OP_CTL), 0);
    for bit in [16, 27, 31, 59, 63] {
        test(
            write_faults(OP_CTL, 1 << bit),
            format_args!("#GP: bit {bit} of IbsOpCtl"),
        );
    }
    test(write_faults(CONTROL, 0), format_args!("#GP: IbsControl"));
    for msr in [0xc001_1030, 0xc001_1032, 0xc001_103b] {
        let is_missing = try_read_msr(msr).is_none() && write_faults(msr, 0);
        test(is_missing, format_args!("#GP: MSR {msr:#x} is not there"));
    }
    write_msr(OP_RIP, 0x1234);
    equal(format_args!("IbsOpRip"), read_msr(OP_RIP), 0x1234);
    let version = machine::read_apic(0x30);
    test(version >> 31 == 1, format_args!("extended APIC space"));
    let entries = machine::read_apic(EXTENDED_FEATURE) >> 16 & 0xff;
    equal(format_args!("extended entries"), entries, 4);
    for number in 0..4 {
        let entry = ENTRY + 0x10 * number;
        let at_reset = machine::read_apic(entry);
        equal(
            format_args!("entry {number}"),
            at_reset,
            machine::LVT_MASKED,
        );
        machine::write_apic(entry, machine::LVT_MASKED | 0x432);
        let written = machine::read_apic(entry);
        equal(format_args!("entry {number}"), written, 0x1_0432);
        machine::write_apic(entry, machine::LVT_MASKED);
    }
}

/// The count goes on from what is written, and stands still at a sample.
fn counting() {
    write_msr(OP_CTL, control(100_000, COUNT_OPS));
    let first = read_msr(OP_CTL);
    let second = read_msr(OP_CTL);
    test(first & VALID == 0, format_args!("no sample yet"));
    let step = (second >> 32) - (first >> 32);
    test((1..20).contains(&step), format_args!("it counts: {step}"));
    write_msr(OP_CTL, 0);
    let stopped = [read_msr(OP_CTL), read_msr(OP_CTL)];
    equal(format_args!("it is stopped"), stopped, [0, 0]);
    // SAFETY: the MSR is the PMU's; the entry is masked.
    unsafe { code::start_then_loop(OP_CTL, control(300, COUNT_OPS), TURNS) };
    let samples = [read_msr(OP_CTL), read_msr(OP_CTL)];
    test(
        samples[0] & VALID != 0,
        format_args!("a sample without interrupt"),
    );
    equal(
        format_args!("the count stands still"),
        samples[1],
        samples[0],
    );
    test(
        samples[0] >> 39 == 0,
        format_args!("the count has begun anew"),
    );
    let address = code::address_at(299);
    equal(
        format_args!("IbsOpRip without interrupt"),
        read_msr(OP_RIP),
        address,
    );
    let valid = read_msr(OP_DATA1) & 1 << 38;
    equal(format_args!("IbsRipInvalid"), valid, 0);
    write_msr(OP_CTL, 0);
    test(
        read_msr(OP_RIP) != address,
        format_args!("IbsOpRip is lost with the valid bit"),
    );
    // Reserved maxima.
    for max in [0, 1, 8] {
        write_msr(OP_CTL, max | ENABLE);
        let counted = [read_msr(OP_CTL), read_msr(OP_CTL)].map(|it| it >> 32);
        equal(format_args!("maximum {max} counts"), counted, [0, 0]);
    }
    write_msr(OP_CTL, 0);
}

/// The second op that is tagged does not retire: no sample, and the count begins anew.
fn aborting() {
    for (number, samples) in [("first", true), ("second", false), ("third", true)] {
        // SAFETY: the MSR is the PMU's; the entry is masked.
        unsafe { code::start_then_loop(OP_CTL, control(1000, COUNT_OPS), TURNS) };
        let control = read_msr(OP_CTL);
        write_msr(OP_CTL, 0);
        let name = format_args!("the {number} tag makes a sample");
        equal(name, control & VALID != 0, samples);
        // 1000 of the 1500 instructions are gone by the time that it is tagged.
        test(
            control >> 32 < 1000,
            format_args!("after the {number} tag it begins anew"),
        );
    }
}

/// Each sample is the last of `period` instructions, its interrupt comes `skid` later.
fn sampling(expected: &Expected, name: &str, entry: u32, period: u64, flags: u64) {
    const WANTED: u64 = 20;
    let run = sampling::run(0);
    let step = period - code::OVERFLOW_EXIT + expected.skid;
    run.set_up(&expected.model, &setup(entry, period, flags, WANTED, step));
    machine::write_apic(ENTRY, entry);
    machine::enable_interrupts(true);
    // SAFETY: the MSR is the PMU's, the interrupt has an entry.
    unsafe { code::start_then_loop(OP_CTL, control(period, flags), WANTED * period) };
    machine::enable_interrupts(false);
    machine::write_apic(ENTRY, machine::LVT_MASKED);
    let name = format_args!("IBS {name}, {period}");
    equal(name, run.taken(), WANTED);
    let first = run.positions().next();
    equal(name, first, Some(period + expected.skid));
    equal(name, run.astray(), 0);
    equal(name, run.inexact(), 0);
}

fn setup(entry: u32, period: u64, flags: u64, wanted: u64, step: u64) -> Setup {
    Setup {
        counter: Counter::General(0),
        switch: Switch {
            msr: OP_CTL,
            on: control(period, flags),
            off: 0,
        },
        period,
        entry: entry | machine::LVT_MASKED,
        wanted,
        step,
    }
}

/// An exception comes when all but the last instruction were executed: the first of its
/// handler is what is sampled.
fn redirected(expected: &Expected) {
    let run = sampling::run(0);
    run.set_up(&expected.model, &setup(machine::LVT_NMI, 144, 0, 1, 0));
    machine::write_apic(ENTRY, machine::LVT_NMI);
    let handler = code::protection_entry as *const () as u64;
    let hit = (1..30).find(|&ops| {
        write_msr(OP_CTL, control(ops, 0));
        let faults = write_faults(OP_DATA1 - 5, 0);
        for _ in 0..50 + expected.skid {
            core::hint::spin_loop();
        }
        faults && run.exact_seen() == handler
    });
    machine::write_apic(ENTRY, machine::LVT_MASKED);
    test(
        hit.is_some(),
        format_args!("an exception before the op that is due"),
    );
}

/// The WRMSR that stops is the last to count.
fn stopping(expected: &Expected) {
    let run = sampling::run(0);
    machine::write_apic(ENTRY, machine::LVT_NMI);
    for (more, interrupts) in [(0, 1), (1, 0)] {
        let ops = 2 * TURNS + 4 + more;
        run.set_up(&expected.model, &setup(machine::LVT_NMI, ops, 0, 1, 0));
        // SAFETY: the MSR is the PMU's, the interrupt has an entry.
        unsafe { code::start_then_stop(OP_CTL, control(ops, 0), 0, TURNS) };
        (0..2 * expected.skid).for_each(|_| core::hint::spin_loop());
        let taken = run.taken();
        equal(
            format_args!("sample by the WRMSR that stops"),
            taken,
            interrupts,
        );
    }
    machine::write_apic(ENTRY, machine::LVT_MASKED);
}
