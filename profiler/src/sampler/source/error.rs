//! Why a source cannot be used on a machine.

use core::fmt;

use crate::hw::apic::LAST_XAPIC_ID;
use crate::hw::hpet;
use crate::sampler::pmu_error::PmuError;

/// Why a source cannot be used here.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum SourceError {
    /// The performance counters were not probed.
    NotProbed,
    /// A core's counters cannot count what was asked for.
    Pmu {
        /// The core.
        core: u32,
        /// Why.
        problem: PmuError,
    },
    /// Counters are what events are counted by.
    NoEvents,
    /// It does not come at an instruction that was aimed at.
    NoAims,
    /// No shorter period than this one comes out.
    MinPeriod(u64),
    /// The timer's entry does not keep the NMI delivery mode.
    TimerIgnoresNmi,
    /// Nothing arrived within the time.
    NoArrival,
    /// No overflow of a core's counters interrupted it.
    NoOverflow {
        /// The core.
        core: u32,
    },
    /// A core does not take the sampling interrupt.
    NoAnswer {
        /// The core.
        core: u32,
    },
    /// Sampling interrupts that a core sends itself do not arrive.
    NoneFromItself {
        /// The core.
        core: u32,
    },
    /// There is no HPET, or firmware hides it.
    NoHpet,
    /// There is no HPET where the kernel was told that it is, or it does not count.
    Hpet(hpet::Problem),
    /// The HPET's messages cannot name a core.
    HpetCannotReach {
        /// The core.
        core: u32,
        /// Its APIC id.
        apic_id: u32,
    },
    /// The HPET cannot send messages.
    HpetWithoutMessages,
    /// The source can serve fewer cores than there are.
    TooManyCores {
        /// The cores that the source can serve.
        served: u32,
        /// The cores that there are.
        cores: u32,
    },
    /// There is no other core to interrupt the single one.
    OneCore,
    /// The source delivers NMIs only.
    NmiOnly,
    /// The source's interrupts are not maskable.
    NoIrq,
}

impl SourceError {
    /// What is wrong with the counters of `core`.
    pub(crate) const fn of_pmu(core: u32, problem: PmuError) -> Self {
        Self::Pmu { core, problem }
    }
}

impl fmt::Display for SourceError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotProbed => f.write_str("not looked for"),
            // What is so on the first core is so on the others, mostly.
            Self::Pmu { core: 0, problem } => problem.fmt(f),
            Self::Pmu { core, problem } => write!(f, "core {core}: {problem}"),
            Self::NoEvents => f.write_str("it counts no events"),
            Self::NoAims => f.write_str("it takes no aim"),
            Self::MinPeriod(least) => write!(f, "no period is shorter than {least}"),
            Self::TimerIgnoresNmi => f.write_str("the timer does not keep the NMI delivery mode"),
            Self::NoArrival | Self::NoOverflow { core: 0 } => f.write_str("no interrupt arrived"),
            Self::NoOverflow { core } => write!(f, "core {core}: no interrupt arrived"),
            Self::NoneFromItself { core } => write!(
                f,
                "core {core}: interrupts that it sends itself do not arrive"
            ),
            Self::NoAnswer { core } => {
                write!(f, "core {core} does not answer: it may have interrupts off")
            }
            Self::NoHpet => f.write_str("no HPET here"),
            Self::Hpet(problem) => problem.fmt(f),
            Self::HpetCannotReach { core, apic_id } => write!(
                f,
                "its messages name APIC ids up to {LAST_XAPIC_ID} and that of core {core} is {apic_id}"
            ),
            Self::HpetWithoutMessages => f.write_str("the HPET sends no messages to cores"),
            Self::TooManyCores { served, cores } => {
                write!(f, "it can serve {served} cores and there are {cores}")
            }
            Self::OneCore => f.write_str("a single core has nobody to interrupt it"),
            Self::NmiOnly => f.write_str("it delivers NMIs only"),
            Self::NoIrq => f.write_str("its traps cannot be masked: leave out delivery=irq"),
        }
    }
}

impl core::error::Error for SourceError {}
