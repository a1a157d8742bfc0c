//! What `attach` takes.

use std::path::PathBuf;

use clap::Args;

use super::ReportFormat;

pub(super) const EXAMPLES: &str = "\
Examples:
  qemu-system-x86_64 -object memory-backend-file,id=ram,size=512M,mem-path=/dev/shm/ram,share=on \\
      -machine q35,memory-backend=ram -m 512M ...
  pmiscope attach --ram /dev/shm/ram --kernel kernel.elf     in another terminal
  pmiscope attach --ram guest.core --kernel kernel.elf       by QMP's dump-guest-memory

The guest goes on when pmiscope ends. A ring has one reader at a time; what was read is gone
from it. A file that no process maps, and a dump, are only read.";

/// What `attach` takes.
#[derive(Args, Debug)]
pub struct AttachArgs {
    /// The file that backs the guest's memory (mem-path of a memory-backend-file with
    /// share=on), or an ELF core of the guest by QMP's dump-guest-memory
    #[arg(long, value_name = "FILE")]
    pub ram: PathBuf,

    /// The kernel that the guest runs, an ELF file with a build-id [default: the one that
    /// was built]
    #[arg(long, value_name = "ELF")]
    pub kernel: Option<PathBuf>,

    /// A debug file that was split off the kernel; it must have the kernel's build-id. It goes
    /// into the profile; can be said several times [default: found by build-id and debuglink]
    #[arg(long, value_name = "FILE")]
    pub debug_file: Vec<PathBuf>,

    /// The QEMU whose guest it is; with its end the run has ended [default: the process that
    /// maps the file]
    #[arg(long, value_name = "QEMU")]
    pub pid: Option<u32>,

    /// Follow the file though no process that can be seen maps it: that of another user's
    /// QEMU, or of one in another container
    #[arg(long, conflicts_with = "pid")]
    pub live: bool,

    /// Read once what the rings have, and write nothing into the file
    #[arg(long, conflicts_with_all = ["pid", "live", "timeout", "time_limit"])]
    pub once: bool,

    /// Give up after so many seconds without a sample, unless a signal has stopped QEMU
    /// [default: 60 if QEMU's process cannot be seen, and for the run to begin; else no limit]
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..=1_000_000))]
    pub timeout: Option<u64>,

    /// End the profile after so many seconds [default: no limit]
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..=1_000_000))]
    pub time_limit: Option<u64>,

    /// The profile to write; the flame graph goes beside it, with the ending svg
    /// [default: profile.pmi in the build directory; if the tool is installed, where you are]
    #[arg(short, long, value_name = "FILE")]
    pub output: Option<PathBuf>,

    /// Show where the time goes while the guest runs: as `pmiscope top`
    #[arg(long, conflicts_with = "once")]
    pub top: bool,

    /// Keep the names of the code that was sampled in the profile, and not the kernel: one to share
    #[arg(long)]
    pub embed_symbols: bool,

    /// How the report is written
    #[arg(long, value_enum, default_value_t = ReportFormat::Text)]
    pub format: ReportFormat,
}
