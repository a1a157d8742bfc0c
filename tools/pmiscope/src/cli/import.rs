//! What `import` takes.

use std::path::PathBuf;

use clap::Args;

use super::ReportFormat;

pub(super) const EXAMPLES: &str = "\
Examples:
  pmiscope import /dev/ttyUSB0 --kernel kernel.elf    before the machine is started
  pmiscope import serial.log --kernel kernel.elf      what -serial file:serial.log has written

The kernel is started with send=serial, or calls the library's sender. From a port, what has not
arrived is asked for again. Exit status 3 if something is missing all the same.";

/// What `import` takes.
#[derive(Args, Debug)]
pub struct ImportArgs {
    /// A file that has what came by a serial line, or the serial port by which it comes
    #[arg(value_name = "FILE|TTY")]
    pub input: PathBuf,

    /// The kernel that was sampled, an ELF file with a build-id [default: the one that was built]
    #[arg(long, value_name = "ELF")]
    pub kernel: Option<PathBuf>,

    /// A debug file that was split off the kernel; it must have the kernel's build-id. It goes
    /// into the profile; can be said several times [default: found by build-id and debuglink]
    #[arg(long, value_name = "FILE")]
    pub debug_file: Vec<PathBuf>,

    /// The speed of the port in bits per second, as the kernel has it
    #[arg(long, value_name = "BAUD", default_value_t = 115_200, value_parser = clap::value_parser!(u32).range(50..=4_000_000))]
    pub speed: u32,

    /// Which of several runs is taken, from 1 in their order [default: the last]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub run: Option<u32>,

    /// Give up after so many seconds in which nothing comes by a port [default: 60]
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..=1_000_000))]
    pub timeout: Option<u64>,

    /// The profile to write; the flame graph goes beside it, with the ending svg
    /// [default: profile.pmi in the build directory]
    #[arg(short, long, value_name = "FILE")]
    pub output: Option<PathBuf>,

    /// How the report is written
    #[arg(long, value_enum, default_value_t = ReportFormat::Text)]
    pub format: ReportFormat,
}
