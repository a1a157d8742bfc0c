//! The driver against the model of the hardware: random processors, events, programs
//! and disturbances, and what has to hold whatever they are.

use std::cell::{Cell, RefCell};

use proptest::prelude::*;

use crate::hw::apic::{Delivery, PerformanceEntry, Vector};
use crate::pmu::counters::{Counter, Counters};
use crate::pmu::detect;
use crate::pmu::driver::{Cause, FastStop, Interrupt, Overflows, Place, PmuDriver, Stage};
use crate::pmu::event::{Event, EventList, Named, What};
use crate::pmu::fast_form::FastForm;
use crate::pmu::plan::{Plan, PmuState};
use crate::pmu::registers::Registers;
use crate::pmu_model::{
    Accesses, AmdInterface, Context, Core, Costs, Cycle, Delivered, Event as Happening, Id,
    Latency, Machine, Model, Privilege,
};

/// A run of the driver on a machine.
#[derive(Debug)]
pub struct Rig {
    pub machine: Machine,
    pub plan: Plan,
    pub driver: PmuDriver,
    pub lvtpc: PerformanceEntry,
    pub seen: RefCell<Seen>,
    /// There is a check at each sample whose number is a multiple of this.
    pub check_every: u64,
    pub paths: Paths,
}

/// Which paths handlers take.
#[derive(Clone, Debug, Default)]
pub enum Paths {
    #[default]
    Exact,
    /// The fast one where the plan has one.
    Fast,
    /// At random, for the first step of a handler and for the last.
    Either(Cell<u64>),
    /// That of handlers in assembly where there are several events: a random one of these is
    /// unusual, or none.
    List(Cell<u64>),
}

impl Paths {
    fn is_fast(&self) -> bool {
        match self {
            Self::Exact => false,
            Self::Fast | Self::List(_) => true,
            Self::Either(state) => random(state) >> 63 != 0,
        }
    }
}

/// Knuth's MMIX; its low bits are poor.
fn random(state: &Cell<u64>) -> u64 {
    let next = state.get().wrapping_mul(6_364_136_223_846_793_005);
    let next = next.wrapping_add(1_442_695_040_888_963_407);
    state.set(next);
    next
}

/// What the handler has seen.
#[derive(Debug, Default)]
pub struct Seen {
    /// By event: for each sample, what had run since the one before, and how many were
    /// missed.
    pub samples: Vec<Vec<(u64, u64)>>,
    pub claimed: u64,
    /// Handlers that took the fast path, of these.
    pub fast: u64,
    /// What the last handler has accessed.
    pub accesses: Accesses,
    pub late: u64,
    pub unclaimed: u64,
    /// By event: at each sample, how often it had happened in the program.
    pub happened: Vec<Vec<u64>>,
    /// By event: what checks have counted.
    pub checks: Vec<Vec<u64>>,
    pub begun: u64,
    /// By event: interrupts since its last sample, that are no checks.
    since_sample: Vec<u64>,
    /// By event: the most in one period.
    pub most: Vec<u64>,
}

impl Seen {
    /// Counts an interrupt in the period of each event that it came in.
    fn count_apart(&mut self, overflows: Overflows, cause: Cause) {
        for apart in &mut self.since_sample {
            *apart += u64::from(cause != Cause::Check);
        }
        for event in overflows.iter() {
            let apart = std::mem::take(&mut self.since_sample[event]);
            self.most[event] = self.most[event].max(apart);
        }
    }
}

/// The vector of interrupts that are not NMIs.
pub const VECTOR: PerformanceEntry = PerformanceEntry::new(Delivery::Fixed(Vector::new(0xf0)));

impl Rig {
    pub fn new(machine: Machine, events: &EventList, is_nmi: bool) -> Self {
        let core = &machine.core;
        let capabilities = detect::detect(|leaf, subleaf| core.model().cpuid(leaf, subleaf));
        let before = core.snapshot().restored();
        let found = PmuState::probe(core, &capabilities.unwrap()).unwrap();
        assert_eq!(
            core.snapshot().restored(),
            before,
            "looking changes nothing"
        );
        let mut plan = Plan::make(&found, events, Some(1000)).unwrap();
        plan.seed = 42;
        for (index, (overhead, arm_latency)) in costs(&machine, &plan).into_iter().enumerate() {
            let assignment = plan.assignment_mut(index).unwrap();
            (assignment.overhead, assignment.arm_latency) = (overhead, arm_latency);
        }
        Self {
            seen: RefCell::new(Seen {
                samples: vec![Vec::new(); events.as_slice().len()],
                happened: vec![Vec::new(); events.as_slice().len()],
                checks: vec![Vec::new(); events.as_slice().len()],
                since_sample: vec![0; events.as_slice().len()],
                most: vec![1; events.as_slice().len()],
                ..Seen::default()
            }),
            check_every: u64::MAX,
            paths: Paths::default(),
            machine,
            plan,
            driver: PmuDriver::default(),
            lvtpc: if is_nmi {
                PerformanceEntry::NMI
            } else {
                VECTOR
            },
        }
    }

    /// Starts as a kernel does: in a handler, so that the way out of it is as each
    /// time.
    pub fn start(&self) {
        self.in_handler(|machine| {
            self.driver.start(machine, &self.plan).unwrap();
            self.driver.resume(machine, &self.plan, self.lvtpc);
        });
    }

    /// Chooses the fast path, after a change of the plan.
    pub fn choose_form(&mut self) {
        self.plan.form = FastForm::of(&self.plan);
    }

    /// Stops in a handler: counters stand still when the driver comes to it.
    pub fn stop(&self) {
        self.in_handler(|machine| {
            let _ = self.driver.on_interrupt(machine, &self.plan);
            self.driver.stop(machine, &self.plan);
            self.driver.resume(machine, &self.plan, self.lvtpc);
        });
    }

    /// Stops outside of one.
    pub fn stop_outside(&self) {
        self.driver.stop(&self.machine, &self.plan);
    }

    /// Lets the handler of somebody else's NMI be `action`.
    pub fn in_handler(&self, action: impl FnOnce(&Machine)) {
        self.machine.core.send_nmi();
        let mut action = Some(action);
        self.machine
            .take_all(false, |machine, interrupt| match action.take() {
                Some(action) => action(machine),
                None => self.handle(interrupt),
            });
    }

    pub fn handle(&self, interrupt: Delivered) {
        let before = self.machine.core.accesses();
        self.handle_any(interrupt);
        self.seen.borrow_mut().accesses = self.machine.core.accesses() - before;
    }

    fn handle_any(&self, interrupt: Delivered) {
        let mut seen = self.seen.borrow_mut();
        let is_as_overflows_come = match interrupt {
            Delivered::Nmi { .. } => self.lvtpc == PerformanceEntry::NMI,
            Delivered::Vector { .. } => self.lvtpc == VECTOR,
        };
        if is_as_overflows_come
            && self.paths.is_fast()
            && let Some(overflows) = self.stop_fast(&self.machine)
        {
            seen.fast += 1;
            self.note(&mut seen, overflows, Cause::Counter);
            // What is left to the exact handler ends as that does.
            let is_left = matches!(self.paths, Paths::List(_));
            let is_checked = self.begin_check_if_due(&mut seen, overflows);
            if is_checked || is_left || !self.paths.is_fast() {
                self.driver.resume(&self.machine, &self.plan, self.lvtpc);
            } else {
                self.resume_fast(&self.machine);
            }
            return;
        }
        let entered = if is_as_overflows_come {
            self.driver
                .on_interrupt_at(&self.machine, &self.plan, self.place())
        } else {
            self.driver.on_foreign_nmi(&self.machine, &self.plan)
        };
        match entered {
            Interrupt::Stopped(overflows, cause) => {
                self.note(&mut seen, overflows, cause);
                self.begin_check_if_due(&mut seen, overflows);
                self.driver.resume(&self.machine, &self.plan, self.lvtpc);
            }
            Interrupt::Off | Interrupt::OffLate => seen.unclaimed += 1,
            Interrupt::Busy => panic!("no handler interrupts another here"),
        }
    }

    /// First step of a handler by the fast path, if there is one, and all is as usual.
    pub fn stop_fast(&self, registers: &impl Registers) -> Option<Overflows> {
        let form = self.plan.form?;
        let stopped = match form {
            FastForm::One => self.driver.stop_one(registers),
            FastForm::Several | FastForm::Any => self.driver.stop_any(registers),
        };
        let overflows = match (stopped, form) {
            (FastStop::Untouched, _) => return None,
            (FastStop::Unsettled, _) => None,
            (FastStop::Settled, FastForm::One) => {
                let ran = self.driver.advance_one(registers);
                ran.map(|_| Overflows::FIRST)
            }
            (FastStop::Settled, FastForm::Several) if let Paths::List(state) = &self.paths => {
                let most = usize::try_from(random(state) >> 61).unwrap();
                self.driver.advance_list(registers, &self.plan, most)
            }
            (FastStop::Settled, _) => self.driver.advance_any(registers),
        };
        if overflows.is_none() {
            self.driver.give_up_fast();
        }
        overflows
    }

    /// Last steps of that handler.
    pub fn resume_fast(&self, registers: &impl Registers) {
        match self.plan.form {
            Some(FastForm::One) => self.driver.unmask_one(registers, self.lvtpc),
            _ => self.driver.unmask_any(registers, self.lvtpc),
        }
        self.driver
            .start_unmasked(registers, &self.plan, Stage::Settled);
    }

    /// An interrupt has found this.
    fn note(&self, seen: &mut Seen, overflows: Overflows, cause: Cause) {
        seen.count_apart(overflows, cause);
        for event in overflows.iter() {
            let overflow = self.driver.overflow(event);
            seen.samples[event].push((overflow.ran, overflow.missed));
            seen.happened[event].push(self.happened(event));
        }
        match cause {
            Cause::Counter => seen.claimed += 1,
            Cause::Late => seen.late += 1,
            Cause::Other => seen.unclaimed += 1,
            Cause::Check => {
                for (event, checks) in seen.checks.iter_mut().enumerate() {
                    checks.push(self.driver.checked(event));
                }
            }
        }
    }

    /// Returns true if a check was begun.
    fn begin_check_if_due(&self, seen: &mut Seen, overflows: Overflows) -> bool {
        let count: usize = seen.samples.iter().map(Vec::len).sum();
        let is_due = !overflows.is_empty() && (count as u64).is_multiple_of(self.check_every);
        let begins = is_due
            && self
                .driver
                .begin_check(&self.machine, &self.plan, self.place());
        if begins {
            seen.begun += 1;
            self.machine.core.send_nmi();
        }
        begins
    }

    /// Where the program is.
    fn place(&self) -> Place {
        let levels = [Privilege::Kernel, Privilege::User];
        let cycles = levels.map(|level| {
            let core = &self.machine.core;
            core.occurred(Happening::Cycles, level, Context::Program)
        });
        Place {
            pc: cycles.iter().sum(),
            sp: 0,
        }
    }

    pub fn run<'a>(&self, program: impl IntoIterator<Item = (Cycle<'a>, u64)>) {
        self.machine
            .run(program, |_, interrupt| self.handle(interrupt));
    }

    /// How often the event at `index` happened in the program.
    pub fn happened(&self, index: usize) -> u64 {
        let assignment = self.plan.assignment(index).unwrap();
        let happening = happening(&assignment.event);
        let levels = [
            (assignment.event.kernel, Privilege::Kernel),
            (assignment.event.user, Privilege::User),
        ];
        let counted = levels.into_iter().filter(|(is_counted, _)| *is_counted);
        counted
            .map(|(_, level)| {
                self.machine
                    .core
                    .occurred(happening, level, Context::Program)
            })
            .sum()
    }

    pub fn counted(&self, index: usize) -> u64 {
        self.driver.position(index)
    }

    pub fn counter(&self, index: usize) -> Id {
        match self.plan.assignment(index).unwrap().counter {
            Counter::General(number) => Id::General(number),
            Counter::Fixed(number) => Id::Fixed(number),
        }
    }
}

pub fn happening(event: &Event) -> Happening {
    match event.what {
        What::Named(Named::Cycles) => Happening::Cycles,
        What::Named(Named::Instructions) => Happening::Instructions,
        What::Named(Named::Branches) => Happening::Branches,
        What::Named(Named::BranchMisses) => Happening::BranchMisses,
        What::Named(Named::CacheReferences) => Happening::CacheReferences,
        What::Named(Named::CacheMisses) => Happening::CacheMisses,
        What::Named(Named::Slots) => Happening::Slots,
        What::Raw { event, unit_mask } => {
            Happening::Raw(u64::from(event) | u64::from(unit_mask) << 8)
        }
        other => panic!("not used here: {other:?}"),
    }
}

/// What each event counts on the way into the handler and out of it, and on the way
/// out: known from what things cost on this machine.
pub fn costs(machine: &Machine, plan: &Plan) -> Vec<(u64, i64)> {
    let costs = machine.costs.borrow();
    let selects = plan.assignments().count() as u64;
    plan.assignments()
        .map(|(index, assignment)| {
            // The accesses that it counts: up to the one that stops it, and from behind
            // the one that starts it.
            let index = index as u64;
            let (before, behind) = if plan.msrs.interface().is_global() {
                (1, 0)
            } else {
                (index + 1, selects - 1 - index)
            };
            let entry = costs.entry + before * costs.access;
            let exit = costs.exit + behind * costs.access;
            let its = |(it, _): &&(Happening, u32)| *it == happening(&assignment.event);
            let each = match costs.events.iter().find(its) {
                Some((_, count)) if assignment.event.kernel => u64::from(*count),
                _ => 0,
            };
            ((entry + exit) * each, (exit * each).cast_signed())
        })
        .collect()
}

/// Nothing happens.
const IDLE: Cycle<'_> = Cycle {
    privilege: Privilege::User,
    interrupts: true,
    events: &[],
};

/// A processor and what is wrong with it, a program, and what happens meanwhile.
#[derive(Clone, Debug)]
pub struct Schedule {
    pub model: Model,
    events: Vec<(Named, u8, u64, u8)>,
    is_nmi: bool,
    /// Of an access, an entry and an exit.
    pub costs: (u64, u64, u64),
    stops_outside: bool,
    pub paths: Paths,
    /// Privilege, interrupts, what happens in each cycle, cycles, what comes before.
    program: Vec<(bool, bool, [u32; 4], u64, Disturbance)>,
}

#[derive(Clone, Copy, Debug)]
enum Disturbance {
    None,
    ForeignNmi,
    /// Bits of the status that are nobody's counter.
    Status(u64),
}

impl Schedule {
    fn events(&self) -> EventList {
        let mut events = self.events.iter().map(|&(named, levels, period, _)| Event {
            user: levels & 1 != 0,
            kernel: levels & 2 != 0,
            period: Some(period),
            ..Event::new(What::Named(named))
        });
        let first = EventList::of(events.next().unwrap());
        events.fold(first, |list, event| list.and(event).unwrap())
    }

    pub fn rig(&self) -> Rig {
        let (access, entry, exit) = self.costs;
        let machine = Machine::new(
            Core::new(self.model.clone()),
            Costs::of(access, entry, exit),
        );
        let mut rig = Rig::new(machine, &self.events(), self.is_nmi);
        rig.paths = self.paths.clone();
        for (index, &(.., period, jitter)) in self.events.iter().enumerate() {
            let assignment = rig.plan.assignment_mut(index).unwrap();
            assignment.jitter = period * u64::from(jitter) / 100;
        }
        rig.choose_form();
        rig
    }

    /// By how many cycles an overflow may be seen late, and NMIs that may be for
    /// nothing are allowed.
    pub fn latency(&self) -> u64 {
        let quirks = &self.model.quirks;
        let late = quirks.late.map_or(0, |late| late.most);
        u64::from(quirks.status.most + quirks.interrupt.most + late)
    }

    /// Starts, executes the program, and lets what is on its way arrive.
    pub fn play(&self, rig: &Rig) {
        let core = &rig.machine.core;
        rig.start();
        for &(is_user, interrupts, counts, cycles, disturbance) in &self.program {
            match disturbance {
                Disturbance::None => {}
                Disturbance::ForeignNmi => core.send_nmi(),
                Disturbance::Status(bits) => core.set_status(bits, false),
            }
            let events = [
                (Happening::Cycles, 1),
                (Happening::Instructions, counts[0]),
                (Happening::Branches, counts[1]),
                (Happening::CacheMisses, counts[2]),
                (Happening::Slots, counts[3]),
            ];
            let cycle = Cycle {
                privilege: if is_user {
                    Privilege::User
                } else {
                    Privilege::Kernel
                },
                interrupts: interrupts || self.is_nmi,
                events: &events,
            };
            rig.run([(cycle, cycles)]);
        }
        rig.run([(IDLE, self.latency() + 1)]);
    }

    fn check(&self) -> Result<(), TestCaseError> {
        let rig = self.rig();
        let core = &rig.machine.core;
        let before = core.snapshot().restored();
        self.play(&rig);
        self.check_samples(&rig)?;
        if self.stops_outside {
            rig.stop_outside();
        } else {
            rig.stop();
        }
        self.check_counts(&rig)?;

        let mut after = core.snapshot().restored();
        // It is not to be written as a whole, and what was late has come.
        for status in [0x38e, 0xc000_0300] {
            let mut before = before.msrs.get(&status);
            if let (Some(after), Some(before)) = (after.msrs.get_mut(&status), before.take()) {
                *after = *before;
            }
        }
        prop_assert_eq!(after, before, "stopping brings back what was before");
        let ids: Vec<_> = (0..self.events.len()).map(|it| rig.counter(it)).collect();
        let counted = || ids.iter().map(|&id| core.counted(id)).collect::<Vec<_>>();
        let stopped = counted();
        let busy = Cycle {
            events: &[(Happening::Cycles, 1), (Happening::Instructions, 3)],
            ..IDLE
        };
        rig.run([(busy, 5000)]);
        prop_assert_eq!(counted(), stopped, "nothing counts after the stop");
        Ok(())
    }

    /// Every overflow that was due is a sample, or is known to be missed.
    fn check_samples(&self, rig: &Rig) -> Result<(), TestCaseError> {
        let seen = rig.seen.borrow();
        // The most events that can happen until an overflow is seen.
        let burst = 8 * (self.latency() + 1);
        // What may bring one handler right after another.
        let is_calm = self.latency() == 0
            && self.events.len() == 1
            && !self
                .program
                .iter()
                .any(|it| matches!(it.4, Disturbance::ForeignNmi));
        // With interrupts off it is seen when they are on again.
        let is_delayed = !self.is_nmi && self.program.iter().any(|it| !it.1);
        for (index, samples) in seen.samples.iter().enumerate() {
            let assignment = rig.plan.assignment(index).unwrap();
            let period = assignment.period.unwrap();
            let count = rig.happened(index);
            let missed: u64 = samples.iter().map(|it| it.1).sum();
            let taken = samples.len() as u64 + missed;
            // By how much it may have been put off to get the program going.
            let push = if is_calm {
                0
            } else {
                (assignment.overhead + 1) << 5
            };
            let slack = assignment.jitter + burst + push;
            prop_assert!(
                taken * period <= count + period + assignment.jitter,
                "event {index}: {taken} overflows of period {period} in {count} events"
            );
            // The last one may be seen later than it is due.
            let due = count.saturating_sub(slack + assignment.min_count) / period;
            let delay = if is_delayed { taken } else { 0 };
            prop_assert!(
                taken + 1 + delay >= due,
                "event {index}: only {taken} of {due} overflows of period {period} in {count} events"
            );
            let mut position = 0;
            let mut number = 0;
            for &(ran, missed) in samples {
                position += ran;
                number += 1;
                // It comes for the one that was due, which was told apart from those
                // before by what is missed.
                prop_assert!(
                    position + assignment.jitter >= number * period,
                    "event {index}: overflow {number} of period {period} at {position}"
                );
                if !is_delayed {
                    prop_assert!(
                        position <= number * period + assignment.min_count + slack,
                        "event {index}: overflow {number} of period {period} at {position}"
                    );
                }
                number += missed;
            }
        }
        // Interrupts with nothing to do: those of others, and one for each that was
        // on its way when its reason had been seen already.
        let Seen {
            claimed,
            late,
            unclaimed,
            ..
        } = *seen;
        let foreign = rig.machine.core.deliveries().foreign;
        // Where one is on its way for longer than a period, nobody can tell.
        let is_apart = self.events.iter().all(|it| it.2 > burst);
        if is_apart || self.latency() == 0 {
            prop_assert!(
                unclaimed <= foreign,
                "{unclaimed} unclaimed, {foreign} of others"
            );
        }
        prop_assert!(late <= 4 * claimed, "{late} late, {claimed} claimed");
        // What such a one leaves to the interrupt that is on its way may overflow once more
        // by then.
        let passed = if self.is_nmi { 0 } else { foreign };
        // Another counter can go round on the way into the handler.
        if self.latency() == 0 && self.events.len() == 1 {
            prop_assert!(
                late + unclaimed <= foreign + passed,
                "{late} late, {foreign} of others"
            );
        }
        Ok(())
    }

    /// Every event of the program was counted once, and nothing else.
    fn check_counts(&self, rig: &Rig) -> Result<(), TestCaseError> {
        let costs = rig.machine.costs.borrow();
        for index in 0..self.events.len() {
            let assignment = rig.plan.assignment(index).unwrap();
            // Until the stop takes effect, the driver is a program like others; and the
            // way out of the last handler is known to be one in the next handler only.
            let its = |(it, _): &(Happening, u32)| *it == happening(&assignment.event);
            let before = if rig.plan.msrs.interface().is_global() {
                1
            } else {
                index as u64 + 1
            };
            let own = match self.stops_outside && assignment.event.kernel {
                true if costs.events.iter().any(its) => {
                    before * costs.access + assignment.arm_latency.cast_unsigned()
                }
                _ => 0,
            };
            prop_assert_eq!(
                rig.counted(index),
                rig.happened(index) + own,
                "event {} on {:?}",
                index,
                assignment.counter
            );
        }
        Ok(())
    }
}

fn latency() -> impl Strategy<Value = Latency> {
    prop_oneof![
        3 => Just(Latency::fixed(0)),
        1 => (0..40_u32, 0..40_u32).prop_map(|(least, more)| Latency::random(least, least + more)),
    ]
}

pub fn intel() -> impl Strategy<Value = Model> {
    (1..=6_u8, any::<[bool; 5]>(), 33..48_u8).prop_map(|(version, flags, width)| {
        let mut model = Model::intel(version);
        let intel = model.as_intel();
        if flags[0] {
            intel.full_width_writes = false;
        }
        if flags[1] && version < 6 {
            intel.general_width = width;
            intel.fixed_width = if version > 1 {
                width
            } else {
                intel.fixed_width
            };
        }
        if flags[2] {
            // A hypervisor that lacks the bit of the uncore.
            intel.uncore = false;
            intel.trace = false;
        }
        model.quirks.masks_on_delivery = flags[3];
        model.quirks.needs_clear_status = flags[4];
        model
    })
}

pub fn amd() -> impl Strategy<Value = Model> {
    use AmdInterface::{Core, Legacy, V2};
    (
        prop::sample::select(vec![Legacy, Core, V2]),
        any::<[bool; 2]>(),
    )
        .prop_map(|(interface, flags)| {
            let mut model = Model::amd(interface);
            model.quirks.masks_on_delivery = flags[0];
            model.quirks.needs_clear_status = flags[1];
            model
        })
}

pub fn with_latencies(model: impl Strategy<Value = Model>) -> impl Strategy<Value = Model> {
    let late = prop::option::weighted(0.25, latency());
    (model, latency(), latency(), late, 1..u64::MAX).prop_map(
        |(mut model, status, interrupt, late, seed)| {
            let quirks = &mut model.quirks;
            (quirks.status, quirks.interrupt) = (status, interrupt);
            (quirks.late, quirks.seed) = (late, seed);
            model
        },
    )
}

fn paths() -> impl Strategy<Value = Paths> {
    prop_oneof![
        Just(Paths::Exact),
        Just(Paths::Fast),
        any::<u64>().prop_map(|seed| Paths::Either(Cell::new(seed))),
        any::<u64>().prop_map(|seed| Paths::List(Cell::new(seed))),
    ]
}

pub fn schedule(model: impl Strategy<Value = Model>) -> impl Strategy<Value = Schedule> {
    let named = prop::sample::select(vec![
        Named::Cycles,
        Named::Instructions,
        Named::Branches,
        Named::CacheMisses,
    ]);
    let period = prop_oneof![2..20_u64, 100..2000_u64, 2000..20_000_u64];
    let jitter = prop_oneof![3 => Just(0_u8), 1 => 1..=50_u8];
    let event = (named, 1..=3_u8, period, jitter);
    let counts = [0..5_u32, 0..3_u32, 0..2_u32, 0..5_u32];
    let disturbance = prop_oneof![
        8 => Just(Disturbance::None),
        1 => Just(Disturbance::ForeignNmi),
        1 => prop::sample::select(vec![1 << 63, 1 << 62, 1 << 61]).prop_map(Disturbance::Status),
    ];
    let step = (
        any::<bool>(),
        any::<bool>(),
        counts,
        1..2000_u64,
        disturbance,
    );
    (
        with_latencies(model),
        prop::collection::vec(event, 1..5),
        any::<(bool, bool)>(),
        (0..4_u64, 0..60_u64, 0..40_u64),
        prop::collection::vec(step, 1..12),
        paths(),
    )
        .prop_map(
            |(model, mut events, (is_nmi, stops_outside), costs, mut program, paths)| {
                let counters = counters(&model);
                events.truncate(counters.general.count_ones() as usize);
                for step in &mut program {
                    if let Disturbance::Status(_) = step.4
                        && !has_sticky_bits(&model)
                    {
                        step.4 = Disturbance::None;
                    }
                }
                Schedule {
                    model,
                    events,
                    is_nmi,
                    costs,
                    stops_outside,
                    paths,
                    program,
                }
            },
        )
}

fn counters(model: &Model) -> Counters {
    let capabilities = detect::detect(|leaf, subleaf| model.cpuid(leaf, subleaf));
    capabilities.unwrap().counters
}

fn has_sticky_bits(model: &Model) -> bool {
    let capabilities = detect::detect(|leaf, subleaf| model.cpuid(leaf, subleaf)).unwrap();
    !capabilities.interface.is_amd() && capabilities.interface.is_global()
}

/// Schedules for each vendor.
const SCHEDULES: u32 = 10_000;

proptest! {
    #![proptest_config(ProptestConfig::with_cases(SCHEDULES))]

    #[test]
    fn whatever_happens_on_intel_no_overflow_is_unseen_and_every_count_is_exact(
        schedule in schedule(intel()),
    ) {
        schedule.check()?;
    }

    #[test]
    fn whatever_happens_on_amd_no_overflow_is_unseen_and_every_count_is_exact(
        schedule in schedule(amd()),
    ) {
        schedule.check()?;
    }
}
