//! What the boot loader is asked for.

use limine::request::ExecutableCmdlineRequest;
use limine::{BaseRevision, RequestsEndMarker, RequestsStartMarker};

#[used]
#[unsafe(link_section = ".requests_start_marker")]
static START: RequestsStartMarker = RequestsStartMarker::new();

#[used]
#[unsafe(link_section = ".requests")]
static BASE_REVISION: BaseRevision = BaseRevision::with_revision(2);

#[used]
#[unsafe(link_section = ".requests")]
static COMMAND_LINE: ExecutableCmdlineRequest = ExecutableCmdlineRequest::new();

#[used]
#[unsafe(link_section = ".requests_end_marker")]
static END: RequestsEndMarker = RequestsEndMarker::new();

/// The kernel's command line.
pub fn command_line() -> &'static str {
    assert!(BASE_REVISION.is_supported(), "base revision 2 is needed");
    COMMAND_LINE.response().map_or("", |it| it.cmdline())
}

/// What the kernel is to do: the word behind `workload=`.
pub fn case() -> &'static str {
    let mut words = command_line().split_ascii_whitespace();
    words
        .find_map(|word| word.strip_prefix("workload="))
        .unwrap_or("")
}
