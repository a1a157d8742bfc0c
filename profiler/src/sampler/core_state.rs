//! What the sampler keeps for each core.
//!
//! It is written by that core, in its handlers or before its source is armed, unless a
//! field says otherwise; every field is an atomic, so that handlers may interrupt each
//! other and other cores may look.

use core::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering, Ordering::Relaxed};

use super::aim::CoreAim;
use super::counting::CoreCounting;
use super::set_once::SetOnce;
use super::source::pmu::CorePmu;
use crate::format::region::CoreCounters;
use crate::format::ring::Writer;
use crate::hw::tsc;

/// A core, as the sampler knows it.
pub(crate) struct Core {
    /// Dense, from 0; the core that starts the sampler is 0.
    pub index: u32,
    /// The core's local APIC id.
    pub apic_id: u32,
    /// Where its samples go; set before the run begins.
    pub output: SetOnce<Output>,
    pub overflow: OverflowState,
    pub timing: Timing,
    pub share: Share,
    pub wait: Wait,
    pub trial: TrialState,
    pub aim: CoreAim,
    pub pmu: CorePmu,
    pub counting: CoreCounting,
}

impl Core {
    pub(crate) fn new(index: u32, apic_id: u32) -> Self {
        Self {
            index,
            apic_id,
            output: SetOnce::new(),
            overflow: OverflowState::default(),
            timing: Timing::default(),
            share: Share::default(),
            wait: Wait::default(),
            trial: TrialState::default(),
            aim: CoreAim::default(),
            pmu: CorePmu::default(),
            counting: CoreCounting::default(),
        }
    }
}

impl Core {
    /// The source is about to be armed.
    #[inline]
    pub(crate) fn note_armed(&self) {
        self.overflow.set_armed();
        self.timing.note_armed();
    }
}

/// What a core writes to: its ring and its counters in the region.
pub(crate) struct Output {
    /// Used on that core alone.
    pub writer: Writer<'static>,
    pub counters: &'static CoreCounters,
}

impl Output {
    /// Appends a record to the ring, which counts it as lost if it does not fit.
    #[inline]
    pub(crate) fn write(&self, record: &[u64]) {
        if self.writer.write(record).is_ok() {
            self.counters.stored.fetch_add(1, Relaxed);
        }
    }
}

/// Where the source of a core stands: which overflow its next interrupt is.
///
/// Three bits, each a store or a load of its own, since a handler may interrupt another
/// one's at any instruction:
///
/// | event | before | after |
/// |---|---|---|
/// | the source is armed | | armed |
/// | its overflow is claimed | armed | in handler |
/// | an overflow is claimed inside a handler | in handler, armed or pending | in handler |
/// | the handler is about to re-arm the source | in handler | |
/// | the source is armed anew for an aim, and has fired | armed | armed, pending |
/// | a pending overflow is claimed | pending | in handler |
///
/// The nested handler leaves re-arming, and passing on the turn, to the outer one: a
/// source armed in the inner one would fire before the outer one got anywhere.
#[derive(Default)]
pub(crate) struct OverflowState {
    /// The source is armed, and its next interrupt is an overflow.
    is_armed: AtomicBool,
    /// A handler has claimed an overflow and not armed the source again.
    in_handler: AtomicBool,
    /// The source has fired, and was armed anew for an aim before its overflow was
    /// claimed.
    is_pending: AtomicBool,
    /// For the source `ipi`: another core has asked for a sample.
    ipi_requested: AtomicBool,
}

impl OverflowState {
    #[inline]
    pub(crate) fn is_armed(&self) -> bool {
        self.is_armed.load(Relaxed)
    }

    #[inline]
    pub(crate) fn set_armed(&self) {
        self.is_armed.store(true, Relaxed);
    }

    #[inline]
    pub(crate) fn in_handler(&self) -> bool {
        self.in_handler.load(Relaxed)
    }

    /// The source, which has fired, is armed for an aim.
    pub(crate) fn set_pending(&self) {
        self.is_pending.store(true, Relaxed);
    }

    /// Claims the overflow of this interrupt: the one that the source shows
    /// (`has_fired`), or a pending one. `None` if there is neither; else whether another
    /// handler is at work, which will re-arm the source.
    #[inline]
    pub(crate) fn claim(&self, has_fired: bool) -> Option<bool> {
        if has_fired {
            self.is_armed.store(false, Relaxed);
        } else if !self.is_pending.swap(false, Relaxed) {
            return None;
        }
        Some(self.in_handler.swap(true, Relaxed))
    }

    /// A trial's overflow: nothing is claimed.
    pub(crate) fn set_fired(&self) {
        self.is_armed.store(false, Relaxed);
    }

    /// The handler that has claimed an overflow is about to re-arm the source.
    #[inline]
    pub(crate) fn leave_handler(&self) {
        self.in_handler.store(false, Relaxed);
    }

    pub(crate) fn request_ipi(&self) {
        self.ipi_requested.store(true, Relaxed);
    }

    #[inline]
    pub(crate) fn take_ipi_request(&self) -> bool {
        self.ipi_requested.swap(false, Relaxed)
    }
}

/// Ticks of the time stamp counter around the last interrupts.
#[derive(Default)]
pub(crate) struct Timing {
    /// Beside the last arming.
    pub armed_tsc: AtomicU64,
    /// At the last entry.
    pub entry_tsc: AtomicU64,
    /// The ticks that the last handler spent waiting for the core's turn.
    pub turn_wait_ticks: AtomicU64,
}

impl Timing {
    /// From the last arming to the last entry.
    pub(crate) fn from_arming_to_entry(&self) -> u64 {
        let armed = self.armed_tsc.load(Relaxed);
        self.entry_tsc.load(Relaxed).wrapping_sub(armed)
    }

    #[inline]
    pub(crate) fn note_armed(&self) {
        self.armed_tsc.store(tsc::ticks(), Relaxed);
    }
}

/// The samples that a core takes. The first core sets the limit, before the run.
#[derive(Default)]
pub(crate) struct Share {
    taken: AtomicU64,
    limit: AtomicU64,
}

impl Share {
    /// The samples of the core with this index, of `cores`, where all together take
    /// `samples`: as many as every other, or one more on the first ones; at least one.
    pub(crate) fn of_core(index: u32, cores: u32, samples: u64) -> u64 {
        let cores = u64::from(cores);
        let one_more = u64::from(index) < samples % cores;
        (samples / cores + u64::from(one_more)).max(1)
    }

    pub(crate) fn set_limit(&self, limit: u64) {
        self.limit.store(limit, Relaxed);
        self.taken.store(0, Relaxed);
    }

    /// Counts a sample. Returns its number on this core, from 0.
    #[inline]
    pub(crate) fn take(&self) -> u64 {
        self.taken.fetch_add(1, Relaxed)
    }

    pub(crate) fn taken(&self) -> u64 {
        self.taken.load(Relaxed)
    }

    /// Returns true if the core has taken its share.
    #[inline]
    pub(crate) fn is_taken(&self) -> bool {
        self.taken.load(Relaxed) >= self.limit.load(Relaxed)
    }
}

/// How a core waits: see [`super::round_robin`].
#[derive(Default)]
pub(crate) struct Wait {
    /// The core has come to take part ([`super::Sampler::join`]).
    pub has_joined: AtomicBool,
    /// What it is to do meanwhile: see [`Errand`]. Written by the first core.
    errand: AtomicU8,
    /// It takes no more turns.
    pub has_left: AtomicBool,
    /// It waits for its turn, and a maskable overflow is its watchdog's.
    pub has_watchdog: AtomicBool,
    /// The watchdog has interrupted the wait.
    pub watchdog_fired: AtomicBool,
}

/// What a core that waits for the run does for the first one.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub(crate) enum Errand {
    None,
    /// Probe the PMU and keep what was found.
    ProbePmu,
    /// Show what the PMU has.
    ListPmu,
}

impl Wait {
    /// Returns true if a maskable overflow of the core is its watchdog's, and notes that
    /// it has come.
    #[inline]
    pub(crate) fn is_watchdog(&self) -> bool {
        let is_one = self.has_watchdog.load(Relaxed);
        if is_one {
            self.watchdog_fired.store(true, Relaxed);
        }
        is_one
    }

    pub(crate) fn set_errand(&self, errand: Errand) {
        self.errand.store(errand as u8, Ordering::Release);
    }

    pub(crate) fn take_errand(&self) -> Errand {
        match self.errand.swap(Errand::None as u8, Ordering::AcqRel) {
            1 => Errand::ProbePmu,
            2 => Errand::ListPmu,
            _ => Errand::None,
        }
    }
}

/// What a core knows of the trials before a run.
#[derive(Default)]
pub(crate) struct TrialState {
    /// Overflows that came so far.
    overflows: AtomicU64,
    /// What the handler of the next one re-arms the source with, once; 0: it does not.
    rearm_count: AtomicU64,
    /// Where the last one interrupted.
    pub interrupted_at: AtomicU64,
}

impl TrialState {
    pub(crate) fn overflows(&self) -> u64 {
        self.overflows.load(Relaxed)
    }

    pub(crate) fn count_overflow(&self) {
        self.overflows.fetch_add(1, Relaxed);
    }

    pub(crate) fn set_rearm_count(&self, count: u64) {
        self.rearm_count.store(count, Relaxed);
    }

    /// The count to re-arm with, if any. Once only: the trial's own overflow must not
    /// start another.
    pub(crate) fn take_rearm_count(&self) -> Option<u32> {
        let count = self.rearm_count.swap(0, Relaxed);
        u32::try_from(count).ok().filter(|&count| count != 0)
    }
}

#[cfg(test)]
mod tests {
    use super::{OverflowState, Share, TrialState};

    #[test]
    fn an_overflow_is_claimed_once() {
        let state = OverflowState::default();
        assert_eq!(state.claim(false), None);
        state.set_armed();
        assert_eq!(state.claim(true), Some(false));
        assert!(!state.is_armed());
        assert!(state.in_handler());
        state.leave_handler();
        state.set_armed();
        assert_eq!(state.claim(false), None);
        assert!(state.is_armed());
    }

    #[test]
    fn a_nested_handler_leaves_arming_to_the_outer_one() {
        let state = OverflowState::default();
        state.set_armed();
        assert_eq!(state.claim(true), Some(false));
        state.set_armed();
        assert_eq!(state.claim(true), Some(true));
    }

    #[test]
    fn a_pending_overflow_is_claimed_beside_the_aimed_one() {
        let state = OverflowState::default();
        state.set_armed();
        state.set_pending();
        // Whichever interrupt is first takes the one that the source shows.
        assert_eq!(state.claim(true), Some(false));
        state.leave_handler();
        assert_eq!(state.claim(false), Some(false));
        state.leave_handler();
        assert_eq!(state.claim(false), None);
    }

    #[test]
    fn shares_add_up_to_all_samples() {
        for (cores, samples) in [(1, 1), (3, 100), (4, 100_000), (7, 20)] {
            let shares = (0..cores).map(|core| Share::of_core(core, cores, samples));
            assert_eq!(shares.clone().sum::<u64>(), samples);
            assert!(shares.clone().max().unwrap() - shares.min().unwrap() <= 1);
        }
        assert_eq!(
            [0, 1, 2, 3].map(|core| Share::of_core(core, 4, 2)),
            [1, 1, 1, 1]
        );
    }

    #[test]
    fn a_core_takes_its_share_and_no_more() {
        let share = Share::default();
        share.set_limit(2);
        assert_eq!((share.take(), share.is_taken()), (0, false));
        assert_eq!((share.take(), share.is_taken()), (1, true));
    }

    #[test]
    fn a_trial_is_rearmed_once() {
        let trial = TrialState::default();
        trial.set_rearm_count(5000);
        assert_eq!(trial.take_rearm_count(), Some(5000));
        assert_eq!(trial.take_rearm_count(), None);
        trial.set_rearm_count(u64::MAX);
        assert_eq!(trial.take_rearm_count(), None);
    }
}
