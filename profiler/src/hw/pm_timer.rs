//! The power management timer (ACPI specification 4.8.3.3), which counts 3.579545 MHz on every
//! PC and in most virtual machines. It interrupts nobody here, and is only read.
//!
//! Of its register 24 bits are taken, as Linux does. The others count if the FADT says so
//! (`TMR_VAL_EXT`), and firmware has said so of timers where they do not. Nothing needs them: 24
//! bits come round after 4.7 s.

use core::arch::asm;

/// Its counts a second.
pub const HERTZ: u64 = 3_579_545;

/// The bits that count.
pub const BITS: u32 = 24;

/// Where a power management timer is, as ACPI's FADT says.
///
/// ```
/// use profiler::hw::pm_timer::PmTimer;
///
/// assert_ne!(PmTimer::Port(0x608), PmTimer::Memory(0x608));
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum PmTimer {
    /// An I/O port.
    Port(u16),
    /// The virtual address at which its register is mapped, uncached.
    Memory(u64),
}

impl PmTimer {
    /// Reads the timer: [`BITS`] bits.
    ///
    /// # Safety
    ///
    /// It is there: reading its port has no effect, or its register is mapped, aligned to 4.
    #[must_use]
    pub unsafe fn read(self) -> u32 {
        let read: u32;
        match self {
            Self::Port(port) => {
                // SAFETY: as the caller's condition.
                unsafe {
                    asm!("in eax, dx", in("dx") port, out("eax") read, options(nomem, nostack, preserves_flags));
                };
            }
            Self::Memory(address) => {
                // The target's addresses are 64 bits.
                #[allow(clippy::cast_possible_truncation)]
                let register = core::ptr::with_exposed_provenance::<u32>(address as usize);
                // SAFETY: as the caller's condition.
                read = unsafe { register.read_volatile() };
            }
        }
        read & (u32::MAX >> (32 - BITS))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_above_24_bits_does_not_count() {
        let register = 0xdead_beef_u32;
        let address = (&raw const register).expose_provenance() as u64;
        // SAFETY: a register, of a test.
        let read = unsafe { PmTimer::Memory(address).read() };
        assert_eq!(read, 0x00ad_beef);
    }
}
