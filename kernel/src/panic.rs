//! The end of a run by a panic.

use core::panic::PanicInfo;

use crate::cpu::stop;
use crate::exit::{ExitCode, Failure};
use crate::trap::last_words;

#[panic_handler]
fn panic(info: &PanicInfo<'_>) -> ! {
    let failure = Failure {
        at: stop::here(),
        frame: None,
        message: format_args!("{info}"),
    };
    last_words::fail(ExitCode::Panic, "panic", &failure, format_args!(""))
}
