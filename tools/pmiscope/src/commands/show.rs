//! `report`, `flamegraph` and `export`: what reads a profile.

use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result, bail};

use super::print;
use crate::cli::{ExportArgs, ExportFormat, FlamegraphArgs, ProfileArgs, ReportArgs, ReportFormat};
use crate::exit::Exit;
use crate::flame::{self, Root};
use crate::profile::Profile;
use crate::report::counts::{self, Counts};
use crate::report::{self, Options, Report, Selection};
use crate::symbols::{self, BuildId, Symbols};

/// Functions in a text report, unless asked otherwise.
const TOP: usize = 30;

/// A profile with its symbols.
struct Opened {
    profile: Profile,
    symbols: Symbols,
}

impl Opened {
    /// Reads a profile and its symbols; says what is not whole.
    fn new(arguments: &ProfileArgs) -> Result<Self> {
        let path = &arguments.profile;
        let profile = open(path)?;
        let symbols = match &arguments.elf {
            Some(elf) => Symbols::new(&checked_elf(elf, &profile, arguments.force)?)
                .with_context(|| format!("{}", elf.display()))?,
            None => embedded_symbols(&profile)
                .with_context(|| format!("{}: the kernel in it", path.display()))?,
        };
        say_incomplete(&profile, path);
        Ok(Self { profile, symbols })
    }

    /// The number of the event that is asked for.
    fn event(&self, asked_for: Option<&str>) -> Result<Option<u8>> {
        asked_for
            .map(|text| report::event::find(&self.profile, text))
            .transpose()
    }

    fn exit(&self) -> Exit {
        match self.profile.incomplete() {
            None => Exit::Success,
            Some(_) => Exit::Incomplete,
        }
    }
}

/// Says what of a profile is not whole, if anything is not.
pub(super) fn say_incomplete(profile: &Profile, path: &Path) {
    if let Some(incomplete) = profile.incomplete() {
        eprintln!("pmiscope: {} is incomplete: {incomplete}", path.display());
    }
}

/// The symbols that are in the profile itself.
fn embedded_symbols(profile: &Profile) -> Result<Symbols, symbols::BadElf> {
    match &profile.kernel {
        Some(elf) => Symbols::new(elf),
        None => Ok(Symbols::without_elf()),
    }
}

/// The content of another file, if it is the profile's kernel.
pub(super) fn checked_elf(elf: &Path, profile: &Profile, force: bool) -> Result<Vec<u8>> {
    let bytes = fs::read(elf).with_context(|| format!("cannot read {}", elf.display()))?;
    let wanted = BuildId(profile.description.build_id);
    let found = symbols::build_id(&bytes);
    if !force {
        let found = found.with_context(|| format!("{}", elf.display()))?;
        if found != wanted {
            bail!(
                "{} has build-id {found} and the profile's kernel {wanted}: its names would be wrong; give that kernel, or --force to take them all the same",
                elf.display()
            );
        }
    }
    Ok(bytes)
}

pub(super) fn report(arguments: &ReportArgs) -> Result<Exit> {
    let mut opened = Opened::new(&arguments.profile)?;
    let cores = opened.profile.cores();
    if let Some(core) = arguments.core.filter(|&core| core >= cores) {
        bail!(
            "there is no core {core}: the profile has cores 0 to {}",
            cores - 1
        );
    }
    let event = opened.event(arguments.event.as_deref())?;
    if Counts::are_in(&opened.profile.description) {
        let selection = counts::Selection {
            core: arguments.core,
            event,
            per_core: arguments.per_core,
        };
        print_counts(&opened.profile, arguments.format, selection)?;
        return Ok(opened.exit());
    }
    let options = Options {
        selection: Selection {
            core: arguments.core,
            event,
        },
        sort: arguments.sort,
        top: arguments.top,
    };
    print_report(
        &opened.profile,
        &mut opened.symbols,
        arguments.format,
        options,
    )?;
    Ok(opened.exit())
}

fn print_report(
    profile: &Profile,
    symbols: &mut Symbols,
    format: ReportFormat,
    mut options: Options,
) -> Result<()> {
    if format == ReportFormat::Text {
        options.top = Some(options.top.unwrap_or(TOP));
    }
    let report = Report::new(profile, symbols, options);
    let text = match format {
        ReportFormat::Text => report::text::text(&report, options.sort),
        ReportFormat::Json => report::json(&report)?,
    };
    print(&text).context("cannot write the report")
}

/// Prints what a run has counted.
pub(super) fn print_counts(
    profile: &Profile,
    format: ReportFormat,
    selection: counts::Selection,
) -> Result<()> {
    let counts = Counts::new(profile, selection);
    let text = match format {
        ReportFormat::Text => counts::text::text(&counts, selection.per_core),
        ReportFormat::Json => counts::json(&counts)?,
    };
    print(&text).context("cannot write the report")
}

pub(super) fn flamegraph(arguments: &FlamegraphArgs) -> Result<Exit> {
    let mut opened = Opened::new(&arguments.profile)?;
    let event = opened.event(arguments.event.as_deref())?;
    draw(
        &opened.profile,
        &mut opened.symbols,
        (arguments.by, event),
        &arguments.output,
    )?;
    Ok(opened.exit())
}

fn draw(
    profile: &Profile,
    symbols: &mut Symbols,
    (by, event): (Option<Root>, Option<u8>),
    output: &Path,
) -> Result<()> {
    let folded = flame::folded(profile, symbols, by, event);
    if folded.is_empty() {
        match event {
            None => bail!("the profile has no samples to draw"),
            Some(_) => bail!("the event has no samples to draw"),
        }
    }
    let mut picture = Vec::new();
    flame::draw(profile, &folded, event, &mut picture).context("cannot draw the flame graph")?;
    write(
        output,
        &String::from_utf8(picture).context("the flame graph is no text")?,
    )
}

pub(super) fn export(arguments: &ExportArgs) -> Result<Exit> {
    let mut opened = Opened::new(&arguments.profile)?;
    let event = opened.event(arguments.event.as_deref())?;
    let text = match arguments.format {
        ExportFormat::Folded => {
            let lines = flame::folded(&opened.profile, &mut opened.symbols, arguments.by, event);
            lines
                .into_iter()
                .map(|line| line + "\n")
                .collect::<String>()
        }
    };
    write(&arguments.output, &text)?;
    Ok(opened.exit())
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

/// What `run` shows at its end: the report, and the flame graph beside it, whose
/// path is given if there was anything to draw.
pub(super) fn show_run(path: &Path, format: ReportFormat) -> Result<Option<std::path::PathBuf>> {
    let profile = open(path)?;
    let mut symbols = embedded_symbols(&profile).context("the kernel's symbols")?;
    print_report(&profile, &mut symbols, format, Options::default())?;
    let picture = path.with_extension("svg");
    if profile.records() == 0 {
        return Ok(None);
    }
    draw(&profile, &mut symbols, (None, None), &picture)?;
    Ok(Some(picture))
}
