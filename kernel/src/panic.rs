//! The end of a run by a panic.

use core::panic::PanicInfo;

use crate::exit::{ExitCode, Failure};
use crate::trap::{backtrace, last_words};

#[panic_handler]
fn panic(info: &PanicInfo<'_>) -> ! {
    let failure = Failure {
        at: backtrace::here(),
        message: format_args!("{info}"),
    };
    last_words::fail(ExitCode::Panic, "panic", &failure, format_args!(""))
}
