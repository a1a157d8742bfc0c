//! Where a core stands that others may stop: to go on later, or for good.

use core::sync::atomic::{AtomicU8, Ordering};

/// Where a core stands.
///
/// | from | event | to |
/// |---|---|---|
/// | `Running` | `Hold`: an NMI finds that all are to hold | `Held` |
/// | `Held` | `Release`: they are to go on | `Running` |
/// | `Held` | `Begin`: it has been given a command | `Working` |
/// | `Working` | `Done` | `Held` |
/// | `Running`, `Held`, `Working` | `Stop`: the run ends, or the core has failed | `Stopped` |
///
/// Nothing leads out of `Stopped`. A core changes its own state, others look.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum CoreState {
    /// It does what it has to do.
    Running,
    /// It waits, to go on where it was.
    Held,
    /// It executes a command for another core meanwhile.
    Working,
    /// It does nothing ever again.
    Stopped,
}

/// What happens to a core.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[expect(missing_docs, reason = "the table has them")]
pub enum Event {
    Hold,
    Release,
    Begin,
    Done,
    Stop,
}

impl CoreState {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Running, Self::Held, Self::Working, Self::Stopped];

    /// The state that this byte is of: what is none is a core that nothing is known of, and so stopped.
    #[must_use]
    pub fn of(byte: u8) -> Self {
        let state = Self::ALL.get(usize::from(byte)).copied();
        state.unwrap_or(Self::Stopped)
    }

    /// The state behind an event; `None` if the table has none.
    #[must_use]
    pub const fn after(self, event: Event) -> Option<Self> {
        match (self, event) {
            (Self::Running, Event::Hold) | (Self::Working, Event::Done) => Some(Self::Held),
            (Self::Held, Event::Release) => Some(Self::Running),
            (Self::Held, Event::Begin) => Some(Self::Working),
            (Self::Running | Self::Held | Self::Working, Event::Stop) => Some(Self::Stopped),
            _ => None,
        }
    }

    /// Returns true if the core stays where it is, and its registers can be looked at.
    #[must_use]
    pub const fn is_at_rest(self) -> bool {
        matches!(self, Self::Held | Self::Stopped)
    }
}

/// The state of a core, which all others see.
#[derive(Debug)]
pub struct CurrentState(AtomicU8);

impl CurrentState {
    /// It runs.
    #[must_use]
    pub const fn new() -> Self {
        Self(AtomicU8::new(CoreState::Running as u8))
    }

    /// Where the core stands.
    #[must_use]
    pub fn get(&self) -> CoreState {
        CoreState::of(self.0.load(Ordering::Acquire))
    }

    /// Changes it by an event. Returns false, and changes nothing, if the table has no such
    /// transition.
    pub fn on(&self, event: Event) -> bool {
        match self.get().after(event) {
            Some(next) => {
                self.0.store(next as u8, Ordering::Release);
                true
            }
            None => false,
        }
    }
}

impl Default for CurrentState {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::CoreState::{self, Held, Running, Stopped, Working};
    use super::{CurrentState, Event};

    const EVENTS: [Event; 5] = [
        Event::Hold,
        Event::Release,
        Event::Begin,
        Event::Done,
        Event::Stop,
    ];

    #[test]
    fn the_table_is_all_that_there_is() {
        let none = None;
        for (state, next) in [
            (Running, [Some(Held), none, none, none, Some(Stopped)]),
            (
                Held,
                [none, Some(Running), Some(Working), none, Some(Stopped)],
            ),
            (Working, [none, none, none, Some(Held), Some(Stopped)]),
            (Stopped, [none; 5]),
        ] {
            assert_eq!(EVENTS.map(|event| state.after(event)), next, "{state:?}");
        }
    }

    #[test]
    fn what_the_table_does_not_have_changes_nothing() {
        let state = CurrentState::new();
        assert!(!state.on(Event::Release) && state.get() == Running);
        assert!(state.on(Event::Hold) && state.on(Event::Begin) && state.get() == Working);
        assert!(!state.on(Event::Release) && state.get() == Working);
        assert!(state.on(Event::Done) && state.get() == Held);
        assert!(state.on(Event::Release) && state.get() == Running);
        assert!(state.on(Event::Stop) && !state.on(Event::Hold) && state.get() == Stopped);
        assert_eq!(
            CoreState::ALL.map(CoreState::is_at_rest),
            [false, true, false, true]
        );
    }
}
