//! The registers of the performance counters, for [`profiler::pmu`].

use profiler::pmu::registers::{Msr, Refused, Registers};
use x86_64::registers::model_specific;

use super::checked;
use crate::cpu::apic::{self, Register};

/// The PMU of the running core.
#[derive(Clone, Copy, Debug)]
pub struct ThisCore;

impl Registers for ThisCore {
    #[inline]
    fn read(&self, register: Msr) -> u64 {
        // SAFETY: a register of the PMU, which `try_read` has found; reading changes
        // nothing.
        unsafe { model_specific::Msr::new(register.number()).read() }
    }

    #[inline]
    fn write(&self, register: Msr, value: u64) {
        // SAFETY: a register of the PMU, which `try_write` or `try_read` has found: no
        // value of it touches memory. Interrupts that it brings have a handler.
        unsafe { model_specific::Msr::new(register.number()).write(value) };
    }

    fn try_read(&self, register: Msr) -> Result<u64, Refused> {
        // SAFETY: reading a register of the PMU changes nothing.
        unsafe { checked::read(register.number()) }.map_err(|_| Refused(register))
    }

    fn try_write(&self, register: Msr, value: u64) -> Result<(), Refused> {
        // SAFETY: no value of a register of the PMU touches memory.
        unsafe { checked::write(register.number(), value) }.map_err(|_| Refused(register))
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
