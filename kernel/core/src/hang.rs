//! When a core hangs: it has had interrupts off for too long, as another one sees that pings it by
//! an interrupt now and then.
//!
//! | the core | what the other one sees | then it is | and the other one |
//! |---|---|---|---|
//! | is at rest | for half of the limit | pinged | pings it |
//! | is pinged | it has answered | at rest | |
//! | | it was held meanwhile, and answers nothing then | pinged, from now on | |
//! | | no answer for the limit | hung | asks it by an NMI where it is |
//! | hangs | it has answered | at rest | |
//! | | it has not said where it is, for an eighth of the limit | hung | asks again |
//!
//! An NMI may be one with another that came at the same time, so it may have to be sent again.

/// What a core is taken to do. The times are of the time stamp counter.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Watched {
    /// It has answered, or was never asked.
    AtRest {
        /// When that was seen.
        since: u64,
    },
    /// It was sent a ping that it has not answered.
    Pinged {
        /// When.
        since: u64,
    },
    /// It has not answered in time.
    Hung {
        /// When it was asked where it is.
        asked: u64,
    },
}

/// What another core sees of it.
#[derive(Clone, Copy, Debug)]
pub struct Seen {
    /// The time stamp counter.
    pub now: u64,
    /// All pings are answered.
    pub has_answered: bool,
    /// It has said where it is, since it was asked last.
    pub has_reported: bool,
    /// All cores were held since it was pinged.
    pub was_held: bool,
}

/// What the other core is to do.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Action {
    /// Nothing.
    None,
    /// Send an interrupt that is answered as soon as interrupts are on.
    Ping,
    /// Send an NMI, in whose handler the core says where it is.
    Interrupt,
}

/// The bits that say which of the states it is.
const KIND_BITS: u32 = 2;

impl Watched {
    /// What it is then, and what is to be done; `limit` are the ticks after which it hangs.
    #[must_use]
    pub fn next(self, seen: Seen, limit: u64) -> (Self, Action) {
        let now = seen.now;
        // Another core's counter may be a little ahead.
        let is_over = |since: u64, ticks: u64| now.saturating_sub(since) >= ticks;
        match self {
            Self::AtRest { since } if is_over(since, limit / 2) => {
                (Self::Pinged { since: now }, Action::Ping)
            }
            Self::Pinged { .. } | Self::Hung { .. } if seen.has_answered => {
                (Self::AtRest { since: now }, Action::None)
            }
            Self::Pinged { .. } if seen.was_held => (Self::Pinged { since: now }, Action::None),
            Self::Pinged { since } if is_over(since, limit) => {
                (Self::Hung { asked: now }, Action::Interrupt)
            }
            Self::Hung { asked } if !seen.has_reported && is_over(asked, limit / 8) => {
                (Self::Hung { asked: now }, Action::Interrupt)
            }
            same => (same, Action::None),
        }
    }

    /// As one number, for an atomic. Times are cut to 62 bits, which takes a century to count.
    #[must_use]
    pub const fn to_bits(self) -> u64 {
        let (kind, time) = match self {
            Self::AtRest { since } => (0, since),
            Self::Pinged { since } => (1, since),
            Self::Hung { asked } => (2, asked),
        };
        time << KIND_BITS | kind
    }

    /// What [`Self::to_bits`] made a number of; 0 is a core that was never asked.
    #[must_use]
    pub const fn from_bits(bits: u64) -> Self {
        let time = bits >> KIND_BITS;
        match bits & ((1 << KIND_BITS) - 1) {
            1 => Self::Pinged { since: time },
            2 => Self::Hung { asked: time },
            _ => Self::AtRest { since: time },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use Watched::{AtRest, Hung, Pinged};

    const LIMIT: u64 = 80;

    #[test]
    fn each_row_of_the_table() {
        let no = (false, false);
        let answered = (true, false);
        let reported = (false, true);
        let rest = |since| AtRest { since };
        let pinged = |since| Pinged { since };
        let hung = |asked| Hung { asked };
        for (before, now, (has_answered, has_reported), after) in [
            (rest(100), 139, answered, (rest(100), Action::None)),
            (rest(100), 140, answered, (pinged(140), Action::Ping)),
            // A ping that was for nobody: the core was not there yet.
            (rest(100), 140, no, (pinged(140), Action::Ping)),
            (pinged(140), 141, answered, (rest(141), Action::None)),
            (pinged(140), 999, answered, (rest(999), Action::None)),
            (pinged(140), 219, no, (pinged(140), Action::None)),
            (pinged(140), 220, no, (hung(220), Action::Interrupt)),
            // A counter that is behind.
            (pinged(140), 20, no, (pinged(140), Action::None)),
            (hung(220), 229, no, (hung(220), Action::None)),
            (hung(220), 230, no, (hung(230), Action::Interrupt)),
            (hung(220), 9999, reported, (hung(220), Action::None)),
            (hung(220), 300, answered, (rest(300), Action::None)),
        ] {
            let seen = Seen {
                now,
                has_answered,
                has_reported,
                was_held: false,
            };
            assert_eq!(before.next(seen, LIMIT), after, "{before:?}, {seen:?}");
        }
    }

    #[test]
    fn while_all_cores_are_held_none_hangs() {
        for (before, has_answered, after) in [
            (Pinged { since: 140 }, false, Pinged { since: 900 }),
            (Pinged { since: 140 }, true, AtRest { since: 900 }),
            // It did before, and has said so.
            (Hung { asked: 220 }, false, Hung { asked: 220 }),
        ] {
            let seen = Seen {
                now: 900,
                has_answered,
                has_reported: true,
                was_held: true,
            };
            assert_eq!(
                before.next(seen, LIMIT),
                (after, Action::None),
                "{before:?}"
            );
        }
    }

    #[test]
    fn a_core_is_a_number() {
        for watched in [
            AtRest { since: 0 },
            Pinged { since: 5 },
            Hung {
                asked: u64::MAX >> 2,
            },
        ] {
            assert_eq!(Watched::from_bits(watched.to_bits()), watched);
        }
        assert_eq!(Watched::from_bits(0), AtRest { since: 0 });
    }
}
