//! NMIs in the midst of the driver's own functions.

use std::cell::Cell;

use super::*;
use crate::pmu::driver::{Cause, Interrupt};
use crate::pmu_model::{Context, Delivered};

/// The registers, for a function of the driver that an NMI interrupts right before its
/// access number `nth`; and whether it came so far.
fn interrupted<'a>(
    rig: &'a Rig,
    inner: &'a impl Registers,
    nth: u32,
    accesses: &'a Cell<u32>,
) -> impl Registers + 'a {
    Watched {
        inner,
        watch: move |_, value| {
            accesses.set(accesses.get() + 1);
            if accesses.get() == nth + 1 {
                rig.machine.core.send_nmi();
            }
            Ok(value)
        },
    }
}

/// A handler in the midst of something.
fn handle(rig: &Rig) -> Interrupt {
    let entered = rig.driver.on_interrupt(&rig.machine, &rig.plan);
    if let Interrupt::Stopped(overflows, cause) = entered {
        let mut seen = rig.seen.borrow_mut();
        for event in overflows.iter() {
            let overflow = rig.driver.overflow(event);
            seen.samples[event].push((overflow.ran, overflow.missed));
        }
        seen.claimed += u64::from(cause == Cause::Counter);
        drop(seen);
        rig.driver.resume(&rig.machine, &rig.plan, rig.lvtpc);
    }
    entered
}

#[test]
fn the_start_is_interrupted_at_each_of_its_steps() {
    for model in all() {
        for nth in 0.. {
            let rig = rig(model.clone(), events(&model));
            let before = settled(&rig.machine.core);
            let (accesses, entries) = (Cell::new(0), Cell::new(0));
            let is_started = Cell::new(false);
            let inner = rig.machine.interruptible(false, |_, _| {
                entries.set(entries.get() + 1);
                match handle(&rig) {
                    Interrupt::Busy => {}
                    // Nothing counts before the start is done, and then it is on.
                    Interrupt::Off | Interrupt::OffLate => assert!(!is_started.get()),
                    Interrupt::Stopped(..) => assert!(is_started.get()),
                }
            });
            let registers = interrupted(&rig, &inner, nth, &accesses);
            rig.driver.start(&registers, &rig.plan).unwrap();
            is_started.set(true);
            rig.driver.resume(&registers, &rig.plan, rig.lvtpc);
            if accesses.get() <= nth {
                break;
            }
            assert_eq!(entries.get(), 1);
            run(&rig, 3500);
            assert_on_time(&rig);
            assert_eq!(rig.machine.core.read_lvtpc(), rig.lvtpc.bits());
            rig.stop();
            assert_exact(&rig);
            assert_eq!(settled(&rig.machine.core), before);
        }
    }
}

#[test]
fn the_stop_is_interrupted_at_each_of_its_steps() {
    for mut model in all() {
        for masks in [false, true] {
            model.quirks.masks_on_delivery = masks;
            for nth in 0.. {
                let rig = rig(model.clone(), events(&model));
                let core = &rig.machine.core;
                let before = settled(core);
                rig.start();
                run(&rig, 2750);
                let accesses = Cell::new(0);
                let inner = rig.machine.interruptible(false, |_, _| {
                    assert_eq!(handle(&rig), Interrupt::Busy);
                });
                let registers = interrupted(&rig, &inner, nth, &accesses);
                rig.driver.stop(&registers, &rig.plan);
                if accesses.get() <= nth {
                    break;
                }
                assert_exact(&rig);
                assert_eq!(settled(core), before);
                let counted = || {
                    rig.plan
                        .assignments()
                        .map(|it| core.counted(rig.counter(it.0)))
                };
                let stopped: Vec<_> = counted().collect();
                run(&rig, 2000);
                assert!(counted().eq(stopped), "nothing counts after the stop");
                assert_eq!(settled(core), before);
            }
        }
    }
}

/// Interrupts each step of the handler of a maskable interrupt, which nothing keeps NMIs away
/// from. Returns how often the driver was found busy, and how many handlers were fast.
fn interrupt_each_step(model: &Model, events: &str, is_fast: bool) -> (u32, u64) {
    let (mut busy, mut fast) = (0, 0);
    for nth in 0.. {
        let mut rig = rig(model.clone(), events);
        rig.lvtpc = VECTOR;
        rig.start();
        let (accesses, was_busy) = (Cell::new(0), Cell::new(false));
        let inner = rig.machine.interruptible(false, |_, _| {
            was_busy.set(handle(&rig) == Interrupt::Busy);
        });
        let registers = interrupted(&rig, &inner, nth, &accesses);
        let program = [(cycle(Privilege::User), 5750)];
        rig.machine.run(program, |_, interrupt| match interrupt {
            Delivered::Nmi { .. } => _ = handle(&rig),
            Delivered::Vector { .. } => {
                let stopped = is_fast.then(|| rig.stop_fast(&registers)).flatten();
                fast += u64::from(stopped.is_some());
                let overflows = stopped.unwrap_or_else(|| {
                    match rig.driver.on_interrupt(&registers, &rig.plan) {
                        Interrupt::Stopped(overflows, _) => overflows,
                        entered => panic!("{entered:?}"),
                    }
                });
                for event in overflows.iter() {
                    let overflow = rig.driver.overflow(event);
                    let samples = &mut rig.seen.borrow_mut().samples;
                    samples[event].push((overflow.ran, overflow.missed));
                }
                if stopped.is_some() {
                    rig.resume_fast(&registers);
                } else {
                    rig.driver.resume(&registers, &rig.plan, rig.lvtpc);
                }
            }
        });
        assert_on_time(&rig);
        assert_eq!(rig.machine.core.read_lvtpc(), rig.lvtpc.bits());
        rig.stop();
        assert_exact(&rig);
        busy += u32::from(was_busy.get());
        if accesses.get() <= nth || nth > 200 {
            break;
        }
    }
    (busy, fast)
}

#[test]
fn a_handler_is_interrupted_at_each_of_its_steps() {
    for mut model in all() {
        for masks in [false, true] {
            model.quirks.masks_on_delivery = masks;
            let (busy, _) = interrupt_each_step(&model, events(&model), false);
            assert!(busy > 20, "{busy}");
        }
    }
}

#[test]
fn a_fast_handler_is_interrupted_at_each_of_its_steps() {
    for mut model in all() {
        for masks in [false, true] {
            model.quirks.masks_on_delivery = masks;
            for events in [events(&model), "cycles:u"] {
                let (busy, fast) = interrupt_each_step(&model, events, true);
                assert!(busy > 10, "{busy}");
                assert!(fast > 50, "{fast}");
            }
        }
    }
}

#[test]
fn a_handler_that_stops_while_another_leaves_has_the_last_word() {
    for model in all() {
        let mut stops = 0;
        for nth in 0.. {
            let rig = rig(model.clone(), events(&model));
            let before = settled(&rig.machine.core);
            rig.driver.start(&rig.machine, &rig.plan).unwrap();
            let accesses = Cell::new(0);
            let inner = rig.machine.interruptible(false, |_, _| {
                if let Interrupt::Stopped(..) = rig.driver.on_interrupt(&rig.machine, &rig.plan) {
                    rig.driver.stop(&rig.machine, &rig.plan);
                }
            });
            let registers = interrupted(&rig, &inner, nth, &accesses);
            rig.driver.resume(&registers, &rig.plan, rig.lvtpc);
            if accesses.get() <= nth {
                break;
            }
            if rig.driver.is_running() {
                rig.stop();
            } else {
                stops += 1;
            }
            assert_eq!(settled(&rig.machine.core), before, "at {nth} on {model:?}");
            run(&rig, 2000);
            assert_eq!(settled(&rig.machine.core), before);
        }
        assert!(stops > 0, "{model:?}");
    }
}

#[test]
fn a_handler_that_stops_while_a_fast_one_leaves_has_the_last_word() {
    for (model, events) in all().flat_map(|it| [(it.clone(), events(&it)), (it, "cycles:u")]) {
        let mut stops = 0;
        for nth in 0.. {
            let rig = rig(model.clone(), events);
            let before = settled(&rig.machine.core);
            rig.start();
            // To the second overflow: the first is not taken by the fast path.
            run(&rig, 1000);
            let accesses = Cell::new(0);
            let inner = rig.machine.interruptible(false, |_, _| {
                // Whether it finds the driver busy or not, it ends the run.
                let _ = rig.driver.on_interrupt(&rig.machine, &rig.plan);
                rig.driver.stop(&rig.machine, &rig.plan);
            });
            let registers = interrupted(&rig, &inner, nth, &accesses);
            let mut has_come = false;
            rig.machine
                .run([(cycle(Privilege::User), 1000)], |_, interrupt| {
                    if has_come {
                        return rig.handle(interrupt);
                    }
                    assert!(rig.stop_fast(&rig.machine).is_some());
                    has_come = true;
                    rig.machine.core.iret();
                    rig.resume_fast(&registers);
                });
            if accesses.get() <= nth {
                break;
            }
            assert!(has_come && !rig.driver.is_running());
            stops += 1;
            assert_eq!(settled(&rig.machine.core), before, "at {nth} on {model:?}");
            run(&rig, 2000);
            assert_eq!(settled(&rig.machine.core), before);
        }
        assert!(stops > 1, "{model:?}");
    }
}

#[test]
fn overflows_come_while_the_start_is_not_done() {
    // The first is due before the last counter is on.
    for mut model in all() {
        for masks in [false, true] {
            model.quirks.masks_on_delivery = masks;
            for period in 2..20 {
                let mut rig = rig(model.clone(), "cycles:k,instructions:k");
                for index in 0..2 {
                    rig.plan.assignment_mut(index).unwrap().period = Some(period);
                }
                let before = settled(&rig.machine.core);
                let registers = rig.machine.interruptible(false, |_, _| _ = handle(&rig));
                rig.driver.start(&registers, &rig.plan).unwrap();
                rig.driver.resume(&registers, &rig.plan, rig.lvtpc);
                rig.run([(cycle(Privilege::Kernel), 2000)]);
                for (index, assignment) in rig.plan.assignments() {
                    let last = positions(&rig, index).last().copied().unwrap_or(0);
                    let since = rig.counted(index) - last;
                    let put_off = (assignment.overhead + 1) << 6;
                    assert!(since < period + put_off, "{since} on {model:?}");
                    assert!(last > 1500, "{last} on {model:?}");
                }
                assert_eq!(rig.machine.core.read_lvtpc(), rig.lvtpc.bits());
                rig.stop();
                assert_eq!(settled(&rig.machine.core), before);
            }
        }
    }
}

#[test]
fn a_count_is_read_while_it_is_interrupted() {
    for model in all() {
        for nth in 0.. {
            let rig = rig(model.clone(), events(&model));
            rig.start();
            run(&rig, 2750);
            let accesses = Cell::new(0);
            let inner = rig.machine.interruptible(false, |_, _| _ = handle(&rig));
            let registers = interrupted(&rig, &inner, nth, &accesses);
            for (index, _) in rig.plan.assignments() {
                let count = rig.driver.count(&registers, &rig.plan, index);
                assert_eq!(count, rig.happened(index), "event {index} on {model:?}");
            }
            if accesses.get() <= nth {
                break;
            }
            run(&rig, 1000);
            assert_on_time(&rig);
            assert_eq!(rig.driver.count(&rig.machine, &rig.plan, 0), 3750);
        }
    }
}

#[test]
fn a_count_is_as_of_an_instruction_in_its_reading() {
    // It counts the kernel, and so the reading itself.
    for model in all() {
        for cycles in [1, 500, 999, 1000, 1001, 2345] {
            let rig = rig(model.clone(), "cycles");
            rig.start();
            run(&rig, cycles);
            let registers = rig.machine.interruptible(false, |_, _| _ = handle(&rig));
            let driver = || {
                let core = &rig.machine.core;
                core.occurred(Happening::Cycles, Privilege::Kernel, Context::Driver)
            };
            // The way out of the last handler is known to be one in the next only.
            let assignment = rig.plan.assignment(0).unwrap();
            let before = cycles + driver();
            let count = rig.driver.count(&registers, &rig.plan, 0);
            let after = cycles + driver() + assignment.overhead;
            let least = if cycles < 1000 {
                before
            } else {
                before - assignment.overhead
            };
            assert!(
                (least..=after).contains(&count),
                "{count} in {least}..={after}"
            );
        }
    }
}
