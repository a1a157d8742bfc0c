//! A run that somebody watches (`top`): what is sampled goes to the view as well, and a profile of it can be
//! saved before its end.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};
use profiler::format::{Description, Sample};

use super::plan::Recording;
use super::session::Sampling;
use crate::collect::Sink;
use crate::commands::postmortem::symbol_files;
use crate::profile::{Outcome, RunEnd, Writer, programs};
use crate::symbols::Symbols;
use crate::top::Live;

/// What gives each record to the profile and to the view.
pub(super) struct Tee<'a> {
    pub(super) profile: &'a mut Writer<File>,
    pub(super) live: &'a mut Live,
}

impl Sink for Tee<'_> {
    fn record(&mut self, core: u32, record: &[u64]) -> io::Result<()> {
        if let Ok(sample) = Sample::decode(record) {
            self.live.add(core, &sample);
        }
        self.profile.record(core, record)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.profile.flush()
    }
}

/// What counts the samples of this run, with the names of its kernel and programs.
pub(super) fn live(recording: &Recording, run: &Description) -> Result<Live> {
    if run.samples == 0 {
        bail!("top: the run counts events and takes no samples: pmiscope stat shows counts");
    }
    if run.table_bytes != 0 {
        bail!(
            "top: the run counts chains in place, and they are read at its end: leave out --keep chains"
        );
    }
    let name = Path::new("the kernel");
    let files = symbol_files(name, &recording.kernel, &recording.debug_files)?;
    let mut symbols = Symbols::of_files(&files, Some(run.text));
    for program in &recording.programs {
        if let Some((number, name)) = programs::parse(&program.name) {
            symbols.add_program(number, name, &program.bytes)?;
        }
    }
    Ok(Live::new(run, symbols))
}

/// Writes a profile of what there is so far, beside that of the run. Returns its name.
pub(super) fn save(profile: &Path, sampling: &mut Sampling<'_>) -> Result<PathBuf> {
    sampling.collector.flush(&mut sampling.profile)?;
    let end = RunEnd {
        outcome: Outcome::Unfinished,
        message: "it was saved while it went on".into(),
        cores: sampling.collector.counters_so_far(),
    };
    let end = sampling.profile.end_so_far(&end)?;
    let (path, mut file) = new_beside(profile)?;
    let mut whole = File::open(sampling.draft.part())?;
    let written = io::copy(&mut whole, &mut file).and_then(|_| file.write_all(&end));
    if let Err(error) = written {
        let _ = fs::remove_file(&path);
        return Err(error).with_context(|| path.display().to_string());
    }
    Ok(path)
}

/// A new file whose name is that of the profile with a number.
fn new_beside(profile: &Path) -> Result<(PathBuf, File)> {
    let stem = profile
        .file_stem()
        .unwrap_or(profile.as_os_str())
        .to_string_lossy();
    for number in 1..=999 {
        let path = profile.with_file_name(format!("{stem}-{number}.pmi"));
        match OpenOptions::new().write(true).create_new(true).open(&path) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            opened => {
                let file = opened.with_context(|| format!("cannot write {}", path.display()))?;
                return Ok((path, file));
            }
        }
    }
    bail!(
        "there are 999 beside {} already: remove some",
        profile.display()
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_saved_is_written_over_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let profile = folder.path().join("run.pmi");
        let name = || {
            new_beside(&profile)
                .unwrap()
                .0
                .file_name()
                .unwrap()
                .to_owned()
        };
        assert_eq!([name(), name()], ["run-1.pmi", "run-2.pmi"]);
    }
}
