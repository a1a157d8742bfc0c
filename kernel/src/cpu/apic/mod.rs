//! The local APIC: timer, local interrupts, interrupts between cores.
//!
//! It is switched on here, in the order that the manual asks for (the `x2apic` crate's
//! `enable` unmasks entries with illegal vectors for a moment, and always takes x2APIC; of
//! the crate there are the names of errors). What runs afterwards, in handlers too, goes to
//! the registers directly ([`Registers`]).

pub mod errors;
mod start;

pub use profiler::hw::apic::*;

use alloc::vec::Vec;

use kernel_core::cores::{MAX_CORES, Plan, Ranges};
use spin::Once;
use x86_64::{PhysAddr, VirtAddr};

use super::features::Features;
pub(super) use start::start;

/// The vector of the local APIC's own errors. Also of what delivers nothing: no entry may
/// have an illegal vector, nor the spurious one, masked or not.
pub const ERROR: Vector = Vector::new(0xfe);
/// The vector of an interrupt that went away before the core took it. It is not to be
/// ended.
pub const SPURIOUS: Vector = Vector::new(0xff);

/// Maps a page of device registers and returns where the address is.
pub type MapDevice = fn(PhysAddr) -> VirtAddr;

static MODE: Once<Mode> = Once::new();

/// Where the page of registers is mapped, in xAPIC mode.
#[must_use]
pub fn address() -> Option<u64> {
    match find_registers() {
        Some(Registers::XApic(address)) => Some(address),
        Some(Registers::X2Apic) | None => None,
    }
}

/// Decides on the mode of all APICs, on the first core. Returns the cores that are used, of
/// those with these APIC ids; a line of the log names the others.
pub fn choose_cores(apic_ids: impl Iterator<Item = u32>) -> Vec<u32> {
    let handed_over = Mode::of_this_core().unwrap_or(Mode::XApic);
    let has_x2apic = Features::get().x2apic.is_some();
    let Plan {
        mode,
        used,
        left_out,
    } = Plan::new(handed_over, has_x2apic, apic_ids);
    MODE.call_once(|| mode);
    if !left_out.is_empty() {
        log::warn!(
            "{} logical processors, of which {} are used ({MAX_CORES} at most; without x2APIC APIC ids up to {LAST_XAPIC_ID}): not those with the APIC ids {}",
            used.len() + left_out.len(),
            used.len(),
            Ranges(&left_out),
        );
    }
    used
}

/// The mode of all APICs.
fn mode() -> Mode {
    *MODE.get().expect("the cores are chosen")
}
