//! What has not arrived.

use std::ops::Range;

use super::Blocks;
use crate::units::{counted, grouped};

/// How many ranges a message has at most.
const SHOWN: usize = 8;

/// What has not arrived of a run.
pub struct Missing {
    of: u32,
    blocks: Vec<Range<u32>>,
    /// What is known of each core that lacks something.
    cores: Vec<String>,
}

impl Missing {
    pub(super) fn new(blocks: &Blocks) -> Self {
        Self {
            of: blocks.of,
            blocks: blocks.missing(),
            cores: Vec::new(),
        }
    }

    /// Adds a core, with the records that it has stored, if that is known, and those that are
    /// here.
    pub(super) fn add_core(&mut self, core: u32, stored: Option<u64>, here: u64) {
        if self.blocks.is_empty() {
            return;
        }
        match stored {
            Some(stored) if stored > here => self.cores.push(format!(
                "core {core} lacks {} of {}",
                grouped(stored - here),
                counted(stored, "record")
            )),
            Some(_) => {}
            None => self.cores.push(format!(
                "core {core} has {} here, and how many it had is not known",
                counted(here, "record")
            )),
        }
    }

    /// Returns true if all has arrived.
    #[must_use]
    pub fn is_nothing(&self) -> bool {
        self.blocks.is_empty()
    }

    /// What is missing, for the profile.
    #[must_use]
    pub fn in_words(&self) -> String {
        let count: u32 = self
            .blocks
            .iter()
            .map(|range| range.end - range.start)
            .sum();
        format!(
            "{} of {} did not arrive: {}",
            grouped(count.into()),
            counted(self.of.into(), "block"),
            ranges_in_words(&self.blocks)
        )
    }

    /// Which cores lack how much, a line each.
    #[must_use]
    pub fn cores(&self) -> &[String] {
        &self.cores
    }
}

/// Numbers, such as `3, 7 to 9`.
fn ranges_in_words(ranges: &[Range<u32>]) -> String {
    let shown = ranges.iter().take(SHOWN).map(|range| {
        if range.len() == 1 {
            range.start.to_string()
        } else {
            format!("{} to {}", range.start, range.end - 1)
        }
    });
    let mut words: Vec<String> = shown.collect();
    if let Some(rest) = ranges.get(SHOWN..).filter(|rest| !rest.is_empty()) {
        let blocks: u64 = rest.iter().map(|range| range.len() as u64).sum();
        words.push(format!("and {} more", grouped(blocks)));
    }
    words.join(", ")
}

#[cfg(test)]
mod tests {
    use super::ranges_in_words;

    #[test]
    fn what_is_missing_is_named() {
        assert_eq!(ranges_in_words(&[3..4, 7..10]), "3, 7 to 9");
        let many: Vec<_> = (0..10).map(|at| at * 10..at * 10 + 2).collect();
        let words = ranges_in_words(&many);
        assert!(words.ends_with("70 to 71, and 4 more"), "{words}");
    }
}
