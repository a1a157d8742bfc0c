//! Preparing a run, on the first core, while all others wait.
//!
//! The order matters:
//!
//! 1. *Set up*: the APIC, and the cores' states, before any other core can come.
//! 2. *Gather*: every core has come to [`Sampler::join`] and has probed its counters.
//!    They halt from then on, since under instruction counting everything that another
//!    core executes would be measured.
//! 3. *Find the clock*, and how far the cores' time stamp counters are apart.
//! 4. *Choose* a source: needs the clock, and each core's counters for the source `pmu`; and
//!    *calibrate* it: events are measured on all cores, then on each in turn. Of those that may
//!    be taken the first that passes both is.
//! 5. *Aim*, whose latency is in counts of that source; and *plan the period*.
//! 6. *Describe* the run, and make the region: all of what the host is told is known.
//! 7. *Begin*: the run, then the phase, which lets the other cores go.

use core::sync::atomic::{AtomicU32, AtomicU64, Ordering, Ordering::Relaxed};

use super::Sampler;
use super::aim;
use super::clock::{Differences, RunClock, Timers};
use super::config::Config;
use super::control::Control;
use super::counting::Counting;
use super::error::{AimError, CoresError, OtherMode, StartError, WrongPlace};
use super::memory::Memory;
use super::overhead::Overhead;
use super::own_stack::OWN_STACK_BYTES;
use super::per_core::aim::Aimed;
use super::per_core::{Core, Errand, Output, Share};
use super::phase::Phase;
use super::requests::Turn;
use super::round_robin::RoundRobin;
use super::run::{ArmCounts, Run, RunTiming};
use super::source::pmu::{self, Jitter, Measured};
use super::source::{Demand, Source, SourceError};
use super::target::Target;
use super::wait;
use crate::contract::settings::{RunKind, Settings, SourceChoice};
use crate::format::description::MAX_TASKS;
use crate::format::region::Region;
use crate::format::{self, AimDescription, Clock, Description, EventDescription, Text};
use crate::hw::apic::{self, Mode, Registers};
use crate::hw::hpet::{self, Hpet};
use crate::hw::{control, debug, tsc};
use crate::pmu::event::{EventList, MAX_EVENTS};
use crate::unwind::assembly;

/// The period where the command line says none, in ticks of each clock.
const DEFAULT_INSTRUCTIONS: u64 = 1000;
const DEFAULT_NANOSECONDS: u64 = 1_000_000;
/// The same, of a counter where the clock is time, in its events.
const DEFAULT_EVENTS_APART: u64 = 100_000;

/// How many periods of every core a core waits for its turn where it may not
/// come; and no shorter than this count, which is longer than any handler.
const TURN_TIMEOUT_PERIODS: u32 = 4;
const MIN_WATCHDOG_COUNT: u32 = 100_000;

/// A source, and what is known of it.
struct Calibrated {
    source: Source,
    /// Why this one.
    reason: Text<512>,
    clock: RunClock,
    overhead: Overhead,
    /// Of counters, what their events do.
    measured: Option<Measured>,
    aimed: Option<Aimed>,
}

/// A source that was taken.
struct Chosen {
    source: Source,
    /// Why this one.
    reason: Text<512>,
    calibration: Calibration,
}

/// What a source's calibration gives.
struct Calibration {
    overhead: Overhead,
    measured: Option<Measured>,
}

/// How often samples are taken, and of what.
struct Period {
    /// In ticks, or events; 0 where events are counted.
    ticks: u64,
    arming: ArmCounts,
    events: EventList,
    event_table: [EventDescription; MAX_EVENTS],
    event_count: u8,
}

impl Period {
    /// What of it can be changed while the run goes on.
    fn control(&self, jitter: Jitter) -> Control {
        Control::new(self.events, self.event_count, self.ticks, jitter)
    }
}

impl<T: Target> Sampler<T> {
    /// Starts a run as the command line says, on the first core; the other cores of
    /// `config` come to [`Self::join`], before or meanwhile. Interrupts are on from where the
    /// sources are tried. Returns when this core is sampled.
    ///
    /// Where the source is `ipi`, this core does nothing but interrupt the others, and
    /// does not return before its last sample.
    ///
    /// # Errors
    ///
    /// [`StartError`] says why there is no run. Cores that wait in [`Self::join`] return. A
    /// run that was started before goes on.
    pub fn start<'a>(
        &'static self,
        memory: Memory,
        config: &Config<'a>,
    ) -> Result<(), StartError<'a>> {
        self.refuse_second_start()?;
        let prepared = self.on_own_stack(&memory, |rest| self.prepare(rest, config));
        let run = prepared.map_err(|problem| {
            // Of two starts at once, the other one's run.
            if !matches!(problem, StartError::StartedBefore) {
                self.disarm();
                self.engine.end();
                memory.refuse(&problem);
            }
            problem
        })?;
        self.release_others(run);
        self.begin(self.engine.cores.first(), run)
            .map_err(StartError::Pmu)
            .inspect_err(|_| self.fail())
    }

    /// Refuses to start once more, and leaves the run that there is as it is.
    pub(super) fn refuse_second_start<'a>(&self) -> Result<(), StartError<'a>> {
        if self.engine.cores.all().is_empty() {
            Ok(())
        } else {
            Err(StartError::StartedBefore)
        }
    }

    /// Does `work`, with what is left of the memory, on a stack at its end, the first time.
    pub(super) fn on_own_stack<'a, R>(
        &'static self,
        memory: &Memory,
        work: impl FnOnce(&Memory) -> Result<R, StartError<'a>>,
    ) -> Result<R, StartError<'a>> {
        let there = memory.len();
        if !memory.is_aligned() {
            return Err(StartError::MemoryMisaligned);
        }
        let (rest, stack) = memory.split_stack().ok_or(StartError::RegionTooSmall {
            needed: OWN_STACK_BYTES,
            there,
        })?;
        let turn = Turn::take(&self.engine.is_changing);
        let _turn = turn.ok_or(StartError::StartedBefore)?;
        if !self.engine.own_stack.set(stack) {
            return Err(StartError::StartedBefore);
        }
        // SAFETY: 1: a kernel's panics do not unwind. 2: whoever has the turn is on it.
        unsafe { stack.run(|| work(&rest)) }
    }

    /// Stops the source that was tried last, if any, on the running core, the first.
    fn disarm(&self) {
        if let (Some(source), Some(first)) = (self.engine.source(), self.engine.cores.get(0)) {
            source.disarm(first);
        }
    }

    fn prepare<'a>(
        &'static self,
        memory: &Memory,
        config: &Config<'a>,
    ) -> Result<&'static Run, StartError<'a>> {
        let settings = &Settings::parse(config.command_line).map_err(StartError::CommandLine)?;
        if settings.kind == RunKind::Survey {
            return Err(StartError::ListNotCalled);
        }
        let memory = self.set_up(memory, config)?;
        let is_counting = settings.kind == RunKind::Counts;
        self.gather()?;
        if settings.source.may_be_pmu() || is_counting {
            // What is counted need not fit the counters at once.
            let asked = settings.events.filter(|_| !is_counting);
            self.probe_pmus(asked.unwrap_or(pmu::DEFAULT_EVENTS))?;
        }
        let clock = self.find_clock();
        self.engine.set_phase(Phase::Probing);
        let chosen = self.choose(settings, &clock)?;
        let source = chosen.source;
        let calibrated = self.aim(chosen, clock, settings)?;
        let counting = if is_counting {
            Some(Counting::prepare(
                self.engine.cores.all(),
                settings,
                &clock,
            )?)
        } else {
            None
        };
        let period = self.plan_period(&calibrated, counting.as_ref(), settings)?;
        source.disarm(self.engine.cores.first());
        self.engine.set_phase(Phase::Off);
        let run = self.describe(&memory, config, settings, calibrated, counting, period)?;
        self.engine.set_run(run);
        self.engine.run().ok_or(StartError::StartedBefore)
    }

    /// Makes the state of each core. Returns the memory that is left.
    pub(super) fn set_up<'a>(
        &'static self,
        memory: &Memory,
        config: &Config<'_>,
    ) -> Result<Memory, StartError<'a>> {
        if !assembly::is_sorted() {
            return Err(StartError::AssemblyNotSorted);
        }
        let registers = Registers::detect(config.xapic).map_err(StartError::Apic)?;
        // SAFETY: that mode was found on this core, and is that of all; `Config::xapic`
        // says that its page is mapped.
        unsafe { apic::set_registers(registers) };
        // SAFETY: gates for the sampler's vectors are what it asks of a kernel.
        unsafe { registers.enable() };
        let timers = Timers {
            hpet: hpet_of(config).and_then(Result::ok),
            pm_timer: config.pm_timer,
        };
        let own = [registers.id()];
        let apic_ids = if config.apic_ids.is_empty() {
            &own
        } else {
            config.apic_ids
        };
        check_cores(apic_ids, own[0], registers.mode()).map_err(StartError::Cores)?;
        let there = memory.len();
        let (rest, cores) = memory
            .split_cores(apic_ids)
            .ok_or(StartError::RegionTooSmall {
                needed: size_of::<Core>() * apic_ids.len(),
                there,
            })?;
        if !self.engine.cores.set(cores, timers) {
            return Err(StartError::StartedBefore);
        }
        // The trials of sources wait for interrupts, maskable ones too.
        control::enable_interrupts();
        Ok(rest)
    }

    /// Waits until every other core has come, and halts.
    pub(super) fn gather<'a>(&'static self) -> Result<(), StartError<'a>> {
        let refused = || self.engine.refused.get().copied();
        let has_joined =
            |core: &Core| core.wait.has_joined.load(Ordering::Acquire) || refused().is_some();
        self.engine
            .cores
            .await_others(has_joined)
            .map_err(|core| StartError::NotJoined { core })?;
        if let Some(problem) = refused() {
            return Err(StartError::Cores(problem));
        }
        self.engine.cores.settle();
        Ok(())
    }

    /// Lets every core probe its counters.
    pub(super) fn probe_pmus<'a>(&'static self, events: EventList) -> Result<(), StartError<'a>> {
        self.engine.events_to_probe.set(events);
        let cores = &self.engine.cores;
        cores.run_on_others(Errand::ProbePmu);
        cores.first().pmu.probe(&events);
        cores
            .await_others(|core| core.pmu.is_probed())
            .map_err(|core| StartError::NotProbed { core })?;
        self.engine.cores.settle();
        Ok(())
    }

    /// Finds the clock. Where it is time, each core's time stamp counter is compared with the
    /// first one's; where instructions are counted, all cores have the same.
    fn find_clock(&'static self) -> RunClock {
        let cores = &self.engine.cores;
        let mut clock = RunClock::detect(cores.timers());
        if clock.clock == Clock::Instructions || cores.all().len() < 2 {
            return clock;
        }
        let mut differences = Differences::NONE;
        for core in cores.all().iter().skip(1) {
            core.clock.reset();
            core.wait.set_errand(Errand::CompareClocks);
            wait::wake(core);
            if let Some(offset) = differences.add(core.clock.ask(tsc::ordered_ticks)) {
                core.clock.correct(offset);
            }
        }
        cores.settle();
        clock.differences = differences;
        clock
    }

    fn choose<'a>(
        &'static self,
        settings: &Settings<'_>,
        clock: &RunClock,
    ) -> Result<Chosen, StartError<'a>> {
        let is_counting = settings.kind == RunKind::Counts;
        let demand = Demand {
            delivery: settings.delivery,
            clock,
            has_events: settings.events.is_some() && !is_counting,
            has_aim: settings.aim.is_some(),
            period: settings.period,
        };
        // Only counters count.
        let choice = if is_counting {
            SourceChoice::Only(format::Source::Pmu)
        } else {
            settings.source
        };
        let calibrate = |source: &Source| self.calibrate(source, clock, settings);
        let mut story = Text::EMPTY;
        clock.tell(&mut story);
        let chosen = Source::choose(
            &self.engine.cores,
            &self.engine.probed,
            choice,
            &demand,
            &mut story,
            calibrate,
        );
        match chosen.map_err(calibration_error)? {
            Some((source, calibration)) => Ok(Chosen {
                source,
                reason: story,
                calibration,
            }),
            None if is_counting => Err(StartError::CountingNeedsPmu(story)),
            None if choice == SourceChoice::Auto => Err(StartError::NoSource(story)),
            None => Err(StartError::SourceUnavailable(story)),
        }
    }

    /// Measures what the source's interrupts cost, and for counters what they do in events.
    fn calibrate(
        &'static self,
        source: &Source,
        clock: &RunClock,
        settings: &Settings<'_>,
    ) -> Result<Calibration, SourceError> {
        let cores = &self.engine.cores;
        self.engine.probed.make_current(*source, settings.delivery);
        let mut overhead = Overhead::measure(source, settings.delivery, clock, cores.first())?;
        let mut measured = None;
        if let Source::Pmu(pmu) = source
            && settings.kind != RunKind::Counts
        {
            let events = settings.events.unwrap_or(pmu::DEFAULT_EVENTS);
            let ticks = period_of(settings, source, clock);
            let found = pmu.measure(cores, |_| true, &events, ticks, jitter_of(settings))?;
            overhead.ticks = found.ticks;
            overhead.min_period = found.events[0].floor;
            measured = Some(found);
        }
        Ok(Calibration { overhead, measured })
    }

    fn aim<'a>(
        &'static self,
        chosen: Chosen,
        clock: RunClock,
        settings: &Settings<'_>,
    ) -> Result<Calibrated, StartError<'a>> {
        let Chosen {
            source,
            reason,
            calibration: Calibration { overhead, measured },
        } = chosen;
        let first = self.engine.cores.first();
        let mut aimed = None;
        if let Some(aim) = settings.aim {
            self.target
                .check_breakpoint(aim.address)
                .map_err(|problem| StartError::Aim(AimError::Breakpoint(problem)))?;
            let is_exact =
                clock.clock == Clock::Instructions && matches!(source, Source::ApicTimer(_));
            aimed = is_exact
                .then(|| aim::calibrate(aim, &source, first))
                .flatten();
            if aimed.is_none() {
                return Err(StartError::Aim(AimError::Source));
            }
        }
        Ok(Calibrated {
            source,
            reason,
            clock,
            overhead,
            measured,
            aimed,
        })
    }

    fn plan_period<'a>(
        &'static self,
        calibrated: &Calibrated,
        counting: Option<&Counting>,
        settings: &Settings<'_>,
    ) -> Result<Period, StartError<'a>> {
        let events = settings.events.unwrap_or(pmu::DEFAULT_EVENTS);
        let ticks = if counting.is_some() {
            0
        } else {
            period_of(settings, &calibrated.source, &calibrated.clock)
        };
        let (event_table, event_count) = match (&calibrated.measured, counting) {
            (_, Some(counting)) => counting.describe(),
            (Some(measured), None) => (measured.events, measured.event_count),
            _ => ([EventDescription::EMPTY; MAX_EVENTS], 0),
        };
        if matches!(calibrated.source, Source::Step) && settings.period.is_some_and(|it| it != 1) {
            return Err(StartError::StepHasNoPeriod);
        }
        let arming = self.arm_counts(calibrated, ticks)?;
        Ok(Period {
            ticks,
            arming,
            events,
            event_table,
            event_count,
        })
    }

    fn arm_counts<'a>(
        &self,
        calibrated: &Calibrated,
        period: u64,
    ) -> Result<ArmCounts, StartError<'a>> {
        let Calibrated {
            source, overhead, ..
        } = calibrated;
        let least = overhead.min_period;
        if period < least && !matches!(source, Source::Pmu(_)) {
            return Err(StartError::PeriodTooShort { period, least });
        }
        let count = source.counts(period) + overhead.arm_latency;
        let count = u32::try_from(count).map_err(|_| StartError::PeriodTooLong(period))?;
        let cores = self.number_of_cores();
        Ok(ArmCounts {
            count,
            watchdog_count: count
                .saturating_mul(TURN_TIMEOUT_PERIODS * cores)
                .max(MIN_WATCHDOG_COUNT),
        })
    }

    /// Makes the region and tells the host what the run is.
    fn describe<'a>(
        &'static self,
        memory: &Memory,
        config: &Config<'_>,
        settings: &Settings<'_>,
        calibrated: Calibrated,
        counting: Option<Counting>,
        period: Period,
    ) -> Result<Run, StartError<'a>> {
        let Calibrated {
            source,
            clock,
            overhead,
            aimed,
            ..
        } = calibrated;
        let takes_turns = clock.clock == Clock::Instructions && source.is_one_shot();
        let cores = self.number_of_cores();
        let there = memory.len();
        let mut description = Description {
            cores,
            ring_words: memory.ring_words(cores, settings.ring_bytes / 8),
            turns: takes_turns,
            samples: counting.as_ref().map_or(settings.samples, |_| 0),
            ..description_of(config, settings, &calibrated, &period)
        };
        note_ring_size(&mut description, settings.ring_bytes);
        let region = memory
            .region(&description)
            .map_err(|needed| StartError::RegionTooSmall { needed, there })?;
        self.set_outputs(region, settings.samples);
        Ok(Run {
            region,
            source,
            delivery: settings.delivery,
            timing: RunTiming {
                clock,
                overhead,
                start_tsc: AtomicU64::new(0),
            },
            arming: period.arming,
            aimed,
            round_robin: takes_turns.then(RoundRobin::new),
            counting,
            control: period.control(jitter_of(settings)),
            active: AtomicU32::new(cores),
        })
    }

    fn number_of_cores(&self) -> u32 {
        u32::try_from(self.engine.cores.all().len()).unwrap_or(u32::MAX)
    }

    /// Gives each core its ring, and its share of the samples.
    fn set_outputs(&'static self, region: Region<'static>, samples: u64) {
        for core in self.engine.cores.all() {
            let limit = Share::of_core(core.index, region.cores(), samples);
            core.share.set_limit(limit);
            let counters = region.counters(core.index);
            counters.apic_id.store(core.apic_id.into(), Relaxed);
            // SAFETY: only that core writes to its output, in handlers which end before what
            // they interrupted resumes; or the first core in its stead, while the core does
            // not sample.
            let output = unsafe { Output::of_core(region, core.index) };
            counters.note_costs(core, output.overheads(0));
            core.output.set(output);
        }
    }

    /// The run begins: the other cores may leave [`Self::join`].
    fn release_others(&'static self, run: &'static Run) {
        let phase = if run.counting.is_some() {
            Phase::Counting
        } else {
            Phase::Sampling
        };
        // First: a core that is awake samples from the phase on.
        run.timing.start_tsc.store(tsc::ticks(), Relaxed);
        self.engine.set_phase(phase);
        if run.round_robin.is_none() {
            let others = self.engine.cores.all().iter().skip(1);
            others.for_each(wait::wake);
        }
    }

    /// Every other core: comes to take part in the run that the first core starts, and
    /// waits for it. Returns when this core is sampled, interrupts on.
    ///
    /// `index` is the core's place in [`Config::apic_ids`].
    ///
    /// # Errors
    ///
    /// There is no run: the first core could not start it, or it has ended; or the place with
    /// that index is another core's, or there is none; or the core's APIC is in another mode
    /// than the first one's. Interrupts may be off.
    pub fn join(&'static self, index: u32) -> Result<(), NotStarted> {
        let core = loop {
            let cores = self.engine.cores.all();
            if let Some(core) = cores.get(index as usize) {
                break core;
            }
            if !cores.is_empty() || self.engine.cores.phase() == Phase::Ended {
                return Err(NotStarted);
            }
            core::hint::spin_loop();
        };
        control::disable_interrupts();
        if let Err(problem) = enable_apic(core) {
            self.engine.refused.set(problem);
            return Err(NotStarted);
        }
        core.wait.has_joined.store(true, Ordering::Release);
        let run = self.engine.cores.wait_until(|| {
            self.run_errand(core);
            let has_begun = matches!(self.engine.cores.phase(), Phase::Sampling | Phase::Counting);
            let run = self.engine.run().filter(|_| has_begun)?;
            let turn = run.round_robin.as_ref();
            turn.is_none_or(|turn| turn.is_turn_of(core)).then_some(run)
        });
        let run = run.ok_or(NotStarted)?;
        self.begin(core, run).map_err(|problem| {
            self.target.failed(&problem);
            NotStarted
        })
    }

    /// Does what the first core asks of `core`, the running one.
    fn run_errand(&'static self, core: &'static Core) {
        let errand = core.wait.take_errand();
        let work = || match errand {
            Errand::None => {}
            Errand::ProbePmu => {
                if let Some(events) = self.engine.events_to_probe.get() {
                    core.pmu.probe(events);
                }
            }
            Errand::ListPmu => self.list_pmu(core),
            Errand::CompareClocks => core.clock.answer(tsc::ordered_ticks),
        };
        // SAFETY: 1: a kernel's panics do not unwind. 2: it is this core's, which waits.
        unsafe { core.wait.stack.get().run(work) };
    }

    /// Arms the source of the running core, `core`.
    ///
    /// # Errors
    ///
    /// The processor refuses what the counters are programmed with: the run is over.
    // Not inlined, so that what follows is the same code whatever the source is.
    #[inline(never)]
    fn begin(&'static self, core: &'static Core, run: &'static Run) -> Result<(), SourceError> {
        control::disable_interrupts();
        if let Some(counting) = &run.counting {
            let timer = format::Source::ApicTimer;
            self.target.begin(core.index, timer, run.timing.clock.clock);
            counting.start(&self.engine.cores, core);
            return Ok(());
        }
        if let Some(aimed) = &run.aimed {
            debug::set_breakpoint(aimed.aim.address);
        }
        run.source.enable(core);
        self.target
            .begin(core.index, run.source.kind(), run.timing.clock.clock);
        control::enable_interrupts();
        if let Source::Pmu(pmu) = run.source {
            core.pmu.begin_to_count_smis();
            let started = pmu.start(core);
            let fault = core.pmu.fault();
            let refused = fault.map(|it| SourceError::of_pmu(core.index, it.into()));
            return refused
                .map_or(started, Err)
                .inspect_err(|_| self.engine.end());
        }
        core.note_armed();
        run.source.arm(core, run.arming.count);
        match run.source {
            Source::Ipi(driver) if core.index == 0 => {
                let period = run.arming.count.into();
                let is_over = || self.engine.cores.phase() == Phase::Ended;
                driver.drive(self.engine.cores.all(), period, is_over);
            }
            Source::Step => control::set_trap_flag(),
            _ => {}
        }
        Ok(())
    }
}

/// Lets the APIC of the running core take interrupts, which has come in the place of `core`.
fn enable_apic(core: &Core) -> Result<(), CoresError> {
    let (registers, mode) = (apic::registers(), Mode::of_this_core());
    // First: its registers are elsewhere in another mode.
    if mode != Some(registers.mode()) {
        return Err(CoresError::OtherMode(OtherMode {
            core: core.index,
            mode,
            first: registers.mode(),
        }));
    }
    // SAFETY: gates for the sampler's vectors are what it asks of a kernel.
    unsafe { registers.enable() };
    let running = registers.id();
    if running != core.apic_id {
        return Err(CoresError::WrongPlace(WrongPlace {
            index: core.index,
            listed: core.apic_id,
            running,
        }));
    }
    Ok(())
}

/// Checks the list of cores, `apic_ids`, on the core with the APIC id `running`.
fn check_cores(apic_ids: &[u32], running: u32, mode: Mode) -> Result<(), CoresError> {
    if let Some(&listed) = apic_ids.first().filter(|&&first| first != running) {
        return Err(CoresError::FirstElsewhere { listed, running });
    }
    for (index, &id) in apic_ids.iter().enumerate() {
        if apic_ids[..index].contains(&id) {
            return Err(CoresError::Twice(id));
        }
        if !mode.reaches(id) {
            return Err(CoresError::NoXApicId(id));
        }
    }
    Ok(())
}

/// The first core did not start a run, or it has ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct NotStarted;

impl core::fmt::Display for NotStarted {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("no run was started")
    }
}

impl core::error::Error for NotStarted {}

/// The HPET that the kernel says there is, if there is one.
pub(super) fn hpet_of(config: &Config<'_>) -> Option<Result<Hpet, hpet::Problem>> {
    // SAFETY: as `Config::hpet` says.
    let hpet = unsafe { Hpet::at(config.hpet?) };
    Some(hpet.check().map(|()| hpet))
}

fn calibration_error<'a>((source, problem): (format::Source, SourceError)) -> StartError<'a> {
    match source {
        format::Source::Pmu => StartError::Pmu(problem),
        source => StartError::Calibration(source, problem),
    }
}

fn period_of(settings: &Settings<'_>, source: &Source, clock: &RunClock) -> u64 {
    let default = || default_period(source, clock.clock);
    settings.period.unwrap_or_else(default)
}

fn default_period(source: &Source, clock: Clock) -> u64 {
    match (source, clock) {
        (Source::Step, _) => 1,
        (Source::Pmu(_), Clock::Time | Clock::Ticks) => DEFAULT_EVENTS_APART,
        (_, Clock::Instructions) => DEFAULT_INSTRUCTIONS,
        (_, Clock::Time | Clock::Ticks) => DEFAULT_NANOSECONDS,
    }
}

const fn jitter_of(settings: &Settings<'_>) -> Jitter {
    Jitter {
        percent: settings.jitter,
        seed: settings.seed,
    }
}

/// Says in the description that the rings are not of the size that was asked for.
fn note_ring_size(description: &mut Description, asked_bytes: u64) {
    let bytes = description.ring_words * 8;
    if bytes != asked_bytes {
        let [kib, asked] = [bytes >> 10, asked_bytes >> 10];
        let note = format_args!("rings of {kib} KiB, as {asked} do not fit");
        description.reason.append_item("; ", note);
    }
}

/// What is known of a run beside its cores and what they do.
fn description_of(
    config: &Config<'_>,
    settings: &Settings<'_>,
    calibrated: &Calibrated,
    period: &Period,
) -> Description {
    // Only counters have it.
    let jitter = match calibrated.source {
        Source::Pmu(_) => jitter_of(settings),
        _ => Jitter::default(),
    };
    let differences = &calibrated.clock.differences;
    Description {
        build_id: config.build_id,
        cores: 0,
        ring_words: 0,
        source: calibrated.source.kind(),
        delivery: settings.delivery,
        clock: calibrated.clock.clock,
        turns: false,
        period: period.ticks,
        period_floor: calibrated.overhead.min_period,
        overhead: calibrated.clock.ticks(calibrated.overhead.ticks),
        samples: 0,
        text: config.text,
        stack_slot: config.stack_slot,
        reason: calibrated.reason,
        bootloader: config.bootloader,
        workload: Text::new(config.workload),
        command_line: Text::new(config.command_line),
        tasks: names_of_tasks(config.task_name),
        event_table: period.event_table,
        event_count: period.event_count,
        aim: calibrated
            .aimed
            .as_ref()
            .map_or(AimDescription::NONE, |it| it.aim.into()),
        seed: jitter.seed,
        jitter: jitter.percent,
        clock_reference: calibrated.clock.reference,
        clock_within: calibrated.clock.within,
        tsc_difference: calibrated.clock.ticks(differences.largest),
        tsc_within: u32::try_from(calibrated.clock.ticks(differences.within)).unwrap_or(u32::MAX),
    }
}

fn names_of_tasks(name: fn(u16) -> &'static str) -> [Text<32>; MAX_TASKS] {
    let mut numbers = 0..;
    [(); MAX_TASKS].map(|()| Text::new(numbers.next().map_or("", name)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sampler::per_core::tests::cores;
    use crate::sampler::target::tests::NoKernel;

    /// A sampler that was started on two cores.
    fn started() -> &'static Sampler<NoKernel> {
        let sampler = Box::leak(Box::new(Sampler::new(NoKernel)));
        let cores = cores(&[0, 1]);
        assert!(sampler.engine.cores.set(cores, Timers::default()));
        sampler
    }

    #[test]
    fn a_sampler_is_started_once() {
        let again = started().refuse_second_start();
        assert!(matches!(again, Err(StartError::StartedBefore)));
        assert!(Sampler::new(NoKernel).refuse_second_start().is_ok());
    }

    #[test]
    fn a_list_that_is_not_the_cores_is_refused() {
        let x2apic = |ids: &[u32], running| check_cores(ids, running, Mode::X2Apic);
        assert_eq!(x2apic(&[4], 4), Ok(()));
        assert_eq!(x2apic(&[4, 0, 300], 4), Ok(()));
        let first = CoresError::FirstElsewhere {
            listed: 0,
            running: 4,
        };
        assert_eq!(x2apic(&[0, 4], 4), Err(first));
        assert_eq!(x2apic(&[4, 1, 2, 1], 4), Err(CoresError::Twice(1)));
        let xapic = |ids: &[u32]| check_cores(ids, 0, Mode::XApic);
        assert_eq!(xapic(&[0, 254]), Ok(()));
        assert_eq!(xapic(&[0, 255]), Err(CoresError::NoXApicId(255)));
    }

    #[test]
    fn a_core_without_a_place_does_not_wait_for_one() {
        assert_eq!(started().join(2), Err(NotStarted));
        let never_started = Box::leak(Box::new(Sampler::new(NoKernel)));
        never_started.stop();
        assert_eq!(never_started.join(0), Err(NotStarted));
    }
}
