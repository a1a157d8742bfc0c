//! `embed-symbols`, and the option of that name: names in place of the kernel's files.

use std::io::BufWriter;
use std::path::Path;

use anyhow::{Context as _, Result, bail};

use super::run::plan::Outputs;
use super::show::{CountedProfile, LoadedProfile, open_written};
use crate::cli::EmbedArgs;
use crate::exit::Exit;
use crate::output::{Target, Working, Written, say};
use crate::report::Selection;
use crate::report::counts::Counts;
use crate::symbols::BuildId;
use crate::units::grouped;

/// Writes a profile again, with names in place of files.
pub(super) fn embed(arguments: &EmbedArgs) -> Result<Exit> {
    let profile = &arguments.profile;
    if *arguments.output == *"-" {
        bail!("-o -: a profile is a file: name one");
    }
    let files = profile
        .elf
        .iter()
        .chain(&profile.debug_file)
        .chain(&profile.program);
    let files = files.map(|file| ("a file that names are taken from", file.clone()));
    let read: Vec<_> = files
        .chain([("the profile", profile.profile.clone())])
        .collect();
    // As what a run writes: neither a file that is no profile is written over, nor is it named as a
    // flame graph.
    let target = Outputs::new(&arguments.output, false, &read)?.profile;
    let loaded = LoadedProfile::new(profile)?;
    write(named(loaded)?, &target)
}

/// Puts names into the profile that a run has written, in place of its kernel's files.
pub(super) fn embed_in(written: &Written) -> Result<Exit> {
    if !written.is_in_place() {
        return Ok(Exit::Incomplete);
    }
    let loaded = open_written(written)?;
    if Counts::are_in(&loaded.profile.description) {
        return Ok(Exit::Success);
    }
    let path = written.path().to_owned();
    let problem = || format!("{} has its kernel still, and no names", path.display());
    let target = Target::new(&path)?;
    named(loaded)
        .and_then(|counted| write(counted, &target))
        .with_context(problem)
}

/// The profile with all its addresses resolved.
fn named(loaded: LoadedProfile) -> Result<CountedProfile> {
    if let Some(incomplete) = loaded.profile.incomplete() {
        bail!("the profile is incomplete, and would not say so any more: {incomplete}");
    }
    if Counts::are_in(&loaded.profile.description) {
        bail!("the profile has counts of events and no samples: it needs no names");
    }
    loaded.count(Selection::default())
}

fn write(counted: CountedProfile, target: &Target) -> Result<Exit> {
    let path = target.path();
    let names = counted
        .symbols
        .record(BuildId(counted.profile.description.build_id).to_string());
    let problem = || format!("cannot write {}", path.display());
    let draft = target.begin().with_context(problem)?;
    let file = draft.file().with_context(problem)?;
    let working = Working::new("writing");
    let written = counted
        .profile
        .write_with_names(&names, BufWriter::new(file));
    if let Err(error) = written {
        draft.discard();
        return Err(error).with_context(problem);
    }
    drop(working);
    draft.finish_or_discard().with_context(problem)?;
    say_done(path, names.code.len());
    Ok(counted.leave())
}

fn say_done(path: &Path, addresses: usize) {
    say!(
        "pmiscope: {} has names by address, {} of them, and no file of the kernel's",
        path.display(),
        grouped(addresses as u64)
    );
}
