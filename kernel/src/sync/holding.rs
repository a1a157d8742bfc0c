//! What each core holds, and waits for: a word of the core's leads to the lock that it took last,
//! and that one to the lock that the core held before.

use core::ptr;
use core::sync::atomic::{AtomicPtr, AtomicU8, AtomicU64, Ordering::Relaxed};

use profiler::hw::tsc;
use spin::Once;

use super::class::Class;
use crate::cpu::CoreBlock;
use crate::cpu::per_core::per_core;

/// The most locks of a core that are shown: those taken last. More are never held in turn.
const MOST_HELD: usize = 4;

/// What is known of a lock while it is held: written by the core that holds it.
pub(super) struct Record {
    class: &'static Class,
    /// Where it was taken.
    taken_at: AtomicU64,
    /// When, by the time stamp counter; 0 where nobody asks.
    taken_tsc: AtomicU64,
    /// What samples of the core had before, where they say which lock it holds.
    name: AtomicU8,
    /// The lock that the core held before.
    outer: AtomicPtr<Self>,
}

/// What a core holds, and waits for.
struct Holding {
    /// The lock that it took last; null if it holds none.
    held: AtomicPtr<Record>,
    /// The lock that it waits for, or null.
    awaited: AtomicPtr<Record>,
    awaited_tsc: AtomicU64,
}

impl Holding {
    const fn new() -> Self {
        Self {
            held: AtomicPtr::new(ptr::null_mut()),
            awaited: AtomicPtr::new(ptr::null_mut()),
            awaited_tsc: AtomicU64::new(0),
        }
    }
}

per_core! {
    /// What each core holds, and waits for.
    static HOLDING: Holding = Holding::new();
}

/// The same of the first core, until it knows itself.
static EARLY: Holding = Holding::new();

/// How locks are noted.
static MODE: AtomicU8 = AtomicU8::new(FIRST_ALONE);

/// No core knows itself yet: the first one alone runs.
const FIRST_ALONE: u8 = 0;
/// Each core notes its own.
const KNOWN: u8 = 1;
/// And when it took it.
const TIMED: u8 = 2;

/// Each core knows itself before it takes a lock, from now on.
pub fn know_cores() {
    let _ = MODE.compare_exchange(FIRST_ALONE, KNOWN, Relaxed, Relaxed);
}

/// From now on it is measured for how long locks are held, which takes twice as many instructions
/// as without. The first core, once it knows itself.
pub fn measure_holds() {
    MODE.store(TIMED, Relaxed);
}

/// Returns true if that is measured.
#[must_use]
pub fn are_holds_measured() -> bool {
    MODE.load(Relaxed) == TIMED
}

/// What samples of a core that holds a lock say.
pub struct Tags {
    /// The running core's samples have the lock as well, by its place among
    /// [`classes`](super::classes). Returns what they had.
    pub set: fn(u16) -> u8,
    /// They have that again.
    pub restore: fn(u8),
}

static TAGS: Once<Tags> = Once::new();

/// Samples of a core say which lock it holds from now on. How long they are held is measured as
/// well.
pub fn tag_samples(tags: Tags) {
    TAGS.call_once(|| tags);
    measure_holds();
}

/// What is to be known when a lock is given back.
pub(super) struct Taken {
    own: &'static Holding,
    outer: *mut Record,
    /// When it was taken, by the time stamp counter; 0: nobody asks.
    tsc: u64,
}

impl Record {
    pub(super) const fn new(class: &'static Class) -> Self {
        Self {
            class,
            taken_at: AtomicU64::new(0),
            taken_tsc: AtomicU64::new(0),
            name: AtomicU8::new(0),
            outer: AtomicPtr::new(ptr::null_mut()),
        }
    }

    const fn pointer(&'static self) -> *mut Self {
        ptr::from_ref(self).cast_mut()
    }

    /// The running core has just taken the lock, at this address. Interrupts are off.
    #[inline(always)]
    pub(super) fn take(&'static self, at: u64) -> Taken {
        let (own, tsc) = if MODE.load(Relaxed) == KNOWN {
            (HOLDING.current(), 0)
        } else {
            self.take_unusually()
        };
        self.taken_at.store(at, Relaxed);
        let outer = own.held.load(Relaxed);
        self.outer.store(outer, Relaxed);
        own.held.store(self.pointer(), Relaxed);
        Taken { own, outer, tsc }
    }

    /// Where no core knows itself yet, or times are measured.
    #[cold]
    #[inline(never)]
    fn take_unusually(&self) -> (&'static Holding, u64) {
        if MODE.load(Relaxed) == FIRST_ALONE {
            return (&EARLY, 0);
        }
        if let Some(tags) = TAGS.get() {
            self.name.store((tags.set)(self.class.number()), Relaxed);
        }
        let tsc = tsc::ticks();
        self.taken_tsc.store(tsc, Relaxed);
        (HOLDING.current(), tsc)
    }

    /// The running core is about to give the lock back.
    #[inline(always)]
    pub(super) fn give_back(&'static self, taken: Taken) {
        taken.own.held.store(taken.outer, Relaxed);
        if taken.tsc != 0 {
            self.end_hold(taken.tsc);
        }
    }

    #[cold]
    #[inline(never)]
    fn end_hold(&self, since: u64) {
        if let Some(tags) = TAGS.get() {
            (tags.restore)(self.name.load(Relaxed));
        }
        self.class.note_hold(tsc::ticks().wrapping_sub(since));
    }

    pub(super) fn begin_wait(&'static self, tsc: u64) {
        let own = own();
        own.awaited_tsc.store(tsc, Relaxed);
        own.awaited.store(self.pointer(), Relaxed);
    }

    pub(super) fn end_wait(&'static self, since: u64) {
        own().awaited.store(ptr::null_mut(), Relaxed);
        self.class.count_wait(tsc::ticks().wrapping_sub(since));
    }
}

fn own() -> &'static Holding {
    match MODE.load(Relaxed) {
        FIRST_ALONE => &EARLY,
        _ => HOLDING.current(),
    }
}

/// A lock that a core holds.
#[derive(Clone, Copy)]
pub struct Held {
    record: &'static Record,
    /// Where it was taken.
    pub taken_at: u64,
    /// When, by the time stamp counter; `None` where holds are not measured.
    pub taken_tsc: Option<u64>,
}

impl Held {
    /// What it is called.
    #[must_use]
    pub fn class(&self) -> &'static Class {
        self.record.class
    }
}

/// A lock that a core waits for.
#[derive(Clone, Copy)]
pub struct Awaited {
    record: &'static Record,
    /// Since when, by the time stamp counter.
    pub since_tsc: u64,
}

impl Awaited {
    /// What it is called.
    #[must_use]
    pub fn class(&self) -> &'static Class {
        self.record.class
    }

    /// Returns true if it is this one.
    #[must_use]
    pub fn is(&self, held: &Held) -> bool {
        ptr::eq(self.record, held.record)
    }
}

fn record_at(pointer: *mut Record) -> Option<&'static Record> {
    // SAFETY: null, or what `Record::pointer` made of a reference that lives for ever; what of it
    // changes is atomic.
    unsafe { pointer.as_ref() }
}

/// The locks that `core` holds, the last first: as it was a moment ago, if the core runs.
pub fn held_by(core: &CoreBlock) -> impl Iterator<Item = Held> + use<> {
    let last = record_at(HOLDING.get(core).held.load(Relaxed));
    let next = |record: &&'static Record| record_at(record.outer.load(Relaxed));
    let records = core::iter::successors(last, next).take(MOST_HELD);
    records.map(|record| Held {
        record,
        taken_at: record.taken_at.load(Relaxed),
        taken_tsc: Some(record.taken_tsc.load(Relaxed)).filter(|&tsc| tsc != 0),
    })
}

/// The lock that `core` waits for, if it does.
#[must_use]
pub fn awaited_by(core: &CoreBlock) -> Option<Awaited> {
    let holding = HOLDING.get(core);
    let record = record_at(holding.awaited.load(Relaxed))?;
    Some(Awaited {
        record,
        since_tsc: holding.awaited_tsc.load(Relaxed),
    })
}
