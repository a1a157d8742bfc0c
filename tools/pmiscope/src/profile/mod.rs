//! The profile: a file that has all that a report needs, the kernel's symbols
//! included, and that can be read however it ends.
//!
//! ```text
//! 0    magic        16 bytes
//! 16   version      u32, then four zero bytes
//! 24   chunks       to the end of the file
//!
//! chunk
//! 0    marker       4 bytes
//! 4    kind         u32
//! 8    ordinal      u32: 0, 1, 2, … in the order of the file
//! 12   core         u32: whose records; of a file's chunks, how many came before; else 0
//! 16   raw length   u32: bytes of the payload when it is unpacked
//! 20   length       u32: bytes of the payload in the file
//! 24   run          u64: a number of the run, by chance; the same in all its chunks
//! 32   header sum   CRC-32 of bytes 4..32
//! 36   checksum     CRC-32 of bytes 4..36 and the payload
//! 40   payload      compressed (zstd, RFC 8878), but of stacks and samples: their columns are
//! ```
//!
//! All numbers are little-endian. The kinds, in the order of the file:
//!
//! * *head* (1): the run's [`Description`], as the kernel encoded it, then [`Host`]
//!   as JSON. Without it nothing else has a meaning.
//! * *kernel part* (5), any number, and *kernel* (2): the ELF that was booted. Parts are there if
//!   it does not fit a chunk of 256 MiB; the kernel is then the last of them.
//! * *debug file part* (7) and *debug file* (6), likewise, any number of files: separate debug
//!   files of that ELF, each its name, a zero byte, and the file.
//! * *stacks* (8), any number: what of the table of stacks the samples behind it are the first
//!   to have. Each stack is in the file once; `stacks.rs` has its layout.
//! * *samples* (3), any number: samples of all cores, as columns (`block.rs`, `column.rs`): for
//!   each the number of its stack, and what else it says. All that a sample has is there.
//! * *chains* (10), any number: how often there was each chain that was counted in place (`chains.rs`).
//! * *records* (9), any number: whole records of one core that are no samples, as they stood in
//!   its ring, oldest first.
//! * *names* (11): the names of all code that the samples have, by address, as JSON (`names.rs`), in place
//!   of the kernel's files.
//! * *end* (4): [`RunEnd`] as JSON, and with it the hash of all samples, which is made while they
//!   arrive (`hash.rs` has its definition).
//!
//! The file grows by whole chunks while the guest runs. So a tool that is killed
//! leaves a profile without an end; a file that was cut has a last chunk that is
//! not whole; and where bytes were damaged, the marker and the checksum find the
//! next chunk that is whole. In each case the chunks that are whole are read,
//! and [`Profile::incomplete`] says what is not. Where a part of the table of stacks is missing,
//! samples that have one of its stacks are left out, and counted. Chunks of another run (two
//! profiles in one file, or a piece of one in another) are left out, and it says so.
//!
//! Profiles of versions 3 to 5 had the samples as they stand in a ring; pmiscope 0.1.0 reads them.

mod assembly;
mod block;
mod chains;
mod chunk;
mod column;
mod counted;
mod distinct;
mod hash;
mod kernel_parts;
pub(crate) mod names;
pub mod programs;
pub(crate) mod read;
mod rewrite;
mod samples;
mod source;
pub(crate) mod stacks;
mod write;
mod zeros;

pub use chains::ChainCount;
pub(crate) use counted::{Alike, Counted, CountedSamples, Reading};
pub(crate) use programs::EmbeddedProgram;
pub(crate) use read::{Profile, ReadError, is_profile};
pub(crate) use samples::Timed;
pub use write::{Embedded, Writer};

use profiler::format::Description;
use profiler::format::region::Overhead;
use profiler::pmu::detect::CoreKind;
use serde::{Deserialize, Serialize};
use std::fmt;

use crate::qemu::{Emulator, PmuModel};

/// What a profile starts with. The line ends make a transfer as text show.
pub(crate) const MAGIC: [u8; 16] = *b"\x93pmiscope/run\r\n\x1a";

/// The version of the format of a profile that has chains which were counted in place, and of all
/// others: who does not know of the first would take such a profile for one that lacks samples.
pub(crate) const VERSION: u32 = 7;
pub(crate) const VERSION_OF_SAMPLES: u32 = 6;
/// That of a profile which has names in place of a kernel.
pub(crate) const VERSION_OF_NAMES: u32 = 8;

/// Bytes before the first chunk.
const FILE_HEADER: usize = 24;

/// All of a profile beside its samples, for the writer.
pub struct Head<'a> {
    /// What the kernel says of the run.
    pub description: &'a Description,
    /// What the host knows of it.
    pub host: &'a Host,
    /// The ELF file of the kernel.
    pub kernel: &'a [u8],
}

/// How the machine's time runs.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// Cores in turn, by a count of instructions: a run repeats exactly.
    Deterministic,
    /// Cores in parallel, by the host's clock.
    Realtime,
    /// The same on the host's own processor, with its performance counters, by KVM.
    Kvm,
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Deterministic => "deterministic",
            Self::Realtime => "realtime",
            Self::Kvm => "kvm",
        })
    }
}

/// What the host knows of a run when it starts.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Host {
    /// The version of this tool.
    pub pmiscope: String,
    /// QEMU's version, such as `7.2.22`.
    pub qemu: String,
    /// Which QEMU it was.
    #[serde(default)]
    pub emulator: Emulator,
    /// The performance counters that it was asked for.
    #[serde(default)]
    pub pmu: Option<PmuModel>,
    /// How the machine's time runs.
    pub mode: Mode,
    /// The arguments that QEMU was started with.
    pub arguments: Vec<String>,
    /// What the kernel was asked for.
    #[serde(default)]
    pub asked: Asked,
    /// What another profiler has recorded it by, if it was imported: nothing is known of a machine.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub imported: Option<String>,
}

/// What the kernel was asked for by its command line.
#[derive(Clone, PartialEq, Eq, Default, Debug, Serialize, Deserialize)]
pub struct Asked {
    /// The command line; empty if it stands on a disc, where the tool does not see it.
    pub words: String,
    /// The keys of those words that the user has named. The others are defaults of the tool.
    pub by_user: Vec<String>,
    /// The machine's cores; 0 if that is not known.
    pub cores: u32,
}

/// How a run ended.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct RunEnd {
    /// What ended it.
    pub outcome: Outcome,
    /// What the guest or QEMU said about that; empty if nothing.
    pub message: String,
    /// Each core's counters, in the order of the cores.
    pub cores: Vec<CoreEnd>,
}

impl RunEnd {
    /// The processes that the kernel has announced.
    pub fn processes(&self) -> impl Iterator<Item = &ProcessEnd> {
        self.cores.iter().flat_map(|core| &core.processes)
    }
}

/// How a run ended, and what was made of all its samples.
#[derive(Serialize, Deserialize)]
struct Ending {
    #[serde(flatten)]
    run: RunEnd,
    sample_hash: String,
}

/// What ended a run.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    /// The kernel took all its samples and left.
    Finished,
    /// The kernel could not take its command line.
    BadCommandLine,
    /// The kernel has no such sampling source here, or the period is too short.
    SamplingUnavailable,
    /// The kernel panicked.
    Panic,
    /// The kernel met an exception.
    Exception,
    /// The loader could not load the kernel.
    LoaderFailed,
    /// The kernel left before it had taken all its samples.
    EndedEarly,
    /// The kernel says that it failed.
    Failed,
    /// The kernel left with a value that means nothing.
    UnknownValue,
    /// The guest reset the machine or switched it off.
    Reset,
    /// The kernel that ran is not the one that it should have been.
    WrongKernel,
    /// The kernel does not say which it is.
    NoBuildId,
    /// What the kernel shares is of another version, or broken.
    Unreadable,
    /// No sample and no line of the log arrived for too long.
    Hung,
    /// The run took longer than it was allowed to.
    TimeLimit,
    /// The user ended it.
    Interrupted,
    /// QEMU ended for a reason of its own.
    QemuFailed,
    /// The memory is of a run that had not ended.
    Unfinished,
    /// A guest that somebody else has started gave nothing for too long, and goes on.
    Silent,
    /// Some of what was sent by wire did not arrive.
    Partial,
}

/// A core's counters at the end of a run.
#[derive(Clone, PartialEq, Eq, Default, Debug, Serialize, Deserialize)]
pub struct CoreEnd {
    /// The id of its local APIC.
    pub apic_id: u64,
    /// Overflow interrupts that it took.
    pub taken: u64,
    /// Records that were in its ring, and samples that were counted in its table.
    pub stored: u64,
    /// Records that did not fit into its ring.
    pub lost: u64,
    /// Those of the records that its fast handler has written, if that is known.
    #[serde(default)]
    pub fast: Option<u64>,
    /// Interrupts that found no overflow to account for.
    pub unclaimed: u64,
    /// Interrupts that came while the handler of another one ran.
    pub nested: u64,
    /// Of performance counters: interrupts whose overflow an earlier handler has seen
    /// already.
    pub late: u64,
    /// Interrupts that came before the event was where its overflow was due.
    pub early: u64,
    /// Overflows that were due before the one before them was handled.
    pub missed: u64,
    /// Interrupts that it sent itself to see what one costs.
    #[serde(default)]
    pub checks: u64,
    /// System management interrupts, if that is known.
    #[serde(default)]
    pub smis: Option<u64>,
    /// Who made its counters, a `Maker`; 0: not known.
    #[serde(default)]
    pub maker: u64,
    /// Of a hybrid processor, what kind of core it is, as CPUID has it; else 0.
    #[serde(default)]
    pub kind: u64,
    /// What an interrupt costs in each event, by its number, but the last ones that are all
    /// zeros; none in a run by ticks.
    #[serde(default)]
    pub overheads: Vec<OverheadEnd>,
    /// What its records took in its ring, in bytes.
    #[serde(default)]
    pub ring_bytes: u64,
    /// Where its ring became unreadable, in words since the start.
    pub corrupt_at: Option<u64>,
    /// Entries of its table that made no sense.
    #[serde(default)]
    pub damaged_chains: u64,
    /// What it has spent its time on, if its kernel accounts for that.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub accounts: Vec<AccountEnd>,
    /// The processes that its kernel has announced on it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub processes: Vec<ProcessEnd>,
}

/// A process of the user's.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct ProcessEnd {
    /// By which records know it, in place of its program's number.
    pub number: u16,
    /// The number of its program.
    pub program: u16,
    /// The number by which its kernel knows it.
    pub pid: u32,
}

/// What a core has spent on one thing.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct AccountEnd {
    /// An `AccountKind`.
    pub kind: u8,
    /// Which of those: the number of a task's name, or a vector.
    pub number: u16,
    /// In ticks of the run.
    pub ticks: u64,
}

impl CoreEnd {
    /// What kind of core it is, of a hybrid processor.
    pub(crate) fn core_kind(&self) -> Option<CoreKind> {
        let number = u8::try_from(self.kind).ok().filter(|&it| it != 0)?;
        Some(CoreKind::from_number(number))
    }
}

/// What an interrupt costs in an event, as a core's page has it.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug, Serialize, Deserialize)]
#[serde(transparent)]
pub struct OverheadEnd(#[serde(with = "OverheadFields")] pub Overhead);

/// The library knows no files, so here is how one has it.
#[derive(Serialize, Deserialize)]
#[serde(remote = "Overhead")]
struct OverheadFields {
    rest: u64,
    busy: u64,
    spread: u64,
    since: u64,
    checks: u64,
    sum: u64,
    min: u64,
    max: u64,
}
