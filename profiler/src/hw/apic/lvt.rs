//! Entries of the local vector table: none can be made that an APIC may find fault with.
//!
//! "When an illegal vector value (0 to 15) is written to an LVT entry and the delivery mode
//! is Fixed, the APIC may signal an illegal vector error, without regard to whether the mask
//! bit is set" (SDM vol. 3, "Valid Interrupt Vectors"); and a reserved bit is #GP in x2APIC
//! mode. What entries have (SDM vol. 3, figure "Local Vector Table"; in xAPIC mode the rest
//! reads 0):
//!
//! | entry | vector | delivery mode | pin: polarity, trigger | mask | timer mode |
//! |---|---|---|---|---|---|
//! | timer | yes | - | - | yes | yes |
//! | error | yes | - | - | yes | - |
//! | performance counters, thermal sensor, corrected machine checks | yes | yes | - | yes | - |
//! | LINT0, LINT1 | yes | yes | yes | yes | - |
//! | AMD's extension (APM vol. 2, "Extended Interrupts") | yes | yes | - | yes | - |

use super::Registers;
use crate::hw::msr;

const VECTOR: u32 = 0xff;
pub(super) const DELIVERY_MODE: u32 = 0b111 << 8;
const FIXED: u32 = 0b000 << 8;
const SMI: u32 = 0b010 << 8;
pub(super) const NMI: u32 = 0b100 << 8;
const INIT: u32 = 0b101 << 8;
const EXTINT: u32 = 0b111 << 8;
const MASKED: u32 = 1 << 16;
const PERIODIC: u32 = 1 << 17;
const TSC_DEADLINE: u32 = 1 << 18;
const TIMER_MODE: u32 = 0b11 << 17;

/// A vector that an APIC takes: 0 to 15 are illegal.
///
/// ```
/// use profiler::hw::apic::Vector;
///
/// const TICK: Vector = Vector::new(0x45);
/// assert_eq!(TICK.number(), 0x45);
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Vector(u8);

impl Vector {
    /// The vector with this number.
    ///
    /// # Panics
    ///
    /// If it is below 16.
    #[must_use]
    pub const fn new(number: u8) -> Self {
        assert!(number >= 16, "APICs take vectors from 16 on");
        Self(number)
    }

    /// Its number.
    #[must_use]
    pub const fn number(self) -> u8 {
        self.0
    }

    const fn bits(self) -> u32 {
        self.0 as u32
    }
}

/// What raises interrupts in the APIC itself, by the memory offset of its entry.
///
/// ```no_run
/// use profiler::hw::apic::{self, LocalInterrupt, Vector};
///
/// // The old interrupt controller is not used any more.
/// // SAFETY: nothing waits for its interrupts.
/// unsafe { apic::registers().quieten(LocalInterrupt::Lint0, Vector::new(0xfe)) };
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u16)]
pub enum LocalInterrupt {
    /// A machine check that the hardware has corrected.
    CorrectedMachineCheck = 0x2f0,
    /// The timer.
    Timer = 0x320,
    /// The thermal sensor.
    Thermal = 0x330,
    /// A performance counter's overflow.
    Performance = 0x340,
    /// The pin LINT0: the old interrupt controller.
    Lint0 = 0x350,
    /// The pin LINT1: the platform's NMI.
    Lint1 = 0x360,
    /// An error of the APIC.
    Error = 0x370,
}

impl LocalInterrupt {
    /// All.
    pub const ALL: [Self; 7] = [
        Self::CorrectedMachineCheck,
        Self::Timer,
        Self::Thermal,
        Self::Performance,
        Self::Lint0,
        Self::Lint1,
        Self::Error,
    ];

    /// The number of the table's last entry, as the version register has it, from which on
    /// this one is there.
    const fn needs_last_entry(self) -> u32 {
        match self {
            Self::Timer | Self::Lint0 | Self::Lint1 | Self::Error => 0,
            Self::Performance => 4,
            Self::Thermal => 5,
            Self::CorrectedMachineCheck => 6,
        }
    }

    /// Returns true if an APIC has the entry whose version register reads `version`.
    #[must_use]
    pub const fn is_in(self, version: u32) -> bool {
        version >> 16 & 0xff >= self.needs_last_entry()
    }

    const fn has_delivery_mode(self) -> bool {
        !matches!(self, Self::Timer | Self::Error)
    }

    /// The entry that delivers nothing, in place of `left`; `None` for one that stays as it
    /// is. Firmware that has set an SMI needs it: of the thermal sensor above all.
    const fn quiet(self, left: u32, spare: Vector) -> Option<u32> {
        if self.has_delivery_mode() && left & DELIVERY_MODE == SMI {
            return None;
        }
        Some(match self {
            // Its mode is what it is used in.
            Self::Performance => MASKED | NMI,
            _ => MASKED | spare.bits(),
        })
    }
}

/// How an overflow of performance counters is delivered.
///
/// ```
/// use profiler::hw::apic::{Delivery, PerformanceEntry};
///
/// let entry = PerformanceEntry::new(Delivery::Nmi);
/// assert_eq!(entry.bits(), 0x400);
/// assert_eq!(entry.masked().bits(), 0x1_0400);
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Delivery {
    /// By a vector.
    Fixed(Vector),
    /// As an NMI.
    Nmi,
}

/// The entry of the performance counters, LVTPC.
///
/// ```
/// use profiler::hw::apic::{Delivery, PerformanceEntry, Vector};
///
/// let by_vector = PerformanceEntry::new(Delivery::Fixed(Vector::new(0xf0)));
/// assert_eq!(by_vector.bits(), 0xf0);
/// // As after a reset: the vector is illegal, and must not be written back.
/// assert_eq!(PerformanceEntry::as_left(0x1_0000).bits(), 0x1_0400);
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct PerformanceEntry(u32);

impl PerformanceEntry {
    /// Deliver overflows as NMIs.
    pub const NMI: Self = Self::new(Delivery::Nmi);

    /// Deliver overflows so.
    #[must_use]
    pub const fn new(delivery: Delivery) -> Self {
        Self(match delivery {
            Delivery::Fixed(vector) => vector.bits(),
            Delivery::Nmi => NMI,
        })
    }

    /// What was read from the register, to be written back: a masked NMI in place of what is
    /// illegal.
    ///
    /// | read | written |
    /// |---|---|
    /// | a fixed vector of 16 or more; an SMI, NMI, INIT or `ExtINT` | the same |
    /// | a fixed vector below 16, a mode that does not exist | a masked NMI |
    #[must_use]
    pub const fn as_left(read: u32) -> Self {
        let is_legal = match read & DELIVERY_MODE {
            FIXED => read & VECTOR >= 16,
            mode => matches!(mode, SMI | NMI | INIT | EXTINT),
        };
        Self(if is_legal {
            read & (VECTOR | DELIVERY_MODE | MASKED)
        } else {
            MASKED | NMI
        })
    }

    /// The same, and deliver nothing. Hardware sets that when it delivers an overflow.
    #[must_use]
    pub const fn masked(self) -> Self {
        Self(self.0 | MASKED)
    }

    /// Returns true if it delivers nothing.
    #[must_use]
    pub const fn is_masked(self) -> bool {
        self.0 & MASKED != 0
    }

    /// The register's value.
    #[must_use]
    pub const fn bits(self) -> u32 {
        self.0
    }
}

/// An entry of the extension that AMD's tables have, by its number. Firmware says which of
/// them delivers what.
///
/// ```
/// use profiler::hw::apic::ExtendedEntry;
///
/// assert!(ExtendedEntry::new(3).is_some());
/// assert!(ExtendedEntry::new(4).is_none());
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ExtendedEntry(u8);

impl ExtendedEntry {
    /// The number of entries that there can be.
    const MAX: u8 = 4;
    /// The register of the first; the others are 0x10 apart.
    const FIRST: u16 = 0x500;

    /// The entry with this number; `None` if there cannot be one.
    #[must_use]
    pub const fn new(number: u8) -> Option<Self> {
        if number < Self::MAX {
            Some(Self(number))
        } else {
            None
        }
    }

    /// Its number.
    #[must_use]
    pub const fn number(self) -> u8 {
        self.0
    }

    const fn offset(self) -> u16 {
        Self::FIRST + 0x10 * self.0 as u16
    }
}

/// The timer's entry.
///
/// ```no_run
/// use profiler::hw::apic::{self, TimerEntry, Vector};
///
/// const TICK: Vector = Vector::new(0x45);
/// // SAFETY: the vector has a handler.
/// unsafe { apic::registers().set_timer_entry(TimerEntry::periodic(TICK)) };
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct TimerEntry(u32);

impl TimerEntry {
    /// Interrupt once, at zero.
    #[must_use]
    pub const fn one_shot(vector: Vector) -> Self {
        Self(vector.bits())
    }

    /// Interrupt at zero, and start again.
    #[must_use]
    pub const fn periodic(vector: Vector) -> Self {
        Self(vector.bits() | PERIODIC)
    }

    /// What was read from the register, to be written back: `spare`, masked, in place of a vector
    /// or a mode that is illegal.
    pub(crate) const fn as_left(read: u32, spare: Vector) -> Self {
        if read & VECTOR < 16 || read & TIMER_MODE == TIMER_MODE {
            Self::one_shot(spare).masked()
        } else {
            Self(read & (VECTOR | MASKED | TIMER_MODE))
        }
    }

    /// The register's value.
    pub(crate) const fn bits(self) -> u32 {
        self.0
    }

    /// Returns true if the timer starts again at zero.
    pub(crate) const fn comes_again(self) -> bool {
        self.0 & PERIODIC != 0
    }

    /// Returns true if the timer does not count, and waits for the time stamp counter.
    pub(crate) const fn has_deadline(self) -> bool {
        self.0 & TSC_DEADLINE != 0
    }

    /// The vector that it delivers, unless it is masked.
    pub(crate) const fn delivers(self) -> Option<Vector> {
        if self.0 & MASKED == 0 {
            Some(Vector(self.0.to_le_bytes()[0]))
        } else {
            None
        }
    }

    /// The same, and deliver nothing.
    #[must_use]
    pub const fn masked(self) -> Self {
        Self(self.0 | MASKED)
    }
}

/// The entry of the APIC's errors.
///
/// ```no_run
/// use profiler::hw::apic::{self, ErrorEntry, Vector};
///
/// // SAFETY: the vector has a handler.
/// unsafe { apic::registers().set_error_entry(ErrorEntry::new(Vector::new(0xfe))) };
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ErrorEntry(u32);

impl ErrorEntry {
    /// Interrupt by this vector.
    #[must_use]
    pub const fn new(vector: Vector) -> Self {
        Self(vector.bits())
    }

    /// The same, and deliver nothing.
    #[must_use]
    pub const fn masked(self) -> Self {
        Self(self.0 | MASKED)
    }
}

impl Registers {
    /// What an entry holds.
    #[must_use]
    #[inline]
    pub fn read_entry(self, of: LocalInterrupt) -> u32 {
        self.read_at(of as u16)
    }

    /// Says how overflows of performance counters are delivered.
    ///
    /// # Safety
    ///
    /// 1. The APIC has the entry ([`LocalInterrupt::is_in`]).
    /// 2. What it delivers has a handler.
    #[inline]
    pub unsafe fn set_performance_entry(self, entry: PerformanceEntry) {
        // SAFETY: a legal entry; the caller's conditions.
        unsafe { self.write_at(LocalInterrupt::Performance as u16, entry.0) };
    }

    /// What an entry of AMD's extension holds; `None` if the APIC does not have it.
    #[must_use]
    pub fn read_extended_entry(self, entry: ExtendedEntry) -> Option<u32> {
        const HAS_EXTENSION: u32 = 1 << 31;
        /// Bits 16 to 23: the number of entries.
        const FEATURES: u16 = 0x400;
        if self.version() & HAS_EXTENSION == 0 {
            return None;
        }
        let [_, _, entries, _] = self.read_at(FEATURES).to_le_bytes();
        (entry.0 < entries).then(|| self.read_at(entry.offset()))
    }

    /// Says how an entry of AMD's extension delivers; it takes what the performance
    /// counters' does.
    ///
    /// # Safety
    ///
    /// 1. The APIC has the entry: [`Self::read_extended_entry`] has found it.
    /// 2. What it delivers has a handler.
    #[inline]
    pub unsafe fn set_extended_entry(self, entry: ExtendedEntry, value: PerformanceEntry) {
        // SAFETY: a legal entry; the caller's conditions.
        unsafe { self.write_at(entry.offset(), value.0) };
    }

    /// Says what the timer's end raises.
    ///
    /// # Safety
    ///
    /// The vector has a handler.
    #[inline]
    pub unsafe fn set_timer_entry(self, entry: TimerEntry) {
        // SAFETY: a legal entry that every APIC has; the caller's condition.
        unsafe { self.write_at(LocalInterrupt::Timer as u16, entry.0) };
    }

    /// Says what an error raises.
    ///
    /// # Safety
    ///
    /// The vector has a handler.
    pub unsafe fn set_error_entry(self, entry: ErrorEntry) {
        // SAFETY: a legal entry that every APIC has; the caller's condition.
        unsafe { self.write_at(LocalInterrupt::Error as u16, entry.0) };
    }

    /// Lets an entry deliver nothing, if the APIC has it, and if it is not firmware's: one
    /// that is an SMI stays as it is. The vector `spare` stands where there has to be one;
    /// not the spurious vector, which no entry may have.
    ///
    /// # Safety
    ///
    /// Nothing depends on what it delivers.
    pub unsafe fn quieten(self, interrupt: LocalInterrupt, spare: Vector) {
        if !interrupt.is_in(self.version()) {
            return;
        }
        if let Some(quiet) = interrupt.quiet(self.read_entry(interrupt), spare) {
            // SAFETY: the entry is there, and a masked one delivers nothing.
            unsafe { self.write_at(interrupt as u16, quiet) };
        }
    }

    /// Asks for NMIs at the timer's end, a mode that its entry has in QEMU's emulation alone.
    /// Returns true if the entry has kept it. A real APIC drops the mode, and the timer ends
    /// with `otherwise`; or it refuses the write, by #GP in x2APIC mode, which
    /// [`msr::recover`] has to take care of.
    ///
    /// # Safety
    ///
    /// NMIs and the vector have handlers.
    #[must_use]
    pub(crate) unsafe fn try_set_timer_nmi(self, otherwise: Vector) -> bool {
        let entry = NMI | otherwise.bits();
        let timer = LocalInterrupt::Timer as u16;
        let is_taken = match self {
            Self::XApic(_) => {
                // SAFETY: reserved bits read 0 in this mode; what is left is a legal entry.
                unsafe { self.write_at(timer, entry) };
                true
            }
            Self::X2Apic => {
                // SAFETY: a register of the APIC, which delivers an NMI or the vector.
                unsafe { msr::try_write(super::msr_at(timer), entry.into()) }.is_ok()
            }
        };
        is_taken && self.read_at(timer) & DELIVERY_MODE == NMI
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SPARE: Vector = Vector::new(0xfe);

    #[test]
    fn a_vector_below_16_is_none() {
        assert_eq!(Vector::new(16).number(), 16);
        assert!(std::panic::catch_unwind(|| Vector::new(15)).is_err());
    }

    #[test]
    fn entries_have_the_bits_that_the_manual_gives_them() {
        let vector = Vector::new(0x45);
        assert_eq!(TimerEntry::one_shot(vector).0, 0x45);
        assert_eq!(TimerEntry::periodic(vector).0, 0x2_0045);
        assert_eq!(TimerEntry::periodic(vector).masked().0, 0x3_0045);
        assert_eq!(ErrorEntry::new(SPARE).masked().0, 0x1_00fe);
        assert_eq!(PerformanceEntry::new(Delivery::Nmi).bits(), 0x400);
        let by_vector = PerformanceEntry::new(Delivery::Fixed(vector));
        assert_eq!(by_vector.masked().bits(), 0x1_0045);
    }

    #[test]
    fn a_timers_entry_is_written_back_if_it_is_legal() {
        for (read, written) in [
            (0x1_0000, 0x1_00fe), // as after a reset
            (0x0_000f, 0x1_00fe),
            (0x6_0045, 0x1_00fe), // a mode that does not exist
            (0x0_0010, 0x0_0010),
            (0x3_0045, 0x3_0045),
            (0x4_00ec, 0x4_00ec),
            (0x2_1445, 0x2_0045), // no delivery mode; its status is not to be written
        ] {
            let entry = TimerEntry::as_left(read, SPARE);
            assert_eq!(entry.bits(), written, "{read:#x}");
        }
    }

    #[test]
    fn what_was_left_is_written_back_if_it_is_legal() {
        for (read, written) in [
            (0x1_0000, 0x1_0400), // as after a reset
            (0x0_000f, 0x1_0400),
            (0x0_0010, 0x0_0010),
            (0x1_00fe, 0x1_00fe),
            (0x0_0200, 0x0_0200), // an SMI
            (0x1_0400, 0x1_0400),
            (0x0_0500, 0x0_0500),
            (0x0_0700, 0x0_0700),
            (0x0_01fe, 0x1_0400), // modes that do not exist
            (0x0_03fe, 0x1_0400),
            (0x0_06fe, 0x1_0400),
            (0x0_1410, 0x0_0410), // its delivery status is not to be written
            (0xfffe_f040, 0x0_0040),
        ] {
            let entry = PerformanceEntry::as_left(read).bits();
            assert_eq!(entry, written, "{read:#x}");
        }
    }

    #[test]
    fn every_entry_is_masked_with_a_legal_vector() {
        use LocalInterrupt::*;
        for interrupt in LocalInterrupt::ALL {
            for left in [0x1_0000, 0x0_0000, 0x0_0031, 0x0_0400, 0x0_0700] {
                let expected = if interrupt == Performance {
                    0x1_0400
                } else {
                    0x1_00fe
                };
                let quiet = interrupt.quiet(left, SPARE);
                assert_eq!(quiet, Some(expected), "{interrupt:?}, left {left:#x}");
            }
        }
        for firmwares in [CorrectedMachineCheck, Thermal, Performance, Lint0, Lint1] {
            for left in [0x200, 0x1_0200] {
                assert_eq!(firmwares.quiet(left, SPARE), None, "{firmwares:?}");
            }
        }
        // These have no delivery mode: the bits mean nothing.
        for interrupt in [Timer, Error] {
            assert_eq!(interrupt.quiet(0x200, SPARE), Some(0x1_00fe));
        }
    }

    #[test]
    fn old_apics_have_fewer_entries() {
        let count = |last: u32| {
            let version = 0x14 | last << 16;
            let all = LocalInterrupt::ALL.iter();
            all.filter(|it| it.is_in(version)).count()
        };
        assert_eq!([3, 4, 5, 6, 7].map(count), [4, 5, 6, 7, 7]);
    }
}
