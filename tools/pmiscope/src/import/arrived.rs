//! The blocks that have arrived, by the run that they are of.

use std::collections::BTreeMap;
use std::ops::Range;

use profiler::format::wire::{Frame, Kind, Scanner};

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

    /// The blocks of a kind and a core, by their numbers.
    pub fn of_part(&self, kind: Kind, core: u16) -> impl Iterator<Item = &Frame> {
        let frames = self.here.values();
        frames.filter(move |frame| (frame.part.kind, frame.part.core) == (kind, core))
    }
}

/// What has come by a wire.
#[derive(Default)]
pub struct Arrived {
    scanner: Scanner,
    /// The runs, the one that has begun last at the end.
    runs: Vec<Blocks>,
}

impl Arrived {
    /// Takes bytes that have come. Returns the run that was sent to its end with them, as far as
    /// the other side knows.
    pub fn add(&mut self, bytes: &[u8]) -> Option<u32> {
        let mut ended = None;
        for &byte in bytes {
            let Some(frame) = self.scanner.push(byte) else {
                continue;
            };
            let run = frame.number.run;
            match frame.part.kind {
                Kind::Summary => {
                    self.run(&frame);
                    ended = Some(run);
                }
                kind if kind.is_block() => self.add_block(frame),
                // What this side says, come back.
                _ => {}
            }
        }
        ended
    }

    fn add_block(&mut self, frame: Frame) {
        let run = self.run(&frame);
        if frame.number.block < run.of && frame.number.of == run.of {
            run.here.entry(frame.number.block).or_insert(frame);
        }
    }

    /// The run of a frame.
    fn run(&mut self, frame: &Frame) -> &mut Blocks {
        let run = frame.number.run;
        let place = self.runs.iter().position(|it| it.run == run);
        let place = place.unwrap_or_else(|| {
            self.runs.push(Blocks {
                run,
                of: frame.number.of,
                here: BTreeMap::new(),
            });
            self.runs.len() - 1
        });
        &mut self.runs[place]
    }

    /// The run that has begun last.
    #[must_use]
    pub fn last(&self) -> Option<&Blocks> {
        self.runs.last()
    }

    /// The runs, in the order in which they have begun.
    #[must_use]
    pub fn runs(&self) -> &[Blocks] {
        &self.runs
    }

    /// Bytes that were damaged and are mended.
    #[must_use]
    pub fn mended(&self) -> u64 {
        self.scanner.mended()
    }
}
