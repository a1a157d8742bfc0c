//! `report` and `flamegraph`: what reads a profile.

use std::fs::File;
use std::io;
use std::path::Path;

use anyhow::{Context as _, Error, Result, anyhow, bail};

use super::print;
use super::programs;
use super::select::may_be_empty;
use super::symbols::{files_in, files_of, symbols_of};
use super::views;
use crate::cli::{FlamegraphArgs, ProfileArgs, ReportArgs, ReportFormat, View};
use crate::exit::{Exit, Usage};
use crate::flame::{self, Root, Stacks};
use crate::input;
use crate::output::{Destination, Target, Working, Written, parts_of, say};
use crate::profile::read::OpenError;
use crate::profile::{EmbeddedProgram, Profile, ReadError};
use crate::report::counts::{self, Counts};
use crate::report::groups::By;
use crate::report::warnings::{Warning, not_taken, warnings};
use crate::report::{self, Only, Options, Report, Selection, SortBy, Tally, event};
use crate::symbols::callframe::Callers;
use crate::symbols::{SymbolFiles, Symbols};

/// What counts samples.
type Count = fn(&Profile, &Callers, Selection) -> Result<Tally, ReadError>;

/// Functions in a text report, unless asked otherwise.
const TOP: usize = 30;

/// A profile with its symbols.
pub(super) struct LoadedProfile {
    pub profile: Profile,
    pub symbols: Symbols,
    /// The files of the user's programs.
    pub programs: Vec<EmbeddedProgram>,
    pub has_names_alone: bool,
}

impl LoadedProfile {
    /// Reads a profile and its symbols, and says what is not whole.
    pub(super) fn new(arguments: &ProfileArgs) -> Result<Self> {
        Ok(Self::with_files(arguments)?.0)
    }

    /// The same with the files that the symbols are from.
    pub(super) fn with_files(arguments: &ProfileArgs) -> Result<(Self, SymbolFiles)> {
        let (loaded, files) = Self::quietly(arguments)?;
        warn_incomplete(&loaded.profile, &arguments.profile);
        Ok((loaded, files))
    }

    /// The same without a word.
    pub(super) fn quietly(arguments: &ProfileArgs) -> Result<(Self, SymbolFiles)> {
        let mut profile = open(&arguments.profile)?;
        refuse_files(&profile, arguments)?;
        let programs = programs::of_profile(&mut profile, arguments)?;
        let files = files_of(&mut profile, arguments)?;
        let is_given = arguments.elf.is_some() || !arguments.debug_file.is_empty();
        let symbols = symbols_of(&mut profile, &files, is_given);
        let path = &arguments.profile;
        let mut symbols = symbols.with_context(|| path.display().to_string())?;
        programs::add(&mut symbols, &programs, profile.end.as_ref());
        let loaded = Self {
            has_names_alone: files.is_empty(),
            profile,
            symbols,
            programs,
        };
        Ok((loaded, files))
    }

    /// How a command ends that has shown it.
    pub(super) fn exit(&self) -> Exit {
        exit(&self.profile, true)
    }

    /// Counts samples, of which there are to be some, and says what makes them misleading.
    pub(super) fn count(self, selection: Selection) -> Result<CountedProfile> {
        self.count_by(Tally::new, selection)
    }

    /// The same with what [`CountedProfile::print_report`] shows beside: the costs of the handler.
    pub(super) fn count_for_report(self, selection: Selection) -> Result<CountedProfile> {
        self.count_by(Tally::with_costs, selection)
    }

    fn count_by(self, count: Count, selection: Selection) -> Result<CountedProfile> {
        let mut counted = self.count_quietly_by(count, selection)?;
        if counted.tally.samples() == 0 {
            may_be_empty(&counted.profile, &counted.tally.selection)?;
        }
        counted.is_as_asked = warn(&counted.warnings);
        Ok(counted)
    }

    /// The same without a word.
    pub(super) fn count_quietly_for_report(self, selection: Selection) -> Result<CountedProfile> {
        self.count_quietly_by(Tally::with_costs, selection)
    }

    fn count_quietly_by(self, count: Count, selection: Selection) -> Result<CountedProfile> {
        let Self {
            profile,
            mut symbols,
            has_names_alone,
            ..
        } = self;
        let working = Working::new("counting samples");
        let tally = count(&profile, symbols.callers(), selection)?;
        symbols.resolve(tally.addresses());
        drop(working);
        let warnings = warnings(&profile, &tally, &symbols)?;
        Ok(CountedProfile {
            is_as_asked: true,
            warnings,
            has_names_alone,
            profile,
            symbols,
            tally,
        })
    }
}

/// Says what makes a profile misleading. Returns true if it is what was asked for all the
/// same, and its symbols are of use.
fn warn(warnings: &[Warning]) -> bool {
    for warning in warnings {
        say!("pmiscope: warning: {warning}");
    }
    !warnings.iter().any(Warning::is_failure)
}

/// How a command ends that has shown a profile.
pub(super) fn exit(profile: &Profile, is_as_asked: bool) -> Exit {
    if is_as_asked && profile.incomplete().is_none() {
        Exit::Success
    } else {
        Exit::Incomplete
    }
}

/// A profile whose samples are counted: once for all that is shown of it.
pub(super) struct CountedProfile {
    pub profile: Profile,
    pub symbols: Symbols,
    pub tally: Tally,
    warnings: Vec<Warning>,
    /// Whether there is no file of the kernel's.
    pub has_names_alone: bool,
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
        let report = self.report(Options { sort, top })?;
        let text = match format {
            ReportFormat::Text => report::text::text(&report, sort),
            ReportFormat::Json => report::json(&report)?,
        };
        print(&text).context("cannot write the report")
    }

    pub(super) fn report(&self, options: Options) -> Result<Report> {
        let known = (&self.symbols, &self.warnings[..]);
        let report = Report::with_warnings(&self.profile, &self.tally, known, options)?;
        Ok(report)
    }

    pub(super) fn stacks(&mut self, root: Option<Root>) -> Result<Stacks> {
        let by = root.map(|root| match root {
            Root::Core => By::Core,
            Root::Task => By::Task,
        });
        self.can_group_by(by.as_slice())?;
        let stacks = Stacks::new(&self.profile, &self.tally, &mut self.symbols, root)?;
        Ok(stacks)
    }

    /// The flame graph, as SVG.
    fn picture(&mut self, root: Option<Root>) -> Result<Vec<u8>> {
        let events = self.tally.selection.events.clone();
        let stacks = self.stacks(root)?;
        if stacks.is_empty() {
            bail!("{} to draw", self.lacks_samples());
        }
        let mut picture = Vec::new();
        flame::draw(&self.profile, &stacks, &events, &mut picture)
            .context("cannot draw the flame graph")?;
        Ok(picture)
    }

    /// The names of the events whose samples are added where they are shown together, if there are
    /// several.
    pub(super) fn added_events(&self) -> Option<String> {
        let events = event::seen(&self.tally);
        let names = event::names(&self.profile, &events);
        (events.len() > 1).then(|| names.join(", "))
    }

    /// Says that samples of several events are added.
    pub(super) fn note_added(&self) {
        if let Some(events) = self.added_events() {
            say!(
                "pmiscope: note: samples of several events are added ({events}): --event takes one's alone"
            );
        }
    }

    /// Says that there are no samples: in the profile, or of those that were asked for.
    pub(super) fn lacks_samples(&self) -> &'static str {
        let selection = &self.tally.selection;
        if !selection.is_plain() || selection.cores != Only::All {
            return "the selection has no samples";
        }
        match selection.events.these() {
            None => "the profile has no samples",
            Some([_]) => "the event has no samples",
            Some(_) => "the events have no samples",
        }
    }

    fn exit(&self) -> Exit {
        exit(&self.profile, self.is_as_asked)
    }

    /// The same where nothing comes behind. To free all that a report was made of, piece by piece,
    /// would take a part of the time that it took.
    pub(super) fn leave(self) -> Exit {
        let exit = self.exit();
        std::mem::forget(self);
        exit
    }
}

/// Says what of a profile is not whole, if anything is not.
pub(super) fn warn_incomplete(profile: &Profile, path: &Path) {
    if let Some(incomplete) = profile.incomplete() {
        say!("pmiscope: {} is incomplete: {incomplete}", path.display());
    }
}

pub(super) fn report(arguments: &ReportArgs) -> Result<Exit> {
    if let Some(by) = arguments.view.twice() {
        bail!(Usage(format!("--by: {} is there twice", by.name())));
    }
    let view = arguments.view.view(arguments.select.frames.focus.is_some());
    if view == View::Focus && arguments.sort.is_some() {
        bail!(Usage(
            "--sort: callers and callees stand by their samples: say --by function".to_owned()
        ));
    }
    if view != View::Report {
        return views::show(view, arguments);
    }
    let mut loaded = LoadedProfile::new(&arguments.profile)?;
    let selection = loaded.select(&arguments.select)?;
    if Counts::are_in(&loaded.profile.description) {
        let selection = counts::Selection {
            cores: selection.cores,
            events: selection.events,
            per_core: arguments.per_core,
        };
        return print_counts(&loaded, arguments.format, selection);
    }
    if arguments.per_core {
        bail!("--per-core: the profile has samples and no counts of events: say --by core");
    }
    let mut counted = loaded.count_for_report(selection)?;
    let sort = arguments.sort.unwrap_or_default();
    counted.print_report(arguments.format, sort, arguments.top)?;
    Ok(counted.leave())
}

/// Prints what a run has counted.
fn print_counts(
    loaded: &LoadedProfile,
    format: ReportFormat,
    selection: counts::Selection,
) -> Result<Exit> {
    let LoadedProfile {
        profile, symbols, ..
    } = loaded;
    let is_as_asked = warn(&not_taken(profile));
    let mut counts = Counts::new(profile, &selection);
    counts.add_processes(profile, symbols);
    if let Some(lacking) = &counts.processes_lacking {
        say!("pmiscope: {lacking}");
    }
    let is_as_asked = is_as_asked && counts.processes_lacking.is_none();
    let text = match format {
        ReportFormat::Text => counts::text::text(&counts, selection.per_core),
        ReportFormat::Json => counts::json(&counts)?,
    };
    print(&text).context("cannot write the report")?;
    Ok(exit(profile, is_as_asked))
}

/// Where an export goes: not over what it is made of.
pub(super) fn destination(output: &Path, arguments: &ProfileArgs) -> Result<Destination> {
    let elf = arguments.elf.as_deref().map(|elf| ("the ELF file", elf));
    let debug = arguments.debug_file.iter();
    let debug = debug.map(|file| ("a file with debug information", &**file));
    let read = [("the profile", &*arguments.profile)];
    Destination::new(output, read.into_iter().chain(elf).chain(debug))
}

pub(super) fn flamegraph(arguments: &FlamegraphArgs) -> Result<Exit> {
    let output = destination(&arguments.output, &arguments.profile)?;
    let mut loaded = LoadedProfile::new(&arguments.profile)?;
    let selection = loaded.select(&arguments.select)?;
    let mut counted = loaded.count(selection)?;
    output.write(&counted.picture(arguments.by)?)?;
    counted.note_added();
    Ok(counted.leave())
}

/// What is said of a profile that another profiler has recorded where code is asked for.
pub(super) const NAMES_ALONE: &str =
    "the profile was imported: it has the names of functions, and no code or addresses";

/// Refuses files with names for a profile whose addresses are none: names would be wrong.
pub(super) fn refuse_files(profile: &Profile, arguments: &ProfileArgs) -> Result<()> {
    let given = [
        ("--elf", arguments.elf.is_some()),
        ("--debug-file", !arguments.debug_file.is_empty()),
        ("--program", !arguments.program.is_empty()),
    ];
    let given = given.into_iter().find(|(_, is_given)| *is_given);
    if let (Some((option, _)), Some(_)) = (given, &profile.host.imported) {
        bail!("{option}: {NAMES_ALONE}: files with names are given to pmiscope import");
    }
    Ok(())
}

/// The profile in a file.
pub(super) fn open(path: &Path) -> Result<Profile> {
    let path = input::named(path);
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) => {
            let part = match &parts_of(path)[..] {
                [part, ..] if error.kind() == io::ErrorKind::NotFound => {
                    format!(
                        "; {} is of a run that has not come to its end",
                        part.display()
                    )
                }
                _ => String::new(),
            };
            bail!("cannot read {}: {error}{part}", path.display())
        }
    };
    Profile::open(file).map_err(|error| match error {
        OpenError::Io(error) => anyhow!("cannot read {}: {error}", path.display()),
        OpenError::Profile(error) => Error::new(error).context(path.display().to_string()),
    })
}

/// Says where a run's profile is, or that it is another run's by now, and returns what of the
/// two it is: [`Exit::Success`] or [`Exit::Incomplete`].
fn say_where(written: &Written) -> Exit {
    if !written.is_in_place() {
        return say_lost(written);
    }
    say!("pmiscope: profile      {}", written.path().display());
    Exit::Success
}

fn say_lost(written: &Written) -> Exit {
    say!(
        "pmiscope: {} is another run's by now, and this one's is lost: give each its own -o",
        written.path().display()
    );
    Exit::Incomplete
}

/// Shows a run at its end: the report and the flame graph; or its counts, each core's with
/// `per_core`. The exit status is as if nothing else had happened.
///
/// Shown is what this run has written, whoever else has written the file since.
pub(super) fn show_run(
    (written, picture): (&Written, Option<&Target>),
    format: ReportFormat,
    per_core: bool,
) -> Result<Exit> {
    let loaded = open_written(written)?;
    warn_incomplete(&loaded.profile, written.path());
    // What there is, whatever was asked for.
    if Counts::are_in(&loaded.profile.description) {
        let selection = counts::Selection {
            per_core,
            ..counts::Selection::default()
        };
        let exit = print_counts(&loaded, format, selection)?;
        return Ok(exit.or(say_where(written)));
    }
    let mut counted = loaded.count_for_report(Selection::default())?;
    // If the report cannot be written, the picture still is.
    let printed = counted.print_report(format, SortBy::default(), None);
    let mut kept = say_where(written);
    if let Some(picture) = picture.filter(|_| kept == Exit::Success) {
        kept = draw(&mut counted, written, picture)?;
    }
    printed?;
    Ok(counted.exit().or(kept))
}

/// Reads what a run has written, with its symbols.
pub(super) fn open_written(written: &Written) -> Result<LoadedProfile> {
    let path = written.path();
    let file = written.open();
    let file = file.with_context(|| format!("cannot read {} back", path.display()))?;
    let mut profile = Profile::open(file).with_context(|| path.display().to_string())?;
    let programs = programs::in_profile(&mut profile);
    let files = files_in(&mut profile, path);
    let mut symbols = symbols_of(&mut profile, &files, false)?;
    programs::add(&mut symbols, &programs, profile.end.as_ref());
    Ok(LoadedProfile {
        has_names_alone: files.is_empty(),
        profile,
        symbols,
        programs,
    })
}

/// Writes the flame graph of a run, if it has samples, beside its profile.
fn draw(counted: &mut CountedProfile, written: &Written, picture: &Target) -> Result<Exit> {
    if counted.profile.records() == 0 {
        return Ok(Exit::Success);
    }
    let bytes = counted.picture(None)?;
    let is_beside = picture
        .write_beside(written, &bytes)
        .with_context(|| format!("cannot write {}", picture.path().display()))?;
    if !is_beside {
        return Ok(say_lost(written));
    }
    say!("pmiscope: flame graph  {}", picture.path().display());
    Ok(Exit::Success)
}
