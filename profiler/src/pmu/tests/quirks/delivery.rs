//! From an overflow to the handler: when it comes, how often, and of what.

use std::cell::Cell;

use super::*;
use crate::hw::apic::PerformanceEntry;
use crate::pmu::driver::{Cause, Interrupt, PmuDriver};
use crate::pmu_model::{Delivered, Latency};

#[test]
fn lvtpc_is_masked_on_delivery_or_not() {
    // Hardware and later KVM do, KVM did not, and does not for AMD.
    for mut model in all() {
        for masks in [false, true] {
            model.quirks.masks_on_delivery = masks;
            for is_nmi in [false, true] {
                let machine = Machine::new(Core::new(model.clone()), Costs::of(2, 20, 15));
                let rig = Rig::new(machine, &list("cycles,instructions:u"), is_nmi);
                rig.start();
                run(&rig, 5500);
                assert_on_time(&rig);
                assert_eq!(rig.machine.core.read_lvtpc(), rig.lvtpc.bits());
                rig.stop();
                assert_exact(&rig);
            }
        }
    }
}

#[test]
fn amds_nmi_comes_after_its_counter_was_stopped() {
    use AmdInterface::{Core, Legacy, V2};
    for interface in [Legacy, Core, V2] {
        let mut model = Model::amd(interface);
        // It is on its way when somebody else's NMI stops the counter.
        model.quirks.interrupt = Latency::fixed(5);
        model.quirks.late = Some(Latency::fixed(100));
        let rig = rig(model, "cycles:u");
        rig.start();
        run(&rig, 1002);
        rig.machine.core.send_nmi();
        run(&rig, 500);
        let seen = rig.seen.borrow();
        assert_eq!((seen.claimed, seen.late, seen.unclaimed), (1, 1, 0));
        assert_eq!(seen.samples[0], [(1002, 0)]);
        drop(seen);
        run(&rig, 498);
        // On its way again, when counting is ended: there is nobody to claim it.
        rig.stop_outside();
        assert_exact(&rig);
        let before = settled(&rig.machine.core);
        rig.machine.core.write_lvtpc(PerformanceEntry::NMI);
        run(&rig, 1000);
        assert_eq!(rig.seen.borrow().unclaimed, 1);
        rig.machine.core.write_lvtpc_bits(before.lvtpc);
        assert_eq!(settled(&rig.machine.core), before);
        assert_eq!(rig.counted(0), 2000);
    }
}

#[test]
fn nmis_latch_once_and_the_next_one_finds_nothing() {
    for mut model in all() {
        for masks in [false, true] {
            model.quirks.masks_on_delivery = masks;
            model.quirks.interrupt = Latency::fixed(3);
            // The second has gone round when the first interrupts, is seen in the same
            // handler, and interrupts after it.
            let rig = rig(model.clone(), "cycles/period=1000/u,branches/period=1001/u");
            rig.start();
            run(&rig, 1500);
            let seen = rig.seen.borrow();
            assert_eq!(seen.samples, [[(1003, 0)], [(1003, 0)]]);
            // Where the delivery masks, what comes after it is lost, and else latched.
            let late = u64::from(!masks);
            assert_eq!((seen.claimed, seen.late, seen.unclaimed), (1, late, 0));
            assert_eq!(rig.machine.core.deliveries().raised, 2);
            drop(seen);
            run(&rig, 3600);
            let samples = [0, 1].map(|it| positions(&rig, it).len());
            assert_eq!(samples, [5, 5]);
            rig.stop();
            assert_exact(&rig);
        }
    }
}

#[test]
fn a_counter_goes_round_on_the_way_into_anothers_handler() {
    // The first processor has two counters only.
    for mut model in all().skip(1) {
        for masks in [false, true] {
            model.quirks.masks_on_delivery = masks;
            let events = "cycles/period=1000/,instructions/period=2006/,branches/period=1000/u";
            let rig = rig(model.clone(), events);
            rig.start();
            run(&rig, 1000);
            let seen = rig.seen.borrow();
            // It was not due there, nor the next time.
            assert_eq!(seen.samples, [vec![(1000, 0)], vec![], vec![(1000, 0)]]);
            let again = u64::from(!masks);
            let counts = (seen.claimed, seen.late, seen.unclaimed);
            assert_eq!(counts, (1 + again, again, 0));
            drop(seen);
            run(&rig, 4000);
            for index in [0, 2] {
                assert_eq!(positions(&rig, index), multiples(1000, 5000));
            }
            assert_eq!(positions(&rig, 1), multiples(2006, 10_000));
            rig.stop();
            assert_exact(&rig);
        }
    }
}

#[test]
fn counters_that_overflow_together_are_several_samples() {
    for model in all() {
        let rig = rig(model, "cycles:u,instructions/period=2000/u");
        rig.start();
        run(&rig, 10_500);
        assert_on_time(&rig);
        let seen = rig.seen.borrow();
        assert_eq!(seen.samples.iter().map(Vec::len).sum::<usize>(), 20);
        assert_eq!((seen.claimed, seen.late, seen.unclaimed), (10, 0, 0));
    }
}

#[test]
fn status_is_posted_after_the_counter_was_stopped() {
    // Whenever it comes: before the handler, at each of its steps, or after it.
    for mut model in all_global() {
        for needs_clear_status in [false, true] {
            for late in 0..60 {
                let quirks = &mut model.quirks;
                quirks.needs_clear_status = needs_clear_status;
                quirks.masks_on_delivery = true;
                quirks.status = Latency::fixed(30);
                quirks.late = Some(Latency::fixed(late));
                let rig = rig(model.clone(), "cycles:u");
                rig.start();
                run(&rig, 1001);
                rig.machine.core.send_nmi();
                run(&rig, 4099);
                // The others are late as well, not lost.
                let late = |number: u64| if number == 1 { 1 } else { 30 };
                let due: Vec<_> = (1..=5).map(|it| it * 1000 + late(it)).collect();
                let found = positions(&rig, 0);
                assert_eq!(found.len(), due.len(), "{found:?}");
                for (found, due) in found.iter().zip(due) {
                    assert!(found.abs_diff(due) <= 2, "{found} {due}");
                }
                rig.stop();
                assert_exact(&rig);
                assert_eq!(rig.machine.core.deliveries().masked, 0);
            }
        }
    }
}

#[test]
fn status_is_posted_while_the_handler_of_another_is_about_to_leave() {
    // The delivery of one masks the entry. Were the status of the other acknowledged
    // before that is taken back, it could be posted in between: it would not interrupt,
    // and keep all that follow from it.
    for mut model in all_global() {
        for (seed, paths) in (1..40).flat_map(|it| [(it, Paths::Exact), (it, Paths::Fast)]) {
            let quirks = &mut model.quirks;
            quirks.masks_on_delivery = true;
            quirks.seed = seed;
            quirks.status = Latency::random(0, 50);
            quirks.late = Some(Latency::fixed(0));
            let mut rig = rig(model.clone(), "cycles/period=1000/u,branches/period=333/u");
            rig.paths = paths;
            rig.start();
            run(&rig, 30_000);
            let seen = rig.seen.borrow();
            for (samples, period) in seen.samples.iter().zip([1000, 333]) {
                let most = samples.iter().map(|it| it.0).max().unwrap();
                assert!(most <= period + 51, "{most} events without a sample");
            }
            drop(seen);
            rig.stop();
            assert_exact(&rig);
        }
    }
}

#[test]
fn unmasking_over_an_overflow_that_shows_interrupts_anew() {
    for mut model in all_global() {
        model.quirks.masks_on_delivery = true;
        model.quirks.unmasking_interrupts = true;
        let rig = rig(model, "cycles:u");
        rig.start();
        run(&rig, 10_500);
        let seen = rig.seen.borrow();
        assert_eq!((seen.claimed, seen.late, seen.unclaimed), (10, 0, 0));
        drop(seen);
        rig.stop();
        assert_exact(&rig);
    }
}

#[test]
fn a_status_that_never_clears_does_not_hold_the_handler() {
    for mut model in all_global() {
        model.quirks.needs_clear_status = false;
        let rig = rig(model, "cycles");
        let counter = rig.plan.counters.global_bits();
        let status = if rig.plan.msrs.interface().is_amd() {
            0xc000_0300
        } else {
            0x38e
        };
        let reads = Cell::new(0_u32);
        let registers = Watched {
            inner: &rig.machine,
            watch: |access, value| match access {
                Access::Read(register) if register.number() == status => {
                    reads.set(reads.get() + 1);
                    assert!(reads.get() < 10_000, "no end of it");
                    Ok(value | counter)
                }
                _ => Ok(value),
            },
        };
        let handled = Cell::new(0_u32);
        let handle = |_: &Machine, _: Delivered| {
            let Interrupt::Stopped(overflows, cause) =
                rig.driver.on_interrupt(&registers, &rig.plan)
            else {
                panic!("it was started");
            };
            assert!(!overflows.is_empty() && cause == Cause::Counter);
            handled.set(handled.get() + 1);
            rig.driver.resume(&registers, &rig.plan, rig.lvtpc);
        };
        rig.driver.start(&registers, &rig.plan).unwrap();
        rig.driver.resume(&registers, &rig.plan, rig.lvtpc);
        // Started here it is not in a handler: its end is later by the exit's length.
        rig.machine.run([(cycle(Privilege::User), 10_500)], handle);
        assert_eq!(handled.get(), 10);
        assert!(reads.get() <= 11 * 100, "{} reads", reads.get());
        rig.driver.stop(&registers, &rig.plan);
        assert!(!rig.driver.is_running());
    }
}

#[test]
fn somebody_elses_nmis_leave_everything_as_it_was() {
    for mut model in all() {
        for masks in [false, true] {
            model.quirks.masks_on_delivery = masks;
            let rig = rig(model.clone(), "cycles,instructions:k");
            let core = &rig.machine.core;
            let before = settled(core);
            core.send_nmi();
            run(&rig, 10);
            assert_eq!(settled(core), before, "nothing is counted yet");
            assert_eq!(rig.seen.borrow().unclaimed, 1);

            let count = |rig: &Rig| rig.happened(0);
            let base = count(&rig);
            rig.start();
            for step in [1, 90, 400, 8, 1, 250, 249, 1, 3000, 333, 1, 1, 1, 1, 700] {
                for privilege in [Privilege::User, Privilege::Kernel] {
                    rig.run([(cycle(privilege), step)]);
                    core.send_nmi();
                }
            }
            run(&rig, 1);
            let cycles = count(&rig) - base;
            assert_eq!(positions(&rig, 0), multiples(1000, cycles));
            assert_eq!(positions(&rig, 1), multiples(1000, rig.happened(1)));
            let seen = rig.seen.borrow();
            let foreign = core.deliveries().foreign;
            // The start was in one.
            let others = seen.late + seen.unclaimed;
            assert!(others < foreign, "{seen:?}, {foreign} of others");
            assert!(seen.late <= seen.claimed, "{seen:?}");
            assert!(seen.unclaimed > 10, "{seen:?}");
            drop(seen);
            rig.stop();
            assert_eq!(rig.counted(0), cycles);
            assert_eq!(rig.counted(1), rig.happened(1));
            assert_eq!(settled(core), before);
        }
    }
}

#[test]
fn somebody_elses_nmi_takes_no_overflow_that_a_maskable_interrupt_comes_for() {
    for model in all() {
        let machine = Machine::new(Core::new(model), Costs::of(2, 20, 15));
        let rig = Rig::new(machine, &list("cycles:u"), false);
        let off = Cycle {
            interrupts: false,
            ..cycle(Privilege::User)
        };
        rig.start();
        rig.run([(off, 1200)]);
        for _ in 0..3 {
            rig.run([(off, 10)]);
            rig.machine.core.send_nmi();
            rig.run([(off, 0)]);
        }
        assert_eq!(
            positions(&rig, 0),
            [0_u64; 0],
            "it is due, and interrupts are off"
        );
        assert_eq!(rig.seen.borrow().unclaimed, 3);
        rig.run([(cycle(Privilege::Kernel), 5)]);
        assert_eq!(positions(&rig, 0), [1230], "as soon as they are on");
        run(&rig, 2000);
        assert_eq!(positions(&rig, 0), [1230, 2000, 3000]);
        rig.stop();
        assert_exact(&rig);
    }
}

#[test]
fn what_a_kernel_does_in_its_handler_while_counters_stand_still_is_not_counted() {
    for model in all() {
        for is_nmi in [true, false] {
            let machine = Machine::new(Core::new(model.clone()), Costs::of(2, 20, 15));
            let rig = Rig::new(machine, &list("cycles,instructions"), is_nmi);
            rig.start();
            run(&rig, 1500);
            rig.in_handler(|machine| {
                rig.driver.stand_still(machine, &rig.plan);
                machine.core.execute(&cycle(Privilege::Kernel), 50_000);
                if is_nmi {
                    rig.driver.on_interrupt(machine, &rig.plan);
                } else {
                    rig.driver.on_foreign_nmi(machine, &rig.plan);
                }
                rig.driver.resume(machine, &rig.plan, rig.lvtpc);
            });
            run(&rig, 1500);
            assert_eq!(positions(&rig, 0), [1000, 2000, 3000], "{model:?}");
            rig.stop();
        }
    }
}

#[test]
fn a_counter_that_goes_round_on_the_way_makes_no_sample_and_no_standstill() {
    // Each interrupt costs more than a period, so each brings the next.
    for model in all() {
        let rig = rig(model, "cycles/period=10/,instructions/period=16/");
        rig.start();
        run(&rig, 2000);
        for (index, assignment) in rig.plan.assignments() {
            let period = assignment.period.unwrap();
            let seen = rig.seen.borrow();
            let taken: u64 = seen.samples[index].iter().map(|it| 1 + it.1).sum();
            assert!(taken * period <= rig.happened(index));
            // As often as it may be put off.
            assert!(seen.samples[index].len() > 5, "{seen:?}");
        }
        let in_a_row = rig.machine.core.deliveries().nmis;
        assert!(in_a_row < 3000, "{in_a_row} interrupts in 2000 cycles");
        rig.stop();
        assert_exact(&rig);
    }
}

#[test]
fn a_vpmu_that_delivers_nothing_counts_all_the_same() {
    for mut model in all() {
        model.quirks.delivers = false;
        let rig = rig(model, "cycles,instructions:u");
        let before = settled(&rig.machine.core);
        rig.start();
        run(&rig, 123_456);
        let seen = rig.seen.borrow();
        // What a probe goes by.
        assert!(seen.samples.iter().all(Vec::is_empty) && seen.claimed == 0);
        drop(seen);
        assert_eq!(rig.driver.count(&rig.machine.core, &rig.plan, 1), 246_912);
        rig.stop_outside();
        // It was counted until it took effect.
        assert_eq!(rig.counted(1), 246_912);
        assert!(rig.counted(0) - 123_456 <= 15 + 4);
        assert_eq!(settled(&rig.machine.core), before);
    }
}

#[test]
fn an_overflow_is_on_its_way_when_counting_stops() {
    for mut model in all() {
        for late in [None, Some(Latency::fixed(0)), Some(Latency::fixed(40))] {
            for masks in [false, true] {
                let quirks = &mut model.quirks;
                (quirks.status, quirks.interrupt) = (Latency::fixed(3), Latency::fixed(4));
                (quirks.late, quirks.masks_on_delivery) = (late, masks);
                for (cycles, is_outside) in (999..1012).flat_map(|it| [(it, false), (it, true)]) {
                    let rig = rig(model.clone(), "cycles:u");
                    let before = settled(&rig.machine.core);
                    rig.start();
                    run(&rig, cycles);
                    if is_outside {
                        rig.stop_outside()
                    } else {
                        rig.stop()
                    }
                    assert_exact(&rig);
                    assert_eq!(settled(&rig.machine.core), before);
                    run(&rig, 100);
                    assert_eq!(settled(&rig.machine.core), before);
                    assert!(rig.seen.borrow().samples[0].len() <= 1);
                    assert_starts_again(rig);
                }
            }
        }
    }
}

/// What is left of an earlier run does not keep this one from its samples.
#[track_caller]
fn assert_starts_again(mut rig: Rig) {
    rig.driver = PmuDriver::default();
    rig.seen.borrow_mut().samples[0].clear();
    rig.start();
    run(&rig, 3100);
    let found = positions(&rig, 0);
    assert_eq!(found.len(), 3, "{found:?}");
    for (found, due) in found.iter().zip(multiples(1000, 3000)) {
        assert!((due..due + 10).contains(found), "{found} {due}");
    }
}
