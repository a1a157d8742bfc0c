//! `annotate`: a function's source and instructions, with samples.

use std::fs;
use std::path::Path;
use std::time::SystemTime;

use anyhow::{Context as _, Result, bail};

use super::print;
use super::show::{CountedProfile, LoadedProfile, NAMES_ALONE};
use crate::annotate::{self, Listings, Meant, Sources};
use crate::cli::{AnnotateArgs, ReportFormat};
use crate::exit::{Exit, Usage};
use crate::export::Export;
use crate::output::{json, say};
use crate::report::counts::Counts;
use crate::report::{Pattern, Stack};
use crate::symbols::Lines;

/// The most instructions that are decoded: far more than a person reads.
const MOST_INSTRUCTIONS: usize = 1 << 20;

/// Of a profile that travels with names alone, or without its kernel.
const NO_CODE: &str = "the profile has no code to show: give the kernel that ran by --elf";

pub(super) fn annotate(arguments: &AnnotateArgs) -> Result<Exit> {
    refuse_mark(&arguments.function)?;
    let (mut loaded, files) = LoadedProfile::with_files(&arguments.profile)?;
    if loaded.profile.host.imported.is_some() {
        bail!("{NAMES_ALONE}: there is nothing to annotate");
    }
    if loaded.has_names_alone {
        bail!("{NO_CODE}");
    }
    if Counts::are_in(&loaded.profile.description) {
        bail!("the profile has counts of events and no samples: pmiscope report shows them");
    }
    let selection = loaded.select(&arguments.select)?;
    let mut counted = loaded.count(selection)?;
    have_a_sum(&counted)?;
    let lines = Lines::of_run(&files, &counted.symbols, counted.tally.addresses());
    // Before names are told apart, as more functions are looked up here than have samples.
    let meant = Meant::new(&counted.tally, &counted.symbols, &arguments.function);
    let tables = (&mut counted.symbols, &lines);
    let listings = Listings::new(
        meant.addresses().map(|address| (address, 1)),
        tables,
        (arguments.syntax, MOST_INSTRUCTIONS),
    );
    let symbols = (&counted.tally, &mut counted.symbols);
    let is_shown = |stack: &Stack<'_>| meant.is_on(stack);
    let export = Export::of_stacks(&counted.profile, symbols, &lines, is_shown);
    let functions = chosen(&export, &arguments.function)?;
    let written = written_at(&arguments.profile.profile);
    let sources = Sources::new(&lines, &arguments.source.source, written);
    let sources = sources.only_if(!arguments.source.no_source);
    let chosen = (&functions[..], arguments.top);
    let annotations = annotate::annotate(&export, &listings, &sources, chosen);
    let left_out = functions.len() - annotations.len();
    let text = match arguments.format {
        ReportFormat::Text => annotate::text(&annotations, &sources),
        ReportFormat::Json => json(&annotations)?,
    };
    print(&text).context("cannot write the code")?;
    say_changed(&sources);
    if left_out > 0 {
        say!("pmiscope: note: {left_out} more match: --top shows more");
    }
    drop(export);
    Ok(counted.leave())
}

/// Refuses what stands among frames and has no code.
fn refuse_mark(function: &Pattern) -> Result<()> {
    if function.is_mark() {
        bail!(
            "{function} is no function and has no code: what stands in brackets says what was crossed between frames, or where a chain was cut; pmiscope report --focus '{function}' shows what is next to it"
        );
    }
    Ok(())
}

/// Refuses what cannot stand at an instruction as one number: no samples, or those of several events.
fn have_a_sum(counted: &CountedProfile) -> Result<()> {
    if counted.tally.samples() == 0 {
        bail!("{}", counted.lacks_samples());
    }
    if let Some(events) = counted.added_events() {
        bail!(
            "annotate shows one event, and samples of several have no sum: say which by --event ({events})"
        );
    }
    Ok(())
}

/// The functions that are meant, by their numbers.
fn chosen(export: &Export<'_>, function: &Pattern) -> Result<Vec<u32>> {
    let functions = || {
        (0..)
            .zip(&export.tree.functions)
            .filter(|(_, it)| !it.name.starts_with('['))
    };
    let numbers = |is_it: &dyn Fn(&str) -> bool| -> Vec<u32> {
        let found = functions().filter(|(_, it)| is_it(&it.name));
        found.map(|(number, _)| number).collect()
    };
    let named = numbers(&|name| function.is_name(name));
    if !named.is_empty() {
        return Ok(named);
    }
    if let Some(problem) = function.problem() {
        bail!(Usage(format!(
            "{function}: no sample has a function of this name on its stack, and it is {problem}"
        )));
    }
    let matching = numbers(&|name| function.is_in(name));
    if matching.is_empty() {
        bail!(
            "no sample has a function {function} on its stack: pmiscope report lists those that have"
        );
    }
    Ok(matching)
}

/// When a profile was written.
pub(super) fn written_at(profile: &Path) -> Option<SystemTime> {
    fs::metadata(profile)
        .and_then(|found| found.modified())
        .ok()
}

/// Says which sources may be of another build.
pub(super) fn say_changed(sources: &Sources<'_>) {
    for file in sources.changed() {
        say!(
            "pmiscope: warning: {file} was changed after the profile was written: its lines may be others"
        );
    }
}
