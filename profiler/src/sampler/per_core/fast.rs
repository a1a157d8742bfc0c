//! What the fast handler of a core needs at hand: what it would else have to look for.

use core::cell::UnsafeCell;
use core::ptr;
use core::sync::atomic::{
    AtomicBool, AtomicPtr, AtomicU8, AtomicU32, AtomicU64, Ordering::Relaxed,
};

use crate::address::{CodeAddress, CodeRange};
use crate::contract::mailbox::Mailbox;
use crate::format::region::MailboxWords;
use crate::format::ring::Writer;
use crate::format::table::{KEY_AT, SCRATCH_WORDS};
use crate::unwind::fast::CompiledCode;

/// What the fast handler of a core needs at hand. It is set before the core has that handler.
pub(crate) struct FastState {
    /// What the core's time stamp counter read when the run's time was 0.
    pub origin: AtomicU64,
    /// See [`CompiledCode`].
    pub text_start: AtomicU64,
    compiled_len: AtomicU64,
    pub text_len: AtomicU64,
    /// The last root that was reached, as a distance from the text's start.
    pub root_offset: AtomicU64,
    /// The highest place of a pair on the stack that was looked at last.
    pub top: AtomicU64,
    /// From there down to the stack's lowest address, and one; 0 if each is to be looked at.
    pub span: AtomicU64,
    /// Where the number of what runs is.
    pub task: AtomicPtr<AtomicU8>,
    /// That, if it is asked for each time.
    pub task_asked: AtomicU8,
    /// The first unit of records, without their length: where interrupts are on, and of what
    /// was looked at.
    pub heads: [AtomicU32; 2],
    /// What was looked at may keep its caller otherwise than by a frame pointer.
    pub is_ruled: AtomicBool,
    /// Where interrupts are counted. Samples of fast handlers are counted as interrupts elsewhere:
    /// where several are of one, those beyond the first are taken off here.
    pub interrupts: AtomicPtr<AtomicU64>,
    /// The ring.
    pub writer: AtomicPtr<Writer<'static>>,
    /// The table of chains, and what hashes are cut to; null without one.
    pub table: AtomicPtr<AtomicU64>,
    pub table_mask: AtomicU64,
    /// Where the key of a chain is made.
    pub scratch: Scratch,
    /// What assembly calls, seldom: see [`Call`].
    calls: [AtomicPtr<()>; CALLS],
    /// What the source is armed with.
    pub count: AtomicU64,
    /// The ticks of an entry and an exit.
    pub overhead: AtomicU64,
    /// The number of the core's last sample, or of one before that is not to be fast; 0: none is.
    pub last: AtomicU64,
    /// Counters: where requests are, on the core that takes them; elsewhere words without any.
    requests: AtomicPtr<MailboxWords>,
    /// Counters: the number of the first event.
    pub first_event: AtomicU8,
    /// Ticks of the run are no ticks of the counter.
    pub is_scaled: AtomicBool,
    /// All that handlers need is here.
    pub is_prepared: AtomicBool,
    /// The core waits for its turn after each sample.
    pub has_turns: AtomicBool,
    /// What is shared, and where the core writes to.
    places: [AtomicPtr<()>; PLACES],
}

/// Room for a key: see [`crate::format::table`].
pub(crate) struct Scratch(UnsafeCell<[u64; SCRATCH_WORDS]>);

// SAFETY: the fast handler of the core alone uses it, of which there is one at work: what nests in
// it finds the source claimed, or the counters stopped.
unsafe impl Sync for Scratch {}

impl Scratch {
    /// Where a compact record would begin whose key is aligned to a word.
    pub(crate) const RECORD: usize = KEY_AT.next_multiple_of(8) - KEY_AT;

    /// That place.
    #[inline(always)]
    pub(crate) const fn record(&self) -> *mut u8 {
        self.0.get().cast::<u8>().wrapping_add(Self::RECORD)
    }
}

/// What assembly calls. Each is an `extern "C" fn` of the core and the frame.
#[derive(Clone, Copy)]
pub(crate) enum Call {
    /// Looks at what was interrupted. Returns the program counter's distance from the text's start,
    /// or something negative.
    Look,
    /// Returns whether the place of which the distance is third is the root.
    IsRoot,
    /// Walks the chain of the record that begins at the third. Returns the place behind it, and in
    /// `rdx` what is to be in its first unit; or null.
    Walk,
    /// The same of the key that is made.
    WalkKey,
    /// Ends the write that began at the third.
    Abandon,
    /// Publishes what has nested; or, by the third, waits for the core's turn.
    Finish,
    /// Acknowledges what has shown late of counters.
    AckLate,
    /// Stops them again.
    StopAgain,
    /// Leaves several events of them to the other handler, from one on.
    LeaveSeveral,
}

/// The number of [`Call`]s: the last one and those before it.
const CALLS: usize = Call::LeaveSeveral as usize + 1;

/// Where assembly finds what, from the core's state on.
pub(crate) mod offset {
    use core::mem::offset_of;

    use super::FastState;

    pub(crate) const TEXT_START: usize = offset_of!(FastState, text_start);
    pub(crate) const COMPILED_LEN: usize = offset_of!(FastState, compiled_len);
    pub(crate) const CALLS: usize = offset_of!(FastState, calls);
    pub(crate) const REQUESTS: usize = offset_of!(FastState, requests);
}

/// The words of cores that take no requests.
static NO_REQUESTS: MailboxWords = MailboxWords::new();

/// The number of [`Place`]s.
const PLACES: usize = 4;

/// What [`FastState`] has the place of. The types are of modules that use this one.
#[derive(Clone, Copy)]
pub(crate) enum Place {
    Target,
    Engine,
    Run,
    Output,
}

impl FastState {
    /// The kernel's code.
    #[inline(always)]
    pub(crate) fn code(&self) -> CompiledCode {
        CompiledCode {
            start: CodeAddress(self.text_start.load(Relaxed)),
            len: self.compiled_len.load(Relaxed),
        }
    }

    /// Sets it, and how much of it is compiled. Returns true if that is something.
    pub(crate) fn set_code(&self, text: CodeRange, compiled: CodeRange) -> bool {
        let len = |range: CodeRange| range.end.0.saturating_sub(range.start.0);
        let is_at_start = compiled.start == text.start;
        self.text_start.store(text.start.0, Relaxed);
        self.text_len.store(len(text), Relaxed);
        let compiled = if is_at_start { len(compiled) } else { 0 };
        self.compiled_len.store(compiled, Relaxed);
        // That of compiled code is none.
        self.root_offset.store(0, Relaxed);
        compiled != 0
    }

    /// Whose requests the fast handler of counters leaves to the other one; `None`: nobody's.
    pub(crate) fn set_requests(&self, words: Option<&'static MailboxWords>) {
        let words = ptr::from_ref(words.unwrap_or(&NO_REQUESTS));
        self.requests.store(words.cast_mut(), Relaxed);
    }

    /// Returns true if one of them has no answer yet.
    ///
    /// # Safety
    ///
    /// They were set.
    #[inline(always)]
    pub(crate) unsafe fn has_request(&self) -> bool {
        // SAFETY: a reference once (the caller's condition).
        Mailbox::new(unsafe { &*self.requests.load(Relaxed) }).has_request()
    }

    pub(crate) fn set_call(&self, call: Call, function: *const ()) {
        self.calls[call as usize].store(function.cast_mut(), Relaxed);
    }

    /// The number of the first event. Records begin with it, unless `are_listed`: then handlers
    /// have lists of events.
    pub(crate) fn set_first_event(&self, event: u8, are_listed: bool) {
        self.first_event.store(event, Relaxed);
        let event = if are_listed { 0 } else { event };
        for head in &self.heads {
            let [units, kind, state, _] = head.load(Relaxed).to_le_bytes();
            let with_event = u32::from_le_bytes([units, kind, state, event]);
            head.store(with_event, Relaxed);
        }
    }

    pub(crate) fn set_place<T>(&self, place: Place, value: &'static T) {
        let value = ptr::from_ref(value).cast_mut().cast();
        self.places[place as usize].store(value, Relaxed);
    }

    /// What lies at a place.
    ///
    /// # Safety
    ///
    /// It was set, and is of this type.
    #[inline(always)]
    pub(crate) unsafe fn at<T>(&self, place: Place) -> &'static T {
        let value: *const T = self.places[place as usize].load(Relaxed).cast();
        // SAFETY: a reference once (the caller's condition).
        unsafe { &*value }
    }
}
