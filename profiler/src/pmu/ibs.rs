//! AMD's Instruction-Based Sampling of ops: a trigger of an event's counter that knows the
//! address of the op that it came for (APM vol. 2, 13.3; PPR for family 19h).
//!
//! The processor counts cycles or ops up to a maximum and *tags* the next op. When that
//! retires it leaves the op's address in a register and interrupts, by an entry of the local
//! vector table's extension, which firmware has chosen. Nothing is counted from then on
//! until the control register is written.
//!
//! Its own count shows nothing of the way into the handler, as it stands still by then. So the
//! event is counted by a counter too, which has the same event and does not interrupt: where
//! the code is, what an interrupt costs, and how long a period was, all that is that
//! counter's, as for every other event. What Instruction-Based Sampling adds is when the
//! interrupt comes, and the address.
//!
//! The maximum is a multiple of 16, 144 or more. The count can be started above zero, so a
//! period need be neither.

use core::fmt;
use core::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering::Relaxed};

use super::detect::Capabilities;
use super::event::IbsCount;
use super::registers::amd::ibs::{
    ADDRESS_INVALID, CONTROL, COUNT_OPS, ENABLE, LVT_NUMBER, LVT_VALID, OP_ADDRESS, OP_CONTROL,
    OP_DATA, VALID,
};
use super::registers::{MsrFault, Registers};
use crate::hw::apic::{ExtendedEntry, PerformanceEntry};

/// The least maximum: lower ones are reserved (PPR, IbsOpMaxCnt).
const MIN_MAX: u64 = 9 * STEP;
/// What maxima are multiples of.
const STEP: u64 = 16;

/// Bits of CPUID leaf 0x8000001b.
mod feature {
    pub const OP_SAMPLING: u32 = 1 << 2;
    /// The count can be read and written.
    pub const COUNT_WRITABLE: u32 = 1 << 3;
    /// It can be one of ops.
    pub const COUNTS_OPS: u32 = 1 << 4;
    /// The maximum has 27 bits, else 20.
    pub const LONG_MAXIMUM: u32 = 1 << 6;
    /// It says when it has no address.
    pub const ADDRESS_CHECK: u32 = 1 << 7;
    /// What this driver cannot do without.
    pub const NEEDED: u32 = OP_SAMPLING | COUNT_WRITABLE | COUNTS_OPS;
}

/// Why ops cannot be sampled on a core.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum NoIbs {
    /// CPUID does not announce it, or not all that is needed.
    NotHere,
    /// The firmware has given it no entry of the local vector table.
    NoEntry,
    /// It samples, and was asked to count.
    CountsNothing,
    /// It is in use: by firmware, a hypervisor or an earlier kernel.
    InUse,
}

impl fmt::Display for NoIbs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NotHere => "this processor does not sample ops (IBS with a writable count)",
            Self::NoEntry => {
                "the firmware has given IBS no entry of the APIC's extended local vector table"
            }
            Self::CountsNothing => {
                "it samples (`pmiscope run`), and counts nothing: count cycles or r0c1, retired ops"
            }
            Self::InUse => "IBS is in use by firmware or a hypervisor",
        })
    }
}

/// What a core has to sample ops by.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Ibs {
    entry: ExtendedEntry,
    /// The most that it can count.
    pub max_count: u64,
    checks_address: bool,
}

impl Ibs {
    /// Looks what the running core has, and leaves it as it is.
    ///
    /// # Errors
    ///
    /// The processor refuses a register that CPUID announces.
    pub fn probe<R: Registers>(
        registers: &R,
        capabilities: &Capabilities,
    ) -> Result<Result<Self, NoIbs>, MsrFault> {
        let has = |bits: u32| capabilities.ibs & bits == bits;
        if !has(feature::NEEDED) {
            return Ok(Err(NoIbs::NotHere));
        }
        let control = registers.try_read(CONTROL)?;
        let [number, ..] = (control & LVT_NUMBER).to_le_bytes();
        let is_valid = control & LVT_VALID != 0;
        let found = ExtendedEntry::new(number)
            .filter(|_| is_valid)
            .and_then(|entry| Some((entry, registers.read_extended_lvt(entry)?)));
        let Some((entry, value)) = found else {
            return Ok(Err(NoIbs::NoEntry));
        };
        let is_enabled = registers.try_read(OP_CONTROL)? & ENABLE != 0;
        if is_enabled || !PerformanceEntry::as_left(value).is_masked() {
            return Ok(Err(NoIbs::InUse));
        }
        registers.try_read(OP_ADDRESS)?;
        registers.try_read(OP_DATA)?;
        let bits = if has(feature::LONG_MAXIMUM) { 27 } else { 20 };
        Ok(Ok(Self {
            entry,
            max_count: (1 << bits) - STEP,
            checks_address: has(feature::ADDRESS_CHECK),
        }))
    }
}

/// The event select of the counter that counts what is sampled: PMCx076, cycles, or
/// PMCx0C1, ops that retire.
pub const fn select_of(count: IbsCount) -> u64 {
    match count {
        IbsCount::Cycles => 0x76,
        IbsCount::Ops => 0xc1,
    }
}

/// How ops are sampled on a core.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Sampling {
    /// What by.
    pub ibs: Ibs,
    /// What is counted.
    pub count: IbsCount,
    /// The place of the event in the plan's list.
    pub event: usize,
}

impl Sampling {
    /// What the control register takes, so that an op is tagged after `events`: from one to
    /// [`Ibs::max_count`].
    #[inline]
    const fn control(&self, events: u64) -> u64 {
        let rounded = events.next_multiple_of(STEP);
        let max = if rounded < MIN_MAX { MIN_MAX } else { rounded };
        let flags = match self.count {
            IbsCount::Cycles => ENABLE,
            IbsCount::Ops => ENABLE | COUNT_OPS,
        };
        // Bits 4 to 19 of the maximum stand at 0, those above at their own place.
        max >> 4 & 0xffff | max & 0x7f0_0000 | flags | (max - events) << 32
    }
}

/// Instruction-Based Sampling at work, on its core alone.
#[derive(Default, Debug)]
pub struct IbsState {
    /// Registers before the start.
    control: AtomicU64,
    entry: AtomicU32,
    /// The address of the last sample.
    address: AtomicU64,
    has_address: AtomicBool,
}

impl IbsState {
    /// Saves the registers.
    pub fn save<R: Registers>(&self, registers: &R, sampling: &Sampling) -> Result<(), MsrFault> {
        let control = registers.try_read(OP_CONTROL)?;
        self.control.store(control, Relaxed);
        let entry = registers.read_extended_lvt(sampling.ibs.entry);
        self.entry.store(entry.unwrap_or(0), Relaxed);
        Ok(())
    }

    /// Makes sure that the control register takes what will be written to it, and leaves it
    /// zero.
    pub fn program<R: Registers>(
        &self,
        registers: &R,
        sampling: &Sampling,
    ) -> Result<(), MsrFault> {
        self.has_address.store(false, Relaxed);
        registers.write_extended_lvt(sampling.ibs.entry, PerformanceEntry::NMI.masked());
        let control = sampling.control(sampling.ibs.max_count) & !ENABLE;
        registers.try_write(OP_CONTROL, control)?;
        registers.try_write(OP_CONTROL, 0)
    }

    /// Restores what [`Self::save`] has saved.
    pub fn restore<R: Registers>(&self, registers: &R, sampling: &Sampling) {
        // A value that the register held cannot be refused; nothing could be done if it were.
        let _ = registers.try_write(OP_CONTROL, self.control.load(Relaxed));
        let entry = PerformanceEntry::as_left(self.entry.load(Relaxed));
        registers.write_extended_lvt(sampling.ibs.entry, entry);
    }

    /// Stops it, and takes the sample if there is one. Returns true if so.
    #[inline]
    pub fn stop<R: Registers>(&self, registers: &R, sampling: &Sampling) -> bool {
        let control = registers.read(OP_CONTROL);
        registers.write(OP_CONTROL, 0);
        if control & VALID == 0 {
            return false;
        }
        let is_invalid =
            sampling.ibs.checks_address && registers.read(OP_DATA) & ADDRESS_INVALID != 0;
        self.has_address.store(!is_invalid, Relaxed);
        self.address.store(registers.read(OP_ADDRESS), Relaxed);
        true
    }

    /// Lets an op be tagged after `events`, and interrupt by `entry`.
    #[inline]
    pub fn start<R: Registers>(
        &self,
        registers: &R,
        sampling: &Sampling,
        events: u64,
        entry: PerformanceEntry,
    ) {
        registers.write_extended_lvt(sampling.ibs.entry, entry);
        registers.write(OP_CONTROL, sampling.control(events));
    }

    /// The address of the op of the last sample, if it has one.
    #[inline]
    pub fn address(&self) -> Option<u64> {
        let has_address = self.has_address.load(Relaxed);
        has_address.then(|| self.address.load(Relaxed))
    }
}
