//! The PMU of the running core, for [`super::registers`].

use super::registers::{
    CounterFault, CounterNumber, Freeze, Msr, MsrFault, Registers, debug_control,
};
use crate::hw::apic::{self, ExtendedEntry, LocalInterrupt, PerformanceEntry};
use crate::hw::msr;

/// The PMU of the running core.
#[derive(Clone, Copy, Debug)]
pub struct ThisCore;

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
        // its interrupt, by either entry, has a handler, and its records (PEBS) are off after a reset;
        // nothing here switches them on, and firmware has no use for them.
        unsafe { msr::write(register.number(), value) };
    }

    #[inline]
    fn read_halves(&self, register: Msr) -> [u32; 2] {
        // SAFETY: as for `read`.
        unsafe { msr::read_halves(register.number()) }
    }

    #[inline]
    fn write_halves(&self, register: Msr, low: u32, high: u32) {
        // SAFETY: as for `write`.
        unsafe { msr::write_halves(register.number(), low, high) };
    }

    #[inline]
    fn read_counter(&self, counter: CounterNumber) -> u64 {
        // SAFETY: `try_read_counter` has found it.
        unsafe { msr::read_counter(counter.number()) }
    }

    fn try_read_counter(&self, counter: CounterNumber) -> Result<u64, CounterFault> {
        msr::try_read_counter(counter.number()).map_err(|_| CounterFault)
    }

    fn try_read(&self, register: Msr) -> Result<u64, MsrFault> {
        // SAFETY: reading a register of the PMU changes nothing.
        unsafe { msr::try_read(register.number()) }.map_err(|_| MsrFault::of(register))
    }

    fn try_write(&self, register: Msr, value: u64) -> Result<(), MsrFault> {
        // SAFETY: as for `write`, and a refusal is an answer.
        unsafe { msr::try_write(register.number(), value) }.map_err(|_| MsrFault::of(register))
    }

    fn try_freezes(&self, when: Freeze) -> Result<bool, MsrFault> {
        let control = self.debug_control()?;
        Ok(debug_control::freezes(control, when))
    }

    fn try_set_freezing(&self, when: Freeze, freezes: bool) -> Result<(), MsrFault> {
        let before = self.debug_control()?;
        let after = debug_control::with_freezing(before, when, freezes);
        // SAFETY: `after` is what was just read, but for bit 12 or 14. So the bits by which
        // the processor writes to memory or traps (TR, BTS, BTF) are written as they were,
        // and nothing else here writes the register in between. Bit 12 is
        // FREEZE_PERFMON_ON_PMI, bit 14 FREEZE_WHILE_SMM: counters stop when they interrupt,
        // or in system management mode, or count on, which touches neither memory nor
        // control flow.
        unsafe { msr::try_write(debug_control::NUMBER, after) }.map_err(|_| debug_control::REFUSED)
    }

    fn read_lvtpc(&self) -> u32 {
        apic::registers().read_entry(LocalInterrupt::Performance)
    }

    #[inline]
    fn write_lvtpc(&self, entry: PerformanceEntry) {
        // SAFETY: the driver has read the entry before, by `registers`.
        let registers = unsafe { apic::known_registers() };
        // SAFETY: where there is a PMU there is its entry. Those that the driver writes are
        // masked ones, what firmware left, NMIs and the vectors of the sampler; the last two
        // have handlers.
        unsafe { registers.set_performance_entry(entry) };
    }

    fn read_extended_lvt(&self, entry: ExtendedEntry) -> Option<u32> {
        apic::registers().read_extended_entry(entry)
    }

    #[inline]
    fn write_extended_lvt(&self, entry: ExtendedEntry, value: PerformanceEntry) {
        // SAFETY: `read_extended_lvt` has found it; the values are as in `write_lvtpc`.
        unsafe { apic::registers().set_extended_entry(entry, value) };
    }
}
