//! What is expected of a boot.

use std::fmt;

use profiler::contract::settings::SourceChoice;
use profiler::format::{Delivery, Source};

use super::at_hand::Emulator;
use super::configuration::{Configuration, Memory, NO_EXECUTE, NO_HPET, Way};
use crate::profile::Mode;
use crate::qemu::{HPET_TIMERS, PmuModel};

/// How a boot may end.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Expected {
    /// What its profile has; `None` if it has to be refused.
    pub profile: Option<Sampled>,
    /// How it may be refused, or has to be.
    pub refusals: Vec<Refusal>,
}

/// A profile.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Sampled {
    pub cores: u32,
    /// The fewest, where not all may have been started.
    pub least_cores: u32,
    /// All samples; of a disc it is not known how many it asks for.
    pub samples: Option<u64>,
    /// `None` where it is not known which one works, or works in time.
    pub source: Option<Source>,
    /// The most interrupts that nothing explains.
    pub unclaimed: u64,
}

/// A refusal: the exit status, and words of the message.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Refusal {
    pub status: i32,
    pub says: &'static str,
}

/// Whether a rule is one of this boot.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Applies {
    No,
    /// It may be refused so.
    May,
    /// It has to be.
    Must,
}

impl Applies {
    const fn must_if(condition: bool) -> Self {
        if condition { Self::Must } else { Self::No }
    }

    const fn may_if(condition: bool) -> Self {
        if condition { Self::May } else { Self::No }
    }
}

/// When a boot is refused in which way.
struct Rule {
    status: i32,
    says: &'static str,
    applies: fn(&Configuration) -> Applies,
}

/// The order in which `auto` takes the sources.
const AUTO: [Source; 4] = [Source::Pmu, Source::ApicTimer, Source::Hpet, Source::Ipi];

const RULES: [Rule; 15] = [
    Rule {
        status: 4,
        says: "cannot mark pages as not executed",
        applies: |boot| Applies::must_if(boot.machine.processor.contains(&NO_EXECUTE)),
    },
    // Too little memory, for the loader, the kernel or the rings.
    Rule {
        status: 4,
        says: "memory",
        applies: |boot| Applies::may_if(boot.has_less_memory()),
    },
    Rule {
        status: 5,
        says: "memory",
        applies: |boot| Applies::may_if(boot.has_less_memory()),
    },
    Rule {
        status: 5,
        says: "pmu: no counter keeps what is written to it",
        applies: |boot| boot.refused(Source::Pmu, !boot.has_counters()),
    },
    Rule {
        status: 5,
        says: "pmu: CPUID announces no counters",
        applies: |boot| boot.refused(Source::Pmu, !boot.has_counters()),
    },
    Rule {
        status: 5,
        says: "apic-timer: the timer does not keep the NMI delivery mode",
        applies: |boot| boot.refused(Source::ApicTimer, !boot.works(Source::ApicTimer)),
    },
    Rule {
        status: 5,
        says: "hpet: no HPET here",
        applies: |boot| boot.refused(Source::Hpet, boot.machine.devices == NO_HPET),
    },
    Rule {
        status: 5,
        says: "hpet: it can serve 24 cores",
        applies: |boot| boot.refused(Source::Hpet, boot.machine.cores > HPET_TIMERS),
    },
    Rule {
        status: 5,
        says: "ipi: it delivers NMIs only",
        applies: |boot| boot.refused(Source::Ipi, boot.is_by_irq()),
    },
    Rule {
        status: 5,
        says: "ipi: a single core has nobody to interrupt it",
        applies: |boot| boot.refused(Source::Ipi, boot.machine.cores == 1),
    },
    Rule {
        status: 5,
        says: "step: its traps cannot be masked",
        applies: |boot| boot.refused(Source::Step, boot.is_by_irq()),
    },
    Rule {
        status: 5,
        says: "no source works",
        applies: |boot| {
            let is_auto = boot.choice() == SourceChoice::Auto;
            Applies::must_if(is_auto && boot.is_known() && boot.source().is_none())
        },
    },
    // Comparators that match late need longer ones.
    Rule {
        status: 5,
        says: "makes no progress here: the smallest that does is",
        applies: |boot| Applies::may_if(boot.may_be_too_short()),
    },
    // A host that is busy may let an interrupt wait for longer than the kernel does.
    Rule {
        status: 5,
        says: "no interrupt arrived",
        applies: |boot| Applies::may_if(boot.is_by_time()),
    },
    // A QEMU of which nothing is known may have anything, or not.
    Rule {
        status: 5,
        says: "the kernel could not sample",
        applies: |boot| Applies::may_if(!boot.is_known()),
    },
];

impl Expected {
    /// What is expected of this boot.
    pub(super) fn of(boot: &Configuration) -> Self {
        let applying = |rule: &Rule| (rule.applies)(boot);
        let must = RULES.iter().any(|rule| applying(rule) == Applies::Must);
        let rules = RULES.iter().filter(|rule| applying(rule) != Applies::No);
        let refusals = rules.map(|&Rule { status, says, .. }| Refusal { status, says });
        // A busy host may let the first one wait for too long.
        let is_sure =
            boot.is_known() && !(boot.is_by_time() && boot.choice() == SourceChoice::Auto);
        let source = boot.source().filter(|_| is_sure);
        let profile = Sampled {
            cores: boot.machine.cores,
            least_cores: boot.least_cores(),
            samples: boot.sampling.as_ref().map(|sampling| sampling.samples),
            source,
            unclaimed: boot.unclaimed(source),
        };
        Self {
            profile: (!must).then_some(profile),
            refusals: refusals.collect(),
        }
    }
}

impl fmt::Display for Expected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(Sampled {
            cores,
            samples,
            source,
            ..
        }) = &self.profile
        {
            write!(f, "{cores} cores sampled")?;
            if let Some(source) = source {
                write!(f, " by {source}")?;
            }
            if let Some(samples) = samples {
                write!(f, ", {samples} samples")?;
            }
        }
        for (number, Refusal { status, says }) in self.refusals.iter().enumerate() {
            let or = if number > 0 || self.profile.is_some() {
                ", or "
            } else {
                ""
            };
            write!(f, "{or}status {status} with `{says}`")?;
        }
        Ok(())
    }
}

impl Configuration {
    fn choice(&self) -> SourceChoice {
        let sampling = self.sampling.as_ref();
        sampling.map_or(SourceChoice::Auto, |sampling| sampling.source)
    }

    fn is_by_irq(&self) -> bool {
        let sampling = self.sampling.as_ref();
        sampling.is_some_and(|sampling| sampling.delivery == Delivery::Irq)
    }

    /// Returns true if it is known what the machine has.
    fn is_known(&self) -> bool {
        let is_other = matches!(self.machine.emulator, Emulator::Other(_));
        !is_other && self.machine.mode != Mode::Kvm
    }

    fn is_by_time(&self) -> bool {
        self.machine.mode != Mode::Deterministic
    }

    fn has_less_memory(&self) -> bool {
        matches!(self.machine.memory, Memory::Less(_))
    }

    fn has_counters(&self) -> bool {
        self.machine.pmu.is_some_and(|model| model != PmuModel::Off)
    }

    /// Returns true if this source interrupts on this machine, in this way.
    fn works(&self, source: Source) -> bool {
        let machine = &self.machine;
        match source {
            Source::Pmu => self.has_counters(),
            Source::ApicTimer => machine.emulator != Emulator::Strict || self.is_by_irq(),
            Source::Hpet => machine.devices != NO_HPET && machine.cores <= HPET_TIMERS,
            Source::Ipi => !self.is_by_irq() && machine.cores > 1,
            Source::Step => !self.is_by_irq(),
        }
    }

    /// The source that samples; `None` if none does.
    fn source(&self) -> Option<Source> {
        match self.choice() {
            SourceChoice::Auto => AUTO.into_iter().find(|&source| self.works(source)),
            SourceChoice::Only(source) => Some(source).filter(|&source| self.works(source)),
        }
    }

    /// Returns true if NMIs from core to core may sample it, which are slow.
    pub(super) fn may_be_by_ipi(&self) -> bool {
        let is_auto = self.choice() == SourceChoice::Auto;
        self.source() == Some(Source::Ipi) || (is_auto && !self.is_known())
    }

    /// A refusal of a source that is asked for by its name.
    fn refused(&self, source: Source, condition: bool) -> Applies {
        let is_asked = self.choice() == SourceChoice::Only(source);
        Applies::must_if(is_asked && condition && self.is_known())
    }

    fn may_be_too_short(&self) -> bool {
        let is_strict = self.machine.emulator == Emulator::Strict;
        let by_hpet = self.source() == Some(Source::Hpet);
        is_strict && by_hpet
    }

    /// The fewest cores that are started: Limine waits for each for as long as some ticks of the
    /// time stamp counter take, and goes on without it.
    fn least_cores(&self) -> u32 {
        if self.is_by_time() && self.machine.way != Way::Loader {
            1
        } else {
            self.machine.cores
        }
    }

    /// The most interrupts that nothing explains: docs/limits.md.
    fn unclaimed(&self, source: Option<Source>) -> u64 {
        let cores = self.machine.cores.into();
        let samples = self.sampling.as_ref().map(|sampling| sampling.samples);
        match (source, self.is_by_time()) {
            // A comparator that is moved on as the host was busy: one each time.
            (Some(Source::Hpet) | None, true) => samples.unwrap_or(cores),
            (Some(Source::Ipi | Source::Hpet) | None, _) => cores,
            (Some(_), _) => 0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::configuration::{Machine, Sampling};
    use super::*;
    use crate::profile::Mode;

    fn machine() -> Machine {
        Machine {
            emulator: Emulator::Stock,
            mode: Mode::Deterministic,
            pmu: None,
            cores: 4,
            memory: Memory::Default,
            way: Way::Loader,
            processor: &[],
            devices: &[],
        }
    }

    fn boot(machine: Machine, source: SourceChoice, delivery: Delivery) -> Expected {
        Expected::of(&Configuration {
            machine,
            sampling: Some(Sampling {
                source,
                delivery,
                period: None,
                workload: "mix",
                samples: 400,
            }),
        })
    }

    fn lab(pmu: PmuModel) -> Machine {
        Machine {
            emulator: Emulator::Lab,
            pmu: Some(pmu),
            ..machine()
        }
    }

    fn strict() -> Machine {
        Machine {
            emulator: Emulator::Strict,
            ..lab(PmuModel::Off)
        }
    }

    #[test]
    fn auto_takes_the_first_that_works_on_the_machine() {
        let without_hpet = Machine {
            devices: NO_HPET,
            ..strict()
        };
        let one_core = Machine {
            cores: 1,
            ..without_hpet.clone()
        };
        for (machine, delivery, source) in [
            (machine(), Delivery::Nmi, Some(Source::ApicTimer)),
            (lab(PmuModel::AmdV2), Delivery::Irq, Some(Source::Pmu)),
            (lab(PmuModel::Off), Delivery::Nmi, Some(Source::ApicTimer)),
            (strict(), Delivery::Irq, Some(Source::ApicTimer)),
            (strict(), Delivery::Nmi, Some(Source::Hpet)),
            (without_hpet, Delivery::Nmi, Some(Source::Ipi)),
            (one_core.clone(), Delivery::Irq, Some(Source::ApicTimer)),
            (one_core, Delivery::Nmi, None),
        ] {
            let expected = boot(machine, SourceChoice::Auto, delivery);
            let found = expected.profile.as_ref().and_then(|profile| profile.source);
            assert_eq!(found, source, "{expected:?}");
            assert_eq!(expected.profile.is_none(), source.is_none(), "{expected:?}");
        }
    }

    #[test]
    fn what_cannot_sample_has_to_say_why() {
        let [nmi, irq] = [Delivery::Nmi, Delivery::Irq];
        let many = Machine {
            cores: 25,
            ..machine()
        };
        let one = Machine {
            cores: 1,
            ..machine()
        };
        let without_hpet = Machine {
            devices: NO_HPET,
            ..machine()
        };
        for (machine, source, delivery, says) in [
            (machine(), Source::Pmu, nmi, "no counter keeps"),
            (strict(), Source::ApicTimer, nmi, "does not keep the NMI"),
            (many, Source::Hpet, irq, "it can serve 24 cores"),
            (without_hpet, Source::Hpet, nmi, "no HPET here"),
            (one, Source::Ipi, nmi, "a single core"),
            (machine(), Source::Ipi, irq, "it delivers NMIs only"),
            (machine(), Source::Step, irq, "cannot be masked"),
        ] {
            let expected = boot(machine, SourceChoice::Only(source), delivery);
            assert_eq!(expected.profile, None, "{source}");
            let said = expected.to_string();
            assert!(said.contains(says), "{source}: {said}");
        }
        for (source, delivery) in [
            (Source::ApicTimer, nmi),
            (Source::Hpet, irq),
            (Source::Ipi, nmi),
            (Source::Step, nmi),
        ] {
            let expected = boot(machine(), SourceChoice::Only(source), delivery);
            assert_eq!(expected.refusals, [], "{source}");
            let profile = expected.profile.expect("it has to sample");
            assert_eq!(profile.source, Some(source));
            assert_eq!((profile.cores, profile.samples), (4, Some(400)));
        }
    }

    #[test]
    fn a_busy_host_may_let_limine_go_on_without_a_core() {
        let least = |way, mode| {
            let machine = Machine {
                way,
                mode,
                ..machine()
            };
            let expected = boot(machine, SourceChoice::Auto, Delivery::Nmi);
            expected.profile.unwrap().least_cores
        };
        assert_eq!(least(Way::Loader, Mode::Realtime), 4);
        assert_eq!(least(Way::Bios, Mode::Deterministic), 4);
        assert_eq!(least(Way::Bios, Mode::Realtime), 1);
        assert_eq!(least(Way::Uefi, Mode::Realtime), 1);
    }

    #[test]
    fn a_busy_host_may_make_auto_take_another_source() {
        let by_time = Machine {
            mode: Mode::Realtime,
            ..machine()
        };
        let expected = boot(by_time.clone(), SourceChoice::Auto, Delivery::Nmi);
        assert_eq!(expected.profile.unwrap().source, None);
        let named = SourceChoice::Only(Source::ApicTimer);
        let expected = boot(by_time, named, Delivery::Nmi);
        assert_eq!(expected.profile.unwrap().source, Some(Source::ApicTimer));
        assert_eq!(expected.refusals[0].says, "no interrupt arrived");
    }

    #[test]
    fn a_machine_may_lack_what_the_kernel_needs() {
        let no_execute = Machine {
            processor: &[NO_EXECUTE],
            ..machine()
        };
        let expected = boot(no_execute, SourceChoice::Auto, Delivery::Nmi);
        assert_eq!(expected.profile, None);
        assert_eq!(expected.refusals[0].status, 4);
        let small = Machine {
            memory: Memory::Less(20 << 20),
            ..machine()
        };
        let expected = boot(small, SourceChoice::Auto, Delivery::Nmi);
        assert!(expected.profile.is_some());
        assert!(expected.refusals.iter().all(|it| it.says == "memory"));
        assert_eq!(expected.refusals.len(), 2);
    }
}
