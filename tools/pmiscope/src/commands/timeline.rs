//! `timeline`: cores over time.

use std::io::{self, IsTerminal as _};

use anyhow::{Context as _, Result, bail};
use rustix::termios::tcgetwinsize;

use super::select::no_times;
use super::show::LoadedProfile;
use crate::cli::{ReportFormat, TimelineArgs};
use crate::exit::Exit;
use crate::output::{json, to_stdout};
use crate::report::counts::Counts;
use crate::timeline::{Show, Timeline, text};

pub(super) fn timeline(arguments: &TimelineArgs) -> Result<Exit> {
    let mut loaded = LoadedProfile::new(&arguments.profile)?;
    if Counts::are_in(&loaded.profile.description) {
        bail!("the profile has counts of events and no samples: pmiscope report shows them");
    }
    if loaded.profile.keeps_chains() {
        bail!("{}: there is no timeline", no_times(&loaded.profile));
    }
    let selection = loaded.select(&arguments.select)?;
    let columns = arguments.width.unwrap_or_else(|| match arguments.format {
        ReportFormat::Text => text::columns(width_of_terminal()),
        ReportFormat::Json => 200,
    });
    let last = loaded.last_time()?;
    let only = crate::report::groups::only(&selection, &loaded.profile);
    let chooses = selection.tasks.is_some() || selection.stacks.is_some();
    let usual = if chooses { Show::Selected } else { Show::Busy };
    let shown = (&selection, arguments.show.unwrap_or(usual));
    let timeline = Timeline::new(&loaded.profile, shown, (columns, last), only)?;
    if timeline.chosen == 0 {
        super::select::may_be_empty(&loaded.profile, &selection)?;
    }
    let text = match arguments.format {
        ReportFormat::Json => json(&timeline)?,
        ReportFormat::Text if timeline.is_empty() => {
            bail!("there are no samples to show over time")
        }
        ReportFormat::Text => text::text(&timeline, has_colours()),
    };
    to_stdout(text.as_bytes()).context("cannot write the timeline")?;
    Ok(loaded.exit())
}

/// How many columns the standard output has, if it is a terminal that says so.
fn width_of_terminal() -> Option<u64> {
    let size = tcgetwinsize(io::stdout()).ok()?;
    Some(size.ws_col.into()).filter(|&columns| columns > 0)
}

/// Whether the standard output shows colours, and may.
fn has_colours() -> bool {
    let is_refused = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    let is_dumb = std::env::var_os("TERM").is_some_and(|term| term == "dumb");
    io::stdout().is_terminal() && !is_refused && !is_dumb
}
