//! Overflows that were aimed at a function, beside those of the period.

use std::ops::Range;

use profiler::format::Sample;
use serde::Serialize;

use super::Tally;
use crate::profile::Profile;
use crate::symbols::{Symbols, in_its_file};
use crate::units::grouped;

/// What a run was aimed at, and how many of its samples that is.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Aimed {
    pub samples: u64,
    /// Of the instruction, as the ELF file has it.
    pub address: String,
    /// Instructions behind it, one more each time.
    #[serde(flatten)]
    pub behind: Range<u32>,
}

impl Aimed {
    /// `None` if the run had no aim.
    pub(super) fn new(profile: &Profile, tally: &Tally, symbols: &Symbols) -> Option<Self> {
        let aim = profile.description.aim;
        let aimed = tally
            .event_numbers()
            .filter(|&(event, _)| event == Sample::AIMED);
        (aim.end > 0).then(|| Self {
            samples: aimed.map(|(_, samples)| samples).sum(),
            address: format!("{:#x}", in_its_file(symbols.place(aim.address))),
            behind: aim.first..aim.end,
        })
    }

    pub(super) fn line(&self) -> String {
        let Range { start, end } = self.behind;
        let behind = match end.saturating_sub(start) {
            1 => grouped(start.into()),
            _ => format!("{start}..{end}"),
        };
        format!(
            "{} of the samples: {behind} instructions behind {}",
            grouped(self.samples),
            self.address
        )
    }
}
