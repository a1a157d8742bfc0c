//! How far a run is, for whoever shows it meanwhile.

use core::fmt;
use core::sync::atomic::Ordering::Relaxed;

use super::{Sampler, Target};
use crate::format::Clock;
use crate::format::account::Account;
use crate::format::process::Process;
use crate::format::region::Region;
use crate::hw::tsc;
use crate::pmu::this_core::ThisCore;
use crate::sampler::source::Source;

/// How far a run is.
///
/// ```
/// use profiler::sampler::Progress;
///
/// let progress = Progress { taken: 1200, wanted: 20_000, lost: 3 };
/// assert_eq!(progress.to_string(), "1200 of 20000 samples, 3 lost");
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Progress {
    /// Samples that were taken so far, on all cores.
    pub taken: u64,
    /// Samples to be taken.
    pub wanted: u64,
    /// Those of the taken that had no room in their ring.
    pub lost: u64,
}

impl fmt::Display for Progress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            taken,
            wanted,
            lost,
        } = self;
        write!(f, "{taken} of {wanted} samples, {lost} lost")
    }
}

/// Samples that may come while a core looks how far it is.
const SAMPLES_BETWEEN: u32 = 4;

impl<T: Target> Sampler<T> {
    /// How far the run is; `None` before it has begun, and where events are counted. Only reads,
    /// on any core, and never waits.
    #[must_use]
    pub fn progress(&self) -> Option<Progress> {
        let run = self.engine.run().filter(|run| run.counting.is_none())?;
        let mut sum = Progress::default();
        for core in self.engine.cores.all() {
            let wanted = core.share.last() + 1;
            sum.wanted += wanted;
            sum.taken += core.share.taken().min(wanted);
            sum.lost += run.region.control(core.index).lost();
        }
        Some(sum)
    }

    /// Returns true if the core with this index has taken its last sample: then it waits for the
    /// others, in a handler of the sampler. Only reads, on any core.
    #[must_use]
    pub fn has_finished(&self, core: u32) -> bool {
        let is_sampled = |run: &&super::run::Run| run.counting.is_none();
        self.engine.run().filter(is_sampled).is_some()
            && self
                .engine
                .cores
                .get(core)
                .is_some_and(|core| core.share.is_taken())
    }

    /// For an NMI's handler that does something long before it calls [`Self::on_nmi`], such as to
    /// hold the running core, the one with this index: what is counted there is not the interrupted
    /// code's. Sampling by ops goes on, and so does counting (`stat`).
    pub fn stand_still(&self, core: u32) {
        let is_sampled = self.engine.run().is_some_and(|run| run.counting.is_none());
        if let Some(Source::Pmu(_)) = self.engine.source()
            && is_sampled
            && let Some(core) = self.engine.cores.get(core)
            && let Some(plan) = core.pmu.plan()
        {
            core.pmu.driver.stand_still(&ThisCore, plan);
        }
    }

    /// For an NMI's handler, behind [`Self::on_nmi`]: what the running core, the one with this index,
    /// has spent there since, in ticks of the time stamp counter, is not the interrupted code's.
    pub fn leave_out(&self, core: u32, ticks: u64) {
        let core = self.engine.cores.get(core);
        if let Some(core) = core.filter(|core| core.overflow.is_armed()) {
            core.timing.armed_tsc.fetch_add(ticks, Relaxed);
        }
    }

    /// What the running core, the one with this index, has executed in the run outside of the
    /// handlers of samples, in ticks of the run: where all that lies between two samples is a
    /// period, which is so where instructions are counted and sampled by NMIs of a timer; else
    /// `None`. Not for handlers of samples.
    #[must_use]
    pub fn executed(&self, core: u32) -> Option<u64> {
        let run = self.engine.run().filter(|run| run.is_even())?;
        let core = self.engine.cores.get(core)?;
        let period = run.control.period.load(Relaxed);
        let mut taken = core.share.taken();
        let mut since = 0;
        for _ in 0..SAMPLES_BETWEEN {
            let armed_tsc = core.timing.armed_tsc.load(Relaxed);
            since = tsc::ticks().saturating_sub(armed_tsc);
            let again = core.share.taken();
            if again == taken {
                break;
            }
            // A sample has come meanwhile.
            taken = again;
            since = 0;
        }
        let since = run.timing.clock.ticks(since).min(period);
        Some(taken * period + since)
    }

    /// The interrupts of the sampler that the core with this index has taken in the run. Only reads,
    /// on any core.
    #[must_use]
    pub fn interrupts(&self, core: u32) -> u64 {
        let core = self.engine.cores.get(core);
        let output = core.and_then(|core| core.output.get());
        output.map_or(0, |output| {
            let taken = output.counters.taken.load(Relaxed);
            taken.wrapping_add(output.writer.fast())
        })
    }

    /// Writes to the region what the core with this index has spent its time on: what does not fit
    /// is left out. Before the run has begun, nothing.
    pub fn set_accounts(&self, core: u32, accounts: impl Iterator<Item = Account>) {
        let Some(run) = self.engine.run().filter(|run| core < run.region.cores()) else {
            return;
        };
        for (row, account) in run.region.accounts(core).iter().zip(accounts) {
            row.store(account);
        }
    }

    /// Lets readers of the run know a process, which samples from then on have by its number
    /// ([`UserMemory::program`](crate::unwind::user::UserMemory::program)). Called on the core with this
    /// index, which nothing else calls it on meanwhile. Returns false before the run has begun, and if
    /// there is no room: then its program's number is to be used.
    #[must_use]
    pub fn announce(&self, core: u32, process: Process) -> bool {
        let run = self.engine.run().filter(|run| core < run.region.cores());
        let rows = run.map(|run| run.region.processes(core));
        let free = rows.and_then(|rows| rows.iter().find(|row| row.load().is_none()));
        free.is_some_and(|row| {
            row.store(process);
            true
        })
    }

    /// A difference of the time stamp counter in ticks of the run: nanoseconds, or instructions
    /// where they are counted. `None` before the run has begun, and where nothing says how long a
    /// tick takes.
    #[must_use]
    pub fn run_ticks(&self, difference: u64) -> Option<u64> {
        let clock = &self.engine.run()?.timing.clock;
        (clock.clock != Clock::Ticks).then(|| clock.ticks(difference))
    }

    /// The region of the run, to be sent when that has ended ([`crate::format::wire`]); `None`
    /// before it has begun. Opening it again takes 30 KiB of the stack.
    ///
    /// A kernel that has a serial port, behind its run:
    ///
    /// ```
    /// use profiler::format::wire::{Port, Sender};
    /// use profiler::sampler::{Sampler, Target};
    ///
    /// struct Serial<'a> {
    ///     write: &'a mut dyn FnMut(u8),
    ///     /// What has come within half a second.
    ///     read: &'a mut dyn FnMut() -> Option<u8>,
    /// }
    ///
    /// impl Port for Serial<'_> {
    ///     fn send(&mut self, bytes: &[u8]) {
    ///         bytes.iter().for_each(|&byte| (self.write)(byte));
    ///     }
    ///     fn receive(&mut self) -> Option<u8> {
    ///         (self.read)()
    ///     }
    /// }
    ///
    /// /// Returns true if the other side has all. The sender is a static, or on a large stack.
    /// fn send<T: Target>(sampler: &Sampler<T>, sender: &mut Sender, port: &mut Serial) -> bool {
    ///     let region = sampler.region();
    ///     region.is_some_and(|region| sender.send(&region, port).is_confirmed)
    /// }
    /// ```
    #[must_use]
    pub fn region(&self) -> Option<Region<'static>> {
        self.engine.run().map(|run| run.region)
    }
}
