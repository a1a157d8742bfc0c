//! The memory that the sampler works in: what the host reads, and behind it what the
//! sampler keeps for each core, and its stack.

use core::cell::UnsafeCell;
use core::fmt;
use core::ptr::NonNull;
use core::sync::atomic::{AtomicBool, Ordering};

use super::own_stack::{OWN_STACK_BYTES, OwnStack};
use super::per_core::Core;
use crate::contract::settings::Settings;
use crate::format::Description;
use crate::format::region::{PAGE, RefusalText, Region, RegionLayout};

/// The bytes of a [`RegionMemory`] for `cores` cores with rings of `ring_bytes` each, a
/// power of two; with those of a table added to them, there is room for that of each core
/// (`keep=chains`). A run whose tables have no room of their own has smaller rings.
///
/// # Panics
///
/// If that is more than there are addresses.
#[must_use]
pub const fn region_bytes(cores: u32, ring_bytes: u64) -> usize {
    let layout = RegionLayout {
        cores,
        ring_words: ring_bytes / 8,
    };
    match layout.bytes() {
        Some(bytes) => bytes + OWN_STACK_BYTES + (cores as usize) * size_of::<Core>(),
        None => panic!("too large a region"),
    }
}

/// Memory for the sampler: a static, which is contiguous in physical memory where the
/// boot loader loads the kernel so, as they do.
///
/// ```
/// use profiler::sampler::{RegionMemory, region_bytes};
///
/// // Two cores, each with a ring of 64 KiB.
/// static MEMORY: RegionMemory<{ region_bytes(2, 64 << 10) }> = RegionMemory::new();
/// let memory = MEMORY.take(); // for `Sampler::start`
/// ```
#[repr(C, align(4096))]
pub struct RegionMemory<const BYTES: usize> {
    bytes: UnsafeCell<[u8; BYTES]>,
    /// A sampler has it.
    is_taken: AtomicBool,
}

// SAFETY: nothing here touches the bytes; the sampler, to which they are given once, does
// so by atomics.
unsafe impl<const BYTES: usize> Sync for RegionMemory<BYTES> {}

impl<const BYTES: usize> RegionMemory<BYTES> {
    /// Memory of which nothing is used yet.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            bytes: UnsafeCell::new([0; BYTES]),
            is_taken: AtomicBool::new(false),
        }
    }

    /// All of it, the first time; no byte from then on.
    pub fn take(&'static self) -> Memory {
        let bytes: *mut u8 = self.bytes.get().cast();
        let bytes = NonNull::new(bytes).expect("a static has an address");
        let is_taken = self.is_taken.swap(true, Ordering::AcqRel);
        let len = if is_taken { 0 } else { BYTES };
        Memory(NonNull::slice_from_raw_parts(bytes, len))
    }
}

impl<const BYTES: usize> Default for RegionMemory<BYTES> {
    fn default() -> Self {
        Self::new()
    }
}

/// Memory that is the sampler's for ever. There is one of it: what two runs had would be
/// written by both.
///
/// ```no_run
/// use std::ptr::NonNull;
/// use profiler::sampler::{Memory, region_bytes};
///
/// # fn map_pages(bytes: usize) -> NonNull<u8> { unimplemented!() }
/// // Four cores, each with a ring of 4 MiB, in pages that were found at run time.
/// let bytes = region_bytes(4, 4 << 20);
/// let pages = NonNull::slice_from_raw_parts(map_pages(bytes), bytes);
/// // SAFETY: they are mapped for ever, and nothing else uses them.
/// let memory = unsafe { Memory::new(pages) };
/// ```
#[derive(Debug)]
pub struct Memory(NonNull<[u8]>);

// SAFETY: whoever has it owns the memory, on whatever core.
unsafe impl Send for Memory {}

impl Memory {
    /// Memory that was found at run time. It begins with a page, or no run has room in it.
    ///
    /// # Safety
    ///
    /// It is valid for reads and writes for ever, and nothing else uses it.
    #[must_use]
    pub const unsafe fn new(memory: NonNull<[u8]>) -> Self {
        Self(memory)
    }

    /// Returns true if it begins with a page.
    pub(crate) fn is_aligned(&self) -> bool {
        self.0.cast::<u8>().addr().get().is_multiple_of(PAGE)
    }

    /// The number of bytes.
    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    /// Takes room for the stack that the sampler prepares on, at the end of the memory: the
    /// rest, and the stack. `None` if there is no room.
    pub(crate) fn split_stack(&self) -> Option<(Self, OwnStack)> {
        let base = self.0.cast::<u8>();
        let rest = self.len().checked_sub(OWN_STACK_BYTES)? & !(align_of::<Core>() - 1);
        if !self.is_aligned() {
            return None;
        }
        // SAFETY: within the memory, by the subtraction above.
        let low = unsafe { base.add(rest) };
        // SAFETY: room for it was taken; the memory is the sampler's for ever.
        let stack = unsafe { OwnStack::new(low) };
        Some((Self(NonNull::slice_from_raw_parts(base, rest)), stack))
    }

    /// Takes room for a value of each core, and fills it: the rest, and the values.
    /// `None` if there is no room.
    pub(crate) fn split_cores(&self, apic_ids: &[u32]) -> Option<(Self, &'static [Core])> {
        let bytes = size_of::<Core>().checked_mul(apic_ids.len())?;
        let rest = self.len().checked_sub(bytes)? & !(align_of::<Core>() - 1);
        let base = self.0.cast::<u8>();
        if !base.addr().get().is_multiple_of(PAGE) {
            return None;
        }
        // SAFETY: within the memory, by the subtraction above.
        let cores = unsafe { base.add(rest) }.cast::<Core>();
        // SAFETY: room for all of them was taken, aligned as the base is and `rest`; the
        // memory is the sampler's for ever.
        let cores = unsafe { Core::create_all(cores, apic_ids) };
        let rest = NonNull::slice_from_raw_parts(base, rest);
        Some((Self(rest), cores))
    }

    /// Tells the host that there is no run, and why.
    pub fn refuse(self, reason: &dyn fmt::Display) {
        if self.len() >= PAGE && self.0.addr().get().is_multiple_of(PAGE) {
            let reason = RefusalText::of(reason);
            // SAFETY: it is valid for ever, and the sampler alone has it.
            unsafe { Region::create_refused(self.0, reason.as_str()) };
        }
    }

    /// The words of each of `cores` rings, and the bytes of its table: as many as asked for, or
    /// the largest powers of two that there is room for, down to [`Settings::RING_BYTES`] and
    /// [`Settings::TABLE_BYTES`]. Rings are made smaller first.
    pub(crate) fn sizes(&self, cores: u32, [ring_words, table_bytes]: [u64; 2]) -> [u64; 2] {
        let fits = |ring_words, table_bytes| {
            let layout = RegionLayout { cores, ring_words };
            let bytes = layout.bytes_with(table_bytes);
            bytes.is_some_and(|bytes| bytes <= self.len())
        };
        let halves = |asked: u64, least: u64| {
            let halves = (0..u64::BITS).map(move |halvings| asked >> halvings);
            halves.take_while(move |&size| size >= least && size > 0)
        };
        let tables = halves(table_bytes, *Settings::TABLE_BYTES.start());
        // None, where none is asked for.
        let tables = tables.chain((table_bytes == 0).then_some(0));
        let least = Settings::RING_BYTES.start() / 8;
        for table in tables {
            let mut rings = halves(ring_words, least);
            if let Some(ring) = rings.find(|&ring| fits(ring, table)) {
                return [ring, table];
            }
        }
        [ring_words, table_bytes]
    }

    /// Makes the region of the run, if there is room for what it describes.
    ///
    /// # Errors
    ///
    /// The bytes that are needed.
    pub(crate) fn region(&self, description: &Description) -> Result<Region<'static>, usize> {
        let layout = RegionLayout {
            cores: description.cores,
            ring_words: description.ring_words,
        };
        let needed = layout.bytes_with(description.table_bytes);
        let needed = needed.unwrap_or(usize::MAX);
        if needed > self.len() {
            return Err(needed);
        }
        // SAFETY: it is valid for ever, and the sampler alone has it.
        Ok(unsafe { Region::create(self.0, description) })
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::format::description::tests::example;
    use crate::unwind::StackBounds;

    const APIC_IDS: [u32; 4] = [6, 4, 2, 0];

    /// So many bytes from a page's start on.
    fn memory(len: usize) -> Memory {
        let pages = vec![[0xff_u8; PAGE]; len.div_ceil(PAGE) + 1].leak();
        let start = pages.as_mut_ptr().cast::<u8>();
        let start = start.wrapping_add(start.align_offset(PAGE));
        let bytes = NonNull::slice_from_raw_parts(NonNull::new(start).unwrap(), len);
        // SAFETY: leaked.
        unsafe { Memory::new(bytes) }
    }

    fn needed() -> usize {
        region_bytes(example().cores, example().ring_words * 8)
    }

    /// The part of that for the region itself.
    fn region() -> usize {
        needed() - OWN_STACK_BYTES - 4 * size_of::<Core>()
    }

    /// Memory for the region of the example, and its cores.
    pub(crate) fn memory_of_region() -> (Memory, &'static [Core]) {
        split(needed())
    }

    fn split(len: usize) -> (Memory, &'static [Core]) {
        let (rest, _) = memory(len).split_stack().unwrap();
        rest.split_cores(&APIC_IDS).unwrap()
    }

    #[test]
    fn a_region_and_cores_fit_what_is_said_that_they_need() {
        let (rest, cores) = memory_of_region();
        assert_eq!(rest.len(), region());
        assert!(rest.region(&example()).is_ok());
        // The region has left them alone.
        let seen: Vec<_> = cores.iter().map(|it| (it.index, it.apic_id)).collect();
        assert_eq!(seen, [(0, 6), (1, 4), (2, 2), (3, 0)]);
        let end = rest.0.cast::<u8>().addr().get() + rest.len();
        assert_eq!(cores.as_ptr().addr(), end);
    }

    #[test]
    fn one_byte_less_is_too_small() {
        let (rest, _) = split(needed() - 1);
        assert_eq!(rest.region(&example()).map(|_| ()), Err(region()));
    }

    #[test]
    fn the_stack_is_the_end_of_the_memory() {
        let all = memory(needed());
        let low = all.0.cast::<u8>().addr().get();
        let (rest, stack) = all.split_stack().unwrap();
        let StackBounds { low: stack, high } = stack.bounds();
        assert_eq!(
            (stack, high),
            ((low + rest.len()) as u64, (low + needed()) as u64)
        );
        assert_eq!(rest.len(), needed() - OWN_STACK_BYTES);
        assert!(memory(OWN_STACK_BYTES).split_stack().is_some());
        assert!(memory(OWN_STACK_BYTES - 1).split_stack().is_none());
    }

    #[test]
    fn cores_need_room_and_a_page() {
        let room = 4 * size_of::<Core>();
        assert!(memory(room).split_cores(&APIC_IDS).is_some());
        assert!(memory(room - 1).split_cores(&APIC_IDS).is_none());
        let bytes = memory(2 * room).0.cast::<u8>();
        // SAFETY: within what was leaked.
        let odd = unsafe { bytes.add(align_of::<Core>()) };
        // SAFETY: likewise.
        let odd = unsafe { Memory::new(NonNull::slice_from_raw_parts(odd, room)) };
        assert!(odd.split_cores(&APIC_IDS).is_none());
    }

    #[test]
    fn memory_is_taken_once() {
        static MEMORY: RegionMemory<8192> = RegionMemory::new();
        assert_eq!([MEMORY.take().len(), MEMORY.take().len()], [8192, 0]);
    }
}
