//! A profile in fixed memory, made and shown in the kernel: which functions were executing, in all
//! samples or in those of a task or a core each, and who had called them.
//!
//! What has no room for a count of its own is what is left of the whole: so a profile adds up, whatever was
//! sampled.
//!
//! * [`counts`]: how often each of some numbers was seen.
//! * [`show`]: the profile as text.

pub mod counts;
pub mod show;

use counts::{Counts, Entry};

pub use show::{Names, Shown};

/// Groups that are told apart: tasks or cores.
const GROUPS: usize = 512;
/// Functions that are, in all groups together.
const FUNCTIONS: usize = 2048;
/// Pairs of a function and a caller of it that are.
const CALLERS: usize = 4096;

/// A function, by where it begins in the kernel's text.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Function {
    /// Bytes from the start of the text, below 2³¹.
    At(u32),
    /// Code that belongs to no function that has a name.
    Unnamed,
}

/// Who had called a function.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Caller {
    /// This function.
    Call(Function),
    /// Nobody: it is an interrupt's or exception's, and this function was interrupted.
    Interrupted(Function),
    /// Nobody: a stack begins there.
    Root,
    /// It is not known, as the chain is cut there.
    Unknown,
}

/// Samples, counted.
#[derive(Debug)]
pub struct Profile {
    total: u64,
    groups: Counts<GROUPS>,
    /// By group and function.
    functions: Counts<FUNCTIONS>,
    /// By the place among `functions`, and the caller.
    callers: Counts<CALLERS>,
}

/// A function of a profile.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Row {
    /// Which one.
    pub function: Function,
    /// Samples in which it was executing.
    pub samples: u64,
    place: usize,
}

impl Profile {
    /// Nothing was sampled.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            total: 0,
            groups: Counts::new(),
            functions: Counts::new(),
            callers: Counts::new(),
        }
    }

    /// Forgets all.
    pub fn clear(&mut self) {
        self.total = 0;
        self.groups.clear();
        self.functions.clear();
        self.callers.clear();
    }

    /// Counts samples, not 0, of a group, in which this function was executing, called by that.
    pub fn add(&mut self, group: u16, function: Function, caller: Caller, samples: u64) {
        self.total += samples;
        if self.groups.add(group.into(), samples).is_none() {
            return;
        }
        let key = u64::from(group) << 32 | u64::from(function.number());
        if let Some(place) = self.functions.add(key, samples) {
            let key = (place as u64) << 32 | u64::from(caller.number());
            // What has no room is the rest of the function's samples.
            let _ = self.callers.add(key, samples);
        }
    }

    /// All samples.
    #[must_use]
    pub const fn total(&self) -> u64 {
        self.total
    }

    /// The groups, each with its samples, the lowest number first. Those that there was no room for
    /// are the rest.
    pub fn groups(&self) -> impl Iterator<Item = (u16, u64)> + '_ {
        let mut next = 0;
        core::iter::from_fn(move || {
            let behind = self.groups.all().filter(|(_, entry)| entry.key >= next);
            let (_, entry) = behind.min_by_key(|(_, entry)| entry.key)?;
            next = entry.key + 1;
            Some((u16::try_from(entry.key).ok()?, entry.count))
        })
    }

    /// The functions of a group, the hottest first. Those that there was no room for are the rest of
    /// the group's samples.
    pub fn functions(&self, group: u16) -> impl Iterator<Item = Row> + '_ {
        let rows = self
            .functions
            .by_count(move |key| key >> 32 == group.into());
        rows.map(|(place, entry)| Row {
            function: Function::of(low(entry)),
            samples: entry.count,
            place,
        })
    }

    /// The number of a group's functions, and the samples of those.
    #[must_use]
    pub fn functions_of(&self, group: u16) -> (u64, u64) {
        sum(self.functions.all(), group.into())
    }

    /// The number of a function's callers, and the samples of those.
    #[must_use]
    pub fn callers_of(&self, row: &Row) -> (u64, u64) {
        sum(self.callers.all(), row.place as u64)
    }

    /// Who had called a function, the most frequent first. Those that there was no room for are the
    /// rest of its samples.
    pub fn callers(&self, row: &Row) -> impl Iterator<Item = (Caller, u64)> + '_ {
        let place = row.place as u64;
        let rows = self.callers.by_count(move |key| key >> 32 == place);
        rows.map(|(_, entry)| (Caller::of(low(entry)), entry.count))
    }
}

impl Default for Profile {
    fn default() -> Self {
        Self::new()
    }
}

/// How many there are with this high half, and how often they were seen.
fn sum(all: impl Iterator<Item = (usize, Entry)>, high: u64) -> (u64, u64) {
    let wanted = all.filter(|(_, entry)| entry.key >> 32 == high);
    wanted.fold((0, 0), |(number, samples), (_, entry)| {
        (number + 1, samples + entry.count)
    })
}

const fn low(entry: Entry) -> u32 {
    #[allow(clippy::cast_possible_truncation)] // the low half
    let low = entry.key as u32;
    low
}

/// In a caller's number: it was interrupted.
const INTERRUPTED: u32 = 1 << 31;
/// The numbers that are no function's.
const UNNAMED: u32 = INTERRUPTED - 1;
const ROOT: u32 = u32::MAX - 1;
const UNKNOWN: u32 = u32::MAX - 2;

impl Function {
    const fn number(self) -> u32 {
        match self {
            Self::At(offset) if offset < UNKNOWN - INTERRUPTED => offset,
            // No text is as long.
            Self::At(_) | Self::Unnamed => UNNAMED,
        }
    }

    const fn of(number: u32) -> Self {
        match number {
            UNNAMED => Self::Unnamed,
            offset => Self::At(offset),
        }
    }
}

impl Caller {
    const fn number(self) -> u32 {
        match self {
            Self::Call(function) => function.number(),
            Self::Interrupted(function) => INTERRUPTED | function.number(),
            Self::Root => ROOT,
            Self::Unknown => UNKNOWN,
        }
    }

    const fn of(number: u32) -> Self {
        match number {
            ROOT => Self::Root,
            UNKNOWN => Self::Unknown,
            number if number & INTERRUPTED != 0 => {
                Self::Interrupted(Function::of(number & !INTERRUPTED))
            }
            number => Self::Call(Function::of(number)),
        }
    }
}

#[cfg(test)]
mod tests;
