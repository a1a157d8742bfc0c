//! `report`, `flamegraph` and `export`: what reads a profile.

use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result, bail};

use super::print;
use super::symbols::{files_in, files_of};
use crate::cli::{ExportArgs, ExportFormat, FlamegraphArgs, ProfileArgs, ReportArgs, ReportFormat};
use crate::exit::Exit;
use crate::flame::{self, Root, Stacks};
use crate::output::say;
use crate::profile::Profile;
use crate::report::counts::{self, Counts};
use crate::report::warnings::{Warning, not_taken, warnings};
use crate::report::{self, Options, Report, Selection, SortBy, Tally};
use crate::symbols::Symbols;

/// Functions in a text report, unless asked otherwise.
const TOP: usize = 30;

/// A profile with its symbols.
struct LoadedProfile {
    profile: Profile,
    symbols: Symbols,
}

impl LoadedProfile {
    /// Reads a profile and its symbols, and says what is not whole.
    fn new(arguments: &ProfileArgs) -> Result<Self> {
        let path = &arguments.profile;
        let mut profile = open(path)?;
        let files = files_of(&mut profile, arguments)?;
        let symbols = Symbols::of_files(&files, Some(profile.description.text));
        warn_incomplete(&profile, path);
        Ok(Self { profile, symbols })
    }

    /// The number of the event that is asked for.
    fn event(&self, asked_for: Option<&str>) -> Result<Option<u8>> {
        asked_for
            .map(|text| report::event::find(&self.profile, text))
            .transpose()
    }

    /// Counts samples, and says what makes them misleading.
    fn count(self, selection: Selection) -> CountedProfile {
        let Self { profile, symbols } = self;
        let tally = Tally::new(&profile, symbols.callers(), selection);
        CountedProfile {
            is_as_asked: say(&warnings(&profile, &tally, &symbols)),
            profile,
            symbols,
            tally,
        }
    }
}

/// Says what makes a profile misleading. Returns true if it is what was asked for all the
/// same, and its symbols are of use.
fn say(warnings: &[Warning]) -> bool {
    for warning in warnings {
        say!("pmiscope: warning: {warning}");
    }
    !warnings.iter().any(Warning::is_failure)
}

/// How a command ends that has shown a profile.
fn exit(profile: &Profile, is_as_asked: bool) -> Exit {
    if is_as_asked && profile.incomplete().is_none() {
        Exit::Success
    } else {
        Exit::Incomplete
    }
}

/// A profile whose samples are counted: once for all that is shown of it.
struct CountedProfile {
    profile: Profile,
    symbols: Symbols,
    tally: Tally,
    /// False if it is not what was asked for, or the symbols are of no use for any sample.
    is_as_asked: bool,
}

impl CountedProfile {
    fn print_report(
        &mut self,
        format: ReportFormat,
        sort: SortBy,
        top: Option<usize>,
    ) -> Result<()> {
        let top = match format {
            ReportFormat::Text => Some(top.unwrap_or(TOP)),
            ReportFormat::Json => top,
        };
        let options = Options { sort, top };
        let report = Report::new(&self.profile, &self.tally, &mut self.symbols, options);
        let text = match format {
            ReportFormat::Text => report::text::text(&report, sort),
            ReportFormat::Json => report::json(&report)?,
        };
        print(&text).context("cannot write the report")
    }

    fn stacks(&mut self, root: Option<Root>) -> Stacks {
        Stacks::new(&self.profile, &self.tally, &mut self.symbols, root)
    }

    fn draw(&mut self, root: Option<Root>, output: &Path) -> Result<()> {
        let event = self.tally.selection.event;
        let stacks = self.stacks(root);
        if stacks.is_empty() {
            match event {
                None => bail!("the profile has no samples to draw"),
                Some(_) => bail!("the event has no samples to draw"),
            }
        }
        let mut picture = Vec::new();
        flame::draw(&self.profile, &stacks, event, &mut picture)
            .context("cannot draw the flame graph")?;
        write(
            output,
            &String::from_utf8(picture).context("the flame graph is no text")?,
        )
    }

    fn exit(&self) -> Exit {
        exit(&self.profile, self.is_as_asked)
    }
}

/// Says what of a profile is not whole, if anything is not.
pub(super) fn warn_incomplete(profile: &Profile, path: &Path) {
    if let Some(incomplete) = profile.incomplete() {
        say!("pmiscope: {} is incomplete: {incomplete}", path.display());
    }
}

pub(super) fn report(arguments: &ReportArgs) -> Result<Exit> {
    let loaded = LoadedProfile::new(&arguments.profile)?;
    let cores = loaded.profile.cores();
    let core = arguments.core;
    if let Some(core) = core.filter(|&core| core >= cores) {
        bail!(
            "there is no core {core}: the profile has cores 0 to {}",
            cores - 1
        );
    }
    let event = loaded.event(arguments.event.as_deref())?;
    if Counts::are_in(&loaded.profile.description) {
        let selection = counts::Selection {
            core,
            event,
            per_core: arguments.per_core,
        };
        return print_counts(&loaded.profile, arguments.format, selection);
    }
    let mut counted = loaded.count(Selection { core, event });
    counted.print_report(arguments.format, arguments.sort, arguments.top)?;
    Ok(counted.exit())
}

/// Prints what a run has counted.
fn print_counts(
    profile: &Profile,
    format: ReportFormat,
    selection: counts::Selection,
) -> Result<Exit> {
    let is_as_asked = say(&not_taken(profile));
    let counts = Counts::new(profile, selection);
    let text = match format {
        ReportFormat::Text => counts::text::text(&counts, selection.per_core),
        ReportFormat::Json => counts::json(&counts)?,
    };
    print(&text).context("cannot write the report")?;
    Ok(exit(profile, is_as_asked))
}

pub(super) fn flamegraph(arguments: &FlamegraphArgs) -> Result<Exit> {
    let loaded = LoadedProfile::new(&arguments.profile)?;
    let event = loaded.event(arguments.event.as_deref())?;
    let mut counted = loaded.count(Selection { core: None, event });
    counted.draw(arguments.by, &arguments.output)?;
    Ok(counted.exit())
}

pub(super) fn export(arguments: &ExportArgs) -> Result<Exit> {
    let loaded = LoadedProfile::new(&arguments.profile)?;
    let event = loaded.event(arguments.event.as_deref())?;
    let mut counted = loaded.count(Selection { core: None, event });
    let text = match arguments.format {
        ExportFormat::Folded => {
            let lines = counted.stacks(arguments.by).lines().into_iter();
            lines.map(|line| line + "\n").collect::<String>()
        }
    };
    write(&arguments.output, &text)?;
    Ok(counted.exit())
}

/// Writes a file, or to the standard output for `-`.
fn write(output: &Path, text: &str) -> Result<()> {
    if output == "-" {
        return print(text).context("cannot write to the standard output");
    }
    fs::write(output, text).with_context(|| format!("cannot write {}", output.display()))
}

/// The profile in a file.
pub(super) fn open(path: &Path) -> Result<Profile> {
    let bytes = fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
    Profile::read(bytes).with_context(|| format!("{}", path.display()))
}

/// Shows a run at its end: the report and, beside the profile, the flame graph; or its
/// counts, each core's with `per_core`. The exit status is as if nothing else had happened.
pub(super) fn show_run(path: &Path, format: ReportFormat, per_core: bool) -> Result<Exit> {
    let mut profile = open(path)?;
    warn_incomplete(&profile, path);
    // What there is, whatever was asked for.
    if Counts::are_in(&profile.description) {
        let selection = counts::Selection {
            per_core,
            ..counts::Selection::default()
        };
        let exit = print_counts(&profile, format, selection)?;
        say!("pmiscope: profile      {}", path.display());
        return Ok(exit);
    }
    let files = files_in(&mut profile, path);
    let symbols = Symbols::of_files(&files, Some(profile.description.text));
    let loaded = LoadedProfile { profile, symbols };
    let mut counted = loaded.count(Selection::default());
    // A report that nobody can be shown costs no picture.
    let printed = counted.print_report(format, SortBy::default(), None);
    let picture = (counted.profile.records() > 0).then(|| path.with_extension("svg"));
    if let Some(picture) = &picture {
        counted.draw(None, picture)?;
    }
    say!("pmiscope: profile      {}", path.display());
    if let Some(picture) = picture {
        say!("pmiscope: flame graph  {}", picture.display());
    }
    printed?;
    Ok(counted.exit())
}
