//! What this machine has to sample by, in lines ([`crate::contract::capabilities`]).
//!
//! Nothing is sampled. Every core probes its own PMU; then every source is let
//! interrupt the first core (counters each their own), as an NMI and as an IRQ, while the
//! others are halted as they are where a run chooses its source. A source that has been
//! tried is disarmed, and what may come of it late is waited for: it would be taken for
//! the next one's.

use core::fmt;
use core::sync::atomic::Ordering;

use super::Sampler;
use super::clock::RunClock;
use super::config::Config;
use super::cores::JOIN_TIMEOUT_TICKS;
use super::error::StartError;
use super::memory::Memory;
use super::per_core::pmu::probe_here;
use super::per_core::{Core, Errand};
use super::phase::Phase;
use super::source::{self, Demand, Source, SourceError, apic_timer, pmu};
use super::target::Target;
use super::wait;
use crate::contract::capabilities::{self, Line, Machine, Reason};
use crate::contract::settings::Keep;
use crate::format::{self, Delivery, Text};
use crate::hw::apic::{self, Mode};
use crate::hw::cpuid;
use crate::hw::tsc::Deadline;
use crate::pmu::detect;
use crate::pmu::event::Named;

fn reason(problem: &dyn fmt::Display) -> Reason {
    Reason::formatted(format_args!("{problem}"))
}

fn no_hpet(why: Option<Reason>) -> Reason {
    why.unwrap_or_else(|| reason(&SourceError::NoHpet))
}

impl<T: Target> Sampler<T> {
    /// Shows what the machine has to sample by, line by line, by [`Target::show`]. The
    /// other cores come to [`Self::join`], as for a run, and return when it is over.
    ///
    /// # Errors
    ///
    /// As [`Self::start`].
    pub fn list<'a>(
        &'static self,
        memory: Memory,
        config: &Config<'a>,
    ) -> Result<(), StartError<'a>> {
        self.refuse_second_start()?;
        let outcome = self.on_own_stack(&memory, |rest| self.list_all(rest, config));
        self.engine.end();
        outcome
    }

    fn list_all<'a>(
        &'static self,
        memory: &Memory,
        config: &Config<'a>,
    ) -> Result<(), StartError<'a>> {
        self.set_up(memory, config, Keep::Samples)?;
        self.gather()?;
        self.list_machine(config);
        self.list_pmus()?;
        self.probe_pmus(pmu::DEFAULT_EVENTS)?;
        let clock = RunClock::detect(self.engine.cores.timers());
        self.target.show(&Line::Clock {
            tick: clock.clock,
            reference: clock.reference,
            within: clock.within,
            why: clock.why,
        });
        self.engine.set_phase(Phase::Probing);
        for delivery in [Delivery::Nmi, Delivery::Irq] {
            self.list_sources(delivery, &clock);
        }
        self.engine.set_phase(Phase::Off);
        self.target.show(&Line::End);
        Ok(())
    }

    /// What the cores have in common.
    fn list_machine(&self, config: &Config<'_>) {
        let mut brand = [0; 48];
        let name = cpuid::brand(&mut brand);
        self.target.show(&Line::Processor {
            identity: detect::identify(cpuid::leaf),
            name: Text::new(name),
        });
        self.target.show(&Line::Machine(Machine {
            cores: self.engine.cores.count(),
            is_x2apic: apic::registers().mode() == Mode::X2Apic,
            has_invariant_tsc: cpuid::has_invariant_tsc(),
        }));
        self.target
            .show(&Line::Hpet(match self.engine.cores.timers().hpet {
                Some(Ok(hpet)) => Ok(capabilities::Hpet {
                    timers: hpet.timers().into(),
                    messages: hpet.message_timers(),
                    period: hpet.period_femtoseconds(),
                }),
                Some(Err(problem)) => Err(reason(&problem)),
                None => Err(no_hpet(config.no_hpet)),
            }));
    }

    /// Lets every core show what it has, one by one.
    fn list_pmus<'a>(&'static self) -> Result<(), StartError<'a>> {
        for core in self.engine.cores.all() {
            if core.index == 0 {
                self.list_pmu(core);
                continue;
            }
            core.wait.set_errand(Errand::ListPmu);
            wait::wake(core);
            let is_done = || self.engine.listed.load(Ordering::Acquire) > core.index;
            if !Deadline::after(JOIN_TIMEOUT_TICKS).wait_for(is_done) {
                return Err(StartError::NotProbed { core: core.index });
            }
        }
        self.engine.cores.settle();
        Ok(())
    }

    /// The PMU of the running core, `core`, and what it counts.
    pub(super) fn list_pmu(&self, core: &Core) {
        let core = core.index;
        match probe_here() {
            Err(problem) => self.target.show(&Line::Pmu {
                core,
                pmu: Err(reason(&problem)),
            }),
            Ok(state) => {
                self.target.show(&Line::Pmu {
                    core,
                    pmu: Ok(capabilities::Pmu::new(&state)),
                });
                for event in Named::ALL {
                    self.target.show(&Line::event(core, event, &state));
                }
                let works = state.ibs.map(drop).map_err(|problem| reason(&problem));
                self.target.show(&Line::Ibs { core, works });
            }
        }
        self.engine.listed.fetch_add(1, Ordering::Release);
    }

    /// Which sources interrupt the running core by `delivery`, and which is taken.
    fn list_sources(&'static self, delivery: Delivery, clock: &RunClock) {
        let mut taken = None;
        let order = source::order(apic_timer::kernels_tick().is_some());
        for kind in order {
            let works = self
                .try_source(kind, delivery, clock)
                .map_err(|problem| reason(&problem));
            if works.is_ok() && source::is_automatic(kind) {
                taken = taken.or(Some(kind));
            }
            self.target.show(&Line::Source {
                source: kind,
                delivery,
                works,
            });
        }
        self.target.show(&Line::Auto {
            delivery,
            source: taken,
        });
    }

    /// Lets a source interrupt the running core once.
    fn try_source(
        &'static self,
        kind: format::Source,
        delivery: Delivery,
        clock: &RunClock,
    ) -> Result<(), SourceError> {
        let demand = Demand {
            has_aim: false,
            period: None,
            kernels_tick: None,
            delivery,
            clock,
            has_events: false,
        };
        Source::look(&self.engine.cores, &self.engine.probed, kind, &demand)
    }
}
