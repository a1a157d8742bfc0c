//! What processors, hypervisors and firmware are known for and the manuals do not say,
//! or say in passing: each by its name, against the model.

mod delivery;
mod firmware;
mod nested;
mod values;

use super::schedule::{Paths, Rig, VECTOR};
use crate::hw::apic::{ExtendedEntry, PerformanceEntry};
use crate::pmu::event::EventList;
use crate::pmu::registers::{CounterFault, CounterNumber, Freeze, Msr, MsrFault, Registers};
use crate::pmu_model::{
    AmdInterface, Core, Costs, Cycle, Event as Happening, Kind, Machine, Model, Privilege, Snapshot,
};

/// A processor of each interface.
fn all() -> impl Iterator<Item = Model> {
    let amd = [AmdInterface::Legacy, AmdInterface::Core, AmdInterface::V2];
    (1..=6).map(Model::intel).chain(amd.map(Model::amd))
}

/// Those that have a global status.
fn all_global() -> impl Iterator<Item = Model> {
    let intel = (2..=6).map(Model::intel);
    intel.chain([Model::amd(AmdInterface::V2)])
}

/// Those with a global status of Intel's that counters can be frozen by.
fn intel_global() -> impl Iterator<Item = Model> {
    (2..=6).map(Model::intel)
}

fn list(events: &str) -> EventList {
    EventList::parse(events).unwrap()
}

/// A core that is to count `events`, on which nothing is for free.
fn rig_on(core: Core, events: &str) -> Rig {
    Rig::new(
        Machine::new(core, Costs::of(2, 20, 15)),
        &list(events),
        true,
    )
}

fn rig(model: Model, events: &str) -> Rig {
    rig_on(Core::new(model), events)
}

/// Events of the user's, as many as the processor has counters for.
fn events(model: &Model) -> &'static str {
    match &model.kind {
        Kind::Intel(intel) if intel.version == 1 => "cycles:u,instructions:u",
        _ => "cycles:u,instructions:u,branches/period=500/u",
    }
}

/// Cycles of this kind, each with two instructions and a branch.
const fn cycle(privilege: Privilege) -> Cycle<'static> {
    Cycle {
        privilege,
        interrupts: true,
        events: &[
            (Happening::Cycles, 1),
            (Happening::Instructions, 2),
            (Happening::Branches, 1),
        ],
    }
}

/// Runs so many cycles of the user's.
fn run(rig: &Rig, cycles: u64) {
    rig.run([(cycle(Privilege::User), cycles)]);
}

/// Where the samples of an event are.
fn positions(rig: &Rig, index: usize) -> Vec<u64> {
    let seen = rig.seen.borrow();
    let mut position = 0;
    let samples = seen.samples[index].iter().map(|(ran, _)| {
        position += ran;
        position
    });
    samples.collect()
}

/// The multiples of `period` up to `count`.
fn multiples(period: u64, count: u64) -> Vec<u64> {
    (1..=count / period).map(|number| number * period).collect()
}

/// The samples of each event are where they are due.
#[track_caller]
fn assert_on_time(rig: &Rig) {
    for (index, assignment) in rig.plan.assignments() {
        let due = multiples(assignment.period.unwrap(), rig.happened(index));
        let model = rig.machine.core.model();
        assert_eq!(positions(rig, index), due, "event {index} on {model:?}");
    }
}

/// What is counted is what happened.
#[track_caller]
fn assert_exact(rig: &Rig) {
    for (index, _) in rig.plan.assignments() {
        let model = rig.machine.core.model();
        let (counted, happened) = (rig.counted(index), rig.happened(index));
        assert_eq!(counted, happened, "event {index} on {model:?}");
    }
}

/// What a core holds, without the status: it is not to be written as a whole.
fn settled(core: &Core) -> Snapshot {
    let mut snapshot = core.snapshot().restored();
    for status in [0x38e, 0xc000_0300] {
        snapshot.msrs.remove(&status);
    }
    snapshot
}

/// An access to a register, and which.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Access {
    Read(Msr),
    Write(Msr),
    /// Likewise, and it may be refused.
    Try(Msr),
    /// Whether counters freeze is read, as 0 or 1.
    Freezes,
    /// Likewise, it is written, and may be refused.
    TryFreezing(Freeze),
    Lvtpc,
}

/// Registers under the eyes of a test: it is told of each access before it is made, of
/// what is written, or what was read; and says what it is instead, or refuses it.
struct Watched<'a, R, F> {
    inner: &'a R,
    watch: F,
}

impl<R: Registers, F: Fn(Access, u64) -> Result<u64, MsrFault>> Registers for Watched<'_, R, F> {
    fn read(&self, register: Msr) -> u64 {
        self.try_read(register).unwrap()
    }

    fn write(&self, register: Msr, value: u64) {
        let value = (self.watch)(Access::Write(register), value).unwrap();
        self.inner.write(register, value);
    }

    fn read_counter(&self, counter: CounterNumber) -> u64 {
        self.inner.read_counter(counter)
    }

    fn try_read_counter(&self, counter: CounterNumber) -> Result<u64, CounterFault> {
        self.inner.try_read_counter(counter)
    }

    fn try_read(&self, register: Msr) -> Result<u64, MsrFault> {
        (self.watch)(Access::Read(register), self.inner.try_read(register)?)
    }

    fn try_write(&self, register: Msr, value: u64) -> Result<(), MsrFault> {
        let value = (self.watch)(Access::Try(register), value)?;
        self.inner.try_write(register, value)
    }

    fn try_freezes(&self, when: Freeze) -> Result<bool, MsrFault> {
        let freezes = self.inner.try_freezes(when)?;
        Ok((self.watch)(Access::Freezes, freezes.into())? != 0)
    }

    fn try_set_freezing(&self, when: Freeze, freezes: bool) -> Result<(), MsrFault> {
        let freezes = (self.watch)(Access::TryFreezing(when), freezes.into())? != 0;
        self.inner.try_set_freezing(when, freezes)
    }

    fn read_lvtpc(&self) -> u32 {
        let _ = (self.watch)(Access::Lvtpc, 0);
        self.inner.read_lvtpc()
    }

    fn write_lvtpc(&self, entry: PerformanceEntry) {
        let _ = (self.watch)(Access::Lvtpc, entry.bits().into());
        self.inner.write_lvtpc(entry);
    }

    fn read_extended_lvt(&self, entry: ExtendedEntry) -> Option<u32> {
        self.inner.read_extended_lvt(entry)
    }

    fn write_extended_lvt(&self, entry: ExtendedEntry, value: PerformanceEntry) {
        self.inner.write_extended_lvt(entry, value);
    }
}
