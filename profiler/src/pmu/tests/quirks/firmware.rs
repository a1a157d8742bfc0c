//! What firmware, hypervisors and who had the machine before leave behind, keep for
//! themselves, or announce and do not have.

use std::cell::Cell;

use super::*;
use crate::pmu::counters::{Counter, Counters};
use crate::pmu::detect::{self, Capabilities, CoreKind};
use crate::pmu::driver::PmuDriver;
use crate::pmu::plan::{Plan, PmuState};
use crate::pmu::registers::debug_control;
use crate::pmu_model::{Event, Freezing, Id};

fn capabilities(model: &Model) -> Capabilities {
    detect::detect(|leaf, subleaf| model.cpuid(leaf, subleaf)).unwrap()
}

/// The number of the status.
fn status_of(model: &Model) -> u32 {
    if capabilities(model).interface.is_amd() {
        0xc000_0300
    } else {
        0x38e
    }
}

#[test]
fn firmware_left_freezing_on() {
    // It stops the counters by the global control, or by a bit of the status that
    // nobody takes back; on Skylake, now and then.
    for mut model in all_global() {
        for freezing in [Freezing::Always, Freezing::Sometimes, Freezing::Never] {
            for seed in 1..5 {
                model.quirks.freezing = freezing;
                model.quirks.seed = seed;
                let core = Core::new(model.clone());
                core.wrmsr(0x1d9, 1 << 12 | 1 << 11 | 1).unwrap();
                let rig = rig_on(core, "cycles,instructions:u");
                let before = settled(&rig.machine.core);
                rig.start();
                run(&rig, 10_500);
                assert_on_time(&rig);
                rig.stop();
                assert_exact(&rig);
                assert_eq!(settled(&rig.machine.core), before);
                assert_eq!(rig.machine.core.rdmsr(0x1d9), Ok(1 << 12 | 1 << 11 | 1));
            }
        }
    }
}

#[test]
fn what_else_the_debug_control_holds_is_left_alone() {
    // Some of it makes the processor write branches to memory, or trap at them.
    const FREEZE: u64 = 1 << 12;
    const IN_SMM: u64 = 1 << 14;
    for model in all_global() {
        let takes = |bit: &u64| Core::new(model.clone()).wrmsr(0x1d9, *bit).is_ok();
        let bits: Vec<u64> = (0..64).map(|bit| 1 << bit).filter(takes).collect();
        assert!(bits.contains(&FREEZE) && bits.contains(&0b10), "{bits:x?}");
        let all: u64 = bits.iter().sum();
        for others in bits.into_iter().chain([0, all]).map(|it| it & !FREEZE) {
            for freeze in [0, FREEZE] {
                let core = Core::new(model.clone());
                core.wrmsr(0x1d9, others | freeze).unwrap();
                let rig = rig_on(core, "cycles,instructions:u");
                rig.start();
                // What the firmware does is not to be counted, where that can be had.
                let during = others | all & IN_SMM;
                assert_eq!(rig.machine.core.rdmsr(0x1d9), Ok(during), "{model:?}");
                run(&rig, 2500);
                rig.stop();
                let after = rig.machine.core.rdmsr(0x1d9);
                assert_eq!(after, Ok(others | freeze), "{model:?}");
            }
        }
    }
}

#[test]
fn what_firmware_does_in_system_management_mode_is_not_the_codes() {
    for version in [3, 4, 5, 6] {
        // It can be had; it is on already; it is not there; it is announced and refused.
        for (is_there, is_refused, before) in [
            (true, false, 0),
            (true, false, 1 << 14),
            (false, false, 0),
            (false, true, 0),
        ] {
            let mut model = Model::intel(version);
            let intel = model.as_intel();
            (intel.freezes_in_smm, intel.refuses_smm_freeze) = (is_there, is_refused);
            let core = Core::new(model);
            core.wrmsr(0x1d9, before | 1).unwrap();
            let rig = rig_on(core, "cycles");
            rig.start();
            run(&rig, 2500);
            rig.machine.core.in_smm(300);
            run(&rig, 2500);
            rig.stop();
            let firmwares = if is_there { 0 } else { 300 };
            assert_eq!(rig.counted(0), rig.happened(0) + firmwares);
            assert_eq!(rig.machine.core.rdmsr(0x1d9), Ok(before | 1));
        }
    }
}

#[test]
fn counters_were_frozen_before() {
    for model in all_global() {
        let core = Core::new(model.clone());
        let has_frozen = !matches!(
            capabilities(&model).interface,
            detect::Interface::Intel(..4)
        );
        if has_frozen {
            core.set_status(1 << 59 | 1 << 58, false);
        }
        let rig = rig_on(core, "cycles,instructions:u");
        rig.start();
        run(&rig, 3500);
        assert_on_time(&rig);
        rig.stop();
        assert_exact(&rig);
    }
}

#[test]
fn stale_overflow_bits_do_not_keep_the_first_interrupt_away() {
    for mut model in all_global() {
        for (needs_clear_status, unmasking_interrupts) in
            [(false, false), (true, false), (true, true)]
        {
            model.quirks.needs_clear_status = needs_clear_status;
            model.quirks.unmasking_interrupts = unmasking_interrupts;
            model.quirks.masks_on_delivery = unmasking_interrupts;
            let core = Core::new(model.clone());
            let bits = capabilities(&model).counters.global_bits();
            core.set_status(bits, false);
            let rig = rig_on(core, "cycles,instructions:u");
            rig.start();
            // Those of counters that nobody uses would interrupt as well.
            let status = status_of(&model);
            assert_eq!(rig.machine.core.rdmsr(status), Ok(0));
            run(&rig, 2500);
            assert_on_time(&rig);
            rig.stop();
            assert_exact(&rig);
        }
    }
}

#[test]
fn a_hypervisor_of_version_4_lacks_the_bit_of_the_uncore() {
    for version in 4..=6 {
        let mut model = Model::intel(version);
        let intel = model.as_intel();
        (intel.uncore, intel.trace, intel.sgx) = (false, false, false);
        model.hypervisor = Some(*b"KVMKVMKVM\0\0\0");
        let rig = rig(model, "cycles,instructions:u");
        // The model refuses reserved bits of the reset.
        rig.start();
        run(&rig, 5500);
        assert_on_time(&rig);
        rig.stop();
        assert_exact(&rig);
    }
}

#[test]
fn somebody_elses_bits_of_the_status_are_left_to_him() {
    for model in intel_global() {
        let rig = rig(model, "cycles");
        let others = 0b11 << 62;
        rig.machine.core.set_status(others, false);
        rig.start();
        run(&rig, 2500);
        rig.machine.core.set_status(others, true);
        run(&rig, 2000);
        rig.stop();
        assert_eq!(rig.machine.core.rdmsr(0x38e), Ok(others));
        assert_on_time(&rig);
        assert_exact(&rig);
    }
}

#[test]
fn firmwares_counters_are_found_and_named_and_left_alone() {
    for model in all() {
        let number = 1;
        let owned = Id::General(number);
        let core = Core::new(model.clone());
        // It goes round on the way, more than once if it were loaded anew.
        let width = capabilities(&model).general_width;
        core.firmware_owns(owned, Event::Branches, (1 << width) - 3000, false);
        let mut busy = Counters::NONE;
        busy.insert(Counter::General(number));
        let has_fixed = capabilities(&model).counters.fixed != 0;
        if has_fixed {
            core.firmware_owns(Id::Fixed(0), Event::Instructions, 5, true);
            busy.insert(Counter::Fixed(0));
        }
        let found = PmuState::probe(&core, &capabilities(&model)).unwrap();
        assert_eq!(found.busy, busy);
        assert!(found.free.without(found.busy) == found.free && found.dead.is_empty());
        let before = settled(&core);
        let rig = rig_on(core, "cycles");
        let core = &rig.machine.core;
        rig.start();
        run(&rig, 10_500);
        assert_on_time(&rig);
        rig.stop();
        assert_exact(&rig);
        // Theirs went on all the time, and goes on, and its overflow is theirs to see.
        assert_eq!(core.counted(owned), 10_500);
        let mut after = settled(core);
        let counter = |it: u8| match found.msrs.counter(Counter::General(it)).number() {
            legacy @ 0xc001_0201.. => 0xc001_0004 + (legacy - 0xc001_0201) / 2,
            version_6 @ 0x1900..0x2000 => 0xc1 + (version_6 - 0x1900) / 4,
            other => other,
        };
        let counters = [counter(number), 0x309];
        for counter in &counters[..if has_fixed { 2 } else { 1 }] {
            let now = after.msrs[counter];
            assert_ne!(now, before.msrs[counter], "{model:?}");
            after.msrs.insert(*counter, before.msrs[counter]);
        }
        assert_eq!(after, before);
        if found.msrs.interface().is_global() {
            let status = core.rdmsr(status_of(&model)).unwrap();
            assert_eq!(status, 1 << number);
        }
        run(&rig, 500);
        assert_eq!(core.counted(owned), 11_000);
    }
}

/// On Haswell and later it interrupts each time that the entry is unmasked, before code goes on.
#[test]
fn an_overflow_of_firmwares_does_not_keep_code_from_running() {
    for mut model in all_global() {
        model.quirks.masks_on_delivery = true;
        model.quirks.unmasking_interrupts = true;
        for paths in [Paths::Exact, Paths::Fast] {
            let core = Core::new(model.clone());
            let width = capabilities(&model).general_width;
            core.firmware_owns(Id::General(1), Event::Branches, (1 << width) - 3000, false);
            let mut rig = rig_on(core, "cycles");
            rig.paths = paths;
            rig.start();
            run(&rig, 10_500);
            assert_on_time(&rig);
            // As many as it takes to see that each brings the next, and no more. The first is taken
            // for one of ours that comes late: both counters have wrapped at once.
            let (late, unclaimed) = (rig.seen.borrow().late, rig.seen.borrow().unclaimed);
            assert_eq!((late, unclaimed), (1, 8), "{model:?}");
            rig.stop();
            assert_exact(&rig);
            assert_eq!(rig.machine.core.counted(Id::General(1)), 10_500);
        }
    }
}

#[test]
fn where_all_counters_are_firmwares_they_are_named() {
    for model in all() {
        let core = Core::new(model.clone());
        let counters = capabilities(&model).counters;
        for counter in counters.iter() {
            if let Counter::General(number) = counter {
                core.firmware_owns(Id::General(number), Event::Branches, 0, false);
            }
        }
        let before = core.snapshot().restored();
        let found = PmuState::probe(&core, &capabilities(&model)).unwrap();
        assert_eq!(core.snapshot().restored(), before);
        let error = Plan::make(&found, &list("branches"), None).unwrap_err();
        let general = Counters {
            fixed: 0,
            ..counters
        };
        let text = error.to_string();
        assert!(
            text.ends_with(&format!("in use by firmware or a hypervisor: {general}")),
            "{text}"
        );
    }
}

#[test]
fn a_register_that_is_announced_and_refused_is_named_and_nothing_is_changed() {
    for model in all() {
        let mut numbers: Vec<u32> = Core::new(model.clone())
            .snapshot()
            .restored()
            .msrs
            .into_keys()
            .collect();
        numbers.extend([0x345, 0x390, 0xc000_0302]);
        numbers.extend((0..8).flat_map(|it| [0x186 + it, 0xc1 + it, 0x4c1 + it, 0x309 + it]));
        numbers.extend((0..64).map(|it| 0x1900 + it));
        numbers.extend((0..12).map(|it| 0xc001_0200 + it));
        let mut refusals = Vec::new();
        for number in numbers {
            let mut model = model.clone();
            model.quirks.refused = vec![number];
            let core = Core::new(model.clone());
            let before = core.snapshot().restored();
            let driver = PmuDriver::default();
            let started = PmuState::probe(&core, &capabilities(&model)).and_then(|found| {
                let plan = Plan::make(&found, &list("cycles,instructions"), None).unwrap();
                driver.start(&core, &plan)?;
                driver.resume(&core, &plan, VECTOR);
                core.execute(&cycle(Privilege::User), 100);
                assert_eq!(driver.count(&core, &plan, 0), 100, "{model:?}");
                driver.stop(&core, &plan);
                Ok(())
            });
            if let Err(refused) = started {
                assert_eq!(refused.number(), number);
                refusals.push(number);
            }
            assert_eq!(
                core.snapshot().restored(),
                before,
                "{number:#x} on {model:?}"
            );
            assert!(!driver.is_running());
        }
        let globals = match capabilities(&model).interface {
            detect::Interface::AmdV2 => [0xc000_0300, 0xc000_0301, 0xc000_0302].as_slice(),
            detect::Interface::Intel(2..) => &[0x38d, 0x38e, 0x38f, 0x390, 0x1d9],
            _ => &[],
        };
        for number in globals {
            assert!(refusals.contains(number), "{number:#x} on {model:?}");
        }
        assert!(refusals.len() >= globals.len() + 4, "{refusals:x?}");
    }
}

#[test]
fn a_global_control_that_does_not_take_a_counters_bit_is_named() {
    for model in all_global() {
        let control = if capabilities(&model).interface.is_amd() {
            0xc000_0301
        } else {
            0x38f
        };
        for counter in capabilities(&model).counters.iter() {
            let core = Core::new(model.clone());
            // As from firmware that has cleared it.
            core.wrmsr(control, 0).unwrap();
            let mut refused = Counters::NONE;
            refused.insert(counter);
            let registers = Watched {
                inner: &core,
                watch: |access, value| match access {
                    Access::Try(register)
                        if register.number() == control && value & refused.global_bits() != 0 =>
                    {
                        Err(MsrFault::of(register))
                    }
                    _ => Ok(value),
                },
            };
            let before = core.snapshot().restored();
            let looked = PmuState::probe(&registers, &capabilities(&model));
            assert_eq!(
                looked.map_err(MsrFault::number),
                Err(control),
                "{counter} on {model:?}"
            );
            assert_eq!(core.snapshot().restored(), before);
        }
    }
}

#[test]
fn looking_lets_nothing_count() {
    for model in all_global() {
        let core = Core::new(model.clone());
        // Somebody counts, and nobody else is to.
        core.firmware_owns(Id::General(1), Event::Branches, 0, false);
        let before = core.snapshot().restored();
        let registers = Watched {
            inner: &core,
            watch: |_, value| {
                core.execute(&cycle(Privilege::Kernel), 10);
                Ok(value)
            },
        };
        let found = PmuState::probe(&registers, &capabilities(&model)).unwrap();
        let after = core.snapshot().restored();
        for counter in found.free.iter() {
            let number = found.msrs.counter(counter).number();
            let value = |snapshot: &Snapshot| snapshot.msrs.get(&number).copied();
            assert_eq!(value(&after), value(&before), "{counter} on {model:?}");
        }
        assert!(core.counted(Id::General(1)) > 0);
    }
}

#[test]
fn a_write_that_is_refused_is_all_taken_back() {
    for model in all() {
        for nth in 0.. {
            let core = Core::new(model.clone());
            let _ = core.wrmsr(0x1d9, 1 << 12);
            let rig = rig_on(core, events(&model));
            let core = &rig.machine.core;
            let before = core.snapshot().restored();
            let writes = Cell::new(0);
            let registers = Watched {
                inner: core,
                watch: |access, value| {
                    let refused = match access {
                        Access::Try(register) => MsrFault::of(register),
                        // In system management mode it is not needed: nothing to take back.
                        Access::TryFreezing(Freeze::OnInterrupt) => debug_control::REFUSED,
                        _ => return Ok(value),
                    };
                    writes.set(writes.get() + 1);
                    if writes.get() == nth + 1 {
                        Err(refused)
                    } else {
                        Ok(value)
                    }
                },
            };
            let started = rig.driver.start(&registers, &rig.plan);
            if started.is_ok() {
                assert!(nth >= 4 && writes.get() == nth);
                break;
            }
            assert_eq!(
                core.snapshot().restored(),
                before,
                "write {nth} on {model:?}"
            );
            assert!(!rig.driver.is_running());
            // And it can be tried again.
            rig.start();
            run(&rig, 2500);
            assert_on_time(&rig);
        }
    }
}

#[test]
fn an_emulator_that_ignores_unknown_registers_has_dead_counters() {
    let mut nothing = Model::intel(0);
    nothing.quirks.ignores_unknown = true;
    for announced in all() {
        let core = Core::new(nothing.clone());
        let capabilities = capabilities(&announced);
        let found = PmuState::probe(&core, &capabilities).unwrap();
        assert_eq!(found.free, Counters::NONE);
        assert_eq!(found.busy, Counters::NONE);
        assert_eq!(found.dead, capabilities.counters);
        let error = Plan::make(&found, &list("cycles"), None).unwrap_err();
        let text = error.to_string();
        let dead = format!("no counter keeps what is written to it ({})", found.dead);
        assert_eq!(text, dead);
    }
}

#[test]
fn cores_of_a_hybrid_processor_have_their_own() {
    let mut performance = Model::intel(5);
    performance.as_intel().core_type = Some(0x40);
    let mut efficient = performance.clone();
    let intel = efficient.as_intel();
    intel.core_type = Some(0x20);
    (intel.general, intel.fixed, intel.event_bits) = (0b11_1111, 0b111, 7);
    let kinds = [&performance, &efficient].map(|it| capabilities(it).core_kind);
    assert_eq!(kinds, [Some(CoreKind::Core), Some(CoreKind::Atom)]);
    let plans = [&performance, &efficient].map(|model| {
        let core = Core::new(model.clone());
        let found = PmuState::probe(&core, &capabilities(model)).unwrap();
        Plan::make(&found, &list("slots"), None).map_err(|it| it.to_string())
    });
    assert!(plans[0].is_ok());
    let why = "event 1, slots: this processor does not have the event";
    assert_eq!(plans[1].as_ref().err().map(String::as_str), Some(why));
    // Seven are too many for the six of one and not for the eight of the other.
    let many = "branches:u,branches:k,branches,branches:u,branches:k,branches,branches";
    for (model, has_room) in [(performance, true), (efficient, false)] {
        let found = PmuState::probe(&Core::new(model.clone()), &capabilities(&model)).unwrap();
        assert_eq!(Plan::make(&found, &list(many), None).is_ok(), has_room);
        let rig = rig(model, "cycles,instructions,branches:u");
        rig.start();
        run(&rig, 5500);
        assert_on_time(&rig);
        rig.stop();
        assert_exact(&rig);
    }
}

#[test]
fn lvtpc_is_written_back_unless_its_vector_is_illegal() {
    for model in all() {
        for (left, after) in [
            (None, 0x1_0400), // a reset's: the model takes no write of it
            (Some(0x1_0031), 0x1_0031),
            (Some(0x0_0031), 0x0_0031),
            (Some(0x0_0400), 0x0_0400),
        ] {
            let rig = rig(model.clone(), "cycles:u");
            if let Some(left) = left {
                rig.machine.core.write_lvtpc_bits(left);
            }
            rig.start();
            run(&rig, 100);
            rig.stop();
            assert_eq!(rig.machine.core.read_lvtpc(), after, "{model:?}");
        }
    }
}
