//! Programs, which a boot loader hands to the kernel as files.

use kernel_core::process::USER;
use kernel_core::process::program::Program;

/// An ELF file.
///
/// # Panics
///
/// Something is to be loaded where no process may have it, or over something else.
pub fn program(data: &[u8]) {
    let program = match Program::parse(data) {
        Ok(program) => program,
        Err(problem) => {
            let line = problem.to_string();
            assert!(!line.is_empty() && !line.contains('\n'), "{line:?}");
            return;
        }
    };
    let mut end = USER.start;
    for segment in program.segments() {
        let pages = segment.pages();
        assert!(pages.start >= end && pages.end <= USER.end, "{segment:?}");
        assert!(segment.content.len() as u64 <= segment.bytes, "{segment:?}");
        end = pages.end;
    }
    for relocation in program.relocations() {
        let at = relocation.address;
        let mut segments = program.segments().iter();
        let is_in = segments.any(|it| it.start <= at && at + 8 <= it.start + it.bytes);
        assert!(is_in, "{at:#x}");
    }
}
