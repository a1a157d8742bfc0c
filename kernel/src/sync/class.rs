//! The name of locks, and how long they were waited for and held. Locks of which each core has
//! one share a class.
//!
//! The linker collects all classes in one section, so that they can be listed.

use core::slice;
use core::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// What is known of the locks of a name. Times are in ticks of the time stamp counter.
#[repr(align(64))]
pub struct Class {
    name: &'static str,
    name_in_samples: &'static str,
    contended: AtomicU64,
    longest_wait: AtomicU64,
    longest_hold: AtomicU64,
}

/// Declares a [`Class`], and is a reference to it.
macro_rules! lock_class {
    ($name:literal) => {{
        // Names of locks in samples begin so (`profiler::contract::task_number`).
        #[unsafe(link_section = ".lock_classes")]
        #[used]
        static CLASS: $crate::sync::Class =
            $crate::sync::Class::new($name, concat!("lock: ", $name));
        &CLASS
    }};
}

pub(crate) use lock_class;

impl Class {
    /// For `lock_class!` alone.
    pub const fn new(name: &'static str, name_in_samples: &'static str) -> Self {
        Self {
            name,
            name_in_samples,
            contended: AtomicU64::new(0),
            longest_wait: AtomicU64::new(0),
            longest_hold: AtomicU64::new(0),
        }
    }

    /// What the locks are called.
    #[must_use]
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// What it is called among the names of tasks ([`super::tag_samples`]).
    #[must_use]
    pub fn name_in_samples(&self) -> &'static str {
        self.name_in_samples
    }

    /// How often one was taken by a core that had to wait for it.
    #[must_use]
    pub fn contended(&self) -> u64 {
        self.contended.load(Relaxed)
    }

    /// The ticks of the longest wait that has ended.
    #[must_use]
    pub fn longest_wait(&self) -> u64 {
        self.longest_wait.load(Relaxed)
    }

    /// The longest time from taking one to giving it back, in ticks.
    #[must_use]
    pub fn longest_hold(&self) -> u64 {
        self.longest_hold.load(Relaxed)
    }

    /// Notes that a core has waited.
    pub(super) fn count_wait(&self, ticks: u64) {
        self.contended.fetch_add(1, Relaxed);
        self.longest_wait.fetch_max(ticks, Relaxed);
    }

    /// Notes how long a lock was held.
    pub(super) fn note_hold(&self, ticks: u64) {
        self.longest_hold.fetch_max(ticks, Relaxed);
    }

    /// Its place among [`classes`].
    #[allow(clippy::cast_possible_truncation)] // there are some
    pub(super) fn number(&self) -> u16 {
        let distance = core::ptr::from_ref(self).addr() - classes().as_ptr().addr();
        (distance / size_of::<Self>()) as u16
    }
}

unsafe extern "C" {
    static __lock_classes_start: u8;
    static __lock_classes_end: u8;
}

/// All classes.
#[must_use]
pub fn classes() -> &'static [Class] {
    let start = &raw const __lock_classes_start;
    let bytes = (&raw const __lock_classes_end).addr() - start.addr();
    // SAFETY: the linker script puts both symbols around a section, which begins at a multiple of
    // a class's alignment and in which there are classes alone, each as long as any; what of them
    // changes is atomic.
    unsafe { slice::from_raw_parts(start.cast(), bytes / size_of::<Class>()) }
}
