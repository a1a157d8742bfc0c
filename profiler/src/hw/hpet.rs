//! The high precision event timer's registers (IA-PC HPET specification 1.0a,
//! 2.3), as typed accesses.

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
    /// Period in femtoseconds (bits 32 to 63), last timer (8 to 12); read only.
    Capabilities,
    /// Bit 0: counting.
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

/// The machine's HPET, mapped.
///
/// ```no_run
/// use profiler::hw::hpet::{Hpet, Register};
///
/// # let mapped = 0xffff_fd00_0000_0000;
/// // SAFETY: its page is mapped there, uncached, for ever.
/// let hpet = unsafe { Hpet::at(mapped) };
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

    /// Starts the main counter. Firmware may have done so.
    pub fn count(self) {
        let configuration = self.read(Register::Configuration);
        // SAFETY: the other bits as they were; no timer interrupts yet.
        unsafe { self.write(Register::Configuration, configuration | COUNTING) };
    }

    /// The number of timers, from the first on, that can interrupt by messages to cores.
    #[must_use]
    pub(crate) fn message_timers(self) -> u32 {
        const MESSAGE_CAPABLE: u64 = 1 << 15;
        let can = |timer| self.read(Register::TimerConfiguration(timer)) & MESSAGE_CAPABLE != 0;
        let capable = (0..self.timers()).take_while(|&timer| can(timer));
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
