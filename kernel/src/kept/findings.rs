//! What is found of runs before a reset, in memory of which nothing is used yet.

use kernel_core::words::KeptRuns;
use profiler::format::kept::{self, Kept, Readable};
use profiler::format::region::{RegionError, RunState};
use spin::Once;
use x86_64::PhysAddr;

use crate::memory::frames::{Block, HOST_PLACES, Reserved};

/// The most damaged runs that are named.
const MOST: usize = 4;

/// A run that has left something.
#[derive(Clone, Copy, Debug)]
pub struct KeptRun {
    /// The memory of its region.
    pub block: Block,
    /// Its kernel's.
    pub build_id: [u8; 20],
    /// How it had ended.
    pub state: RunState,
    /// What can be read of it.
    pub readable: Readable,
}

/// What was found.
#[derive(Default, Debug)]
pub struct Findings {
    runs: [Option<KeptRun>; Reserved::MOST],
    damaged: [Option<(PhysAddr, Damage)>; MOST],
    /// Runs that were forgotten, as was asked for.
    pub dropped: u32,
    /// What there was no room to keep or to name.
    pub more: u32,
}

/// Why what looks like a region is not kept.
#[derive(Clone, Copy, Debug)]
pub enum Damage {
    /// Its header cannot be read.
    Header(RegionError),
    /// None of its rings can be read.
    Rings,
}

static FINDINGS: Once<Findings> = Once::new();

/// Looks for them in free memory, of which nothing is used yet, and says what is to be left alone.
pub fn look(free: &mut dyn Iterator<Item = Block>, wanted: KeptRuns) -> Reserved {
    let mut reserved = Reserved::default();
    FINDINGS.call_once(|| {
        let mut findings = Findings::default();
        free.for_each(|block| findings.search(block, wanted, &mut reserved));
        findings
    });
    reserved
}

/// What was found.
///
/// # Panics
///
/// Before it was looked for.
pub fn findings() -> &'static Findings {
    FINDINGS.get().expect("what is kept is asked for too early")
}

impl Findings {
    fn search(&mut self, block: Block, wanted: KeptRuns, reserved: &mut Reserved) {
        let end = (block.start + block.bytes).as_u64();
        let mut from = block.start.as_u64();
        for place in HOST_PLACES {
            // Not in a run that was found in the place before, and reaches into this one.
            let first = from.max(reserved.end()).next_multiple_of(place.step);
            let below = place.below.as_u64();
            from = from.max(below);
            if first >= end.min(below) {
                continue;
            }
            let start = PhysAddr::new(first);
            let memory = Block {
                start,
                bytes: end - first,
            };
            let [step, before] = [place.step, below - first]
                .map(|bytes| usize::try_from(bytes).expect("an address has 64 bits"));
            // SAFETY: it is mapped for ever and was not given to anyone yet. What is kept is given
            // to nobody as long as it is a region.
            let found = unsafe { kept::find(memory.bytes(), step) };
            for found in found.beginning_before(before) {
                match found {
                    Ok(kept) => self.add(start + kept.offset as u64, &kept, wanted, reserved),
                    Err(damaged) => {
                        let damage = Damage::Header(damaged.problem);
                        self.add_damaged(start + damaged.offset as u64, damage);
                    }
                }
            }
        }
    }

    fn add(&mut self, start: PhysAddr, kept: &Kept<'_>, wanted: KeptRuns, reserved: &mut Reserved) {
        kept.mark_cut();
        let readable = kept.readable();
        let is_damaged = readable.samples == 0 && readable.damaged_rings > 0;
        let is_kept = kept.is_wanted() && !is_damaged && wanted != KeptRuns::Drop;
        if !is_kept {
            // What will be written into its rings would look like samples.
            kept.region.forget();
        }
        if !kept.is_wanted() {
            return;
        }
        if is_damaged {
            self.add_damaged(start, Damage::Rings);
            return;
        }
        if wanted == KeptRuns::Drop {
            self.dropped += 1;
            return;
        }
        let bytes = kept.region.bytes() as u64;
        let block = Block { start, bytes };
        let place = self.runs.iter_mut().find(|place| place.is_none());
        let Some(place) = place.filter(|_| reserved.add(block)) else {
            self.more += 1;
            return;
        };
        *place = Some(KeptRun {
            block,
            build_id: kept.build_id,
            state: kept.region.state(),
            readable,
        });
    }

    fn add_damaged(&mut self, start: PhysAddr, damage: Damage) {
        match self.damaged.iter_mut().find(|place| place.is_none()) {
            Some(place) => *place = Some((start, damage)),
            None => self.more += 1,
        }
    }

    /// The runs, in the order of their addresses.
    pub fn runs(&self) -> impl Iterator<Item = &KeptRun> {
        self.runs.iter().flatten()
    }

    /// What looks like a region and cannot be read.
    pub fn damaged(&self) -> impl Iterator<Item = &(PhysAddr, Damage)> {
        self.damaged.iter().flatten()
    }
}
