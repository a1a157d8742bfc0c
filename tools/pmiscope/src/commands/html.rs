//! `html`: a profile as one page.

use std::path::Path;

use anyhow::{Result, bail};

use super::show::{CountedProfile, LoadedProfile, destination};
use crate::cli::{HtmlArgs, ProfileArgs};
use crate::exit::Exit;
use crate::export::Export;
use crate::page::{self, Shown};
use crate::report::counts::Counts;
use crate::report::{Options, Report, Selection};
use crate::symbols::Lines;

pub(super) fn html(arguments: &HtmlArgs) -> Result<Exit> {
    let output = destination(&arguments.output, &arguments.profile)?;
    let event = arguments.event.as_deref();
    let mut counted = Vec::new();
    if let Some(base) = &arguments.base {
        counted.push(Loaded::new(&ProfileArgs::of_file(base), event)?);
    }
    counted.push(Loaded::new(&arguments.profile, event)?);
    let mut exports = Vec::new();
    for loaded in &mut counted {
        exports.push(loaded.export()?);
    }
    let shown: Vec<_> = exports.iter().map(Exported::shown).collect();
    let page = page::page(&shown)?;
    output.write(page.as_bytes())?;
    drop(exports);
    let exits = counted.into_iter().map(|loaded| loaded.counted.leave());
    Ok(exits.fold(Exit::Success, Exit::or))
}

/// A profile whose samples are counted, with the lines of its kernel's source.
struct Loaded {
    name: String,
    counted: CountedProfile,
    lines: Lines,
}

/// The same with all that a page shows.
struct Exported<'a> {
    name: &'a str,
    report: Report,
    export: Export<'a>,
}

impl Loaded {
    fn new(arguments: &ProfileArgs, event: Option<&str>) -> Result<Self> {
        let (loaded, files) = LoadedProfile::with_files(arguments)?;
        if Counts::are_in(&loaded.profile.description) {
            bail!("the profile has counts of events and no samples: pmiscope report shows them");
        }
        let event = loaded.event(event)?;
        let counted = loaded.count(Selection { core: None, event })?;
        Ok(Self {
            name: name_of(&arguments.profile),
            counted,
            lines: Lines::of_files(&files),
        })
    }

    fn export(&mut self) -> Result<Exported<'_>> {
        let report = self.counted.report(Options::default())?;
        let symbols = (&self.counted.tally, &mut self.counted.symbols);
        Ok(Exported {
            name: &self.name,
            report,
            export: Export::new(&self.counted.profile, symbols, &self.lines)?,
        })
    }
}

impl Exported<'_> {
    fn shown(&self) -> Shown<'_> {
        Shown {
            name: self.name.to_owned(),
            export: &self.export,
            report: &self.report,
        }
    }
}

/// What a page calls the profile in this file.
fn name_of(path: &Path) -> String {
    let name = path.file_name().unwrap_or(path.as_os_str());
    name.to_string_lossy().into_owned()
}
