//! All cores, and where their run stands.

use super::clock::Timers;
use super::per_core::{Core, Errand};
use super::phase::{CurrentPhase, Phase};
use super::set_once::SetOnce;
use super::wait;
use crate::hw::apic;
use crate::hw::tsc::Deadline;

/// How long a core may take to come, or to do what it was asked to, before the run. An
/// emulator runs 255 cores in turns.
pub(crate) const JOIN_TIMEOUT_TICKS: u64 = 10_000_000_000;

/// More than another core executes between joining and halting, however the
/// emulator lets them take turns.
pub(crate) const SETTLE_TICKS: u64 = 200_000;

/// All cores, and what they have in common.
pub(crate) struct Cores {
    phase: CurrentPhase,
    /// By index.
    all: SetOnce<&'static [Core]>,
    timers: SetOnce<Timers>,
}

impl Cores {
    pub(crate) const fn new() -> Self {
        Self {
            phase: CurrentPhase::new(),
            all: SetOnce::new(),
            timers: SetOnce::new(),
        }
    }

    /// Sets which cores there are. Returns false if that was set before.
    pub(crate) fn set(&self, cores: &'static [Core], timers: Timers) -> bool {
        self.timers.set(timers);
        self.all.set(cores)
    }

    /// All cores, the first core first; none before the sampler is started.
    #[inline]
    pub(crate) fn all(&self) -> &'static [Core] {
        self.all.get().copied().unwrap_or_default()
    }

    /// The number of them.
    pub(crate) fn count(&self) -> u32 {
        u32::try_from(self.all().len()).unwrap_or(u32::MAX)
    }

    /// The core with this index.
    #[inline]
    pub(crate) fn get(&self, index: u32) -> Option<&'static Core> {
        self.all().get(index as usize)
    }

    /// The core that starts the sampler.
    ///
    /// # Panics
    ///
    /// If it was not started.
    pub(crate) fn first(&self) -> &'static Core {
        self.all().first().expect("the sampler is started")
    }

    /// What the kernel knows of timers.
    pub(crate) fn timers(&self) -> Timers {
        self.timers.get().copied().unwrap_or_default()
    }

    #[inline]
    pub(crate) fn phase(&self) -> Phase {
        self.phase.get()
    }

    /// Changes the phase. Returns false, and changes nothing, if the run was ended
    /// meanwhile.
    pub(crate) fn set_phase(&self, phase: Phase) -> bool {
        let is_set = self.phase.set(phase);
        if is_set {
            self.close_unless(phase == Phase::Sampling);
            // Opened, while another core has ended the run and has closed them before.
            if phase == Phase::Sampling && self.phase.get() != Phase::Sampling {
                self.close_unless(false);
            }
        }
        is_set
    }

    /// Lets fast handlers take samples, or no more. What comes behind that, an NMI that is sent
    /// by this core included, finds it.
    fn close_unless(&self, is_sampling: bool) {
        let cores = self.all().iter();
        cores.for_each(|core| core.overflow.set_closed(!is_sampling));
    }

    /// Lets every core that waits look whether it still has to. A single one does not wait
    /// for others: it is never woken, and needs no gate for that.
    pub(crate) fn wake_all(&self) {
        if apic::find_registers().is_some() && self.all().len() > 1 {
            self.all().iter().for_each(wait::wake);
        }
    }

    /// Lets each core but the first do something, where it waits for the run.
    pub(crate) fn run_on_others(&self, errand: Errand) {
        for core in self.all().iter().skip(1) {
            core.wait.set_errand(errand);
            wait::wake(core);
        }
    }

    /// Waits until each core but the first `is_ready`, one after the other.
    ///
    /// # Errors
    ///
    /// The index of the first that is not, in time.
    pub(crate) fn await_others(&self, is_ready: impl Fn(&Core) -> bool) -> Result<(), u32> {
        for core in self.all().iter().skip(1) {
            if !Deadline::after(JOIN_TIMEOUT_TICKS).wait_for(|| is_ready(core)) {
                return Err(core.index);
            }
        }
        Ok(())
    }

    /// Waits until the other cores, which have just been woken, are halted again.
    pub(crate) fn settle(&self) {
        Deadline::after(SETTLE_TICKS).wait();
    }

    /// Halts the running core, `core`, until `condition` returns something, looking at it whenever
    /// the core was woken; `None` if the run ends meanwhile. Interrupts are off, and
    /// only a wake-up interrupts the wait.
    pub(crate) fn wait_until<T>(
        &self,
        core: &Core,
        condition: impl Fn() -> Option<T>,
    ) -> Option<T> {
        let outcome = wait::wait_until(core, &self.phase, condition);
        wait::let_halt(None);
        outcome
    }

    /// Halts the running core, `core`, until `is_turn`, as [`Self::wait_until`] does; `waker` is the
    /// core that has the turn before then.
    pub(crate) fn wait_for_turn<'a>(
        &'a self,
        core: &Core,
        is_turn: impl Fn() -> bool,
        waker: impl FnOnce() -> Option<&'a Core>,
    ) {
        wait::wait_until(core, &self.phase, || is_turn().then_some(()));
        let waker = waker();
        // One that has passed the turn to itself has waited for nobody.
        if waker.is_none_or(|waker| waker.index != core.index) {
            wait::let_halt(waker);
        }
    }
}
