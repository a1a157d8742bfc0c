//! Moves records from the rings to the profile.

use std::io::{self, Write};
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use profiler::contract::mailbox::Mailbox;
use profiler::format::account::AccountCounters;
use profiler::format::process::ProcessWord;
use profiler::format::region::{OverheadCounters, Region, RunState};
use profiler::format::ring::Reader;
use profiler::format::sample::MAX_WORDS;
use profiler::format::{RecordHead, Sample, kind};

use super::guard;
use crate::profile::{AccountEnd, CoreEnd, OverheadEnd, ProcessEnd, Writer};

/// Records that are taken of a core at a time, so that a fast one does not keep the others
/// waiting.
const AT_A_TIME: u64 = 8 << 10;

/// How long records wait before they are written, however few they are: what a tool that is
/// killed loses.
const CHUNK_AGE: Duration = Duration::from_millis(500);

/// The bytes that a ring's position counts.
const POSITION_BYTES: u64 = 4;

/// Where records go.
pub trait Sink {
    /// Takes the next record of `core`, whole.
    ///
    /// # Errors
    ///
    /// Those of the output.
    fn record(&mut self, core: u32, record: &[u64]) -> io::Result<()>;

    /// Writes all that was taken.
    ///
    /// # Errors
    ///
    /// Those of the output.
    fn flush(&mut self) -> io::Result<()>;
}

impl<W: Write> Sink for Writer<W> {
    fn record(&mut self, core: u32, record: &[u64]) -> io::Result<()> {
        Self::record(self, core, record)
    }

    fn flush(&mut self) -> io::Result<()> {
        Self::flush(self)
    }
}

/// Follows the rings of all cores.
pub struct Collector<'memory> {
    region: Region<'memory>,
    cores: Vec<Core<'memory>>,
    flushed: Instant,
    /// The counters when the memory was last seen to be there.
    counters: Vec<CoreEnd>,
}

struct Core<'memory> {
    reader: Reader<'memory>,
    /// Where the first record that was read here began.
    first: u64,
    /// Samples among the records so far.
    samples: u64,
    /// The other records, such as those of a change.
    others: u64,
    /// Where the next record begins, in units since the start, if the ring is still the same.
    next: u64,
    corrupt_at: Option<u64>,
    /// The entries of its table that made no sense when it was read.
    damaged_chains: u64,
    /// The record of the last sample, of those that were read; empty if there is none.
    newest: Vec<u64>,
}

impl<'memory> Collector<'memory> {
    /// Follows the rings of `region`.
    #[must_use]
    pub fn new(region: Region<'memory>) -> Self {
        let cores = (0..region.cores()).map(|core| {
            let reader = region.reader(core);
            Core {
                first: reader.position(),
                next: reader.position(),
                reader,
                samples: 0,
                others: 0,
                corrupt_at: None,
                damaged_chains: 0,
                newest: Vec::new(),
            }
        });
        let mut collector = Self {
            cores: cores.collect(),
            region,
            flushed: Instant::now(),
            counters: Vec::new(),
        };
        collector.counters = collector.read_counters();
        collector
    }

    /// Moves whole records out of the rings into the profile. Returns the number of records
    /// moved, or of samples that have come otherwise, if those are more.
    ///
    /// # Errors
    ///
    /// Those of the profile's output.
    pub fn drain(&mut self, profile: &mut impl Sink) -> io::Result<u64> {
        let mut taken = 0;
        for (number, core) in (0..).zip(&mut self.cores) {
            taken += core.drain(number, profile)?;
        }
        if self.flushed.elapsed() >= CHUNK_AGE {
            self.flush(profile)?;
        }
        let counted = self.keep_counters();
        Ok(taken.max(counted))
    }

    /// Copies the tables' chains into the profile, if there are any: once, when nobody counts in them
    /// any more, or nothing more is wanted.
    ///
    /// # Errors
    ///
    /// Those of the profile's output.
    pub fn take_chains(&mut self, profile: &mut Writer<impl Write>) -> io::Result<()> {
        // Those of another run, or of none.
        if self.is_gone() {
            return Ok(());
        }
        for (number, core) in (0..).zip(&mut self.cores) {
            core.damaged_chains = take_chains(self.region, number, profile)?;
        }
        Ok(())
    }

    /// Returns true if equal chains are counted in place.
    #[must_use]
    pub fn counts_chains(&self) -> bool {
        self.region.has_tables()
    }

    /// Keeps the counters for the case that the memory goes. Returns how many more samples there are
    /// where chains are counted in place, whose rings may have none.
    fn keep_counters(&mut self) -> u64 {
        let counters = self.read_counters();
        if self.is_gone() {
            return 0;
        }
        let before = std::mem::replace(&mut self.counters, counters);
        if self.region.has_tables() {
            stored(&self.counters).saturating_sub(stored(&before))
        } else {
            0
        }
    }

    /// Returns true if the kernel has made the rings anew since records were taken from
    /// them: it was booted again.
    #[must_use]
    pub fn has_restarted(&self) -> bool {
        let mut cores = self.cores.iter();
        let is_anew = cores.any(|core| core.next != 0 && core.reader.position() == 0);
        (is_anew || self.has_counted_anew()) && !guard::is_lost()
    }

    /// The same where chains are counted in place, of which nothing is taken.
    fn has_counted_anew(&self) -> bool {
        let mut pairs = (0..).zip(&self.counters);
        self.region.has_tables()
            && pairs.any(|(core, before)| self.region.stored(core) < before.stored)
    }

    /// Returns true if the run that was followed is no longer in the memory.
    fn is_gone(&self) -> bool {
        guard::is_lost() || self.has_restarted()
    }

    /// Writes all records that were moved.
    ///
    /// # Errors
    ///
    /// Those of the profile's output.
    pub fn flush(&mut self, profile: &mut impl Sink) -> io::Result<()> {
        self.flushed = Instant::now();
        profile.flush()
    }

    /// The number of samples so far.
    #[must_use]
    pub fn samples(&self) -> u64 {
        if self.region.has_tables() {
            let others: u64 = self.cores.iter().map(|core| core.others).sum();
            return stored(&self.counters).saturating_sub(others);
        }
        self.cores.iter().map(|core| core.samples).sum()
    }

    /// The number of records so far that did not fit into the rings.
    #[must_use]
    pub fn lost(&self) -> u64 {
        let cores = 0..self.region.cores();
        cores.map(|core| self.region.control(core).lost()).sum()
    }

    /// The same, of each core.
    #[must_use]
    pub fn lost_of_cores(&self) -> Vec<u64> {
        let cores = 0..self.region.cores();
        cores.map(|core| self.region.control(core).lost()).collect()
    }

    /// The records of the last samples of all cores, of those that were read; empty where there is none.
    #[must_use]
    pub fn newest(&self) -> Vec<Vec<u64>> {
        self.cores.iter().map(|core| core.newest.clone()).collect()
    }

    /// Returns true if the run was stopped and can be started again.
    #[must_use]
    pub fn is_paused(&self) -> bool {
        self.region.state() == RunState::Paused
    }

    /// Where requests to the kernel go.
    #[must_use]
    pub fn mailbox(&self) -> Mailbox<'_> {
        Mailbox::new(self.region.mailbox())
    }

    /// The cores' counters; the last that there were, if the memory has gone.
    #[must_use]
    pub fn counters(&self) -> Vec<CoreEnd> {
        let mut counters = self.read_counters();
        if self.is_gone() {
            counters.clone_from(&self.counters);
            for (end, core) in counters.iter_mut().zip(&self.cores) {
                end.corrupt_at = core.corrupt_at;
            }
        }
        counters
    }

    /// The cores' counters as they belong to what was moved until now.
    #[must_use]
    pub fn counters_so_far(&self) -> Vec<CoreEnd> {
        let mut counters = self.counters();
        for (end, core) in counters.iter_mut().zip(&self.cores) {
            end.stored = core.samples + core.others;
        }
        counters
    }

    fn read_counters(&self) -> Vec<CoreEnd> {
        let ends = (0..).zip(&self.cores).map(|(number, core)| {
            let counters = self.region.counters(number);
            let fast = self.region.control(number).fast();
            // Each sample of the fast handler is one of either.
            let with_fast = |count: u64| count.wrapping_add(fast);
            CoreEnd {
                apic_id: counters.apic_id.load(Ordering::Relaxed),
                taken: with_fast(counters.taken.load(Ordering::Relaxed)),
                stored: with_fast(counters.stored.load(Ordering::Relaxed)),
                fast: Some(fast),
                lost: self.region.control(number).lost(),
                unclaimed: counters.unclaimed.load(Ordering::Relaxed),
                nested: counters.nested.load(Ordering::Relaxed),
                late: counters.late.load(Ordering::Relaxed),
                early: counters.early.load(Ordering::Relaxed),
                missed: counters.missed.load(Ordering::Relaxed),
                checks: counters.checks.load(Ordering::Relaxed),
                // One more than there were.
                smis: counters.smis.load(Ordering::Relaxed).checked_sub(1),
                maker: counters.maker.load(Ordering::Relaxed),
                kind: counters.kind.load(Ordering::Relaxed),
                overheads: overheads(self.region.overheads(number)),
                ring_bytes: (core.next - core.first) * POSITION_BYTES,
                corrupt_at: core.corrupt_at,
                damaged_chains: core.damaged_chains,
                accounts: accounts(self.region.accounts(number)),
                processes: processes(self.region.processes(number)),
            }
        });
        ends.collect()
    }
}

/// The records of all cores, and what they have counted in place.
fn stored(counters: &[CoreEnd]) -> u64 {
    counters.iter().map(|core| core.stored).sum()
}

/// Copies the chains of a core's table into the profile. Returns how many entries made no sense.
fn take_chains(region: Region<'_>, core: u32, profile: &mut Writer<impl Write>) -> io::Result<u64> {
    let mut damaged = 0;
    for chain in region.chains(core) {
        let Ok(chain) = chain else {
            damaged += 1;
            continue;
        };
        let sample = Sample::decode(chain.record()).map_err(io::Error::other)?;
        profile.chain(core, &sample, chain.count)?;
    }
    Ok(damaged)
}

/// Those rows that are of an event, and what is between them.
fn overheads(rows: &[OverheadCounters]) -> Vec<OverheadEnd> {
    let rows: Vec<OverheadEnd> = rows.iter().map(|row| OverheadEnd(row.load())).collect();
    let is_used = |row: &OverheadEnd| *row != OverheadEnd::default();
    let len = rows.iter().rposition(is_used).map_or(0, |last| last + 1);
    rows[..len].to_vec()
}

fn accounts(rows: &[AccountCounters]) -> Vec<AccountEnd> {
    let accounts = rows.iter().filter_map(AccountCounters::load);
    let accounts = accounts.map(|account| AccountEnd {
        kind: account.kind as u8,
        number: account.number,
        ticks: account.ticks,
    });
    accounts.collect()
}

fn processes(rows: &[ProcessWord]) -> Vec<ProcessEnd> {
    let processes = rows.iter().filter_map(ProcessWord::load);
    let processes = processes.map(|process| ProcessEnd {
        number: process.number,
        program: process.program,
        pid: process.pid,
    });
    processes.collect()
}

/// The word that has this unit.
const fn word_at(unit: u64) -> u64 {
    unit / 2
}

impl Core<'_> {
    /// Moves the records of this core, whose number is `number`: some of them, if there are many.
    fn drain(&mut self, number: u32, profile: &mut impl Sink) -> io::Result<u64> {
        let mut record = [0; MAX_WORDS];
        let mut taken = 0;
        // The words of the last record that was read, if it is a sample.
        let mut last = None;
        while self.corrupt_at.is_none() && taken < AT_A_TIME {
            // Nobody else moves it: the ring was overwritten, or made anew.
            if self.reader.position() != self.next && !guard::is_lost() {
                self.corrupt_at = Some(word_at(self.next));
                break;
            }
            let read = self.reader.read(&mut record);
            // What was read may be no record then.
            if guard::is_lost() {
                break;
            }
            match read {
                Ok(Some(words)) => {
                    self.next = self.reader.position();
                    let is_sample = RecordHead::from_word(record[0]).kind == kind::SAMPLE;
                    self.samples += u64::from(is_sample);
                    last = is_sample.then_some(words);
                    self.others += u64::from(!is_sample);
                    profile.record(number, &record[..words])?;
                }
                Ok(None) => break,
                // Where the next record starts is not known: nothing more is read from this ring.
                Err(corrupt) => {
                    self.corrupt_at = Some(word_at(corrupt.position));
                    last = None;
                    break;
                }
            }
            taken += 1;
        }
        if let Some(words) = last {
            self.newest.clear();
            self.newest.extend_from_slice(&record[..words]);
        }
        Ok(taken)
    }
}
