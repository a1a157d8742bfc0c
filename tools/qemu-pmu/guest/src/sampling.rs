//! What an overflow's interrupt does, and what it found.

use core::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use crate::cores::MAX_CORES;
use crate::machine::{self, read_msr, write_msr};
use crate::model::{COUNTER_MASK, Counter, Model, Switch};
use crate::{code, ibs, tests};

/// The most interrupts of a run whose positions are kept.
pub const SAMPLES: usize = 24;
/// The position of an interrupt that came elsewhere than in a loop.
pub const ELSEWHERE: u64 = u64::MAX;

/// A run: set up by the core whose it is, then read and written by its interrupts.
#[derive(Debug)]
pub struct Run {
    msr: AtomicU32,
    on: AtomicU64,
    off: AtomicU64,
    counter: AtomicU32,
    number: AtomicU32,
    reload: AtomicU64,
    entry: AtomicU32,
    wanted: AtomicU64,
    taken: AtomicU64,
    positions: [AtomicU64; SAMPLES],
    previous: AtomicU64,
    step: AtomicU64,
    astray: AtomicU64,
    trace: AtomicU64,
    entry_seen: AtomicU32,
    counter_seen: AtomicU64,
    status_seen: AtomicU64,
    control_seen: AtomicU64,
    rip_seen: AtomicU64,
    exact_seen: AtomicU64,
    inexact: AtomicU64,
}

/// A counter that interrupts.
#[derive(Clone, Copy, Debug)]
pub struct Setup {
    pub counter: Counter,
    pub switch: Switch,
    pub period: u64,
    /// The local vector table's entry.
    pub entry: u32,
    /// After so many interrupts the counter stays off.
    pub wanted: u64,
    /// From one position to the next.
    pub step: u64,
}

static RUNS: [Run; MAX_CORES] = [const { Run::new() }; MAX_CORES];

/// A core's run.
pub fn run(core: usize) -> &'static Run {
    &RUNS[core]
}

impl Run {
    const fn new() -> Self {
        Self {
            msr: AtomicU32::new(0),
            on: AtomicU64::new(0),
            off: AtomicU64::new(0),
            counter: AtomicU32::new(0),
            number: AtomicU32::new(0),
            reload: AtomicU64::new(0),
            entry: AtomicU32::new(0),
            wanted: AtomicU64::new(0),
            taken: AtomicU64::new(0),
            positions: [const { AtomicU64::new(0) }; SAMPLES],
            previous: AtomicU64::new(0),
            step: AtomicU64::new(0),
            astray: AtomicU64::new(0),
            // FNV-1a's.
            trace: AtomicU64::new(0xcbf2_9ce4_8422_2325),
            entry_seen: AtomicU32::new(0),
            counter_seen: AtomicU64::new(0),
            status_seen: AtomicU64::new(0),
            control_seen: AtomicU64::new(0),
            rip_seen: AtomicU64::new(0),
            exact_seen: AtomicU64::new(0),
            inexact: AtomicU64::new(0),
        }
    }

    /// Makes this core's counter ready: all but the switch.
    pub fn set_up(&self, model: &Model, setup: &Setup) {
        self.msr.store(setup.switch.msr, Ordering::Relaxed);
        self.on.store(setup.switch.on, Ordering::Relaxed);
        self.off.store(setup.switch.off, Ordering::Relaxed);
        self.counter
            .store(model.counter(setup.counter), Ordering::Relaxed);
        self.number
            .store(Model::number(setup.counter), Ordering::Relaxed);
        self.reload
            .store(setup.period.wrapping_neg(), Ordering::Relaxed);
        self.entry.store(setup.entry, Ordering::Relaxed);
        self.wanted.store(setup.wanted, Ordering::Relaxed);
        self.taken.store(0, Ordering::Relaxed);
        self.step.store(setup.step, Ordering::Relaxed);
        self.astray.store(0, Ordering::Relaxed);
        self.inexact.store(0, Ordering::Relaxed);
        self.exact_seen.store(0, Ordering::Relaxed);
        model.set(setup.counter, setup.period.wrapping_neg());
        machine::set_performance_entry(setup.entry);
    }

    /// How many interrupts came.
    pub fn taken(&self) -> u64 {
        self.taken.load(Ordering::Relaxed)
    }

    /// How many of them came elsewhere than a step behind the one before.
    pub fn astray(&self) -> u64 {
        self.astray.load(Ordering::Relaxed)
    }

    /// Where the first of them came, as `code::sampled_position` counts.
    pub fn positions(&self) -> impl Iterator<Item = u64> + '_ {
        let taken = usize::try_from(self.taken()).unwrap_or(SAMPLES);
        let positions = self.positions.iter().take(taken);
        positions.map(|position| position.load(Ordering::Relaxed))
    }

    /// A hash of the instructions and times of all interrupts so far.
    pub fn trace(&self) -> u64 {
        self.trace.load(Ordering::Relaxed)
    }

    /// The local vector table's entry at the last interrupt.
    pub fn entry_seen(&self) -> u32 {
        self.entry_seen.load(Ordering::Relaxed)
    }

    /// The counter at the last interrupt.
    pub fn counter_seen(&self) -> u64 {
        self.counter_seen.load(Ordering::Relaxed)
    }

    /// The global status at the last interrupt.
    pub fn status_seen(&self) -> u64 {
        self.status_seen.load(Ordering::Relaxed)
    }

    /// The global control at the last interrupt.
    pub fn control_seen(&self) -> u64 {
        self.control_seen.load(Ordering::Relaxed)
    }

    /// The instruction that the last interrupt came before.
    pub fn rip_seen(&self) -> u64 {
        self.rip_seen.load(Ordering::Relaxed)
    }

    /// The instruction that IBS has sampled, at the last interrupt.
    pub fn exact_seen(&self) -> u64 {
        self.exact_seen.load(Ordering::Relaxed)
    }

    /// How many interrupts came elsewhere than the skid and one instruction behind the one
    /// that IBS has sampled.
    pub fn inexact(&self) -> u64 {
        self.inexact.load(Ordering::Relaxed)
    }

    fn add_to_trace(&self, word: u64) {
        let hash = self.trace.load(Ordering::Relaxed) ^ word;
        self.trace
            .store(hash.wrapping_mul(0x100_0000_01b3), Ordering::Relaxed);
    }
}

/// What [`code::overflow_entry`] and the processor have pushed.
#[repr(C)]
struct Registers {
    r15_to_r9: [u64; 7],
    r8: u64,
    rbp_to_rax: [u64; 7],
    rip: u64,
    cs_to_ss: [u64; 4],
}

/// Called by [`code::overflow_entry`], which then writes `last[1]` to the MSR
/// `last[0]` and returns to the interrupted code.
#[unsafe(no_mangle)]
extern "C" fn overflow(registers: &Registers, last: &mut [u64; 2]) {
    let run = run(machine::core_number());
    let model = tests::expected().model;
    let load = |word: &AtomicU64| word.load(Ordering::Relaxed);
    let number = run.number.load(Ordering::Relaxed);
    let (msr, off) = (run.msr.load(Ordering::Relaxed), load(&run.off));

    let counter = machine::try_read_counter(number).unwrap_or(0);
    run.counter_seen.store(counter, Ordering::Relaxed);
    if model.has_global() {
        let control = read_msr(model.global_ctrl());
        run.control_seen.store(control, Ordering::Relaxed);
    }
    // Before the valid bit is cleared.
    let exact = tests::expected().ibs.then(|| read_msr(ibs::OP_RIP));
    write_msr(msr, off);
    if model.has_global() {
        let status = read_msr(model.global_status());
        run.status_seen.store(status, Ordering::Relaxed);
        write_msr(model.status_reset(), status);
    }
    let seen = machine::performance_entry();
    run.entry_seen.store(seen, Ordering::Relaxed);
    let entry = run.entry.load(Ordering::Relaxed);
    machine::set_performance_entry(entry);
    if entry & machine::LVT_NMI == 0 {
        machine::end_interrupt();
    }

    run.rip_seen.store(registers.rip, Ordering::Relaxed);
    run.add_to_trace(registers.rip);
    run.add_to_trace(registers.r8);
    run.add_to_trace(machine::time());
    let taken = load(&run.taken);
    let here = code::sampled_position(registers.rip, registers.r8).unwrap_or(ELSEWHERE);
    let slot = usize::try_from(taken).unwrap_or(SAMPLES);
    if let Some(position) = run.positions.get(slot) {
        position.store(here, Ordering::Relaxed);
    }
    if let Some(exact) = exact {
        run.exact_seen.store(exact, Ordering::Relaxed);
        run.add_to_trace(exact);
        let before = here.wrapping_sub(1 + tests::expected().skid);
        if exact != code::address_at(before) {
            run.inexact.fetch_add(1, Ordering::Relaxed);
        }
    }
    if taken > 0 && here != load(&run.previous).wrapping_add(load(&run.step)) {
        run.astray.fetch_add(1, Ordering::Relaxed);
    }
    run.previous.store(here, Ordering::Relaxed);
    run.taken.store(taken + 1, Ordering::Relaxed);
    let again = taken + 1 < load(&run.wanted);
    if again {
        let reload = load(&run.reload) & COUNTER_MASK;
        write_msr(run.counter.load(Ordering::Relaxed), reload);
    }
    *last = [u64::from(msr), if again { load(&run.on) } else { off }];
}
