//! What each core owns, and how it is found.
//!
//! The first core makes a [`CoreBlock`] for every core before any other starts.
//! From then on the set is fixed: core `n` is `cores()[n]` for good, and each
//! core's GS base points to its own block.

pub mod accounts;
pub mod apic;
pub mod block;
pub mod control;
pub mod descriptors;
pub mod extended_state;
pub mod features;
pub mod hpet;
pub mod idle;
pub mod idt;
pub mod io_apic;
pub mod msr;
pub mod pci;
pub mod per_core;
pub mod pm_timer;
pub mod stack;
pub mod stop;
pub mod tick;
pub mod user;

pub use block::CoreBlock;

use alloc::vec::Vec;
use core::sync::atomic::{AtomicBool, Ordering};

use kernel_core::postmortem::Cores;
use profiler::hw::misc_enable;
use spin::Once;

use apic::MapDevice;
use features::Features;
use stack::{Stack, StackKind};

static CORES: Once<Vec<&'static CoreBlock>> = Once::new();
/// The first core's GS base is set; the others set theirs before they
/// do anything that could ask.
static GS_BASE_SET: AtomicBool = AtomicBool::new(false);

/// Makes the blocks of all cores, descriptor tables included. Core `n` gets the `n`th
/// of `apic_ids`, and `stacks(n)`.
///
/// # Panics
///
/// If memory is used up.
pub fn create_blocks(
    apic_ids: impl Iterator<Item = u32>,
    stacks: impl Fn(u32) -> [Stack; StackKind::ALL.len()],
) {
    let blocks = (0..).zip(apic_ids).map(|(index, apic_id)| {
        CoreBlock::create(index, apic_id, stacks(index), per_core::create_copy())
    });
    CORES.call_once(|| blocks.collect());
}

/// Makes the running core this block's: the per-core pointer, segments and stacks. The
/// gates come next, then [`enable`].
pub fn adopt(core: &'static CoreBlock) {
    msr::gs::set_base(core);
    core.descriptors.load();
    GS_BASE_SET.store(true, Ordering::Relaxed);
}

/// Lets CPUID have all leaves on the first core, before any is asked for.
pub fn unlimit_cpuid() {
    if misc_enable::unlimit_cpuid() {
        log::info!("CPUID was limited by the firmware: all of its leaves are there now");
    }
}

/// Sets the running core's control registers, and switches its APIC on.
pub fn enable(core: &'static CoreBlock, features: &Features, map_device: MapDevice) {
    // Each core has its own limit; the first one has lifted it, and has said so.
    misc_enable::unlimit_cpuid();
    control::set(features);
    apic::start(core, map_device);
}

/// All cores, the first core first.
#[must_use]
pub fn cores() -> &'static [&'static CoreBlock] {
    CORES.get().map_or(&[], Vec::as_slice)
}

/// Where the tool finds the blocks of all cores in a dead kernel's memory.
#[must_use]
pub fn places() -> Cores {
    Cores {
        pointers: cores().as_ptr().addr() as u64,
        count: cores().len() as u64,
        ..CoreBlock::places()
    }
}

/// The number of cores.
#[must_use]
pub fn count() -> u32 {
    u32::try_from(cores().len()).unwrap_or(u32::MAX)
}

/// The local APIC ids of all cores, by index.
#[must_use]
pub fn apic_ids() -> &'static [u32] {
    static IDS: Once<Vec<u32>> = Once::new();
    IDS.call_once(|| cores().iter().map(|core| core.apic_id).collect())
}

/// The core with this index.
///
/// # Panics
///
/// If there are fewer cores.
#[must_use]
pub fn core(index: u32) -> &'static CoreBlock {
    cores()[index as usize]
}

/// The running core's block.
///
/// Only once the core [`adopt`]ed it, which is before it runs anything else.
#[must_use]
#[inline]
pub fn current() -> &'static CoreBlock {
    debug_assert!(GS_BASE_SET.load(Ordering::Relaxed));
    msr::gs::block()
}

/// Returns true if the running core has a block that it finds.
#[inline]
#[must_use]
pub fn knows_itself() -> bool {
    GS_BASE_SET.load(Ordering::Relaxed)
}

/// The running core's index; 0 as long as only the first core runs and does not
/// know itself.
#[must_use]
pub fn current_index() -> u32 {
    if GS_BASE_SET.load(Ordering::Relaxed) {
        msr::gs::block().index
    } else {
        0
    }
}
