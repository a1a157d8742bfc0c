//! What becomes of the samples that a run before a reset has left: `kept=`.
//!
//! Their region lies in the middle of the longest piece of free memory, at a multiple of a step
//! ([`HOST_PLACES`](frames::HOST_PLACES)): firmware and boot loaders work at the ends of memory. So
//! the next boot finds it by looking at the multiples alone, whatever the memory map says in detail.

mod findings;

use core::fmt;

use kernel_core::words::KeptRuns;
use profiler::contract::settings::SendTo;
use profiler::format::region::RunState;

use crate::exit::{self, ExitCode};
use crate::memory::frames::{self, Block};
use crate::wire;

pub use findings::look;
use findings::{Damage, KeptRun, findings};

/// Says what there is, and sends it if that is asked for. With `kept=send` that ends the run.
pub fn handle(wanted: KeptRuns, send: SendTo) {
    let findings = findings();
    for (address, damage) in findings.damaged() {
        let reason: &dyn fmt::Display = match damage {
            Damage::Header(problem) => problem,
            Damage::Rings => &"nothing in its rings can be read",
        };
        log::warn!(
            "kept: what looks like a run at {address:#x} is damaged, and is not kept: {reason}"
        );
    }
    if findings.dropped > 0 {
        log::info!("kept: {} forgotten: kept=drop", Runs(findings.dropped));
    }
    if findings.more > 0 {
        log::warn!("kept: there are {} more than are kept", findings.more);
    }
    let sends = wanted == KeptRuns::Send || send == SendTo::Serial;
    for run in findings.runs() {
        log::info!("kept: {run}; {}", ToDo { run, sends });
        if sends && wire::send_now(run.block) {
            // SAFETY: nothing was put there, it is the block of a run that is kept, once, and it
            // is a region no more.
            unsafe { frames::give_back(run.block) };
        }
    }
    if wanted == KeptRuns::Send && findings.runs().next().is_some() {
        log::info!("kept: no new run: kept=send");
        exit::exit(ExitCode::Success)
    }
}

/// Takes the memory for a region, and says where it is; `None` if there is too little, and what can
/// be done if kept runs have it.
pub fn take_region(bytes: u64) -> Option<Block> {
    let block = frames::take_for_host(bytes);
    if let Some(Block { start, bytes }) = block {
        let fate = if frames::is_found_again(start) {
            "found again after a reset"
        } else {
            "not found after a reset, as there is too little memory"
        };
        log::info!("region: {} KiB at {start:#x}, {fate}", bytes >> 10);
    } else if findings().runs().next().is_some() {
        log::warn!(
            "kept: runs that are kept have memory that this one lacks: kept=drop gives it back"
        );
    }
    block
}

struct Runs(u32);

impl fmt::Display for Runs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let plural = if self.0 == 1 { "" } else { "s" };
        write!(f, "{} run{plural}", self.0)
    }
}

impl fmt::Display for KeptRun {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let end = match self.state {
            RunState::Finished => "had finished",
            RunState::Failed | RunState::Refused => "had failed",
            _ => "was cut",
        };
        let (samples, address) = (self.readable.samples, self.block.start);
        write!(
            f,
            "{samples} samples of a run before the reset, which {end}, at {address:#x}, build-id "
        )?;
        self.build_id
            .iter()
            .try_for_each(|byte| write!(f, "{byte:02x}"))?;
        match self.readable.damaged_rings {
            0 => Ok(()),
            1 => f.write_str(", a ring damaged"),
            rings => write!(f, ", {rings} rings damaged"),
        }
    }
}

/// How to have a run's samples.
struct ToDo<'a> {
    run: &'a KeptRun,
    sends: bool,
}

impl fmt::Display for ToDo<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.sends {
            return f.write_str("now sent");
        }
        write!(
            f,
            "they stay: pmiscope import --memory FILE@{:#x}, or kept=send; kept=drop forgets them",
            self.run.block.start
        )
    }
}
