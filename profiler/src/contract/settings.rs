//! The words by which a run is described to the kernel: its command line.
//!
//! The kernel parses what the host tool, a boot loader's configuration or a
//! person wrote, so nothing is guessed: an unknown word is an error that names
//! the word and says which there are. The host tool makes its command lines by
//! formatting the same [`Settings`].

use core::fmt;
use core::str::FromStr;

use crate::address::CodeAddress;
use crate::format::{AimDescription, Delivery, Source, UnknownValue, named, table};
use crate::pmu::event::{BadEvent, Event, EventList, EventProblem};

/// Which source of overflows a run asks for.
///
/// ```
/// use profiler::contract::settings::SourceChoice;
/// use profiler::format::Source;
///
/// assert_eq!("auto".parse(), Ok(SourceChoice::Auto));
/// assert_eq!("hpet".parse(), Ok(SourceChoice::Only(Source::Hpet)));
/// assert!("clock".parse::<SourceChoice>().is_err());
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum SourceChoice {
    /// The first that works on this machine.
    #[default]
    Auto,
    /// This one, or none.
    Only(Source),
}

impl FromStr for SourceChoice {
    type Err = UnknownValue;

    fn from_str(name: &str) -> Result<Self, UnknownValue> {
        if name == "auto" {
            return Ok(Self::Auto);
        }
        name.parse().map(Self::Only)
    }
}

impl SourceChoice {
    /// What the word `source=` takes.
    pub const NAMES: &'static str = "auto, pmu, apic-timer, hpet, ipi, step";

    /// Returns true if it may be a performance counter, which alone counts events.
    #[must_use]
    pub const fn may_be_pmu(self) -> bool {
        matches!(self, Self::Auto | Self::Only(Source::Pmu))
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

/// Where to aim single overflows at: N instructions after each time that an instruction is
/// about to be executed.
///
/// ```
/// use profiler::contract::settings::Aim;
///
/// let aim = Aim::parse("0xffffffff80001000:0..20").unwrap();
/// assert_eq!((aim.first, aim.end), (0, 20));
/// assert_eq!(aim.to_string(), "0xffffffff80001000:0..20");
/// ```
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

impl From<Aim> for AimDescription {
    fn from(aim: Aim) -> Self {
        let Aim {
            address,
            first,
            end,
        } = aim;
        Self {
            address,
            first,
            end,
        }
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

named! {
    /// What a run does.
    ///
    /// ```
    /// use profiler::contract::settings::RunKind;
    ///
    /// assert_eq!("survey".parse(), Ok(RunKind::Survey));
    /// assert_eq!(RunKind::default(), RunKind::Samples);
    /// ```
    #[derive(Default)]
    RunKind {
        /// Takes samples, one every N events or ticks.
        #[default]
        Samples = 0, "samples";
        /// Counts events while the workload runs, without samples.
        Counts = 1, "counts";
        /// Lists what the machine can sample by: see [`super::capabilities`].
        Survey = 2, "survey";
    }
}

named! {
    /// Where the region goes when the run has ended: see [`crate::format::wire`].
    ///
    /// ```
    /// use profiler::contract::settings::SendTo;
    ///
    /// assert_eq!("serial".parse(), Ok(SendTo::Serial));
    /// assert_eq!(SendTo::default(), SendTo::Nowhere);
    /// ```
    #[derive(Default)]
    SendTo {
        /// It stays in memory, where the tool reads it.
        #[default]
        Nowhere = 0, "nowhere";
        /// By the serial port.
        Serial = 1, "serial";
    }
}

named! {
    /// What is kept of samples.
    ///
    /// ```
    /// use profiler::contract::settings::Keep;
    ///
    /// assert_eq!("chains".parse(), Ok(Keep::Chains));
    /// assert_eq!(Keep::default(), Keep::Samples);
    /// ```
    #[derive(Default)]
    Keep {
        /// All of each.
        #[default]
        Samples = 0, "samples";
        /// How often there was each chain: see [`crate::format::table`].
        Chains = 1, "chains";
    }
}

/// A run, as its command line describes it.
///
/// ```
/// use profiler::contract::settings::Settings;
///
/// let settings = Settings::parse("period=500 ring=65536").unwrap();
/// assert_eq!(settings.period, Some(500));
/// assert_eq!(settings.ring_bytes, 64 << 10);
///
/// // Nothing is guessed.
/// let wrong = Settings::parse("perod=500").unwrap_err();
/// assert!(wrong.to_string().starts_with("`perod=500`: no such setting; there are source=,"));
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Settings<'a> {
    /// `source=`: where overflows come from.
    pub source: SourceChoice,
    /// `delivery=`: how they interrupt.
    pub delivery: Delivery,
    /// `period=`: the ticks that interrupted code runs between two samples.
    /// `None`: what suits the machine's clock. Where events are counted, the events
    /// between two samples of each that has no period of its own.
    pub period: Option<u64>,
    /// `event=`: what the performance counters count. `None`: what suits the machine.
    pub events: Option<EventList>,
    /// `take=`: samples, counts, or a list of what the machine can sample by.
    pub kind: RunKind,
    /// `jitter=`: the percentage of its period by which each overflow of a counter may come
    /// earlier or later, at random, so that it does not fall into step with what it
    /// samples.
    pub jitter: u8,
    /// `seed=`: where the random numbers of `jitter=` begin.
    pub seed: u64,
    /// `workload=`: what runs. The kernel knows which there are.
    pub workload: &'a str,
    /// `samples=`: how many samples to take, all cores together.
    pub samples: u64,
    /// `units=`: how many rounds of the workload each core is counted for, where
    /// events are counted.
    pub units: u64,
    /// `per=process`: events are counted by process, too, where they are counted.
    pub by_process: bool,
    /// `ring=`: the bytes of each core's ring, a power of two.
    pub ring_bytes: u64,
    /// `keep=`: samples, or how often there was each chain.
    pub keep: Keep,
    /// `table=`: the bytes of each core's table of chains, a power of two. Where chains are kept.
    pub table_bytes: u64,
    /// `send=`: where the region goes when the run has ended.
    pub send: SendTo,
    /// `aim=`: overflows beside those of the period. Where instructions are counted.
    pub aim: Option<Aim>,
    /// `test=`: a self-test to run in place of the workload.
    pub test: Option<&'a str>,
}

impl Settings<'_> {
    /// The periods that `period=` takes. Whether a short one makes progress on
    /// the machine at hand is measured there.
    pub const PERIODS: core::ops::RangeInclusive<u64> = Event::PERIODS;
    /// The percentages that `jitter=` takes.
    pub const JITTER: core::ops::RangeInclusive<u8> = 0..=50;
    /// The sample counts that `samples=` takes.
    pub const SAMPLES: core::ops::RangeInclusive<u64> = 1..=1_000_000_000;
    /// The rounds that `units=` takes.
    pub const UNITS: core::ops::RangeInclusive<u64> = 1..=1_000_000_000;
    /// The rounds if `units=` is missing.
    pub const DEFAULT_UNITS: u64 = 100;
    /// The ring sizes that `ring=` takes.
    pub const RING_BYTES: core::ops::RangeInclusive<u64> = 64 << 10..=1 << 30;
    /// The table sizes that `table=` takes.
    pub const TABLE_BYTES: core::ops::RangeInclusive<u64> = table::TABLE_BYTES;

    /// The bytes of each core's ring and table together: those of a
    /// [`region`](crate::sampler::region_bytes) with rings of so many have room for both.
    #[must_use]
    pub const fn bytes_per_core(&self) -> u64 {
        self.ring_bytes + self.bytes_of_table()
    }

    /// The bytes of each core's table; 0 if there is none.
    #[must_use]
    pub const fn bytes_of_table(&self) -> u64 {
        match (self.keep, self.kind) {
            (Keep::Chains, RunKind::Samples) => self.table_bytes,
            _ => 0,
        }
    }
}

impl Default for Settings<'_> {
    fn default() -> Self {
        Self {
            source: SourceChoice::Auto,
            delivery: Delivery::Nmi,
            period: None,
            events: None,
            kind: RunKind::Samples,
            jitter: 0,
            seed: 0,
            workload: "mix",
            samples: 100_000,
            units: Self::DEFAULT_UNITS,
            by_process: false,
            ring_bytes: 8 << 20,
            keep: Keep::Samples,
            table_bytes: 1 << 20,
            send: SendTo::Nowhere,
            aim: None,
            test: None,
        }
    }
}

/// A word of the command line that is not valid.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct BadWord<'a> {
    /// The word, as it was written; the part of it that is wrong, if
    /// [`Problem::Event`] is what is wrong.
    pub word: &'a str,
    /// What is wrong with it.
    pub problem: Problem,
}

/// What can be wrong with a word.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Problem {
    /// There is no such setting.
    Unknown,
    /// The setting is there twice.
    Twice,
    /// The value is none of these.
    NotOneOf(&'static str),
    /// The value is no number from the first to the last of these.
    NotInRange(u64, u64),
    /// The value is not a power of two.
    NotPowerOfTwo,
    /// The value is no address and number of instructions.
    NotAnAim,
    /// The list of events has a part that is not valid.
    Event {
        /// Where in the list, in bytes.
        at: usize,
        /// What is wrong with it.
        problem: EventProblem,
    },
    /// Only performance counters do that, and another source is asked for.
    NeedsPmu,
    /// Only where events are counted has the work an end.
    NeedsCounts,
    /// Only where chains are kept are there tables.
    NeedsChains,
    /// A run without samples keeps none.
    NeedsSamples,
    /// There is no value.
    Empty,
}

impl fmt::Display for BadWord<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let word = self.word;
        if let Problem::Event { at, problem } = self.problem {
            return write!(f, "event=: {}", BadEvent { word, at, problem });
        }
        write!(f, "`{word}`: ")?;
        match self.problem {
            Problem::Unknown => f.write_str(
                "no such setting; there are source=, delivery=, period=, event=, take=, jitter=, seed=, workload=, samples=, units=, per=, ring=, keep=, table=, send=, aim=, test=",
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
            Problem::Event { .. } => Ok(()),
            Problem::NeedsPmu => f.write_str("only source=pmu counts events (auto may take it)"),
            Problem::NeedsCounts => f.write_str("only take=counts counts units"),
            Problem::NeedsChains => f.write_str("only keep=chains has tables"),
            Problem::NeedsSamples => f.write_str("only take=samples has chains to keep"),
            Problem::Empty => f.write_str("needs a value"),
        }
    }
}

impl core::error::Error for BadWord<'_> {}

impl<'a> Settings<'a> {
    /// The words that there are, without their values.
    pub const KEYS: [&'static str; 17] = [
        "source", "delivery", "period", "event", "take", "jitter", "seed", "workload", "samples",
        "units", "per", "ring", "keep", "table", "send", "aim", "test",
    ];

    /// Parses a command line: words `key=value` between white space.
    ///
    /// # Errors
    ///
    /// The first word that is not valid.
    pub fn parse(command_line: &'a str) -> Result<Self, BadWord<'a>> {
        let mut settings = Self::default();
        let mut seen = [false; Self::KEYS.len()];
        let mut of_pmu = None;
        let mut of_counts = None;
        let mut of_chains = None;
        let mut of_samples = None;
        for word in command_line.split_ascii_whitespace() {
            let bad = |problem| BadWord { word, problem };
            let (key, value) = word.split_once('=').ok_or(bad(Problem::Unknown))?;
            let index = Self::KEYS.iter().position(|&known| known == key);
            let index = index.ok_or(bad(Problem::Unknown))?;
            if core::mem::replace(&mut seen[index], true) {
                return Err(bad(Problem::Twice));
            }
            if value.is_empty() {
                return Err(bad(Problem::Empty));
            }
            if key == "event" {
                let events = EventList::parse(value).map_err(|BadEvent { word, at, problem }| {
                    let problem = Problem::Event { at, problem };
                    BadWord { word, problem }
                });
                settings.events = Some(events?);
            } else {
                settings.set(key, value).map_err(bad)?;
            }
            if matches!(key, "event" | "jitter" | "seed") || settings.kind == RunKind::Counts {
                of_pmu = of_pmu.or(Some(word));
            }
            match key {
                "units" | "per" => of_counts = Some(word),
                "table" => of_chains = Some(word),
                "keep" if settings.keep == Keep::Chains => of_samples = Some(word),
                _ => {}
            }
        }
        let needs =
            |word: Option<_>, problem| word.map_or(Ok(()), |word| Err(BadWord { word, problem }));
        if settings.keep != Keep::Chains {
            needs(of_chains, Problem::NeedsChains)?;
        }
        if settings.kind == RunKind::Counts {
            needs(of_samples, Problem::NeedsSamples)?;
        }
        match (of_pmu, of_counts) {
            (Some(word), _) if !settings.source.may_be_pmu() => Err(BadWord {
                word,
                problem: Problem::NeedsPmu,
            }),
            (_, Some(word)) if settings.kind != RunKind::Counts => Err(BadWord {
                word,
                problem: Problem::NeedsCounts,
            }),
            _ => Ok(settings),
        }
    }

    fn set(&mut self, key: &str, value: &'a str) -> Result<(), Problem> {
        match key {
            "source" => {
                self.source = one_of(value, SourceChoice::NAMES)?;
            }
            "delivery" => {
                self.delivery = one_of(value, Delivery::NAMES)?;
            }
            "period" => self.period = Some(number(value, Self::PERIODS)?),
            "take" => self.kind = one_of(value, RunKind::NAMES)?,
            "jitter" => self.jitter = number(value, Self::JITTER)?,
            "seed" => self.seed = number(value, 0..=u64::MAX)?,
            "workload" => self.workload = value,
            "samples" => self.samples = number(value, Self::SAMPLES)?,
            "units" => self.units = number(value, Self::UNITS)?,
            "per" if value == "process" => self.by_process = true,
            "per" => return Err(Problem::NotOneOf("process")),
            "ring" => self.ring_bytes = power_of_two(value, Self::RING_BYTES)?,
            "keep" => self.keep = one_of(value, Keep::NAMES)?,
            "table" => self.table_bytes = power_of_two(value, Self::TABLE_BYTES)?,
            "send" => self.send = one_of(value, SendTo::NAMES)?,
            "aim" => self.aim = Some(Aim::parse(value).ok_or(Problem::NotAnAim)?),
            _ => self.test = Some(value),
        }
        Ok(())
    }
}

fn one_of<V: FromStr>(value: &str, names: &'static str) -> Result<V, Problem> {
    value.parse().map_err(|_| Problem::NotOneOf(names))
}

fn power_of_two(value: &str, range: core::ops::RangeInclusive<u64>) -> Result<u64, Problem> {
    let bytes = number(value, range)?;
    if bytes.is_power_of_two() {
        Ok(bytes)
    } else {
        Err(Problem::NotPowerOfTwo)
    }
}

fn number<N>(value: &str, range: core::ops::RangeInclusive<N>) -> Result<N, Problem>
where
    N: core::str::FromStr + PartialOrd + Copy + Into<u64>,
{
    let number = value.parse().ok().filter(|number| range.contains(number));
    number.ok_or(Problem::NotInRange(
        (*range.start()).into(),
        (*range.end()).into(),
    ))
}

impl fmt::Display for Settings<'_> {
    /// The command line that [`Settings::parse`] reads these settings from.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "source={}", self.source)?;
        write!(f, " delivery={}", self.delivery.name())?;
        if let Some(period) = self.period {
            write!(f, " period={period}")?;
        }
        if let Some(events) = &self.events {
            write!(f, " event={events}")?;
        }
        if self.kind != RunKind::Samples {
            write!(f, " take={}", self.kind)?;
        }
        if self.jitter != 0 {
            write!(f, " jitter={}", self.jitter)?;
        }
        if self.seed != 0 {
            write!(f, " seed={}", self.seed)?;
        }
        write!(f, " workload={} samples={}", self.workload, self.samples)?;
        if self.kind == RunKind::Counts {
            write!(f, " units={}", self.units)?;
        }
        if self.by_process {
            write!(f, " per=process")?;
        }
        write!(f, " ring={}", self.ring_bytes)?;
        if self.keep != Keep::Samples {
            write!(f, " keep={} table={}", self.keep, self.table_bytes)?;
        }
        if self.send != SendTo::Nowhere {
            write!(f, " send={}", self.send)?;
        }
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
mod tests;
