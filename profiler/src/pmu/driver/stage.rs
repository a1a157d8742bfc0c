//! What an interrupt may do to the registers.

use core::sync::atomic::{AtomicU8, Ordering, Ordering::Relaxed, compiler_fence};

/// What an interrupt may do to the registers.
///
/// | stage | the next interrupt |
/// |---|---|
/// | off | touches nothing: nothing counts |
/// | busy | touches nothing: it came while another function is at work |
/// | running | stops the counters, and looks at everything |
/// | settled | stops the counters; if one of them has come to its overflow, that is all there is to it |
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum Stage {
    Off,
    Busy,
    Running,
    Settled,
}

impl Stage {
    /// That of a number.
    #[inline]
    pub const fn from_number(number: u32) -> Self {
        match number {
            0 => Self::Off,
            1 => Self::Busy,
            2 => Self::Running,
            _ => Self::Settled,
        }
    }
}

/// The stage of a core.
#[derive(Default, Debug)]
#[repr(transparent)]
pub(super) struct AtomicStage(AtomicU8);

impl AtomicStage {
    #[inline]
    pub(super) fn load(&self) -> Stage {
        Stage::from_number(self.0.load(Relaxed).into())
    }

    /// Its number, which fast handlers compare: what is counted up to their stop is to be the same
    /// whatever it is.
    #[inline(always)]
    pub(super) fn number(&self) -> u8 {
        self.0.load(Relaxed)
    }

    /// Other state is written before it, and read behind it.
    #[inline]
    pub(super) fn store(&self, stage: Stage) {
        compiler_fence(Ordering::SeqCst);
        self.0.store(stage as u8, Relaxed);
        compiler_fence(Ordering::SeqCst);
    }
}
