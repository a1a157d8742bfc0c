//! What the sampler keeps for each core.
//!
//! It is written by that core, in its handlers or before its source is armed, unless a
//! field says otherwise; every field is an atomic, so that handlers may interrupt each
//! other and other cores may look.

pub(crate) mod aim;
pub(crate) mod counting;
pub(crate) mod fast;
mod groups;
pub(crate) mod kernel_timer;
pub(crate) mod overflow;
pub(crate) mod pmu;
mod process_counts;
pub(crate) mod trials;

use core::mem::offset_of;
use core::ptr::NonNull;
use core::slice;
use core::sync::atomic::{
    AtomicBool, AtomicPtr, AtomicU8, AtomicU32, AtomicU64, Ordering, Ordering::Relaxed,
};

use super::clock::ClockExchange;
use super::own_stack::CoreStack;
use super::set_once::SetOnce;
use crate::entry::fast::FastPath;
use crate::format::Sample;
use crate::format::region::{CoreCounters, OverheadCounters, Region};
use crate::format::ring::Writer;
use crate::format::sample::Chain;
use crate::format::table::{Key, Table};
use crate::hw::tsc;
use crate::sync::CoreLocal as _;
use aim::CoreAim;
use counting::CoreCounting;
use fast::FastState;
use kernel_timer::KernelTimer;
use overflow::OverflowState;
use pmu::CorePmu;

/// A core, as the sampler knows it.
#[repr(C)]
pub(crate) struct Core {
    /// What the entries of its interrupts know of it: at its start.
    pub path: FastPath,
    /// What they arm: a source.
    pub armed_source: AtomicPtr<()>,
    /// Dense, from 0; the core that starts the sampler is 0.
    pub index: u32,
    /// The core's local APIC id.
    pub apic_id: u32,
    /// Where its samples go; set before the run begins.
    pub output: SetOnce<Output>,
    pub overflow: OverflowState,
    pub timing: Timing,
    pub fast: FastState,
    pub share: Share,
    pub clock: ClockExchange,
    pub hpet: CoreHpet,
    pub apic_timer: KernelTimer,
    pub wait: Wait,
    pub trial: TrialState,
    pub aim: CoreAim,
    pub pmu: CorePmu,
    pub counting: CoreCounting,
}

impl Core {
    /// Makes the states of cores with these APIC ids, in place: one is too large for a
    /// kernel's stack.
    ///
    /// # Safety
    ///
    /// `memory` is valid for writes of as many cores as there are ids, aligned, and for ever the
    /// sampler's.
    pub(crate) unsafe fn create_all(memory: NonNull<Self>, apic_ids: &[u32]) -> &'static [Self] {
        // SAFETY: valid for that (the condition).
        unsafe { memory.write_bytes(0, apic_ids.len()) };
        for (index, &apic_id) in apic_ids.iter().enumerate() {
            // SAFETY: of the memory, of which there is no other reference yet. All zeros are
            // a core: numbers, atomics, and places of values that are not there.
            let core = unsafe { &mut *memory.as_ptr().wrapping_add(index) };
            core.index = u32::try_from(index).unwrap_or(u32::MAX);
            core.apic_id = apic_id;
            core.path.set_up();
            core.overflow.set_closed(true);
        }
        // SAFETY: made just now, and only read from now on.
        unsafe { slice::from_raw_parts(memory.as_ptr(), apic_ids.len()) }
    }
}

impl Core {
    /// The source is about to be armed.
    #[inline]
    pub(crate) fn note_armed(&self) {
        self.note_skipped(0);
        self.note_armed_now();
    }

    /// The same, but for what was said by [`Self::note_skipped`].
    #[inline]
    pub(crate) fn note_armed_now(&self) {
        self.overflow.set_armed();
        self.timing.note_armed();
    }

    /// The interrupted code is taken to have run for `already` ticks when the source is armed.
    #[inline]
    pub(crate) fn note_skipped(&self, already: u64) {
        self.timing.skipped.store(already, Relaxed);
        self.overflow.set_skipped(already != 0);
    }
}

/// What a core writes to: its ring and its counters in the region.
pub(crate) struct Output {
    /// Used on that core alone.
    pub writer: Writer<'static>,
    pub counters: &'static CoreCounters,
    /// What an interrupt costs in each event, by its number.
    overheads: &'static [OverheadCounters],
    /// Where chains are counted, if they are.
    pub table: Option<Table<'static>>,
}

impl Output {
    /// Writes to the ring of `core` in `region`.
    ///
    /// # Safety
    ///
    /// As for [`Region::writer`].
    pub(crate) unsafe fn of_core(region: Region<'static>, core: u32) -> Self {
        Self {
            // SAFETY: the caller's condition.
            writer: unsafe { region.writer(core) },
            counters: region.counters(core),
            overheads: region.overheads(core),
            table: region.table(core),
        }
    }

    /// What an interrupt costs in the events with numbers from `first` on, as far as that is
    /// kept.
    pub(crate) fn overheads(&self, first: u8) -> &'static [OverheadCounters] {
        self.overheads.get(first.into()..).unwrap_or_default()
    }

    /// Appends a sample to the ring, with this chain in place of its own, unless that is counted in
    /// the table. The ring counts it as lost if it does not fit.
    #[inline]
    pub(crate) fn write_sample(&self, sample: &Sample<'_>, chain: &mut Chain) {
        if self.count_chain(sample, chain) || self.writer.write_sample(sample, chain).is_ok() {
            self.counters.stored.add_local(1);
        }
    }

    /// Counts the chain in the table. Returns false if there is none, or no room in it.
    #[inline]
    fn count_chain(&self, sample: &Sample<'_>, chain: &Chain) -> bool {
        self.table
            .is_some_and(|table| Self::count_in(table, &self.writer, sample, chain))
    }

    #[cold]
    #[inline(never)]
    fn count_in(
        table: Table<'static>,
        writer: &Writer<'static>,
        sample: &Sample<'_>,
        chain: &Chain,
    ) -> bool {
        let chain_words = chain.words();
        let sample = Sample {
            chain_words,
            ..*sample
        };
        let key = Key::of(&sample, writer.offsets());
        key.is_some_and(|key| table.count(key.words()).is_ok())
    }

    /// Appends a record to the ring, which counts it as lost if it does not fit.
    #[inline]
    pub(crate) fn write(&self, record: &[u64]) {
        if self.writer.write(record).is_ok() {
            self.counters.stored.add_local(1);
        }
    }
}

/// Ticks of the time stamp counter around the last interrupts.
#[derive(Default)]
pub(crate) struct Timing {
    /// Beside the last arming. The entries' last step writes it, too.
    pub armed_tsc: AtomicU64,
    /// The ticks that the interrupted code is taken to have run when the source was armed.
    pub skipped: AtomicU64,
    /// At the last entry.
    pub entry_tsc: AtomicU64,
    /// Counters: the ticks of the last handler that has sampled, from its entry to its last step.
    /// The entries' last step writes it.
    pub own_ticks: AtomicU32,
    /// The ticks that the last handler spent waiting for the core's turn.
    pub turn_wait_ticks: AtomicU64,
}

impl Timing {
    /// From the last arming to the last entry.
    pub(crate) fn ticks_since_arming(&self) -> u64 {
        let armed = self.began_tsc();
        self.entry_tsc.load(Relaxed).wrapping_sub(armed)
    }

    /// The last arming, before what the interrupted code is taken to have run already.
    #[inline]
    pub(crate) fn began_tsc(&self) -> u64 {
        self.armed_tsc.load(Relaxed) - self.skipped.load(Relaxed)
    }

    #[inline]
    #[allow(clippy::cast_possible_truncation)] // a handler that takes 2³² ticks is not to be had
    pub(crate) fn note_armed(&self) {
        let now = tsc::ticks();
        self.armed_tsc.store(now, Relaxed);
        let own = now.wrapping_sub(self.entry_tsc.load(Relaxed));
        self.own_ticks.store(own as u32, Relaxed);
    }
}

/// A core's timer of the HPET, where that is the source.
#[derive(Default)]
pub(crate) struct CoreHpet {
    /// When it is due, by the main counter.
    pub due: AtomicU64,
    /// So many counts ahead of the main counter its comparator has to be written, or it may
    /// never match. The first core sets it.
    pub margin: AtomicU64,
}

/// The samples that a core takes. The first core sets the limit, before the run.
#[derive(Default)]
pub(crate) struct Share {
    taken: AtomicU64,
    limit: AtomicU64,
}

impl Share {
    /// Where the samples are counted, for assembly.
    pub(crate) const TAKEN: usize = offset_of!(Self, taken);

    /// The samples of the core with this index, of `cores`, where all together take
    /// `samples`: as many as every other, or one more on the first ones; at least one.
    pub(crate) fn of_core(index: u32, cores: u32, samples: u64) -> u64 {
        let cores = u64::from(cores);
        let one_more = u64::from(index) < samples % cores;
        (samples / cores + u64::from(one_more)).max(1)
    }

    pub(crate) fn set_limit(&self, limit: u64) {
        self.limit.store(limit, Relaxed);
        self.taken.store(0, Relaxed);
    }

    /// Counts a sample. Returns its number on this core, from 0.
    #[inline]
    pub(crate) fn take(&self) -> u64 {
        self.taken.fetch_add(1, Relaxed)
    }

    #[inline]
    pub(crate) fn taken(&self) -> u64 {
        self.taken.load(Relaxed)
    }

    /// The number of the core's last sample.
    pub(crate) fn last(&self) -> u64 {
        self.limit.load(Relaxed).saturating_sub(1)
    }

    /// [`Self::take`] in one instruction that is no locked one: other cores only look.
    #[inline(always)]
    pub(crate) fn take_fast(&self) -> u64 {
        self.taken.fetch_add_local(1)
    }

    /// Returns true if the core has taken its share.
    #[inline]
    pub(crate) fn is_taken(&self) -> bool {
        self.taken.load(Relaxed) >= self.limit.load(Relaxed)
    }
}

/// How a core waits: see [`super::round_robin`].
pub(crate) struct Wait {
    /// The core has come to take part ([`super::Sampler::join`]).
    pub has_joined: AtomicBool,
    /// What it is to do meanwhile: see [`Errand`]. Written by the first core.
    errand: AtomicU8,
    /// It takes no more turns.
    pub has_left: AtomicBool,
    /// It is about to halt, or halted, until it is woken.
    pub is_halting: AtomicBool,
    /// It waits for its turn, and a maskable overflow is its watchdog's.
    pub has_watchdog: AtomicBool,
    /// The watchdog has interrupted the wait.
    pub watchdog_fired: AtomicBool,
    /// What errands are done on.
    pub stack: CoreStack,
}

/// What a core that waits for the run does for the first one.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub(crate) enum Errand {
    None,
    /// Probe the PMU and keep what was found.
    ProbePmu,
    /// Show what the PMU has.
    ListPmu,
    /// Compare the time stamp counter with the first core's.
    CompareClocks,
}

impl Wait {
    /// Returns true if a maskable overflow of the core is its watchdog's, and notes that
    /// it has come.
    #[inline]
    pub(crate) fn is_watchdog(&self) -> bool {
        let is_one = self.has_watchdog.load(Relaxed);
        if is_one {
            self.watchdog_fired.store(true, Relaxed);
        }
        is_one
    }

    pub(crate) fn set_errand(&self, errand: Errand) {
        self.errand.store(errand as u8, Ordering::Release);
    }

    pub(crate) fn take_errand(&self) -> Errand {
        match self.errand.swap(Errand::None as u8, Ordering::AcqRel) {
            1 => Errand::ProbePmu,
            2 => Errand::ListPmu,
            3 => Errand::CompareClocks,
            _ => Errand::None,
        }
    }
}

/// What a core knows of the trials before a run.
#[derive(Default)]
pub(crate) struct TrialState {
    /// Overflows that came so far.
    overflows: AtomicU64,
    /// What the handler of the next one re-arms the source with, once; 0: it does not.
    rearm_count: AtomicU64,
    /// Where the last one interrupted.
    pub interrupted_at: AtomicU64,
    /// The source itself is waited for, and not an interrupt that software raises.
    awaits_source: AtomicBool,
}

impl TrialState {
    pub(crate) fn overflows(&self) -> u64 {
        self.overflows.load(Relaxed)
    }

    pub(crate) fn count_overflow(&self) {
        self.overflows.fetch_add(1, Relaxed);
    }

    /// Says whether the source itself is waited for: what else interrupts is then no overflow.
    pub(crate) fn set_awaits_source(&self, awaits: bool) {
        self.awaits_source.store(awaits, Relaxed);
    }

    #[inline]
    pub(crate) fn awaits_source(&self) -> bool {
        self.awaits_source.load(Relaxed)
    }

    pub(crate) fn set_rearm_count(&self, count: u64) {
        self.rearm_count.store(count, Relaxed);
    }

    /// The count to re-arm with, if any. Once only: the trial's own overflow must not
    /// start another.
    pub(crate) fn take_rearm_count(&self) -> Option<u32> {
        let count = self.rearm_count.swap(0, Relaxed);
        u32::try_from(count).ok().filter(|&count| count != 0)
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::{Core, Errand, NonNull, Relaxed, Share, TrialState};

    /// Cores with these APIC ids.
    pub(crate) fn cores(apic_ids: &[u32]) -> &'static [Core] {
        let memory = Vec::<Core>::with_capacity(apic_ids.len()).leak();
        let memory = NonNull::new(memory.as_mut_ptr()).unwrap();
        // SAFETY: leaked, and of that size.
        unsafe { Core::create_all(memory, apic_ids) }
    }

    #[test]
    fn a_core_of_zeros_has_done_nothing() {
        let cores = cores(&[7, 0, 9]);
        assert_eq!(
            cores.iter().map(|it| it.index).collect::<Vec<_>>(),
            [0, 1, 2]
        );
        assert_eq!(
            cores.iter().map(|it| it.apic_id).collect::<Vec<_>>(),
            [7, 0, 9]
        );
        for core in cores {
            assert!(core.output.get().is_none());
            assert!(!core.overflow.is_armed() && !core.overflow.in_handler());
            assert_eq!(core.overflow.claim(false), None);
            assert_eq!(core.wait.take_errand(), Errand::None);
            assert_eq!(core.clock.as_first(5), 5);
            assert_eq!(core.trial.take_rearm_count(), None);
            assert!(!core.pmu.is_probed() && !core.pmu.is_running() && !core.pmu.has_command());
            assert_eq!(core.pmu.plan(), None);
            assert_eq!(core.counting.groups.seen(), []);
        }
    }

    #[test]
    fn shares_add_up_to_all_samples() {
        for (cores, samples) in [(1, 1), (3, 100), (4, 100_000), (7, 20)] {
            let shares = (0..cores).map(|core| Share::of_core(core, cores, samples));
            assert_eq!(shares.clone().sum::<u64>(), samples);
            assert!(shares.clone().max().unwrap() - shares.min().unwrap() <= 1);
        }
        assert_eq!(
            [0, 1, 2, 3].map(|core| Share::of_core(core, 4, 2)),
            [1, 1, 1, 1]
        );
    }

    #[test]
    fn a_core_takes_its_share_and_no_more() {
        let share = Share::default();
        share.set_limit(2);
        assert_eq!((share.take(), share.is_taken()), (0, false));
        assert_eq!((share.take(), share.is_taken()), (1, true));
    }

    #[test]
    fn an_errand_is_done_once() {
        let wait = &cores(&[0])[0].wait;
        for errand in [Errand::ProbePmu, Errand::ListPmu, Errand::CompareClocks] {
            wait.set_errand(errand);
            assert_eq!(wait.take_errand(), errand);
            assert_eq!(wait.take_errand(), Errand::None);
        }
    }

    #[test]
    fn an_overflow_is_the_watchdogs_while_there_is_one() {
        let wait = &cores(&[0])[0].wait;
        assert!(!wait.is_watchdog());
        assert!(!wait.watchdog_fired.load(Relaxed));
        wait.has_watchdog.store(true, Relaxed);
        assert!(wait.is_watchdog());
        assert!(wait.watchdog_fired.load(Relaxed));
    }

    #[test]
    fn a_trial_is_rearmed_once() {
        let trial = TrialState::default();
        trial.set_rearm_count(5000);
        assert_eq!(trial.take_rearm_count(), Some(5000));
        assert_eq!(trial.take_rearm_count(), None);
        trial.set_rearm_count(u64::MAX);
        assert_eq!(trial.take_rearm_count(), None);
    }
}
