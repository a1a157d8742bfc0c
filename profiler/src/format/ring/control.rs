//! What of a ring its writer and its readers share, beside the data.

use core::sync::atomic::AtomicU64 as PlainAtomicU64;

use crate::format::sample::compact::Context;
use crate::sync::{AtomicU64, Ordering};

/// The writing core's part, on a cache line of its own.
#[repr(C, align(64))]
pub(super) struct WriterState {
    /// Units of whole records since the start: what a reader may read up to.
    pub head: AtomicU64,
    /// Records that did not fit.
    pub lost: AtomicU64,
    /// Samples that the core's fast handler has taken and written.
    pub fast: PlainAtomicU64,
}

/// The reader's part that the writer looks at, on a cache line of its own.
#[repr(C, align(64))]
pub(super) struct ReaderState {
    /// Units that the reader has copied since the start.
    pub tail: AtomicU64,
}

/// What the reader has to know to go on, for the next one.
#[repr(C, align(64))]
pub(super) struct ReaderContexts {
    pub slots: [Slot; 2],
}

/// A context, of the reader that has read up to a position.
#[derive(Default)]
#[repr(C)]
pub(super) struct Slot {
    pub position: PlainAtomicU64,
    /// The last wide sample's time.
    pub time: PlainAtomicU64,
    /// The last wide sample's stack pointer.
    pub sp: PlainAtomicU64,
    /// The sequence number of a compact sample that follows, and above it [`IS_CONTEXT`].
    pub next: PlainAtomicU64,
}

/// There was a wide sample. Without it there is no context.
const IS_CONTEXT: u64 = 1 << 32;

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
    pub(super) writer: WriterState,
    /// Written by the reader only.
    pub(super) reader: ReaderState,
    /// Written and read by the reader only.
    pub(super) contexts: ReaderContexts,
}

impl Control {
    /// The control block of an empty ring.
    #[must_use]
    pub fn new() -> Self {
        Self {
            writer: WriterState {
                head: AtomicU64::new(0),
                lost: AtomicU64::new(0),
                fast: PlainAtomicU64::new(0),
            },
            reader: ReaderState {
                tail: AtomicU64::new(0),
            },
            contexts: ReaderContexts {
                slots: [Slot::default(), Slot::default()],
            },
        }
    }

    /// Records that did not fit, since the start.
    pub fn lost(&self) -> u64 {
        self.writer.lost.load(Ordering::Relaxed)
    }

    /// Samples of the fast handler, since the start: each was an interrupt, or of one with another.
    pub fn fast(&self) -> u64 {
        self.writer.fast.load(Ordering::Relaxed)
    }

    /// Units of 4 bytes of whole records that the reader has not copied yet. A wild value
    /// (more than the capacity) means that the memory was corrupted.
    pub fn unread(&self) -> u64 {
        let tail = self.reader.tail.load(Ordering::Relaxed);
        self.writer.head.load(Ordering::Acquire).wrapping_sub(tail)
    }

    /// Makes of the memory a ring that has units up to here.
    #[cfg(not(all(test, loom)))]
    pub(in crate::format) fn set_head(&self, head: u64) {
        self.writer.head.store(head, Ordering::Release);
    }

    /// The context of a reader that has read up to `tail`; `None` if it has read no wide sample,
    /// or something else has moved `tail`.
    pub(in crate::format) fn context(&self, tail: u64) -> Option<Context> {
        let slot = self.contexts.slots.iter().find(|slot| slot.is_of(tail))?;
        let next = slot.next.load(Ordering::Relaxed);
        #[allow(clippy::cast_possible_truncation)] // the field is cut out
        (next & IS_CONTEXT != 0).then_some(Context {
            time: slot.time.load(Ordering::Relaxed),
            sp: slot.sp.load(Ordering::Relaxed),
            next: next as u32,
        })
    }

    /// Moves the reader from `tail` to `to`, where its context is `context`. One that is killed
    /// meanwhile has a slot for the `tail` that there is.
    pub(in crate::format) fn advance(&self, tail: u64, to: u64, context: Option<Context>) {
        let [first, second] = &self.contexts.slots;
        let other = if first.is_of(tail) { second } else { first };
        let Context { time, sp, next } = context.unwrap_or_default();
        let flag = if context.is_some() { IS_CONTEXT } else { 0 };
        other.time.store(time, Ordering::Relaxed);
        other.sp.store(sp, Ordering::Relaxed);
        other.next.store(u64::from(next) | flag, Ordering::Relaxed);
        other.position.store(to, Ordering::Release);
        // Release: the copy is done before the writer may use the units again.
        self.reader.tail.store(to, Ordering::Release);
    }
}

impl Slot {
    fn is_of(&self, position: u64) -> bool {
        self.position.load(Ordering::Acquire) == position
    }
}

impl Default for Control {
    fn default() -> Self {
        Self::new()
    }
}
