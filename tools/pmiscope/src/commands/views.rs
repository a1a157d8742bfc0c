//! The views of `report` beside the whole report.

use anyhow::{Context as _, Result, bail};
use serde::Serialize;

use super::print;
use super::show::{CountedProfile, LoadedProfile, NAMES_ALONE};
use crate::cli::{ReportArgs, ReportFormat, View};
use crate::exit::Exit;
use crate::output::{json, say};
use crate::report::counts::Counts;
use crate::report::event;
use crate::report::focus::{self, Focus};
use crate::report::groups::{self, By, GroupOptions, Groups};
use crate::report::text::Out;
use crate::report::tree::{self, CallTree};
use crate::report::{Selection, Tally};
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
    if loaded.profile.host.imported.is_some() && arguments.view.by.contains(&By::Address) {
        bail!("--by address: {NAMES_ALONE}");
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
    counted.can_group_by(&arguments.view.by)?;
    let options = GroupOptions {
        by: arguments.view.by.clone(),
        sort: arguments.sort.unwrap_or_default(),
        top: top(arguments, TOP),
    };
    if counted.has_names_alone && options.by.contains(&By::Line) {
        warn_without_lines(counted);
    }
    let lines = match options.by.iter().any(|by| by.has_lines()) {
        true => Lines::of_run(files, &counted.symbols, counted.tally.addresses()),
        false => Lines::default(),
    };
    let symbols = (&counted.symbols, &lines);
    let groups = Groups::new(&counted.profile, &counted.tally, symbols, &options)?;
    if counted.has_names_alone && groups.has_no_file() {
        bail!(
            "--by file: the profile has names and no code, and says of no sample in which file it was"
        );
    }
    Ok(match arguments.format {
        ReportFormat::Text => groups::text::text(&groups, options.sort),
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
    let (callers, callees) = (arguments.view.callers, arguments.view.callees);
    let sides = focus::text::Sides {
        callers: callers || !callees,
        callees: callees || !callers,
    };
    let top = arguments.top.unwrap_or(NEIGHBOURS);
    let view = |counted: &mut CountedProfile| {
        let stacks = counted.stacks(None)?;
        Ok(Focus::new(&stacks, pattern, counted.only()))
    };
    let text = |focus: &Focus| focus::text::text(focus, sides, top);
    counted.of_each_event(arguments.format, view, text)
}

fn tree(counted: &mut CountedProfile, arguments: &ReportArgs) -> Result<String> {
    let percent = arguments.view.percent_limit;
    let limits = tree::text::Limits {
        percent: percent.unwrap_or(PERCENT_LIMIT),
        top: arguments.top,
    };
    let view = |counted: &mut CountedProfile| {
        let stacks = counted.stacks(None)?;
        let mut tree = CallTree::new(&stacks, arguments.view.inverted, counted.only());
        if arguments.format == ReportFormat::Json {
            tree.cut(percent.unwrap_or(0.0));
        }
        Ok(tree)
    };
    let text = |tree: &CallTree| tree::text::text(tree, limits);
    counted.of_each_event(arguments.format, view, text)
}

fn top(arguments: &ReportArgs, as_text: usize) -> Option<usize> {
    match arguments.format {
        ReportFormat::Text => Some(arguments.top.unwrap_or(as_text)),
        ReportFormat::Json => arguments.top,
    }
}

/// A view of each of several events.
#[derive(Serialize)]
pub(super) struct OfEvents<V> {
    events: Vec<OfEvent<V>>,
}

#[derive(Serialize)]
struct OfEvent<V> {
    event: String,
    #[serde(flatten)]
    view: V,
}

impl<V> OfEvents<V> {
    /// Makes the view of each event.
    pub(super) fn new(
        events: impl IntoIterator<Item = String>,
        view: impl FnMut(usize) -> Result<V>,
    ) -> Result<Self> {
        let views = (0..).map(view);
        let events = events.into_iter().zip(views);
        let events = events.map(|(event, view)| Ok(OfEvent { event, view: view? }));
        Ok(Self {
            events: events.collect::<Result<_>>()?,
        })
    }

    /// One below the other, as perf shows them.
    pub(super) fn text(&self, text: impl Fn(&V) -> String) -> String {
        let of_event = |of: &OfEvent<V>| {
            let mut out = Out::default();
            out.fact("event", &of.event);
            out.0 + &text(&of.view)
        };
        let texts: Vec<_> = self.events.iter().map(of_event).collect();
        texts.join("\n")
    }
}

impl CountedProfile {
    /// Shows a view of the samples: one of each event, if they are of several, which have no sum.
    fn of_each_event<V: Serialize>(
        &mut self,
        format: ReportFormat,
        view: impl Fn(&mut Self) -> Result<V>,
        text: impl Fn(&V) -> String,
    ) -> Result<String> {
        let events = self.events();
        if events.len() < 2 {
            let view = view(self)?;
            return Ok(match format {
                ReportFormat::Text => text(&view),
                ReportFormat::Json => json(&view)?,
            });
        }
        let names = event::names(&self.profile, &events);
        let views = OfEvents::new(names, |place| {
            self.count_event(events[place])?;
            view(self)
        })?;
        Ok(match format {
            ReportFormat::Text => views.text(text),
            ReportFormat::Json => json(&views)?,
        })
    }

    /// Refuses to group by what the profile does not say.
    pub(super) fn can_group_by(&self, keys: &[By]) -> Result<()> {
        for &by in keys {
            let known = (&self.tally, &self.symbols);
            if let Some(reason) = groups::unsaid(by, &self.profile, known) {
                bail!("--by {}: {reason}", by.name());
            }
        }
        Ok(())
    }

    /// The numbers of the events that the samples are of, where a profile has events.
    pub(super) fn events(&self) -> Vec<u8> {
        event::seen(&self.tally)
    }

    /// Counts the samples of one of the events alone.
    pub(super) fn count_event(&mut self, event: u8) -> Result<()> {
        let selection = Selection {
            events: event.into(),
            ..self.tally.selection.clone()
        };
        self.tally = Tally::new(&self.profile, self.symbols.callers(), selection)?;
        Ok(())
    }

    /// What is asked of the samples.
    pub(super) fn only(&self) -> Vec<String> {
        groups::only(&self.tally.selection, &self.profile)
    }
}
