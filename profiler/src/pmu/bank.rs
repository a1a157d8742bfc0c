//! The registers of one interface, so that counters are programmed the same way on
//! all of them.

use super::counters::{Counter, Counters};
use super::detect::{Capabilities, Interface};
use super::registers::{Msr, Refused, Registers, amd, fixed, intel};

/// How the counters of a core are reached, and how far they count.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Bank {
    interface: Interface,
    general_width: u8,
    fixed_width: u8,
    /// General counters take writes of their full width.
    full_width: bool,
}

impl Bank {
    /// The registers of a PMU with these `capabilities`; `full_width` says whether
    /// Intel's general counters take writes of their full width.
    #[must_use]
    pub const fn new(capabilities: &Capabilities, full_width: bool) -> Self {
        Self {
            interface: capabilities.interface,
            general_width: capabilities.general_width,
            fixed_width: capabilities.fixed_width,
            full_width,
        }
    }

    /// How they are reached.
    #[must_use]
    pub const fn interface(&self) -> Interface {
        self.interface
    }

    /// The event select of a general counter.
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

    /// What `counter` is read from.
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

    /// Whether writes to `counter` take 32 bits and extend their sign (SDM vol. 3,
    /// "Full-Width Writes to Performance Counter Registers").
    const fn takes_32_bits(&self, counter: Counter) -> bool {
        let is_narrow = matches!(self.interface, Interface::Intel(..6)) && !self.full_width;
        is_narrow && matches!(counter, Counter::General(_))
    }

    /// The most events after which `counter` can be made to overflow. Its highest bit
    /// is set then, and not afterwards: half of what it counts.
    #[must_use]
    #[inline]
    pub const fn most(&self, counter: Counter) -> u64 {
        match self.takes_32_bits(counter) {
            true => 1 << 31,
            false => (self.mask(counter) >> 1) + 1,
        }
    }

    /// What to write, and where, so that `counter` overflows after `events` events:
    /// from one to [`Self::most`].
    #[must_use]
    #[inline]
    pub const fn load(&self, counter: Counter, events: u64) -> (Msr, u64) {
        self.value(counter, events.wrapping_neg())
    }

    /// What to write, and where, so that `counter` reads as `value`.
    #[inline]
    const fn value(&self, counter: Counter, value: u64) -> (Msr, u64) {
        let low_half = u32::MAX as u64;
        match counter {
            Counter::General(_) if self.takes_32_bits(counter) => {
                (self.counter(counter), value & low_half)
            }
            Counter::General(number) if matches!(self.interface, Interface::Intel(..6)) => (
                intel::full_width_counter(number),
                value & self.mask(counter),
            ),
            _ => (self.counter(counter), value & self.mask(counter)),
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
    ) -> Result<(), Refused> {
        let (register, value) = self.value(counter, value);
        registers.try_write(register, value)
    }

    /// The global control register, where there is one.
    ///
    /// # Errors
    ///
    /// The processor refuses it.
    pub fn try_control<R: Registers>(&self, registers: &R) -> Result<u64, Refused> {
        match self.interface {
            Interface::Intel(2..) => registers.try_read(intel::GLOBAL_CONTROL),
            Interface::AmdV2 => registers.try_read(amd::GLOBAL_CONTROL),
            _ => Ok(0),
        }
    }

    /// Writes it, where there is one.
    #[inline]
    pub fn set_control<R: Registers>(&self, registers: &R, value: u64) {
        match self.interface {
            Interface::Intel(2..) => registers.write(intel::GLOBAL_CONTROL, value),
            Interface::AmdV2 => registers.write(amd::GLOBAL_CONTROL, value),
            _ => {}
        }
    }

    /// Whether counters can be made to freeze at an interrupt: IA32_DEBUGCTL has a bit
    /// for that from version 2 on.
    #[must_use]
    pub const fn has_freeze(&self) -> bool {
        matches!(self.interface, Interface::Intel(2..))
    }

    /// Acknowledges what the status register shows of `counters`; gives whether there
    /// was anything. What it shows of others is left to them. A bit that does not show
    /// is not written: it may be a reserved one, or come up in between.
    #[inline]
    pub fn acknowledge<R: Registers>(&self, registers: &R, counters: Counters) -> bool {
        let (status, reset, ours) = match self.interface {
            // Counters that froze count again when the bit is cleared (SDM vol. 3,
            // "Freeze_PerfMon_On_PMI"); we do not let them, somebody else may have.
            Interface::Intel(4..) => (
                intel::GLOBAL_STATUS,
                intel::GLOBAL_STATUS_RESET,
                counters.global_bits() | intel::status::FROZEN | intel::status::LBR_FROZEN,
            ),
            Interface::Intel(2..) => (
                intel::GLOBAL_STATUS,
                intel::GLOBAL_STATUS_RESET,
                counters.global_bits(),
            ),
            Interface::AmdV2 => (
                amd::GLOBAL_STATUS,
                amd::GLOBAL_STATUS_CLEAR,
                counters.global_bits(),
            ),
            _ => return false,
        };
        let seen = registers.read(status) & ours;
        if seen != 0 {
            registers.write(reset, seen);
        }
        seen != 0
    }

    /// The bits of the fixed counters' control register that are those of `number`.
    #[must_use]
    pub const fn fixed_field(number: u8) -> u64 {
        fixed::FIELD << (4 * number)
    }
}
