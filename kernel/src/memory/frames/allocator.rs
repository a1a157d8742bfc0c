//! The machine's frames: [`Bitmap`] behind a lock, made from the memory map.

use core::ptr::NonNull;

use kernel_core::bitmap::Bitmap;
use kernel_core::holes::around;
use x86_64::structures::paging::{FrameAllocator, PhysFrame, Size4KiB};
use x86_64::{PhysAddr, VirtAddr};

use crate::boot::{BootInfo, RegionKind};
use crate::memory::direct;
use crate::memory::frames::Reserved;
use crate::sync::{Lock, lock_class};

/// The bytes of a frame.
pub const FRAME: u64 = 4096;

/// Firmware and boot loaders keep things below here that no memory map mentions
/// (real-mode vectors, start-up code of other cores), and it is next to nothing.
const LOWEST: u64 = 1 << 20;

/// Where blocks for the host may be, and at multiples of what they begin, if there is room.
#[derive(Clone, Copy, Debug)]
pub struct HostPlace {
    /// They begin below this.
    pub below: PhysAddr,
    /// The multiple. Each is looked at by the next boot, and in a machine of an emulator that takes
    /// a page of the host.
    pub step: u64,
}

/// First where a host that has the machine's memory as a file finds them at their address: below
/// 2 GiB, where the device window may begin. What is too large for that may be anywhere.
pub const HOST_PLACES: [HostPlace; 2] = [
    HostPlace {
        below: PhysAddr::new_truncate(2 << 30),
        step: 64 << 10,
    },
    HostPlace {
        below: PhysAddr::new_truncate(u64::MAX),
        step: 2 << 20,
    },
];

static FRAMES: Lock<Option<Bitmap<'static>>> = Lock::new(lock_class!("frames"), None);

fn number(address: PhysAddr) -> usize {
    // A physical address has 52 bits, `usize` 64.
    (address.as_u64() / FRAME) as usize
}

fn address(frame: usize) -> PhysAddr {
    PhysAddr::new(frame as u64 * FRAME)
}

/// Takes over what the memory map calls usable, but for what `look` wants to be left alone in it.
///
/// # Panics
///
/// If no region has room for the bitmap.
pub(in crate::memory) fn start(
    boot: &'static BootInfo,
    look: impl FnOnce(&mut dyn Iterator<Item = Block>) -> Reserved,
) {
    let usable = boot.regions().filter_map(|region| {
        let start = region.start.max(PhysAddr::new(LOWEST));
        (region.kind == RegionKind::Usable && start < region.end).then_some(start..region.end)
    });
    let reserved = look(&mut usable.clone().map(|region| Block {
        start: region.start,
        bytes: region.end - region.start,
    }));
    let usable = usable.flat_map(|region| {
        let parts = around(
            region.start.as_u64()..region.end.as_u64(),
            reserved.ranges(),
        );
        parts.map(|part| PhysAddr::new(part.start)..PhysAddr::new(part.end))
    });
    let top = usable.clone().map(|region| region.end).max();
    let words = Bitmap::words_for(number(top.expect("the memory map has no usable region")));
    let bytes = (words as u64 * 8).next_multiple_of(FRAME);
    let home = usable
        .clone()
        .find(|region| region.end - region.start >= bytes);
    let home = home.expect("no region has room for a bit per frame").start;
    let pointer: *mut u64 = (boot.direct_map + home.as_u64()).as_mut_ptr();
    // SAFETY: usable memory, mapped by the boot loader's direct map as later by
    // ours, large enough, page-aligned, and below not given to the allocator. Any
    // bytes are numbers.
    let words = unsafe { core::slice::from_raw_parts_mut(pointer, words) };
    let mut bitmap = Bitmap::new(words);
    for region in usable {
        let start = if region.start == home {
            home + bytes
        } else {
            region.start
        };
        bitmap.release(number(start)..number(region.end));
    }
    FRAMES.with(|frames| *frames = Some(bitmap));
}

fn with<R>(action: impl FnOnce(&mut Bitmap<'static>) -> R) -> R {
    FRAMES.with(|frames| action(frames.as_mut().expect("frames are asked for too early")))
}

/// How many bytes are free.
#[must_use]
pub fn free_bytes() -> u64 {
    with(|bitmap| bitmap.free_frames()) as u64 * FRAME
}

/// The same; `None` while a core changes what is free.
#[must_use]
pub fn free_bytes_now() -> Option<u64> {
    let free = FRAMES.try_with(|frames| frames.as_ref().map(Bitmap::free_frames))??;
    Some(free as u64 * FRAME)
}

/// Takes one frame. Its contents are whatever was there.
#[must_use]
pub fn take() -> Option<PhysFrame> {
    let frame = with(Bitmap::take_one)?;
    Some(PhysFrame::containing_address(address(frame)))
}

/// A block of physical memory without gaps.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Block {
    /// The first address.
    pub start: PhysAddr,
    /// How many bytes; whole frames.
    pub bytes: u64,
}

impl Block {
    /// Where the block lies in the direct map: read and written there by all
    /// cores, cached.
    #[must_use]
    pub fn virtual_start(&self) -> VirtAddr {
        direct::address_of(self.start)
    }

    /// The block's bytes in the direct map.
    ///
    /// # Panics
    ///
    /// If the direct map is not in the upper half of the address space.
    #[must_use]
    pub fn bytes(&self) -> NonNull<[u8]> {
        let start = NonNull::new(self.virtual_start().as_mut_ptr::<u8>());
        let start = start.expect("the direct map does not begin at zero");
        let bytes = usize::try_from(self.bytes).expect("an address has 64 bits");
        NonNull::slice_from_raw_parts(start, bytes)
    }
}

/// Takes `bytes` (rounded up to frames) in a row, aligned to `align`, a power of
/// two; all of it below the address `below`, if one is given. The contents are
/// whatever was there.
#[must_use]
pub fn take_block(bytes: u64, align: u64, below: Option<PhysAddr>) -> Option<Block> {
    let bytes = bytes.checked_next_multiple_of(FRAME)?;
    let count = usize::try_from(bytes / FRAME).ok()?;
    let align = usize::try_from(align.max(FRAME) / FRAME).ok()?;
    let below = below.map_or(usize::MAX, number);
    let frame = with(|bitmap| bitmap.take_block(count, align, below))?;
    let start = address(frame);
    Some(Block { start, bytes })
}

/// Takes `bytes` in a row for a region, in the first of [`HOST_PLACES`] that has room. If it can be
/// they are in the middle of memory, where they are still there after a reset.
#[must_use]
pub fn take_for_host(bytes: u64) -> Option<Block> {
    HOST_PLACES.iter().find_map(|place| {
        let middle = take_middle(bytes, place.step, place.below);
        middle.or_else(|| take_block(bytes, FRAME, Some(place.below)))
    })
}

/// Returns true if the next boot looks whether a block for the host begins there.
#[must_use]
pub fn is_found_again(start: PhysAddr) -> bool {
    let mut places = HOST_PLACES.iter();
    let place = places.find(|place| start < place.below);
    place.is_some_and(|place| start.is_aligned(place.step))
}

/// Takes `bytes` in the middle of the longest row of free frames below an address, if there is
/// room from a multiple of `align` on.
fn take_middle(bytes: u64, align: u64, below: PhysAddr) -> Option<Block> {
    let bytes = bytes.checked_next_multiple_of(FRAME)?;
    let count = usize::try_from(bytes / FRAME).ok()?;
    let align = usize::try_from(align / FRAME).ok()?;
    let frame = with(|bitmap| bitmap.take_middle(count, align, number(below)))?;
    let start = address(frame);
    Some(Block { start, bytes })
}

/// Gives a block back.
///
/// # Safety
///
/// 1. `block` is the result of [`take_block`], or was [`Reserved`], and was not given back before.
/// 2. Nothing refers to its memory any more.
pub unsafe fn give_back(block: Block) {
    let first = number(block.start);
    with(|bitmap| bitmap.release(first..first + number(PhysAddr::new(block.bytes))));
}

/// The allocator as the page-table code of the `x86_64` crate wants it.
pub(in crate::memory) struct ForPageTables;

// SAFETY: `take` hands out each frame once.
unsafe impl FrameAllocator<Size4KiB> for ForPageTables {
    fn allocate_frame(&mut self) -> Option<PhysFrame> {
        take()
    }
}
