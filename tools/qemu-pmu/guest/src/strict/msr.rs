//! `x-msr-strict`: by the SDM, volume 4, and the AMD APM, volume 2.

use super::Words;
use crate::machine::{self, read_msr, try_read_msr, write_faults};
use crate::report::equal;

const EFER: u32 = 0xc000_0080;
const MISC_ENABLE: u32 = 0x1a0;
const DEBUGCTL: u32 = 0x1d9;
const PAT: u32 = 0x277;
const TSC_AUX: u32 = 0xc000_0103;
const NOT_CANONICAL: u64 = 1 << 63;
const NOT_CANONICAL_48: u64 = 1 << 48;

/// Who says that it is #GP.
#[derive(Clone, Copy, PartialEq)]
enum For {
    Both,
    Intel,
    Amd,
}
use For::{Amd, Both, Intel};

/// The processor that is judged.
struct Processor {
    is_intel: bool,
    /// EFER and IA32_MISC_ENABLE as they are.
    efer: u64,
    enable: u64,
}

impl Processor {
    fn concerns(&self, vendor: For) -> bool {
        vendor == Both || (vendor == Intel) == self.is_intel
    }
}

pub fn judge(words: &Words<'_>) {
    let on = words.is_on();
    let is_intel = machine::cpuid(0)[1] == 0x756e_6547;
    let processor = Processor {
        is_intel,
        efer: read_msr(EFER),
        enable: if is_intel { read_msr(MISC_ENABLE) } else { 0 },
    };
    refused(&processor, on);
    if on {
        let efer = read_msr(EFER);
        equal(format_args!("EFER is what it was"), efer, processor.efer);
    }
    taken(&processor);
    unreadable(&processor, on);
    readable(&processor);
}

/// Values that are #GP.
fn refused(processor: &Processor, on: bool) {
    let &Processor { efer, enable, .. } = processor;
    for (name, msr, value, vendor) in [
        ("EFER, bit 1", EFER, efer | 1 << 1, Both),
        ("EFER, bit 9", EFER, efer | 1 << 9, Both),
        ("EFER, long mode inactive", EFER, efer & !(1 << 10), Both),
        ("EFER, long mode off", EFER, efer & !(1 << 8), Both),
        ("EFER, bit 63", EFER, efer | 1 << 63, Both),
        ("PAT, type 2", PAT, 0x0007_0406_0007_0402, Both),
        ("PAT, bit 7", PAT, 0x0007_0406_0007_0486, Both),
        ("FS base", 0xc000_0100, NOT_CANONICAL, Both),
        ("FS base, 57 bits", 0xc000_0100, NOT_CANONICAL_48, Both),
        ("GS base", 0xc000_0101, NOT_CANONICAL, Both),
        ("kernel GS base", 0xc000_0102, NOT_CANONICAL, Both),
        ("LSTAR", 0xc000_0082, NOT_CANONICAL, Both),
        ("CSTAR", 0xc000_0083, NOT_CANONICAL, Both),
        ("FMASK, bit 32", 0xc000_0084, 1 << 32, Both),
        ("SYSENTER_ESP", 0x175, NOT_CANONICAL, Both),
        ("SYSENTER_EIP", 0x176, NOT_CANONICAL, Both),
        ("TSC_AUX, bit 32", TSC_AUX, 1 << 32, Both),
        ("DEBUGCTL, bit 6", DEBUGCTL, 1 << 6, Both),
        ("DEBUGCTL, freeze while SMM", DEBUGCTL, 1 << 14, Both),
        ("DEBUGCTL, bit 31", DEBUGCTL, 1 << 31, Both),
        ("DEBUGCTL, freeze on PMI", DEBUGCTL, 1 << 12, Amd),
        ("MISC_ENABLE, bit 1", MISC_ENABLE, enable ^ 1 << 1, Intel),
        (
            "MISC_ENABLE, performance monitoring",
            MISC_ENABLE,
            enable ^ 1 << 7,
            Intel,
        ),
        ("MISC_ENABLE, BTS", MISC_ENABLE, enable ^ 1 << 11, Intel),
        ("MISC_ENABLE", MISC_ENABLE, 0, Amd),
        ("SMI_COUNT", 0x34, 0, Both),
        ("MTRRcap", 0xfe, 0, Both),
        ("MCG_CAP", 0x179, 0, Both),
        ("SPEC_CTRL, which is not there", 0x48, 1, Both),
        ("PRED_CMD, which is not there", 0x49, 1, Both),
        ("MSR 12345678h", 0x1234_5678, 0, Both),
    ] {
        if processor.concerns(vendor) {
            equal(format_args!("{name}: #GP"), write_faults(msr, value), on);
        }
    }
}

/// Values that are not.
fn taken(processor: &Processor) {
    let &Processor { efer, enable, .. } = processor;
    for (name, msr, value, vendor) in [
        ("EFER as it is", EFER, efer, Both),
        ("EFER, system calls", EFER, efer | 1, Both),
        ("PAT", PAT, 0x0007_0406_0007_0406, Both),
        ("GS base", 0xc000_0101, 0xffff_8000_0000_0000, Both),
        ("GS base 0", 0xc000_0101, 0, Both),
        ("FS base 0", 0xc000_0100, 0, Both),
        ("kernel GS base 0", 0xc000_0102, 0, Both),
        ("STAR", 0xc000_0081, u64::MAX, Both),
        ("LSTAR", 0xc000_0082, 0, Both),
        ("CSTAR", 0xc000_0083, 0, Both),
        ("FMASK", 0xc000_0084, 0xffff_ffff, Both),
        ("SYSENTER_ESP", 0x175, 0, Both),
        ("SYSENTER_EIP", 0x176, 0, Both),
        ("TSC_AUX", TSC_AUX, 3, Both),
        ("DEBUGCTL, branches", DEBUGCTL, 2, Both),
        ("DEBUGCTL, freeze on PMI", DEBUGCTL, 1 << 12, Intel),
        ("DEBUGCTL 0", DEBUGCTL, 0, Both),
        ("MISC_ENABLE as it is", MISC_ENABLE, enable, Intel),
        (
            "MISC_ENABLE, limited CPUID",
            MISC_ENABLE,
            enable ^ 1 << 22,
            Intel,
        ),
        ("MISC_ENABLE back", MISC_ENABLE, enable, Intel),
    ] {
        if processor.concerns(vendor) {
            let faulted = write_faults(msr, value);
            equal(format_args!("{name}: taken"), faulted, false);
        }
    }
}

/// Registers that are not there.
fn unreadable(processor: &Processor, on: bool) {
    for (name, msr, vendor) in [
        ("MSR 12345678h", 0x1234_5678, Both),
        ("SPEC_CTRL", 0x48, Both),
        ("Hyper-V's frequency", 0x4000_0022, Both),
        ("MISC_ENABLE", MISC_ENABLE, Amd),
        ("SMI_COUNT", 0x34, Amd),
        ("SYSCFG", 0xc001_0010, Intel),
    ] {
        if processor.concerns(vendor) {
            let faulted = try_read_msr(msr).is_none();
            equal(format_args!("reading {name}: #GP"), faulted, on);
        }
    }
}

/// Registers that are.
fn readable(processor: &Processor) {
    for (name, msr, vendor) in [
        ("SMI_COUNT", 0x34, Intel),
        ("MTRRcap", 0xfe, Both),
        ("IA32_APIC_BASE", 0x1b, Both),
        ("SYSCFG", 0xc001_0010, Amd),
    ] {
        if processor.concerns(vendor) {
            let faulted = try_read_msr(msr).is_none();
            equal(format_args!("reading {name}: there"), faulted, false);
        }
    }
}
