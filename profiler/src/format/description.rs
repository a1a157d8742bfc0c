//! What a run is, said once, when sampling starts.
//!
//! The kernel writes a [`Description`] to the header page before the page's
//! magic; the host tool reads it there and carries it into the profile.

use core::fmt;

use super::named::named;
use super::table::TABLE_BYTES;
use crate::address::{CodeAddress, CodeRange};

/// Bytes of an encoded [`Description`], padding included.
pub const DESCRIPTION_BYTES: usize = 3792;

/// The most events that a run counts or samples.
pub const MAX_EVENTS: usize = 16;

/// The most task names that a description carries.
pub const MAX_TASKS: usize = 32;

named! {
    /// Where overflows come from.
    ///
    /// ```
    /// use profiler::format::Source;
    ///
    /// assert_eq!("hpet".parse(), Ok(Source::Hpet));
    /// assert_eq!(Source::try_from(3), Ok(Source::Hpet));
    /// assert_eq!(Source::Hpet.to_string(), "hpet");
    /// ```
    Source {
        /// A performance counter of the core.
        Pmu = 1, "pmu";
        /// The timer of the core's local APIC.
        ApicTimer = 2, "apic-timer";
        /// A timer of the HPET, by a message to the core.
        Hpet = 3, "hpet";
        /// Another core, by an inter-processor interrupt.
        Ipi = 4, "ipi";
        /// The trap flag: every instruction.
        Step = 5, "step";
    }
}

named! {
    /// How an overflow interrupts.
    ///
    /// ```
    /// use profiler::format::Delivery;
    ///
    /// assert_eq!("nmi".parse(), Ok(Delivery::Nmi));
    /// assert_eq!(Delivery::NAMES, "nmi, irq");
    /// ```
    Delivery {
        /// As a non-maskable interrupt: code with interrupts off is seen.
        Nmi = 1, "nmi";
        /// As a maskable interrupt: code with interrupts off is seen late, where
        /// it turns them on.
        Irq = 2, "irq";
    }
}

named! {
    /// What a tick is.
    ///
    /// ```
    /// use profiler::format::Clock;
    ///
    /// assert_eq!(Clock::try_from(2), Ok(Clock::Time));
    /// assert!("seconds".parse::<Clock>().is_err());
    /// ```
    Clock {
        /// One instruction: the machine counts them (an emulator's instruction
        /// counting), and a run repeats exactly.
        Instructions = 1, "instructions";
        /// One nanosecond, by the time stamp counter.
        Time = 2, "time";
        /// One of the time stamp counter, of which nothing says how long it takes.
        Ticks = 3, "ticks";
    }
}

named! {
    /// What says how fast the time stamp counter runs, where a tick is a nanosecond.
    ///
    /// ```
    /// use profiler::format::ClockReference;
    ///
    /// assert_eq!("pm-timer".parse(), Ok(ClockReference::PmTimer));
    /// assert_eq!(ClockReference::try_from(0), Ok(ClockReference::None));
    /// ```
    ClockReference {
        /// Nothing, as a tick is no nanosecond.
        None = 0, "none";
        /// The hypervisor, in CPUID leaf 40000010h.
        Hypervisor = 1, "hypervisor";
        /// Hyper-V, in an MSR.
        HyperV = 2, "hyper-v";
        /// CPUID leaf 15h: a crystal times a ratio.
        Crystal = 3, "crystal";
        /// The HPET, by which it was measured.
        Hpet = 4, "hpet";
        /// ACPI's power management timer, by which it was measured.
        PmTimer = 5, "pm-timer";
        /// The PIT, by which it was measured.
        Pit = 6, "pit";
        /// CPUID leaf 15h, under a hypervisor, which may have another crystal.
        NominalCrystal = 7, "nominal-crystal";
        /// CPUID leaf 16h: the nominal frequency.
        Base = 8, "base";
    }
}

/// A short text in a fixed place. What does not fit is cut at a character.
///
/// ```
/// use profiler::format::Text;
///
/// let text = Text::<8>::new("no counters");
/// assert_eq!(text.as_str(), "no count");
/// assert_eq!(Text::<8>::of(&0x2a).as_str(), "42");
/// ```
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Text<const N: usize> {
    bytes: [u8; N],
    len: u16,
}

impl<const N: usize> Text<N> {
    /// A text without a character.
    pub const EMPTY: Self = Self {
        bytes: [0; N],
        len: 0,
    };

    /// The formatted text, cut where it does not fit.
    #[must_use]
    pub fn formatted(text: fmt::Arguments<'_>) -> Self {
        let mut made = Self::EMPTY;
        // What does not fit is cut: no error.
        let _ = fmt::Write::write_fmt(&mut made, text);
        made
    }

    /// `value` as it displays itself, cut where it does not fit.
    #[must_use]
    pub fn of(value: &dyn fmt::Display) -> Self {
        Self::formatted(format_args!("{value}"))
    }

    /// The text, cut where it does not fit.
    #[must_use]
    pub fn new(text: &str) -> Self {
        let mut made = Self::EMPTY;
        made.append(text);
        made
    }

    /// Appends as much of `item` as fits, behind `separator` if it is not the first.
    pub fn append_item(&mut self, separator: &str, item: fmt::Arguments<'_>) {
        if self.len > 0 {
            self.append(separator);
        }
        // What does not fit is cut: no error.
        let _ = fmt::Write::write_fmt(self, item);
    }

    /// The text as a string.
    #[must_use]
    pub fn as_str(&self) -> &str {
        // Only whole characters are ever appended.
        core::str::from_utf8(&self.bytes[..usize::from(self.len)]).unwrap_or_default()
    }

    fn append(&mut self, text: &str) {
        let start = usize::from(self.len);
        let kept = text.floor_char_boundary(text.len().min(N - start));
        self.bytes[start..start + kept].copy_from_slice(&text.as_bytes()[..kept]);
        // At most N, which is far below 65,536 wherever the type is used.
        #[allow(clippy::cast_possible_truncation)]
        {
            self.len = (start + kept) as u16;
        }
    }
}

impl<const N: usize> fmt::Write for Text<N> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.append(text);
        Ok(())
    }
}

impl<const N: usize> fmt::Debug for Text<N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.as_str().fmt(f)
    }
}

/// An event that a run samples by.
///
/// ```
/// use profiler::format::{EventDescription, Text};
///
/// let event = EventDescription {
///     name: Text::new("cycles:k"),
///     requested_period: 10,
///     period: 400, // as short as it can be
///     floor: 400,
/// };
/// assert!(event.period > event.requested_period);
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct EventDescription {
    /// What is counted, as `pmu::event::Event::counted` displays it.
    pub name: Text<64>,
    /// The requested period, in events.
    pub requested_period: u64,
    /// The period that was set, in events: the requested one, or [`Self::floor`] if
    /// that is longer.
    pub period: u64,
    /// The shortest period at which the interrupted code progresses, in events, as measured
    /// at start.
    pub floor: u64,
}

impl EventDescription {
    /// What stands where there is no event.
    pub const EMPTY: Self = Self {
        name: Text::EMPTY,
        requested_period: 0,
        period: 0,
        floor: 0,
    };
}

/// Where single overflows are aimed at, beside those of the period: N instructions after
/// each time that an instruction is about to be executed.
///
/// ```
/// use profiler::address::CodeAddress;
/// use profiler::format::AimDescription;
///
/// let address = CodeAddress(0xffff_ffff_8000_1000);
/// let aim = AimDescription { address, first: 0, end: 20 };
/// assert_ne!(aim, AimDescription::NONE);
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct AimDescription {
    /// The instruction.
    pub address: CodeAddress,
    /// Instructions from there, the first time.
    pub first: u32,
    /// Each further time one more, up to here (not included), then from the first again.
    /// 0: there is no aim.
    pub end: u32,
}

impl AimDescription {
    /// What stands where there is no aim.
    pub const NONE: Self = Self {
        address: CodeAddress(0),
        first: 0,
        end: 0,
    };
}

/// A run.
///
/// ```
/// use profiler::address::{CodeAddress, CodeRange};
/// use profiler::format::{Clock, Delivery, Description, Source};
///
/// let text = CodeRange {
///     start: CodeAddress(0xffff_ffff_8000_0000),
///     end: CodeAddress(0xffff_ffff_8010_0000),
/// };
/// let description = Description {
///     source: Source::ApicTimer,
///     delivery: Delivery::Irq,
///     clock: Clock::Time,
///     period: 1_000_000,
///     ..Description::new([7; 20], text, 4, 1 << 18)
/// };
/// let bytes = description.encode();
/// assert_eq!(Description::decode(&bytes), Ok(description));
/// ```
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Description {
    /// The kernel's GNU build-id.
    pub build_id: [u8; 20],
    /// Cores online, each with a ring.
    pub cores: u32,
    /// 64-bit words of each core's ring, a power of two.
    pub ring_words: u64,
    /// Where overflows come from.
    pub source: Source,
    /// How they interrupt.
    pub delivery: Delivery,
    /// What a tick is.
    pub clock: Clock,
    /// True if the cores run round robin, each alone from one of its samples to its next.
    pub turns: bool,
    /// The requested period, in ticks.
    pub period: u64,
    /// The shortest period at which the interrupted code progresses, in ticks, as measured
    /// at start.
    pub period_floor: u64,
    /// What an overflow costs beside the handler's own measure (entry, exit and
    /// the re-arming), in ticks, as calibrated at start.
    pub overhead: u64,
    /// Samples to take, all cores together; 0 where events are counted and not sampled (their
    /// periods are 0 as well).
    pub samples: u64,
    /// The kernel's text.
    pub text: CodeRange,
    /// Bytes of address space that each stack has for itself, a power of two, and
    /// the alignment of that: stack pointers are on one stack if they are in the
    /// same slot (an empty stack's pointer may be the end of its slot).
    pub stack_slot: u64,
    /// Why this source: what was tried before it, and why that did not work.
    pub reason: Text<512>,
    /// Who loaded the kernel.
    pub bootloader: Text<64>,
    /// The workload's name; empty where the kernel has no choice of them.
    pub workload: Text<32>,
    /// The command line that the kernel was given.
    pub command_line: Text<512>,
    /// The names of the tasks that samples tell by number; empty ones are not
    /// used.
    pub tasks: [Text<32>; MAX_TASKS],
    /// The events that samples tell by number, [`Self::events`] and behind them
    /// [`EventDescription::EMPTY`].
    pub event_table: [EventDescription; MAX_EVENTS],
    /// How many there are; 0 where ticks are sampled and not events.
    pub event_count: u8,
    /// Where single overflows are aimed at.
    pub aim: AimDescription,
    /// Where the random numbers of the jitter begin.
    pub seed: u64,
    /// The percentage of its period by which each overflow may come earlier or later, at
    /// random.
    pub jitter: u8,
    /// What says how long a tick takes.
    pub clock_reference: ClockReference,
    /// To within how many parts of a million, where that was measured; else 0.
    pub clock_within: u32,
    /// By how many ticks the time stamp counters of cores differ at most, which times of
    /// samples have taken off; 0: by no more than what the comparison could have made.
    pub tsc_difference: u64,
    /// To within how many ticks that is known.
    pub tsc_within: u32,
    /// The bytes of each core's table of chains, one of [`TABLE_BYTES`]; 0: there are none, and all
    /// samples are in the rings.
    pub table_bytes: u64,
}

/// A description that cannot be read.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct DescriptionError(
    /// The field whose value is not valid.
    pub &'static str,
);

impl fmt::Display for DescriptionError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the run's description has no valid {}", self.0)
    }
}

impl core::error::Error for DescriptionError {}

impl Description {
    /// A run of which nothing more is known: samples by the APIC timer as NMI, a tick is a
    /// nanosecond, as many samples as there will be. What is set further, as in
    /// `Description { period, ..Description::new(…) }`, is shown.
    #[must_use]
    pub const fn new(build_id: [u8; 20], text: CodeRange, cores: u32, ring_words: u64) -> Self {
        Self {
            build_id,
            cores,
            ring_words,
            source: Source::ApicTimer,
            delivery: Delivery::Nmi,
            clock: Clock::Time,
            turns: false,
            period: 0,
            period_floor: 0,
            overhead: 0,
            samples: 0,
            text,
            stack_slot: 1 << 16,
            reason: Text::EMPTY,
            bootloader: Text::EMPTY,
            workload: Text::EMPTY,
            command_line: Text::EMPTY,
            tasks: [Text::EMPTY; MAX_TASKS],
            event_table: [EventDescription::EMPTY; MAX_EVENTS],
            event_count: 0,
            aim: AimDescription::NONE,
            seed: 0,
            jitter: 0,
            clock_reference: ClockReference::None,
            clock_within: 0,
            tsc_difference: 0,
            tsc_within: 0,
            table_bytes: 0,
        }
    }

    /// The events that samples tell by number; none where ticks are sampled.
    #[must_use]
    pub fn events(&self) -> &[EventDescription] {
        &self.event_table[..usize::from(self.event_count).min(MAX_EVENTS)]
    }

    /// The description's bytes. The order of the fields is the format.
    #[must_use]
    pub fn encode(&self) -> [u8; DESCRIPTION_BYTES] {
        let mut out = Output {
            bytes: [0; DESCRIPTION_BYTES],
            at: 0,
        };
        out.put(&self.build_id);
        out.put(&self.cores.to_le_bytes());
        out.put(&[
            self.source as u8,
            self.delivery as u8,
            self.clock as u8,
            u8::from(self.turns),
        ]);
        for number in [
            self.ring_words,
            self.period,
            self.period_floor,
            self.overhead,
            self.samples,
            self.text.start.0,
            self.text.end.0,
            self.stack_slot,
        ] {
            out.put(&number.to_le_bytes());
        }
        out.put_text(&self.reason);
        out.put_text(&self.bootloader);
        out.put_text(&self.workload);
        out.put_text(&self.command_line);
        for task in &self.tasks {
            out.put_text(task);
        }
        for event in &self.event_table {
            out.put_text(&event.name);
            for number in [event.requested_period, event.period, event.floor] {
                out.put(&number.to_le_bytes());
            }
        }
        out.put(&[self.event_count]);
        out.put(&self.aim.address.0.to_le_bytes());
        out.put(&self.aim.first.to_le_bytes());
        out.put(&self.aim.end.to_le_bytes());
        out.put(&self.seed.to_le_bytes());
        out.put(&[self.jitter]);
        out.put(&[self.clock_reference as u8]);
        out.put(&self.clock_within.to_le_bytes());
        out.put(&self.tsc_difference.to_le_bytes());
        out.put(&self.tsc_within.to_le_bytes());
        let table = self.table_bytes.checked_ilog2().unwrap_or(0);
        out.put(&table.to_le_bytes()[..1]);
        out.bytes
    }

    /// Reads a description.
    ///
    /// # Errors
    ///
    /// The first field whose value is not valid.
    pub fn decode(bytes: &[u8; DESCRIPTION_BYTES]) -> Result<Self, DescriptionError> {
        let mut input = Input { bytes, at: 0 };
        let description = input.take_description()?;
        description.check()?;
        Ok(description)
    }

    /// Makes sure that the numbers make sense.
    fn check(&self) -> Result<(), DescriptionError> {
        for (is_valid, field) in [
            (self.ring_words.is_power_of_two(), "ring size"),
            (self.cores != 0, "number of cores"),
            (
                usize::from(self.event_count) <= MAX_EVENTS,
                "number of events",
            ),
            (self.stack_slot.is_power_of_two(), "size of a stack's slot"),
            (
                self.table_bytes == 0 || TABLE_BYTES.contains(&self.table_bytes),
                "size of a table",
            ),
            (
                self.clock == Clock::Time || self.clock_reference == ClockReference::None,
                "reference for its clock",
            ),
        ] {
            if !is_valid {
                return Err(DescriptionError(field));
            }
        }
        Ok(())
    }
}

/// The bytes of a table, of which this is the logarithm; 0: there is none.
fn table_bytes(logarithm: u8) -> u64 {
    match logarithm {
        0 => 0,
        // More than there are addresses is no valid size either.
        _ => 1_u64.checked_shl(logarithm.into()).unwrap_or(u64::MAX),
    }
}

struct Output {
    bytes: [u8; DESCRIPTION_BYTES],
    at: usize,
}

impl Output {
    fn put(&mut self, bytes: &[u8]) {
        self.bytes[self.at..self.at + bytes.len()].copy_from_slice(bytes);
        self.at += bytes.len();
    }

    fn put_text<const N: usize>(&mut self, text: &Text<N>) {
        self.put(&text.len.to_le_bytes());
        self.put(&text.bytes);
    }
}

struct Input<'a> {
    bytes: &'a [u8; DESCRIPTION_BYTES],
    at: usize,
}

impl Input<'_> {
    /// The fields one after the other, each by itself as it should be.
    fn take_description(&mut self) -> Result<Description, DescriptionError> {
        let build_id = self.take();
        let cores = u32::from_le_bytes(self.take());
        let [source, delivery, clock, turns] = self.take();
        let [
            ring_words,
            period,
            period_floor,
            overhead,
            samples,
            text_start,
            text_end,
            stack_slot,
        ] = core::array::from_fn(|_| u64::from_le_bytes(self.take()));
        Ok(Description {
            build_id,
            cores,
            ring_words,
            source: Source::try_from(source).map_err(|_| DescriptionError("source"))?,
            delivery: Delivery::try_from(delivery).map_err(|_| DescriptionError("delivery"))?,
            clock: Clock::try_from(clock).map_err(|_| DescriptionError("clock"))?,
            turns: turns != 0,
            period,
            period_floor,
            overhead,
            samples,
            text: CodeRange {
                start: CodeAddress(text_start),
                end: CodeAddress(text_end),
            },
            stack_slot,
            reason: self.take_text("reason")?,
            bootloader: self.take_text("bootloader name")?,
            workload: self.take_text("workload name")?,
            command_line: self.take_text("command line")?,
            tasks: self.take_tasks()?,
            event_table: self.take_events()?,
            event_count: self.take_byte(),
            aim: AimDescription {
                address: CodeAddress(u64::from_le_bytes(self.take())),
                first: u32::from_le_bytes(self.take()),
                end: u32::from_le_bytes(self.take()),
            },
            seed: u64::from_le_bytes(self.take()),
            jitter: self.take_byte(),
            clock_reference: ClockReference::try_from(self.take_byte())
                .map_err(|_| DescriptionError("reference"))?,
            clock_within: u32::from_le_bytes(self.take()),
            tsc_difference: u64::from_le_bytes(self.take()),
            tsc_within: u32::from_le_bytes(self.take()),
            table_bytes: table_bytes(self.take_byte()),
        })
    }

    fn take_tasks(&mut self) -> Result<[Text<32>; MAX_TASKS], DescriptionError> {
        let mut tasks = [Text::EMPTY; MAX_TASKS];
        for task in &mut tasks {
            *task = self.take_text("task name")?;
        }
        Ok(tasks)
    }

    fn take_events(&mut self) -> Result<[EventDescription; MAX_EVENTS], DescriptionError> {
        let mut events = [EventDescription::EMPTY; MAX_EVENTS];
        for event in &mut events {
            event.name = self.take_text("event name")?;
            event.requested_period = u64::from_le_bytes(self.take());
            event.period = u64::from_le_bytes(self.take());
            event.floor = u64::from_le_bytes(self.take());
        }
        Ok(events)
    }

    fn take_byte(&mut self) -> u8 {
        let [byte] = self.take();
        byte
    }

    fn take<const N: usize>(&mut self) -> [u8; N] {
        let mut taken = [0; N];
        taken.copy_from_slice(&self.bytes[self.at..self.at + N]);
        self.at += N;
        taken
    }

    fn take_text<const N: usize>(
        &mut self,
        field: &'static str,
    ) -> Result<Text<N>, DescriptionError> {
        let len = u16::from_le_bytes(self.take());
        let bytes: [u8; N] = self.take();
        let valid = bytes
            .get(..usize::from(len))
            .is_some_and(|text| core::str::from_utf8(text).is_ok());
        valid
            .then_some(Text { bytes, len })
            .ok_or(DescriptionError(field))
    }
}

#[cfg(test)]
pub(crate) mod tests;
