//! Which files the symbols of a run or a profile are read from.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context as _, Result, bail};

use crate::cli::ProfileArgs;
use crate::input;
use crate::profile::Profile;
use crate::symbols::{BuildId, Owner, SymbolFile, SymbolFiles, Symbols, Whose};

/// The files of a profile's kernel: those that are in it, which is the file `path`, and those
/// that are found beside it. They are taken out of the profile.
pub(super) fn files_in(profile: &mut Profile, path: &Path) -> SymbolFiles {
    let wanted = BuildId(profile.description.build_id);
    let mut files = SymbolFiles::default();
    add_embedded(&mut files, profile, path);
    files.find_separate(wanted);
    files
}

/// The same, with the files that the user has named before all others.
///
/// # Errors
///
/// One of these cannot be read, or is another kernel's.
pub(super) fn files_of(profile: &mut Profile, arguments: &ProfileArgs) -> Result<SymbolFiles> {
    let wanted = BuildId(profile.description.build_id);
    let mut files = SymbolFiles::default();
    let is_another = |kernel: &Arc<[u8]>| SymbolFiles::id(kernel).is_ok_and(|id| id != wanted);
    if arguments.elf.is_some() && profile.kernel.as_ref().is_some_and(is_another) {
        // Whatever it is, it did not run.
        profile.kernel = None;
    }
    add_embedded(&mut files, profile, &arguments.profile);
    if let Some(elf) = &arguments.elf {
        let (bytes, owner) = checked_elf(elf, wanted, arguments.force)?;
        let file = SymbolFile::at(elf, bytes);
        files
            .add_first(file, owner)
            .with_context(|| elf.display().to_string())?;
    }
    let refusal = Refusal {
        advice: ", or --force to take it all the same",
        is_forced: arguments.force,
    };
    add_given(&mut files, &arguments.debug_file, wanted, refusal)?;
    files.find_separate(wanted);
    Ok(files)
}

/// The separate debug files of the kernel that is to run, those that are named and those that
/// are found.
///
/// # Errors
///
/// One that is named cannot be read, or is another kernel's.
pub(super) fn separate_files(
    kernel: &mut Arc<[u8]>,
    (path, wanted): (&Path, BuildId),
    named: &[PathBuf],
) -> Result<Vec<SymbolFile>> {
    let mut files = SymbolFiles::default();
    // It may be large: lent, not copied.
    let file = SymbolFile::at(path, std::mem::take(kernel));
    files
        .add(file, Owner::Kernel)
        .with_context(|| path.display().to_string())?;
    add_given(&mut files, named, wanted, Refusal::default())?;
    files.find_separate(wanted);
    let is_kernel = |file: &SymbolFile| file.path.as_deref() == Some(path);
    let (own, others): (Vec<_>, Vec<_>) = files.into_files().partition(is_kernel);
    // Of all that are given by its name it is the last one.
    *kernel = own
        .into_iter()
        .next_back()
        .map_or_else(Arc::default, |file| file.bytes);
    Ok(others)
}

/// The functions of a profile: by files that are there, or else by the names that it has in their place.
///
/// # Errors
///
/// Its names are another kernel's.
pub(super) fn symbols_of(
    profile: &mut Profile,
    files: &SymbolFiles,
    is_given: bool,
) -> Result<Symbols> {
    let ran = BuildId(profile.description.build_id);
    match profile.names.take() {
        Some(names) if !is_given => {
            if names.build_id != ran.to_string() {
                bail!(
                    "the names in it are those of the kernel with build-id {}, and {ran} ran: they would be wrong; give that one by --elf",
                    names.build_id
                );
            }
            Ok(Symbols::of_names(names))
        }
        _ => Ok(Symbols::of_files(files, Some(profile.description.text))),
    }
}

fn add_embedded(files: &mut SymbolFiles, profile: &mut Profile, path: &Path) {
    let embedded = |name: String, bytes: Arc<[u8]>| SymbolFile {
        name,
        path: Some(path.to_owned()),
        bytes,
    };
    let wanted = BuildId(profile.description.build_id);
    if let Some(kernel) = profile.kernel.take() {
        let kernel = embedded(SymbolFile::IN_PROFILE.to_owned(), kernel);
        files.add_embedded(kernel, Owner::Kernel);
    }
    // One that others have parts in is known by them.
    let debug_files = std::mem::take(&mut profile.debug_files).into_iter();
    let is_own = |(_, bytes): &(_, Vec<u8>)| files.whose(bytes, wanted) == Whose::Kernel;
    let (own, others): (Vec<_>, Vec<_>) = debug_files.partition(is_own);
    for (name, bytes) in own.into_iter().rev().chain(others) {
        let owner = match files.whose(&bytes, wanted) {
            Whose::Supplementary => Owner::Supplementary,
            // It was checked when it was written.
            Whose::Kernel | Whose::Another(_) => Owner::Kernel,
        };
        let name = format!("{name} (in the profile)");
        files.add_embedded(embedded(name, bytes.into()), owner);
    }
}

/// Reads another ELF file and checks that it is the profile's kernel.
fn checked_elf(elf: &Path, wanted: BuildId, force: bool) -> Result<(Vec<u8>, Owner)> {
    let bytes = input::read(elf).with_context(|| format!("cannot read {}", elf.display()))?;
    let found = SymbolFiles::id(&bytes);
    if found.as_ref().is_ok_and(|&found| found == wanted) {
        return Ok((bytes, Owner::Kernel));
    }
    if found.is_err() {
        // That says more of what it is.
        crate::symbols::check(&bytes).with_context(|| elf.display().to_string())?;
    }
    if !force {
        let found = found.with_context(|| format!("{}", elf.display()))?;
        bail!(
            "{} has build-id {found} and the profile's kernel {wanted}: its names would be wrong; give that kernel, or --force to take them all the same",
            elf.display()
        );
    }
    Ok((bytes, Owner::Another))
}

/// What is done about another kernel's file.
#[derive(Clone, Copy, Default)]
struct Refusal {
    /// What else the user can do.
    advice: &'static str,
    is_forced: bool,
}

/// Adds debug files that the user has named, in any order.
fn add_given(
    files: &mut SymbolFiles,
    named: &[PathBuf],
    wanted: BuildId,
    Refusal { advice, is_forced }: Refusal,
) -> Result<()> {
    let mut given = Vec::new();
    for path in named {
        let bytes = input::read(path).with_context(|| format!("cannot read {}", path.display()))?;
        given.push(SymbolFile::at(path, bytes));
    }
    // One that others have parts in is known by them.
    let is_own =
        |files: &SymbolFiles, file: &SymbolFile| files.whose(&file.bytes, wanted) == Whose::Kernel;
    let (own, others): (Vec<_>, Vec<_>) = given.into_iter().partition(|file| is_own(files, file));
    for file in own.into_iter().rev().chain(others) {
        let name = file.name.clone();
        let owner = match files.whose(&file.bytes, wanted) {
            Whose::Kernel => Owner::Kernel,
            Whose::Supplementary => Owner::Supplementary,
            Whose::Another(_) if is_forced => Owner::Another,
            Whose::Another(Some(found)) => bail!(
                "--debug-file {name}: it has build-id {found} and the kernel {wanted}: its names would be wrong; give the file that was split off that kernel{advice}"
            ),
            Whose::Another(None) => {
                crate::symbols::check(&file.bytes)
                    .with_context(|| format!("--debug-file {name}"))?;
                bail!(
                    "--debug-file {name}: it has no build-id, and no .gnu_debuglink of the kernel has its checksum, so it may be another kernel's; give the file that was split off that kernel (build-id {wanted}){advice}"
                )
            }
        };
        if SymbolFiles::is_useless(&file.bytes) && owner != Owner::Supplementary {
            bail!(
                "--debug-file {name}: it has no symbols, no debug information and no call-frame information: give the file that `objcopy --only-keep-debug` has made of the unstripped kernel"
            );
        }
        files
            .add_first(file, owner)
            .with_context(|| format!("--debug-file {name}"))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use profiler::address::CodeAddress;

    use super::*;
    use crate::foreign::folded;

    #[test]
    fn names_of_another_kernel_are_not_taken() {
        let bytes = folded::read("main;work 3\n")
            .unwrap()
            .0
            .write(Vec::new())
            .unwrap();
        let profile = || Profile::read(bytes.clone()).unwrap();
        let files = SymbolFiles::default();
        let mut own = profile();
        let code = own.names.as_ref().unwrap().code[0].address;
        let mut symbols = symbols_of(&mut own, &files, false).unwrap();
        symbols.resolve([CodeAddress(code)]);
        let frames = symbols.frames(CodeAddress(code));
        assert_eq!(symbols.label(frames[0].function), "work");
        let mut other = profile();
        other.names.as_mut().unwrap().build_id = "7".repeat(40);
        let said = symbols_of(&mut other, &files, false)
            .err()
            .unwrap()
            .to_string();
        let says = "the names in it are those of the kernel with build-id 7777777777777777777777777777777777777777, and 0000000000000000000000000000000000000000 ran";
        assert!(said.starts_with(says), "{said}");
    }
}
