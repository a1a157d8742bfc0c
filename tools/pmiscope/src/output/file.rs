//! Files that are whole or not there: written under a name of their own beside the one that
//! was asked for, and moved there once they are whole. So whoever writes the same file at the
//! same time mixes nothing, and what was there is kept until there is something better.

use std::cmp::Reverse;
use std::ffi::{OsStr, OsString};
use std::fs::{self, File, Metadata, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::fd::{AsFd as _, BorrowedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;
use tempfile::NamedTempFile;

use crate::input;
use crate::profile::is_profile;

/// The ending of a file that is not whole yet.
pub(crate) const PART: &str = ".part";
/// The characters before that ending, which no other part has.
const RANDOM: usize = 6;
/// The bytes of a name that a part's has of it: with the others it is no longer than file
/// systems take.
const NAME_KEPT: usize = 240;
/// How long others may be alone in a folder, each for a moment.
const PATIENCE: Duration = Duration::from_secs(5);
const POLL: Duration = Duration::from_millis(5);
/// The most links that are followed (as Linux does, path_resolution(7)).
const MAX_LINKS: usize = 40;

/// Which file it is, whatever it is called.
type Identity = (u64, u64);

fn identity(metadata: &Metadata) -> Identity {
    (metadata.dev(), metadata.ino())
}

/// The bytes that a file has at its beginning, to see what it is.
const SEEN: u64 = 64 << 10;

/// A file that can be written: one that is there, or a name that is free.
#[derive(Debug)]
pub(crate) struct Target {
    /// As it was asked for.
    path: PathBuf,
    /// Where links lead from there.
    place: PathBuf,
    /// The file that is there already.
    existing: Option<Metadata>,
}

impl Target {
    /// Checks that the file can be written, and leaves no trace of that.
    ///
    /// # Errors
    ///
    /// What stands against it.
    pub(crate) fn new(path: &Path) -> Result<Self> {
        let cannot = || format!("cannot write {}", path.display());
        let place = follow(path).with_context(cannot)?;
        let existing = match fs::metadata(path) {
            Ok(found) => Some(found),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => return Err(error).with_context(cannot),
        };
        if let Some(found) = &existing {
            can_be_replaced(&place, found).with_context(cannot)?;
        } else if place.file_name().is_none() || path.as_os_str().as_bytes().ends_with(b"/") {
            bail!("{}: it names no file", cannot());
        }
        let target = Self {
            path: path.to_owned(),
            place,
            existing,
        };
        let folder = target.folder();
        if !folder.is_dir() {
            bail!("{}: there is no folder {}", cannot(), folder.display());
        }
        let probe = target.part().with_context(cannot)?;
        drop(probe);
        Ok(target)
    }

    /// As it was asked for.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Returns true if it was there already.
    pub(crate) const fn exists(&self) -> bool {
        self.existing.is_some()
    }

    /// The beginning of the file that is there; empty if there is none.
    ///
    /// # Errors
    ///
    /// It cannot be read.
    pub(crate) fn beginning(&self) -> Result<Vec<u8>> {
        let mut bytes = Vec::new();
        if self.existing.is_some() {
            bytes = beginning(&self.place)
                .with_context(|| format!("cannot read {}", self.path.display()))?;
        }
        Ok(bytes)
    }

    /// Refuses to write over a file that is read, each given with what it is.
    ///
    /// # Errors
    ///
    /// It is one of them.
    pub(crate) fn is_none_of<'a>(
        &self,
        read: impl IntoIterator<Item = (&'a str, &'a Path)>,
    ) -> Result<()> {
        let Some(existing) = &self.existing else {
            return Ok(());
        };
        for (what, path) in read {
            let is_it = |found: Metadata| identity(&found) == identity(existing);
            if fs::metadata(path).is_ok_and(is_it) {
                bail!(
                    "-o {} is {what}, and would be written over: name another file",
                    self.path.display()
                );
            }
        }
        Ok(())
    }

    /// Returns true if both are one file.
    pub(crate) fn is(&self, other: &Self) -> bool {
        let place = |target: &Self| {
            let folder = target.folder().canonicalize().ok()?;
            Some(folder.join(target.place.file_name()?))
        };
        match (&self.existing, &other.existing) {
            (Some(own), Some(other)) => identity(own) == identity(other),
            _ => place(self) == place(other),
        }
    }

    /// Begins the file, under a name of its own.
    ///
    /// # Errors
    ///
    /// Those of the file system.
    pub(crate) fn begin(&self) -> io::Result<Draft> {
        let (file, part) = self.part()?.keep().map_err(|error| error.error)?;
        if let Some(existing) = &self.existing {
            // As it was. Not all file systems have permissions.
            let _ = file.set_permissions(existing.permissions());
        }
        Ok(Draft {
            file,
            part,
            path: self.path.clone(),
            place: self.place.clone(),
            replaces: self.existing.as_ref().map(identity),
        })
    }

    /// Writes the file, whole; what was there stays if that fails.
    ///
    /// # Errors
    ///
    /// Those of the file system.
    pub(crate) fn write(&self, bytes: &[u8]) -> io::Result<()> {
        self.drafted(bytes)?.finish_or_discard()
    }

    /// Writes the file, whole, beside another one of which it is made, unless that is another
    /// run's by now. Returns false if so: then it is not to be known whose this one is.
    ///
    /// # Errors
    ///
    /// Those of the file system.
    pub(crate) fn write_beside(&self, other: &Written, bytes: &[u8]) -> io::Result<bool> {
        let draft = self.drafted(bytes)?;
        // Whoever replaces the other one after the look has still to write what is beside it.
        let _alone = alone_in(self.folder());
        if !other.is_in_place() {
            draft.discard();
            return Ok(false);
        }
        draft.finish_or_discard()?;
        Ok(other.is_in_place())
    }

    /// The file, all of it under a name of its own.
    fn drafted(&self, bytes: &[u8]) -> io::Result<Draft> {
        let draft = self.begin()?;
        match draft.file().and_then(|mut file| file.write_all(bytes)) {
            Ok(()) => Ok(draft),
            Err(error) => {
                draft.discard();
                Err(error)
            }
        }
    }

    fn folder(&self) -> &Path {
        let folder = self.place.parent().unwrap_or(Path::new("."));
        if folder == "" { Path::new(".") } else { folder }
    }

    fn part(&self) -> io::Result<NamedTempFile<File>> {
        let name = self.place.file_name().unwrap_or_default().as_bytes();
        let mut prefix = name[..name.len().min(NAME_KEPT)].to_vec();
        prefix.push(b'.');
        tempfile::Builder::new()
            .prefix(OsStr::from_bytes(&prefix))
            .rand_bytes(RANDOM)
            .suffix(PART)
            .make_in(self.folder(), |path| {
                // With the permissions of any new file, which are not a temporary one's.
                let mut options = OpenOptions::new();
                options.read(true).write(true).create_new(true).open(path)
            })
    }
}

/// A lock on a folder, which is free again when this is dropped. `None` where there is no
/// such lock, or somebody keeps it: whoever waits for it is not kept from ending.
fn alone_in(folder: &Path) -> Option<File> {
    let folder = File::open(folder).ok()?;
    let started = Instant::now();
    while started.elapsed() < PATIENCE {
        match flock(&folder, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => return Some(folder),
            Err(Errno::WOULDBLOCK | Errno::INTR) => thread::sleep(POLL),
            Err(_) => return None,
        }
    }
    None
}

/// Checks that a new file may take the place of this one.
fn can_be_replaced(place: &Path, found: &Metadata) -> Result<()> {
    let kind = found.file_type();
    if kind.is_dir() {
        bail!("it is a folder");
    }
    if !kind.is_file() {
        bail!("it is no file but {}", special(found));
    }
    for (stream, name) in [
        (io::stdout().as_fd(), "output"),
        (io::stderr().as_fd(), "error"),
    ] {
        if of_stream(stream).is_some_and(|it| identity(&it) == identity(found)) {
            bail!("the standard {name} goes there: name another file");
        }
    }
    // What is protected against being written is not to be replaced either.
    let there = OpenOptions::new().write(true).open(place)?;
    if identity(&there.metadata()?) != identity(found) {
        // An open file of a process, below /proc.
        bail!("it has no name");
    }
    Ok(())
}

/// What a file is that is none.
fn special(found: &Metadata) -> &'static str {
    let kind = found.file_type();
    if kind.is_fifo() {
        "a pipe"
    } else if kind.is_socket() {
        "a socket"
    } else {
        "a device"
    }
}

fn of_stream(stream: BorrowedFd<'_>) -> Option<Metadata> {
    let file = stream.try_clone_to_owned().ok().map(File::from)?;
    file.metadata().ok()
}

/// Where the links from a path lead, the last of which may be a name that is free.
fn follow(path: &Path) -> io::Result<PathBuf> {
    let mut place = path.to_owned();
    for _ in 0..MAX_LINKS {
        let Ok(link) = fs::read_link(&place) else {
            return Ok(place);
        };
        place.pop();
        place.push(link);
    }
    Err(Errno::LOOP.into())
}

/// A file that is written, and not whole yet. One that has nothing is removed when this is
/// dropped.
#[derive(Debug)]
pub(crate) struct Draft {
    file: File,
    /// Its name until it is whole.
    part: PathBuf,
    /// As it was asked for.
    path: PathBuf,
    place: PathBuf,
    /// What was there when it was begun.
    replaces: Option<Identity>,
}

impl Draft {
    /// What to write to.
    ///
    /// # Errors
    ///
    /// Those of the system.
    pub(crate) fn file(&self) -> io::Result<File> {
        self.file.try_clone()
    }

    /// Its name until it is whole.
    pub(crate) fn part(&self) -> &Path {
        &self.part
    }

    /// Moves the file, which is whole, to its place.
    ///
    /// # Errors
    ///
    /// Those of the file system, or another file was put there meanwhile, by another run or
    /// by somebody else: it stays where it was.
    pub(crate) fn finish(self) -> io::Result<Written> {
        let found = fs::metadata(&self.place).ok().as_ref().map(identity);
        if found.is_some() && found != self.replaces {
            let problem = "another one was put there meanwhile, which is kept";
            return Err(io::Error::other(problem));
        }
        // A new name may reach the disc before what the file has: after a crash it would be empty.
        self.file.sync_data()?;
        fs::rename(&self.part, &self.place)?;
        Ok(Written {
            file: self.file.try_clone()?,
            path: self.path.clone(),
        })
    }

    /// As [`Self::finish`], of a file that can be made again: it is removed if that fails.
    pub(crate) fn finish_or_discard(self) -> io::Result<()> {
        let part = self.part.clone();
        self.finish().map(drop).inspect_err(|_| {
            let _ = fs::remove_file(part);
        })
    }

    /// Removes the file.
    pub(crate) fn discard(self) {
        // Otherwise it stays, as what it is.
        let _ = fs::remove_file(&self.part);
    }
}

impl Drop for Draft {
    fn drop(&mut self) {
        let is_empty = self.file.metadata().is_ok_and(|file| file.len() == 0);
        if is_empty {
            let _ = fs::remove_file(&self.part);
        }
    }
}

/// A file that was written whole.
#[derive(Debug)]
pub(crate) struct Written {
    file: File,
    path: PathBuf,
}

impl Written {
    /// As it was asked for. Somebody else may have replaced it since.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Returns true if nobody else has written to its place since.
    pub(crate) fn is_in_place(&self) -> bool {
        let there = fs::metadata(&self.path);
        let own = self.file.metadata();
        there.is_ok_and(|there| own.is_ok_and(|own| identity(&own) == identity(&there)))
    }

    /// What was written, to be read, whatever has its name now.
    ///
    /// # Errors
    ///
    /// There are too many open files.
    pub(crate) fn open(&self) -> io::Result<File> {
        self.file.try_clone()
    }
}

/// The beginning of a file.
///
/// # Errors
///
/// It is none, or cannot be read.
pub(crate) fn beginning(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    input::open(path)?.take(SEEN).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// The profiles that are left of runs that were killed while they wrote `path`, the newest
/// first.
pub(crate) fn parts_of(path: &Path) -> Vec<PathBuf> {
    let folder = path
        .parent()
        .filter(|it| *it != "")
        .unwrap_or(Path::new("."));
    let name = path.file_name().unwrap_or_default().as_bytes();
    let name = &name[..name.len().min(NAME_KEPT)];
    let is_part = |entry: &OsString| {
        let rest = entry.as_bytes().strip_prefix(name);
        let rest = rest.and_then(|rest| rest.strip_prefix(b"."));
        let random = rest.and_then(|rest| rest.strip_suffix(PART.as_bytes()));
        random.is_some_and(|it| it.len() == RANDOM && it.iter().all(u8::is_ascii_alphanumeric))
    };
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let names = entries.map(|entry| entry.file_name()).filter(is_part);
    let paths = names.map(|name| path.with_file_name(name));
    let is_profile = |path: &PathBuf| beginning(path).is_ok_and(|it| is_profile(&it).is_ok());
    let mut parts: Vec<_> = paths.filter(is_profile).collect();
    let written = |path: &PathBuf| fs::metadata(path).and_then(|file| file.modified()).ok();
    parts.sort_by_cached_key(|path| Reverse(written(path)));
    parts
}

#[cfg(test)]
mod tests {
    use std::io::Seek as _;
    use std::os::unix::fs::symlink;
    use std::time::SystemTime;

    use super::*;

    /// What a run has written.
    fn content(written: &Written) -> Vec<u8> {
        let mut file = written.open().unwrap();
        file.rewind().unwrap();
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes).unwrap();
        bytes
    }
    use crate::profile::MAGIC;

    /// Writes as another run does, which begins now.
    fn write(target: &Target, bytes: &[u8]) -> Written {
        let target = Target::new(target.path()).unwrap();
        let draft = target.begin().unwrap();
        draft.file().unwrap().write_all(bytes).unwrap();
        draft.finish().unwrap()
    }

    #[test]
    fn what_was_written_is_read_whoever_has_its_name() {
        let folder = tempfile::tempdir().unwrap();
        let target = Target::new(&folder.path().join("file")).unwrap();
        let first = write(&target, b"first");
        assert!(first.is_in_place());
        let second = write(&target, b"second");
        assert!(second.is_in_place() && !first.is_in_place());
        assert_eq!(content(&first), b"first");
        assert_eq!(content(&second), b"second");
        assert_eq!(fs::read(target.path()).unwrap(), b"second");
    }

    #[test]
    fn what_is_beside_a_file_is_of_the_same_run() {
        let folder = tempfile::tempdir().unwrap();
        let new = |name: &str| Target::new(&folder.path().join(name)).unwrap();
        let [file, beside] = ["file", "beside"].map(new);
        let first = write(&file, b"first");
        assert!(beside.write_beside(&first, b"of the first").unwrap());
        let second = write(&file, b"second");
        let beside = new("beside");
        assert!(!beside.write_beside(&first, b"of the first again").unwrap());
        let content = || fs::read(beside.path()).unwrap();
        assert_eq!(content(), b"of the first");

        // Another run replaces both while this one waits to write the second.
        let alone = alone_in(folder.path()).unwrap();
        thread::scope(|scope| {
            let late = scope.spawn(|| beside.write_beside(&second, b"of the second"));
            while fs::read_dir(folder.path()).unwrap().count() < 3 && !late.is_finished() {
                thread::yield_now();
            }
            write(&file, b"third");
            write(&beside, b"of the third");
            drop(alone);
            assert!(!late.join().unwrap().unwrap());
        });
        assert_eq!(content(), b"of the third");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 2);
    }

    #[test]
    fn a_draft_stays_once_it_has_something() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x".repeat(255));
        let target = Target::new(&path).unwrap();
        drop(target.begin().unwrap());
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
        let draft = target.begin().unwrap();
        draft.file().unwrap().write_all(b"some").unwrap();
        let part = draft.part().to_owned();
        drop(draft);
        assert_eq!(fs::read(&part).unwrap(), b"some");
        assert!(!path.exists());

        let short = folder.path().join("short");
        let draft = Target::new(&short).unwrap().begin().unwrap();
        draft.file().unwrap().write_all(&MAGIC).unwrap();
        assert_eq!(parts_of(&short), [draft.part()]);
        draft.discard();
        assert_eq!(parts_of(&short), [""; 0].map(PathBuf::from));
    }

    #[test]
    fn what_is_left_of_a_run_is_told_from_other_files() {
        let folder = tempfile::tempdir().unwrap();
        let long = "x".repeat(250);
        for name in ["run", &*long] {
            let kept = &name[..name.len().min(NAME_KEPT)];
            let age = Duration::from_secs(60);
            let write = |middle: &str, bytes: &[u8], minutes| {
                let path = folder.path().join(format!("{kept}{middle}{PART}"));
                let mut file = File::create(&path).unwrap();
                file.write_all(bytes).unwrap();
                file.set_modified(SystemTime::now() - age * minutes)
                    .unwrap();
                path
            };
            let old = write(".aaaaaa", &MAGIC, 3);
            let new = write(".zzzzzz", &MAGIC, 2);
            for (middle, bytes) in [
                (".123456", &b"text"[..]),
                (".empty0", b""),
                (".pm.123456", &MAGIC),
                (".12345", &MAGIC),
                (".1234567", &MAGIC),
                (".12-456", &MAGIC),
                ("x123456", &MAGIC),
            ] {
                write(middle, bytes, 1);
            }
            assert_eq!(parts_of(&folder.path().join(name)), [new, old]);
        }
    }

    #[test]
    fn what_is_put_there_meanwhile_is_kept() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        for (before, meanwhile) in [
            (None, "own: other"),
            (None, "text"),
            (Some("own: first"), "text"),
            (Some("own: first"), "own: other"),
        ] {
            let _ = fs::remove_file(&path);
            if let Some(before) = before {
                fs::write(&path, before).unwrap();
            }
            let target = Target::new(&path).unwrap();
            let draft = target.begin().unwrap();
            draft.file().unwrap().write_all(b"own: new").unwrap();
            let part = draft.part().to_owned();
            // As most editors write: the file is another one.
            fs::write(folder.path().join("new"), meanwhile).unwrap();
            fs::rename(folder.path().join("new"), &path).unwrap();
            assert!(draft.finish().is_err(), "{before:?}");
            assert_eq!(fs::read_to_string(&path).unwrap(), meanwhile, "{before:?}");
            fs::remove_file(part).unwrap();
        }
        let target = Target::new(&path).unwrap();
        fs::write(folder.path().join("new"), "text").unwrap();
        fs::rename(folder.path().join("new"), &path).unwrap();
        assert!(target.write(b"own: new").is_err());
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "no part");
    }

    #[test]
    fn one_file_has_several_names() {
        let folder = tempfile::tempdir().unwrap();
        let [file, link, other] = ["file", "link", "other"].map(|name| folder.path().join(name));
        symlink("file", &link).unwrap();
        let around = folder.path().join("./file");
        let new = |path: &Path| Target::new(path).unwrap();
        for _ in 0..2 {
            assert!(new(&file).is(&new(&link)) && new(&link).is(&new(&around)));
            assert!(!new(&file).is(&new(&other)));
            // The second time, it is there.
            fs::write(&file, "").unwrap();
        }
    }
}
