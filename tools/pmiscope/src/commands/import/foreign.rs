//! `import --perf` and `import --folded`: what other profilers have recorded.

use std::fs;
use std::io::{BufReader, BufWriter, Cursor};
use std::path::Path;

use anyhow::{Context as _, Result};

use crate::cli::ImportArgs;
use crate::commands::run::plan::{Outputs, output};
use crate::commands::show::show_run;
use crate::exit::Exit;
use crate::foreign::perf::KernelNames;
use crate::foreign::{Foreign, folded, perf};
use crate::input;
use crate::output::{Working, say};

/// Makes a profile of a perf.data.
pub(super) fn import_perf(path: &Path, arguments: &ImportArgs) -> Result<Exit> {
    let path = input::named(path);
    let outputs = outputs(path, arguments)?;
    let kernel = arguments
        .kernel
        .as_deref()
        .map(KernelNames::read)
        .transpose()?;
    let name = || path.display().to_string();
    let problem = || format!("cannot read {}", path.display());
    let is_file = fs::metadata(path).with_context(problem)?.is_file();
    let working = Working::new("reading perf.data");
    let (foreign, problems) = if is_file {
        let file = input::open(path).with_context(problem)?;
        perf::read(BufReader::new(file), kernel).with_context(name)?
    } else {
        let bytes = input::read_or_receive(path).with_context(problem)?;
        perf::read(Cursor::new(bytes), kernel).with_context(name)?
    };
    drop(working);
    for problem in problems {
        say!("pmiscope: warning: {problem}");
    }
    finish(foreign, &outputs, arguments)
}

/// Makes a profile of folded stacks.
pub(super) fn import_folded(path: &Path, arguments: &ImportArgs) -> Result<Exit> {
    let path = input::named(path);
    let outputs = outputs(path, arguments)?;
    let text =
        input::read_or_receive(path).with_context(|| format!("cannot read {}", path.display()))?;
    let working = Working::new("reading stacks");
    let read = folded::read(&String::from_utf8_lossy(&text));
    drop(working);
    let (foreign, left_out) = read.with_context(|| path.display().to_string())?;
    if let Some(left_out) = left_out {
        say!("pmiscope: note: {left_out}");
    }
    finish(foreign, &outputs, arguments)
}

fn outputs(read: &Path, arguments: &ImportArgs) -> Result<Outputs> {
    let path = output(arguments.output.as_deref(), "profile.pmi")?;
    let kernel = arguments
        .kernel
        .iter()
        .map(|kernel| ("the kernel", kernel.clone()));
    let read: Vec<_> = kernel
        .chain([("what was recorded", read.to_owned())])
        .collect();
    Outputs::new(&path, true, &read)
}

/// Writes the profile, and shows it.
fn finish(mut foreign: Foreign, outputs: &Outputs, arguments: &ImportArgs) -> Result<Exit> {
    let target = &outputs.profile;
    let problem = || format!("cannot write {}", target.path().display());
    let draft = target.begin().with_context(problem)?;
    let file = draft.file().with_context(problem)?;
    if let Err(error) = foreign.write(BufWriter::new(file)) {
        draft.discard();
        return Err(error).with_context(problem);
    }
    let written = draft.finish().with_context(problem)?;
    show_run(
        (&written, outputs.picture.as_ref()),
        arguments.format,
        false,
    )
}
