//! Separate debug files: what was taken out of a kernel's ELF file (`objcopy --only-keep-debug`),
//! and what was moved out of several into one (`dwz -m`).
//!
//! They are found as debuggers find them: by the build-id, in `.build-id/ab/cdef….debug`; by
//! the name in `.gnu_debuglink`. Names of another kernel's are never taken: a file must have the
//! kernel's build-id; one without any must have the checksum that the link says.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use object::Object as _;

use super::BuildId;
use super::elf::{Elf, ElfError, build_id, parse};
use super::files::{Owner, SymbolFile, SymbolFiles};
use super::split::folder_of;
use crate::input;
use crate::units::hex;

/// Where distributions put debug files.
pub(super) const SYSTEM: &str = "/usr/lib/debug";

/// Files that are taken at most: a debug file can have a debug file.
const MOST: usize = 8;

/// Whose a file is that was found or given.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Whose {
    /// The kernel's.
    Kernel,
    /// What parts of the kernel's debug information were moved to.
    Supplementary,
    /// Another kernel's: that of this build-id, if it has one.
    Another(Option<String>),
}

impl SymbolFiles {
    /// The build-id of an ELF file of which only the symbol table may be damaged.
    ///
    /// # Errors
    ///
    /// [`ElfError`] if it has none, or is no ELF file.
    pub fn id(bytes: &[u8]) -> Result<BuildId, ElfError> {
        build_id(bytes).or_else(|error| {
            let mut files = Self::default();
            let file = SymbolFile {
                name: String::new(),
                path: None,
                bytes: bytes.into(),
            };
            files.add(file, Owner::Kernel).map_err(|_| error)?;
            let parts = files.parts();
            build_id(&parts[0].file.bytes)
        })
    }

    /// Whose the file is.
    #[must_use]
    pub fn whose(&self, bytes: &[u8], wanted: BuildId) -> Whose {
        let Ok(elf) = parse(bytes) else {
            return Whose::Another(None);
        };
        match id(&elf) {
            Some(found) if found == wanted.0 => return Whose::Kernel,
            Some(found) => {
                let parts = self.parts();
                let links = parts.iter().filter_map(|part| alternative(&part.elf));
                if links.into_iter().any(|(_, id)| id == found) {
                    return Whose::Supplementary;
                }
                return Whose::Another(Some(hex(found)));
            }
            None => {}
        }
        let parts = self.parts();
        let mut links = parts.iter().filter_map(|part| link(&part.elf));
        let mut sum = None;
        let is_linked =
            links.any(|(_, wanted)| wanted == *sum.get_or_insert_with(|| crc32fast::hash(bytes)));
        if is_linked {
            Whose::Kernel
        } else {
            Whose::Another(None)
        }
    }
}

/// Looks for files with what `files` lack. `system` is the folder of the distribution's.
pub(super) fn find(files: &mut SymbolFiles, wanted: BuildId, system: &Path) {
    for _ in 0..MOST {
        let parts = files.parts();
        let own = || parts.iter().filter(|part| part.owner == Owner::Kernel);
        let is_whole = own().any(|part| part.has.names) && own().any(|part| part.has.debug_info);
        let has_foreign = parts.iter().any(|part| part.owner == Owner::Another);
        if is_whole || has_foreign {
            break;
        }
        let Some(found) = next(files, wanted, system) else {
            break;
        };
        // It was parsed before.
        let _ = files.add(found, Owner::Kernel);
    }
    if is_without_supplement(files) {
        find_supplementary(files, system);
    }
}

/// The next file of the kernel's that is not among these.
fn next(files: &mut SymbolFiles, wanted: BuildId, system: &Path) -> Option<SymbolFile> {
    let places = files.places();
    let mut missed = Vec::new();
    let mut found = None;
    for path in by_build_id(&wanted.0, &places, system) {
        let file = (!is_among(&places, &path)).then(|| read(&path));
        let Some(file) = file.flatten() else {
            continue;
        };
        match files.whose(&file.bytes, wanted) {
            Whose::Kernel if is_of_use(&file.bytes) => {
                found = Some(file);
                break;
            }
            Whose::Kernel => missed.push(format!(
                "{} has no symbols and no debug information",
                file.name
            )),
            _ => missed.push(format!("{} is another kernel's", file.name)),
        }
    }
    if found.is_none() {
        found = by_link(files, wanted, system, &mut missed);
    }
    if found.is_none() {
        for text in missed {
            if !files.missed.contains(&text) {
                files.missed.push(text);
            }
        }
    }
    found
}

/// The file that a `.gnu_debuglink` names.
fn by_link(
    files: &SymbolFiles,
    wanted: BuildId,
    system: &Path,
    missed: &mut Vec<String>,
) -> Option<SymbolFile> {
    let known = files.places();
    let parts = files.parts();
    for part in parts.iter().filter(|part| part.owner == Owner::Kernel) {
        let Some((name, sum)) = link(&part.elf) else {
            continue;
        };
        let mut looked_in = Vec::new();
        let mut has_other = false;
        for folder in folders(&known, system) {
            let path = folder.join(&name);
            looked_in.push(folder.display().to_string());
            if is_among(&known, &path) {
                has_other = true;
                continue;
            }
            let Some(file) = read(&path) else { continue };
            let whose = files.whose(&file.bytes, wanted);
            match whose {
                Whose::Kernel if is_of_use(&file.bytes) => return Some(file),
                Whose::Kernel => missed.push(format!("{} has no symbols and no debug information", file.name)),
                // Of one without a build-id it was asked before.
                Whose::Another(Some(_)) if crc32fast::hash(&file.bytes) == sum => {
                    missed.push(format!("{} has another build-id than the kernel", file.name));
                }
                _ => missed.push(format!(
                    "{} has neither the kernel's build-id nor the checksum that its .gnu_debuglink says", file.name
                )),
            }
            has_other = true;
        }
        if !has_other {
            missed.push(format!(
                "its .gnu_debuglink names {}, which is not in {}",
                name.display(),
                looked_in.join(", ")
            ));
        }
    }
    None
}

/// Returns true if debug information has parts in a file that is not there.
pub(super) fn is_without_supplement(files: &SymbolFiles) -> bool {
    let parts = files.parts();
    let has_link = parts
        .iter()
        .any(|part| part.has.debug_info && alternative(&part.elf).is_some());
    has_link && !parts.iter().any(|part| part.owner == Owner::Supplementary)
}

/// What `.gnu_debugaltlink` names, for a person: the file and where it was looked for.
pub(super) fn missing_supplement(files: &SymbolFiles) -> Option<String> {
    if !is_without_supplement(files) {
        return None;
    }
    let parts = files.parts();
    let mut links = parts.iter().filter_map(|part| alternative(&part.elf));
    let (name, id) = links.next()?;
    Some(format!("{} (build-id {})", name.display(), hex(id)))
}

fn find_supplementary(files: &mut SymbolFiles, system: &Path) {
    let places = files.places();
    let parts = files.parts();
    let mut found = None;
    for part in &parts {
        let Some((name, id)) = alternative(&part.elf) else {
            continue;
        };
        let mut paths = vec![name.clone()];
        for folder in places.iter().map(|place| folder_of(place)) {
            paths.push(folder.join(&name));
            paths.extend(name.file_name().map(|name| folder.join(name)));
        }
        paths.extend(by_build_id(id, &places, system));
        let files = paths.iter().filter_map(|path| read(path));
        found = files
            .into_iter()
            .find(|file| parse(&file.bytes).is_ok_and(|elf| self::id(&elf) == Some(id)));
        if found.is_some() {
            break;
        }
    }
    if let Some(found) = found {
        // It was parsed before.
        let _ = files.add(found, Owner::Supplementary);
    }
}

fn is_of_use(bytes: &[u8]) -> bool {
    parse(bytes).is_ok() && !SymbolFiles::is_useless(bytes)
}

/// Returns true if a file that is there is one of these, by whatever name.
fn is_among(known: &[PathBuf], path: &Path) -> bool {
    let Ok(path) = path.canonicalize() else {
        return false;
    };
    let real = |known: &PathBuf| known.canonicalize().ok();
    known
        .iter()
        .any(|known| real(known).as_ref() == Some(&path))
}

fn read(path: &Path) -> Option<SymbolFile> {
    Some(SymbolFile::at(path, input::read(path).ok()?))
}

fn id<'data>(elf: &Elf<'data>) -> Option<&'data [u8]> {
    elf.build_id().ok()?
}

/// The debug file's name without folders, and its checksum.
fn link(elf: &Elf<'_>) -> Option<(PathBuf, u32)> {
    let (name, sum) = elf.gnu_debuglink().ok()??;
    let name = Path::new(OsStr::from_bytes(name)).file_name()?;
    Some((PathBuf::from(name), sum))
}

/// The supplementary file's name and build-id.
fn alternative<'data>(elf: &Elf<'data>) -> Option<(PathBuf, &'data [u8])> {
    let (name, id) = elf.gnu_debugaltlink().ok()??;
    Some((PathBuf::from(OsStr::from_bytes(name)), id))
}

/// Where the file of this build-id may be.
fn by_build_id(id: &[u8], places: &[PathBuf], system: &Path) -> Vec<PathBuf> {
    let Some((first, rest)) = id.split_first() else {
        return Vec::new();
    };
    let name = format!(".build-id/{}/{}.debug", hex(&[*first]), hex(rest));
    let folders = places.iter().map(|place| folder_of(place));
    let folders = folders.chain([system.to_owned()]);
    folders.map(|folder| folder.join(&name)).collect()
}

/// Where the file of a `.gnu_debuglink` may be.
fn folders(places: &[PathBuf], system: &Path) -> Vec<PathBuf> {
    let mut all = Vec::new();
    for folder in places.iter().map(|place| folder_of(place)) {
        all.push(folder.clone());
        all.push(folder.join(".debug"));
        if let Ok(real) = folder.canonicalize() {
            all.push(system.join(real.strip_prefix("/").unwrap_or(&real)));
        }
    }
    let mut known = Vec::new();
    all.retain(|folder| {
        let is_new = !known.contains(folder);
        known.push(folder.clone());
        is_new
    });
    all
}
