//! What `list` and `doctor` take.

use clap::Args;

use super::MachineArgs;

pub(super) const LIST_EXAMPLES: &str = "\
Examples:
  pmiscope list                                  in the machine of pmiscope run
  pmiscope list --smp 25 --mode realtime         in another
  pmiscope list --json | jq -r '.events[] | select(.is_here).name'";

pub(super) const DOCTOR_EXAMPLES: &str = "\
Examples:
  pmiscope doctor
  pmiscope doctor --qemu ~/qemu/build/qemu-system-x86_64 --mode realtime
  pmiscope doctor --json | jq -r '.findings[] | select(.remedy).remedy'

Exit status 0 if sampling is possible, 1 if not.";

/// The machine that is probed, and how the result is shown.
#[derive(Args, Debug)]
pub struct CapabilitiesArgs {
    #[command(flatten)]
    pub machine: MachineArgs,

    /// End a guest that hangs: that gave no line of its log for so many seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 60,
          value_parser = clap::value_parser!(u64).range(1..=1_000_000))]
    pub timeout: u64,

    /// Write it for programs
    #[arg(long)]
    pub json: bool,
}
