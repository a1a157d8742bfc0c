//! The local APIC's registers, one access each: for code that must not wait.
//!
//! The same registers are memory (xAPIC) or MSRs (x2APIC, number 0x800 plus the
//! memory offset divided by 16; SDM vol. 3, 12.12.1.2). Which one is decided
//! once for the machine, so an access is a well-predicted branch and a load or
//! store.
//!
//! * `mode`: which of them.
//! * `lvt`: the local vector table, whose entries are types.
//! * `command`: interrupts to other cores.
//! * `timer`: what a timer is set to.

mod command;
mod lvt;
mod mode;
mod timer;

use core::fmt;
use core::ptr;
use core::sync::atomic::{AtomicU64, Ordering};

use super::msr;
pub use command::{DELIVER_NMI, Destination, Message};
pub use lvt::{
    Delivery, ErrorEntry, ExtendedEntry, LocalInterrupt, PerformanceEntry, TimerEntry, Vector,
};
pub use mode::{LAST_XAPIC_ID, Mode};
pub(crate) use timer::TimerState;

/// A register, by its memory offset; those of the local vector table are
/// [`LocalInterrupt`]'s.
///
/// ```no_run
/// use profiler::hw::apic::{self, Register};
///
/// let has_run_out = apic::registers().read(Register::TimerCurrentCount) == 0;
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u16)]
pub enum Register {
    /// The core's identifier: bits 24 to 31 in xAPIC, all 32 in x2APIC.
    Id = 0x20,
    /// What kind of APIC it is, and the number of its last local interrupt; bit 31: it has
    /// AMD's extension. Read only.
    Version = 0x30,
    /// Task priority: interrupts of a lower class wait.
    TaskPriority = 0x80,
    /// End of interrupt: write 0.
    EndOfInterrupt = 0xb0,
    /// Spurious vector and software enable.
    Spurious = 0xf0,
    /// What went wrong; write before reading.
    ErrorStatus = 0x280,
    /// Interrupt command: sends. Only xAPIC has its upper half apart.
    InterruptCommand = 0x300,
    /// Destination of an interrupt command, in bits 24 to 31: xAPIC only.
    InterruptCommandHigh = 0x310,
    /// Where the timer starts to count down; writing starts it, 0 stops it.
    TimerInitialCount = 0x380,
    /// Where the timer is; read only.
    TimerCurrentCount = 0x390,
    /// What the timer divides its clock by; 0b1011 is by 1.
    TimerDivide = 0x3e0,
}

/// In the timer's divider: its clock as it is.
pub const TIMER_DIVIDE_BY_1: u32 = 0b1011;

/// In the spurious vector's register: the APIC takes interrupts.
const SOFTWARE_ENABLED: u32 = 1 << 8;

/// The vectors that were taken and not ended (ISR): a bit each, in eight registers from this
/// offset on.
const IN_SERVICE: u16 = 0x100;

/// Those that have come, and were not taken yet (IRR).
const REQUESTED: u16 = 0x200;

/// The registers of the running core's local APIC.
///
/// ```no_run
/// use profiler::hw::apic::{NoApic, Registers};
///
/// fn apic_id(direct_map: u64) -> Result<u32, NoApic> {
///     Ok(Registers::detect(Some(direct_map + 0xfee0_0000))?.id())
/// }
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Registers {
    /// Memory: the page at this virtual address, the same on each core.
    XApic(u64),
    /// MSRs, which exist only in x2APIC mode.
    X2Apic,
}

/// Nothing says where the APIC's registers are.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum NoApic {
    /// The APIC is off.
    Off,
    /// It is in xAPIC mode, and the address of its page is not known.
    NoAddress,
}

impl fmt::Display for NoApic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Off => "the local APIC is off: switch it on first",
            Self::NoAddress => {
                "the local APIC is in xAPIC mode: say where its registers are mapped"
            }
        })
    }
}

impl core::error::Error for NoApic {}

/// 0: not set; 1: x2APIC; else the address of the xAPIC's page. Assembly reads it.
#[doc(hidden)]
pub static REGISTERS: AtomicU64 = AtomicU64::new(0);
pub(crate) const X2APIC: u64 = 1;

/// Sets what [`registers`] returns from now on.
///
/// # Safety
///
/// Each core's APIC is in that mode before it asks for its registers; an xAPIC's page is
/// mapped there, uncached, for ever.
pub unsafe fn set_registers(registers: Registers) {
    let address = match registers {
        Registers::XApic(address) => address,
        Registers::X2Apic => X2APIC,
    };
    REGISTERS.store(address, Ordering::Release);
}

/// The registers of whichever core asks, if anyone has said where they are.
#[must_use]
#[inline]
pub fn find_registers() -> Option<Registers> {
    match REGISTERS.load(Ordering::Relaxed) {
        0 => None,
        X2APIC => Some(Registers::X2Apic),
        address => Some(Registers::XApic(address)),
    }
}

/// The registers of whichever core asks.
///
/// # Panics
///
/// If [`set_registers`] was not called before.
#[must_use]
#[inline]
pub fn registers() -> Registers {
    find_registers().expect("the APIC is asked for too early")
}

/// The registers of whichever core asks, for handlers that do not ask whether they are known.
///
/// # Safety
///
/// [`set_registers`] was called before.
#[inline]
pub(crate) unsafe fn known_registers() -> Registers {
    match REGISTERS.load(Ordering::Relaxed) {
        X2APIC => Registers::X2Apic,
        address => Registers::XApic(address),
    }
}

impl Registers {
    /// Which registers the running core's APIC has, by its own base register; `xapic` is
    /// the virtual address of their page, needed in xAPIC mode alone.
    ///
    /// # Errors
    ///
    /// The APIC is off, or the address is missing.
    pub fn detect(xapic: Option<u64>) -> Result<Self, NoApic> {
        match Mode::of_this_core() {
            None => Err(NoApic::Off),
            Some(Mode::X2Apic) => Ok(Self::X2Apic),
            Some(Mode::XApic) => xapic.map(Self::XApic).ok_or(NoApic::NoAddress),
        }
    }

    /// The mode that has these.
    #[must_use]
    pub const fn mode(self) -> Mode {
        match self {
            Self::XApic(_) => Mode::XApic,
            Self::X2Apic => Mode::X2Apic,
        }
    }

    /// Reads a register.
    #[must_use]
    #[inline]
    pub fn read(self, register: Register) -> u32 {
        self.read_at(register as u16)
    }

    #[inline]
    fn read_at(self, offset: u16) -> u32 {
        match self {
            Self::XApic(base) => {
                // SAFETY: a register of the mapped APIC page.
                unsafe { address(base, offset).read_volatile() }
            }
            Self::X2Apic => {
                // SAFETY: x2APIC mode is on, so the register is there; but for the
                // command's upper half, which only the xAPIC branches name.
                let value = unsafe { msr::read(msr_at(offset)) };
                // The upper half exists in the command register alone.
                let [a, b, c, d, ..] = value.to_le_bytes();
                u32::from_le_bytes([a, b, c, d])
            }
        }
    }

    /// Writes a register.
    ///
    /// # Safety
    ///
    /// 1. The register can be written, and the value has no reserved bit set.
    /// 2. What the value makes the APIC deliver, now or later, is something that
    ///    the receiving core has a handler for.
    #[inline]
    pub unsafe fn write(self, register: Register, value: u32) {
        // SAFETY: the caller's conditions.
        unsafe { self.write_at(register as u16, value) };
    }

    /// As [`Self::write`].
    #[inline]
    unsafe fn write_at(self, offset: u16, value: u32) {
        match self {
            Self::XApic(base) => {
                // SAFETY: a register of the mapped APIC page; the caller's conditions.
                unsafe { address(base, offset).write_volatile(value) };
            }
            // SAFETY: x2APIC mode is on; the caller's conditions.
            Self::X2Apic => unsafe { msr::write(msr_at(offset), u64::from(value)) },
        }
    }

    /// Lets the running core's APIC take interrupts, unless it does: after a reset it takes
    /// NMIs and no others (SDM vol. 3, 12.4.7.2).
    ///
    /// # Safety
    ///
    /// The core has a gate for the spurious interrupt's vector, 0xff.
    pub unsafe fn enable(self) {
        if self.read(Register::Spurious) & SOFTWARE_ENABLED == 0 {
            // SAFETY: the caller's condition.
            unsafe { self.enable_with(Vector::new(0xff)) };
        }
    }

    /// Lets the running core's APIC take interrupts; those that go away before the core takes
    /// them become `spurious` ones.
    ///
    /// # Safety
    ///
    /// The core has a gate for that vector, whose handler does not end the interrupt. No
    /// entry of the local vector table has it.
    pub unsafe fn enable_with(self, spurious: Vector) {
        let value = SOFTWARE_ENABLED | u32::from(spurious.number());
        // SAFETY: the bits that every APIC has; the caller's condition.
        unsafe { self.write(Register::Spurious, value) };
    }

    /// The version register, which says what entries the local vector table has.
    #[must_use]
    pub fn version(self) -> u32 {
        self.read(Register::Version)
    }

    /// What has gone wrong since this was asked last, a bit each (SDM vol. 3, 12.5.3).
    #[must_use]
    pub fn take_errors(self) -> u32 {
        // SAFETY: 0 is what the register takes in either mode. It then shows the errors since
        // the last such write.
        unsafe { self.write(Register::ErrorStatus, 0) };
        self.read(Register::ErrorStatus)
    }

    /// The highest vector that was taken and not ended, if there is one.
    #[must_use]
    pub fn highest_in_service(self) -> Option<u8> {
        self.highest_of(IN_SERVICE)
    }

    /// The highest vector that has come and was not taken yet, if there is one.
    #[must_use]
    pub fn highest_requested(self) -> Option<u8> {
        self.highest_of(REQUESTED)
    }

    /// The highest vector that has its bit in the eight registers from `first` on.
    fn highest_of(self, first: u16) -> Option<u8> {
        highest_vector(|word| self.read_at(first + 0x10 * u16::from(word)))
    }

    /// Ends the interrupt that is being served. Not for NMIs, which have no end.
    #[inline]
    pub fn end_of_interrupt(self) {
        // SAFETY: the one value that the register takes.
        unsafe { self.write(Register::EndOfInterrupt, 0) };
    }

    /// The running core's APIC id.
    #[must_use]
    pub fn id(self) -> u32 {
        let value = self.read(Register::Id);
        match self {
            Self::XApic(_) => value >> 24,
            Self::X2Apic => value,
        }
    }
}

/// The highest vector of a set, of which `word` gives 32 bits, the lowest ones first.
fn highest_vector(word: impl Fn(u8) -> u32) -> Option<u8> {
    (0..8).rev().find_map(|number| {
        let bit = word(number).checked_ilog2()?;
        Some(32 * number + bit.to_le_bytes()[0])
    })
}

#[inline]
fn address(base: u64, offset: u16) -> *mut u32 {
    // The target's addresses are 64 bits.
    #[allow(clippy::cast_possible_truncation)]
    ptr::with_exposed_provenance_mut((base + u64::from(offset)) as usize)
}

pub(crate) const fn msr_of(register: Register) -> u32 {
    msr_at(register as u16)
}

pub(crate) const fn msr_of_local(interrupt: LocalInterrupt) -> u32 {
    msr_at(interrupt as u16)
}

const fn msr_at(offset: u16) -> u32 {
    0x800 + (offset as u32 >> 4)
}

#[cfg(test)]
mod tests {
    use super::highest_vector;

    #[test]
    fn the_highest_of_256_vectors_is_found() {
        let of = |vectors: &[u8]| {
            highest_vector(|word| {
                let in_word = vectors.iter().filter(|&&it| it / 32 == word);
                in_word.map(|it| 1_u32 << (it % 32)).sum()
            })
        };
        assert_eq!(of(&[]), None);
        assert_eq!(of(&[0]), Some(0));
        assert_eq!(of(&[0x31, 0x3f, 0x20]), Some(0x3f));
        assert_eq!(of(&[0x20, 0xff, 0xe0]), Some(0xff));
    }
}
