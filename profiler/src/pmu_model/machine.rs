//! Runs code on a core, and a handler whenever the core is interrupted.

use std::cell::{Cell, RefCell};

use super::apic::Delivered;
use super::events::{Cycle, Event, Privilege};
use super::kinds::Latency;
use super::processor::Core;
use super::state::pick;
use super::truth::Context;
use crate::hw::apic::{ExtendedEntry, PerformanceEntry};
use crate::pmu::registers::{
    CounterFault, CounterNumber, Freeze, Msr, MsrFault, Registers, debug_control,
};

/// What of the driver's costs time, in cycles of the kernel.
#[derive(Clone, Debug)]
pub struct Costs {
    /// An access to a register. They pass before it takes effect.
    pub access: u64,
    /// From the interrupt to the handler.
    pub entry: u64,
    /// From the handler to the code that was interrupted.
    pub exit: u64,
    /// By how much either may take longer, at random.
    pub slack: u32,
    /// What happens in each of these cycles.
    pub events: Vec<(Event, u32)>,
}

impl Costs {
    /// Nothing.
    pub const FREE: Self = Self {
        access: 0,
        entry: 0,
        exit: 0,
        slack: 0,
        events: Vec::new(),
    };

    /// So many cycles, each with an instruction.
    #[must_use]
    pub fn of(access: u64, entry: u64, exit: u64) -> Self {
        Self {
            access,
            entry,
            exit,
            slack: 0,
            events: vec![(Event::Cycles, 1), (Event::Instructions, 1)],
        }
    }
}

/// A core that executes code. As [`Registers`] it is the core, at a cost.
#[derive(Debug)]
pub struct Machine {
    /// The core.
    pub core: Core,
    /// What the driver's accesses cost.
    pub costs: RefCell<Costs>,
    /// After this many interrupts with nothing between them it is said that the
    /// interrupted code makes no progress.
    pub most_in_a_row: Cell<u64>,
    /// What slack follows from.
    random: Cell<u64>,
}

impl Machine {
    /// A machine with that core.
    #[must_use]
    pub const fn new(core: Core, costs: Costs) -> Self {
        Self {
            core,
            costs: RefCell::new(costs),
            most_in_a_row: Cell::new(1000),
            random: Cell::new(1),
        }
    }

    /// Executes a program: each cycle as often as it says. Interrupts are taken between
    /// cycles, also before the first and after the last.
    ///
    /// Panics if the program makes no progress for interrupts.
    pub fn run<'a>(
        &self,
        program: impl IntoIterator<Item = (Cycle<'a>, u64)>,
        mut handler: impl FnMut(&Self, Delivered),
    ) {
        for (cycle, cycles) in program {
            let mut left = cycles;
            loop {
                self.take_all(cycle.interrupts, &mut handler);
                if left == 0 {
                    break;
                }
                left -= self.core.execute_until_interrupt(&cycle, left);
            }
        }
    }

    /// Takes all interrupts that can be taken.
    ///
    /// Panics if there is no end of them.
    pub fn take_all(&self, interrupts: bool, mut handler: impl FnMut(&Self, Delivered)) {
        let mut in_a_row = 0;
        while let Some(interrupt) = self.core.take(interrupts) {
            in_a_row += 1;
            assert!(
                in_a_row <= self.most_in_a_row.get(),
                "no progress: {in_a_row} interrupts in a row, now {interrupt:?}"
            );
            self.dispatch(interrupt, &mut handler);
        }
    }

    /// The registers for code of the driver outside of its handler, which can be
    /// interrupted before each access and after it. An NMI that comes while the
    /// machine itself is used there waits for [`Self::run`].
    pub const fn interruptible<H: Fn(&Self, Delivered)>(
        &self,
        interrupts: bool,
        handler: H,
    ) -> Interruptible<'_, H> {
        Interruptible {
            machine: self,
            interrupts,
            handler,
        }
    }

    /// Entry, handler, exit.
    fn dispatch(&self, interrupt: Delivered, handler: &mut impl FnMut(&Self, Delivered)) {
        let before = self.core.set_context(Context::Handler);
        let Costs { entry, exit, .. } = *self.costs.borrow();
        self.spend(entry + self.slack());
        handler(self, interrupt);
        self.spend(exit + self.slack());
        if let Delivered::Vector { .. } = interrupt {
            self.core.end_of_interrupt();
        }
        self.core.set_context(before);
        self.core.iret();
    }

    fn slack(&self) -> u64 {
        let mut random = self.random.get();
        let slack = pick(&mut random, Latency::random(0, self.costs.borrow().slack));
        self.random.set(random);
        slack.into()
    }

    /// Executes this many cycles of the kernel, interrupts off.
    pub fn spend(&self, cycles: u64) {
        let costs = self.costs.borrow();
        let cycle = Cycle {
            privilege: Privilege::Kernel,
            interrupts: false,
            events: &costs.events,
        };
        self.core.execute(&cycle, cycles);
    }

    /// What an access costs. Outside of a handler it is the driver's.
    fn pay(&self) {
        let context = self.core.context();
        if context == Context::Program {
            self.core.set_context(Context::Driver);
        }
        let access = self.costs.borrow().access;
        self.spend(access);
        self.core.set_context(context);
    }
}

impl Registers for Machine {
    fn read_counter(&self, counter: CounterNumber) -> u64 {
        self.pay();
        self.core.read_counter(counter)
    }

    fn try_read_counter(&self, counter: CounterNumber) -> Result<u64, CounterFault> {
        self.pay();
        self.core.try_read_counter(counter)
    }

    fn read(&self, register: Msr) -> u64 {
        self.pay();
        self.core.read(register)
    }

    fn write(&self, register: Msr, value: u64) {
        self.pay();
        self.core.write(register, value);
    }

    fn try_read(&self, register: Msr) -> Result<u64, MsrFault> {
        self.pay();
        self.core.try_read(register)
    }

    fn try_write(&self, register: Msr, value: u64) -> Result<(), MsrFault> {
        self.pay();
        self.core.try_write(register, value)
    }

    fn try_freezes(&self, when: Freeze) -> Result<bool, MsrFault> {
        self.pay();
        self.core.try_freezes(when)
    }

    fn try_set_freezing(&self, when: Freeze, freezes: bool) -> Result<(), MsrFault> {
        self.pay();
        let before = self.core.debug_control()?;
        self.pay();
        let after = debug_control::with_freezing(before, when, freezes);
        self.core.set_debug_control(after)
    }

    fn read_lvtpc(&self) -> u32 {
        self.pay();
        self.core.read_lvtpc()
    }

    fn write_lvtpc(&self, entry: PerformanceEntry) {
        self.pay();
        self.core.write_lvtpc(entry);
    }

    fn read_extended_lvt(&self, entry: ExtendedEntry) -> Option<u32> {
        self.pay();
        self.core.read_extended_lvt(entry)
    }

    fn write_extended_lvt(&self, entry: ExtendedEntry, value: PerformanceEntry) {
        self.pay();
        self.core.write_extended_lvt(entry, value);
    }
}

/// A machine whose code is interrupted between its accesses to registers.
#[derive(Debug)]
pub struct Interruptible<'a, H> {
    machine: &'a Machine,
    interrupts: bool,
    handler: H,
}

impl<H: Fn(&Machine, Delivered)> Interruptible<'_, H> {
    /// Makes an access. Its cycles pass before interrupts are taken, so that they can
    /// come right before it takes effect, and right after.
    fn access<T>(&self, access: impl FnOnce(&Core) -> T) -> T {
        self.machine.pay();
        self.machine.take_all(self.interrupts, &self.handler);
        let result = access(&self.machine.core);
        self.machine.take_all(self.interrupts, &self.handler);
        result
    }
}

impl<H: Fn(&Machine, Delivered)> Registers for Interruptible<'_, H> {
    fn read_counter(&self, counter: CounterNumber) -> u64 {
        self.access(|core| core.read_counter(counter))
    }

    fn try_read_counter(&self, counter: CounterNumber) -> Result<u64, CounterFault> {
        self.access(|core| core.try_read_counter(counter))
    }

    fn read(&self, register: Msr) -> u64 {
        self.access(|core| core.read(register))
    }

    fn write(&self, register: Msr, value: u64) {
        self.access(|core| core.write(register, value));
    }

    fn try_read(&self, register: Msr) -> Result<u64, MsrFault> {
        self.access(|core| core.try_read(register))
    }

    fn try_write(&self, register: Msr, value: u64) -> Result<(), MsrFault> {
        self.access(|core| core.try_write(register, value))
    }

    fn try_freezes(&self, when: Freeze) -> Result<bool, MsrFault> {
        self.access(|core| core.try_freezes(when))
    }

    fn try_set_freezing(&self, when: Freeze, freezes: bool) -> Result<(), MsrFault> {
        let before = self.access(Core::debug_control)?;
        let after = debug_control::with_freezing(before, when, freezes);
        self.access(|core| core.set_debug_control(after))
    }

    fn read_lvtpc(&self) -> u32 {
        self.access(Core::read_lvtpc)
    }

    fn write_lvtpc(&self, entry: PerformanceEntry) {
        self.access(|core| core.write_lvtpc(entry));
    }

    fn read_extended_lvt(&self, entry: ExtendedEntry) -> Option<u32> {
        self.access(|core| core.read_extended_lvt(entry))
    }

    fn write_extended_lvt(&self, entry: ExtendedEntry, value: PerformanceEntry) {
        self.access(|core| core.write_extended_lvt(entry, value));
    }
}
