//! What this machine has to sample by, in lines of the log ([`profiler::contract::capabilities`]).
//!
//! Nothing is sampled. Every core looks at its own PMU; then every source is let
//! interrupt the first core (counters each their own), as an NMI and as an IRQ, while the
//! others are halted as they are where a run chooses its source. A source that has been tried is disarmed,
//! and what may come of it late is waited for: it would be taken for the next one's.

use core::sync::atomic::{AtomicU32, Ordering};

use profiler::contract::capabilities::{self, Hpet, Line, Machine, Reason};
use profiler::format::{Delivery, Text};
use profiler::pmu::detect;
use profiler::pmu::event::Named;
use raw_cpuid::CpuId;

use super::clock::RunClock;
use super::source::{self, KINDS, Source, Unavailable, Wanted, hpet, pmu};
use super::{Phase, SETTLING, halt_others, register_handlers, set_phase};
use crate::boot::BootInfo;
use crate::cpu::apic::{self, Registers};
use crate::cpu::features::Features;
use crate::exit::{self, ExitCode};
use crate::time::Deadline;
use crate::{cpu, smp};

/// Surveys the machine, and ends the run: the first core. All others are idle.
pub fn run(boot: &BootInfo) -> ! {
    register_handlers();
    say_machine(boot);
    say_pmus();
    pmu::survey(pmu::DEFAULT_EVENTS);
    halt_others();
    let clock = RunClock::detect();
    say(&Line::Clock(
        clock.map(|clock| clock.clock).map_err(|why| because(&why)),
    ));
    set_phase(Phase::Probing);
    for delivery in [Delivery::Nmi, Delivery::Irq] {
        say_sources(delivery, clock.as_ref().ok());
    }
    set_phase(Phase::Off);
    say(&Line::End);
    exit::exit(ExitCode::Success)
}

fn say(line: &Line) {
    log::info!("{line}");
}

fn because(problem: &dyn core::fmt::Display) -> Reason {
    Reason::formatted(format_args!("{problem}"))
}

/// What the cores have in common.
fn say_machine(boot: &BootInfo) {
    let brand = CpuId::new().get_processor_brand_string();
    say(&Line::Processor {
        identity: detect::identify(pmu::cpuid),
        name: Text::new(brand.as_ref().map_or("", |brand| brand.as_str().trim())),
    });
    say(&Line::Machine(Machine {
        cores: u32::try_from(cpu::cores().len()).unwrap_or(u32::MAX),
        is_x2apic: matches!(apic::registers(), Registers::X2Apic(_)),
        has_invariant_tsc: Features::get().invariant_tsc.is_some(),
    }));
    say(&Line::Hpet(match (cpu::hpet::get(), &boot.hpet) {
        (Some(registers), _) => Ok(Hpet {
            timers: registers.timers().into(),
            messages: hpet::message_timers(registers),
            period: registers.period_femtoseconds(),
        }),
        (None, Err(problem)) => Err(because(problem)),
        (None, Ok(_)) => Err(because(&Unavailable::NoHpet)),
    }));
}

/// The cores that have written their lines.
static DONE: AtomicU32 = AtomicU32::new(0);

/// Lets every core write what it has, one by one.
fn say_pmus() {
    for core in cpu::cores() {
        if core.index == 0 {
            say_pmu();
        } else {
            smp::give(core, say_pmu);
        }
        let is_done = || DONE.load(Ordering::Acquire) > core.index;
        let came = Deadline::after(smp::PATIENCE).wait_for(is_done);
        assert!(came, "core {} did not look at its PMU", core.index);
    }
}

/// The running core's PMU, and what it counts.
fn say_pmu() {
    let core = cpu::current().index;
    match pmu::look() {
        Err(problem) => say(&Line::Pmu {
            core,
            pmu: Err(because(&problem)),
        }),
        Ok(found) => {
            say(&Line::Pmu {
                core,
                pmu: Ok(capabilities::Pmu::new(&found)),
            });
            for event in Named::ALL {
                say(&Line::event(core, event, &found));
            }
        }
    }
    DONE.fetch_add(1, Ordering::Release);
}

/// Which sources interrupt the running core by `delivery`, and which is taken.
fn say_sources(delivery: Delivery, clock: Option<&RunClock>) {
    let mut taken = None;
    for kind in KINDS {
        let works = match clock {
            Some(clock) => try_out(kind, delivery, clock).map_err(|why| because(&why)),
            None => Err(Reason::new("nothing to measure periods by")),
        };
        if works.is_ok() && source::is_automatic(kind) {
            taken = taken.or(Some(kind));
        }
        say(&Line::Source {
            source: kind,
            delivery,
            works,
        });
    }
    say(&Line::Auto {
        delivery,
        source: taken,
    });
}

/// Lets a source interrupt the running core once.
fn try_out(
    kind: profiler::format::Source,
    delivery: Delivery,
    clock: &RunClock,
) -> Result<(), Unavailable> {
    let wanted = Wanted {
        has_aim: false,
        period: None,
        delivery,
        clock,
        has_events: false,
    };
    let tried = Source::probe(kind, &wanted);
    if let Some(source) = source::current() {
        source.disarm(cpu::current());
    }
    let _ = Deadline::after(SETTLING).wait_for(|| false);
    tried.map(drop)
}
