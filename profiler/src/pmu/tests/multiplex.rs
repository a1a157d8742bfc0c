//! Counting more events than there are counters, against the model of the hardware.

use std::cell::{Cell, RefCell};

use proptest::prelude::*;

use super::schedule::{amd, costs, happening, intel, with_latencies};
use crate::format::count::Reading;
use crate::hw::apic::PerformanceEntry;
use crate::pmu::counters::Counter;
use crate::pmu::detect;
use crate::pmu::event::{Event, EventList, Named, What};
use crate::pmu::multiplex::{Cost, Group, Groups, Multiplexer};
use crate::pmu::plan::{PlanError, PmuState};
use crate::pmu_model::{
    AmdInterface, Context, Core, Costs, Cycle, Event as Happening, Id, Kind, Latency, Machine,
    Model, Privilege,
};

fn list(text: &str) -> EventList {
    EventList::parse(text).unwrap()
}

fn look(core: &Core) -> PmuState {
    let capabilities = detect::detect(|leaf, subleaf| core.model().cpuid(leaf, subleaf));
    PmuState::probe(core, &capabilities.unwrap()).unwrap()
}

/// The events of each group of `list` on this processor, by their places.
fn groups_of(model: &Model, events: &EventList) -> Vec<Vec<usize>> {
    let found = look(&Core::new(model.clone()));
    let groups = Groups::split(&found, events);
    (0..groups.len())
        .map(|number| {
            let group = groups.group(&found, events, number).unwrap();
            let places = group.events().map(|(_, place)| place);
            places.collect()
        })
        .collect()
}

const SIX: &str = "cycles,instructions,branches,branch-misses,cache-references,cache-misses";

#[test]
fn there_are_as_few_groups_as_the_counters_allow() {
    let six = list(SIX);
    for (model, groups) in [
        (Model::intel(1), vec![vec![0, 1], vec![2, 3], vec![4, 5]]),
        (Model::intel(2), vec![vec![0, 1, 2, 3], vec![4, 5]]),
        (Model::intel(4), vec![vec![0, 1, 2, 3, 4, 5]]),
        (
            Model::amd(AmdInterface::Legacy),
            vec![vec![0, 1, 2, 3], vec![4, 5]],
        ),
        (Model::amd(AmdInterface::V2), vec![vec![0, 1, 2, 3, 4, 5]]),
    ] {
        assert_eq!(groups_of(&model, &six), groups, "{model:?}");
    }
}

#[test]
fn an_event_that_wants_a_certain_counter_moves_to_where_it_is_free() {
    let events = list(
        "branches/counters=1/,branch-misses/counters=1/,cache-misses/counters=2/,cache-references",
    );
    assert_eq!(
        groups_of(&Model::intel(2), &events),
        [vec![0, 2], vec![1, 3]]
    );
}

#[test]
fn an_event_that_cannot_be_counted_is_in_no_group_and_named() {
    let events = list("cycles,slots,branches,slots:k");
    let found = look(&Core::new(Model::intel(4)));
    let groups = Groups::split(&found, &events);
    assert_eq!(groups_of(&Model::intel(4), &events), [[0, 2]]);
    for (index, is_missing) in [(0, false), (1, true), (2, false), (3, true)] {
        let problem = groups.problem(index);
        assert_eq!(problem.is_some(), is_missing);
        if let Some(&PlanError::Event { place, .. }) = problem {
            assert_eq!(place, index);
        }
    }
    let none = Groups::split(&found, &list("slots"));
    assert!(none.is_empty() && none.group(&found, &events, 0).is_none());
}

/// The time from one handler's end to the next one's start with nothing between, as a
/// kernel measures it.
fn time_overhead(machine: &Machine, group: &Group) -> u64 {
    let trial = Multiplexer::default();
    let groups = [group.clone()];
    machine.core.send_nmi();
    let mut number = 0;
    machine.take_all(false, |machine, _| {
        number += 1;
        if number == 1 {
            trial.begin(machine, &groups).unwrap();
            trial.resume(machine, &groups, PerformanceEntry::NMI, machine.core.now());
            machine.core.send_nmi();
        } else {
            trial.pause(machine, &groups, machine.core.now());
            trial.end(machine, &groups, false);
        }
    });
    trial.reading(group.events().next().unwrap().1).enabled
}

/// A run of the multiplexer on a machine.
struct Rig {
    machine: Machine,
    events: EventList,
    groups: Vec<Group>,
    multiplexer: Multiplexer,
    /// The next interrupt is the timer's.
    is_due: Cell<bool>,
    /// By event: how often it happened while its group was on, and how often it had
    /// happened when the code went on.
    truth: RefCell<Vec<(u64, u64)>>,
    current: Cell<usize>,
}

impl Rig {
    fn new(machine: Machine, events: EventList) -> Self {
        Self::with_calls(machine, events, 0, 0)
    }

    /// One in which the instruction that ends it is so many events of each kind, and
    /// so many ticks.
    fn with_calls(machine: Machine, events: EventList, call: u64, ticks: u64) -> Self {
        let found = look(&machine.core);
        let split = Groups::split(&found, &events);
        let groups: Vec<_> = (0..split.len())
            .map(|number| {
                let mut group = split.group(&found, &events, number).unwrap();
                for (assignment, (overhead, _)) in
                    costs(&machine, group.plan()).into_iter().enumerate()
                {
                    group.set_cost(
                        assignment,
                        Cost {
                            overhead,
                            call,
                            spread: 0,
                        },
                    );
                }
                let overhead = time_overhead(&machine, &group);
                let call = ticks;
                group.set_time(Cost {
                    overhead,
                    call,
                    spread: 0,
                });
                group
            })
            .collect();
        let rig = Self {
            truth: RefCell::new(vec![(0, 0); events.as_slice().len()]),
            machine,
            events,
            groups,
            multiplexer: Multiplexer::default(),
            is_due: Cell::new(false),
            current: Cell::new(0),
        };
        rig.begin();
        rig
    }

    fn begin(&self) {
        self.in_handler(|rig| {
            let begun = rig.multiplexer.begin(&rig.machine, &rig.groups);
            begun.unwrap();
            rig.resume();
        });
    }

    fn in_handler(&self, action: impl FnOnce(&Self)) {
        self.machine.core.send_nmi();
        let mut action = Some(action);
        self.machine.take_all(false, |_, _| match action.take() {
            Some(action) => action(self),
            None => self.interrupt(),
        });
    }

    fn happened(&self, index: usize) -> u64 {
        let event = self.events.as_slice()[index];
        let levels = [
            (event.kernel, Privilege::Kernel),
            (event.user, Privilege::User),
        ];
        let counted = levels.into_iter().filter(|(is_counted, _)| *is_counted);
        let core = &self.machine.core;
        counted
            .map(|(_, level)| core.occurred(happening(&event), level, Context::Program))
            .sum()
    }

    fn pause(&self) {
        let now = self.machine.core.now();
        let was_on = self.multiplexer.pause(&self.machine, &self.groups, now);
        assert!(was_on);
        let mut truth = self.truth.borrow_mut();
        for (_, event) in self.groups[self.current.get()].events() {
            truth[event].0 += self.happened(event) - truth[event].1;
        }
    }

    fn resume(&self) {
        let mut truth = self.truth.borrow_mut();
        for (event, truth) in truth.iter_mut().enumerate() {
            truth.1 = self.happened(event);
        }
        let now = self.machine.core.now();
        self.multiplexer
            .resume(&self.machine, &self.groups, PerformanceEntry::NMI, now);
    }

    fn interrupt(&self) {
        self.pause();
        if self.is_due.take() {
            let rotated = self.multiplexer.rotate(&self.machine, &self.groups);
            rotated.unwrap();
            self.current
                .set((self.current.get() + 1) % self.groups.len());
        }
        self.resume();
    }

    /// Runs code, and lets the timer interrupt after it.
    fn run(&self, cycle: Cycle<'_>, cycles: u64, is_timer: bool) {
        self.machine.run([(cycle, cycles)], |_, _| self.interrupt());
        if is_timer {
            self.is_due.set(true);
            self.machine.core.send_nmi();
            self.machine.take_all(false, |_, _| self.interrupt());
        }
    }

    fn end(&self) {
        let mut is_first = true;
        self.machine.core.send_nmi();
        self.machine.take_all(false, |_, _| {
            if std::mem::take(&mut is_first) {
                self.pause();
                self.multiplexer.end(&self.machine, &self.groups, false);
            }
        });
    }

    fn reading(&self, index: usize) -> Reading {
        self.multiplexer.reading(index)
    }

    /// How often the counter of the first group's event in `assignment` has gone round.
    fn rounds(&self, assignment: usize) -> u64 {
        let id = match self.groups[0]
            .plan()
            .assignment(assignment)
            .unwrap()
            .counter
        {
            Counter::General(number) => Id::General(number),
            Counter::Fixed(number) => Id::Fixed(number),
        };
        self.machine.core.wraps(id)
    }

    /// That each count is what happened while its group was on.
    fn check(&self) -> Result<(), TestCaseError> {
        for (index, (truth, _)) in self.truth.borrow().iter().enumerate() {
            let reading = self.reading(index);
            prop_assert_eq!(reading.count, *truth, "event {}", index);
            prop_assert!(reading.running <= reading.enabled);
        }
        Ok(())
    }
}

/// A cycle of the kernel's code.
const fn cycle<'a>(events: &'a [(Happening, u32)]) -> Cycle<'a> {
    Cycle {
        privilege: Privilege::Kernel,
        interrupts: true,
        events,
    }
}

fn free(model: Model) -> Machine {
    Machine::new(Core::new(model), Costs::of(3, 40, 25))
}

/// Five general events and two fixed ones: more than most have counters.
const SEVEN: &str = "cycles,instructions,cache-misses,branches,r1a8,r2a8,r3a8";
const ALL_HAPPEN: &[(Happening, u32)] = &[
    (Happening::Cycles, 1),
    (Happening::Instructions, 2),
    (Happening::CacheMisses, 3),
    (Happening::Branches, 5),
    (Happening::Raw(0x1a8), 7),
    (Happening::Raw(0x2a8), 0),
    (Happening::Raw(0x3a8), 11),
];

#[test]
fn one_group_is_exact_and_not_scaled() {
    let rig = Rig::new(
        free(Model::intel(4)),
        list("cycles,instructions,branches:k"),
    );
    assert_eq!(rig.groups.len(), 1);
    for _ in 0..50 {
        rig.run(cycle(ALL_HAPPEN), 1234, true);
    }
    rig.end();
    for (index, each) in [(0, 1), (1, 2), (2, 5)] {
        let reading = rig.reading(index);
        assert_eq!(reading.scaled(), Some(50 * 1234 * each));
        assert!(!reading.is_scaled());
        // The times are the code's alone, too.
        assert_eq!(reading.enabled, 50 * 1234);
    }
}

/// Each interrupt costs up to so much more than is taken off for it.
#[test]
fn a_count_is_off_by_what_its_interrupts_vary_and_no_more() {
    for slack in [0, 7, 30] {
        let machine = free(Model::intel(4));
        let rig = Rig::new(machine, list("cycles,instructions,cycles:u"));
        rig.machine.costs.borrow_mut().slack = slack;
        for _ in 0..50 {
            rig.run(cycle(ALL_HAPPEN), 1234, true);
        }
        rig.end();
        // The timer's interrupts, and the last.
        assert_eq!(rig.multiplexer.passages(), 51);
        for (index, each) in [(0, 1), (1, 2)] {
            // On the way in and on the way out.
            let within = 51 * 2 * u64::from(slack);
            let count = rig.reading(index).count;
            let excess = count - 50 * 1234 * each;
            assert!(excess <= within, "{slack}: {excess}, within {within}");
            assert!(4 * excess >= within, "{slack}: {excess}, within {within}");
        }
        assert_eq!(rig.reading(2).count, 0);
        rig.current.set(0);
        rig.begin();
        assert_eq!(rig.multiplexer.passages(), 0);
    }
}

#[test]
fn what_is_begun_again_starts_from_zero() {
    for events in ["cycles,instructions", SEVEN] {
        let rig = Rig::new(free(Model::intel(2)), list(events));
        let mut readings = Vec::new();
        for _ in 0..2 {
            for _ in 0..4 {
                rig.run(cycle(ALL_HAPPEN), 1000, true);
            }
            rig.end();
            readings.push([0, 1].map(|index| rig.reading(index)));
            rig.current.set(0);
            rig.begin();
        }
        assert_eq!(readings[0], readings[1]);
    }
}

/// Counters of 33 to 40 bits that take writes of 32: they go round after 2³¹.
#[test]
fn narrow_counters_go_round_many_times_and_no_count_is_lost() {
    for width in 33..=40 {
        let mut model = Model::intel(2);
        let intel = model.as_intel();
        (intel.general_width, intel.fixed_width) = (width, width);
        let rig = Rig::new(
            free(model),
            list("branches,cache-misses,cycles,instructions"),
        );
        assert_eq!(rig.groups.len(), 1);
        let happen = [
            (Happening::Cycles, 1),
            (Happening::Branches, 1_000_003),
            (Happening::CacheMisses, 77),
            (Happening::Instructions, 70_000_000),
        ];
        let cycles = 200_000;
        rig.run(cycle(&happen), cycles, false);
        let rounds = rig.rounds(0);
        assert!(rounds > 50, "{rounds}");
        rig.end();
        for (index, each) in [(0, 1_000_003), (1, 77), (2, 1), (3, 70_000_000)] {
            assert_eq!(rig.reading(index).scaled(), Some(each * cycles), "{width}");
        }
    }
}

#[test]
fn scaled_counts_of_a_uniform_program_are_near_the_truth() {
    for model in [
        Model::intel(1),
        Model::intel(2),
        Model::intel(3),
        Model::amd(AmdInterface::Legacy),
    ] {
        let rig = Rig::new(free(model), list(SEVEN));
        assert!(rig.groups.len() > 1);
        for round in 0..301 {
            rig.run(cycle(ALL_HAPPEN), 9_000 + 100 * (round % 20), true);
        }
        rig.end();
        rig.check().unwrap();
        for index in 0..7 {
            let reading = rig.reading(index);
            let (scaled, truth) = (reading.scaled().unwrap(), rig.happened(index));
            assert!(reading.is_scaled());
            assert!(
                scaled.abs_diff(truth) * 200 <= truth,
                "event {index}: {scaled}, and it was {truth}: {reading:?}"
            );
        }
    }
}

#[test]
fn an_event_whose_turn_never_came_has_no_count() {
    let rig = Rig::new(free(Model::intel(2)), list(SIX));
    rig.run(cycle(ALL_HAPPEN), 5000, false);
    rig.end();
    let [first, last] = [0, 5].map(|index| rig.reading(index));
    assert_eq!((first.scaled(), first.is_scaled()), (Some(5000), false));
    assert_eq!((last.scaled(), last.is_scaled()), (None, true));
    assert_eq!(last.enabled, first.enabled);
}

#[test]
fn the_instruction_that_calls_the_handler_is_taken_off() {
    let events = list("cycles,instructions,branches");
    let rig = Rig::with_calls(free(Model::intel(2)), events, 1, 3);
    rig.run(cycle(ALL_HAPPEN), 100, false);
    rig.machine.core.send_nmi();
    rig.machine.take_all(false, |_, _| {
        rig.pause();
        rig.multiplexer.end(&rig.machine, &rig.groups, true);
    });
    assert_eq!([0, 1, 2].map(|it| rig.reading(it).count), [99, 199, 499]);
    assert_eq!(rig.reading(0).enabled, 97);
    assert_eq!(rig.reading(0).running, 97);
}

#[test]
fn scaling_rounds_and_does_not_overflow() {
    let reading = |count, enabled, running| Reading {
        count,
        enabled,
        running,
    };
    for (reading, scaled) in [
        (reading(10, 3, 1), Some(30)),
        (reading(10, 4, 3), Some(13)),
        (reading(11, 4, 3), Some(15)),
        (reading(7, 9, 9), Some(7)),
        (reading(u64::MAX, 9, 9), Some(u64::MAX)),
        (
            reading(u64::MAX / 2, u64::MAX, u64::MAX / 2),
            Some(u64::MAX),
        ),
        (reading(u64::MAX, u64::MAX, 1), Some(u64::MAX)),
        (reading(0, 9, 1), Some(0)),
        (reading(0, 9, 0), None),
    ] {
        assert_eq!(reading.scaled(), scaled, "{reading:?}");
    }
}

/// A processor, its costs, events, and code with rotations between.
#[derive(Clone, Debug)]
struct Schedule {
    model: Model,
    costs: (u64, u64, u64),
    events: Vec<(Named, u8)>,
    /// Privilege, what happens in each cycle, cycles, whether the groups rotate then.
    program: Vec<(bool, [u32; 4], u64, bool)>,
}

impl Schedule {
    fn check(&self) -> Result<(), TestCaseError> {
        let mut events = self.events.iter().map(|&(named, levels)| Event {
            user: levels & 1 != 0,
            kernel: levels & 2 != 0,
            ..Event::new(What::Named(named))
        });
        let first = EventList::of(events.next().unwrap());
        let events = events.fold(first, |list, event| list.and(event).unwrap());
        let (access, entry, exit) = self.costs;
        let core = Core::new(self.model.clone());
        let before = core.snapshot().restored();
        let rig = Rig::new(Machine::new(core, Costs::of(access, entry, exit)), events);
        for &(is_user, counts, cycles, rotates) in &self.program {
            let happen = [
                (Happening::Cycles, 1),
                (Happening::Instructions, counts[0]),
                (Happening::Branches, counts[1]),
                (Happening::CacheMisses, counts[2]),
                (Happening::Slots, counts[3]),
            ];
            let mut cycle = cycle(&happen);
            if is_user {
                cycle.privilege = Privilege::User;
            }
            rig.run(cycle, cycles, rotates);
        }
        rig.end();
        rig.check()?;
        if rig.groups.len() == 1 {
            for index in 0..self.events.len() {
                let scaled = rig.reading(index).scaled();
                prop_assert_eq!(scaled.unwrap_or(0), rig.happened(index));
            }
        }
        // What was on its way arrives.
        let idle = Cycle {
            privilege: Privilege::User,
            interrupts: true,
            events: &[],
        };
        rig.machine.run([(idle, 200)], |_, _| {});
        let mut after = rig.machine.core.snapshot().restored();
        for status in [0x38e, 0xc000_0300] {
            // It is not to be written as a whole.
            if let (Some(after), Some(before)) =
                (after.msrs.get_mut(&status), before.msrs.get(&status))
            {
                *after = *before;
            }
        }
        prop_assert_eq!(after, before, "the end brings back what was before");
        Ok(())
    }
}

/// Processors with few counters, which go round early on some.
fn models() -> impl Strategy<Value = Model> {
    let narrow = |mut model: Model, width: u8| {
        if matches!(&model.kind, Kind::Intel(intel) if intel.version < 6) {
            let intel = model.as_intel();
            intel.full_width_writes = false;
            intel.general_width = width;
        }
        model
    };
    prop_oneof![
        (intel(), 33..=40_u8).prop_map(move |(model, width)| narrow(model, width)),
        intel(),
        amd(),
    ]
}

fn schedules() -> impl Strategy<Value = Schedule> {
    let named = prop::sample::select(vec![
        Named::Cycles,
        Named::Instructions,
        Named::Branches,
        Named::CacheMisses,
    ]);
    let counts = prop_oneof![
        3 => [0..5_u32, 0..3_u32, 0..2_u32, 0..5_u32],
        // As many as the narrowest counter can have on its way, however late its
        // interrupt is.
        1 => [0..10_000_000_u32, 0..9_000_000_u32, 0..10_000_000_u32, 0..5_u32],
    ];
    let step = (any::<bool>(), counts, 1..3000_u64, any::<bool>());
    (
        with_latencies(models()),
        (0..4_u64, 0..60_u64, 0..40_u64),
        prop::collection::vec((named, 1..=3_u8), 1..16),
        prop::collection::vec(step, 1..24),
    )
        .prop_map(|(model, costs, events, program)| Schedule {
            model,
            costs,
            events,
            program,
        })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(5000))]

    #[test]
    fn whatever_happens_each_count_is_what_happened_in_the_events_turns(
        schedule in schedules(),
    ) {
        schedule.check()?;
    }

    #[test]
    fn every_event_is_in_the_first_group_that_takes_it(
        model in models(),
        events in prop::collection::vec((0..11_usize, 1..=3_u8, 0..4_u32), 1..=16),
    ) {
        let mut events = events.into_iter().map(|(named, levels, counters)| Event {
            user: levels & 1 != 0,
            kernel: levels & 2 != 0,
            counters: (counters != 0).then_some(counters),
            ..Event::new(What::Named(Named::ALL[named]))
        });
        let first = EventList::of(events.next().unwrap());
        let events = events.fold(first, |list, event| list.and(event).unwrap());
        let found = look(&Core::new(model.clone()));
        let split = Groups::split(&found, &events);
        let groups = groups_of(&model, &events);
        prop_assert_eq!(groups.len(), split.len());
        let mut seen: Vec<_> = groups.iter().flatten().copied().collect();
        let missing = (0..events.as_slice().len()).filter(|&it| split.problem(it).is_some());
        seen.extend(missing);
        seen.sort_unstable();
        prop_assert_eq!(seen, (0..events.as_slice().len()).collect::<Vec<_>>());
        for (number, group) in groups.iter().enumerate() {
            let plan = *split.group(&found, &events, number).unwrap().plan();
            prop_assert_eq!(plan.assignments().count(), group.len());
            for (assignment, &place) in group.iter().enumerate() {
                prop_assert_eq!(plan.assignment(assignment).unwrap().event, events.as_slice()[place]);
                // What came after it into an earlier group did not stand in its way.
                for earlier in &groups[..number] {
                    let before = earlier.iter().filter(|&&it| it < place).chain([&place]);
                    let list = before.map(|&it| events.as_slice()[it]);
                    let list: Vec<_> = list.collect();
                    let first = EventList::of(list[0]);
                    let list = list[1..].iter().fold(first, |it, event| it.and(*event).unwrap());
                    prop_assert!(crate::pmu::plan::Plan::make(&found, &list, None).is_err());
                }
            }
        }
    }
}

#[test]
fn an_overflow_on_its_way_when_the_groups_rotate_is_not_lost() {
    let mut model = Model::intel(2);
    model.quirks.status = Latency::fixed(30);
    model.quirks.interrupt = Latency::fixed(20);
    model.quirks.late = Some(Latency::fixed(50));
    let rig = Rig::new(free(model), list(SIX));
    let happen = [
        (Happening::Cycles, 1),
        (Happening::Branches, 1 << 24),
        (Happening::CacheMisses, 1 << 25),
        (Happening::Instructions, 1 << 24),
    ];
    // 128 cycles are a round of the counter: the timer comes just behind it.
    for more in 0..60 {
        rig.run(cycle(&happen), 128 + more, true);
    }
    rig.end();
    rig.check().unwrap();
    assert!(rig.rounds(2) > 20, "{}", rig.rounds(2));
}
