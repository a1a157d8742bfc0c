//! The sampler: what interrupts every core each N events and records where it was.
//!
//! A kernel that links it supplies a [`Target`] (the bounds of its stacks, and little
//! else), memory that a reader can see, and gates for the sampler's interrupts. It gets a
//! profile that is as exact as the machine allows.
//!
//! # Principles
//!
//! 1. **The path from an overflow to a record never allocates, locks, logs, faults or
//!    loops without a bound.** It runs in NMI handlers, on top of anything.
//! 2. **What makes a profile exact is measured, not assumed**: what the clock counts, what
//!    an interrupt costs, whether an interrupt arrives.
//! 3. **Nothing is lost in silence.** What is not a sample is counted.
//! 4. **A source is a value, not a build option.** One image for every machine.
//!
//! # How a kernel uses it
//!
//! [`RegionMemory`] or [`Memory`] to [`Sampler::start`], what [`gates`] returns to the interrupt
//! table, what [`TrapStacks::set_up`](crate::entry::stacks::TrapStacks::set_up) returns to
//! each core's TSS. Then the first core calls `start`, and each other one
//! [`Sampler::join`]. The [front page](crate) has it whole.
//!
//! # Where things are
//!
//! * [`Sampler::start`], [`Sampler::join`]: preparing a run, in the order of its steps.
//! * `source`: where overflows come from. `clock`, `overhead`: what they are measured by.
//! * `handler`: from an interrupt to a record. `round_robin`: one core at a time, where
//!   instructions are counted. `aim`: single overflows at certain instructions.
//! * `counting`: how often events happen, in place of samples.
//! * `requests`: what can be changed meanwhile. `progress`: how far it is. `look`: what the kernel itself sees of it. `list`: what a machine has to sample by.
//! * `engine`, `run`, `per_core`, `phase`: what all cores share, what each keeps, where a
//!   run stands.

// An error has its whole story as text: there is no heap to put it on, and one at a time.
#![allow(clippy::result_large_err)]

mod aim;
mod clock;
mod config;
mod control;
mod cores;
mod counting;
mod engine;
mod error;
mod gates;
mod halt;
mod handler;
mod latest;
mod list;
mod look;
mod memory;
mod one_stack;
mod overhead;
mod own_stack;
mod per_core;
mod phase;
mod pmu_error;
mod prepare;
mod progress;
mod requests;
mod round_robin;
mod run;
mod set_once;
mod source;
mod target;
mod trial;
pub mod vector;
mod wait;

use engine::Engine;
use handler::Context;
use per_core::Core;

pub use config::Config;
pub use error::{AimError, CoresError, NoMemory, OtherMode, StartError, WrongPlace};
pub use gates::{Gate, GateStack, gates};
pub use look::{CoreLook, Look};
pub use memory::{Memory, RegionMemory, region_bytes};
pub use one_stack::OneStack;
pub use pmu_error::PmuError;
pub use prepare::NotStarted;
pub use progress::Progress;
pub use requests::Refusal;
pub use source::SourceError;
pub use target::{Interrupted, Settled, Target};

use crate::format::region::RunState;
use crate::format::{self, Delivery};
use crate::hw::{apic, exit, msr, tsc};

/// The sampler of a kernel: a static.
///
/// ```no_run
/// # use profiler::address::StackAddress;
/// # use profiler::unwind::StackBounds;
/// # struct ThisKernel;
/// # // SAFETY: it names no stack.
/// # unsafe impl profiler::sampler::Target for ThisKernel {
/// #     fn stack_of(&self, _: u32, _: StackAddress) -> Option<StackBounds> { None }
/// # }
/// use profiler::sampler::{Config, RegionMemory, Sampler, region_bytes};
///
/// static SAMPLER: Sampler<ThisKernel> = Sampler::new(ThisKernel);
/// static MEMORY: RegionMemory<{ region_bytes(1, 64 << 10) }> = RegionMemory::new();
///
/// fn start(command_line: &str) {
///     let config = Config { command_line, ..Config::new() };
///     if let Err(problem) = SAMPLER.start(MEMORY.take(), &config) {
///         println!("{problem}");
///     }
/// }
/// ```
pub struct Sampler<T> {
    engine: Engine,
    target: T,
}

impl<T: Target> Sampler<T> {
    /// A sampler that is not started.
    #[must_use]
    pub const fn new(target: T) -> Self {
        Self {
            engine: Engine::new(),
            target,
        }
    }

    /// The kernel.
    pub const fn target(&self) -> &T {
        &self.target
    }

    /// The address of the gate for [`vector::WAKE`]: an interrupt gate on no stack of its
    /// own. The sampler's other vectors have handlers of the kernel, which call
    /// [`Self::on_interrupt`].
    #[must_use]
    pub fn wake_entry(&self) -> u64 {
        wait::wake_entry()
    }

    /// For the handler of NMIs: an NMI of the core with this index, which was entered at
    /// `entry_tsc` by the time stamp counter. Returns true if the NMI was the sampler's, or
    /// is counted in its run.
    ///
    /// The interrupted code is to resume at `interrupted.registers.pc` ([`Interrupted::resume`]),
    /// which then is behind a `hlt` that was about to be executed: an interrupt that has become
    /// pending meanwhile may be taken before it, and would not end the halt.
    ///
    /// The way from the reading of the counter in the entry to here, and from here to the
    /// `iret`, should be the same instructions each time.
    #[inline]
    pub fn on_nmi(&'static self, core: u32, interrupted: &mut Interrupted, entry_tsc: u64) -> bool {
        let Some(core) = self.engine.cores.get(core) else {
            if halt::is_at(&self.target, interrupted) {
                halt::skip(interrupted);
            }
            return false;
        };
        self.context(core, interrupted, entry_tsc, Delivery::Nmi)
            .handle()
    }

    /// For the handlers of the sampler's vectors ([`vector::HANDLED`]): an interrupt of the
    /// core with this index.
    pub fn on_interrupt(&'static self, core: u32, vector: u64, interrupted: &mut Interrupted) {
        let entry_tsc = tsc::ticks();
        self.handle_interrupt(core, vector, interrupted, entry_tsc);
    }

    /// For the handler of [`overflow_entry!`](crate::overflow_entry): an interrupt with the vector
    /// [`vector::OVERFLOW`] of the core with this index, which was entered at `entry_tsc`.
    pub fn on_overflow(&'static self, core: u32, interrupted: &mut Interrupted, entry_tsc: u64) {
        if let Some(core) = self.engine.cores.get(core) {
            self.on_irq(core, interrupted, entry_tsc);
        }
    }

    /// The same as [`Self::on_interrupt`], for kernels whose handlers do not have the core's index
    /// at hand.
    pub fn on_interrupt_here(&'static self, vector: u64, interrupted: &mut Interrupted) {
        // Before the search, which takes longer the higher the index is.
        let entry_tsc = tsc::ticks();
        if let Some(core) = self.running_core() {
            self.handle_interrupt(core, vector, interrupted, entry_tsc);
        }
    }

    #[inline]
    fn handle_interrupt(
        &'static self,
        core: u32,
        vector: u64,
        interrupted: &mut Interrupted,
        entry_tsc: u64,
    ) {
        let vector = vector.to_le_bytes()[0];
        let Some(core) = self.engine.cores.get(core) else {
            return;
        };
        match vector {
            vector::OVERFLOW => self.on_irq(core, interrupted, entry_tsc),
            vector::CONTROL => {
                apic::registers().end_of_interrupt();
                self.poll(core.index);
            }
            _ => self
                .context(core, interrupted, entry_tsc, Delivery::Irq)
                .on_count_interrupt(vector),
        }
    }

    fn on_irq(&'static self, core: &'static Core, interrupted: &mut Interrupted, entry_tsc: u64) {
        apic::registers().end_of_interrupt();
        if core.wait.is_watchdog() {
            return;
        }
        self.context(core, interrupted, entry_tsc, Delivery::Irq)
            .handle();
    }

    /// For the handler of debug exceptions, which runs on a stack of its own: an exception
    /// of the core with this index. Returns true if it was the sampler's.
    ///
    /// The interrupted code is to resume as `interrupted` has it ([`Interrupted::resume`]): see
    /// [`Self::on_nmi`].
    pub fn on_debug(&'static self, core: u32, interrupted: &mut Interrupted) -> bool {
        let entry_tsc = tsc::ticks();
        let Some(core) = self.engine.cores.get(core) else {
            return false;
        };
        let mut context = self.context(core, interrupted, entry_tsc, Delivery::Nmi);
        context.is_step = true;
        context.handle_debug()
    }

    /// For the handler of general protection faults: where the code that was interrupted
    /// at `pc` resumes, if the fault is the sampler's, which may be refused a register.
    /// [`entry_before`](crate::entry::protection::entry_before) is an entry that does so itself.
    #[must_use]
    pub fn on_general_protection(&self, pc: u64) -> Option<u64> {
        msr::recover(pc)
    }

    /// The index of the running core, found by its APIC id: for handlers of kernels that do
    /// not have it at hand.
    #[must_use]
    pub fn running_core(&self) -> Option<u32> {
        let id = apic::find_registers()?.id();
        let mut cores = self.engine.cores.all().iter();
        cores.find(|core| core.apic_id == id).map(|core| core.index)
    }

    #[inline]
    fn context<'a>(
        &'static self,
        core: &'static Core,
        interrupted: &'a mut Interrupted,
        entry_tsc: u64,
        delivery: Delivery,
    ) -> Context<'a, T> {
        Context {
            engine: &self.engine,
            target: &self.target,
            core,
            interrupted,
            entry_tsc,
            delivery,
            is_step: false,
        }
    }

    /// Ends the run: no interrupt is a sample any more, and no core waits in a handler of
    /// the sampler. May be called anywhere, in a panic too.
    pub fn stop(&self) {
        self.engine.end();
    }

    /// Tells the host that the run has failed; what the rings hold is true.
    pub fn fail(&self) {
        self.engine.end();
        self.engine.set_state(RunState::Failed);
    }

    /// For the kernel's panic handler, once it has said why: [`Self::fail`], and the end of
    /// QEMU. Returns on a machine without its device for that.
    pub fn panicked(&self) {
        self.fail();
        exit::exit_qemu(exit::PANIC);
    }

    /// The source of overflows, once the run has begun.
    #[must_use]
    pub fn source(&self) -> Option<format::Source> {
        self.engine.run().map(|run| run.source.kind())
    }

    /// Returns true if an interrupt of the sampler will come to the core with this index,
    /// and end its halt.
    #[must_use]
    pub fn will_interrupt(&self, core: u32) -> bool {
        self.engine
            .cores
            .get(core)
            .is_some_and(|core| core.overflow.is_armed())
    }

    /// Asks the core with this index for a sample by an NMI, from any core. It takes it if
    /// the source is `ipi`; else the NMI is unclaimed, and counted.
    pub fn send_nmi(&self, core: u32) {
        let Some(core) = self.engine.cores.get(core) else {
            return;
        };
        match self.engine.source() {
            Some(source::Source::Ipi(_)) => source::ipi::request_sample(core),
            // Nobody would take a request back.
            _ => source::ipi::IpiDriver::interrupt(core),
        }
    }

    /// Lets cores that wait for each other in handlers of NMIs, where no further NMI reaches them,
    /// call `hook` whenever they are woken ([`Self::wake_waiting`]): for a kernel that stops all
    /// cores, and may let them go on. It neither allocates, locks nor faults, and returns.
    ///
    /// ```no_run
    /// # use profiler::address::StackAddress;
    /// # use profiler::unwind::StackBounds;
    /// # struct ThisKernel;
    /// # // SAFETY: it names no stack.
    /// # unsafe impl profiler::sampler::Target for ThisKernel {
    /// #     fn stack_of(&self, _: u32, _: StackAddress) -> Option<StackBounds> { None }
    /// # }
    /// # use profiler::sampler::Sampler;
    /// # static SAMPLER: Sampler<ThisKernel> = Sampler::new(ThisKernel);
    /// use core::hint;
    /// use core::sync::atomic::{AtomicBool, Ordering};
    ///
    /// static IS_HELD: AtomicBool = AtomicBool::new(false);
    ///
    /// fn hold_while_asked() {
    ///     while IS_HELD.load(Ordering::Acquire) {
    ///         hint::spin_loop();
    ///     }
    /// }
    ///
    /// fn hold_all() {
    ///     SAMPLER.call_where_cores_wait(hold_while_asked);
    ///     IS_HELD.store(true, Ordering::Release);
    ///     // Beside an NMI to each core, whose handler calls it as well.
    ///     SAMPLER.wake_waiting();
    /// }
    /// ```
    pub fn call_where_cores_wait(&self, hook: fn()) {
        wait::set_hook(hook);
    }

    /// Wakes all cores that wait for each other: they look whether they still have to, and call
    /// what [`Self::call_where_cores_wait`] was given.
    pub fn wake_waiting(&self) {
        self.engine.cores.wake_all();
    }

    /// Where events are counted: the units of the workload that each core is counted for,
    /// between [`Self::begin_counting`] and [`Self::end_counting`]; else 0.
    #[must_use]
    pub fn units(&self) -> u64 {
        let counting = self.engine.run().and_then(|run| run.counting.as_ref());
        counting.map_or(0, |counting| counting.units)
    }

    /// The running core begins its units.
    #[inline(always)]
    pub fn begin_counting(&self) {
        handler::begin_counting();
    }

    /// From now on the running core, with this index, runs the process that addresses have by this number
    /// ([`UserMemory::program`](crate::unwind::user::UserMemory::program)); 0: none. For runs that count by
    /// process ([`Settings::by_process`](crate::contract::settings::Settings::by_process)), whenever that
    /// changes. Interrupts are off.
    pub fn count_process(&self, core: u32, number: u16) {
        let Some(core) = self.engine.cores.get(core) else {
            return;
        };
        core.counting.processes.set_next(number);
        if core.counting.processes.is_on() {
            handler::begin_counting();
        }
    }

    /// The running core has done its units.
    #[inline(always)]
    pub fn end_counting(&self) {
        handler::end_counting();
    }
}
