//! A write of a compact sample, straight to its place.

use core::fmt;
use core::mem::ManuallyDrop;

use super::writer::{Base, EXTENT, InterruptPoint, Writer};
use crate::sync::{CoreLocal as _, Ordering};

/// Others have written meanwhile: the sample lies before theirs, or is relative to what is no
/// longer so. There is none in its place, and it is to be written by [`Writer::write`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Interrupted;

impl fmt::Display for Interrupted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("another write came between: the record is not written")
    }
}

impl core::error::Error for Interrupted {}

/// A write under way. Nothing is reserved: room for the longest compact sample is free from the
/// first position on, and whatever nests in this write is written behind that. Dropped without
/// [`Self::finish`], it leaves no record.
#[must_use]
pub(crate) struct InPlace<'writer, 'ring> {
    writer: &'writer Writer<'ring>,
    start: u64,
}

impl<'writer, 'ring> InPlace<'writer, 'ring> {
    #[inline(always)]
    pub(super) const fn new(writer: &'writer Writer<'ring>, start: u64) -> Self {
        Self { writer, start }
    }

    /// Where the record is to be written: [`EXTENT_UNITS`] units are valid for writes, aligned to
    /// one, until the write ends.
    ///
    /// [`EXTENT_UNITS`]: crate::format::sample::compact::EXTENT_UNITS
    #[cfg(not(all(test, loom)))]
    #[inline(always)]
    pub(crate) fn bytes(&self) -> *mut u8 {
        self.writer.place(self.start).cast()
    }

    /// What the record is relative to.
    #[inline(always)]
    pub(crate) const fn base(&self) -> &'writer Base {
        self.writer.base()
    }

    /// Ends the write: the record has `units` units, and `next` is the sequence number behind its
    /// own.
    ///
    /// # Errors
    ///
    /// [`Interrupted`] if another write came between. Then there is no record.
    #[inline(always)]
    pub(crate) fn finish(self, units: u32, next: u32) -> Result<(), Interrupted> {
        self.finish_interruptible(units, next, &())
    }

    /// Like [`Self::finish`], for tests.
    #[inline(always)]
    pub(crate) fn finish_interruptible(
        self,
        units: u32,
        next: u32,
        interrupts: &impl InterruptPoint,
    ) -> Result<(), Interrupted> {
        debug_assert!((1..=EXTENT).contains(&units.into()), "{units} units");
        let this = ManuallyDrop::new(self);
        let writer = this.writer;
        let end = this.start + u64::from(units);
        interrupts.here();
        if !writer.reserved.replace_local(this.start, end) {
            writer.leave_place(this.start, interrupts);
            return Err(Interrupted);
        }
        interrupts.here();
        // What nests from here on lies behind it. A sample that does has set the base; this undoes
        // it, as no sample to come has this number any more.
        writer.base.next.store(next, Ordering::Relaxed);
        interrupts.here();
        if !writer.publish_to(end, interrupts) {
            writer.publish_again(interrupts);
        }
        Ok(())
    }

    /// Ends the write without a record, as dropping it does, for tests.
    #[cfg(test)]
    pub(super) fn abandon_interruptible(self, interrupts: &impl InterruptPoint) {
        let this = ManuallyDrop::new(self);
        this.writer.leave_place(this.start, interrupts);
    }

    /// Writes a unit of the record.
    #[cfg(test)]
    pub(super) fn set_unit(&self, index: u64, unit: u32) {
        assert!(index < EXTENT);
        self.writer.set_unit(self.start + index, unit);
    }
}

impl Drop for InPlace<'_, '_> {
    #[inline(always)]
    fn drop(&mut self) {
        self.writer.leave_place(self.start, &());
    }
}
