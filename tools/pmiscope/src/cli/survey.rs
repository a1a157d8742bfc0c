//! What `list` and `doctor` take.

use std::path::PathBuf;

use clap::Args;

use super::EmulatorArgs;
use crate::profile::Mode;

/// Examples of `list`.
pub(super) const LIST_EXAMPLES: &str = "\
Examples:
  pmiscope list                                  in the machine of pmiscope run
  pmiscope list --smp 25 --mode realtime         in another
  pmiscope list --json | jq -r '.events[] | select(.is_here).name'";

/// Examples of `doctor`.
pub(super) const DOCTOR_EXAMPLES: &str = "\
Examples:
  pmiscope doctor
  pmiscope doctor --qemu ~/qemu/build/qemu-system-x86_64 --mode realtime
  pmiscope doctor --json | jq -r '.findings[] | select(.remedy).remedy'

Exit status 0 if sampling is possible, 1 if not.";

/// The machine that is surveyed, and how that is shown.
#[derive(Args, Debug)]
pub struct SurveyArgs {
    /// Cores of the machine, 1 to 255
    #[arg(long, value_name = "N", default_value_t = 4,
          value_parser = clap::value_parser!(u32).range(1..=255))]
    pub smp: u32,

    /// How the machine's time runs, as pmiscope run has it
    #[arg(long, value_enum, default_value_t = Mode::Deterministic)]
    pub mode: Mode,

    /// The kernel, an ELF file [default: the one that was built]
    #[arg(long, value_name = "ELF")]
    pub kernel: Option<PathBuf>,

    /// The loader [default: the one that was built]
    #[arg(long, value_name = "ELF")]
    pub loader: Option<PathBuf>,

    /// Which QEMU, and its counters.
    #[command(flatten)]
    pub emulator: EmulatorArgs,

    /// End a guest that hangs: that gave no line of its log for so many seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 60,
          value_parser = clap::value_parser!(u64).range(1..=1_000_000))]
    pub timeout: u64,

    /// Write it for programs
    #[arg(long)]
    pub json: bool,

    /// Show QEMU's command line and the guest's log
    #[arg(long)]
    pub verbose: bool,
}
