//! Reads files that are named by a person, or by bytes from outside: only what is a file, and
//! only as much as it has. A pipe has no end while somebody may write to it, `/dev/zero` never
//! has one, and to open a device may do something.

use std::fs::{self, File, Metadata, OpenOptions};
use std::io::{self, Read as _};
use std::ops::Range;
use std::os::unix::fs::{FileTypeExt as _, OpenOptionsExt as _};
use std::path::Path;

use rustix::fs::{SeekFrom, seek};
use rustix::io::Errno;

/// Opens a regular file, and waits for nobody.
///
/// # Errors
///
/// It is none, or cannot be opened.
pub(crate) fn open(path: &Path) -> io::Result<File> {
    check(&fs::metadata(path)?)?;
    // It may have become another one since.
    let nonblocking = rustix::fs::OFlags::NONBLOCK.bits();
    let nonblocking = nonblocking.cast_signed();
    let file = OpenOptions::new()
        .read(true)
        .custom_flags(nonblocking)
        .open(path)?;
    check(&file.metadata()?)?;
    Ok(file)
}

/// The bytes of a regular file, as many as it says it has.
///
/// # Errors
///
/// It is none, is empty, or cannot be read. What `/proc` has says that it is empty: it may never
/// end.
pub(crate) fn read(path: &Path) -> io::Result<Vec<u8>> {
    let file = open(path)?;
    let length = file.metadata()?.len();
    if length == 0 {
        return Err(io::Error::other("it is empty"));
    }
    let mut bytes = Vec::new();
    let room = usize::try_from(length).map_err(io::Error::other)?;
    bytes.try_reserve_exact(room)?;
    file.take(length).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// What somebody has named on the command line: `-` is the standard input.
pub(crate) fn named(path: &Path) -> &Path {
    if path == Path::new("-") {
        Path::new("/dev/stdin")
    } else {
        path
    }
}

/// The same as [`read`], and of a pipe all that comes until it is closed: for what a person has named.
///
/// # Errors
///
/// Those of [`read`].
pub(crate) fn read_or_receive(path: &Path) -> io::Result<Vec<u8>> {
    if !fs::metadata(path)?.file_type().is_fifo() {
        return read(path);
    }
    let mut bytes = Vec::new();
    File::open(path)?.read_to_end(&mut bytes)?;
    if bytes.is_empty() {
        return Err(io::Error::other("nothing came by the pipe"));
    }
    Ok(bytes)
}

/// The next stretch of a file, from `offset` on, that is no hole: `None` behind the last one. To
/// read a hole of a memory file would allocate it. Moves the place that is read next.
///
/// # Errors
///
/// It is a pipe, or a file of a system that does not tell.
pub(crate) fn data_from(file: &File, offset: u64) -> io::Result<Option<Range<u64>>> {
    let start = match seek(file, SeekFrom::Data(offset)) {
        Ok(start) => start,
        Err(Errno::NXIO) => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    Ok(Some(start..seek(file, SeekFrom::Hole(start))?))
}

fn check(found: &Metadata) -> io::Result<()> {
    let kind = found.file_type();
    let what = match () {
        () if kind.is_file() => return Ok(()),
        () if kind.is_dir() => "a directory",
        () if kind.is_fifo() => "a pipe (FIFO)",
        () if kind.is_socket() => "a socket",
        () => "a device",
    };
    Err(io::Error::other(format!("it is {what}, not a file")))
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::net::UnixListener;
    use std::path::Path;

    use rustix::fs::{CWD, FileType, Mode, mknodat};

    use super::read;

    #[test]
    fn only_files_that_have_an_end_are_read() {
        let folder = tempfile::tempdir().unwrap();
        let [file, empty, pipe, link, socket] =
            ["file", "empty", "pipe", "link", "socket"].map(|name| folder.path().join(name));
        fs::write(&file, "bytes").unwrap();
        fs::write(&empty, "").unwrap();
        mknodat(CWD, &pipe, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
        std::os::unix::fs::symlink("/dev/zero", &link).unwrap();
        let _listener = UnixListener::bind(&socket).unwrap();
        assert_eq!(read(&file).unwrap(), b"bytes");
        for (path, says) in [
            (&*empty, "it is empty"),
            (&*pipe, "it is a pipe (FIFO), not a file"),
            (&*link, "it is a device, not a file"),
            (&*socket, "it is a socket, not a file"),
            (folder.path(), "it is a directory, not a file"),
            (Path::new("/proc/self/mounts"), "it is empty"),
        ] {
            let error = read(path).unwrap_err().to_string();
            assert_eq!(error, says, "{}", path.display());
        }
    }
}
