//! Reads lists of events.

use core::fmt;
use core::ops::RangeInclusive;

use super::{CoreKind, Event, EventList, IBS_OP, IbsCount, MAX_EVENTS, Named, What};

/// A part of a list of events that cannot be taken.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct BadEvent<'a> {
    /// The part, as it was written.
    pub word: &'a str,
    /// Where in the list it begins, in bytes.
    pub at: usize,
    /// What is wrong with it.
    pub problem: EventProblem,
}

/// What can be wrong with a part of a list.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum EventProblem {
    /// There is nothing where an event or a term should be.
    Missing,
    /// There are [`MAX_EVENTS`] before it.
    TooMany,
    /// There is no such event.
    NoSuchEvent,
    /// It is a group, in braces.
    Group,
    /// There is no such term.
    NoSuchTerm,
    /// The slash before the terms has none after them.
    NotClosed,
    /// The term stands there twice, or a raw number has said it.
    TermTwice,
    /// It says once more what to count.
    EventTwice,
    /// Nothing says what to count.
    NoEvent,
    /// The term has no value.
    NoValue,
    /// The value is no number from the first to the last of these.
    NotInRange(u64, u64),
    /// A raw event with more than 64 bits.
    RawTooLong,
    /// A bit of a raw event that it cannot have.
    RawBit(u8),
    /// There is a colon and no modifier.
    NoModifier,
    /// It is no modifier, or one that is not to be had.
    Modifier(char),
    /// The modifier stands there twice.
    ModifierTwice,
    /// It is a term or modifier that `ibs_op` does not have.
    NotOfIbs,
    /// It is a term that `ibs_op` alone has.
    OfIbs,
}

impl fmt::Display for BadEvent<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.problem == EventProblem::Missing {
            let at = self.at;
            return write!(f, "nothing at byte {at} of the events, where one is due");
        }
        write!(f, "`{}`: ", self.word)?;
        match self.problem {
            EventProblem::Missing => Ok(()),
            EventProblem::TooMany => write!(f, "one too many: at most {MAX_EVENTS} events"),
            EventProblem::NoSuchEvent => {
                f.write_str("no such event")?;
                suggest(self.word, &[], f)?;
                f.write_str(" (`pmiscope list` shows those there are, rUUEE is a raw one)")
            }
            EventProblem::Group => {
                f.write_str("there are no groups: each event is a sample of its own; leave out { }")
            }
            EventProblem::NoSuchTerm => {
                f.write_str("no such term")?;
                suggest(self.word, &TERMS.map(|(name, _)| name), f)?;
                f.write_str(
                    " (there are event=, umask=, edge, inv, cmask=, period=, counters=, of ibs_op cnt_ctl=, and the names of events)",
                )
            }
            EventProblem::NotClosed => f.write_str("needs a second / behind the terms"),
            EventProblem::TermTwice => f.write_str("set before; say it once"),
            EventProblem::EventTwice => {
                f.write_str("what to count is said before; say it by one name or number")
            }
            EventProblem::NoEvent => f.write_str("needs event=, or the name of an event"),
            EventProblem::NoValue => f.write_str("needs a value"),
            EventProblem::NotInRange(low, high) => {
                write!(
                    f,
                    "must be a number from {low} to {high}, decimal or with 0x"
                )
            }
            EventProblem::RawTooLong => f.write_str("a raw event has 64 bits: r and 16 digits"),
            EventProblem::RawBit(bit) => raw_bit(bit, f),
            EventProblem::NoModifier => {
                f.write_str("needs a modifier behind the colon: u (user code) or k (the kernel)")
            }
            EventProblem::Modifier(modifier) => f.write_str(not_a_modifier(modifier)),
            EventProblem::ModifierTwice => f.write_str("set before; say it once"),
            EventProblem::NotOfIbs => f.write_str(
                "not to be had with ibs_op, which counts in user code and the kernel alike; its terms are cnt_ctl= and period=",
            ),
            EventProblem::OfIbs => f.write_str("a term of ibs_op alone; leave it out"),
        }
    }
}

impl core::error::Error for BadEvent<'_> {}

fn raw_bit(bit: u8, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    let why = match bit {
        16 => "counts user code: say :u instead",
        17 => "counts the kernel: say :k instead",
        19 => "drives a pin of the processor: leave it out",
        20 => "lets the counter interrupt: the run sets it as it needs",
        21 => "counts what other threads of the core do: leave it out",
        22 => "lets the counter count: the run sets it as it needs",
        36 => "counts where as many as the counter mask says: not to be had",
        _ => "means nothing that can be asked for: leave it out",
    };
    write!(f, "bit {bit} {why}")
}

fn not_a_modifier(modifier: char) -> &'static str {
    match modifier {
        'p' | 'P' => {
            "precise samples are had on AMD by the event ibs_op, elsewhere not; leave it out"
        }
        'h' => "a hypervisor's events are not told apart; u (user code) and k (the kernel) are",
        'G' | 'H' => {
            "guest and host are not told apart; u (user code) and k (the kernel) are; leave it out"
        }
        'I' => "idle cores are marked in the report and not left out; leave it out",
        'D' | 'e' => "the events of a run have the counters for themselves; leave it out",
        'S' | 'W' => "there are no groups; leave it out",
        '/' => "terms stand before modifiers: NAME/TERM,TERM/MODIFIERS",
        _ => "no such modifier; there are u (user code) and k (the kernel)",
    }
}

/// Says which name `word` may have been meant for, if it is near to one.
fn suggest(word: &str, others: &[&'static str], f: &mut fmt::Formatter<'_>) -> fmt::Result {
    let events = Named::ALL.into_iter().flat_map(Named::names);
    let near = events
        .copied()
        .chain([IBS_OP])
        .chain(others.iter().copied())
        .filter_map(|name| Some((distance(word, name)?, name)))
        .min_by_key(|&(distance, _)| distance)
        .filter(|&(distance, _)| distance <= (word.len() / 3).max(1));
    match near {
        Some((_, name)) => write!(f, "; did you mean `{name}`?"),
        None => Ok(()),
    }
}

/// Bytes to insert, remove and replace to make one word of another (Levenshtein);
/// `None` if it is longer than any name.
fn distance(word: &str, name: &str) -> Option<usize> {
    const LONGEST: usize = 32;
    // Of the name's beginnings, each to the word so far.
    let mut row: [usize; LONGEST] = core::array::from_fn(|index| index);
    let row = row.get_mut(..=name.len())?;
    if word.len() >= LONGEST {
        return None;
    }
    for (index, a) in word.bytes().enumerate() {
        let mut diagonal = core::mem::replace(&mut row[0], index + 1);
        for (column, b) in (1..).zip(name.bytes()) {
            let replaced = diagonal + usize::from(a != b);
            diagonal = row[column];
            row[column] = replaced.min(diagonal + 1).min(row[column - 1] + 1);
        }
    }
    row.last().copied()
}

/// A term, but for names.
#[derive(Clone, Copy)]
enum Term {
    Event,
    UnitMask,
    Edge,
    Invert,
    CounterMask,
    Period,
    Counters,
    CountControl,
}

const TERMS: [(&str, Term); 8] = [
    ("event", Term::Event),
    ("umask", Term::UnitMask),
    ("edge", Term::Edge),
    ("inv", Term::Invert),
    ("cmask", Term::CounterMask),
    ("period", Term::Period),
    ("counters", Term::Counters),
    ("cnt_ctl", Term::CountControl),
];

/// What may stand before terms that say the event.
const CORES: [(&str, Option<CoreKind>); 3] = [
    ("cpu", None),
    ("cpu_core", Some(CoreKind::Core)),
    ("cpu_atom", Some(CoreKind::Atom)),
];

/// A part and what is wrong with it; where it is, its address says.
type Bad<'a> = (&'a str, EventProblem);

impl<'a> BadEvent<'a> {
    /// Finds the part's place in `list`, which it is a part of.
    fn within(list: &'a str, (word, problem): Bad<'a>) -> Self {
        Self {
            at: word.as_ptr().addr() - list.as_ptr().addr(),
            word,
            problem,
        }
    }
}

impl EventList {
    /// Reads a list; the module's documentation has the grammar.
    ///
    /// # Errors
    ///
    /// The first part that cannot be taken.
    pub fn parse(list: &str) -> Result<Self, BadEvent<'_>> {
        let bad = |bad| BadEvent::within(list, bad);
        let mut is_within = false;
        let mut words = list.split(|character| {
            is_within ^= character == '/';
            character == ',' && !is_within
        });
        let first = event(words.next().unwrap_or(list)).map_err(bad)?;
        words.try_fold(Self::of(first), |parsed, word| {
            let more = parsed.and(event(word).map_err(bad)?);
            more.ok_or(bad((word, EventProblem::TooMany)))
        })
    }
}

impl Event {
    /// Reads one event.
    ///
    /// # Errors
    ///
    /// The part that cannot be taken.
    pub fn parse(text: &str) -> Result<Self, BadEvent<'_>> {
        let list = EventList::parse(text)?;
        match list.as_slice() {
            &[event] => Ok(event),
            _ => Err(BadEvent {
                word: text,
                at: 0,
                problem: EventProblem::TooMany,
            }),
        }
    }
}

fn event(word: &str) -> Result<Event, Bad<'_>> {
    if word.is_empty() {
        return Err((word, EventProblem::Missing));
    }
    if word.starts_with(['{', '}']) || word.ends_with('}') {
        return Err((word, EventProblem::Group));
    }
    let end = word.find([':', '/']).unwrap_or(word.len());
    let (name, behind) = word.split_at(end);
    let mut made = Made::by_name(name)?;
    let Some(behind) = behind.strip_prefix('/') else {
        let modifiers = behind.strip_prefix(':').unwrap_or(behind);
        if modifiers.len() != behind.len() {
            made.modifiers(word, modifiers)?;
        }
        return made.event(name);
    };
    let (terms, modifiers) = behind
        .split_once('/')
        .ok_or((word, EventProblem::NotClosed))?;
    for term in terms.split(',').filter(|_| !terms.is_empty()) {
        made.term(term)?;
    }
    if !modifiers.is_empty() {
        made.modifiers(word, modifiers.strip_prefix(':').unwrap_or(modifiers))?;
    }
    made.event(word)
}

/// An event, as far as it is read.
struct Made {
    /// All but what is counted.
    rest: Event,
    named: Option<Named>,
    number: Option<u16>,
    unit_mask: Option<u16>,
    /// It is `ibs_op`, and counts that.
    ibs: Option<IbsCount>,
    /// A bit for each of [`TERMS`] that was said.
    said: u8,
}

impl Made {
    /// What stands before terms and modifiers.
    fn by_name(name: &str) -> Result<Self, Bad<'_>> {
        let mut made = Self {
            rest: EventList::NONE,
            named: Named::from_name(name),
            number: None,
            unit_mask: None,
            ibs: (name == IBS_OP).then_some(IbsCount::Cycles),
            said: 0,
        };
        let mut cores = CORES.into_iter();
        if let Some((_, cores)) = cores.find(|(known, _)| *known == name) {
            made.rest.cores = cores;
            return Ok(made);
        }
        if made.ibs.is_some() || made.named.is_some() {
            return Ok(made);
        }
        let digits = name.strip_prefix('r').unwrap_or_default();
        let digits = digits.strip_prefix("0x").unwrap_or(digits);
        if digits.is_empty() || !digits.bytes().all(|digit| digit.is_ascii_hexdigit()) {
            return Err((name, EventProblem::NoSuchEvent));
        }
        let raw = u64::from_str_radix(digits, 16);
        made.raw(raw.map_err(|_| (name, EventProblem::RawTooLong))?)
            .map_err(|problem| (name, problem))?;
        Ok(made)
    }

    fn raw(&mut self, raw: u64) -> Result<(), EventProblem> {
        use crate::pmu::registers::select::{
            COUNTER_MASK, EDGE, EVENT, EVENT_HIGH, INVERT, UNIT_MASK, UNIT_MASK_2,
        };
        let known = EVENT | UNIT_MASK | EDGE | INVERT | COUNTER_MASK | EVENT_HIGH | UNIT_MASK_2;
        if raw & !known != 0 {
            // Below 64.
            #[allow(clippy::cast_possible_truncation)]
            return Err(EventProblem::RawBit((raw & !known).trailing_zeros() as u8));
        }
        // The fields are cut out.
        #[allow(clippy::cast_possible_truncation)]
        {
            self.number = Some((raw & EVENT | (raw & EVENT_HIGH) >> 24) as u16);
            self.unit_mask = Some(((raw & UNIT_MASK) >> 8 | (raw & UNIT_MASK_2) >> 32) as u16);
            self.rest.counter_mask = ((raw & COUNTER_MASK) >> 24) as u8;
        }
        self.rest.edge = raw & EDGE != 0;
        self.rest.invert = raw & INVERT != 0;
        for (said, term) in [
            (self.rest.edge, Term::Edge),
            (self.rest.invert, Term::Invert),
            (self.rest.counter_mask != 0, Term::CounterMask),
        ] {
            self.said |= u8::from(said) << term as u8;
        }
        Ok(())
    }

    fn term<'a>(&mut self, text: &'a str) -> Result<(), Bad<'a>> {
        let bad = |problem| (text, problem);
        if text.is_empty() {
            return Err(bad(EventProblem::Missing));
        }
        let (name, value) = match text.split_once('=') {
            Some((name, value)) => (name, Some(value)),
            None => (text, None),
        };
        let has_event = self.named.is_some() || self.number.is_some();
        if let Some(named) = Named::from_name(name).filter(|_| value.is_none()) {
            if self.ibs.is_some() {
                return Err(bad(EventProblem::NotOfIbs));
            }
            if has_event || self.unit_mask.is_some() {
                return Err(bad(EventProblem::EventTwice));
            }
            self.named = Some(named);
            return Ok(());
        }
        let mut terms = TERMS.into_iter();
        let (_, term) = terms
            .find(|&(known, _)| known == name)
            .ok_or((name, EventProblem::NoSuchTerm))?;
        if self.said & 1 << term as u8 != 0 {
            return Err(bad(EventProblem::TermTwice));
        }
        self.said |= 1 << term as u8;
        match (self.ibs, term) {
            (None, Term::CountControl) => return Err(bad(EventProblem::OfIbs)),
            (Some(_), Term::CountControl | Term::Period) | (None, _) => {}
            (Some(_), _) => return Err(bad(EventProblem::NotOfIbs)),
        }
        self.set(term, value, has_event).map_err(bad)
    }

    fn set(
        &mut self,
        term: Term,
        value: Option<&str>,
        has_event: bool,
    ) -> Result<(), EventProblem> {
        let needed = value.filter(|value| !value.is_empty());
        let needed = needed.ok_or(EventProblem::NoValue);
        let flag = || Ok(value.is_none() || number(needed?, 0..=1)? == 1);
        // Numbers of a range that their fields hold.
        #[allow(clippy::cast_possible_truncation)]
        match term {
            Term::Event if has_event => return Err(EventProblem::EventTwice),
            Term::Event => {
                self.number = Some(number(needed?, 0..=Event::MAX_NUMBER.into())? as u16);
            }
            Term::UnitMask if self.named.is_some() || self.unit_mask.is_some() => {
                return Err(EventProblem::EventTwice);
            }
            Term::UnitMask => self.unit_mask = Some(number(needed?, 0..=0xffff)? as u16),
            Term::Edge => self.rest.edge = flag()?,
            Term::Invert => self.rest.invert = flag()?,
            Term::CounterMask => self.rest.counter_mask = number(needed?, 0..=0xff)? as u8,
            Term::Period => self.rest.period = Some(number(needed?, Event::PERIODS)?),
            Term::CountControl => {
                let counts_ops = flag()?;
                self.ibs = Some(if counts_ops {
                    IbsCount::Ops
                } else {
                    IbsCount::Cycles
                });
            }
            Term::Counters => {
                self.rest.counters = Some(number(needed?, 1..=u32::MAX.into())? as u32);
            }
        }
        Ok(())
    }

    /// Takes the modifiers of the event `word`.
    fn modifiers<'a>(&mut self, word: &'a str, text: &'a str) -> Result<(), Bad<'a>> {
        if text.is_empty() {
            return Err((word, EventProblem::NoModifier));
        }
        if self.ibs.is_some() {
            return Err((text, EventProblem::NotOfIbs));
        }
        (self.rest.user, self.rest.kernel) = (false, false);
        for (at, modifier) in text.char_indices() {
            let bad = |problem| (&text[at..at + modifier.len_utf8()], problem);
            let level = match modifier {
                'u' => &mut self.rest.user,
                'k' => &mut self.rest.kernel,
                _ => return Err(bad(EventProblem::Modifier(modifier))),
            };
            if core::mem::replace(level, true) {
                return Err(bad(EventProblem::ModifierTwice));
            }
        }
        Ok(())
    }

    /// The event, if `word` says what to count.
    fn event(self, word: &str) -> Result<Event, Bad<'_>> {
        let what = match (self.ibs, self.named, self.number) {
            (Some(count), ..) => What::IbsOp(count),
            (None, Some(named), _) => What::Named(named),
            (None, None, Some(event)) => What::Raw {
                event,
                unit_mask: self.unit_mask.unwrap_or(0),
            },
            (None, None, None) => return Err((word, EventProblem::NoEvent)),
        };
        Ok(Event { what, ..self.rest })
    }
}

/// A number of this range, decimal or hexadecimal.
fn number(text: &str, range: RangeInclusive<u64>) -> Result<u64, EventProblem> {
    let (digits, radix) = match text.strip_prefix("0x") {
        Some(digits) => (digits, 16),
        None => (text, 10),
    };
    // A sign is none.
    let is_number = digits.starts_with(|first: char| first.is_ascii_hexdigit());
    let number = u64::from_str_radix(digits, radix).ok();
    number
        .filter(|number| is_number && range.contains(number))
        .ok_or(EventProblem::NotInRange(*range.start(), *range.end()))
}
