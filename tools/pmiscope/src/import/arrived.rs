//! The blocks that have arrived, by the run that they are of.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use profiler::format::wire::{Frame, Kind, Scanner};

use super::said::Said;

/// What has arrived of a run.
pub struct Blocks {
    /// What its frames call it.
    pub run: u32,
    /// How many blocks there are.
    pub of: u32,
    /// Those that are here, by their numbers.
    pub here: BTreeMap<u32, Frame>,
}

impl Blocks {
    /// The numbers of blocks that are not here, each range as long as it can be.
    #[must_use]
    pub fn missing(&self) -> Vec<Range<u32>> {
        let mut missing = Vec::new();
        let mut next = 0;
        for &number in self.here.keys().chain([&self.of]) {
            if next < number {
                missing.push(next..number);
            }
            next = number.saturating_add(1);
        }
        missing
    }

    /// Returns true if no block is missing.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        self.here.len() as u64 >= u64::from(self.of)
    }

    /// The blocks, by what and which core they are of.
    #[must_use]
    pub fn by_part(&self) -> BTreeMap<(Kind, u16), Vec<&Frame>> {
        let mut parts = BTreeMap::<_, Vec<_>>::new();
        for frame in self.here.values() {
            let part = (frame.part.kind, frame.part.core);
            parts.entry(part).or_default().push(frame);
        }
        parts
    }
}

/// What has come by a wire. Of one run the blocks are kept: as much memory as that has sent,
/// whatever else has come.
#[derive(Default)]
pub struct Arrived {
    scanner: Scanner,
    /// The run that is kept, by its place among those that have begun; the last one if none is
    /// named.
    wanted: Option<usize>,
    /// What the frames of all runs that have begun call them.
    begun: BTreeSet<u32>,
    kept: Option<Blocks>,
    frames: u64,
    said: Said,
}

impl Arrived {
    /// Keeps the run with this number, from 1, in place of the last one.
    #[must_use]
    pub fn of_run(number: Option<usize>) -> Self {
        Self {
            wanted: number.map(|number| number.saturating_sub(1)),
            ..Self::default()
        }
    }

    /// Takes bytes that have come. Returns true if the run that is kept was sent to its end with
    /// them, as far as the other side knows.
    pub fn add(&mut self, bytes: &[u8]) -> bool {
        let mut is_at_end = false;
        for &byte in bytes {
            if self.frames == 0 {
                self.said.add(byte);
            }
            let Some(frame) = self.scanner.push(byte) else {
                continue;
            };
            let kind = frame.part.kind;
            // What this side says may come back.
            if kind != Kind::Summary && !kind.is_block() {
                continue;
            }
            self.frames += 1;
            let Some(run) = self.run(&frame) else {
                continue;
            };
            if kind == Kind::Summary {
                is_at_end = true;
            } else if frame.number.block < run.of && frame.number.of == run.of {
                run.here.entry(frame.number.block).or_insert(frame);
            }
        }
        is_at_end
    }

    /// The run of a frame, if it is the one that is kept.
    fn run(&mut self, frame: &Frame) -> Option<&mut Blocks> {
        let run = frame.number.run;
        let is_kept = self.kept.as_ref().is_some_and(|kept| kept.run == run);
        if !is_kept {
            if !self.begun.insert(run) {
                return None;
            }
            let place = self.begun.len() - 1;
            if self.wanted.is_some_and(|wanted| wanted != place) {
                return None;
            }
            self.kept = Some(Blocks {
                run,
                of: frame.number.of,
                here: BTreeMap::new(),
            });
        }
        self.kept.as_mut()
    }

    /// The run that is kept, if it has begun.
    #[must_use]
    pub fn kept(&self) -> Option<&Blocks> {
        self.kept.as_ref()
    }

    /// How many runs have begun.
    #[must_use]
    pub fn runs(&self) -> usize {
        self.begun.len()
    }

    /// Frames that have come whole, those that came twice included.
    #[must_use]
    pub fn frames(&self) -> u64 {
        self.frames
    }

    /// Bytes that were damaged and are mended.
    #[must_use]
    pub fn mended(&self) -> u64 {
        self.scanner.mended()
    }

    /// What the log has said last that may be why there is no frame.
    #[must_use]
    pub fn said(&self) -> Option<&str> {
        self.said.last()
    }
}
