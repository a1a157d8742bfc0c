//! What `import` takes.

use std::path::{Path, PathBuf};
use std::str::FromStr;

use clap::Args;
use profiler::format::region::PAGE;

use super::ReportFormat;

pub(super) const EXAMPLES: &str = "\
Examples:
  pmiscope import /dev/ttyUSB0 --kernel kernel.elf    before the machine is started
  pmiscope import serial.log --kernel kernel.elf      what -serial file:serial.log has written
  pmiscope import --memory /dev/mem@0x20000000 --kernel kernel.elf    after a reset, and Linux
  pmiscope import --perf perf.data --kernel vmlinux -o linux.pmi      of Linux's perf
  pmiscope import --folded stacks.txt -o other.pmi                    of another profiler

The kernel is started with send=serial, or calls the library's sender. From a port, what has not
arrived is asked for again. Exit status 3 if something is missing all the same.";

/// A file that has memory in it, and an address there.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct MemoryPlace {
    pub file: PathBuf,
    pub address: Option<u64>,
}

impl FromStr for MemoryPlace {
    type Err = String;

    /// What stands behind the last `@` is the address, if it begins with a digit.
    fn from_str(text: &str) -> Result<Self, String> {
        let split = text.rsplit_once('@');
        let split =
            split.filter(|(_, address)| address.starts_with(|it: char| it.is_ascii_digit()));
        let Some((file, address)) = split else {
            let (file, address) = (text.into(), None);
            return Ok(Self { file, address });
        };
        let number = match address.strip_prefix("0x") {
            Some(digits) => u64::from_str_radix(digits, 16),
            None => address.parse(),
        };
        let number = number.map_err(|_| {
            format!("`{address}` is no address: 0x and hexadecimal digits, or decimal ones")
        })?;
        if !number.is_multiple_of(PAGE as u64) {
            return Err(format!(
                "a region begins at a multiple of {PAGE}, and `{address}` is none"
            ));
        }
        let (file, address) = (file.into(), Some(number));
        Ok(Self { file, address })
    }
}

/// What `import` takes.
#[derive(Args, Debug)]
pub struct ImportArgs {
    /// A file that has what came by a serial line, or the serial port by which it comes
    #[arg(value_name = "FILE|TTY", required_unless_present_any = ["memory", "perf", "folded"])]
    pub input: Option<PathBuf>,

    /// The memory that a run before a reset has left its samples in: the file that backs a guest's
    /// memory, a dump of it, or /dev/mem; and where the region begins, as the kernel's log says at its
    /// next start [default: it is looked for]
    #[arg(long, value_name = "FILE[@ADDRESS]", conflicts_with_all = ["input", "timeout", "run", "speed"])]
    pub memory: Option<MemoryPlace>,

    /// A perf.data that Linux's perf has recorded; names are those of the files that it has mapped, and of
    /// --kernel, if they have the build-ids that it has recorded
    #[arg(long, value_name = "FILE", conflicts_with_all = ["input", "memory", "folded", "debug_file", "embed_symbols", "timeout", "run", "speed"])]
    pub perf: Option<PathBuf>,

    /// Folded stacks of another profiler, a line each: `outermost;…;innermost COUNT`; `-`: the standard input
    #[arg(long, value_name = "FILE", conflicts_with_all = ["input", "memory", "kernel", "debug_file", "embed_symbols", "timeout", "run", "speed"])]
    pub folded: Option<PathBuf>,

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
    /// [default: profile.pmi in the build directory; if the tool is installed, where you are]
    #[arg(short, long, value_name = "FILE")]
    pub output: Option<PathBuf>,

    /// Keep the names of the code that was sampled in the profile, and not the kernel: one to share
    #[arg(long)]
    pub embed_symbols: bool,

    /// How the report is written
    #[arg(long, value_enum, default_value_t = ReportFormat::Text)]
    pub format: ReportFormat,
}

impl ImportArgs {
    /// The file or the port, if there is no `--memory`.
    pub fn line(&self) -> &Path {
        self.input.as_deref().unwrap_or(Path::new(""))
    }
}
