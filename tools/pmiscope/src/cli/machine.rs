//! What every command takes that boots a guest.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::Args;
use clap::builder::{OsStringValueParser, TypedValueParser as _};

use super::LoadArgs;
use crate::profile::Mode;
use crate::qemu::{Choice, PmuModel};

/// The help's heading of what the machine is.
pub(super) const HEADING: &str = "Machine";

/// The machine, and what is booted in it. What only some commands can choose, such as
/// its memory, they have themselves; so with limits of time, whose defaults differ.
#[derive(Args, Clone, Debug)]
pub struct MachineArgs {
    /// Cores of the machine, 1 to 255
    #[arg(long, help_heading = HEADING, value_name = "N", default_value_t = 4,
          value_parser = clap::value_parser!(u32).range(1..=255))]
    pub smp: u32,

    /// How the machine's time runs: by a count of instructions, so that a run
    /// repeats exactly, or by the clock, with the cores in parallel; by kvm on the
    /// host's own processor
    #[arg(long, help_heading = HEADING, value_enum, default_value_t = Mode::Deterministic)]
    pub mode: Mode,

    /// The kernel, an ELF file with a build-id [default: the one that was built]
    #[arg(long, help_heading = HEADING, value_name = "ELF")]
    pub kernel: Option<PathBuf>,

    /// The loader, for a kernel by the Limine protocol [default: the one that was built;
    /// none for a kernel that has a PVH note and no requests of that protocol, which QEMU
    /// starts itself]
    #[arg(long, help_heading = HEADING, value_name = "ELF")]
    pub loader: Option<PathBuf>,

    /// What the loader is given beside the kernel.
    #[command(flatten)]
    pub load: LoadArgs,

    /// Which QEMU, and its counters.
    #[command(flatten)]
    pub emulator: EmulatorArgs,

    /// Show the machine's screen, which it then has (a framebuffer if the kernel asks for one,
    /// else -vga std), as QEMU's -display does: gtk, sdl, vnc=:1 or another [default: none]
    #[arg(long, help_heading = HEADING, value_name = "TYPE")]
    pub display: Option<String>,

    /// Show QEMU's command line and the guest's log
    #[arg(long)]
    pub verbose: bool,

    /// More of QEMU's command line, behind `--`: devices, discs, ports. What pmiscope sets
    /// itself is refused
    #[arg(last = true, value_name = "QEMU-ARGS")]
    pub qemu_arguments: Vec<OsString>,
}

/// Which QEMU is used.
#[derive(Args, Clone, Debug, Default)]
pub struct EmulatorArgs {
    /// The QEMU to use: stock is qemu-system-x86_64 in PATH; lab is the one that `make
    /// qemu-pmu` builds, which has performance counters [default: lab in deterministic
    /// mode, if it is built and --disc is not given; else stock]
    #[arg(long, help_heading = HEADING, value_name = "stock|lab|PATH",
          value_parser = OsStringValueParser::new().map(Choice::parse))]
    pub qemu: Option<Choice>,

    /// The performance counters that the lab emulator's cores have, in deterministic mode
    /// [default: intel-v5]
    #[arg(long, help_heading = HEADING, value_name = "MODEL", value_enum)]
    pub pmu: Option<PmuModel>,
}
