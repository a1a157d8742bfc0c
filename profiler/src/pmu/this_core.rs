//! The PMU of the running core, for [`super::registers`].

use super::registers::{ExtendedLvt, Msr, MsrFault, Registers, debug_control};
use crate::hw::apic::{self, Register};
use crate::hw::msr;

/// The PMU of the running core.
#[derive(Clone, Copy, Debug)]
pub struct ThisCore;

/// The register of an entry of the extended local vector table.
const fn extended(entry: ExtendedLvt) -> Register {
    match entry.number() {
        0 => Register::ExtendedLvt0,
        1 => Register::ExtendedLvt1,
        2 => Register::ExtendedLvt2,
        _ => Register::ExtendedLvt3,
    }
}

impl ThisCore {
    /// What IA32_DEBUGCTL holds.
    fn debug_control(self) -> Result<u64, MsrFault> {
        // SAFETY: reading IA32_DEBUGCTL changes nothing.
        unsafe { msr::try_read(debug_control::NUMBER) }.map_err(|_| debug_control::REFUSED)
    }
}

impl Registers for ThisCore {
    #[inline]
    fn read(&self, register: Msr) -> u64 {
        // SAFETY: a register of the PMU, which `try_read` has found; reading changes
        // nothing.
        unsafe { msr::read(register.number()) }
    }

    #[inline]
    fn write(&self, register: Msr, value: u64) {
        // SAFETY: a register of the PMU, which `try_write` or `try_read` has found. As
        // `Msr` says, no value of it touches memory or control flow but by an overflow:
        // its interrupt has a handler, and its records (PEBS) are off after a reset;
        // nothing here switches them on, and firmware has no use for them.
        unsafe { msr::write(register.number(), value) };
    }

    fn try_read(&self, register: Msr) -> Result<u64, MsrFault> {
        // SAFETY: reading a register of the PMU changes nothing.
        unsafe { msr::try_read(register.number()) }.map_err(|_| MsrFault::of(register))
    }

    fn try_write(&self, register: Msr, value: u64) -> Result<(), MsrFault> {
        // SAFETY: as for `write`, and a refusal is an answer.
        unsafe { msr::try_write(register.number(), value) }.map_err(|_| MsrFault::of(register))
    }

    fn try_freezes(&self) -> Result<bool, MsrFault> {
        self.debug_control().map(debug_control::freezes)
    }

    fn try_set_freezing(&self, freezes: bool) -> Result<(), MsrFault> {
        let before = self.debug_control()?;
        let after = debug_control::with_freezing(before, freezes);
        // SAFETY: `after` is what was just read, but for bit 12. So the bits by which the
        // processor writes to memory or traps (TR, BTS, BTF) are written as they were, and
        // nothing else here writes the register in between. Bit 12 is
        // FREEZE_PERFMON_ON_PMI: counters stop when they interrupt, or count on, which
        // touches neither memory nor control flow.
        unsafe { msr::try_write(debug_control::NUMBER, after) }.map_err(|_| debug_control::REFUSED)
    }

    fn read_lvtpc(&self) -> u32 {
        apic::registers().read(Register::LvtPerformance)
    }

    #[inline]
    fn write_lvtpc(&self, entry: u32) {
        // SAFETY: the entries that the driver writes are masked ones, what firmware left,
        // NMIs and the vectors of the sampler; the last two have handlers.
        unsafe { apic::registers().write(Register::LvtPerformance, entry) };
    }

    fn read_extended_lvt(&self, entry: ExtendedLvt) -> Option<u32> {
        const HAS_EXTENSION: u32 = 1 << 31;
        let apic = apic::registers();
        if apic.read(Register::Version) & HAS_EXTENSION == 0 {
            return None;
        }
        let [_, _, entries, _] = apic.read(Register::ExtendedFeature).to_le_bytes();
        (entry.number() < entries).then(|| apic.read(extended(entry)))
    }

    #[inline]
    fn write_extended_lvt(&self, entry: ExtendedLvt, value: u32) {
        // SAFETY: `read_extended_lvt` has found it; the values are as in `write_lvtpc`.
        unsafe { apic::registers().write(extended(entry), value) };
    }
}
