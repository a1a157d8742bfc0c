//! The high precision event timer's registers (IA-PC HPET specification 1.0a,
//! 2.3), as typed accesses.

use core::fmt;

/// A register.
///
/// ```no_run
/// use profiler::hw::hpet::{Hpet, Register};
///
/// fn count(hpet: Hpet) -> u64 {
///     hpet.read(Register::MainCounter)
/// }
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Register {
    /// Period in femtoseconds (bits 32 to 63), vendor (16 to 31), size of the main counter
    /// (13), last timer (8 to 12), revision (0 to 7); read only.
    Capabilities,
    /// Bit 0: counting; bit 1: timers 0 and 1 in the place of the PIT and the RTC.
    Configuration,
    /// The counter that all timers compare with.
    MainCounter,
    /// Configuration and capabilities of a timer, 0 to 31.
    TimerConfiguration(u8),
    /// When a timer fires, against the main counter.
    TimerComparator(u8),
    /// What a timer writes (bits 0 to 31) and where to (32 to 63) when it
    /// interrupts as a message.
    TimerMessage(u8),
}

impl Register {
    const fn offset(self) -> u64 {
        match self {
            Self::Capabilities => 0x00,
            Self::Configuration => 0x10,
            Self::MainCounter => 0xf0,
            Self::TimerConfiguration(timer) => Self::timer(timer),
            Self::TimerComparator(timer) => Self::timer(timer) + 0x08,
            Self::TimerMessage(timer) => Self::timer(timer) + 0x10,
        }
    }

    const fn timer(timer: u8) -> u64 {
        assert!(timer < 32, "there are at most 32 timers");
        0x100 + 0x20 * timer as u64
    }
}

/// In the configuration: the main counter counts.
const COUNTING: u64 = 1;
/// In the configuration: timers 0 and 1 interrupt in the place of the PIT and the RTC
/// (`LEG_RT_CNF`).
const LEGACY: u64 = 1 << 1;
/// In a timer's configuration.
pub(crate) mod timer {
    /// It interrupts by a level, not an edge (`Tn_INT_TYPE_CNF`).
    pub(crate) const LEVEL: u64 = 1 << 1;
    /// It interrupts (`Tn_INT_ENB_CNF`).
    pub(crate) const INTERRUPT: u64 = 1 << 2;
    /// It starts itself again (`Tn_TYPE_CNF`).
    pub(crate) const PERIODIC: u64 = 1 << 3;
    /// Its comparator has 64 bits (`Tn_SIZE_CAP`); read only.
    pub(crate) const WIDE: u64 = 1 << 5;
    /// It compares 32 bits all the same (`Tn_32MODE_CNF`).
    pub(crate) const FORCE_32_BITS: u64 = 1 << 8;
    /// It interrupts by a message (`Tn_FSB_EN_CNF`).
    pub(crate) const MESSAGE: u64 = 1 << 14;
    /// It can (`Tn_FSB_INT_DEL_CAP`); read only.
    pub(crate) const MESSAGE_CAPABLE: u64 = 1 << 15;
}

/// In the capabilities: the main counter has 64 bits (`COUNT_SIZE_CAP`).
const COUNT_SIZE: u64 = 1 << 13;

/// What a period can be, in femtoseconds: the specification's most (2.3.4), and less than any
/// has.
const PERIODS: core::ops::RangeInclusive<u64> = 100_000..=0x05f5_e100;

/// What is wrong with an HPET that a kernel was told of.
///
/// ```
/// use profiler::hw::hpet::Problem;
///
/// assert_eq!(Problem::Absent.to_string(), "the HPET is not where it should be: it reads as all ones");
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Problem {
    /// Nothing decodes its address.
    Absent,
    /// What is at its address is no HPET: its capabilities make no sense.
    Capabilities(u64),
    /// Its main counter does not count.
    StandsStill,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Absent => f.write_str("the HPET is not where it should be: it reads as all ones"),
            Self::Capabilities(read) => {
                write!(
                    f,
                    "no HPET where one should be: its capabilities read {read:#x}"
                )
            }
            Self::StandsStill => f.write_str("the HPET stands still"),
        }
    }
}

impl core::error::Error for Problem {}

/// Checks what is read as capabilities.
const fn check_capabilities(read: u64) -> Result<(), Problem> {
    let period = read >> 32;
    let vendor = read >> 16 & 0xffff;
    let revision = read & 0xff;
    let is_period = *PERIODS.start() <= period && period <= *PERIODS.end();
    if read == u64::MAX {
        Err(Problem::Absent)
    } else if !is_period || vendor == 0 || vendor == 0xffff || revision == 0 {
        Err(Problem::Capabilities(read))
    } else {
        Ok(())
    }
}

/// The machine's HPET, mapped.
///
/// ```no_run
/// use profiler::hw::hpet::{Hpet, Register};
///
/// # let mapped = 0xffff_fd00_0000_0000;
/// // SAFETY: its page is mapped there, uncached, for ever.
/// let hpet = unsafe { Hpet::at(mapped) };
/// hpet.take_over();
/// hpet.count();
/// let nanoseconds = hpet.read(Register::MainCounter) * hpet.period_femtoseconds() / 1_000_000;
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Hpet {
    /// The virtual address of its registers.
    base: u64,
}

impl Hpet {
    /// The HPET whose registers are mapped at the virtual address `base`.
    ///
    /// # Safety
    ///
    /// They are, uncached, for ever, in a page of their own.
    #[must_use]
    pub const unsafe fn at(base: u64) -> Self {
        Self { base }
    }

    /// Reads a register.
    #[must_use]
    #[inline]
    pub fn read(self, register: Register) -> u64 {
        // SAFETY: within the mapped page of registers, aligned to 8.
        unsafe { self.address(register).read_volatile() }
    }

    /// Writes a register.
    ///
    /// # Safety
    ///
    /// 1. The value keeps the register's reserved bits as they were read.
    /// 2. What a timer delivers from then on has a handler on the core that it is
    ///    addressed to; a message goes to a local APIC and nowhere else.
    #[inline]
    pub unsafe fn write(self, register: Register, value: u64) {
        // SAFETY: within the mapped page of registers; the caller's conditions.
        unsafe { self.address(register).write_volatile(value) };
    }

    #[inline]
    fn address(self, register: Register) -> *mut u64 {
        // The target's addresses are 64 bits.
        #[allow(clippy::cast_possible_truncation)]
        core::ptr::with_exposed_provenance_mut((self.base + register.offset()) as usize)
    }

    /// Makes sure that there is one, by what it says of itself.
    ///
    /// # Errors
    ///
    /// There is none, though firmware says so.
    pub fn check(self) -> Result<(), Problem> {
        check_capabilities(self.read(Register::Capabilities))
    }

    /// Takes the timers over from firmware, which may have left them armed: they would interrupt
    /// as soon as the main counter counts. None does from now on, until it is told to. And
    /// timers 0 and 1 are routed as they say themselves: not in the place of the PIT and the RTC,
    /// where what they say is ignored, a message to a core too (2.3.5).
    pub fn take_over(self) {
        for timer in 0..self.timers() {
            self.stop(timer);
        }
        let configuration = self.read(Register::Configuration);
        if configuration & LEGACY != 0 {
            // SAFETY: the other bits as they were; no timer interrupts.
            unsafe { self.write(Register::Configuration, configuration & !LEGACY) };
        }
    }

    /// The timer interrupts no more, until it is told to.
    pub(crate) fn stop(self, number: u8) {
        let register = Register::TimerConfiguration(number);
        let configuration = self.read(register);
        if configuration & timer::INTERRUPT != 0 {
            // SAFETY: the other bits as they were; it delivers nothing.
            unsafe { self.write(register, configuration & !timer::INTERRUPT) };
        }
    }

    /// Starts the main counter, and makes sure that it counts.
    ///
    /// # Errors
    ///
    /// It does not.
    pub(crate) fn check_counts(self) -> Result<(), Problem> {
        /// Some milliseconds: each goes over a bus.
        const READS: u32 = 10_000;
        self.count();
        let first = self.read(Register::MainCounter);
        let moves = (0..READS).any(|_| self.read(Register::MainCounter) != first);
        moves.then_some(()).ok_or(Problem::StandsStill)
    }

    /// The number of bits of the main counter.
    #[must_use]
    pub fn bits(self) -> u32 {
        if self.read(Register::Capabilities) & COUNT_SIZE != 0 {
            64
        } else {
            32
        }
    }

    /// The number of bits in which a timer compares.
    #[must_use]
    pub(crate) fn timer_bits(self, number: u8) -> u32 {
        let is_wide = self.read(Register::TimerConfiguration(number)) & timer::WIDE != 0;
        if is_wide { self.bits() } else { 32 }
    }

    /// Starts the main counter. Firmware may have done so; what it has armed interrupts, unless
    /// [`Self::take_over`] was first.
    pub fn count(self) {
        let configuration = self.read(Register::Configuration);
        // SAFETY: the other bits as they were; what interrupts has a handler, or was stopped.
        unsafe { self.write(Register::Configuration, configuration | COUNTING) };
    }

    /// The number of timers, from the first on, that can interrupt by messages to cores.
    #[must_use]
    pub(crate) fn message_timers(self) -> u32 {
        let configuration = |number| self.read(Register::TimerConfiguration(number));
        let can = |number| configuration(number) & timer::MESSAGE_CAPABLE != 0;
        let capable = (0..self.timers()).take_while(|&number| can(number));
        u32::try_from(capable.count()).unwrap_or(0)
    }

    /// Femtoseconds per tick of the main counter.
    #[must_use]
    pub fn period_femtoseconds(self) -> u64 {
        self.read(Register::Capabilities) >> 32
    }

    /// The number of timers.
    #[must_use]
    pub fn timers(self) -> u8 {
        let last = self.read(Register::Capabilities) >> 8 & 0x1f;
        last.to_le_bytes()[0] + 1
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// An HPET of plain memory: nothing counts.
    pub(crate) struct Registers(Box<[u64; 160]>);

    impl Registers {
        /// One that has `timers` timers, which can send messages, of 32 bits and 100 MHz.
        pub(crate) fn new(timers: u64) -> Self {
            let registers = Self(Box::new([0; 160]));
            registers.set(
                Register::Capabilities,
                0x0098_9680_8086_0001 | (timers - 1) << 8,
            );
            for timer in 0..timers {
                let timer = Register::TimerConfiguration(timer.to_le_bytes()[0]);
                registers.set(timer, 1 << 15);
            }
            registers
        }

        /// What a bus reads where nothing answers.
        pub(crate) fn absent() -> Self {
            Self(Box::new([u64::MAX; 160]))
        }

        /// Where they are.
        pub(crate) fn address(&self) -> u64 {
            self.0.as_ptr().cast_mut().expose_provenance() as u64
        }

        pub(crate) fn hpet(&self) -> Hpet {
            // SAFETY: registers, of a test.
            unsafe { Hpet::at(self.address()) }
        }

        pub(crate) fn set(&self, register: Register, value: u64) {
            // SAFETY: memory of a test.
            unsafe { self.hpet().write(register, value) };
        }

        pub(crate) fn get(&self, register: Register) -> u64 {
            self.hpet().read(register)
        }
    }

    /// Timers of firmware, and what is left of them: one shot, periodic, level-triggered with
    /// bits that mean nothing to us; by message; not armed.
    #[test]
    fn what_firmware_has_armed_does_not_interrupt() {
        let registers = Registers::new(5);
        let timer = Register::TimerConfiguration;
        let armed = [0x8034, 0x803c, 0xdead_0000_0000_802e, 0xc004, 0x8030];
        for (number, armed) in (0..).zip(armed) {
            registers.set(timer(number), armed);
        }
        registers.set(Register::Configuration, 0xabc3);
        registers.hpet().take_over();
        let left = [0, 1, 2, 3, 4].map(|number| registers.get(timer(number)));
        assert_eq!(
            left,
            [0x8030, 0x8038, 0xdead_0000_0000_802a, 0xc000, 0x8030]
        );
        // It counts still, and is in nobody's place.
        assert_eq!(registers.get(Register::Configuration), 0xabc1);
    }

    #[test]
    fn capabilities_are_checked() {
        // QEMU's, Intel's and AMD's.
        for there in [
            0x0098_9680_8086_a201,
            0x0429_b17e_8086_a701,
            0x0429_b17e_1022_8210,
        ] {
            assert_eq!(check_capabilities(there), Ok(()), "{there:#x}");
        }
        assert_eq!(check_capabilities(u64::MAX), Err(Problem::Absent));
        for absent in [
            0,                     // nothing
            0x8086_a201,           // no period
            0x05f5_e101_8086_a201, // longer than the longest
            0x0001_869f_8086_a201, // shorter than any
            0x0098_9680_0000_a201, // of no vendor
            0x0098_9680_ffff_a201,
            0x0098_9680_8086_a200, // of no revision
        ] {
            let problem = Err(Problem::Capabilities(absent));
            assert_eq!(check_capabilities(absent), problem, "{absent:#x}");
        }
        // The longest is one.
        assert_eq!(check_capabilities(0x05f5_e100_8086_a201), Ok(()));
    }
}
