//! What `postmortem` and `log` take.

use std::path::PathBuf;

use clap::Args;

pub(super) const POSTMORTEM_EXAMPLES: &str = "\
Examples:
  pmiscope postmortem /dev/shm/ram                 what is left of a guest whose QEMU was killed
  pmiscope postmortem guest.core --elf kernel.elf  by QMP's dump-guest-memory

The memory is only read. Exit status 3 if a part of what there was cannot be read.";

pub(super) const LOG_EXAMPLES: &str = "\
Examples:
  pmiscope log                  of the run that goes on
  pmiscope log /dev/shm/ram     of a guest, live or dead, by the file that backs its memory
  pmiscope log guest.core       by QMP's dump-guest-memory

Exit status 3 if a part of what there was cannot be read.";

/// What `postmortem` takes.
#[derive(Args, Debug)]
pub struct PostmortemArgs {
    /// The file that backs the guest's memory (mem-path of a memory-backend-file with
    /// share=on), or an ELF core of the guest by QMP's dump-guest-memory
    #[arg(value_name = "RAMFILE|ELFCORE")]
    pub memory: PathBuf,

    /// The kernel that ran, an ELF file; it must have the build-id of the one in the memory
    /// [default: the one that was built]
    #[arg(long, visible_alias = "kernel", value_name = "KERNEL")]
    pub elf: Option<PathBuf>,

    /// A debug file that was split off the kernel; it must have the kernel's build-id. Can be
    /// said several times [default: found by build-id and debuglink]
    #[arg(long, value_name = "FILE")]
    pub debug_file: Vec<PathBuf>,
}

/// What `log` takes.
#[derive(Args, Debug)]
pub struct LogArgs {
    /// The file that backs a guest's memory, or an ELF core of the guest by QMP's
    /// dump-guest-memory [default: the memory of the run that goes on]
    #[arg(value_name = "RAMFILE|ELFCORE")]
    pub memory: Option<PathBuf>,

    /// The run's process; the only one if there is only one
    #[arg(long, value_name = "PID", conflicts_with = "memory")]
    pub pid: Option<u32>,
}
