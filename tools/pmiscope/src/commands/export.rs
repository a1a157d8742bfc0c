//! `export`: a profile in the forms of other tools.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context as _, Result, bail};

use super::select::no_times;
use super::show::{CountedProfile, LoadedProfile, NAMES_ALONE, destination};
use crate::cli::{ExportArgs, ExportFormat};
use crate::exit::Exit;
use crate::export::{Anchor, Export, Form, MappedProgram};
use crate::input;
use crate::output::{Destination, Target, Working, say, shell_word};
use crate::profile::EmbeddedProgram;
use crate::report::counts::Counts;
use crate::symbols::{Lines, SymbolFile, SymbolFiles};

pub(super) fn export(arguments: &ExportArgs) -> Result<Exit> {
    let form = form(arguments.format);
    if form.is_some() && arguments.by.is_some() {
        say!(
            "pmiscope: --by is for --format folded: the other forms have cores and tasks beside the stacks"
        );
        return Ok(Exit::Usage);
    }
    let output = destination(&arguments.output, &arguments.profile)?;
    let (mut loaded, files) = LoadedProfile::with_files(&arguments.profile)?;
    if Counts::are_in(&loaded.profile.description) {
        bail!("the profile has counts of events and no samples: pmiscope report shows them");
    }
    let selection = loaded.select(&arguments.select)?;
    let programs = std::mem::take(&mut loaded.programs);
    let counted = loaded.count(selection)?;
    match form {
        None => folded(counted, arguments, &output),
        Some(form) => other(counted, (arguments, form), (files, programs), &output),
    }
}

/// The form, but of folded stacks.
fn form(format: ExportFormat) -> Option<Form> {
    match format {
        ExportFormat::Folded => None,
        ExportFormat::Callgrind => Some(Form::Callgrind),
        ExportFormat::Csv => Some(Form::Csv),
        ExportFormat::Firefox => Some(Form::Firefox),
        ExportFormat::Perf => Some(Form::Perf),
        ExportFormat::Perfetto => Some(Form::Perfetto),
        ExportFormat::Pprof => Some(Form::Pprof),
        ExportFormat::Speedscope => Some(Form::Speedscope),
    }
}

fn folded(
    mut counted: CountedProfile,
    arguments: &ExportArgs,
    output: &Destination,
) -> Result<Exit> {
    counted.note_added();
    let lines = counted.stacks(arguments.by)?.lines().into_iter();
    let text: String = lines.map(|line| line + "\n").collect();
    output.write(text.as_bytes())?;
    Ok(counted.leave())
}

fn other(
    mut counted: CountedProfile,
    (arguments, form): (&ExportArgs, Form),
    (files, programs): (SymbolFiles, Vec<EmbeddedProgram>),
    output: &Destination,
) -> Result<Exit> {
    if counted.tally.samples() == 0 {
        bail!("{} to export", counted.lacks_samples());
    }
    if form == Form::Perf && counted.profile.host.imported.is_some() {
        bail!("{NAMES_ALONE}, which perf takes names by: take another --format");
    }
    if counted.profile.keeps_chains() && has_times(form) {
        say!(
            "pmiscope: note: {}: the times in the export are made up",
            no_times(&counted.profile)
        );
    }
    if !tells_events_apart(form) {
        counted.note_added();
    }
    let has_names_alone = counted.has_names_alone;
    let lines = Lines::of_run(&files, &counted.symbols, counted.tally.addresses());
    let kernel = (form == Form::Perf).then(|| PerfKernel::new(files, arguments, output));
    let kernel = kernel.transpose()?.flatten();
    if form == Form::Perf && kernel.is_none() && has_names_alone {
        bail!(
            "the profile has names in place of its kernel, and perf takes names from that kernel's file alone: give it by --elf, or take another --format"
        );
    }
    let symbols = (&counted.tally, &mut counted.symbols);
    let export = Export::new(&counted.profile, symbols, &lines);
    let anchor = kernel.as_ref().and_then(PerfKernel::anchor);
    let programs = match form {
        Form::Perf => mapped_programs(programs, &export, output)?,
        _ => Vec::new(),
    };
    let export = export.with_files(anchor, programs);
    // On the standard output the two would be mixed.
    let is_file = matches!(output, Destination::File(_));
    let working = is_file.then(|| Working::new("exporting"));
    output.write_with(|out| export.write(form, out))?;
    drop(working);
    drop(export);
    if form == Form::Perf {
        say_command(kernel.as_ref(), output);
    }
    Ok(counted.leave())
}

/// Whether a form says when samples were.
fn has_times(form: Form) -> bool {
    match form {
        Form::Firefox | Form::Perf | Form::Perfetto | Form::Speedscope => true,
        Form::Callgrind | Form::Csv | Form::Pprof => false,
    }
}

/// Whether a form has the samples of each event by themselves.
fn tells_events_apart(form: Form) -> bool {
    match form {
        Form::Perf | Form::Perfetto | Form::Pprof => true,
        Form::Callgrind | Form::Csv | Form::Firefox | Form::Speedscope => false,
    }
}

/// The ELF file that perf takes names and code from.
struct PerfKernel {
    path: PathBuf,
    bytes: Arc<[u8]>,
}

impl PerfKernel {
    /// The first of a kernel's files that has names. One that is in the profile is written beside
    /// the export.
    fn new(
        files: SymbolFiles,
        arguments: &ExportArgs,
        output: &Destination,
    ) -> Result<Option<Self>> {
        let mut files: Vec<SymbolFile> = files.into_files().collect();
        let with_names = files
            .iter()
            .position(|file| SymbolFiles::has_names(&file.bytes));
        if files.is_empty() {
            return Ok(None);
        }
        let SymbolFile { path, bytes, .. } = files.swap_remove(with_names.unwrap_or(0));
        let elsewhere = path.filter(|path| *path != arguments.profile.profile);
        let path = match (elsewhere, output) {
            (Some(path), _) => path,
            (None, Destination::File(target)) => {
                write_beside(beside(target.path(), ".vmlinux"), &bytes, "kernel")?
            }
            (None, Destination::Stdout | Destination::Stream(_)) => PathBuf::from("KERNEL"),
        };
        Ok(Some(Self { path, bytes }))
    }

    fn anchor(&self) -> Option<Anchor> {
        Anchor::of_elf(&self.bytes)
    }
}

/// The programs that ran, whose files are written beside the export: perf looks for names and code where
/// a process has mapped them from.
fn mapped_programs(
    programs: Vec<EmbeddedProgram>,
    export: &Export<'_>,
    output: &Destination,
) -> Result<Vec<MappedProgram>> {
    let seen = export.programs_seen();
    let here: BTreeSet<_> = programs.iter().map(|program| program.number).collect();
    let missing = seen
        .difference(&here)
        .map(|&number| export.symbols.program_name(number));
    let missing: Vec<_> = missing.collect();
    if !missing.is_empty() {
        say!(
            "pmiscope: note: perf will have no names of the code of {}: the profile has no file of it (--program)",
            missing.join(", ")
        );
    }
    let mut mapped: Vec<MappedProgram> = Vec::new();
    for EmbeddedProgram { number, name, elf } in programs {
        if !seen.contains(&number) {
            continue;
        }
        // The name is the profile's, which may be anybody's.
        let name = name.replace(|c: char| c == '/' || c.is_control(), "_");
        let path = match output {
            Destination::File(target) => {
                let ending = |name: &str| beside(target.path(), &format!(".{name}"));
                let is_taken = |path: &Path| mapped.iter().any(|it| Path::new(&it.path) == path);
                let path = std::path::absolute(ending(&name))?;
                let path = match is_taken(&path) {
                    true => std::path::absolute(ending(&format!("{name}.{number}")))?,
                    false => path,
                };
                write_beside(path, &elf, "program")?
            }
            Destination::Stdout | Destination::Stream(_) => PathBuf::from(name),
        };
        mapped.push(MappedProgram {
            number,
            path: path.display().to_string(),
            elf,
        });
    }
    Ok(mapped)
}

/// A file's path with this behind it.
fn beside(path: &Path, ending: &str) -> PathBuf {
    let mut path = path.as_os_str().to_owned();
    path.push(ending);
    PathBuf::from(path)
}

/// Writes what perf needs beside an export, unless it is there already.
fn write_beside(path: PathBuf, bytes: &[u8], what: &str) -> Result<PathBuf> {
    if input::read(&path).is_ok_and(|there| there == bytes) {
        return Ok(path);
    }
    let target = Target::new(&path)?;
    if target.exists() {
        bail!(
            "{} is not the profile's {what}, which perf needs there: remove it, or name another file with -o",
            path.display()
        );
    }
    let written = target.write(bytes);
    written.with_context(|| format!("cannot write {}", path.display()))?;
    Ok(path)
}

/// Says how perf shows the export.
fn say_command(kernel: Option<&PerfKernel>, output: &Destination) {
    let file = match output {
        Destination::File(target) => target.path(),
        Destination::Stdout | Destination::Stream(_) => Path::new("FILE"),
    };
    let word = |path: &Path| shell_word(&path.display().to_string()).into_owned();
    let kernel = kernel.map_or_else(String::new, |kernel| {
        format!(" --vmlinux {}", word(&kernel.path))
    });
    say!(
        "pmiscope: perf report -i {} --demangle-kernel{kernel}",
        word(file)
    );
}
