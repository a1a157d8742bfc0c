//! Which overflow the next interrupt of a core is.

use core::sync::atomic::{AtomicBool, Ordering::Relaxed};

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
/// A fast handler takes the second and the fourth line alone, and asks by one comparison whether
/// all is as they need it ([`Self::is`]): so what else may be unusual stands in the same word.
///
/// The nested handler leaves re-arming, and passing on the turn, to the outer one: a
/// source armed in the inner one would fire before the outer one got anywhere.
#[derive(Default)]
#[repr(C, align(8))]
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
    /// An aimed overflow is under way, or was the last one: see [`super::aim`].
    is_aiming: AtomicBool,
    /// The interrupted code resumed behind a `hlt`, which is to be taken off its period.
    has_skipped: AtomicBool,
    /// There is no sampling: what the run's phase says. Other cores write it.
    is_closed: AtomicBool,
    /// The counters' handler has a command to run. Other cores write it.
    is_commanded: AtomicBool,
}

/// The word of a state in which the source is armed, and nothing is unusual.
pub(crate) const ARMED: i32 = 1;
/// The same where another core has asked for a sample.
pub(crate) const ARMED_AND_REQUESTED: i32 = ARMED | 1 << 24;

impl OverflowState {
    /// Returns true if the whole state is `word`: what is unusual included.
    #[inline(always)]
    #[cfg(all(target_arch = "x86_64", not(miri)))]
    pub(crate) fn is<const WORD: i32>(&self) -> bool {
        // SAFETY: the state's bytes are valid for reads; an aligned load is one access, whatever
        // others store meanwhile.
        unsafe {
            core::arch::asm!(
                "cmp qword ptr [{}], {}",
                "jne {}",
                in(reg) self,
                const WORD,
                label { return false },
                options(nostack, readonly),
            );
        }
        true
    }

    #[cfg(not(all(target_arch = "x86_64", not(miri))))]
    pub(crate) fn is<const WORD: i32>(&self) -> bool {
        self.word() == i64::from(WORD).cast_unsigned()
    }

    #[cfg(not(all(target_arch = "x86_64", not(miri))))]
    fn word(&self) -> u64 {
        let bytes = [
            &self.is_armed,
            &self.in_handler,
            &self.is_pending,
            &self.ipi_requested,
            &self.is_aiming,
            &self.has_skipped,
            &self.is_closed,
            &self.is_commanded,
        ];
        u64::from_le_bytes(bytes.map(|it| u8::from(it.load(Relaxed))))
    }

    /// The fast handler claims the overflow of a source that is armed, and has fired.
    #[inline(always)]
    pub(crate) fn claim_fast(&self) {
        // One after the other: what nests between them finds that it came for nothing.
        self.is_armed.store(false, Relaxed);
        self.in_handler.store(true, Relaxed);
    }

    /// Says whether interrupts are samples.
    pub(crate) fn set_closed(&self, is_closed: bool) {
        self.is_closed
            .store(is_closed, core::sync::atomic::Ordering::SeqCst);
    }

    /// Says whether the counters' handler has a command to run.
    pub(crate) fn set_commanded(&self, is_commanded: bool) {
        self.is_commanded
            .store(is_commanded, core::sync::atomic::Ordering::SeqCst);
    }

    pub(crate) fn set_skipped(&self, has_skipped: bool) {
        self.has_skipped.store(has_skipped, Relaxed);
    }

    /// The core's aim has changed: whether it matters to the next overflow is asked behind that.
    pub(crate) fn set_aiming(&self, matters: impl Fn() -> bool) {
        self.is_aiming.store(false, Relaxed);
        // Not before: what nests between the two may change it, too.
        if matters() {
            self.is_aiming.store(true, Relaxed);
        }
    }

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

#[cfg(test)]
mod tests {
    use super::{ARMED, ARMED_AND_REQUESTED, OverflowState};

    /// An interrupt that has come together with that of another core, which ends the run or has a
    /// command, is not a fast handler's.
    #[test]
    fn what_another_core_has_said_is_unusual() {
        let state = OverflowState::default();
        state.set_armed();
        assert!(state.is::<ARMED>() && !state.is::<ARMED_AND_REQUESTED>());
        for is_requested in [false, true] {
            let is_usual = || {
                if is_requested {
                    state.is::<ARMED_AND_REQUESTED>()
                } else {
                    state.is::<ARMED>()
                }
            };
            assert!(is_usual());
            for set in [OverflowState::set_closed, OverflowState::set_commanded] {
                set(&state, true);
                assert!(!is_usual());
                set(&state, false);
                assert!(is_usual());
            }
            state.request_ipi();
        }
    }

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
}
