//! The views of `report` beside the whole report.

use anyhow::{Context as _, Result, bail};

use super::print;
use super::show::{CountedProfile, LoadedProfile};
use crate::cli::{ReportArgs, ReportFormat, View};
use crate::exit::Exit;
use crate::flame::Stacks;
use crate::output::{json, say};
use crate::report::counts::Counts;
use crate::report::focus::{self, Focus};
use crate::report::groups::{self, By, GroupOptions, Groups};
use crate::report::tree::{self, CallTree};
use crate::symbols::{Lines, SymbolFiles};

/// Rows in a text, unless asked otherwise; callers and callees of a function.
const TOP: usize = 30;
const NEIGHBOURS: usize = 10;
/// What trees leave out as text, in percent.
const PERCENT_LIMIT: f64 = 0.5;

/// Shows a view of a profile.
pub(super) fn show(view: View, arguments: &ReportArgs) -> Result<Exit> {
    let (mut loaded, files) = LoadedProfile::with_files(&arguments.profile)?;
    if Counts::are_in(&loaded.profile.description) {
        bail!(
            "the profile has counts of events and no samples: pmiscope report without a view shows them"
        );
    }
    let selection = loaded.select(&arguments.select)?;
    let mut counted = loaded.count(selection)?;
    let text = match view {
        View::Groups => by(&counted, &files, arguments)?,
        View::Focus => focus(&mut counted, arguments)?,
        View::Report | View::Tree => tree(&mut counted, arguments)?,
    };
    print(&text).context("cannot write the report")?;
    Ok(counted.leave())
}

fn by(counted: &CountedProfile, files: &SymbolFiles, arguments: &ReportArgs) -> Result<String> {
    let options = GroupOptions {
        by: arguments.view.by.clone(),
        sort: arguments.sort,
        top: top(arguments, TOP),
    };
    if counted.has_names_alone && options.by.contains(&By::Line) {
        warn_without_lines(counted);
    }
    let lines = match options.by.iter().any(|by| by.has_lines()) {
        true => Lines::of_files(files),
        false => Lines::default(),
    };
    let symbols = (&counted.symbols, &lines);
    let groups = Groups::new(&counted.profile, &counted.tally, symbols, &options)?;
    Ok(match arguments.format {
        ReportFormat::Text => groups::text::text(&groups, arguments.sort),
        ReportFormat::Json => json(&groups)?,
    })
}

/// Says that a profile travels with names alone, which lines are not among.
fn warn_without_lines(counted: &CountedProfile) {
    let remedy = match counted.profile.host.imported {
        None => "; give the kernel that ran by --elf",
        // There is none.
        Some(_) => "",
    };
    say!(
        "pmiscope: warning: the profile has names and no code: which line was executing is not known, and ?? stands for it{remedy}"
    );
}

fn focus(counted: &mut CountedProfile, arguments: &ReportArgs) -> Result<String> {
    let pattern = arguments.select.frames.focus.as_ref();
    let pattern = pattern.context("--callers and --callees are of a function: --focus")?;
    let only = counted.only();
    let stacks = stacks(counted)?;
    let focus = Focus::new(&stacks, pattern, only);
    let (callers, callees) = (arguments.view.callers, arguments.view.callees);
    let sides = focus::text::Sides {
        callers: callers || !callees,
        callees: callees || !callers,
    };
    Ok(match arguments.format {
        ReportFormat::Text => {
            let top = arguments.top.unwrap_or(NEIGHBOURS);
            focus::text::text(&focus, sides, top)
        }
        ReportFormat::Json => json(&focus)?,
    })
}

fn tree(counted: &mut CountedProfile, arguments: &ReportArgs) -> Result<String> {
    let only = counted.only();
    let stacks = stacks(counted)?;
    let mut tree = CallTree::new(&stacks, arguments.view.inverted, only);
    let percent = arguments.view.percent_limit;
    Ok(match arguments.format {
        ReportFormat::Text => {
            let limits = tree::text::Limits {
                percent: percent.unwrap_or(PERCENT_LIMIT),
                top: arguments.top,
            };
            tree::text::text(&tree, limits)
        }
        ReportFormat::Json => {
            tree.cut(percent.unwrap_or(0.0));
            json(&tree)?
        }
    })
}

fn top(arguments: &ReportArgs, as_text: usize) -> Option<usize> {
    match arguments.format {
        ReportFormat::Text => Some(arguments.top.unwrap_or(as_text)),
        ReportFormat::Json => arguments.top,
    }
}

/// The stacks of samples of one event: those of several have no sum.
pub(super) fn stacks(counted: &mut CountedProfile) -> Result<Stacks> {
    counted.check_one_event()?;
    counted.stacks(None)
}

impl CountedProfile {
    /// Checks that samples are of one event.
    pub(super) fn check_one_event(&self) -> Result<()> {
        let counted = self.tally.events.iter().filter(|event| event.samples > 0);
        if self.tally.selection.event.is_none() && counted.count() > 1 {
            let events = self.profile.events().iter();
            let names: Vec<_> = events.map(|event| event.name.as_str()).collect();
            bail!(
                "the samples are of several events, which have no sum: say which by --event ({})",
                names.join(", ")
            );
        }
        Ok(())
    }

    /// What is asked of the samples.
    pub(super) fn only(&self) -> Vec<String> {
        groups::only(&self.tally.selection, &self.profile)
    }
}
