//! What stands in one ring, and the same records written to another.

use std::ptr::NonNull;

use memmap2::MmapMut;
use profiler::format::region::{PAGE, Region, RegionLayout};
use profiler::format::sample::{Chain, MAX_WORDS};
use profiler::format::{ChainEntry, Count, Description, Sample, event::NewEvent};

use crate::run::text;

/// Of each ring.
const RING_BYTES: usize = PAGE;
const RING_WORDS: u64 = 512;
/// The header page, the ring's own, and its words.
const BYTES: usize = 2 * PAGE + RING_BYTES;

/// Bytes of a ring, all of which are said to be whole records.
///
/// # Panics
///
/// A record is read that is none, or that is another one when it is written again.
pub fn ring(data: &[u8]) {
    let description = Description::new([7; 20], text(1 << 20), 1, RING_WORDS);
    let mut memory = [memory(), memory()];
    let [read, written] = memory.each_mut().map(|memory| region(memory, &description));
    let data = &data[..data.len().min(RING_BYTES) / 4 * 4];
    let [read_memory, _] = &mut memory;
    read_memory[2 * PAGE..][..data.len()].copy_from_slice(data);
    read_memory[PAGE..][..8].copy_from_slice(&(data.len() as u64 / 4).to_le_bytes());

    let (mut reader, mut again) = (read.reader(0), written.reader(0));
    // SAFETY: one thread, and no other writer.
    let writer = unsafe { written.writer(0) };
    let mut record = [0; MAX_WORDS];
    while let Ok(Some(words)) = reader.read(&mut record) {
        let record = &record[..words];
        if let Ok(sample) = Sample::decode(record) {
            let mut chain = Chain::new();
            let entries: Vec<ChainEntry> = sample.chain().collect();
            let is_whole = entries.iter().all(|&entry| chain.push(entry).is_ok());
            if !is_whole || chain.words() != sample.chain_words {
                continue;
            }
            writer.write_sample(&sample, &mut chain).expect("room");
        } else {
            let is_other = Count::decode(record).is_ok() || NewEvent::decode(record).is_some();
            assert!(is_other || record.len() >= 8, "{record:x?} is read");
            continue;
        }
        let mut copy = [0; MAX_WORDS];
        let length = again.read(&mut copy).expect("a sound ring");
        let length = length.expect("a record");
        // The byte that no field has.
        let known = |word: u64| word & !(0xff << 40);
        assert_eq!(copy[0], known(record[0]));
        assert_eq!(copy[1..length], record[1..]);
    }
}

fn memory() -> MmapMut {
    MmapMut::map_anon(BYTES).expect("memory")
}

fn region<'memory>(memory: &mut MmapMut, description: &Description) -> Region<'memory> {
    let layout = RegionLayout {
        cores: 1,
        ring_words: RING_WORDS,
    };
    assert_eq!(layout.bytes(), Some(BYTES));
    let start = NonNull::new(memory.as_mut_ptr()).expect("a mapping is not at address 0");
    let bytes = NonNull::slice_from_raw_parts(start, BYTES);
    // SAFETY: the mapping is page-aligned, readable and writable, and outlives the region, which
    // this module's only function uses; what that writes itself it writes before it reads.
    unsafe { Region::create(bytes, description) }
}
