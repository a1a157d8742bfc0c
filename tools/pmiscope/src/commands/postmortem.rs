//! `postmortem` and `log`: what a kernel knew, from its memory.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context as _, Result, bail};
use kernel_core::log_ring::Messages;

use super::print;
use super::run::plan::{built, read_kernel};
use super::symbols::separate_files;
use crate::attach::{Copies, Image, Regions};
use crate::cli::{LogArgs, PostmortemArgs};
use crate::control;
use crate::exit::Exit;
use crate::output::say;
use crate::postmortem::{self, Files, Newest, Story};
use crate::symbols::{BuildId, Owner, SymbolFile, SymbolFiles};

/// The samples of each core that are shown.
const SAMPLES: usize = 3;

pub(super) fn postmortem(arguments: &PostmortemArgs) -> Result<Exit> {
    let image = Image::open_for(&arguments.memory, "postmortem")?;
    let path = built(arguments.elf.as_deref(), "kernel")?;
    let (mut kernel, build_id) = read_kernel(&path)?;
    let dead = postmortem::find(&image, Some(build_id))?;
    if dead.build_id() != build_id {
        bail!(
            "{} is not the kernel in {}: its build-id is {build_id}, the memory's {}: its names would be wrong; say which it is by --elf KERNEL",
            path.display(),
            image.name(),
            dead.build_id()
        );
    }
    let debug_files = separate_files(&mut kernel, (&path, build_id), &arguments.debug_file)?;
    let files = symbol_files(&path, &kernel, &debug_files)?;
    let mut files = Files::new(&files, &dead);
    let (newest, problem) = newest(&image, build_id);
    let (text, mut lacks) = Story::new(&dead, &mut files, &newest).whole();
    lacks.extend(problem);
    print(&text)?;
    Ok(conclude(&lacks))
}

/// Says what cannot be read.
fn conclude(lacks: &[String]) -> Exit {
    lacks.iter().for_each(|lack| say!("pmiscope: {lack}"));
    if lacks.is_empty() {
        Exit::Success
    } else {
        Exit::Incomplete
    }
}

/// The last samples of each core of the kernel's run, or why there are none.
fn newest(image: &Image, build_id: BuildId) -> (Vec<Newest>, Option<String>) {
    let copies = match Copies::new(image) {
        Ok(copies) => copies,
        Err(problem) => return (Vec::new(), Some(format!("no samples: {problem:#}"))),
    };
    let regions = Regions::copied(&copies);
    let unreadable = regions.unreadable.clone();
    let Some(region) = regions.latest_of(build_id) else {
        let why = unreadable.map(|why| format!("no samples: {why}"));
        return (Vec::new(), why);
    };
    (postmortem::newest_of(&region, SAMPLES), None)
}

/// The symbols of a kernel and of what was split off it.
pub(super) fn symbol_files(
    path: &Path,
    kernel: &Arc<[u8]>,
    debug_files: &[SymbolFile],
) -> Result<SymbolFiles> {
    let mut files = SymbolFiles::default();
    let file = SymbolFile::at(path, Arc::clone(kernel));
    for file in std::iter::once(file).chain(debug_files.iter().cloned()) {
        let name = file.name.clone();
        files.add(file, Owner::Kernel).context(name)?;
    }
    Ok(files)
}

pub(super) fn log(arguments: &LogArgs) -> Result<Exit> {
    match &arguments.memory {
        Some(path) => {
            let image = Image::open_for(path, "log")?;
            show_log(&postmortem::log_of(&postmortem::find(&image, None)?))
        }
        None => log_of_run(control::run_of(arguments.pid)?),
    }
}

fn show_log(log: &Messages) -> Result<Exit> {
    let (text, lacks) = postmortem::text(log);
    print(&text)?;
    Ok(conclude(&lacks))
}

/// The log in the memory of the guest of a `pmiscope run`, which is one of its files without a name.
fn log_of_run(pid: u32) -> Result<Exit> {
    let folder = PathBuf::from(format!("/proc/{pid}/fd"));
    let place = || format!("cannot look into the run of process {pid}");
    for entry in fs::read_dir(&folder).with_context(place)? {
        let path = entry.with_context(place)?.path();
        let is_nameless = fs::read_link(&path)
            .is_ok_and(|target| target.to_string_lossy().ends_with("(deleted)"));
        if !is_nameless {
            continue;
        }
        // The files of logs are no memory, and some are none yet.
        if let Ok(image) = Image::open_for(&path, "log")
            && let Ok(dead) = postmortem::find(&image, None)
        {
            return show_log(&postmortem::log_of_running(&dead));
        }
    }
    bail!("the kernel of the run of process {pid} has not come so far that it has a log in memory")
}
