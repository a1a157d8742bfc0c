//! The collector against a guest that is a few threads: they write to the same
//! file through another mapping, as QEMU does.

use std::fs::File;
use std::os::unix::fs::{FileExt as _, MetadataExt as _};
use std::ptr::NonNull;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use memmap2::{MmapOptions, MmapRaw};
use pmiscope::internals::Profile;
use pmiscope::internals::collect::{Collector, InheritedFile, Mapping, Search, find, guest_memory};
use profiler::format::Description;
use profiler::format::region::{PAGE, Region, RegionError, RegionLayout};

use crate::fixture::{Seen, description, kernel, run_end, unfinished};

const MEMORY: usize = 8 << 20;
/// Where the kernel of these tests makes its rings.
const RINGS: usize = 5 << 20;

/// A guest's memory, with the guest's and the host's view of it.
struct Guest {
    file: InheritedFile,
    inside: MmapRaw,
    outside: Mapping,
}

impl Guest {
    fn new() -> Self {
        let file = guest_memory(MEMORY as u64).unwrap();
        Self {
            inside: MmapOptions::new().len(MEMORY).map_raw(&file.file).unwrap(),
            outside: Mapping::new(&file.file, MEMORY).unwrap(),
            file,
        }
    }

    /// The kernel makes its rings.
    fn make_rings(&self, description: &Description) -> Region<'_> {
        let Description {
            cores, ring_words, ..
        } = *description;
        let length = RegionLayout { cores, ring_words }.bytes().unwrap();
        let start = NonNull::new(self.inside.as_mut_ptr().wrapping_add(RINGS)).unwrap();
        assert!(RINGS + length <= MEMORY);
        let memory = NonNull::slice_from_raw_parts(start, length);
        // SAFETY: in the mapping, which lives as long as `self`; only `Region` uses
        // these bytes, here and through the other mapping.
        unsafe { Region::create(memory, description) }
    }

    fn find(&self) -> Option<(Region<'_>, Description)> {
        match find(&self.file.file, &self.outside).unwrap() {
            Search::Found(region, description) => Some((region, *description)),
            _ => None,
        }
    }

    /// Puts bytes into the memory, behind everyone's back.
    fn poke(&self, offset: usize, bytes: &[u8]) {
        self.file.file.write_all_at(bytes, offset as u64).unwrap();
    }
}

fn pages(file: &File) -> u64 {
    file.metadata().unwrap().blocks() * 512 / PAGE as u64
}

#[test]
fn the_rings_are_found_when_they_are_made() {
    let guest = Guest::new();
    assert!(guest.find().is_none(), "nothing is there");
    guest.poke(123 * PAGE, b"something else");
    guest.poke(2 << 20, &profiler::format::region::MAGIC[..8]);
    let before = pages(&guest.file.file);
    assert!(guest.find().is_none(), "no rings are there");
    assert_eq!(
        pages(&guest.file.file),
        before,
        "the search made pages of holes"
    );
    guest.make_rings(&description());
    let (shared, found) = guest.find().unwrap();
    assert_eq!(found, description());
    assert_eq!(shared.cores(), 2);
}

#[test]
fn what_only_looks_like_rings_is_passed_over() {
    let guest = Guest::new();
    guest.poke(PAGE, &profiler::format::region::MAGIC);
    let search = || find(&guest.file.file, &guest.outside).unwrap();
    for version in [0, 1000, u32::MAX] {
        guest.poke(PAGE + 16, &version.to_le_bytes());
        assert!(matches!(search(), Search::Nothing), "version {version}");
    }
    guest.poke(PAGE + 16, &3_u32.to_le_bytes());
    assert!(matches!(
        search(),
        Search::Unreadable(RegionError::Version(3))
    ));
    guest.make_rings(&description());
    assert!(guest.find().is_some());
}

/// Drains until there is nothing more, and gives the records of each core.
fn records(mut collector: Collector<'_>) -> Vec<Vec<Vec<u64>>> {
    let mut profile = unfinished();
    while collector.drain(&mut profile).unwrap() > 0 {}
    collector.flush(&mut profile).unwrap();
    let profile = Profile::read(profile.finish(&run_end()).unwrap()).unwrap();
    (0..2)
        .map(|core| {
            let mut records = Vec::new();
            profile
                .for_each_record(core, |record| records.push(record.to_vec()))
                .unwrap();
            records
        })
        .collect()
}

#[test]
fn nothing_is_missing_and_nothing_twice_while_cores_write() {
    const EACH: u32 = 30_000;
    let guest = Guest::new();
    let inside = guest.make_rings(&description());
    let (outside, _) = guest.find().unwrap();
    let mut collector = Collector::new(outside);
    let mut profile = unfinished();
    let running = AtomicBool::new(true);
    let record = |sequence| {
        let chain: Vec<_> = (0..sequence % 20)
            .map(|_| kernel().return_to("stub"))
            .collect();
        Seen::new(sequence, kernel().at("in_hash"), &chain).record()
    };
    let some: Vec<_> = (0..20).map(record).collect();
    let (some, running) = (&some, &running);
    let written = thread::scope(|scope| {
        let cores = [0, 1].map(|core| {
            scope.spawn(move || {
                // SAFETY: this thread alone is this core.
                let writer = unsafe { inside.writer(core) };
                let mut written = Vec::new();
                for sequence in 0..EACH {
                    let mut record = some[sequence as usize % some.len()].clone();
                    record[1] = sequence.into();
                    if writer.write(&record).is_ok() {
                        written.push(sequence);
                    }
                    if sequence % 64 == 0 {
                        thread::yield_now();
                    }
                }
                written
            })
        });
        let draining = scope.spawn(|| {
            while running.load(Ordering::Acquire) {
                collector.drain(&mut profile).unwrap();
            }
            while collector.drain(&mut profile).unwrap() > 0 {}
        });
        let written = cores.map(|core| core.join().unwrap());
        running.store(false, Ordering::Release);
        draining.join().unwrap();
        written
    });
    collector.flush(&mut profile).unwrap();
    let counters = collector.counters();
    let lost: u64 = counters.iter().map(|core| core.lost).sum();
    let stored: usize = written.iter().map(Vec::len).sum();
    assert_eq!(lost + stored as u64, u64::from(2 * EACH));
    assert_eq!(collector.samples(), stored as u64);
    assert_eq!(collector.lost(), lost);
    let profile = Profile::read(profile.finish(&run_end()).unwrap()).unwrap();
    for (core, written) in (0..).zip(&written) {
        let mut read = Vec::new();
        let all = profile.for_each_record(core, |record| {
            let sequence = u32::try_from(record[1]).unwrap();
            assert_eq!(
                record[0],
                some[sequence as usize % some.len()][0],
                "another record's words"
            );
            read.push(sequence);
        });
        all.unwrap();
        assert!(
            read == *written,
            "core {core}: not what was written, in that order"
        );
    }
}

#[test]
fn counters_are_the_kernels() {
    let guest = Guest::new();
    let inside = guest.make_rings(&description());
    let counters = inside.counters(1);
    counters.apic_id.store(9, Ordering::Relaxed);
    counters.taken.store(10, Ordering::Relaxed);
    counters.stored.store(11, Ordering::Relaxed);
    counters.unclaimed.store(12, Ordering::Relaxed);
    counters.nested.store(13, Ordering::Relaxed);
    let collector = Collector::new(guest.find().unwrap().0);
    let core = &collector.counters()[1];
    let counted = [
        core.apic_id,
        core.taken,
        core.stored,
        core.unclaimed,
        core.nested,
    ];
    assert_eq!(counted, [9, 10, 11, 12, 13]);
}

#[test]
fn what_records_took_in_the_ring_is_counted() {
    let guest = Guest::new();
    let inside = guest.make_rings(&description());
    let chain = [kernel().return_to("stub"); 3];
    let record = Seen::new(0, kernel().at("in_hash"), &chain).record();
    // SAFETY: one thread.
    let writer = unsafe { inside.writer(1) };
    writer.write(&record).unwrap();
    let mut collector = Collector::new(guest.find().unwrap().0);
    let bytes =
        |collector: &Collector<'_>| [0, 1].map(|core| collector.counters()[core].ring_bytes);
    assert_eq!(bytes(&collector), [0, 0], "nothing was read");
    collector.drain(&mut unfinished()).unwrap();
    // A ring's first record has whole words.
    assert_eq!(bytes(&collector), [0, 8 * record.len() as u64]);
    let again = Collector::new(guest.find().unwrap().0);
    assert_eq!(bytes(&again), [0, 0], "another reader's records");
}

#[test]
fn a_ring_that_was_overwritten_ends_there_and_the_others_go_on() {
    let guest = Guest::new();
    let inside = guest.make_rings(&description());
    let record = Seen::new(0, kernel().at("in_hash"), &[]).record();
    for core in [0, 1] {
        // SAFETY: one thread.
        let writer = unsafe { inside.writer(core) };
        writer.write(&record).unwrap();
        writer.write(&record).unwrap();
    }
    // The length of core 0's second record: its ring's words are behind the header
    // page and the ring's own page.
    guest.poke(RINGS + 2 * PAGE + 8 * record.len(), &[0; 8]);
    let mut collector = Collector::new(guest.find().unwrap().0);
    let mut profile = unfinished();
    while collector.drain(&mut profile).unwrap() > 0 {}
    let corrupt: Vec<_> = collector
        .counters()
        .iter()
        .map(|core| core.corrupt_at)
        .collect();
    assert_eq!(corrupt, [Some(record.len() as u64), None]);
    let read = records(Collector::new(guest.find().unwrap().0));
    assert_eq!(
        read,
        [vec![], vec![]] as [Vec<Vec<u64>>; 2],
        "they were taken before"
    );
    assert_eq!(collector.samples(), 3);
}
