//! What a profile says: counted by [`tally`], named by [`model`], shown by
//! [`text`] or as JSON. [`counts`] are those of a run that takes no samples.

mod accounts;
mod aimed;
mod asked;
mod cells;
pub mod counts;
pub mod diff;
pub mod event;
pub mod focus;
pub mod groups;
mod lacking;
mod matching;
pub mod model;
pub mod only;
pub mod overhead;
mod pattern;
pub(crate) mod processes;
mod selection;
pub mod stack;
mod stack_filter;
pub mod statistics;
pub mod tally;
pub mod text;
mod time_window;
pub mod tree;
pub mod warnings;

pub use model::{Options, Report, SortBy};
pub use only::Only;
pub use pattern::Pattern;
pub use selection::Selection;
pub(crate) use stack::Chain;
pub use stack::{Stack, Step};
pub use stack_filter::StackFilter;
pub use tally::Tally;
pub use time_window::TimeWindow;

/// The report as JSON: the keys that are promised first, then the others.
///
/// # Errors
///
/// None that a report can cause.
pub fn json(report: &Report) -> serde_json::Result<String> {
    crate::output::json(report)
}
