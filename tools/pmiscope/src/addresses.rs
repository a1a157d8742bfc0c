//! What the address of a sample means: where it is beside the event that it is of. One table,
//! for the report and the list; the reasons are in `docs/limits.md`.

use std::fmt;

use profiler::format::Source;
use profiler::format::region::Maker;
use serde::Serialize;

/// Where addresses are.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Addresses {
    /// Each is the next instruction to execute when its event happened.
    Exact,
    /// Each is that of the operation that was sampled.
    SampledOps,
    /// The head of the translated block before which an emulator takes interrupts.
    BlockHead,
    /// Behind the event: an Intel processor's skid.
    BehindOnIntel,
    /// An AMD processor's.
    BehindOnAmd,
    /// That of a processor of which it is not known who made it.
    Behind,
    /// Where an interrupt came that is no event's.
    AtInterrupt,
}

/// What executes the code that is sampled.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Execution {
    /// An emulator that counts instructions.
    Counted,
    /// An emulator that translates them, and does not count.
    Translated,
    /// A processor, its counters made by this maker.
    Processor(Option<Maker>),
}

impl Addresses {
    /// Those of the samples of `source`.
    #[must_use]
    pub const fn of(source: Source, execution: Execution) -> Self {
        match (source, execution) {
            (Source::Step, _) | (Source::Pmu | Source::ApicTimer, Execution::Counted) => {
                Self::Exact
            }
            (Source::Hpet, Execution::Counted) => Self::AtInterrupt,
            // Another core's message waits for the block's end, counted or not.
            (Source::Ipi, Execution::Counted) | (_, Execution::Translated) => Self::BlockHead,
            (Source::Pmu, Execution::Processor(Some(Maker::Intel))) => Self::BehindOnIntel,
            (Source::Pmu, Execution::Processor(Some(Maker::Amd))) => Self::BehindOnAmd,
            (Source::Pmu, Execution::Processor(None)) => Self::Behind,
            (_, Execution::Processor(_)) => Self::AtInterrupt,
        }
    }
}

impl fmt::Display for Addresses {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Exact => "exact: the next instruction to execute",
            Self::SampledOps => "exact: the sampled op's own, where the processor knows it",
            Self::BlockHead => {
                "the head of a block of QEMU's, where it takes interrupts: functions are about right, instructions are not"
            }
            Self::BehindOnIntel => {
                "behind the event (skid): some tens of instructions, and more behind long ones"
            }
            Self::BehindOnAmd => "behind the event (skid): up to a hundred instructions and more",
            Self::Behind => "behind the event (skid): tens of instructions and more",
            Self::AtInterrupt => {
                "where the interrupt came: behind instructions that take long more often than at them"
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::{Addresses, Execution, Maker, Source};

    #[test]
    fn each_source_has_its_addresses_on_each_machine() {
        use Addresses::{AtInterrupt, Behind, BehindOnAmd, BehindOnIntel, BlockHead, Exact};
        let machines = [
            Execution::Counted,
            Execution::Translated,
            Execution::Processor(Some(Maker::Intel)),
            Execution::Processor(Some(Maker::Amd)),
            Execution::Processor(None),
        ];
        let timer = [AtInterrupt; 3];
        for (source, counted, translated, processor) in [
            (
                Source::Pmu,
                Exact,
                BlockHead,
                [BehindOnIntel, BehindOnAmd, Behind],
            ),
            (Source::ApicTimer, Exact, BlockHead, timer),
            (Source::Hpet, AtInterrupt, BlockHead, timer),
            (Source::Ipi, BlockHead, BlockHead, timer),
            (Source::Step, Exact, Exact, [Exact; 3]),
        ] {
            let found = machines.map(|machine| Addresses::of(source, machine));
            let [intel, amd, other] = processor;
            assert_eq!(found, [counted, translated, intel, amd, other], "{source}");
        }
    }
}
