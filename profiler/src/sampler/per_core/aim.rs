//! What a core knows of aimed overflows: see [`crate::sampler::aim`].

use core::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering::Relaxed};

use crate::contract::settings::Aim;

/// An aim, and what is known of the way to it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Aimed {
    pub aim: Aim,
    /// Counts of the source from its arming to the aim's instruction.
    pub arm_latency: u32,
}

/// What a core knows of its aim.
#[derive(Default)]
pub(crate) struct CoreAim {
    /// How many times the instruction came.
    hits: AtomicU32,
    /// An aimed overflow is under way.
    is_under_way: AtomicBool,
    /// The last one came in a handler, and none since that did not.
    was_in_handler: AtomicBool,
    /// When the source was armed for it, if that was in a handler, whose sample has its period from
    /// the arming before; else 0.
    armed_tsc: AtomicU64,
}

impl CoreAim {
    /// The count to arm the source with, at an aim that is to be taken; else the
    /// interrupted code resumes.
    pub(crate) fn count_at_hit(&self, aimed: &Aimed) -> Option<u32> {
        if self.was_in_handler.load(Relaxed) || self.is_under_way.load(Relaxed) {
            return None;
        }
        let Aim { first, end, .. } = aimed.aim;
        let hits = self.hits.fetch_add(1, Relaxed);
        Some(aimed.arm_latency + first + hits % (end - first))
    }

    /// The source is about to be armed for an aimed overflow.
    pub(crate) fn begin(&self) {
        self.armed_tsc.store(0, Relaxed);
        self.is_under_way.store(true, Relaxed);
    }

    /// The same at this time, in a handler.
    pub(crate) fn note_armed(&self, now: u64) {
        self.armed_tsc.store(now, Relaxed);
    }

    /// When the source was armed for the last aimed overflow, if that was in a handler.
    pub(crate) fn armed_tsc(&self) -> Option<u64> {
        Some(self.armed_tsc.load(Relaxed)).filter(|&armed_tsc| armed_tsc != 0)
    }

    /// Returns true if an aimed overflow is under way.
    #[inline]
    pub(crate) fn is_under_way(&self) -> bool {
        self.is_under_way.load(Relaxed)
    }

    /// Returns true if the next overflow may be an aimed one, or is to be told from the last.
    #[inline]
    pub(crate) fn matters(&self) -> bool {
        self.is_under_way() || self.was_in_handler.load(Relaxed)
    }

    /// The source is not armed for it any more: no aimed overflow is under way.
    #[inline]
    pub(crate) fn cancel(&self) {
        self.is_under_way.store(false, Relaxed);
    }

    /// Returns true if the overflow that is being handled was aimed; `in_handler` says
    /// that it interrupts the handler of another one.
    #[inline]
    pub(crate) fn take(&self, in_handler: bool) -> bool {
        let is_aimed = self.is_under_way.load(Relaxed);
        if is_aimed {
            self.is_under_way.store(false, Relaxed);
        }
        if is_aimed || !in_handler {
            self.was_in_handler.store(in_handler, Relaxed);
        }
        is_aimed
    }
}

#[cfg(test)]
mod tests {
    use super::{Aim, Aimed, CoreAim};
    use crate::address::CodeAddress;

    const AIMED: Aimed = Aimed {
        aim: Aim {
            address: CodeAddress(0x1000),
            first: 3,
            end: 5,
        },
        arm_latency: 40,
    };

    #[test]
    fn aims_take_each_instruction_in_turn() {
        let aim = CoreAim::default();
        for expected in [43, 44, 43, 44] {
            assert_eq!(aim.count_at_hit(&AIMED), Some(expected));
        }
    }

    #[test]
    fn one_aimed_overflow_is_under_way() {
        let aim = CoreAim::default();
        assert!(!aim.take(false));
        aim.begin();
        assert!(aim.is_under_way());
        assert_eq!(aim.count_at_hit(&AIMED), None);
        assert!(aim.take(false));
        assert!(!aim.is_under_way() && !aim.take(false));
        assert_eq!(aim.count_at_hit(&AIMED), Some(43));
    }

    #[test]
    fn an_aimed_overflow_in_a_handler_leads_to_no_other() {
        let aim = CoreAim::default();
        aim.begin();
        assert!(aim.take(true));
        assert_eq!(aim.count_at_hit(&AIMED), None);
        // In the same handler still.
        assert!(!aim.take(true));
        assert_eq!(aim.count_at_hit(&AIMED), None);
        assert!(!aim.take(false));
        assert_eq!(aim.count_at_hit(&AIMED), Some(43));
    }

    #[test]
    fn one_that_is_cancelled_does_not_come() {
        let aim = CoreAim::default();
        aim.begin();
        aim.cancel();
        assert!(!aim.take(false));
    }
}
