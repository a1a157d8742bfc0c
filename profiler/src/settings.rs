//! The words by which a run is described to the kernel: its command line.
//!
//! The kernel parses what the host tool, a boot loader's configuration or a
//! person wrote, so nothing is guessed: an unknown word is an error that names
//! the word and says which there are. The host tool makes its command lines by
//! formatting the same [`Settings`].

use core::fmt;

use crate::address::CodeAddress;
use crate::format::Delivery;

/// Which source of overflows a run asks for.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum SourceChoice {
    /// The first that works on this machine.
    #[default]
    Auto,
    /// This one, or none.
    Only(crate::format::Source),
}

impl SourceChoice {
    /// What the word `source=` takes.
    pub const NAMES: &'static str = "auto, pmu, apic-timer, hpet, ipi, step";

    /// The choice with this name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        if name == "auto" {
            return Some(Self::Auto);
        }
        crate::format::Source::from_name(name).map(Self::Only)
    }
}

impl fmt::Display for SourceChoice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Auto => "auto",
            Self::Only(source) => source.name(),
        })
    }
}

/// Where to aim single overflows at: so many instructions after each time that an
/// instruction is about to be executed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Aim {
    /// The instruction.
    pub address: CodeAddress,
    /// Instructions from there, the first time.
    pub first: u32,
    /// Each further time one more, up to here (not included), then from the first
    /// again.
    pub end: u32,
}

impl Aim {
    /// The most instructions that an aim can be behind its address.
    pub const MAX: u32 = 1_000_000;

    /// Reads `ADDRESS:N` or `ADDRESS:N..M`, the address in hexadecimal.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let (address, behind) = text.split_once(':')?;
        let address = CodeAddress(u64::from_str_radix(address.strip_prefix("0x")?, 16).ok()?);
        let (first, end) = Self::parse_behind(behind)?;
        Some(Self {
            address,
            first,
            end,
        })
    }

    /// Reads `N` or `N..M`: the first one and the end.
    #[must_use]
    pub fn parse_behind(text: &str) -> Option<(u32, u32)> {
        let (first, end) = match text.split_once("..") {
            Some((first, end)) => (first.parse().ok()?, end.parse().ok()?),
            None => {
                let first: u32 = text.parse().ok()?;
                (first, first.checked_add(1)?)
            }
        };
        (first < end && end <= Self::MAX).then_some((first, end))
    }
}

impl fmt::Display for Aim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            address,
            first,
            end,
        } = self;
        write!(f, "{:#x}:{first}..{end}", address.0)
    }
}

/// A run, as its command line describes it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Settings<'a> {
    /// `source=`: where overflows come from.
    pub source: SourceChoice,
    /// `delivery=`: how they interrupt.
    pub delivery: Delivery,
    /// `period=`: the ticks that interrupted code runs between two samples.
    /// `None`: what suits the machine's clock.
    pub period: Option<u64>,
    /// `workload=`: what runs. The kernel knows which there are.
    pub workload: &'a str,
    /// `samples=`: how many samples to take, all cores together.
    pub samples: u64,
    /// `ring=`: the bytes of each core's ring, a power of two.
    pub ring_bytes: u64,
    /// `aim=`: overflows beside those of the period. Where instructions are counted.
    pub aim: Option<Aim>,
    /// `test=`: a self-test to run in place of the workload.
    pub test: Option<&'a str>,
}

impl Settings<'_> {
    /// The periods that `period=` takes. Whether a short one makes progress on
    /// the machine at hand is measured there.
    pub const PERIODS: core::ops::RangeInclusive<u64> = 1..=1_000_000_000;
    /// The sample counts that `samples=` takes.
    pub const SAMPLES: core::ops::RangeInclusive<u64> = 1..=1_000_000_000;
    /// The ring sizes that `ring=` takes.
    pub const RING_BYTES: core::ops::RangeInclusive<u64> = 64 << 10..=1 << 30;
}

impl Default for Settings<'_> {
    fn default() -> Self {
        Self {
            source: SourceChoice::Auto,
            delivery: Delivery::Nmi,
            period: None,
            workload: "mix",
            samples: 100_000,
            ring_bytes: 8 << 20,
            aim: None,
            test: None,
        }
    }
}

/// A word of the command line that cannot be taken.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct BadWord<'a> {
    /// The word, as it was written.
    pub word: &'a str,
    /// What is wrong with it.
    pub problem: Problem,
}

/// What can be wrong with a word.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Problem {
    /// There is no such setting.
    Unknown,
    /// The setting stands there twice.
    Twice,
    /// The value is none of these.
    NotOneOf(&'static str),
    /// The value is no number from the first to the last of these.
    NotInRange(u64, u64),
    /// The value is not a power of two.
    NotPowerOfTwo,
    /// The value is no address and number of instructions.
    NotAnAim,
    /// There is no value.
    Empty,
}

impl fmt::Display for BadWord<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}`: ", self.word)?;
        match self.problem {
            Problem::Unknown => f.write_str(
                "no such setting; there are source=, delivery=, period=, workload=, samples=, ring=, aim=, test=",
            ),
            Problem::Twice => f.write_str("set before; say it once"),
            Problem::NotOneOf(names) => write!(f, "must be one of {names}"),
            Problem::NotInRange(low, high) => write!(f, "must be a number from {low} to {high}"),
            Problem::NotPowerOfTwo => f.write_str("must be a power of two"),
            Problem::NotAnAim => write!(
                f,
                "must be ADDRESS:N or ADDRESS:N..M, such as 0xffffffff80001000:0..20, at most {}",
                Aim::MAX
            ),
            Problem::Empty => f.write_str("needs a value"),
        }
    }
}

impl core::error::Error for BadWord<'_> {}

impl<'a> Settings<'a> {
    /// Parses a command line: words `key=value` between white space.
    ///
    /// # Errors
    ///
    /// The first word that cannot be taken.
    pub fn parse(command_line: &'a str) -> Result<Self, BadWord<'a>> {
        const KEYS: [&str; 8] = [
            "source", "delivery", "period", "workload", "samples", "ring", "aim", "test",
        ];
        let mut settings = Self::default();
        let mut seen = [false; KEYS.len()];
        for word in command_line.split_ascii_whitespace() {
            let bad = |problem| BadWord { word, problem };
            let (key, value) = word.split_once('=').ok_or(bad(Problem::Unknown))?;
            let index = KEYS.iter().position(|&known| known == key);
            let index = index.ok_or(bad(Problem::Unknown))?;
            if core::mem::replace(&mut seen[index], true) {
                return Err(bad(Problem::Twice));
            }
            if value.is_empty() {
                return Err(bad(Problem::Empty));
            }
            settings.set(key, value).map_err(bad)?;
        }
        Ok(settings)
    }

    fn set(&mut self, key: &str, value: &'a str) -> Result<(), Problem> {
        match key {
            "source" => {
                self.source =
                    SourceChoice::from_name(value).ok_or(Problem::NotOneOf(SourceChoice::NAMES))?;
            }
            "delivery" => {
                self.delivery =
                    Delivery::from_name(value).ok_or(Problem::NotOneOf(Delivery::NAMES))?;
            }
            "period" => self.period = Some(number(value, Self::PERIODS)?),
            "workload" => self.workload = value,
            "samples" => self.samples = number(value, Self::SAMPLES)?,
            "ring" => {
                let bytes = number(value, Self::RING_BYTES)?;
                if !bytes.is_power_of_two() {
                    return Err(Problem::NotPowerOfTwo);
                }
                self.ring_bytes = bytes;
            }
            "aim" => self.aim = Some(Aim::parse(value).ok_or(Problem::NotAnAim)?),
            _ => self.test = Some(value),
        }
        Ok(())
    }
}

fn number(value: &str, range: core::ops::RangeInclusive<u64>) -> Result<u64, Problem> {
    let number = value.parse().ok().filter(|number| range.contains(number));
    number.ok_or(Problem::NotInRange(*range.start(), *range.end()))
}

impl fmt::Display for Settings<'_> {
    /// The command line that [`Settings::parse`] reads these settings from.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "source={}", self.source)?;
        write!(f, " delivery={}", self.delivery.name())?;
        if let Some(period) = self.period {
            write!(f, " period={period}")?;
        }
        write!(f, " workload={} samples={}", self.workload, self.samples)?;
        write!(f, " ring={}", self.ring_bytes)?;
        if let Some(aim) = self.aim {
            write!(f, " aim={aim}")?;
        }
        match self.test {
            Some(test) => write!(f, " test={test}"),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::Source;
    use proptest::prelude::*;

    #[test]
    fn an_empty_line_gives_the_defaults() {
        assert_eq!(Settings::parse(" \t "), Ok(Settings::default()));
    }

    #[test]
    fn every_word_is_taken() {
        let line = "source=hpet delivery=irq period=100 workload=hash samples=5 ring=65536 aim=0x12:3 test=hang";
        let settings = Settings {
            source: SourceChoice::Only(Source::Hpet),
            delivery: Delivery::Irq,
            period: Some(100),
            workload: "hash",
            samples: 5,
            ring_bytes: 65536,
            aim: Some(Aim {
                address: CodeAddress(0x12),
                first: 3,
                end: 4,
            }),
            test: Some("hang"),
        };
        assert_eq!(Settings::parse(line), Ok(settings));
    }

    #[test]
    fn a_bad_word_is_named_with_what_would_be_right() {
        for (line, word, says) in [
            (
                "samples=5 frequency=3",
                "frequency=3",
                "no such setting; there are source=",
            ),
            ("nmi", "nmi", "no such setting"),
            ("period=0", "period=0", "a number from 1 to 1000000000"),
            ("period=-1", "period=-1", "a number from 1"),
            ("period=many", "period=many", "a number from 1"),
            (
                "samples=99999999999999999999",
                "samples=99999999999999999999",
                "a number from",
            ),
            (
                "source=rdtsc",
                "source=rdtsc",
                "one of auto, pmu, apic-timer",
            ),
            ("delivery=smi", "delivery=smi", "one of nmi, irq"),
            ("ring=100000", "ring=100000", "a power of two"),
            ("ring=4096", "ring=4096", "a number from 65536"),
            ("aim=start:5", "aim=start:5", "must be ADDRESS:N or"),
            ("aim=0x10:5..5", "aim=0x10:5..5", "must be ADDRESS:N or"),
            (
                "aim=0x10:4294967295",
                "aim=0x10:4294967295",
                "at most 1000000",
            ),
            ("workload=", "workload=", "needs a value"),
            ("period=5 period=5", "period=5", "set before"),
        ] {
            let bad = Settings::parse(line).unwrap_err();
            assert_eq!(bad.word, word, "{line}");
            assert!(bad.to_string().contains(says), "{line}: {bad}");
        }
    }

    proptest! {
        #[test]
        fn what_is_displayed_is_parsed(
            source in 0..6_usize,
            irq in any::<bool>(),
            period in proptest::option::of(Settings::PERIODS),
            samples in Settings::SAMPLES,
            ring in 16..=30_u32,
            workload in "[a-z-]{1,12}",
            aim in proptest::option::of((any::<u64>(), 0..1000_u32, 1..1000_u32)),
            test in proptest::option::of("[a-z-]{1,12}"),
        ) {
            let names: Vec<_> = SourceChoice::NAMES.split(", ").collect();
            let settings = Settings {
                source: SourceChoice::from_name(names[source]).unwrap(),
                delivery: if irq { Delivery::Irq } else { Delivery::Nmi },
                period,
                workload: &workload,
                samples,
                ring_bytes: 1 << ring,
                aim: aim.map(|(address, first, count)| Aim {
                    address: CodeAddress(address),
                    first,
                    end: first + count,
                }),
                test: test.as_deref(),
            };
            let line = settings.to_string();
            prop_assert_eq!(Settings::parse(&line), Ok(settings));
        }

        #[test]
        fn any_line_is_taken_or_refused(line in ".*") {
            let _ = Settings::parse(&line);
        }
    }
}
