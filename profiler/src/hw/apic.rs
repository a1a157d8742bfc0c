//! The local APIC's registers, one access each: for code that must not wait.
//!
//! The same registers are memory (xAPIC) or MSRs (x2APIC, number 0x800 plus the
//! memory offset divided by 16; SDM vol. 3, 12.12.1.2). Which one is decided
//! once for the machine, so an access is a well-predicted branch and a load or
//! store.

use core::arch::asm;
use core::fmt;
use core::ptr;
use core::sync::atomic::{AtomicU64, Ordering};

use super::msr;

/// A register, by its memory offset.
///
/// ```no_run
/// use profiler::hw::apic::{self, Register};
///
/// let entry = apic::registers().read(Register::LvtTimer);
/// let is_masked = entry & apic::LVT_MASKED != 0;
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u16)]
pub enum Register {
    /// The core's identifier: bits 24 to 31 in xAPIC, all 32 in x2APIC.
    Id = 0x20,
    /// Version and number of entries; bit 31: AMD's registers from 0x400 on are there.
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
    /// What the timer's end raises.
    LvtTimer = 0x320,
    /// What the thermal sensor raises.
    LvtThermal = 0x330,
    /// What a performance counter's overflow raises.
    LvtPerformance = 0x340,
    /// What the pin LINT0 raises: the old interrupt controller.
    LvtLint0 = 0x350,
    /// What the pin LINT1 raises: the platform's NMI.
    LvtLint1 = 0x360,
    /// What an error of the APIC raises.
    LvtError = 0x370,
    /// Where the timer starts to count down; writing starts it, 0 stops it.
    TimerInitialCount = 0x380,
    /// Where the timer is; read only.
    TimerCurrentCount = 0x390,
    /// What the timer divides its clock by; 0b1011 is by 1.
    TimerDivide = 0x3e0,
    /// AMD: which of its further registers there are; bits 16 to 23: how many entries the
    /// extended local vector table has.
    ExtendedFeature = 0x400,
    /// AMD: the first entry of the extended local vector table.
    ExtendedLvt0 = 0x500,
    /// The second.
    ExtendedLvt1 = 0x510,
    /// The third.
    ExtendedLvt2 = 0x520,
    /// The fourth.
    ExtendedLvt3 = 0x530,
}

/// In any local vector table entry: masked.
pub const LVT_MASKED: u32 = 1 << 16;
/// In any local vector table entry, and in a command: deliver as NMI. The vector
/// is ignored then.
pub const DELIVER_NMI: u32 = 0b100 << 8;
/// The field of a local vector table entry that says how to deliver.
pub const DELIVERY_MODE: u32 = 0b111 << 8;
/// In the timer's divider: its clock as it is.
pub const TIMER_DIVIDE_BY_1: u32 = 0b1011;
/// In the timer's entry: start again at zero.
pub const TIMER_PERIODIC: u32 = 1 << 17;

const COMMAND_ASSERT: u32 = 1 << 14;
const COMMAND_PENDING: u32 = 1 << 12;
const TO_SELF: u32 = 0b01 << 18;
const TO_OTHERS: u32 = 0b11 << 18;

/// Where an interrupt command goes.
///
/// ```no_run
/// use profiler::hw::apic::{self, Destination, Message};
///
/// /// Stops the other cores: their handler of NMIs halts.
/// fn stop_others() {
///     // SAFETY: all cores have a gate for NMIs.
///     unsafe { apic::registers().send(Message::Nmi, Destination::Others) };
/// }
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Destination {
    /// The core with this APIC id.
    Core(u32),
    /// The core that sends.
    This,
    /// All cores but the one that sends.
    Others,
}

/// What an interrupt command delivers.
///
/// ```no_run
/// use profiler::hw::apic::{self, Destination, Message};
///
/// # const RESCHEDULE: u8 = 0x40;
/// // SAFETY: the vector has a gate.
/// unsafe { apic::registers().send(Message::Fixed(RESCHEDULE), Destination::Core(1)) };
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Message {
    /// An interrupt with this vector, 16 or higher.
    Fixed(u8),
    /// An NMI. One that is still pending absorbs others.
    Nmi,
}

impl Message {
    const fn bits(self) -> u32 {
        match self {
            Self::Fixed(vector) => vector as u32 | COMMAND_ASSERT,
            Self::Nmi => DELIVER_NMI | COMMAND_ASSERT,
        }
    }
}

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
pub(crate) static REGISTERS: AtomicU64 = AtomicU64::new(0);
const X2APIC: u64 = 1;

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

impl Registers {
    /// Which registers the running core's APIC has, by its own base register; `xapic` is
    /// the virtual address of their page, needed in xAPIC mode alone.
    ///
    /// # Errors
    ///
    /// The APIC is off, or the address is missing.
    pub fn detect(xapic: Option<u64>) -> Result<Self, NoApic> {
        const ENABLED: u64 = 1 << 11;
        const X2APIC_MODE: u64 = 1 << 10;
        // SAFETY: every x86-64 processor has the register; reading changes nothing.
        let base = unsafe { msr::read(msr::IA32_APIC_BASE) };
        if base & ENABLED == 0 {
            Err(NoApic::Off)
        } else if base & X2APIC_MODE != 0 {
            Ok(Self::X2Apic)
        } else {
            xapic.map(Self::XApic).ok_or(NoApic::NoAddress)
        }
    }

    /// Reads a register.
    #[must_use]
    #[inline]
    pub fn read(self, register: Register) -> u32 {
        match self {
            Self::XApic(base) => {
                // SAFETY: a register of the mapped APIC page.
                unsafe { address(base, register).read_volatile() }
            }
            Self::X2Apic => {
                // SAFETY: x2APIC mode is on, so the register is there; but for the
                // command's upper half, which only the xAPIC branches name.
                let value = unsafe { msr::read(msr_of(register)) };
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
        match self {
            Self::XApic(base) => {
                // SAFETY: a register of the mapped APIC page; the caller's conditions.
                unsafe { address(base, register).write_volatile(value) };
            }
            // SAFETY: x2APIC mode is on; the caller's conditions.
            Self::X2Apic => unsafe { msr::write(msr_of(register), u64::from(value)) },
        }
    }

    /// Lets the running core's APIC take interrupts, unless it does: after a reset it takes
    /// NMIs and no others (SDM vol. 3, 12.4.7.2).
    ///
    /// # Safety
    ///
    /// The core has a gate for the spurious interrupt's vector, 0xff.
    pub unsafe fn enable(self) {
        const ENABLED: u32 = 1 << 8;
        const SPURIOUS_VECTOR: u32 = 0xff;
        if self.read(Register::Spurious) & ENABLED == 0 {
            // SAFETY: the bits that every APIC has; the caller's condition.
            unsafe { self.write(Register::Spurious, ENABLED | SPURIOUS_VECTOR) };
        }
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

    /// Sends an interrupt to other cores, or to this one.
    ///
    /// May be called in an NMI handler that interrupted this very function. In
    /// xAPIC a command is two writes, the destination first, so whoever comes
    /// between them puts the destination back that it found.
    ///
    /// # Safety
    ///
    /// Every receiver has a handler for `message`.
    #[inline]
    pub unsafe fn send(self, message: Message, destination: Destination) {
        let (shorthand, id) = match destination {
            Destination::Core(id) => (0, id),
            Destination::This => (TO_SELF, 0),
            Destination::Others => (TO_OTHERS, 0),
        };
        let command = message.bits() | shorthand;
        match self {
            Self::XApic(_) => {
                // What an interrupted sender wrote last may not have left yet.
                self.wait_until_sent();
                let found = self.read(Register::InterruptCommandHigh);
                // SAFETY: any destination is allowed.
                unsafe { self.write(Register::InterruptCommandHigh, id << 24) };
                // SAFETY: a valid command; the caller vouches for the receivers.
                unsafe { self.write(Register::InterruptCommand, command) };
                self.wait_until_sent();
                // SAFETY: what stood there before.
                unsafe { self.write(Register::InterruptCommandHigh, found) };
            }
            Self::X2Apic => {
                let command = u64::from(id) << 32 | u64::from(command);
                // A write to an x2APIC register waits for nothing: what the receiver is to
                // find in memory has to be there before (SDM vol. 3, 12.12.3).
                // SAFETY: orders accesses, and nothing else.
                unsafe { asm!("mfence", "lfence", options(nostack, preserves_flags)) };
                // SAFETY: a valid command in one write (SDM vol. 3, 12.12.9); the caller
                // vouches for the receivers.
                unsafe { msr::write(msr_of(Register::InterruptCommand), command) };
            }
        }
    }

    /// Waits until the APIC has sent the last command, but not for ever: it takes
    /// a few bus cycles unless the machine is broken.
    fn wait_until_sent(self) {
        for _ in 0..1000 {
            if self.read(Register::InterruptCommand) & COMMAND_PENDING == 0 {
                return;
            }
            core::hint::spin_loop();
        }
    }
}

#[inline]
fn address(base: u64, register: Register) -> *mut u32 {
    // The target's addresses are 64 bits.
    #[allow(clippy::cast_possible_truncation)]
    ptr::with_exposed_provenance_mut((base + register as u64) as usize)
}

pub(crate) const fn msr_of(register: Register) -> u32 {
    0x800 + (register as u32 >> 4)
}
