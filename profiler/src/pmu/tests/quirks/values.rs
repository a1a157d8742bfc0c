//! What registers take, how far counters count, and the numbers that come of it.

use std::cell::RefCell;

use super::*;
use crate::pmu::counters::Counter;
use crate::pmu_model::Latency;

/// Each processor, with and without what it may lack.
fn variants() -> Vec<Model> {
    let mut models = Vec::new();
    for version in 1..=6 {
        for width in [32, 33, 40, 47, 48] {
            for lacks in 0..16_u8 {
                let mut model = Model::intel(version);
                let intel = model.as_intel();
                intel.general_width = width;
                intel.fixed_width = if lacks & 1 == 0 { width } else { 48 };
                if lacks & 2 != 0 {
                    intel.full_width_writes = false;
                }
                if lacks & 4 != 0 {
                    (intel.capabilities, intel.full_width_writes) = (false, false);
                    intel.freezes_in_smm = false;
                }
                if lacks & 8 != 0 {
                    (intel.uncore, intel.trace, intel.sgx) = (false, false, false);
                } else if version >= 5 {
                    intel.any_thread = true;
                }
                models.push(model);
            }
        }
    }
    for (interface, counters) in [
        (AmdInterface::Legacy, 4),
        (AmdInterface::Core, 6),
        (AmdInterface::V2, 6),
        (AmdInterface::V2, 15),
    ] {
        for drops_reserved in [false, true] {
            for freeze in [false, interface == AmdInterface::V2] {
                let mut model = Model::amd(interface);
                let amd = model.as_amd();
                (amd.counters, amd.freeze) = (counters, freeze);
                model.quirks.drops_reserved = drops_reserved;
                models.push(model);
            }
        }
    }
    models
}

#[test]
fn reserved_bits_are_never_written() {
    // The model refuses them.
    for model in variants() {
        for events in ["cycles,instructions:u", "rffff:k,branches/period=2000/u"] {
            for needs_clear_status in [false, true] {
                let mut model = model.clone();
                model.quirks.needs_clear_status = needs_clear_status;
                let rig = rig(model, events);
                let before = settled(&rig.machine.core);
                rig.start();
                for (number, value) in &rig.machine.core.snapshot().restored().msrs {
                    // Nowhere ANY: before version 3 and from 5 on it is reserved.
                    let any = match number {
                        0x186..0x18e | 0x1901.. if *number < 0x1980 => 1 << 21,
                        0x38d => 0x4444_4444_4444,
                        _ => 0,
                    };
                    assert_eq!(value & any, 0, "{number:#x}");
                }
                run(&rig, 4500);
                assert_on_time(&rig);
                rig.stop();
                assert_exact(&rig);
                assert_eq!(settled(&rig.machine.core), before);
            }
        }
    }
}

#[test]
fn every_latency_and_every_seed() {
    for mut model in all() {
        for seed in 1..20 {
            let quirks = &mut model.quirks;
            quirks.seed = seed;
            quirks.drops_reserved = quirks.masks_on_delivery && seed % 2 == 0;
            quirks.drops_reserved &= !matches!(model.kind, crate::pmu_model::Kind::Intel(_));
            quirks.masks_on_delivery = seed % 3 != 0;
            quirks.needs_clear_status = seed % 4 < 2;
            quirks.status = Latency::random(0, 9);
            quirks.interrupt = Latency::random(0, 30);
            quirks.late = (seed % 5 != 0).then_some(Latency::random(0, 50));
            let rig = rig(model.clone(), "cycles,instructions/period=500/u");
            rig.start();
            for step in [100, 1250, 30, 3000, 7, 800] {
                run(&rig, step);
                rig.machine.core.send_nmi();
            }
            run(&rig, 100);
            for (index, assignment) in rig.plan.assignments() {
                let period = assignment.period.unwrap();
                let seen = rig.seen.borrow();
                let taken: u64 = seen.samples[index].iter().map(|it| 1 + it.1).sum();
                assert_eq!(taken, rig.happened(index) / period, "{model:?}");
            }
            rig.stop();
            assert_exact(&rig);
        }
    }
}

#[test]
fn the_smallest_period_is_two() {
    // One that is due at the very next event may never come.
    for model in all() {
        assert_eq!(shortest_load(model, "cycles/period=1/u"), 2);
    }
}

#[test]
fn a_passage_that_varies_does_not_pass_for_progress() {
    for model in all() {
        let mut rig = rig(model, "cycles/period=10/");
        rig.plan.assignment_mut(0).unwrap().noise = 40;
        rig.start();
        // Dearer than it was when it was measured.
        rig.machine.costs.borrow_mut().exit += 40;
        // The machine says so if the program does not get on.
        run(&rig, 2000);
        rig.stop();
    }
}

#[test]
fn nehalems_counters_are_loaded_with_32_at_least() {
    let mut model = Model::intel(3);
    model.model = 0x1a;
    assert_eq!(shortest_load(model, "branches/period=20/u"), 32);
}

#[test]
fn broadwells_instructions_overflow_after_128_at_least() {
    for number in [0x3d, 0x47, 0x4f, 0x56] {
        let mut model = Model::intel(3);
        model.model = number;
        let short = "instructions/period=20/u";
        assert_eq!(shortest_load(model.clone(), short), 128);
        assert_eq!(shortest_load(model.clone(), "rc0/period=20/u"), 128);
        assert_eq!(shortest_load(model, "branches/period=20/u"), 20);
    }
    assert_eq!(
        shortest_load(Model::intel(3), "instructions/period=20/u"),
        20
    );
}

/// The least that a counter is ever loaded with; and its overflows are all accounted
/// for.
fn shortest_load(model: Model, event: &str) -> u64 {
    let rig = rig(model, event);
    let assignment = rig.plan.assignment(0).unwrap();
    let (register, _) = assignment.registers.load(1);
    let loads = RefCell::new(Vec::new());
    let registers = Watched {
        inner: &rig.machine,
        watch: |access, value: u64| {
            if [Access::Write(register), Access::Try(register)].contains(&access) {
                let mask = assignment.registers.load(1).1;
                loads.borrow_mut().push(value.wrapping_neg() & mask);
            }
            Ok(value)
        },
    };
    rig.driver.start(&registers, &rig.plan).unwrap();
    rig.driver.resume(&registers, &rig.plan, rig.lvtpc);
    let mut accounted = 0;
    rig.machine.run([(cycle(Privilege::User), 1000)], |_, _| {
        let _ = rig.driver.on_interrupt(&registers, &rig.plan);
        accounted += 1 + rig.driver.overflow(0).missed;
        rig.driver.resume(&registers, &rig.plan, rig.lvtpc);
    });
    let happened = rig.machine.core.counted(rig.counter(0));
    let due = happened / assignment.period.unwrap();
    let distance = loads.borrow().iter().min().copied().unwrap();
    assert!(
        accounted <= due && due - accounted <= distance,
        "{accounted} of {due}"
    );
    assert_eq!(rig.driver.count(&rig.machine.core, &rig.plan, 0), happened);
    distance
}

/// Narrow ones, and those of which a write takes 32 bits.
fn narrow() -> impl Iterator<Item = Model> {
    (1..=6).flat_map(|version| {
        [
            (32, false),
            (32, true),
            (40, false),
            (40, true),
            (48, false),
        ]
        .map(|(width, is_full)| {
            let mut model = Model::intel(version);
            let intel = model.as_intel();
            intel.general_width = width;
            intel.fixed_width = width;
            intel.full_width_writes = is_full && version > 2;
            model
        })
    })
}

#[test]
fn a_counter_that_has_gone_round_is_not_read_as_it_is() {
    for model in narrow().chain(all()) {
        let mut rig = rig(model, "branches:u,instructions:u");
        rig.plan = rig.plan.without_periods();
        rig.start();
        for step in [1, 3_000_000_000, 5, 700_000_000_000, 1 << 33] {
            run(&rig, step);
            for index in 0..2 {
                let count = rig.driver.count(&rig.machine.core, &rig.plan, index);
                assert_eq!(count, rig.happened(index));
            }
        }
        let is_narrow =
            (0..2).any(|it| rig.plan.assignment(it).unwrap().registers.max_count <= 1 << 39);
        if is_narrow {
            assert!(rig.machine.core.wraps(rig.counter(0)) > 0);
        }
        rig.stop();
        assert_exact(&rig);
        assert!(rig.seen.borrow().samples.iter().all(Vec::is_empty));
    }
}

#[test]
fn a_period_longer_than_the_counter_counts() {
    for model in narrow() {
        let mut rig = rig(model, "branches:u,instructions:u");
        let periods = [10_000_000_000, 3 << 40];
        for (index, period) in periods.into_iter().enumerate() {
            rig.plan.assignment_mut(index).unwrap().period = Some(period);
        }
        rig.start();
        run(&rig, 35_000_000_000);
        run(&rig, 4 << 40);
        assert_on_time(&rig);
        rig.stop();
        assert_exact(&rig);
        assert!(rig.machine.core.wraps(rig.counter(0)) > 3);
    }
}

#[test]
fn a_period_that_ends_where_the_counter_does() {
    for model in narrow().chain(all()) {
        for more in [-1, 0, 2] {
            let mut rig = rig(model.clone(), "cycles:u");
            let assignment = rig.plan.assignment_mut(0).unwrap();
            let most = assignment.registers.max_count;
            let period = most.wrapping_add_signed(more);
            assignment.period = Some(period);
            rig.start();
            run(&rig, 2 * most + 10);
            assert_on_time(&rig);
            rig.stop();
            assert_exact(&rig);
        }
    }
}

#[test]
fn the_registers_are_the_manuals() {
    // Of the model, which has them from there, every counter overflows where it should.
    for model in variants() {
        let rig = rig(model, "cycles");
        let core = &rig.machine.core;
        let capabilities =
            crate::pmu::detect::detect(|leaf, subleaf| core.model().cpuid(leaf, subleaf));
        for counter in capabilities.unwrap().counters.iter() {
            let registers = rig.plan.msrs.registers(counter);
            for events in [1, 2, 1000, registers.max_count - 1, registers.max_count] {
                let (register, value) = registers.load(events);
                core.write(register, value);
                let raw = core.read(registers.read);
                assert_eq!(raw, events.wrapping_neg() & registers.mask);
                // Half of what it counts is left behind the overflow.
                assert_eq!(raw >> (registers.mask.count_ones() - 1), 1);
            }
            let width = match counter {
                Counter::General(_) => capabilities.unwrap().general_width,
                Counter::Fixed(_) => capabilities.unwrap().fixed_width,
            };
            assert_eq!(registers.mask.count_ones(), u32::from(width));
            assert_eq!(
                registers.select.is_some(),
                matches!(counter, Counter::General(_))
            );
            if let Some(select) = registers.select {
                assert_eq!(core.try_read(select), Ok(0));
            }
        }
    }
}
