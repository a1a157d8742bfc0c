//! Where an export goes.

use std::fs::{self, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::FileTypeExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};

use super::Target;

/// What `-o` of an export names.
pub(crate) enum Destination {
    Stdout,
    /// A pipe or a device that takes bytes as they come.
    Stream(PathBuf),
    File(Box<Target>),
}

impl Destination {
    /// Checks that this can be written to, and is none of the files that are read, each given
    /// with what it is.
    ///
    /// # Errors
    ///
    /// What stands against it.
    pub(crate) fn new<'a>(
        path: &Path,
        read: impl IntoIterator<Item = (&'a str, &'a Path)>,
    ) -> Result<Self> {
        if path == "-" || path == "/dev/stdout" {
            return Ok(Self::Stdout);
        }
        // Not a disc: whatever is on it would be lost.
        let is_stream = |found: fs::Metadata| {
            let kind = found.file_type();
            kind.is_fifo() || kind.is_socket() || kind.is_char_device()
        };
        if fs::metadata(path).is_ok_and(is_stream) {
            return Ok(Self::Stream(path.to_owned()));
        }
        let target = Target::new(path)?;
        target.is_none_of(read)?;
        for (what, magic) in [
            ("a profile", &crate::profile::MAGIC[..]),
            ("an ELF file", b"\x7fELF"),
        ] {
            if target.beginning()?.starts_with(magic) {
                bail!(
                    "-o {} is {what}, and would be written over: name another file, or remove it before",
                    path.display()
                );
            }
        }
        Ok(Self::File(target.into()))
    }

    /// Writes what `make` makes, or leaves what was there. A reader that has seen enough is no
    /// error.
    ///
    /// # Errors
    ///
    /// Those of the system, and of `make`.
    pub(crate) fn write_with(
        &self,
        make: impl FnOnce(&mut dyn io::Write) -> Result<()>,
    ) -> Result<()> {
        match self {
            Self::Stdout => {
                let made = buffered(io::stdout().lock(), make);
                unless_reader_left(made, || "the standard output".into())
            }
            Self::Stream(path) => {
                let file = OpenOptions::new().write(true).open(path);
                let file = file.with_context(|| format!("cannot write {}", path.display()))?;
                let made = buffered(file, make);
                unless_reader_left(made, || path.display().to_string())
            }
            Self::File(target) => {
                let path = target.path().display();
                let draft = target
                    .begin()
                    .with_context(|| format!("cannot write {path}"))?;
                let file = draft
                    .file()
                    .with_context(|| format!("cannot write {path}"))?;
                if let Err(error) = buffered(file, make) {
                    draft.discard();
                    return Err(named(error, || path.to_string()));
                }
                draft
                    .finish_or_discard()
                    .with_context(|| format!("cannot write {path}"))
            }
        }
    }

    /// Writes all of it, or leaves what was there. A reader that has seen enough is no error.
    ///
    /// # Errors
    ///
    /// Those of the system.
    pub(crate) fn write(&self, bytes: &[u8]) -> Result<()> {
        match self {
            Self::Stdout => to_stdout(bytes).context("cannot write to the standard output"),
            Self::Stream(path) => {
                let file = OpenOptions::new().write(true).open(path);
                let written = file.and_then(|mut file| file.write_all(bytes));
                unless_closed(written).with_context(|| format!("cannot write {}", path.display()))
            }
            Self::File(target) => target
                .write(bytes)
                .with_context(|| format!("cannot write {}", target.path().display())),
        }
    }
}

/// Writes to the standard output. A reader that closes the pipe (`| head`) is no error.
///
/// # Errors
///
/// Others.
pub(crate) fn to_stdout(bytes: &[u8]) -> io::Result<()> {
    let mut out = io::stdout().lock();
    unless_closed(out.write_all(bytes).and_then(|()| out.flush()))
}

/// What is written at once.
const BUFFER: usize = 1 << 20;

fn buffered(
    out: impl io::Write,
    make: impl FnOnce(&mut dyn io::Write) -> Result<()>,
) -> Result<()> {
    let mut out = io::BufWriter::with_capacity(BUFFER, out);
    make(&mut out)?;
    out.flush()?;
    Ok(())
}

/// Why something was not written. What other parts say of themselves stays as it is.
fn kind_of(error: &anyhow::Error) -> Option<io::ErrorKind> {
    let by_json = || error.downcast_ref::<serde_json::Error>()?.io_error_kind();
    let io = error.downcast_ref::<io::Error>().map(io::Error::kind);
    io.or_else(by_json)
}

fn named(error: anyhow::Error, what: impl FnOnce() -> String) -> anyhow::Error {
    match kind_of(&error) {
        Some(_) => error.context(format!("cannot write {}", what())),
        None => error,
    }
}

fn unless_reader_left(made: Result<()>, what: impl FnOnce() -> String) -> Result<()> {
    match made {
        Err(error) if kind_of(&error) == Some(io::ErrorKind::BrokenPipe) => Ok(()),
        made => made.map_err(|error| named(error, what)),
    }
}

fn unless_closed(written: io::Result<()>) -> io::Result<()> {
    match written {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        other => other,
    }
}
