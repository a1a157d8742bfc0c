//! Round robin: one core runs at a time, each from one of its samples to its next.
//!
//! Under instruction counting an emulator has one clock for all cores, so what
//! one core executes makes the timers of all others run. A period of 1000 would
//! then be 1000 instructions of *somebody*. Taking turns makes it exact: a core
//! that has recorded its sample passes the turn to the next core, and halts; it
//! re-arms its timer when the turn comes back. Between the two it executes
//! nothing, so while a core runs, the clock counts its instructions alone. Code
//! that waits for another core waits as it would on a machine whose cores are
//! scheduled in slices of one period: correct, slow, and the same each time.
//!
//! # An end to each wait
//!
//! The wait is bounded: the core whose turn it is has its source armed, and its
//! next overflow passes the turn on, whatever it executes. A core that has taken
//! its last sample leaves the circle.
//!
//! Where overflows are maskable interrupts that is not so: the core may have
//! interrupts off, and wait for a lock that a halted one holds. There a core
//! that waits arms its own source, as a watchdog, and takes the turn when it has not
//! come back in time; two cores then run at once, until the preempted core's next
//! overflow, which finds it no longer holds the turn.

use core::sync::atomic::{AtomicU32, Ordering};

use super::cores::Cores;
use super::per_core::Core;
use super::wait;

/// Whose turn it is.
pub(crate) struct RoundRobin {
    /// The index of the core that runs.
    holder: AtomicU32,
    /// The index of the core that has passed the turn to it.
    passed_by: AtomicU32,
}

impl RoundRobin {
    /// All cores take turns, and the first has it.
    pub(crate) const fn new() -> Self {
        Self {
            holder: AtomicU32::new(0),
            passed_by: AtomicU32::new(0),
        }
    }

    /// Returns true if it is the turn of `core`.
    #[must_use]
    pub(crate) fn is_turn_of(&self, core: &Core) -> bool {
        self.holder.load(Ordering::Acquire) == core.index
    }

    /// Passes the turn of the running core, `core`, to the next, and waits until it
    /// comes back.
    pub(crate) fn pass_to_next(&self, cores: &Cores, core: &Core) {
        self.pass_on(cores, core);
        self.wait(cores, core, || self.is_turn_of(core));
    }

    /// The same, but takes the turn if it has not come back when the watchdog, to
    /// which `arm` arms the source, has interrupted the wait.
    pub(crate) fn wait_turn_or_timeout(&self, cores: &Cores, core: &Core, arm: impl Fn()) {
        if self.is_turn_of(core) {
            self.pass_on(cores, core);
        }
        let wait = &core.wait;
        wait.watchdog_fired.store(false, Ordering::Relaxed);
        wait.has_watchdog.store(true, Ordering::Relaxed);
        arm();
        self.wait(cores, core, || {
            if wait.watchdog_fired.load(Ordering::Relaxed) {
                self.holder.store(core.index, Ordering::Release);
            }
            self.is_turn_of(core)
        });
        wait.has_watchdog.store(false, Ordering::Relaxed);
    }

    /// Passes the turn of the running core, `core`, on for good.
    pub(crate) fn leave(&self, cores: &Cores, core: &Core) {
        core.wait.has_left.store(true, Ordering::Release);
        self.pass_on(cores, core);
    }

    /// Waits until `is_turn` of the running core, `core`.
    fn wait(&self, cores: &Cores, core: &Core, is_turn: impl Fn() -> bool) {
        cores.wait_for_turn(core, is_turn, || {
            cores
                .all()
                .get(self.passed_by.load(Ordering::Relaxed) as usize)
        });
    }

    fn pass_on(&self, cores: &Cores, core: &Core) {
        let Some(next) = next_in_turn(cores.all(), core) else {
            return;
        };
        self.passed_by.store(core.index, Ordering::Relaxed);
        self.holder.store(next.index, Ordering::Release);
        if next.index != core.index {
            wait::wake(next);
        }
    }
}

/// The core of `cores` that has the turn after `core`: that one itself if all others have
/// left; `None` if it has too.
fn next_in_turn<'a>(cores: &'a [Core], core: &Core) -> Option<&'a Core> {
    let after = core.index as usize + 1;
    // Around the circle once, this core last.
    let mut circle = cores[after..].iter().chain(&cores[..after]);
    circle.find(|next| !next.wait.has_left.load(Ordering::Acquire))
}

#[cfg(test)]
mod tests {
    use super::{Core, Cores, Ordering, RoundRobin, next_in_turn};
    use crate::sampler::clock::Timers;
    use crate::sampler::per_core::tests::cores;

    /// The index of the core that has the turn after the one with this index.
    fn after(cores: &[Core], index: usize) -> Option<u32> {
        next_in_turn(cores, &cores[index]).map(|next| next.index)
    }

    fn leave(core: &Core) {
        core.wait.has_left.store(true, Ordering::Relaxed);
    }

    #[test]
    fn each_core_has_its_turn_and_then_the_first_again() {
        let cores = cores(&[4, 0, 2]);
        assert_eq!([0, 1, 2].map(|it| after(cores, it)), [1, 2, 0].map(Some));
    }

    #[test]
    fn cores_that_have_left_are_skipped() {
        let cores = cores(&[0, 1, 2, 3]);
        leave(&cores[2]);
        assert_eq!(
            [0, 1, 2, 3].map(|it| after(cores, it)),
            [1, 3, 3, 0].map(Some)
        );
        leave(&cores[3]);
        leave(&cores[0]);
        // The last one has each turn.
        assert_eq!([0, 1, 2, 3].map(|it| after(cores, it)), [Some(1); 4]);
        leave(&cores[1]);
        assert_eq!([0, 1, 2, 3].map(|it| after(cores, it)), [None; 4]);
    }

    #[test]
    fn a_single_core_has_each_turn_until_it_leaves() {
        let all = Cores::new();
        let core = &cores(&[7])[0];
        assert!(all.set(core::slice::from_ref(core), Timers::default()));
        let round_robin = RoundRobin::new();
        assert!(round_robin.is_turn_of(core));
        round_robin.pass_on(&all, core);
        assert!(round_robin.is_turn_of(core));
        round_robin.leave(&all, core);
        assert_eq!(after(all.all(), 0), None);
    }
}
