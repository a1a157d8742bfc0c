//! Storms of boots: what is booted, drawn from a seed, and what is expected of it.
//!
//! [`Plan::draw`] gives each boot a value of each axis ([`configuration`]), from [`AtHand`] and
//! the seed alone, and by the table of [`expected`] how it may end. [`judge`] compares that with
//! what the boot has left. All of it is pure; `commands/stress_boot.rs` boots.

mod at_hand;
mod configuration;
mod deck;
mod expected;
mod judge;
mod summary;

use std::time::Duration;

pub use at_hand::{AtHand, Emulator, MOST_MEMORY};
use configuration::Configuration;
use deck::Deck;
pub use expected::Expected;
pub use judge::{Remains, Verdict};
pub use summary::Summary;

use crate::output::shell_word;

/// One boot.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Plan {
    /// Its number, from 0 on.
    pub number: u32,
    configuration: Configuration,
    /// The words behind `pmiscope run`.
    pub words: Vec<String>,
    pub expected: Expected,
}

impl Plan {
    /// Draws the boot of this number.
    #[must_use]
    pub fn draw(at_hand: &AtHand, seed: u64, number: u32) -> Self {
        let deck = Deck {
            seed,
            boot: number.into(),
        };
        let configuration = Configuration::draw(at_hand, deck);
        Self {
            number,
            words: configuration.words(at_hand),
            expected: Expected::of(&configuration),
            configuration,
        }
    }

    /// The command that does this boot alone, for a shell.
    #[must_use]
    pub fn command(&self) -> String {
        let words: Vec<_> = self.words.iter().map(|word| shell_word(word)).collect();
        format!("pmiscope run {}", words.join(" "))
    }

    /// How long it may take until it ends by itself.
    #[must_use]
    pub fn limit(&self) -> Duration {
        Duration::from_secs(self.configuration.seconds())
    }
}

#[cfg(test)]
mod tests;
