//! `html`: a profile as one page.

use std::path::Path;
use std::time::SystemTime;

use anyhow::{Context as _, Result, bail};

use super::annotate::{say_changed, written_at};
use super::diff::are_comparable;
use super::show::{CountedProfile, LoadedProfile, destination};
use crate::annotate::{Listings, Sources, Syntax};
use crate::cli::{HtmlArgs, ProfileArgs, SelectArgs, SourceArgs};
use crate::exit::Exit;
use crate::export::Export;
use crate::page::{self, Shown};
use crate::report::counts::Counts;
use crate::report::{Options, Report};
use crate::symbols::{Lines, SymbolFiles};

/// The functions of the report that a page has in its text.
const REPORTED: usize = 30;
/// The most instructions of a page: those of the functions with the most samples.
const MOST_INSTRUCTIONS: usize = 40_000;

pub(super) fn html(arguments: &HtmlArgs) -> Result<Exit> {
    let output = destination(&arguments.output, &arguments.profile)?;
    let mut counted = Vec::new();
    if let Some(base) = &arguments.base {
        counted.push(Loaded::new(&ProfileArgs::of_file(base), &arguments.select)?);
    }
    counted.push(Loaded::new(&arguments.profile, &arguments.select)?);
    let of_several = counted
        .iter()
        .find_map(|loaded| loaded.counted.added_events());
    if let Some(events) = of_several.filter(|_| arguments.base.is_some()) {
        bail!("--base: two profiles are compared by one event: say which by --event ({events})");
    }
    if let [base, after] = &counted[..] {
        are_comparable([(&base.name, &base.counted), (&after.name, &after.counted)])
            .context("--base")?;
    }
    let mut exports = Vec::new();
    for loaded in &mut counted {
        exports.push(loaded.export(&arguments.source)?);
    }
    let shown: Vec<_> = exports.iter().map(Exported::shown).collect();
    let page = page::page(&shown)?;
    output.write(page.as_bytes())?;
    exports
        .iter()
        .for_each(|export| say_changed(&export.sources));
    drop(shown);
    drop(exports);
    let exits = counted.into_iter().map(|loaded| loaded.counted.leave());
    Ok(exits.fold(Exit::Success, Exit::or))
}

/// A profile whose samples are counted, with the lines of its kernel's source.
pub(super) struct Loaded {
    pub name: String,
    written: Option<SystemTime>,
    counted: CountedProfile,
    lines: Lines,
}

/// The same with all that a page shows.
pub(super) struct Exported<'a> {
    name: &'a str,
    report: Report,
    export: Export<'a>,
    listings: Listings,
    sources: Sources<'a>,
}

impl Loaded {
    fn new(arguments: &ProfileArgs, select: &SelectArgs) -> Result<Self> {
        let (loaded, files) = LoadedProfile::with_files(arguments)?;
        Self::of((loaded, files), arguments, |mut loaded| {
            let selection = loaded.select(select)?;
            loaded.count_for_report(selection)
        })
    }

    /// The same, without a word of what makes it misleading: the page says it.
    pub(super) fn quietly(arguments: &ProfileArgs, select: &SelectArgs) -> Result<Self> {
        let (loaded, files) = LoadedProfile::quietly(arguments)?;
        Self::of((loaded, files), arguments, |mut loaded| {
            let selection = loaded.select(select)?;
            loaded.count_quietly_for_report(selection)
        })
    }

    fn of(
        (loaded, files): (LoadedProfile, SymbolFiles),
        arguments: &ProfileArgs,
        count: impl FnOnce(LoadedProfile) -> Result<CountedProfile>,
    ) -> Result<Self> {
        if Counts::are_in(&loaded.profile.description) {
            bail!("the profile has counts of events and no samples: pmiscope report shows them");
        }
        let counted = count(loaded)?;
        Ok(Self {
            name: name_of(&arguments.profile),
            written: written_at(&arguments.profile),
            lines: Lines::of_run(&files, &counted.symbols, counted.tally.addresses()),
            counted,
        })
    }

    pub(super) fn export<'a>(&'a mut self, source: &'a SourceArgs) -> Result<Exported<'a>> {
        let report = self.counted.report(Options {
            top: Some(REPORTED),
            ..Options::default()
        })?;
        let seen = self.counted.tally.places();
        let others = self.counted.tally.addresses().map(|address| (address, 0));
        let addresses: Vec<_> = seen.chain(others).collect();
        let tables = (&mut self.counted.symbols, &self.lines);
        let listings = Listings::new(
            addresses.into_iter(),
            tables,
            (Syntax::Intel, MOST_INSTRUCTIONS),
        );
        let sources = Sources::new(&self.lines, &source.source, self.written);
        let symbols = (&self.counted.tally, &mut self.counted.symbols);
        Ok(Exported {
            name: &self.name,
            report,
            export: Export::new(&self.counted.profile, symbols, &self.lines),
            listings,
            sources: sources.only_if(!source.no_source),
        })
    }
}

impl Exported<'_> {
    pub(super) fn shown(&self) -> Shown<'_> {
        Shown {
            name: self.name.to_owned(),
            export: &self.export,
            report: &self.report,
            listings: &self.listings,
            sources: &self.sources,
        }
    }
}

/// What a page calls the profile in this file.
fn name_of(path: &Path) -> String {
    let name = path.file_name().unwrap_or(path.as_os_str());
    name.to_string_lossy().into_owned()
}
