//! The high precision event timer's registers (IA-PC HPET specification 1.0a,
//! 2.3), as typed accesses.

use spin::Once;
use x86_64::VirtAddr;

/// A register.
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
#[derive(Clone, Copy, Debug)]
pub struct Hpet {
    base: VirtAddr,
}

static HPET: Once<Option<Hpet>> = Once::new();

/// Says where the HPET's registers are mapped, if there is one.
pub fn start(base: Option<VirtAddr>) {
    HPET.call_once(|| base.map(|base| Hpet { base }));
}

/// The machine's HPET, if it has one; nothing before [`start`].
#[must_use]
pub fn get() -> Option<Hpet> {
    *HPET.get()?
}

impl Hpet {
    /// Reads a register.
    #[must_use]
    #[inline]
    pub fn read(self, register: Register) -> u64 {
        let address: *const u64 = (self.base + register.offset()).as_ptr();
        // SAFETY: within the mapped page of registers, aligned to 8.
        unsafe { address.read_volatile() }
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
        let address: *mut u64 = (self.base + register.offset()).as_mut_ptr();
        // SAFETY: within the mapped page of registers; the caller's conditions.
        unsafe { address.write_volatile(value) };
    }

    /// Lets the main counter count. Firmware may have done so.
    pub fn count(self) {
        let configuration = self.read(Register::Configuration);
        // SAFETY: the other bits as they were; no timer interrupts yet.
        unsafe { self.write(Register::Configuration, configuration | COUNTING) };
    }

    /// Femtoseconds per tick of the main counter.
    #[must_use]
    pub fn period_femtoseconds(self) -> u64 {
        self.read(Register::Capabilities) >> 32
    }

    /// How many timers there are.
    #[must_use]
    pub fn timers(self) -> u8 {
        let last = self.read(Register::Capabilities) >> 8 & 0x1f;
        last.to_le_bytes()[0] + 1
    }
}
