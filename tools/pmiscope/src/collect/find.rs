//! Finds the rings in the guest's memory.

use std::fs::File;
use std::io;

use profiler::format::Description;
use profiler::format::region::{PAGE, Region, RegionError};
use rustix::fs::SeekFrom;
use rustix::io::Errno;

use super::Mapping;

pub type Found<'memory> = (Region<'memory>, Description);

/// Looks for the rings in all pages of the file that were ever written to. The
/// others are holes: to look at one would make it a page.
///
/// Something that only looks like rings (the magic is a constant in the kernel's
/// image, too) is passed over, if there are real ones behind it.
///
/// # Errors
///
/// Those of asking the file system for holes; and as the inner error why what
/// looks like rings cannot be read.
pub fn find<'memory>(
    file: &File,
    memory: &'memory Mapping,
) -> io::Result<Result<Option<Found<'memory>>, RegionError>> {
    let mut refused = None;
    let mut at = 0;
    loop {
        let start = match rustix::fs::seek(file, SeekFrom::Data(at)) {
            Ok(start) => start,
            Err(Errno::NXIO) => break, // no data behind
            Err(error) => return Err(error.into()),
        };
        let end = rustix::fs::seek(file, SeekFrom::Hole(start))?;
        let page = |offset: u64| usize::try_from(offset).map(|offset| offset / PAGE * PAGE);
        let (Ok(start), Ok(end_page)) = (page(start), usize::try_from(end)) else {
            break;
        };
        for offset in (start..end_page).step_by(PAGE) {
            match memory.open(offset) {
                Ok(found) => return Ok(Ok(Some(found))),
                Err(RegionError::Magic) => {}
                Err(other) => refused = Some(other),
            }
        }
        at = end;
    }
    Ok(refused.map_or(Ok(None), Err))
}
