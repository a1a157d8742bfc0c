//! The writing end.

use core::fmt;
use core::sync::atomic::{AtomicPtr, AtomicU32 as PlainAtomicU32, AtomicU64 as PlainAtomicU64};

use super::Control;
use super::in_place::InPlace;
use super::marks::Marks;
use crate::address::CodeRange;
use crate::format::kind;
use crate::format::sample::compact::{Context, Offsets, SP_BELOW};
use crate::sync::{AtomicU32, CoreLocal as _, Ordering, compiler_fence};

/// How often a write tries again after a nested write came between its load and
/// its compare-and-exchange, or between its publication and its leaving. Each retry
/// needs one more interrupt in a window of a few instructions.
const MAX_RETRIES: u32 = 16;

/// What a write in place keeps free: the longest compact sample's units.
#[cfg(not(all(test, loom)))]
pub(super) const EXTENT: u64 = crate::format::sample::compact::EXTENT_UNITS as u64;
/// Each unit of a ring makes loom slower, and the samples of its tests have no chain.
#[cfg(all(test, loom))]
pub(super) const EXTENT: u64 = 8;

/// What is under way, nested writes included: nothing.
const IDLE: u64 = 0;
/// A write whose place is reserved before it is written to.
const WRITING: u64 = 1;
/// A write in place: what nests in it has to stay clear of its extent.
pub(crate) const IN_PLACE: u64 = 2;

/// The time of a [`Base`] that is none: no sample's is within 2³² of it.
const NO_TIME: u64 = 1 << 63;

/// Called between any two steps of a write that a nested write could distinguish. The
/// real implementation is empty; a test's writes a nested record.
pub(crate) trait InterruptPoint {
    /// A nested write may happen here.
    #[inline(always)]
    fn here(&self) {}
}

impl InterruptPoint for () {}

/// The record did not fit, and the loss was counted.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Lost;

impl fmt::Display for Lost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the ring is full: the record is lost")
    }
}

impl core::error::Error for Lost {}

/// What a compact sample is relative to, as its writer has it: valid between a successful
/// [`Writer::begin`] and the end of that write, and if an interrupt has changed it meanwhile, the
/// write ends as [`super::Interrupted`].
pub(crate) struct Base {
    /// The time of the last wide sample, or one that none is near.
    pub time: PlainAtomicU64,
    /// The lowest stack pointer that a compact sample can have.
    pub lowest_sp: PlainAtomicU64,
    /// The only sequence number that a compact sample can have.
    pub next: PlainAtomicU32,
}

impl Base {
    /// A ring's first sample is a wide one.
    const fn none() -> Self {
        Self {
            time: PlainAtomicU64::new(NO_TIME),
            lowest_sp: PlainAtomicU64::new(0),
            next: PlainAtomicU32::new(0),
        }
    }

    /// The context of what is written next; `None` if that has to be a wide sample.
    pub(crate) fn context(&self) -> Option<Context> {
        let time = self.time.load(Ordering::Relaxed);
        (time != NO_TIME).then(|| Context {
            time,
            sp: self
                .lowest_sp
                .load(Ordering::Relaxed)
                .wrapping_add(SP_BELOW),
            next: self.next.load(Ordering::Relaxed),
        })
    }
}

/// The writing end, used by the ring's own core: by a write, and by those that nest in it because
/// an interrupt has come.
///
/// ```
/// use profiler::format::ring::Writer;
///
/// /// In the handler. A record that does not fit is counted in the ring.
/// fn record(writer: &Writer<'_>, words: &[u64]) -> bool {
///     writer.write(words).is_ok()
/// }
/// ```
pub struct Writer<'ring> {
    pub(super) control: &'ring Control,
    pub(super) data: &'ring [AtomicU32],
    /// What the addresses in compact samples are offsets from.
    #[cfg_attr(all(test, loom), allow(dead_code))]
    pub(super) text: Offsets,
    /// Units that writes have taken since the start. Moved by one instruction that compares and
    /// exchanges, because an NMI can write in the middle of a write.
    pub(super) reserved: PlainAtomicU64,
    /// [`IDLE`], [`WRITING`] or [`IN_PLACE`]: what the outermost write is.
    pub(super) writing: PlainAtomicU64,
    /// Where `reserved` is below this, there is room for a write in place.
    pub(super) in_place_end: PlainAtomicU64,
    /// Where position 0 would be, if the data had all positions of this lap and before.
    origin: AtomicPtr<u32>,
    pub(super) base: Base,
    /// Where some of the records begin.
    pub(super) marks: Marks,
}

/// Where assembly finds what of a [`Writer`], in bytes.
#[cfg(not(all(test, loom)))]
pub(crate) mod offset {
    use core::mem::offset_of;

    use super::super::control::WriterState;
    use super::{Base, Control, Writer};

    pub(crate) const CONTROL: usize = offset_of!(Writer<'static>, control);
    pub(crate) const RESERVED: usize = offset_of!(Writer<'static>, reserved);
    pub(crate) const WRITING: usize = offset_of!(Writer<'static>, writing);
    pub(crate) const IN_PLACE_END: usize = offset_of!(Writer<'static>, in_place_end);
    pub(crate) const ORIGIN: usize = offset_of!(Writer<'static>, origin);
    const BASE: usize = offset_of!(Writer<'static>, base);
    pub(crate) const TIME: usize = BASE + offset_of!(Base, time);
    pub(crate) const LOWEST_SP: usize = BASE + offset_of!(Base, lowest_sp);
    pub(crate) const NEXT: usize = BASE + offset_of!(Base, next);
    /// From the control block's start, at which the head is.
    pub(crate) const FAST_OF_CONTROL: usize = offset_of!(WriterState, fast);
    const _: () = assert!(offset_of!(Control, writer) == 0 && offset_of!(WriterState, head) == 0);
}

impl<'ring> Writer<'ring> {
    /// A writer for the ring of `control` and `data`, in a kernel with this text.
    ///
    /// # Panics
    ///
    /// If the number of units is not a power of two.
    pub(crate) fn new(control: &'ring Control, data: &'ring [AtomicU32], text: CodeRange) -> Self {
        let head = control.writer.head.load(Ordering::Relaxed);
        Self::at(head, control, data, text)
    }

    /// The same, where `head` is known.
    pub(super) fn at(
        head: u64,
        control: &'ring Control,
        data: &'ring [AtomicU32],
        text: CodeRange,
    ) -> Self {
        assert!(data.len().is_power_of_two(), "ring size not a power of two");
        Self {
            control,
            data,
            text: Offsets::new(text),
            reserved: PlainAtomicU64::new(head),
            writing: PlainAtomicU64::new(IDLE),
            in_place_end: PlainAtomicU64::new(0),
            origin: AtomicPtr::new(core::ptr::null_mut()),
            base: Base::none(),
            marks: Marks::new(),
        }
    }

    /// Appends one record, or counts it as lost.
    ///
    /// # Errors
    ///
    /// [`Lost`] if the record did not fit.
    #[inline]
    pub fn write(&self, record: &[u64]) -> Result<(), Lost> {
        self.write_interruptible(record, &())
    }

    /// Like [`Self::write`], and calls `interrupts` wherever a nested write may come, for
    /// tests.
    ///
    /// # Errors
    ///
    /// [`Lost`] if the record did not fit.
    #[inline]
    pub(crate) fn write_interruptible(
        &self,
        record: &[u64],
        interrupts: &impl InterruptPoint,
    ) -> Result<(), Lost> {
        // A nested write between this load and this store leaves the value as it
        // found it, so the two need not be one instruction.
        let outermost = self.writing.load(Ordering::Relaxed) == IDLE;
        interrupts.here();
        if outermost {
            self.writing.store(WRITING, Ordering::Relaxed);
            compiler_fence(Ordering::SeqCst);
            self.mark_if_due(self.reserved.load(Ordering::Relaxed), interrupts);
        }
        interrupts.here();

        let len = 2 * record.len() as u64;
        let outcome = self.reserve(len, interrupts);
        if let Ok(start) = outcome {
            self.copy(record, start, interrupts);
            self.set_base(record, start + len, interrupts);
        }
        if outermost {
            self.publish(interrupts);
        }
        outcome.map(|_| ())
    }

    /// Begins a write of a compact sample, straight to its place. `None` if an other write is
    /// under way, or there is no room in one piece: then the sample is written by [`Self::write`].
    #[inline(always)]
    #[must_use]
    pub(crate) fn begin(&self) -> Option<InPlace<'_, 'ring>> {
        self.begin_interruptible(&())
    }

    /// Like [`Self::begin`], for tests.
    #[inline(always)]
    pub(crate) fn begin_interruptible(
        &self,
        interrupts: &impl InterruptPoint,
    ) -> Option<InPlace<'_, 'ring>> {
        if self.writing.load(Ordering::Relaxed) != IDLE {
            return None;
        }
        interrupts.here();
        self.writing.store(IN_PLACE, Ordering::Relaxed);
        compiler_fence(Ordering::SeqCst);
        interrupts.here();
        // Not before: what nests from here on stays clear of an extent from `reserved` on.
        let start = self.reserved.load(Ordering::Relaxed);
        compiler_fence(Ordering::SeqCst);
        interrupts.here();
        if start >= self.in_place_end.load(Ordering::Relaxed) {
            self.mark_if_due(start, interrupts);
            if !self.find_room(start) {
                self.leave_place(start, interrupts);
                return None;
            }
        }
        Some(InPlace::new(self, start))
    }

    /// Makes a write in place that is under way end as [`Interrupted`](super::in_place::Interrupted).
    pub(crate) fn interrupt_in_place(&self) {
        if self.writing.load(Ordering::Relaxed) == IN_PLACE {
            // A filler; where there is no room for one, the write has none to be finished.
            let _ = self.reserve(0, &());
        }
    }

    /// Ends the write in place that assembly has begun at `start` and does not finish.
    #[cfg(not(all(test, loom)))]
    pub(crate) fn abandon_at(&self, start: u64) {
        self.leave_place(start, &());
    }

    /// Where the write in place that assembly has begun at `start` writes to.
    #[cfg(not(all(test, loom)))]
    pub(crate) fn bytes_at(&self, start: u64) -> *mut u8 {
        self.place(start).cast()
    }

    /// Publishes what has nested in the last steps of a write that assembly has finished.
    ///
    /// A sample that did has set the base, and the write has gone one further from there: that is the
    /// number behind the next sample's. So that none takes it for its own, it becomes one that is
    /// taken, as `finish` has it.
    #[cfg(not(all(test, loom)))]
    pub(crate) fn publish_nested(&self) {
        let next = self.base.next.load(Ordering::Relaxed);
        self.base
            .next
            .store(next.wrapping_sub(2), Ordering::Relaxed);
        self.writing.store(WRITING, Ordering::Relaxed);
        compiler_fence(Ordering::SeqCst);
        self.publish(&());
    }

    /// What makes offsets of addresses.
    #[cfg(not(all(test, loom)))]
    pub(crate) const fn offsets(&self) -> Offsets {
        self.text
    }

    /// Counts a sample of the fast handler.
    #[inline(always)]
    pub(crate) fn count_fast(&self) {
        self.control.writer.fast.add_local(1);
    }

    /// The samples of the fast handler, since the start.
    pub(crate) fn fast(&self) -> u64 {
        self.control.fast()
    }

    /// What the next compact sample is relative to.
    #[inline(always)]
    pub(crate) const fn base(&self) -> &Base {
        &self.base
    }

    /// Notes that a record begins at `start`, what is reserved, if it is time for that. In the outermost
    /// write, before it changes anything.
    #[inline]
    fn mark_if_due(&self, start: u64, interrupts: &impl InterruptPoint) {
        if self.marks.is_due(start) {
            self.mark(start, interrupts);
        }
    }

    #[cold]
    #[inline(never)]
    fn mark(&self, start: u64, interrupts: &impl InterruptPoint) {
        interrupts.here();
        let context = self.base.context();
        interrupts.here();
        // What nests in this before here may have changed the context. Then it is a record that needs none
        // that begins there, or a filler before one.
        let is_known = self.reserved.load(Ordering::Relaxed) == start;
        let context = context.filter(|_| is_known);
        self.marks.add(start, context, self.data.len() as u64);
        interrupts.here();
    }

    /// Looks how far there is room for an extent from `start` on. Returns true if there is.
    #[cold]
    fn find_room(&self, start: u64) -> bool {
        let capacity = self.data.len() as u64;
        let place = start & (capacity - 1);
        // In one piece, and no more than there is wherever the reader is, unless the ring is
        // nearly full: so that this happens at the same samples in each run, and a handler costs
        // the same.
        let piece = (capacity / 8).max(EXTENT).min(capacity - place);
        let room = self.free(start).min(piece);
        let Some(apart) = room.checked_sub(EXTENT) else {
            return false;
        };
        let lap = self.data.as_ptr().cast::<u32>().cast_mut();
        #[allow(clippy::cast_possible_truncation)] // a pointer has as many bits
        let origin = lap.wrapping_sub((start - place) as usize);
        self.origin.store(origin, Ordering::Relaxed);
        self.in_place_end
            .store(start + apart + 1, Ordering::Relaxed);
        true
    }

    /// The place of the position at which a write in place begins: that has room there.
    #[cfg(not(all(test, loom)))]
    #[inline(always)]
    pub(super) fn place(&self, start: u64) -> *mut u32 {
        #[allow(clippy::cast_possible_truncation)] // a pointer has as many bits
        self.origin
            .load(Ordering::Relaxed)
            .wrapping_add(start as usize)
    }

    /// The units that the reader has left free of those from `reserved` on.
    #[inline]
    fn free(&self, reserved: u64) -> u64 {
        // Acquire: the units before `tail` were copied before we write them.
        let tail = self.control.reader.tail.load(Ordering::Acquire);
        (self.data.len() as u64).saturating_sub(reserved.wrapping_sub(tail))
    }

    /// Writes a record to its place.
    #[inline]
    fn copy(&self, record: &[u64], start: u64, interrupts: &impl InterruptPoint) {
        #[allow(clippy::cast_possible_truncation)] // its halves
        let halves = |word: u64| (word as u32, (word >> 32) as u32);
        let units = self.data.get(self.place_of(start)..);
        let units = units.and_then(|units| units.get(..2 * record.len()));
        if let Some(units) = units {
            for ([first, second], &word) in units.as_chunks().0.iter().zip(record) {
                let (low, high) = halves(word);
                first.store(low, Ordering::Relaxed);
                interrupts.here();
                second.store(high, Ordering::Relaxed);
                interrupts.here();
            }
            return;
        }
        // It goes on at the start of the data.
        for (position, &word) in (start..).step_by(2).zip(record) {
            let (low, high) = halves(word);
            self.set_unit(position, low);
            interrupts.here();
            self.set_unit(position + 1, high);
            interrupts.here();
        }
    }

    /// Reserves `len` units. Returns the position of the first.
    #[inline]
    fn reserve(&self, len: u64, interrupts: &impl InterruptPoint) -> Result<u64, Lost> {
        // What is interrupted writes in place: from `reserved` on, unless it has finished.
        let is_in_place = self.writing.load(Ordering::Relaxed) == IN_PLACE;
        let gap = if is_in_place { EXTENT } else { 0 };
        for _ in 0..MAX_RETRIES {
            let reserved = self.reserved.load(Ordering::Relaxed);
            interrupts.here();
            if gap + len > self.free(reserved) {
                break;
            }
            interrupts.here();
            let start = reserved + gap;
            if self.reserved.replace_local(reserved, start + len) {
                interrupts.here();
                if is_in_place {
                    self.fill(reserved);
                }
                interrupts.here();
                return Ok(start);
            }
        }
        self.control.writer.lost.add_local(1);
        Err(Lost)
    }

    /// Lets readers pass over an extent.
    pub(super) fn fill(&self, position: u64) {
        #[allow(clippy::cast_possible_truncation)] // a byte
        const HEAD: u32 = EXTENT as u32 | (kind::FILLER as u32) << 8;
        self.set_unit(position, HEAD);
    }

    /// Makes this record, which ends at `end`, what compact samples are relative to, if it is one
    /// that can be. No write in place begins meanwhile.
    #[inline]
    fn set_base(&self, record: &[u64], end: u64, interrupts: &impl InterruptPoint) {
        let Some(Context { time, sp, next }) = Context::of_sample(record) else {
            return;
        };
        let base = &self.base;
        base.time.store(time, Ordering::Relaxed);
        interrupts.here();
        base.lowest_sp
            .store(sp.wrapping_sub(SP_BELOW), Ordering::Relaxed);
        interrupts.here();
        base.next.store(next, Ordering::Relaxed);
        compiler_fence(Ordering::SeqCst);
        interrupts.here();
        // A sample that nests in this write lies behind it, and has changed some of the three.
        if self.reserved.load(Ordering::Relaxed) != end {
            base.time.store(NO_TIME, Ordering::Relaxed);
        }
        interrupts.here();
    }

    /// Publishes what the outermost write and those nested in it have written, and ends
    /// it.
    #[inline]
    fn publish(&self, interrupts: &impl InterruptPoint) {
        interrupts.here();
        for _ in 0..MAX_RETRIES {
            let whole = self.reserved.load(Ordering::Relaxed);
            interrupts.here();
            if self.publish_to(whole, interrupts) {
                return;
            }
        }
        // Interrupts kept coming: the next write publishes what this one could not.
        self.writing.store(IDLE, Ordering::Release);
    }

    /// Publishes all before `whole` and ends the write, unless one that nests in it has moved
    /// on from there. Returns false if so.
    #[inline(always)]
    pub(super) fn publish_to(&self, whole: u64, interrupts: &impl InterruptPoint) -> bool {
        self.control.writer.head.store(whole, Ordering::Release);
        interrupts.here();
        self.writing.store(IDLE, Ordering::Release);
        compiler_fence(Ordering::SeqCst);
        interrupts.here();
        // A write that came after `whole` was read took itself for a nested
        // one and left the publication to us.
        if self.reserved.load(Ordering::Relaxed) == whole {
            return true;
        }
        interrupts.here();
        self.writing.store(WRITING, Ordering::Relaxed);
        compiler_fence(Ordering::SeqCst);
        false
    }

    /// The same again, as [`Self::publish_to`] has found it necessary.
    #[cold]
    pub(super) fn publish_again(&self, interrupts: &impl InterruptPoint) {
        self.publish(interrupts);
    }

    /// Ends a write in place that began at `start` as if it had not been: if others nest in it,
    /// theirs lie behind its extent.
    #[cold]
    pub(super) fn leave_place(&self, start: u64, interrupts: &impl InterruptPoint) {
        interrupts.here();
        if self.reserved.load(Ordering::Relaxed) != start {
            // They have filled it as well, but since then it was written to.
            self.fill(start);
        }
        self.publish(interrupts);
    }

    #[inline(always)]
    pub(super) fn set_unit(&self, position: u64, unit: u32) {
        self.data[self.place_of(position)].store(unit, Ordering::Relaxed);
    }

    /// Where a position is in the data.
    #[inline(always)]
    fn place_of(&self, position: u64) -> usize {
        super::place_of(position, self.data.len())
    }
}
