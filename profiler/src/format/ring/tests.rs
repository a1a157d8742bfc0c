//! The ring with writes nested at every point, a reader beside it, and memory
//! that lies.
//!
//! The same scenarios run in two ways: as plain tests, one thread, every point
//! of interruption in turn; and under loom (`--cfg loom`), where a concurrent
//! reader meets every interleaving and every value that the memory model allows.

use super::in_place::Interrupted;
use super::writer::{Base, InterruptPoint};
use super::*;
use crate::address::{CodeAddress, CodeRange, StackAddress};
use crate::format::sample::compact::{self, Context, EXTENT_UNITS, Offsets};
use crate::format::sample::{Chain, MAX_WORDS};
use crate::format::{ChainEnd, ChainEntry, Sample, State};
use crate::sync::AtomicU32;
use std::cell::{Cell, RefCell};

pub(super) const TEXT: CodeRange = CodeRange {
    start: CodeAddress(0xffff_ffff_8010_0000),
    end: CodeAddress(0xffff_ffff_8020_0000),
};

/// The sample with this sequence number, which says all the rest of it.
pub(super) fn sample(sequence: u32) -> Sample<'static> {
    let number = u64::from(sequence);
    Sample {
        sequence,
        handler_cost: sequence % 1000,
        event: 0,
        task: u16::try_from(sequence % 200).unwrap(),
        state: State(State::NMI),
        time: number * 1_000_003,
        period: number * 7 % 100_000,
        sp: StackAddress(0xffff_c000_0010_0000 - number % 50 * 8),
        stack_top: [0, TEXT.start.0 + number % 1000],
        pc: CodeAddress(TEXT.start.0 + number % 5000),
        exact: None,
        end: ChainEnd::Complete,
        chain_words: &[],
    }
}

/// The chain of that sample.
pub(super) fn chain(sequence: u32) -> Chain {
    let mut chain = Chain::new();
    // Under loom the shorter, the sooner it ends.
    let len = if cfg!(loom) { 0 } else { sequence % 7 };
    for caller in 1..=len {
        let address = CodeAddress(TEXT.start.0 + u64::from(caller * 100 + sequence % 50));
        chain.push(ChainEntry::Return(address)).unwrap();
    }
    chain
}

pub(super) fn record(sequence: u32) -> Vec<u64> {
    chain(sequence).record(&sample(sequence)).to_vec()
}

pub(super) struct Ring {
    pub(super) control: Control,
    pub(super) data: Vec<AtomicU32>,
}

impl Ring {
    pub(super) fn new(units: usize) -> Self {
        Self {
            control: Control::new(),
            data: (0..units).map(|_| AtomicU32::new(0)).collect(),
        }
    }

    #[cfg(not(loom))]
    pub(super) fn writer(&self) -> Writer<'_> {
        Writer::new(&self.control, &self.data, TEXT)
    }

    /// Loom compares a store with the last access before it, whoever's: it must not be a load of
    /// the writer's own, or the reader's is not seen, and nothing is tried but one order.
    #[cfg(loom)]
    pub(super) fn writer(&self) -> Writer<'_> {
        Writer::at(0, &self.control, &self.data, TEXT)
    }

    /// Reads one sample, as a reader that has just started; checks that it is as it was written and
    /// returns its number.
    fn read(&self) -> Option<u32> {
        let mut words = [0; MAX_WORDS];
        let mut reader = Reader::new(&self.control, &self.data, TEXT);
        let len = reader.read(&mut words).expect("a sound ring")?;
        let sequence = Sample::decode(&words[..len]).unwrap().sequence;
        assert_eq!(words[..len], record(sequence), "sample {sequence} is torn");
        Some(sequence)
    }

    pub(super) fn read_all(&self) -> Vec<u32> {
        std::iter::from_fn(|| self.read()).collect()
    }
}

/// How a sample is written.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Way {
    /// Reserved, then written.
    Exact,
    /// In place, and if that is refused or interrupted, exactly.
    Fast,
    /// In place, and what is found in the middle is unusual: then exactly.
    Abandoned,
}

/// What happens in the middle of writes: at certain points, counted over all that is written, a
/// write nests there, and a reader looks.
pub(super) struct Interrupts<'a> {
    ring: &'a Ring,
    writer: &'a Writer<'a>,
    points: Cell<u32>,
    nested: &'a [(u32, Way)],
    pub(super) reads_at: &'a [u32],
    log: Log,
}

/// What has happened so far.
#[derive(Default)]
struct Log {
    /// The number of samples begun.
    claimed: Cell<u32>,
    moments: Cell<u32>,
    /// The samples written, and the moments between which each was.
    written: RefCell<Vec<(u32, u32, u32)>>,
    lost: Cell<u64>,
    read: RefCell<Vec<u32>>,
    /// The samples of which the write in place was the last one.
    compact: Cell<u32>,
}

impl<'a> Interrupts<'a> {
    pub(super) fn new(ring: &'a Ring, writer: &'a Writer<'a>, nested: &'a [(u32, Way)]) -> Self {
        Self {
            ring,
            writer,
            points: Cell::new(0),
            nested,
            reads_at: &[],
            log: Log::default(),
        }
    }

    fn moment(&self) -> u32 {
        self.log.moments.set(self.log.moments.get() + 1);
        self.log.moments.get()
    }

    /// Writes the next sample, as a handler does.
    pub(super) fn write(&self, way: Way) {
        let begun = self.moment();
        let sequence = self.log.claimed.get();
        self.log.claimed.set(sequence + 1);
        self.here();
        let is_compact = way != Way::Exact && self.write_in_place(sequence, way);
        let is_written = is_compact
            || self
                .writer
                .write_interruptible(&record(sequence), self)
                .is_ok();
        let log = &self.log;
        if is_written {
            log.compact.set(log.compact.get() + u32::from(is_compact));
            let ended = self.moment();
            log.written.borrow_mut().push((sequence, begun, ended));
        } else {
            log.lost.set(log.lost.get() + 1);
        }
    }

    fn write_in_place(&self, sequence: u32, way: Way) -> bool {
        let Some(in_place) = self.writer.begin_interruptible(self) else {
            return false;
        };
        self.here();
        let encoded = encoded(in_place.base(), sequence);
        self.here();
        let Some(units) = encoded else {
            in_place.abandon_interruptible(self);
            return false;
        };
        for (index, &unit) in (0..).zip(&units) {
            in_place.set_unit(index, unit);
            self.here();
        }
        if way == Way::Abandoned {
            in_place.abandon_interruptible(self);
            return false;
        }
        let next = sequence.wrapping_add(1);
        let units = u32::try_from(units.len()).unwrap();
        in_place.finish_interruptible(units, next, self) != Err(Interrupted)
    }

    /// What is in the ring at the end, after all that was read before.
    pub(super) fn read_rest(&self) -> Vec<u32> {
        let mut read = self.log.read.take();
        read.extend(self.ring.read_all());
        read
    }
}

impl InterruptPoint for Interrupts<'_> {
    fn here(&self) {
        let point = self.points.get();
        self.points.set(point + 1);
        if self.reads_at.contains(&point) {
            self.log.read.borrow_mut().extend(self.ring.read());
        }
        for &(at, way) in self.nested {
            if at == point {
                self.write(way);
            }
        }
    }
}

/// The units of the compact sample with this number, if it has to follow what `base` says.
fn encoded(base: &Base, sequence: u32) -> Option<Vec<u32>> {
    let context: Context = base.context()?;
    let mut units = [0; EXTENT_UNITS];
    let chain = chain(sequence);
    let sample = Sample {
        chain_words: chain.words(),
        ..sample(sequence)
    };
    // SAFETY: of that length.
    let len = unsafe {
        compact::encode(
            &sample,
            context,
            Offsets::new(TEXT),
            units.as_mut_ptr().cast(),
        )
    };
    Some(units[..len.ok()? as usize].to_vec())
}

pub(super) const WAYS: [Way; 3] = [Way::Exact, Way::Fast, Way::Abandoned];

#[cfg(not(loom))]
mod memory;
#[cfg(not(loom))]
mod one_thread;

#[cfg(loom)]
mod every_interleaving;
