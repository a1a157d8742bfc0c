//! What a profile says: counted by [`tally`], named by [`model`], shown by
//! [`text`] or as JSON. [`counts`] are those of a run that takes no samples.

mod accounts;
mod asked;
pub mod counts;
pub mod event;
mod lacking;
pub mod model;
pub mod overhead;
mod processes;
pub mod stack;
pub mod tally;
pub mod text;
pub mod warnings;

pub use model::{Options, Report, SortBy};
pub use stack::{Stack, Step};
pub use tally::{Selection, Tally};

/// The report as JSON: the keys that are promised first, then the others.
///
/// # Errors
///
/// None that a report can cause.
pub fn json(report: &Report) -> serde_json::Result<String> {
    crate::output::json(report)
}
