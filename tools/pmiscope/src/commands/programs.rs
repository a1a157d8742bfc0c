//! From which files the names of the user's programs are.

use std::path::Path;

use anyhow::{Context as _, Result, bail};
use profiler::format::State;

use crate::cli::ProfileArgs;
use crate::input;
use crate::output::say;
use crate::profile::{EmbeddedProgram, Profile, RunEnd};
use crate::symbols::{Symbols, build_id};

/// The programs that a profile has. Beside its kernel's files, so before those are taken out.
pub(super) fn in_profile(profile: &mut Profile) -> Vec<EmbeddedProgram> {
    profile.take_programs()
}

/// The same, with those that the user has named: in place of one of the same name; where the profile has
/// none, in the order of the modules.
///
/// # Errors
///
/// One cannot be read, or is another one than what ran.
pub(super) fn of_profile(
    profile: &mut Profile,
    arguments: &ProfileArgs,
) -> Result<Vec<EmbeddedProgram>> {
    if let Some(path) = arguments.program.first()
        && !has_user_code(profile)
    {
        say!(
            "pmiscope: warning: --program {}: no sample is of a program of the user",
            path.display()
        );
    }
    let mut programs = in_profile(profile);
    let has_none = programs.is_empty();
    for (number, path) in (1..).zip(&arguments.program) {
        let elf = input::read(path).with_context(|| format!("cannot read {}", path.display()))?;
        let name = file_name(path);
        if has_none {
            programs.push(EmbeddedProgram { number, name, elf });
            continue;
        }
        let Some(known) = programs.iter_mut().find(|known| known.name == name) else {
            let names: Vec<_> = programs.iter().map(|known| &*known.name).collect();
            bail!(
                "--program {}: the run had no program of that name, but {}",
                path.display(),
                names.join(", ")
            );
        };
        let [ran, given] = [&known.elf, &elf].map(|elf| build_id(elf).ok());
        if ran != given && !arguments.force {
            bail!(
                "--program {}: it has another build-id than the one that ran: its names would be wrong; give that one, or --force to take them all the same",
                path.display()
            );
        }
        known.elf = elf;
    }
    Ok(programs)
}

/// Whether any sample was taken in user mode.
fn has_user_code(profile: &Profile) -> bool {
    let stacks = profile.stacks();
    let mut stacks = (0..stacks.len()).filter_map(|number| stacks.get(number));
    stacks.any(|stack| stack.state.0 & State::RING != 0)
}

/// Gives symbols the programs' functions, and which process runs which program, as the end of the run
/// has it. One that cannot be read has none, and that is said.
pub(super) fn add(symbols: &mut Symbols, programs: &[EmbeddedProgram], end: Option<&RunEnd>) {
    for EmbeddedProgram { number, name, elf } in programs {
        if let Err(problem) = symbols.add_program(*number, name, elf) {
            say!("pmiscope: warning: module {name}: {problem}: its code stays without names");
        }
    }
    for process in end.into_iter().flat_map(RunEnd::processes) {
        symbols.add_process(process.number, process.program, process.pid);
    }
}

/// A file's name without folders.
pub(super) fn file_name(path: &Path) -> String {
    path.file_name()
        .unwrap_or_default()
        .to_string_lossy()
        .into_owned()
}
