//! `apic.x-strict` and `apic.x-thermal-smi`: by the SDM, volume 3, chapter "Advanced
//! Programmable Interrupt Controller (APIC)".

use super::{Words, entries};
use crate::machine::{self, LVT_MASKED, read_apic, try_read_msr, write_apic, write_faults};
use crate::report::{equal, test};

const VERSION: u32 = 0x30;
const SPURIOUS: u32 = 0xf0;
const IN_SERVICE: u32 = 0x100;
const ERRORS: u32 = 0x280;
const COMMAND: u32 = 0x300;
const TIMER: u32 = 0x320;
const THERMAL: u32 = 0x330;
const PERFORMANCE: u32 = 0x340;
const LINT0: u32 = 0x350;
const LINT1: u32 = 0x360;
const ERROR: u32 = 0x370;
/// AMD's, where the version register has this bit.
const EXTENDED: u32 = 0x500;
const HAS_EXTENSION: u32 = 1 << 31;

const ERROR_VECTOR: u8 = 0xfe;
const SPURIOUS_VECTOR: u8 = 0xff;
const RECEIVED: u32 = 1 << 6;
const SENT: u32 = 1 << 5;
const ILLEGAL_REGISTER: u32 = 1 << 7;
const FIRMWARE_SMI: u32 = 2 << 8;
const NMI: u32 = 4 << 8;

/// Has the errors interrupt, and forgets what there were.
fn let_errors_interrupt() {
    write_apic(ERROR, u32::from(ERROR_VECTOR));
    write_apic(ERRORS, 0);
    write_apic(ERRORS, 0);
    entries::arrived(ERROR_VECTOR);
}

fn has_extension() -> bool {
    read_apic(VERSION) & HAS_EXTENSION != 0
}

fn errors() -> u32 {
    write_apic(ERRORS, 0);
    read_apic(ERRORS)
}

pub fn judge(words: &Words<'_>) {
    let on = words.is_on();
    illegal_vectors(on);
    if machine::is_x2apic() {
        faults(on);
        window_in_memory(on);
    } else {
        read_back(on);
        illegal_registers(on);
    }
    disabled(on, PERFORMANCE);
    if has_extension() {
        disabled(on, EXTENDED);
    }
    real_spurious();
}

/// "Valid Interrupt Vectors", "Error Handling"
fn illegal_vectors(on: bool) {
    let_errors_interrupt();
    let once = u32::from(on);
    let logged = if on { RECEIVED } else { 0 };
    let extended = ("extended, masked, vector 0", EXTENDED, LVT_MASKED);
    let entries_of_all = [
        ("timer, masked, vector 0", TIMER, LVT_MASKED),
        ("performance, masked, vector 0", PERFORMANCE, LVT_MASKED),
        ("thermal, masked, vector 15", THERMAL, LVT_MASKED | 15),
        ("LINT0, vector 0", LINT0, 0),
        ("LINT1, masked, vector 1", LINT1, LVT_MASKED | 1),
    ];
    let of_amd = has_extension().then_some(extended);
    for (name, register, entry) in entries_of_all.into_iter().chain(of_amd) {
        write_apic(register, entry);
        write_apic(register, LVT_MASKED | 0x50);
        write_apic(register, entry);
        let came = entries::arrived(ERROR_VECTOR);
        equal(format_args!("{name}: error interrupts"), came, once);
        equal(format_args!("{name}: errors"), errors(), logged);
        equal(format_args!("{name}: errors after that"), errors(), 0);
        write_apic(register, LVT_MASKED | 0x50);
    }
    for (name, entry) in [("vector 16", LVT_MASKED | 16), ("NMI", LVT_MASKED | NMI)] {
        write_apic(PERFORMANCE, entry);
        let came = entries::arrived(ERROR_VECTOR);
        equal(format_args!("{name}: legal"), (came, errors()), (0, 0));
    }
    write_apic(ERROR, LVT_MASKED | u32::from(ERROR_VECTOR));
    write_apic(TIMER, LVT_MASKED);
    let came = entries::arrived(ERROR_VECTOR);
    let expected = (0, logged);
    equal(
        format_args!("masked errors are logged"),
        (came, errors()),
        expected,
    );
    let_errors_interrupt();
    if on {
        // Stock QEMU delivers exception 3.
        machine::write_command(0, 0x4_0003);
        let came = entries::arrived(ERROR_VECTOR);
        let expected = (1, SENT | RECEIVED);
        equal(format_args!("IPI by vector 3"), (came, errors()), expected);
    }
    machine::write_command(0, 0x4_0060);
    equal(format_args!("IPI by vector 60h"), entries::arrived(0x60), 1);
    equal(format_args!("no errors by that"), errors(), 0);
}

/// "Reserved Bit Checking", and registers that are read-only, write-only or none: #GP
/// in x2APIC mode.
fn faults(on: bool) {
    const NUMBER: u32 = 0x800;
    for (name, register, value) in [
        ("timer as NMI", TIMER, 0x1_0441),
        ("timer as NMI, unmasked", TIMER, 0x400),
        ("timer, TSC deadline", TIMER, 0x5_0041),
        ("thermal, bit 11", THERMAL, 0x1_0c00),
        ("performance, bit 13", PERFORMANCE, 0x1_2400),
        ("performance, bit 32", PERFORMANCE, 0x1_0001_0400),
        ("LINT0, bit 17", LINT0, 0x3_0700),
        ("error as NMI", ERROR, 0x1_04fe),
        ("task priority, bit 8", 0x80, 0x100),
        ("end of interrupt, 1", 0xb0, 1),
        ("spurious, bit 9", SPURIOUS, 0x3ff),
        ("spurious, bit 12", SPURIOUS, 0x11ff),
        ("errors, 1", ERRORS, 1),
        ("command, bit 12", COMMAND, 0x4_1060),
        ("command, bit 13", COMMAND, 0x4_2060),
        ("command, bit 16", COMMAND, 0x5_0060),
        ("command, bit 20", COMMAND, 0x14_0060),
        ("initial count, bit 32", 0x380, 1 << 32),
        ("divider, bit 2", 0x3e0, 0xf),
        ("self IPI, bit 8", 0x3f0, 0x160),
        ("version", VERSION, 0),
        ("processor priority", 0xa0, 0),
        ("in service", IN_SERVICE, 0),
        ("requested", 0x200, 0),
        ("current count", 0x390, 0),
    ] {
        let faulted = write_faults(NUMBER + register / 16, value);
        equal(format_args!("{name}: #GP"), faulted, on);
    }
    for (name, register) in [
        ("arbitration priority", 0x90),
        ("end of interrupt", 0xb0),
        ("command, high", 0x310),
    ] {
        let faulted = try_read_msr(NUMBER + register / 16).is_none();
        equal(format_args!("reading {name}: #GP"), faulted, on);
    }
    // What faulted has changed nothing; without the property it has.
    write_apic(TIMER, LVT_MASKED | 0x41);
    write_apic(SPURIOUS, 0x1ff);
    entries::arrived_by_any();
    let_errors_interrupt();
    for (name, register, value) in [
        ("timer, periodic", TIMER, 0x3_0041),
        ("timer, delivery status", TIMER, 0x1_1041),
        ("performance as NMI", PERFORMANCE, 0x1_0400),
        ("LINT1, all of it", LINT1, 0x1_f7ff),
        ("task priority", 0x80, 0xff),
        ("task priority 0", 0x80, 0),
        ("end of interrupt", 0xb0, 0),
        ("errors", ERRORS, 0),
    ] {
        let faulted = write_faults(NUMBER + register / 16, value);
        equal(format_args!("{name}: taken"), faulted, false);
    }
    write_apic(LINT1, LVT_MASKED | NMI);
}

/// "x2APIC Register Address Space": nothing in memory.
fn window_in_memory(on: bool) {
    let version = machine::read_memory(0xfee0_0000 + u64::from(VERSION));
    let expected = if on { u32::MAX } else { read_apic(VERSION) };
    equal(format_args!("version in memory"), version, expected);
}

/// Figure "Local Vector Table (LVT)": reserved bits read as 0.
fn read_back(on: bool) {
    for (name, register, all, real) in [
        ("timer", TIMER, 0xffff_ffff, 0x3_00ff),
        ("thermal", THERMAL, 0xffff_ffff, 0x1_07ff),
        ("performance", PERFORMANCE, 0xffff_ffff, 0x1_07ff),
        ("LINT0", LINT0, 0xffff_ffff, 0x1_a7ff),
        ("LINT1", LINT1, 0xffff_ffff, 0x1_a7ff),
        ("error", ERROR, 0xffff_ffff, 0x1_00ff),
        ("timer as NMI", TIMER, 0x1_0441, 0x1_0041),
        ("timer as NMI, unmasked, vector 0", TIMER, 0x400, 0),
    ] {
        write_apic(register, all);
        let expected = if on { real } else { all };
        equal(
            format_args!("{name}: {all:#x} reads"),
            read_apic(register),
            expected,
        );
        write_apic(register, LVT_MASKED | 0x50);
    }
    let_errors_interrupt();
    write_apic(TIMER, 0x400);
    let came = entries::arrived(ERROR_VECTOR);
    let expected = if on { (1, RECEIVED) } else { (0, 0) };
    equal(
        format_args!("timer as NMI is vector 0"),
        (came, errors()),
        expected,
    );
    write_apic(TIMER, LVT_MASKED | 0x41);
}

/// "Error Status Register": a reserved register. Stock QEMU shows it at once and for
/// ever, so this is the last that looks.
fn illegal_registers(on: bool) {
    let_errors_interrupt();
    let _ = read_apic(0x40);
    let came = entries::arrived(ERROR_VECTOR);
    equal(
        format_args!("reserved register: error interrupts"),
        came,
        u32::from(on),
    );
    equal(
        format_args!("reserved register: errors"),
        errors(),
        ILLEGAL_REGISTER,
    );
    let after = if on { 0 } else { ILLEGAL_REGISTER };
    equal(
        format_args!("reserved register: errors after that"),
        errors(),
        after,
    );
    if on {
        write_apic(0x2f0, 0);
        equal(
            format_args!("written reserved register"),
            errors(),
            ILLEGAL_REGISTER,
        );
    }
}

/// "Local APIC State After It Has Been Software Disabled"
fn disabled(on: bool, entry: u32) {
    write_apic(entry, NMI);
    write_apic(SPURIOUS, 0xff);
    let masked = if on { LVT_MASKED | NMI } else { NMI };
    equal(
        format_args!("entry {entry:#x} when disabled"),
        read_apic(entry),
        masked,
    );
    write_apic(entry, NMI);
    equal(
        format_args!("entry {entry:#x} written when disabled"),
        read_apic(entry),
        masked,
    );
    write_apic(SPURIOUS, 0x1ff);
    equal(
        format_args!("entry {entry:#x} when enabled again"),
        read_apic(entry),
        masked,
    );
    write_apic(entry, NMI);
    equal(
        format_args!("entry {entry:#x} written then"),
        read_apic(entry),
        NMI,
    );
    write_apic(entry, LVT_MASKED | NMI);
}

/// "Spurious Interrupt", note: one that is real is in service until an EOI. That is so
/// with and without the property. (One that is not does not happen in QEMU.)
fn real_spurious() {
    entries::arrived_by_any();
    machine::write_command(0, 0x4_0000 | u32::from(SPURIOUS_VECTOR));
    machine::enable_interrupts(true);
    machine::enable_interrupts(false);
    equal(
        format_args!("real spurious"),
        entries::arrived(SPURIOUS_VECTOR),
        1,
    );
    equal(
        format_args!("no longer in service"),
        read_apic(IN_SERVICE + 0x70),
        0,
    );
}

/// The entry is firmware's; to overwrite it ends QEMU, which the caller sees.
pub fn judge_thermal(words: &Words<'_>) {
    let expected = if words.is_on() {
        FIRMWARE_SMI
    } else {
        LVT_MASKED
    };
    equal(format_args!("thermal entry"), read_apic(THERMAL), expected);
    if words.is_on() {
        write_apic(THERMAL, FIRMWARE_SMI);
        equal(
            format_args!("thermal entry kept"),
            read_apic(THERMAL),
            FIRMWARE_SMI,
        );
    }
    if let Some(entry) = words.value("write") {
        let entry = u32::from_str_radix(entry, 16).expect("a number");
        write_apic(THERMAL, entry);
        test(!words.is_on(), format_args!("overwritten"));
    }
    if words.value("disable").is_some() {
        write_apic(SPURIOUS, 0xff);
    }
}
