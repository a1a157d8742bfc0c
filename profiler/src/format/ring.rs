//! The ring of one core: its writer is that core alone, from any context; its
//! reader is somewhere else, and may die at any moment.
//!
//! # How it works
//!
//! The ring is a power of two of 64-bit words. Positions are counts of words
//! since the start, they only grow, and a position's place is its value modulo
//! the capacity. There are three of them:
//!
//! ```text
//!   tail            head            reserved
//!    |  whole records |  being written  |
//! ```
//!
//! * `reserved`: taken by writers. Moved by compare-and-swap, because an NMI can
//!   write in the middle of a write. Such a nested write lies wholly between two
//!   instructions of the outer one, so writes are last-in, first-out.
//! * `head`: everything before it is whole. Only the *outermost* write moves it:
//!   when that one is done, every write nested in it is done as well.
//! * `tail`: everything before it was copied by the reader, who alone moves it,
//!   after the copy. A reader that is killed leaves at worst records that the
//!   next reader sees again.
//!
//! A record that does not fit is not written and counts in
//! [`Control::lost`]: the writer never waits, the oldest record is never
//! overwritten, and so no word is ever written that a reader may be reading.

use core::fmt;

use crate::sync::{AtomicU64, Ordering, compiler_fence};

/// How often a write tries again after a nested write came between its load and
/// its compare-and-swap, or between its publication and its leaving. Each retry
/// needs one more interrupt in a window of a few instructions.
const MAX_RETRIES: u32 = 16;

/// The writing core's state, on a cache line of its own.
#[repr(C, align(64))]
struct WriterState {
    /// Words that writers have taken since the start.
    reserved: AtomicU64,
    /// Words of whole records since the start: what a reader may read up to.
    head: AtomicU64,
    /// 1 while a write is under way, those nested in it included; else 0.
    writing: AtomicU64,
    /// Records that did not fit.
    lost: AtomicU64,
}

/// The reader's state, on a cache line of its own.
#[repr(C, align(64))]
struct ReaderState {
    /// Words that the reader has copied since the start.
    tail: AtomicU64,
}

/// The control block of a ring.
///
/// ```
/// use profiler::format::ring::Control;
///
/// let control = Control::new();
/// assert_eq!((control.unread(), control.lost()), (0, 0));
/// ```
#[repr(C)]
pub struct Control {
    /// Written by the ring's core only.
    writer: WriterState,
    /// Written by the reader only.
    reader: ReaderState,
}

impl Control {
    /// The control block of an empty ring.
    #[must_use]
    #[cfg_attr(not(all(test, loom)), allow(clippy::missing_const_for_fn))]
    pub fn new() -> Self {
        Self {
            writer: WriterState {
                reserved: AtomicU64::new(0),
                head: AtomicU64::new(0),
                writing: AtomicU64::new(0),
                lost: AtomicU64::new(0),
            },
            reader: ReaderState {
                tail: AtomicU64::new(0),
            },
        }
    }

    /// Records that did not fit, since the start.
    pub fn lost(&self) -> u64 {
        self.writer.lost.load(Ordering::Relaxed)
    }

    /// Words of whole records that the reader has not copied yet. A wild value
    /// (more than the capacity) means that the memory was corrupted.
    pub fn unread(&self) -> u64 {
        let tail = self.reader.tail.load(Ordering::Relaxed);
        self.writer.head.load(Ordering::Acquire).wrapping_sub(tail)
    }
}

impl Default for Control {
    fn default() -> Self {
        Self::new()
    }
}

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

/// The writing end, used by the ring's own core.
///
/// There may be any number of `Writer`s for one ring as long as all of them are
/// used by the same core (or the same thread, in a test): that is what "nested"
/// means. The type is not `Sync`-restricted, because an NMI handler has to reach
/// it through shared state; [`crate::format::region`] states the condition.
///
/// ```
/// use profiler::format::ring::Writer;
///
/// /// In the handler. A record that does not fit is counted in the ring.
/// fn record(writer: Writer<'_>, words: &[u64]) -> bool {
///     writer.write(words).is_ok()
/// }
/// ```
#[derive(Clone, Copy)]
pub struct Writer<'ring> {
    control: &'ring Control,
    data: &'ring [AtomicU64],
}

impl<'ring> Writer<'ring> {
    /// A writer for the ring of `control` and `data`.
    ///
    /// # Panics
    ///
    /// If the number of words is not a power of two.
    pub(crate) fn new(control: &'ring Control, data: &'ring [AtomicU64]) -> Self {
        assert!(data.len().is_power_of_two(), "ring size not a power of two");
        Self { control, data }
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
        let writer = &self.control.writer;
        // A nested write between this load and this store leaves the value as it
        // found it, so the two need not be one instruction.
        let outermost = writer.writing.load(Ordering::Relaxed) == 0;
        interrupts.here();
        if outermost {
            writer.writing.store(1, Ordering::Relaxed);
            compiler_fence(Ordering::SeqCst);
        }
        interrupts.here();

        let outcome = self.reserve(record.len() as u64, interrupts);
        if let Ok(start) = outcome {
            let mask = self.data.len() as u64 - 1;
            for (position, &word) in (start..).zip(record) {
                // The mask keeps the value below the length, a usize.
                #[allow(clippy::cast_possible_truncation)]
                let place = (position & mask) as usize;
                self.data[place].store(word, Ordering::Relaxed);
                interrupts.here();
            }
        }
        if outermost {
            self.publish(interrupts);
        }
        outcome.map(|_| ())
    }

    /// Reserves `len` words. Returns the position of the first.
    #[inline]
    fn reserve(&self, len: u64, interrupts: &impl InterruptPoint) -> Result<u64, Lost> {
        let writer = &self.control.writer;
        for _ in 0..MAX_RETRIES {
            let reserved = writer.reserved.load(Ordering::Relaxed);
            interrupts.here();
            // Acquire: the words before `tail` were copied before we write them.
            let tail = self.control.reader.tail.load(Ordering::Acquire);
            let free = (self.data.len() as u64).saturating_sub(reserved.wrapping_sub(tail));
            if len > free {
                break;
            }
            interrupts.here();
            let taken = writer.reserved.compare_exchange(
                reserved,
                reserved + len,
                Ordering::AcqRel,
                Ordering::Relaxed,
            );
            if taken.is_ok() {
                interrupts.here();
                return Ok(reserved);
            }
        }
        // One instruction, so that a nested loss in the middle is not forgotten.
        writer.lost.fetch_add(1, Ordering::Relaxed);
        Err(Lost)
    }

    /// Publishes what the outermost write and those nested in it have written, and ends
    /// it.
    #[inline]
    fn publish(&self, interrupts: &impl InterruptPoint) {
        let writer = &self.control.writer;
        interrupts.here();
        for _ in 0..MAX_RETRIES {
            let whole = writer.reserved.load(Ordering::Relaxed);
            interrupts.here();
            writer.head.store(whole, Ordering::Release);
            interrupts.here();
            writer.writing.store(0, Ordering::Release);
            compiler_fence(Ordering::SeqCst);
            interrupts.here();
            // A write that came after `whole` was read took itself for a nested
            // one and left the publication to us.
            if writer.reserved.load(Ordering::Relaxed) == whole {
                return;
            }
            interrupts.here();
            writer.writing.store(1, Ordering::Relaxed);
            compiler_fence(Ordering::SeqCst);
        }
        // Interrupts kept coming: the next write publishes what this one could not.
        writer.writing.store(0, Ordering::Release);
    }
}

/// The ring's positions or a record's length are not valid: the memory is not a ring, or it
/// was overwritten.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Corrupt {
    /// The position, in words since the start, at which reading stopped.
    pub position: u64,
}

impl fmt::Display for Corrupt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the ring is corrupt at word {}", self.position)
    }
}

impl core::error::Error for Corrupt {}

/// The reading end. There is one at a time.
///
/// ```
/// use profiler::format::ring::{Corrupt, Reader};
/// use profiler::format::sample::MAX_WORDS;
/// use profiler::format::{Sample, record_words};
///
/// fn drain(mut reader: Reader<'_>) -> Result<usize, Corrupt> {
///     let mut samples = 0;
///     let mut record = [0; MAX_WORDS];
///     while let Some(words) = reader.read(&mut record, record_words)? {
///         // Records of other kinds are passed over.
///         samples += usize::from(Sample::decode(&record[..words]).is_ok());
///     }
///     Ok(samples)
/// }
/// ```
pub struct Reader<'ring> {
    control: &'ring Control,
    data: &'ring [AtomicU64],
}

impl<'ring> Reader<'ring> {
    /// A reader for the ring of `control` and `data`.
    ///
    /// # Panics
    ///
    /// If the number of words is not a power of two.
    pub(crate) fn new(control: &'ring Control, data: &'ring [AtomicU64]) -> Self {
        assert!(data.len().is_power_of_two(), "ring size not a power of two");
        Self { control, data }
    }

    /// Copies the oldest whole record to `record` and frees its place. Returns its
    /// length in words, or `None` if there is none.
    ///
    /// `length_of` returns a record's length in words from its first word.
    ///
    /// # Errors
    ///
    /// [`Corrupt`] if the ring's positions or the record's length are impossible,
    /// `record` too small included. The ring is left as it was.
    pub fn read(
        &mut self,
        record: &mut [u64],
        length_of: impl Fn(u64) -> usize,
    ) -> Result<Option<usize>, Corrupt> {
        let tail = self.control.reader.tail.load(Ordering::Relaxed);
        // Acquire: the words before `head` were written before we read them.
        let head = self.control.writer.head.load(Ordering::Acquire);
        let corrupt = Corrupt { position: tail };
        let unread = head.wrapping_sub(tail);
        if unread > self.data.len() as u64 {
            return Err(corrupt);
        }
        if unread == 0 {
            return Ok(None);
        }
        let len = length_of(self.word(tail));
        if len == 0 || len as u64 > unread || len > record.len() {
            return Err(corrupt);
        }
        for (position, word) in (tail..).zip(&mut record[..len]) {
            *word = self.word(position);
        }
        // Release: the copy is done before the writer may use the words again.
        self.control
            .reader
            .tail
            .store(tail + len as u64, Ordering::Release);
        Ok(Some(len))
    }

    /// The words that were read since the start. It only grows, unless the kernel makes
    /// the ring anew.
    #[must_use]
    pub fn position(&self) -> u64 {
        self.control.reader.tail.load(Ordering::Relaxed)
    }

    fn word(&self, position: u64) -> u64 {
        // The mask keeps the value below the length, a usize.
        #[allow(clippy::cast_possible_truncation)]
        let place = (position & (self.data.len() as u64 - 1)) as usize;
        self.data[place].load(Ordering::Relaxed)
    }
}

#[cfg(all(test, not(loom)))]
mod documented;
#[cfg(test)]
mod tests;
