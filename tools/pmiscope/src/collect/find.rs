//! Finds the rings in the guest's memory.

use std::fs::File;
use std::io;
use std::ops::RangeInclusive;

use profiler::format::Description;
use profiler::format::region::{PAGE, Region, RegionError};

use super::Mapping;
use crate::input::data_from;

/// What a version may be; any other number is not believed to be one.
const VERSIONS: RangeInclusive<u32> = 1..=999;

/// What is found in a guest's memory.
pub enum Search<'memory> {
    /// No page looks like a region.
    Nothing,
    /// The region, and what it says of the run.
    Found(Region<'memory>, Box<Description>),
    /// A region whose kernel refuses the run, for this reason.
    Refused(String),
    /// A page looks like a region that cannot be read.
    Unreadable(RegionError),
}

/// Looks for the region in all pages of the file that were ever written to. The
/// others are holes: reading one would allocate it.
///
/// A page that only looks like a region (the magic is a constant in the kernel's
/// image, too) is passed over if there is a real one behind it.
///
/// # Errors
///
/// Those of asking the file system for holes.
pub fn find<'memory>(file: &File, memory: &'memory Mapping) -> io::Result<Search<'memory>> {
    let mut search = Search::Nothing;
    let mut at = 0;
    while let Some(data) = data_from(file, at)? {
        let (Ok(start), Ok(end)) = (usize::try_from(data.start), usize::try_from(data.end)) else {
            break;
        };
        for offset in (start / PAGE * PAGE..end).step_by(PAGE) {
            match memory.open(offset) {
                Ok((region, description)) => {
                    return Ok(Search::Found(region, Box::new(description)));
                }
                Err(RegionError::Magic) => {}
                Err(RegionError::Refused) => {
                    if let Some(reason) = memory.refusal(offset) {
                        return Ok(Search::Refused(reason));
                    }
                }
                // Behind the magic as a constant stands anything.
                Err(RegionError::Version(found)) if !VERSIONS.contains(&found) => {}
                Err(other) => search = Search::Unreadable(other),
            }
        }
        at = data.end;
    }
    Ok(search)
}
