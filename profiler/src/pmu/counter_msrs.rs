//! The registers of one interface, so that counters are programmed the same way on
//! all of them.

use super::counters::{Counter, Counters};
use super::detect::{Capabilities, Interface};
use super::registers::{CounterNumber, Msr, MsrFault, Registers, amd, fixed, intel};

/// The MSRs of a core's counters, and how far these count.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct CounterMsrs {
    interface: Interface,
    general_width: u8,
    fixed_width: u8,
    /// General counters take writes of their full width.
    full_width: bool,
    /// Counters can freeze in system management mode.
    smm_freeze: bool,
}

impl CounterMsrs {
    /// The registers of a PMU with these `capabilities`, and what IA32_PERF_CAPABILITIES
    /// holds if it is there, or else 0.
    #[must_use]
    pub const fn new(capabilities: &Capabilities, features: u64) -> Self {
        Self {
            interface: capabilities.interface,
            general_width: capabilities.general_width,
            fixed_width: capabilities.fixed_width,
            full_width: features & intel::FULL_WIDTH_WRITE != 0,
            smm_freeze: features & intel::SMM_FREEZE != 0,
        }
    }

    /// The programming interface.
    #[cfg(test)]
    pub const fn interface(&self) -> Interface {
        self.interface
    }

    /// The event select of a general counter.
    ///
    /// # Panics
    ///
    /// If the interface has no such counter. Those that [`super::detect::detect`] finds it
    /// has.
    #[must_use]
    #[inline]
    pub const fn event_select(&self, number: u8) -> Msr {
        match self.interface {
            Interface::Intel(6..) => intel::v6::event_select(number),
            Interface::Intel(_) => intel::event_select(number),
            Interface::AmdLegacy => amd::legacy_event_select(number),
            Interface::AmdCore | Interface::AmdV2 => amd::event_select(number),
        }
    }

    /// The register from which `counter` is read.
    ///
    /// # Panics
    ///
    /// As [`Self::event_select`].
    #[must_use]
    #[inline]
    pub const fn counter(&self, counter: Counter) -> Msr {
        match (self.interface, counter) {
            (Interface::Intel(6..), Counter::General(number)) => intel::v6::counter(number),
            (Interface::Intel(6..), Counter::Fixed(number)) => intel::v6::fixed_counter(number),
            (Interface::Intel(_), Counter::General(number)) => intel::counter(number),
            (_, Counter::Fixed(number)) => intel::fixed_counter(number),
            (Interface::AmdLegacy, Counter::General(number)) => amd::legacy_counter(number),
            (_, Counter::General(number)) => amd::counter(number),
        }
    }

    /// What `rdpmc` reads `counter` by, if it does.
    #[must_use]
    pub const fn number(&self, counter: Counter) -> Option<CounterNumber> {
        let is_known = match (self.interface, counter) {
            (Interface::Intel(_), _) => true,
            (_, Counter::General(number)) => number < CounterNumber::MOST_AMD,
            (_, Counter::Fixed(_)) => false,
        };
        if is_known {
            Some(CounterNumber::of(counter))
        } else {
            None
        }
    }

    /// A counter's bits, all set.
    #[must_use]
    #[inline]
    pub const fn mask(&self, counter: Counter) -> u64 {
        let width = match counter {
            Counter::General(_) => self.general_width,
            Counter::Fixed(_) => self.fixed_width,
        };
        (1 << width) - 1
    }

    /// Returns true if writes to `counter` take 32 bits and extend their sign (SDM vol. 3,
    /// "Full-Width Writes to Performance Counter Registers").
    const fn takes_32_bits(&self, counter: Counter) -> bool {
        let is_narrow = matches!(self.interface, Interface::Intel(..6)) && !self.full_width;
        is_narrow && matches!(counter, Counter::General(_))
    }

    /// The most events after which `counter` can be made to overflow. Its highest bit
    /// is set then, and not afterwards: half of what it counts.
    #[must_use]
    #[inline]
    pub const fn max_count(&self, counter: Counter) -> u64 {
        if self.takes_32_bits(counter) {
            1 << 31
        } else {
            (self.mask(counter) >> 1) + 1
        }
    }

    /// Where `counter` is written, and the bits that a write takes.
    const fn write(&self, counter: Counter) -> (Msr, u64) {
        match counter {
            Counter::General(_) if self.takes_32_bits(counter) => {
                (self.counter(counter), u32::MAX as u64)
            }
            Counter::General(number) if matches!(self.interface, Interface::Intel(..6)) => {
                (intel::full_width_counter(number), self.mask(counter))
            }
            _ => (self.counter(counter), self.mask(counter)),
        }
    }

    /// The registers of `counter`, for a handler.
    #[must_use]
    pub const fn registers(&self, counter: Counter) -> CounterRegisters {
        let (write, written) = self.write(counter);
        CounterRegisters {
            select: match counter {
                Counter::General(number) => Some(self.event_select(number)),
                Counter::Fixed(_) => None,
            },
            read: self.counter(counter),
            number: self.number(counter),
            mask: self.mask(counter),
            write,
            written,
            max_count: self.max_count(counter),
        }
    }

    /// The registers that are for all counters, if there are any.
    #[must_use]
    pub const fn global(&self) -> Option<GlobalRegisters> {
        match self.interface {
            Interface::Intel(version @ 2..) => Some(GlobalRegisters {
                control: intel::GLOBAL_CONTROL,
                status: intel::GLOBAL_STATUS,
                reset: intel::GLOBAL_STATUS_RESET,
                // Counters that froze count again when the bit is cleared (SDM vol. 3,
                // "Freeze_PerfMon_On_PMI"); we do not let them, somebody else may have.
                frozen: match version {
                    4.. => intel::status::FROZEN | intel::status::LBR_FROZEN,
                    _ => 0,
                },
            }),
            Interface::AmdV2 => Some(GlobalRegisters {
                control: amd::GLOBAL_CONTROL,
                status: amd::GLOBAL_STATUS,
                reset: amd::GLOBAL_STATUS_CLEAR,
                // The same (APM vol. 2, 13.2, "PerfCntrGlobalStatus").
                frozen: intel::status::FROZEN | intel::status::LBR_FROZEN,
            }),
            _ => None,
        }
    }

    /// Writes `value` to `counter`, as far as it takes it.
    ///
    /// # Errors
    ///
    /// The processor refuses it.
    pub fn try_set<R: Registers>(
        &self,
        registers: &R,
        counter: Counter,
        value: u64,
    ) -> Result<(), MsrFault> {
        let (register, written) = self.write(counter);
        registers.try_write(register, value & written)
    }

    /// Returns true if counters may freeze at an interrupt: IA32_DEBUGCTL has a bit for that,
    /// from version 2 on, and with PerfMonV2.
    #[must_use]
    pub const fn has_freeze(&self) -> bool {
        matches!(self.interface, Interface::Intel(2..) | Interface::AmdV2)
    }

    /// Returns true if counters may freeze in system management mode, by another bit of it.
    #[must_use]
    pub const fn has_smm_freeze(&self) -> bool {
        self.smm_freeze && matches!(self.interface, Interface::Intel(2..))
    }

    /// The bits of the fixed counters' control register that are those of `number`.
    #[must_use]
    pub const fn fixed_field(number: u8) -> u64 {
        fixed::FIELD << (4 * number)
    }
}

/// The registers of a counter, and how far it counts.
///
/// A handler takes all of it from here: what it executes is the same for every core and
/// every interrupt, whatever the interface.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct CounterRegisters {
    /// Its event select, if it is a general one.
    pub select: Option<Msr>,
    /// The register from which it is read.
    pub read: Msr,
    /// What `rdpmc` reads it by.
    pub number: Option<CounterNumber>,
    /// Its bits, all set.
    pub mask: u64,
    /// The register to which it is written.
    pub write: Msr,
    /// The bits that a write takes.
    pub written: u64,
    /// As [`CounterMsrs::max_count`].
    pub max_count: u64,
}

impl CounterRegisters {
    /// What to write, and where, so that the counter overflows after `events` events:
    /// from one to [`Self::max_count`].
    #[must_use]
    #[inline]
    pub const fn load(&self, events: u64) -> (Msr, u64) {
        (self.write, events.wrapping_neg() & self.written)
    }

    /// Returns true if the counter, which holds `value`, has overflowed since it was loaded.
    #[must_use]
    #[inline]
    pub const fn has_wrapped(&self, value: u64) -> bool {
        has_wrapped(value, self.mask)
    }
}

/// Returns true if a counter whose bits are `mask`, and that holds `value`, has overflowed: it was
/// loaded with half of what it counts below zero at most ([`CounterMsrs::max_count`]).
#[must_use]
#[inline(always)]
pub const fn has_wrapped(value: u64, mask: u64) -> bool {
    value & (mask ^ mask >> 1) == 0
}

/// The registers of all counters together.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct GlobalRegisters {
    /// Starts and stops them.
    pub control: Msr,
    /// Shows overflows.
    pub status: Msr,
    /// Acknowledges them.
    pub reset: Msr,
    /// Bits of the status by which counters are frozen.
    frozen: u64,
}

impl GlobalRegisters {
    /// Tries all three registers, and changes nothing.
    ///
    /// # Errors
    ///
    /// The processor refuses one of them.
    pub fn try_out<R: Registers>(&self, registers: &R) -> Result<(), MsrFault> {
        let control = registers.try_read(self.control)?;
        registers.try_write(self.control, control)?;
        registers.try_read(self.status)?;
        registers.try_write(self.reset, 0)
    }

    /// Tries whether the control register takes the bits of `counters`, set and cleared, which a
    /// handler writes. They are not enabled by their own controls, so nothing counts that
    /// did not (SDM vol. 3, "IA32_PERF_GLOBAL_CTRL": both have to enable a counter, a
    /// general one and a fixed one; so does APM vol. 2, 13.2). The register is restored.
    ///
    /// # Errors
    ///
    /// The processor refuses it.
    pub fn try_counters<R: Registers>(
        &self,
        registers: &R,
        counters: Counters,
    ) -> Result<(), MsrFault> {
        let before = registers.try_read(self.control)?;
        let bits = counters.global_bits();
        let outcome = [before | bits, before & !bits]
            .into_iter()
            .try_for_each(|control| registers.try_write(self.control, control));
        registers.try_write(self.control, before)?;
        outcome
    }

    /// The bits of the status that are to be clear before `counters` can interrupt.
    #[must_use]
    #[inline]
    pub const fn ours(&self, counters: Counters) -> u64 {
        counters.global_bits() | self.frozen
    }

    /// Acknowledges the overflows of `counters` that the status shows. Returns true if there
    /// were any. Bits of other counters are left alone. A bit that does not show is not
    /// written: it may be reserved, or come up in between.
    #[inline]
    pub fn acknowledge<R: Registers>(&self, registers: &R, counters: Counters) -> bool {
        let seen = registers.read(self.status) & self.ours(counters);
        if seen != 0 {
            registers.write(self.reset, seen);
        }
        seen != 0
    }
}
