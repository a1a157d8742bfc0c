//! The end of a run by a panic.

use core::panic::PanicInfo;

use crate::exit::{self, ExitCode};
use crate::log;

#[panic_handler]
fn panic(info: &PanicInfo<'_>) -> ! {
    // A panic while this core was already saying why the run ends: what it was
    // formatting is not to be trusted, so nothing is formatted.
    if exit::is_ending_here() {
        log::raw("\npanic while ending the run\n");
        exit::exit(ExitCode::Panic);
    }
    exit::begin();
    log::last_words(format_args!("{info}"));
    exit::exit(ExitCode::Panic)
}
