//! What the boot loader is asked for.

use limine::request::{ExecutableFileRequest, HhdmRequest};
use limine::{BaseRevision, RequestsEndMarker, RequestsStartMarker};

#[used]
#[unsafe(link_section = ".requests_start_marker")]
static START: RequestsStartMarker = RequestsStartMarker::new();

/// The last one whose direct map has the devices, too: of the first 4 GiB.
#[used]
#[unsafe(link_section = ".requests")]
static BASE_REVISION: BaseRevision = BaseRevision::with_revision(2);

/// With its command line. (The request for that alone is newer than Limine 8.2.)
#[used]
#[unsafe(link_section = ".requests")]
static FILE: ExecutableFileRequest = ExecutableFileRequest::new();

#[used]
#[unsafe(link_section = ".requests")]
static DIRECT_MAP: HhdmRequest = HhdmRequest::new();

#[used]
#[unsafe(link_section = ".requests_end_marker")]
static END: RequestsEndMarker = RequestsEndMarker::new();

/// The loader's answers.
pub struct Boot {
    /// The kernel's command line.
    pub command_line: &'static str,
    /// Where physical memory is mapped.
    pub direct_map: u64,
}

impl Boot {
    /// Reads them.
    pub fn get() -> Self {
        assert!(BASE_REVISION.is_supported(), "an older boot loader");
        Self {
            command_line: FILE
                .response()
                .map_or("", |it| it.executable_file().cmdline()),
            direct_map: DIRECT_MAP.response().expect("a direct map").offset,
        }
    }
}
