//! What `stress-boot` takes.

use std::path::PathBuf;

use clap::Args;

pub(super) const EXAMPLES: &str = "\
Examples:
  pmiscope stress-boot --times 100 --seed 7
  pmiscope stress-boot --times 100 --seed 7 --only 23    the boot 23 of these again
  pmiscope stress-boot --times 20 --dry-run              only the command lines
  pmiscope stress-boot --disc pmiscope.iso --firmware OVMF_CODE.fd

Exit status 1 if a boot ends in another way than is expected of it. ^C ends with what is known.";

/// What `stress-boot` takes.
#[derive(Args, Debug)]
pub struct StressBootArgs {
    /// How many boots
    #[arg(long, value_name = "N", default_value_t = 100,
          value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub times: u32,

    /// Where the random numbers begin: the same seed, with the same QEMUs at hand, draws the
    /// same boots
    #[arg(long, value_name = "S", default_value_t = 1)]
    pub seed: u64,

    /// Do only this boot of them, and show what it says
    #[arg(long, value_name = "NUMBER")]
    pub only: Option<u32>,

    /// Boots at the same time
    #[arg(long, value_name = "N", default_value_t = 1,
          value_parser = clap::value_parser!(u32).range(1..=64))]
    pub jobs: u32,

    /// Show the command lines of the boots, and what is expected of each, and boot nothing
    #[arg(long)]
    pub dry_run: bool,

    #[command(flatten)]
    pub given: GivenArgs,

    /// The folder for what boots that failed have left: log, report, profile
    /// [default: stress-boot in the build directory; if the tool is installed, where you are]
    #[arg(short, long, value_name = "FOLDER")]
    pub output: Option<PathBuf>,
}

// What there is to boot by, beside what is found.
#[derive(Args, Debug)]
pub struct GivenArgs {
    /// Another QEMU to boot in, beside the stock one and the lab emulator; can be said several
    /// times
    #[arg(long, value_name = "PATH")]
    pub qemu: Vec<PathBuf>,

    /// An image with stock Limine, as `make iso` builds it, to boot some from
    #[arg(long, visible_alias = "iso", value_name = "FILE")]
    pub disc: Option<PathBuf>,

    /// A UEFI firmware image (OVMF_CODE.fd), to boot some of the disc by
    #[arg(long, value_name = "FILE", requires = "disc")]
    pub firmware: Option<PathBuf>,

    /// The kernel [default: the one that was built]
    #[arg(long, value_name = "ELF")]
    pub kernel: Option<PathBuf>,

    /// The loader [default: the one that was built]
    #[arg(long, value_name = "ELF")]
    pub loader: Option<PathBuf>,
}
