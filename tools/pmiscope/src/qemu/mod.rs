//! QEMU: which one, how it is started, how it ends.

pub(crate) mod emulator;
pub(crate) mod guest;
pub(crate) mod load;
mod log;
pub(crate) mod machine;
mod probe;
pub(crate) mod process;
mod version;

pub use emulator::{Emulator, PmuModel};
pub use load::Module;

pub(crate) use emulator::{Choice, Qemu, QemuError, has_lab};
pub(crate) use guest::{End, Ended, Guest, GuestMemory, Limits, Look, Observer};
pub(crate) use load::Load;
pub(crate) use machine::{Boot, HPET_TIMERS, Machine};
pub(crate) use probe::KVM_MACHINE;
pub(crate) use process::{Process, WhenEnded};
pub(crate) use version::Version;

/// The port through which the guest ends QEMU, and the statuses that come of
/// that: a guest's value `v` makes `2v + 1`.
mod status {
    /// The port of the device isa-debug-exit.
    pub const PORT: u16 = 0xf4;
    /// The kernel has done what it was asked to.
    pub const SUCCESS: i32 = 33;
    /// The kernel cannot take its command line.
    pub const BAD_COMMAND_LINE: i32 = 35;
    /// The kernel panicked.
    pub const PANIC: i32 = 37;
    /// The kernel met an exception.
    pub const EXCEPTION: i32 = 39;
    /// The kernel cannot sample as it was asked to.
    pub const SAMPLING_UNAVAILABLE: i32 = 41;
    /// The loader could not load the kernel.
    pub const LOADER_FAILED: i32 = 65;
}
