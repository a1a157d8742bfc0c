//! The views of `report`.

use clap::{ArgGroup, Args};

use crate::report::groups::By;

const HEADING: &str = "Views";

/// Which view `report` shows in place of the whole report.
#[derive(Args, Clone, Default, Debug)]
#[command(group(ArgGroup::new("a tree").multiple(true)))]
pub struct ViewArgs {
    /// Group samples by this, or by several between commas: core,function. Events stand side by side
    #[arg(long, value_enum, value_delimiter = ',', value_name = "KEY", help_heading = HEADING,
          conflicts_with_all = ["tree", "inverted", "callers", "callees"])]
    pub by: Vec<By>,

    /// Show the callers of the functions of --focus; without --callees these alone
    #[arg(long, requires = "focus", conflicts_with_all = ["tree", "inverted"], help_heading = HEADING)]
    pub callers: bool,

    /// Show the functions that those of --focus call; without --callers these alone
    #[arg(long, requires = "focus", conflicts_with_all = ["tree", "inverted"], help_heading = HEADING)]
    pub callees: bool,

    /// Show calls as a tree, from the outermost functions in
    #[arg(long, group = "a tree", help_heading = HEADING)]
    pub tree: bool,

    /// Show calls as a tree, from the functions that were executing out to their callers
    #[arg(long, group = "a tree", help_heading = HEADING)]
    pub inverted: bool,

    /// Leave out of trees what has less of all samples, in percent [default: 0.5 as text, 0 as JSON]
    #[arg(long, value_name = "PERCENT", value_parser = percent, requires = "a tree",
          help_heading = HEADING)]
    pub percent_limit: Option<f64>,
}

/// A view of `report`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum View {
    /// The whole report.
    Report,
    Groups,
    Focus,
    Tree,
}

impl ViewArgs {
    /// A key that is there twice, which groups by nothing more.
    #[must_use]
    pub fn twice(&self) -> Option<By> {
        let mut keys = self.by.iter().enumerate();
        let again = keys.find(|&(place, by)| self.by[..place].contains(by));
        again.map(|(_, &by)| by)
    }

    /// Which is asked for; a focus alone asks for its callers and callees.
    #[must_use]
    pub fn view(&self, has_focus: bool) -> View {
        if !self.by.is_empty() {
            View::Groups
        } else if self.tree || self.inverted {
            View::Tree
        } else if has_focus {
            View::Focus
        } else {
            View::Report
        }
    }
}

fn percent(text: &str) -> Result<f64, String> {
    let percent = text.trim_end_matches('%').parse().ok();
    percent
        .filter(|percent| (0.0..=100.0).contains(percent))
        .ok_or_else(|| "must be a number from 0 to 100".into())
}
