//! Where a run stands: what an interrupt of the sampler means.

use core::sync::atomic::{AtomicU8, Ordering};

/// Where a run stands.
///
/// | from | to | when |
/// |---|---|---|
/// | `Off` | `Probing` | the first core looks for a source and calibrates it |
/// | `Probing` | `Off` | it has a source, or none works |
/// | `Off` | `Sampling`, `Counting` | every core is prepared |
/// | `Sampling` | `Paused` | the host asks for it (`ctl stop`) |
/// | `Paused` | `Sampling` | likewise (`ctl start`) |
/// | `Paused` | `Measuring` | other events or periods are measured |
/// | `Measuring` | `Paused` | that is done |
/// | any | `Ended` | each core has taken its share, or the kernel ends the run |
///
/// Nothing leads out of `Ended`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub(crate) enum Phase {
    /// No run: ignore sampling interrupts.
    Off,
    /// Trials, of one core at a time, before the run.
    Probing,
    /// Each overflow is a sample.
    Sampling,
    /// Counters stand still until the host asks for more.
    Paused,
    /// Trials in the middle of a run, of one core at a time.
    Measuring,
    /// Events are counted, and overflows are no samples.
    Counting,
    /// The run is over: ignore sampling interrupts, and do not wait for anything.
    Ended,
}

impl Phase {
    /// Returns true if an overflow is a trial's.
    #[inline]
    pub(crate) const fn is_trial(self) -> bool {
        matches!(self, Self::Probing | Self::Measuring)
    }

    /// Returns true if interrupts are counted in the run's own counters.
    #[inline]
    pub(crate) const fn is_run(self) -> bool {
        matches!(self, Self::Sampling | Self::Paused)
    }

    const fn from_number(number: u8) -> Self {
        match number {
            1 => Self::Probing,
            2 => Self::Sampling,
            3 => Self::Paused,
            4 => Self::Measuring,
            5 => Self::Counting,
            6 => Self::Ended,
            _ => Self::Off,
        }
    }

    /// Returns true if the table has this transition.
    const fn may_become(self, next: Self) -> bool {
        matches!(
            (self, next),
            (Self::Off, Self::Probing | Self::Sampling | Self::Counting)
                | (Self::Probing, Self::Off)
                | (Self::Sampling, Self::Paused)
                | (Self::Paused, Self::Sampling | Self::Measuring)
                | (Self::Measuring, Self::Paused)
                | (_, Self::Ended)
        )
    }
}

/// The phase of the run, which all cores see.
pub(crate) struct CurrentPhase(AtomicU8);

impl CurrentPhase {
    pub(crate) const fn new() -> Self {
        Self(AtomicU8::new(Phase::Off as u8))
    }

    #[inline]
    pub(crate) fn get(&self) -> Phase {
        Phase::from_number(self.0.load(Ordering::Acquire))
    }

    /// Changes the phase. Returns false, and changes nothing, if there is no such
    /// transition: the run was ended meanwhile.
    pub(crate) fn set(&self, next: Phase) -> bool {
        let step = |now| {
            let now = Phase::from_number(now);
            now.may_become(next).then_some(next as u8)
        };
        self.0
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, step)
            .is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::{CurrentPhase, Phase};

    const ALL: [Phase; 7] = [
        Phase::Off,
        Phase::Probing,
        Phase::Sampling,
        Phase::Paused,
        Phase::Measuring,
        Phase::Counting,
        Phase::Ended,
    ];

    #[test]
    fn numbers_are_phases() {
        for phase in ALL {
            assert_eq!(Phase::from_number(phase as u8), phase);
        }
    }

    #[test]
    fn a_run_goes_through_its_phases() {
        let phase = CurrentPhase::new();
        for next in [
            Phase::Probing,
            Phase::Off,
            Phase::Sampling,
            Phase::Paused,
            Phase::Measuring,
            Phase::Paused,
            Phase::Sampling,
            Phase::Ended,
        ] {
            assert!(phase.set(next), "{:?} to {next:?}", phase.get());
            assert_eq!(phase.get(), next);
        }
    }

    #[test]
    fn nothing_leads_out_of_the_end() {
        let phase = CurrentPhase::new();
        assert!(phase.set(Phase::Ended));
        for next in ALL {
            assert_eq!(phase.set(next), next == Phase::Ended);
            assert_eq!(phase.get(), Phase::Ended);
        }
    }

    #[test]
    fn a_paused_run_is_not_measured_and_sampled_at_once() {
        let phase = CurrentPhase::new();
        assert!(phase.set(Phase::Sampling));
        assert!(!phase.set(Phase::Measuring));
        assert!(!phase.set(Phase::Counting));
        assert_eq!(phase.get(), Phase::Sampling);
    }
}
