//! The registers of the performance counters, for [`profiler::pmu`].

use profiler::pmu::registers::{Msr, MsrFault, Registers, debug_control};
use x86_64::registers::model_specific;

use super::checked;
use crate::cpu::apic::{self, Register};

/// The PMU of the running core.
#[derive(Clone, Copy, Debug)]
pub struct ThisCore;

impl ThisCore {
    /// What IA32_DEBUGCTL holds.
    fn debug_control(self) -> Result<u64, MsrFault> {
        // SAFETY: reading IA32_DEBUGCTL changes nothing.
        unsafe { checked::read(debug_control::NUMBER) }.map_err(|_| debug_control::REFUSED)
    }
}

impl Registers for ThisCore {
    #[inline]
    fn read(&self, register: Msr) -> u64 {
        // SAFETY: a register of the PMU, which `try_read` has found; reading changes
        // nothing.
        unsafe { model_specific::Msr::new(register.number()).read() }
    }

    #[inline]
    fn write(&self, register: Msr, value: u64) {
        // SAFETY: a register of the PMU, which `try_write` or `try_read` has found. As
        // `Msr` says, no value of it touches memory or control flow but by an overflow:
        // its interrupt has a handler, and its records (PEBS) are off after a reset;
        // nothing here switches them on, and firmware has no use for them.
        unsafe { model_specific::Msr::new(register.number()).write(value) };
    }

    fn try_read(&self, register: Msr) -> Result<u64, MsrFault> {
        // SAFETY: reading a register of the PMU changes nothing.
        unsafe { checked::read(register.number()) }.map_err(|_| MsrFault::of(register))
    }

    fn try_write(&self, register: Msr, value: u64) -> Result<(), MsrFault> {
        // SAFETY: as for `write`, and a refusal is an answer.
        unsafe { checked::write(register.number(), value) }.map_err(|_| MsrFault::of(register))
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
        // FREEZE_PERFMON_ON_PMI: counters stop when they interrupt, or go on, which
        // touches neither memory nor control flow.
        unsafe { checked::write(debug_control::NUMBER, after) }.map_err(|_| debug_control::REFUSED)
    }

    fn read_lvtpc(&self) -> u32 {
        apic::registers().read(Register::LvtPerformance)
    }

    #[inline]
    fn write_lvtpc(&self, entry: u32) {
        // SAFETY: the entries that the driver writes are masked ones, what firmware left,
        // NMIs and the vector of sampling interrupts; the last two have handlers.
        unsafe { apic::registers().write(Register::LvtPerformance, entry) };
    }
}
