//! A loader that starts a kernel as stock Limine does, for the daily loop:
//! `qemu-system-x86_64 -kernel loader -initrd kernel -append "command line"`.
//!
//! QEMU loads this program and enters it by PVH (32-bit protected mode, a
//! structure that tells what else was loaded); it enters long mode, loads the
//! kernel as its program headers say, answers the kernel's requests, starts the
//! other cores, and enters the kernel in the state that the Limine boot protocol
//! prescribes for x86-64, base revisions 0 to 6. Next to a real boot loader it has no
//! disk, no menu, no drivers, and saves the time of finding them missing.
//!
//! What else may be given comes by QEMU's device `fw_cfg`, under the names in [`fw_cfg`]:
//! modules; a seed for KASLR, by which a position-independent kernel is moved; a screen
//! (`-device ramfb`), for a kernel that asks for a framebuffer. What a kernel asks for
//! and does not get is named in a line of the log before it starts ([`unanswered`]). A
//! kernel that cannot be started is refused with a line that says what to do ([`Error`]).
//!
//! The library is what can be decided without the machine, and it has no
//! `unsafe`: it works on bytes that it is given. The binary (`main.rs`, and
//! `machine/` for what needs assembly, registers or raw memory) is the order of
//! the steps.

#![cfg_attr(not(test), no_std)]
#![forbid(unsafe_code)]

pub mod acpi;
pub mod answers;
mod bytes;
pub mod error;
pub mod executable;
pub mod framebuffer;
pub mod fw_cfg;
pub mod kaslr;
pub mod local_apic;
pub mod mapping;
pub mod memory_map;
pub mod modules;
pub mod pvh;
pub mod relocation;
pub mod requests;
pub mod rtc;
pub mod smbios;
pub mod text;
pub mod unanswered;

pub use error::{Error, Result};

use x86_64::{PhysAddr, VirtAddr};

/// Where physical address zero is in the direct map; what of memory that map covers depends
/// on the [base revision](mapping).
/// Limine takes the beginning of the higher half under 4-level paging, too.
pub const DIRECT_MAP: VirtAddr = VirtAddr::new(0xffff_8000_0000_0000);

/// Where the kernel sees a physical address.
#[must_use]
pub fn direct_map(address: PhysAddr) -> VirtAddr {
    DIRECT_MAP + address.as_u64()
}
