//! A run with nothing remarkable, around what the targets make up.

use pmiscope::profile::{Asked, CoreEnd, Head, Host, Mode, Outcome, OverheadEnd, RunEnd, Writer};
use pmiscope::qemu::Emulator;
use profiler::address::{CodeAddress, CodeRange};
use profiler::format::{Description, Source, Text};

/// The cores of the run.
pub(crate) const CORES: u32 = 2;
/// The words of each core's ring.
pub(crate) const RING_WORDS: u64 = 64;
/// Where the kernel's text begins.
pub(crate) const TEXT: u64 = 0xffff_ffff_8010_0000;

pub(crate) fn text(bytes: u64) -> CodeRange {
    CodeRange {
        start: CodeAddress(TEXT),
        end: CodeAddress(TEXT.saturating_add(bytes)),
    }
}

pub(crate) fn description() -> Description {
    Description::new([7; 20], text(1 << 20), CORES, RING_WORDS)
}

/// The same by counters, of an event.
pub(crate) fn description_of_events() -> Description {
    let mut run = description();
    run.source = Source::Pmu;
    run.event_table[0].name = Text::new("cycles:k");
    run.event_count = 1;
    run
}

/// The start of a profile of this run.
///
/// # Panics
///
/// Never: a vector takes everything.
pub(crate) fn writer(description: &Description, kernel: &[u8]) -> Writer<Vec<u8>> {
    let host = Host {
        pmiscope: "0.1.0".into(),
        qemu: "7.2.22".into(),
        emulator: Emulator::Stock,
        pmu: None,
        mode: Mode::Deterministic,
        arguments: Vec::new(),
        asked: Asked::default(),
        imported: None,
    };
    let head = Head {
        description,
        host: &host,
        kernel,
    };
    Writer::new(Vec::new(), &head).expect("a vector takes everything")
}

/// The end of a run that has stored so many records on each core, and what interrupts cost
/// there.
pub(crate) fn end(cores: impl IntoIterator<Item = (u64, Vec<OverheadEnd>)>) -> RunEnd {
    let core = |(apic_id, (stored, overheads))| CoreEnd {
        apic_id,
        taken: stored,
        stored,
        lost: 0,
        fast: None,
        unclaimed: 0,
        nested: 0,
        late: 0,
        early: 0,
        missed: 0,
        checks: 0,
        smis: None,
        maker: 0,
        kind: 0,
        overheads,
        ring_bytes: 0,
        corrupt_at: None,
        damaged_chains: 0,
        accounts: Vec::new(),
        processes: Vec::new(),
    };
    RunEnd {
        outcome: Outcome::Finished,
        message: String::new(),
        cores: (0..).zip(cores).map(core).collect(),
    }
}
