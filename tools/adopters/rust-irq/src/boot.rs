//! What the boot loader is asked for.

use limine::request::{ExecutableAddressRequest, ExecutableFileRequest, HhdmRequest};
use limine::{BaseRevision, RequestsEndMarker, RequestsStartMarker};

#[used]
#[unsafe(link_section = ".requests_start_marker")]
static START: RequestsStartMarker = RequestsStartMarker::new();

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
#[unsafe(link_section = ".requests")]
static KERNEL_ADDRESS: ExecutableAddressRequest = ExecutableAddressRequest::new();

#[used]
#[unsafe(link_section = ".requests_end_marker")]
static END: RequestsEndMarker = RequestsEndMarker::new();

/// The loader's answers.
pub struct Boot {
    /// The kernel's command line.
    pub command_line: &'static str,
    /// Where physical memory is mapped.
    pub direct_map: u64,
    /// From a physical address of the kernel's image to its virtual one.
    pub kernel_offset: u64,
}

impl Boot {
    /// Reads them.
    pub fn get() -> Self {
        assert!(BASE_REVISION.is_supported(), "an older boot loader");
        let kernel = KERNEL_ADDRESS.response().expect("the kernel's address");
        Self {
            command_line: FILE
                .response()
                .map_or("", |it| it.executable_file().cmdline()),
            direct_map: DIRECT_MAP.response().expect("a direct map").offset,
            kernel_offset: kernel.virtual_base.wrapping_sub(kernel.physical_base),
        }
    }
}
