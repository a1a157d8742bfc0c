//! Programs, and handlers that interrupt them.

use std::cell::Cell;

use super::*;
use crate::hw::apic::PerformanceEntry;
use crate::pmu::registers::{Registers, select};

/// A driver for counter 0 of a processor with full width, as short as one can be.
#[derive(Default)]
struct Toy {
    samples: Cell<u64>,
    unclaimed: Cell<u64>,
}

impl Toy {
    const PERIOD: u64 = 100;

    fn load(registers: &impl Registers) {
        let value = (1 << 48) - Self::PERIOD;
        registers.write(intel::full_width_counter(0), value);
    }

    fn start(registers: &impl Registers) {
        registers.write(intel::GLOBAL_CONTROL, 0);
        Self::load(registers);
        let select = 0x3c | select::USER | select::INTERRUPT | select::ENABLE;
        registers.write(intel::event_select(0), select);
        registers.write_lvtpc(PerformanceEntry::NMI);
        registers.write(intel::GLOBAL_CONTROL, 1);
    }

    fn handle(&self, registers: &impl Registers) {
        let status = registers.read(intel::GLOBAL_STATUS);
        let count = if status & 1 != 0 {
            Self::load(registers);
            &self.samples
        } else {
            &self.unclaimed
        };
        count.set(count.get() + 1);
        registers.write_lvtpc(PerformanceEntry::NMI);
        registers.write(intel::GLOBAL_STATUS_RESET, status);
    }

    fn stop(registers: &impl Registers) {
        registers.write(intel::GLOBAL_CONTROL, 0);
        registers.write(intel::event_select(0), 0);
    }
}

#[test]
fn a_driver_samples_a_program() {
    let mut model = Model::intel(4);
    model.quirks.interrupt = Latency::random(0, 20);
    let machine = Machine::new(Core::new(model), Costs::of(3, 20, 10));
    let toy = Toy::default();
    Toy::start(&machine);
    machine.run([(USER, 10_000), (KERNEL, 5_000)], |machine, _| {
        toy.handle(machine)
    });
    Toy::stop(&machine);

    // The counter starts anew while the program stands still, later than it wrapped.
    let core = &machine.core;
    assert_eq!(toy.samples.get(), core.wraps(Id::General(0)));
    assert!(
        (80..100).contains(&toy.samples.get()),
        "{}",
        toy.samples.get()
    );
    assert_eq!(toy.unclaimed.get(), 0);
    let of = |privilege, context| core.occurred(Event::Cycles, privilege, context);
    assert_eq!(of(Privilege::User, Context::Program), 10_000);
    assert_eq!(of(Privilege::Kernel, Context::Program), 5_000);
    assert_eq!(of(Privilege::Kernel, Context::Driver), 7 * 3);
    let handler = 20 + 10 + 4 * 3;
    assert_eq!(
        of(Privilege::Kernel, Context::Handler),
        toy.samples.get() * handler
    );
    assert_eq!(core.counted(Id::General(0)), 10_000);
    assert_eq!(core.deliveries().nmis, toy.samples.get());
}

#[test]
fn counters_run_in_the_handler_too() {
    let machine = Machine::new(Core::new(Model::intel(4)), Costs::of(3, 20, 10));
    machine.core.write_lvtpc_bits(NMI);
    machine.core.wrmsr(0x186, CYCLES).unwrap();
    machine.core.wrmsr(0xc1, -100_i64 as u64).unwrap();
    let mut seen = Vec::new();
    machine.run([(USER, 105)], |machine, interrupt| {
        assert_eq!(interrupt.overflows(), 1);
        seen.push(machine.read(intel::counter(0)));
        seen.push(machine.read(intel::counter(0)));
    });
    assert_eq!(seen, [23, 26]);
    assert_eq!(machine.core.rdmsr(0xc1), Ok(26 + 10 + 5));
    assert_eq!(machine.core.now(), 105 + 36);
}

#[test]
#[should_panic(expected = "no progress: 51 interrupts in a row")]
fn a_handler_that_never_ends_is_noticed() {
    let machine = Machine::new(Core::new(Model::intel(4)), Costs::of(3, 20, 110));
    machine.most_in_a_row.set(50);
    machine.core.write_lvtpc_bits(NMI);
    Toy::load(&machine.core);
    machine.core.wrmsr(0x186, CYCLES).unwrap();
    machine.run([(KERNEL, 1000)], |machine, _| {
        machine.write_lvtpc(PerformanceEntry::NMI);
        machine.write(intel::GLOBAL_STATUS_RESET, 1);
        Toy::load(machine);
    });
}

#[test]
fn a_driver_is_interrupted_between_accesses() {
    let machine = Machine::new(Core::new(Model::intel(4)), Costs::of(10, 0, 0));
    machine.core.write_lvtpc_bits(NMI);
    machine.core.wrmsr(0x186, CYCLES).unwrap();
    let trace = std::cell::RefCell::new(Vec::new());
    let handler = |machine: &Machine, _| {
        assert_eq!(machine.core.context(), Context::Handler);
        trace.borrow_mut().push("handler");
        machine.core.wrmsr(0x186, 0).unwrap();
    };
    let registers = machine.interruptible(false, handler);
    machine.core.wrmsr(0xc1, -15_i64 as u64).unwrap();
    for name in ["first", "second", "third"] {
        let select = registers.read(intel::event_select(0));
        trace.borrow_mut().push(name);
        assert_eq!(select != 0, name == "first");
    }
    assert_eq!(*trace.borrow(), ["first", "handler", "second", "third"]);
    let of = |context| {
        machine
            .core
            .occurred(Event::Cycles, Privilege::Kernel, context)
    };
    assert_eq!((of(Context::Driver), of(Context::Program)), (30, 0));
}

#[test]
fn a_vector_interrupts_where_interrupts_are_on() {
    let machine = Machine::new(Core::new(Model::intel(4)), Costs::FREE);
    machine.core.write_lvtpc_bits(0x40);
    machine.core.wrmsr(0x186, CYCLES).unwrap();
    machine.core.wrmsr(0xc1, -10_i64 as u64).unwrap();
    let off = Cycle {
        interrupts: false,
        ..KERNEL
    };
    let mut taken = Vec::new();
    machine.run([(off, 50), (KERNEL, 50)], |machine, interrupt| {
        assert_eq!(interrupt.overflows(), 1);
        taken.push(machine.core.now());
        machine.core.write_lvtpc_bits(0x40);
        machine.write(intel::GLOBAL_STATUS_RESET, 1);
        machine.write(intel::counter(0), -10_i64 as u64);
    });
    assert_eq!(taken, [50, 60, 70, 80, 90, 100]);
}
