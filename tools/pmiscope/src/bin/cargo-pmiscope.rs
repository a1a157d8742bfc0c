//! The command `cargo pmiscope`; all of it is in the library.

use std::process::ExitCode;

fn main() -> ExitCode {
    pmiscope::cargo_main()
}
