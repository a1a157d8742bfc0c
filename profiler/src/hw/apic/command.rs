//! Interrupt commands: what one core sends to others.

use core::arch::asm;

use super::lvt::NMI;
use super::{Register, Registers, msr_of};
use crate::hw::msr;

/// In an interrupt command, and in the message of a device: deliver as NMI. The vector is
/// ignored then.
pub const DELIVER_NMI: u32 = NMI;

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

impl Registers {
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
