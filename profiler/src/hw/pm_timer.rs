//! The power management timer (ACPI specification 4.8.3.3), which counts 3.579545 MHz on every
//! PC and in most virtual machines. It interrupts nobody here, and is only read.

use core::arch::asm;

/// Its counts a second.
pub const HERTZ: u64 = 3_579_545;

/// Where a power management timer is, as ACPI's FADT says.
///
/// ```
/// use profiler::hw::pm_timer::{PmTimer, Register};
///
/// let timer = PmTimer { register: Register::Port(0x608), has_32_bits: false };
/// assert_eq!(timer.bits(), 24);
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct PmTimer {
    /// Its register.
    pub register: Register,
    /// True if it has 32 bits (the FADT's flag `TMR_VAL_EXT`), false if 24.
    pub has_32_bits: bool,
}

/// The register of a power management timer.
///
/// ```
/// use profiler::hw::pm_timer::Register;
///
/// assert_ne!(Register::Port(0x608), Register::Memory(0x608));
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Register {
    /// An I/O port.
    Port(u16),
    /// The virtual address at which it is mapped, uncached.
    Memory(u64),
}

impl PmTimer {
    /// The number of bits that count.
    #[must_use]
    pub const fn bits(self) -> u32 {
        if self.has_32_bits { 32 } else { 24 }
    }

    /// Reads the timer. What is above [`Self::bits`] means nothing.
    ///
    /// # Safety
    ///
    /// It is there: reading its port has no effect, or its register is mapped, aligned to 4.
    #[must_use]
    pub unsafe fn read(self) -> u32 {
        match self.register {
            Register::Port(port) => {
                let value;
                // SAFETY: as the caller's condition.
                unsafe {
                    asm!("in eax, dx", in("dx") port, out("eax") value, options(nomem, nostack, preserves_flags));
                };
                value
            }
            Register::Memory(address) => {
                // The target's addresses are 64 bits.
                #[allow(clippy::cast_possible_truncation)]
                let register = core::ptr::with_exposed_provenance::<u32>(address as usize);
                // SAFETY: as the caller's condition.
                unsafe { register.read_volatile() }
            }
        }
    }
}
