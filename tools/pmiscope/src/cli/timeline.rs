//! What `timeline` takes.

use clap::Args;

use super::{ProfileArgs, ReportFormat, SelectArgs};
use crate::timeline::Show;

pub(super) const EXAMPLES: &str = "\
Examples:
  pmiscope timeline profile.pmi
  pmiscope timeline profile.pmi --show interrupts-off --time 10%-20%
  pmiscope timeline profile.pmi --focus memcpy      where samples had it on the stack

Colours are for a terminal, unless NO_COLOR is set; else there are characters.";

/// What `timeline` takes.
#[derive(Args, Debug)]
pub struct TimelineArgs {
    #[command(flatten)]
    pub profile: ProfileArgs,

    #[command(flatten)]
    pub select: SelectArgs,

    /// What is shown of each piece of time [default: selected where samples are chosen by more than
    /// core, event and time, else busy]
    #[arg(long, value_enum)]
    pub show: Option<Show>,

    /// Columns of time [default: 80 as text, fewer where the terminal is narrower; 200
    /// as JSON]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=100_000))]
    pub width: Option<u64>,

    /// How it is written
    #[arg(long, value_enum, default_value_t = ReportFormat::Text)]
    pub format: ReportFormat,
}
