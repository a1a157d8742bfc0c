//! The end of a run, as QEMU and the host tool know it: a status written to QEMU's
//! `isa-debug-exit`. QEMU ends with twice the status plus one.
//!
//! | status | QEMU ends with | the tool takes it for |
//! |---|---|---|
//! | 0x10 | 33 | done |
//! | 0x11 | 35 | the command line cannot be taken |
//! | 0x12 | 37 | a panic |
//! | 0x13 | 39 | an exception without a handler |
//! | 0x14 | 41 | sampling is not possible |
//! | 0x20 | 65 | the boot loader could not load the kernel |

use core::arch::asm;

/// The port, of one byte, where the tool puts the device
/// (`-device isa-debug-exit,iobase=0xf4,iosize=1`).
pub const PORT: u16 = 0xf4;

/// All was done.
pub const SUCCESS: u8 = 0x10;

/// The command line has a word that cannot be taken.
pub const BAD_COMMAND_LINE: u8 = 0x11;
/// A panic.
pub const PANIC: u8 = 0x12;
/// An exception without a handler.
pub const EXCEPTION: u8 = 0x13;
/// Sampling is not possible.
pub const UNAVAILABLE: u8 = 0x14;

/// Ends QEMU with this status. Returns where there is no such device.
pub fn exit_qemu(status: u8) {
    // SAFETY: with the device QEMU ends; without it nothing listens at this port on a PC.
    unsafe {
        asm!("out dx, al", in("dx") PORT, in("al") status, options(nomem, nostack, preserves_flags))
    };
}
