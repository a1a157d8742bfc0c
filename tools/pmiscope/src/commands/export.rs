//! `export`: a profile in the forms of other tools.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context as _, Result, bail};

use super::show::{CountedProfile, LoadedProfile, destination};
use crate::cli::{ExportArgs, ExportFormat};
use crate::exit::Exit;
use crate::export::{Anchor, Export, Form};
use crate::input;
use crate::output::{Destination, Target, Working, say, shell_word};
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
    let counted = loaded.count(selection)?;
    match form {
        None => folded(counted, arguments, &output),
        Some(form) => other(counted, (arguments, form), files, &output),
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
    files: SymbolFiles,
    output: &Destination,
) -> Result<Exit> {
    if counted.tally.samples() == 0 {
        bail!("{} to export", counted.lacks_samples());
    }
    if counted.profile.keeps_chains() && has_times(form) {
        say!(
            "pmiscope: note: the run kept chains and not when they were: the times in the export are made up"
        );
    }
    if !tells_events_apart(form) {
        counted.note_added();
    }
    let has_names_alone = counted.has_names_alone;
    let lines = Lines::of_files(&files);
    let kernel = (form == Form::Perf).then(|| PerfKernel::new(files, arguments, output));
    let kernel = kernel.transpose()?.flatten();
    if form == Form::Perf && kernel.is_none() && has_names_alone {
        bail!(
            "the profile has names in place of its kernel, and perf takes names from that kernel's file alone: give it by --elf, or take another --format"
        );
    }
    let symbols = (&counted.tally, &mut counted.symbols);
    let export = Export::new(&counted.profile, symbols, &lines)?;
    let export = export.with_anchor(kernel.as_ref().and_then(PerfKernel::anchor));
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
            (None, Destination::File(target)) => write_beside(target.path(), &bytes)?,
            (None, Destination::Stdout | Destination::Stream(_)) => PathBuf::from("KERNEL"),
        };
        Ok(Some(Self { path, bytes }))
    }

    fn anchor(&self) -> Option<Anchor> {
        Anchor::of_elf(&self.bytes)
    }
}

/// Writes the kernel beside an export, unless it is there already.
fn write_beside(export: &Path, kernel: &[u8]) -> Result<PathBuf> {
    let mut path = export.as_os_str().to_owned();
    path.push(".vmlinux");
    let path = PathBuf::from(path);
    if input::read(&path).is_ok_and(|there| there == kernel) {
        return Ok(path);
    }
    let target = Target::new(&path)?;
    if target.exists() {
        bail!(
            "{} is not the profile's kernel, which perf needs there: remove it, or name another file with -o",
            path.display()
        );
    }
    let written = target.write(kernel);
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
