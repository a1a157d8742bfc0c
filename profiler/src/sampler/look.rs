//! What a kernel can see of its own run: how it stands, and the newest samples of each core, beside
//! whoever reads the rings.

use core::sync::atomic::Ordering::Relaxed;

use super::Sampler;
use super::run::Run;
use super::target::Target;
use crate::contract::mailbox::Mailbox;
use crate::format::region::RunState;
use crate::format::ring::Recent;
use crate::format::table::Chains;
use crate::format::{Clock, Source};
use crate::pmu::event::EventList;

/// How a run stands.
///
/// ```
/// use profiler::sampler::{Sampler, Target};
///
/// fn is_paused<T: Target>(sampler: &Sampler<T>) -> bool {
///     use profiler::format::region::RunState;
///     sampler.look().is_some_and(|look| look.state == RunState::Paused)
/// }
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Look {
    /// Where its overflows come from.
    pub source: Source,
    /// What its time is counted in.
    pub clock: Clock,
    /// Whether it samples, is paused, or has ended.
    pub state: RunState,
    /// What lies between two samples, of events that have no period of their own; 0 where events are
    /// counted and not sampled.
    pub period: u64,
    /// The number of cores.
    pub cores: u32,
    /// Equal chains are counted in place ([`Sampler::chains`]): the rings have what had no room there.
    pub keeps_chains: bool,
}

/// What a core of a run has done so far.
///
/// ```
/// use profiler::sampler::CoreLook;
///
/// let core = CoreLook { wanted: 1000, taken: 10, stored: 9, lost: 1, unclaimed: 0, unread_bytes: 0 };
/// assert_eq!(core.stored + core.lost, core.taken);
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct CoreLook {
    /// Samples that it is to take.
    pub wanted: u64,
    /// Those that it has taken.
    pub taken: u64,
    /// Records that it has stored, in its ring or its table.
    pub stored: u64,
    /// Those that had no room.
    pub lost: u64,
    /// Interrupts that no overflow came of.
    pub unclaimed: u64,
    /// Bytes of its ring that no reader has copied yet.
    pub unread_bytes: u64,
}

impl<T: Target> Sampler<T> {
    /// How the run stands; `None` before it has begun. Only reads, on any core, and never waits.
    ///
    /// ```
    /// use profiler::sampler::{Sampler, Target};
    ///
    /// fn lost<T: Target>(sampler: &Sampler<T>) -> u64 {
    ///     let cores = sampler.look().map_or(0, |look| look.cores);
    ///     let cores = (0..cores).filter_map(|core| sampler.look_at(core));
    ///     cores.map(|core| core.lost).sum()
    /// }
    /// ```
    #[must_use]
    pub fn look(&self) -> Option<Look> {
        let run = self.engine.run()?;
        Some(Look {
            source: run.source.kind(),
            clock: run.timing.clock.clock,
            state: run.region.state(),
            period: run.control.period.load(Relaxed),
            cores: run.region.cores(),
            keeps_chains: run.region.has_tables(),
        })
    }

    /// What the core with this index has done so far; `None` if there is no such core, or no run.
    #[must_use]
    pub fn look_at(&self, core: u32) -> Option<CoreLook> {
        let run = self.engine.run()?;
        let core = self.engine.cores.get(core)?;
        let control = run.region.control(core.index);
        let wanted = if run.counting.is_some() {
            0
        } else {
            core.share.last() + 1
        };
        Some(CoreLook {
            wanted,
            taken: core.share.taken().min(wanted),
            stored: run.region.stored(core.index),
            lost: control.lost(),
            unclaimed: run.region.counters(core.index).unclaimed.load(Relaxed),
            unread_bytes: control.unread() * 4,
        })
    }

    /// The events that are counted now, where the source is counters and nobody is changing them.
    /// In a run that counts, those that each core has a [`Count`](crate::format::Count) of when it
    /// is done.
    #[must_use]
    pub fn events(&self) -> Option<EventList> {
        let run = self.engine.run()?;
        if let Some(counting) = &run.counting {
            return Some(counting.events);
        }
        if run.source.kind() != Source::Pmu {
            return None;
        }
        // Whoever has the turn may change them.
        let _turn = self.take_turn().ok()?;
        Some(run.control.events())
    }

    /// The newest records of the core with this index, as many as its ring still has, whether a
    /// reader has copied them or not. [`Recent`] has an example.
    #[must_use]
    pub fn recent(&self, core: u32) -> Option<Recent<'_>> {
        let run = self.engine.run()?;
        let output = self.engine.cores.get(core)?.output.get()?;
        Some(run.region.recent(&output.writer))
    }

    /// The chains that the core with this index has counted in place; none where it does not.
    #[must_use]
    pub fn chains(&self, core: u32) -> Option<Chains<'static>> {
        let run = self.engine.run()?;
        (core < run.region.cores()).then(|| run.region.chains(core))
    }

    /// Where the run can be asked for something, as the host asks for it; `None` if its source goes on
    /// as it began. The first core answers, when it has interrupts on.
    #[must_use]
    pub fn mailbox(&self) -> Option<Mailbox<'static>> {
        let can_be_changed =
            |run: &&Run| run.source.kind() == Source::Pmu && run.counting.is_none();
        self.engine.run().filter(can_be_changed).map(Run::mailbox)
    }
}
