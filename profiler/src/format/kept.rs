//! Regions that are still in memory after a reset: the samples before a triple fault are not lost.
//!
//! A reset leaves RAM as it is, if firmware does not test or clear it. So a kernel whose region lies
//! where nothing is written before the kernel looks there finds it again at its next start, and
//! sends it ([`wire`](super::wire)) or leaves it alone for the host to read. What it finds may have
//! been written over: all of it is checked, as by a reader on the host.

use core::fmt;
use core::ptr::NonNull;

use super::region::{PAGE, Region, RegionError, RunState};
use super::wire::Record;
use super::{RecordHead, further, kind};

/// A region that a run before the reset has left.
///
/// ```
/// use profiler::format::kept::Kept;
/// use profiler::format::region::RunState;
///
/// /// For the log.
/// fn what_is_kept(kept: &Kept<'_>) -> String {
///     let end = match kept.region.state() {
///         RunState::Finished => "had finished",
///         RunState::Failed => "had failed",
///         _ => "was cut",
///     };
///     format!("{} samples of a run that {end}", kept.readable().samples)
/// }
/// ```
pub struct Kept<'memory> {
    /// Where it begins in the memory that was searched.
    pub offset: usize,
    /// The region itself. A run that was cut is in a state in which it would go on, until
    /// [`Self::mark_cut`].
    pub region: Region<'memory>,
    /// Whose it is.
    pub build_id: [u8; 20],
}

/// What looks like a region and cannot be read.
///
/// ```
/// use profiler::format::kept::Damaged;
/// use profiler::format::region::RegionError;
///
/// let damaged = Damaged { offset: 0x1_0000, problem: RegionError::Truncated(1 << 40) };
/// let says = "the rings need 1099511627776 bytes, the memory ends before";
/// assert_eq!(damaged.to_string(), says);
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Damaged {
    /// Where it begins in the memory that was searched.
    pub offset: usize,
    /// What is wrong.
    pub problem: RegionError,
}

impl fmt::Display for Damaged {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.problem.fmt(f)
    }
}

impl core::error::Error for Damaged {}

/// What can be read of a region.
///
/// ```
/// use profiler::format::kept::Readable;
///
/// let all = Readable { samples: 40_000, damaged_rings: 0 };
/// assert_eq!(all, Readable { samples: 40_000, ..Readable::default() });
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Readable {
    /// The samples that nobody has read, up to where a ring is damaged.
    pub samples: u64,
    /// The rings that are damaged, or whose core's table is.
    pub damaged_rings: u32,
}

impl Kept<'_> {
    /// Returns true if there is something in it that has not left the machine: a reader in the
    /// host has not taken it, and no wire.
    #[must_use]
    pub fn is_wanted(&self) -> bool {
        let has_samples = |core| {
            self.region.control(core).unread() != 0 || self.region.chains(core).next().is_some()
        };
        !self.region.has_left() && (0..self.region.cores()).any(has_samples)
    }

    /// Says in the region that a reset has cut the run, if it had not ended: who reads it then knows.
    pub fn mark_cut(&self) {
        if !self.region.state().has_ended() {
            self.region.set_state(RunState::Cut);
        }
    }

    /// Counts what can be read: a look at each record, and at each chain that was counted in place.
    #[must_use]
    pub fn readable(&self) -> Readable {
        let mut all = Readable::default();
        for core in 0..self.region.cores() {
            let (in_ring, ring_is_whole) = samples(&self.region, core);
            let (in_table, table_is_whole) = counted(&self.region, core);
            let both = in_ring.saturating_add(in_table);
            all.samples = all.samples.saturating_add(both);
            all.damaged_rings += u32::from(!ring_is_whole || !table_is_whole);
        }
        all
    }
}

/// The samples in a ring, and whether all that is there can be read.
fn samples(region: &Region<'_>, core: u32) -> (u64, bool) {
    let data = region.ring_data(core);
    let control = region.control(core);
    let mut at = region.reader(core).position();
    let end = at.checked_add(control.unread());
    let end = end.filter(|end| end - at <= data.len() as u64);
    let Some(end) = end else {
        return (0, false);
    };
    let mut context = control.context(at);
    let mut samples = 0;
    while at < end {
        // Each has a unit at least.
        let Some(record) = Record::at(data, at, end, context, region.text()) else {
            return (samples, false);
        };
        samples += samples_in(record.units[0]);
        at += record.len as u64;
        context = record.context;
    }
    (samples, true)
}

/// The samples that were counted in place, and whether all chains of the table can be read.
fn counted(region: &Region<'_>, core: u32) -> (u64, bool) {
    let mut counted = (0_u64, true);
    for chain in region.chains(core) {
        match chain {
            Ok(chain) => counted.0 = counted.0.saturating_add(chain.count),
            Err(_) => counted.1 = false,
        }
    }
    counted
}

/// The samples of a record, by its first unit.
fn samples_in(first_unit: u32) -> u64 {
    let further = further::count(first_unit) as u64;
    match RecordHead::from_unit(first_unit).kind {
        kind::COUNT | kind::EVENT | kind::FILLER | kind::GAP => 0,
        _ => 1 + further,
    }
}

/// The regions in memory, in the order of their addresses: [`find`].
///
/// ```
/// use profiler::format::kept::Find;
///
/// fn samples(found: Find<'_>) -> u64 {
///     let wanted = found.flatten().filter(|kept| kept.is_wanted());
///     wanted.map(|kept| kept.readable().samples).sum()
/// }
/// ```
pub struct Find<'memory> {
    memory: NonNull<[u8]>,
    step: usize,
    next: usize,
    /// Where no region begins any more.
    end: usize,
    regions: core::marker::PhantomData<Region<'memory>>,
}

/// Finds the regions that runs before a reset have left in `memory`, at multiples of `step` from its
/// beginning. To be called before anything of it is used: who puts a region there again, at such a
/// place, and keeps other things away, finds it after the next reset.
///
/// ```
/// use std::ptr::NonNull;
/// use profiler::format::kept;
/// use profiler::format::wire::{Port, Sender};
///
/// /// `memory` is what the memory map says is free. Returns whether it may be used.
/// fn keep(memory: NonNull<[u8]>, sender: &mut Sender, port: &mut impl Port) -> bool {
///     let mut is_free = true;
///     // SAFETY: it is mapped for ever, and nothing uses it yet.
///     for found in unsafe { kept::find(memory, 1 << 16) } {
///         if let Ok(kept) = &found {
///             kept.mark_cut();
///         }
///         match found {
///             // It was read, or sent.
///             Ok(kept) if !kept.is_wanted() => kept.region.forget(),
///             Ok(kept) if sender.send(&kept.region, port).is_confirmed => kept.region.forget(),
///             // `kept.offset` and `kept.region.bytes()` say what is to be left alone.
///             Ok(_) => is_free = false,
///             Err(damaged) => println!("a region at {:#x}: {damaged}", damaged.offset),
///         }
///     }
///     is_free
/// }
/// ```
///
/// # Panics
///
/// If the memory or the step is not a multiple of a page.
///
/// # Safety
///
/// As for [`Region::open`], for all of the memory.
#[must_use]
pub unsafe fn find<'memory>(memory: NonNull<[u8]>, step: usize) -> Find<'memory> {
    let is_aligned = memory.cast::<u8>().addr().get().is_multiple_of(PAGE);
    assert!(is_aligned, "memory not aligned to a page");
    let is_page = step != 0 && step.is_multiple_of(PAGE);
    assert!(is_page, "the step is no multiple of a page");
    Find {
        memory,
        step,
        next: 0,
        end: memory.len(),
        regions: core::marker::PhantomData,
    }
}

impl Find<'_> {
    /// Looks for those only that begin before `offset`.
    ///
    /// ```
    /// use profiler::format::kept::Find;
    ///
    /// fn in_first_gigabyte(found: Find<'_>) -> usize {
    ///     found.beginning_before(1 << 30).flatten().count()
    /// }
    /// ```
    #[must_use]
    pub fn beginning_before(mut self, offset: usize) -> Self {
        self.end = self.end.min(offset);
        self
    }
}

impl<'memory> Iterator for Find<'memory> {
    type Item = Result<Kept<'memory>, Damaged>;

    fn next(&mut self) -> Option<Self::Item> {
        while self.next < self.end
            && let Some(rest) = self.memory.len().checked_sub(self.next)
            && rest >= PAGE
        {
            let offset = self.next;
            self.next = offset.saturating_add(self.step);
            // SAFETY: below the memory's length.
            let start = unsafe { self.memory.cast::<u8>().add(offset) };
            let rest = NonNull::slice_from_raw_parts(start, rest);
            // SAFETY: the promise of `find`.
            match unsafe { Region::open(rest) } {
                Ok((region, description)) => {
                    let build_id = description.build_id;
                    let kept = Kept {
                        offset,
                        region,
                        build_id,
                    };
                    if kept.is_wanted() {
                        // What looks like a region in its rings was there before them.
                        let bytes = region.bytes().next_multiple_of(self.step);
                        self.next = offset.saturating_add(bytes);
                    }
                    return Some(Ok(kept));
                }
                Err(RegionError::Magic | RegionError::Refused) => {}
                Err(problem) => return Some(Err(Damaged { offset, problem })),
            }
        }
        None
    }
}

#[cfg(test)]
mod tests;
