//! The local APIC's registers, one access each: for code that must not wait.
//!
//! The same registers are memory (xAPIC) or MSRs (x2APIC, number 0x800 plus the
//! memory offset divided by 16; SDM vol. 3, 12.12.1.2). Which one is decided
//! once for the machine, so an access is a well-predicted branch and a load or
//! store. Nothing here allocates or locks: NMI handlers use it.

use core::arch::asm;

use x86_64::VirtAddr;
use x86_64::registers::model_specific::Msr;

use crate::cpu::features::X2Apic;

/// A register, by its memory offset.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u16)]
pub enum Register {
    /// The core's identifier: bits 24 to 31 in xAPIC, all 32 in x2APIC.
    Id = 0x20,
    /// Task priority: interrupts of a lower class wait.
    TaskPriority = 0x80,
    /// End of interrupt: write 0.
    EndOfInterrupt = 0xb0,
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

/// Where an interrupt command goes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Destination {
    /// The core with this APIC id.
    Core(u32),
    /// The core that sends.
    This,
}

/// What an interrupt command delivers.
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
#[derive(Clone, Copy, Debug)]
pub enum Registers {
    /// Memory at this address, the same on each core.
    XApic(VirtAddr),
    /// MSRs, which exist only in x2APIC mode: hence the proof that there is one.
    X2Apic(X2Apic),
}

impl Registers {
    /// Reads a register.
    #[must_use]
    #[inline]
    pub fn read(self, register: Register) -> u32 {
        match self {
            Self::XApic(base) => {
                let address: *const u32 = (base + register as u64).as_ptr();
                // SAFETY: a register of the mapped APIC page.
                unsafe { address.read_volatile() }
            }
            Self::X2Apic(_) => {
                // SAFETY: x2APIC mode is on, so the register is there; but for the
                // command's upper half, which only the xAPIC branches name.
                let value = unsafe { Msr::new(msr(register)).read() };
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
                let address: *mut u32 = (base + register as u64).as_mut_ptr();
                // SAFETY: a register of the mapped APIC page; the caller's conditions.
                unsafe { address.write_volatile(value) };
            }
            // SAFETY: x2APIC mode is on; the caller's conditions.
            Self::X2Apic(_) => unsafe { Msr::new(msr(register)).write(u64::from(value)) },
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
            Self::X2Apic(_) => value,
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
            Self::X2Apic(_) => {
                let command = u64::from(id) << 32 | u64::from(command);
                // A write to an x2APIC register waits for nothing: what the receiver is to
                // find in memory has to be there before (SDM vol. 3, 12.12.3).
                // SAFETY: orders accesses, and nothing else.
                unsafe { asm!("mfence", "lfence", options(nostack, preserves_flags)) };
                // SAFETY: a valid command in one write (SDM vol. 3, 12.12.9); the caller
                // vouches for the receivers.
                unsafe { Msr::new(msr(Register::InterruptCommand)).write(command) };
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

const fn msr(register: Register) -> u32 {
    0x800 + (register as u32 >> 4)
}
