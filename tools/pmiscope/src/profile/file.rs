//! A profile's bytes, read from its file.

use std::fs::{self, File};
use std::io::{self, Read as _};
use std::path::Path;

use rustix::fs::{SeekFrom, seek};

use super::is_profile;
use crate::input::data_from;
use crate::units::size;

/// What a file has.
pub(crate) struct Content {
    pub(crate) bytes: Vec<u8>,
    /// How many zeros follow, which are a hole of the file and not read.
    pub(crate) zeros: u64,
}

/// Reads a profile, up to the hole that the file ends with, if it does: somebody has given it
/// a length that it does not fill. Of anything else, which may have no end, the beginning.
///
/// # Errors
///
/// Those of reading a file, and a profile that does not fit this machine's memory.
pub(crate) fn read(path: &Path) -> io::Result<Content> {
    const BEGINNING: u64 = 4096;
    let mut file = File::open(path)?;
    let mut bytes = Vec::new();
    (&file).take(BEGINNING).read_to_end(&mut bytes)?;
    if is_profile(&bytes).is_err() {
        return Ok(Content { bytes, zeros: 0 });
    }
    let length = file.metadata()?.len();
    let end = end_of_data(&mut file, length);
    fits(end, available())?;
    let rest = end.saturating_sub(bytes.len() as u64);
    // The process may have less than the machine.
    let reserved = bytes.try_reserve_exact(usize::try_from(rest).unwrap_or(usize::MAX));
    reserved.map_err(|_| {
        let size = size(end);
        io::Error::other(format!("there is no memory for its {size}"))
    })?;
    if end == length {
        // All of it: a pipe has no length, and a file may have grown.
        file.read_to_end(&mut bytes)?;
        return Ok(Content { bytes, zeros: 0 });
    }
    file.take(rest).read_to_end(&mut bytes)?;
    let zeros = length.saturating_sub(bytes.len() as u64);
    Ok(Content { bytes, zeros })
}

/// Where a file's last hole begins, if it ends with one: else its length. The place that is
/// read next stays.
fn end_of_data(file: &mut File, length: u64) -> u64 {
    let Ok(next) = seek(&*file, SeekFrom::Current(0)) else {
        return length; // a pipe
    };
    let mut end = 0;
    let found = loop {
        match data_from(file, end) {
            Ok(Some(data)) => end = data.end,
            Ok(None) => break end,
            Err(_) => break length, // a file system that does not tell
        }
    };
    match seek(&*file, SeekFrom::Start(next)) {
        Ok(_) => found,
        Err(_) => length,
    }
}

/// Checks that so many bytes fit what is available.
fn fits(bytes: u64, available: Option<u64>) -> io::Result<()> {
    match available {
        Some(available) if bytes > available => Err(io::Error::other(format!(
            "it has {}, and of this machine's memory {} are free: free more, or take a larger one",
            size(bytes),
            size(available)
        ))),
        _ => Ok(()),
    }
}

/// Bytes of memory that can be had without swapping (proc(5)); `None` if that is not known.
fn available() -> Option<u64> {
    let known = fs::read_to_string("/proc/meminfo").ok()?;
    let mut lines = known.lines();
    let line = lines.find_map(|line| line.strip_prefix("MemAvailable:"))?;
    let kibibytes: u64 = line.trim().strip_suffix(" kB")?.parse().ok()?;
    kibibytes.checked_mul(1024)
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;
    use crate::profile::MAGIC;

    #[test]
    fn a_hole_at_the_end_is_not_read() {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        let mut data = MAGIC.to_vec();
        data.resize(1 << 20, 7);
        file.write_all(&data).unwrap();
        let whole = read(file.path()).unwrap();
        assert_eq!((&whole.bytes, whole.zeros), (&data, 0));
        file.as_file().set_len(3 << 20).unwrap();
        let cut = read(file.path()).unwrap();
        assert_eq!((&cut.bytes, cut.zeros), (&data, 2 << 20));
        file.as_file().set_len(4 << 40).unwrap();
        assert_eq!(read(file.path()).unwrap().zeros, (4 << 40) - (1 << 20));
    }

    #[test]
    fn what_does_not_fit_the_memory_is_refused() {
        assert!(available().is_some_and(|bytes| bytes > 1 << 20));
        assert!(fits(5 << 30, Some(4 << 30)).is_err());
        assert!(fits(4 << 30, Some(4 << 30)).is_ok());
        assert!(fits(5 << 30, None).is_ok());
    }
}
