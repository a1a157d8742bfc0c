//! QEMU: which one, how it is started, how it ends.

mod arguments;
mod control;
pub(crate) mod disc;
pub(crate) mod emulator;
pub(crate) mod ending;
mod failure;
mod family;
pub(crate) mod guest;
pub(crate) mod load;
mod log;
pub(crate) mod machine;
mod menu;
mod messages;
mod probe;
pub(crate) mod process;
mod protocol;
mod version;
mod warden;

pub use emulator::{Emulator, PmuModel};
pub use load::Module;

pub(crate) use arguments::{check, from_outside};
pub(crate) use disc::{Disc, Drive};
pub(crate) use emulator::{Choice, Qemu, QemuError, has_lab};
pub(crate) use ending::{End, Seen};
pub(crate) use guest::{Ended, Guest, GuestMemory, Limits, Look, Observer};
pub(crate) use load::Load;
pub(crate) use log::Heard;
pub(crate) use machine::{Additions, Boot, HPET_TIMERS, Machine};
pub(crate) use menu::{Menu, Wait};
pub(crate) use probe::KVM_MACHINE;
pub(crate) use process::Process;
pub(crate) use protocol::Protocol;
pub(crate) use version::Version;
pub(crate) use warden::{COMMAND as WARDEN, allow as allow_wardens, is_one as is_warden, watch};

/// The port through which the guest ends QEMU, and what it writes there: the value `v` makes
/// QEMU's status `2v + 1`.
mod status {
    /// The port of the device isa-debug-exit.
    pub const PORT: u16 = 0xf4;
    /// The kernel has done what it was asked to.
    pub const SUCCESS: u8 = 0x10;
    /// The kernel cannot take its command line.
    pub const BAD_COMMAND_LINE: u8 = 0x11;
    /// The kernel panicked.
    pub const PANIC: u8 = 0x12;
    /// The kernel met an exception.
    pub const EXCEPTION: u8 = 0x13;
    /// The kernel cannot sample as it was asked to.
    pub const SAMPLING_UNAVAILABLE: u8 = 0x14;
    /// The loader could not load the kernel.
    pub const LOADER_FAILED: u8 = 0x20;

    /// The values that have a meaning.
    pub const MEANT: [u8; 6] = [
        SUCCESS,
        BAD_COMMAND_LINE,
        PANIC,
        EXCEPTION,
        SAMPLING_UNAVAILABLE,
        LOADER_FAILED,
    ];

    /// The value that a guest has written if QEMU ends with this status.
    pub const fn value(code: i32) -> Option<u8> {
        if code & 1 == 1 && code > 0 && code <= 0xff {
            Some((code.to_le_bytes()[0]) >> 1)
        } else {
            None
        }
    }
}
