//! A profile as text.
//!
//! ```text
//!   samples   share  function, and its callers
//!       750  75.00%  kernel::workload::hash::mix
//!       700            < kernel::workload::hash::unit
//!        50            < 2 others
//!       250  25.00%  in 3 other functions
//! ```

use core::fmt;

use super::{Caller, Function, Profile, Row};

/// Callers of a function that are shown.
const CALLERS: usize = 3;

/// What things are called.
pub trait Names {
    /// Writes the name of the function that begins so far behind the start of the text.
    ///
    /// # Errors
    ///
    /// Those of writing.
    fn function(&self, offset: u32, to: &mut dyn fmt::Write) -> fmt::Result;

    /// Writes the name of a group.
    ///
    /// # Errors
    ///
    /// Those of writing.
    fn group(&self, group: u16, to: &mut dyn fmt::Write) -> fmt::Result;
}

/// A profile to be shown.
pub struct Shown<'a> {
    /// What.
    pub profile: &'a Profile,
    /// The most functions, of each group.
    pub rows: usize,
    /// Whether groups are told apart. If not, all samples are in group 0.
    pub by_group: bool,
    /// What things are called.
    pub names: &'a dyn Names,
}

impl Shown<'_> {
    /// Writes it, a line each.
    ///
    /// # Errors
    ///
    /// Those of writing.
    pub fn write(&self, to: &mut dyn fmt::Write) -> fmt::Result {
        let total = self.profile.total();
        if !self.by_group {
            return self.write_group(0, total, to);
        }
        let mut rest = total;
        for (group, samples) in self.profile.groups() {
            rest -= samples;
            self.names.group(group, to)?;
            writeln!(to, ": {}", Share { samples, total })?;
            self.write_group(group, samples, to)?;
        }
        if rest > 0 {
            let others = Share {
                samples: rest,
                total,
            };
            writeln!(to, "others, for which there is no room: {others}")?;
        }
        Ok(())
    }

    /// The functions of a group, which has `samples`. Shares are those of all samples.
    fn write_group(&self, group: u16, samples: u64, to: &mut dyn fmt::Write) -> fmt::Result {
        let total = self.profile.total();
        writeln!(to, "  samples   share  function, and its callers")?;
        let (mut others, counted) = self.profile.functions_of(group);
        let mut rest = samples;
        for row in self.profile.functions(group).take(self.rows) {
            rest -= row.samples;
            others -= 1;
            let percent = Percent(row.samples, total);
            write!(to, "{:9} {percent}  ", row.samples)?;
            self.write_function(row.function, to)?;
            writeln!(to)?;
            self.write_callers(&row, to)?;
        }
        if rest > 0 {
            let percent = Percent(rest, total);
            let plural = if others == 1 { "" } else { "s" };
            write!(to, "{rest:9} {percent}  in {others} other function{plural}")?;
            if samples > counted {
                let more = samples - counted;
                write!(to, ", {more} of them in more, for which there is no room")?;
            }
            writeln!(to)?;
        }
        Ok(())
    }

    fn write_callers(&self, row: &Row, to: &mut dyn fmt::Write) -> fmt::Result {
        let (mut others, counted) = self.profile.callers_of(row);
        let mut rest = row.samples;
        for (caller, samples) in self.profile.callers(row).take(CALLERS) {
            rest -= samples;
            others -= 1;
            write!(to, "{samples:9}            ")?;
            match caller {
                Caller::Call(function) => {
                    to.write_str("< ")?;
                    self.write_function(function, to)?;
                }
                Caller::Interrupted(function) => {
                    to.write_str("< interrupt of ")?;
                    self.write_function(function, to)?;
                }
                Caller::Root => to.write_str("< the root of its stack")?,
                Caller::Unknown => to.write_str("< not known: the chain is cut")?,
            }
            writeln!(to)?;
        }
        if rest > 0 {
            let plural = if others == 1 { "" } else { "s" };
            write!(to, "{rest:9}            < {others} other{plural}")?;
            if row.samples > counted {
                let more = row.samples - counted;
                write!(to, ", {more} of them more, for which there is no room")?;
            }
            writeln!(to)?;
        }
        Ok(())
    }

    fn write_function(&self, function: Function, to: &mut dyn fmt::Write) -> fmt::Result {
        match function {
            Function::At(offset) => self.names.function(offset, to),
            Function::Unnamed => to.write_str("(code without a name)"),
        }
    }
}

/// So many samples, and their share.
struct Share {
    samples: u64,
    total: u64,
}

impl fmt::Display for Share {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { samples, total } = *self;
        let plural = if samples == 1 { "" } else { "s" };
        write!(f, "{samples} sample{plural}, {}", Percent(samples, total))
    }
}

/// The share of the first number in the second, rounded, in seven columns.
struct Percent(u64, u64);

impl fmt::Display for Percent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(part, whole) = *self;
        let whole = u128::from(whole.max(1));
        let hundredths = (u128::from(part) * 10_000 + whole / 2) / whole;
        write!(f, "{:3}.{:02}%", hundredths / 100, hundredths % 100)
    }
}
