//! Regions that are cut, sent, lost in part, and put together again.

use super::frame::{BODY, LANES, PAYLOAD, SYNC};
use super::parity::{self, WORD};
use super::*;
use crate::address::{CodeAddress, CodeRange, StackAddress};
use crate::format::region::{PAGE, Region, RegionLayout, RunState};
use crate::format::sample::{Chain, MAX_WORDS};
use crate::format::test_memory::Memory;
use crate::format::{ChainEnd, ChainEntry, Description, Sample, State, count};

const CORES: u16 = 2;
const RING_WORDS: u64 = 8192;
const TEXT: CodeRange = CodeRange {
    start: CodeAddress(0xffff_ffff_8010_0000),
    end: CodeAddress(0xffff_ffff_8020_0000),
};

/// Memory for a region whose cores have tables of so many bytes.
fn memory_for(table_bytes: u64) -> Memory {
    let layout = RegionLayout {
        cores: CORES.into(),
        ring_words: RING_WORDS,
    };
    let bytes = layout.bytes_with(table_bytes).unwrap();
    Memory::filled(bytes.next_multiple_of(PAGE), 0)
}

/// Chains that a kernel has counted: the counts by the chains of each core.
type Counts = Vec<std::collections::BTreeMap<Vec<u64>, u64>>;

fn counts(region: &Region<'_>) -> Counts {
    let of_core = |core| {
        let chains = region.chains(core).map(|chain| chain.expect("it is one"));
        chains
            .map(|chain| (chain.record().to_vec(), chain.count))
            .collect()
    };
    (0..region.cores()).map(of_core).collect()
}

const TABLE: u64 = 64 << 10;

/// What a kernel has made that has counted chains: as many samples of each core, the second's in
/// part by one nested in what was counted.
fn counting_kernel(memory: &mut Memory, samples: u32) -> Region<'_> {
    let description = Description {
        table_bytes: TABLE,
        ..Description::new([7; 20], TEXT, CORES.into(), RING_WORDS)
    };
    // SAFETY: zeroed, aligned, and alive as long as what is returned.
    let region = unsafe { Region::create(memory.bytes(0), &description) };
    for core in 0..u32::from(CORES) {
        let table = region.table(core).expect("it has one");
        let offsets = crate::format::sample::compact::Offsets::new(TEXT);
        for sequence in 0..samples {
            let chain = chain(core, sequence);
            // All over the text: so they are several blocks.
            let pc = u64::from(sequence.wrapping_mul(0x9e37_79b1) >> 12);
            let sample = Sample {
                pc: CodeAddress(TEXT.start.0 + pc),
                chain_words: chain.words(),
                ..sample(core, sequence)
            };
            let Some(key) = crate::format::table::Key::of(&sample, offsets) else {
                continue;
            };
            for _ in 0..=sequence % 3 {
                let _ = table.count(key.words());
            }
        }
    }
    region
}

/// The frames of a region, and what makes one of them.
fn frames_of(region: &Region<'_>) -> Vec<Frame> {
    struct Out(Vec<u8>);
    impl Port for Out {
        fn send(&mut self, bytes: &[u8]) {
            self.0.extend(bytes);
        }
        fn receive(&mut self) -> Option<u8> {
            None
        }
    }
    let mut out = Out(Vec::new());
    Sender::new().send(region, &mut out);
    let mut scanner = Scanner::new();
    let frames = out.0.into_iter().filter_map(|byte| scanner.push(byte));
    frames.collect()
}

fn unpacked_of(frame: &Frame) -> Vec<u8> {
    if frame.is_packed {
        lz4_flex::block::decompress(frame.payload(), frame.raw_len.into()).unwrap()
    } else {
        frame.payload().to_vec()
    }
}

/// The counts and keys of a block, which is read without any other.
fn entries_of(frame: &Frame) -> Vec<(u64, Vec<u64>)> {
    let unpacked = unpacked_of(frame);
    let (mut coder, mut rest) = (crate::format::table::Coder::default(), &unpacked[..]);
    let mut entries = Vec::new();
    while !rest.is_empty() {
        let (count, key) = coder.read(&mut rest).expect("an entry");
        entries.push((count, key.words().to_vec()));
    }
    entries
}

/// Without some blocks all other chains are there, and their positions say how many are not.
#[test]
fn a_block_of_a_table_that_is_missing_costs_its_own_chains() {
    let mut memory = memory_for(TABLE);
    let region = counting_kernel(&mut memory, 700);
    let all = counts(&region);
    let frames = frames_of(&region);
    let of_table = |frame: &&Frame| (frame.part.kind, frame.part.core) == (Kind::Table, 0);
    let blocks: Vec<_> = frames.iter().filter(of_table).collect();
    assert!(blocks.len() > 3, "{}", blocks.len());
    for missing in 0..blocks.len() {
        let mut arrived = memory_for(TABLE);
        let arrived = counting_kernel(&mut arrived, 0);
        let mut table = TableBlocks::new(&arrived, 0);
        let mut expected = 0;
        for (place, frame) in blocks.iter().enumerate() {
            let entries = entries_of(frame);
            if place != missing {
                assert_eq!(frame.part.position, expected);
                table.add(frame, &unpacked_of(frame)).unwrap();
            }
            expected += entries.len() as u64;
        }
        let lost = entries_of(blocks[missing]);
        let samples: u64 = lost.iter().map(|(count, _)| count).sum();
        assert_eq!(table.samples() + samples, all[0].values().sum::<u64>());
        let here = &counts(&arrived)[0];
        assert_eq!(here.len() + lost.len(), all[0].len());
        let is_known = |(chain, count)| all[0].get(chain) == Some(count);
        assert!(here.iter().all(is_known), "without block {missing}");
    }
}

/// A sender orders a table whose reader may be at it.
#[test]
fn a_table_that_was_sent_is_read_as_before() {
    let mut memory = memory_for(TABLE);
    let region = counting_kernel(&mut memory, 700);
    let (expected, words) = (counts(&region), region.table_words(0));
    let own = || -> Vec<u64> {
        let load = |word: &core::sync::atomic::AtomicU64| {
            word.load(core::sync::atomic::Ordering::Relaxed) & u64::from(u32::MAX)
        };
        words[..words.len() / 4].iter().map(load).collect()
    };
    let before = own();
    let first = frames_of(&region);
    assert!(counts(&region) == expected);
    assert!(own() == before, "buckets have moved");
    // And once more, as after a reset.
    assert!(frames_of(&region) == first);
}

#[test]
fn a_damaged_table_is_sent_as_far_as_it_is_one() {
    let mut memory = memory_for(TABLE);
    let region = counting_kernel(&mut memory, 300);
    let expected = entries(&frames_of(&region));
    let words = region.table_words(0);
    let free = words[..words.len() / 4]
        .iter()
        .filter(|it| it.load(core::sync::atomic::Ordering::Relaxed) == 0);
    let wild = [1, u32::MAX.into(), u64::MAX, words.len() as u64 - 1];
    for (bucket, position) in free.zip(wild) {
        bucket.store(position, core::sync::atomic::Ordering::Relaxed);
    }
    assert!(entries(&frames_of(&region)) == expected);
    // What is no chain, but may be a key.
    let at = words.len() / 4;
    words[at + 1].store(0x0707_0007_0712, core::sync::atomic::Ordering::Relaxed);
    let found = entries(&frames_of(&region));
    assert_eq!(found.len(), expected.len());
    assert!(found.iter().any(|(_, key)| key[0] == 0x0707_0007_0712));
    // And all of it may be anything.
    for (at, word) in words.iter().enumerate() {
        let number = (at as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let number = if at < words.len() / 4 {
            number >> 51
        } else {
            number ^ number >> 29
        };
        word.store(number, core::sync::atomic::Ordering::Relaxed);
    }
    assert!(entries(&frames_of(&region)).len() > 200);
}

/// The entries of the first core's table, of all blocks that are here.
fn entries(frames: &[Frame]) -> Vec<(u64, Vec<u64>)> {
    let of_table = |frame: &&Frame| (frame.part.kind, frame.part.core) == (Kind::Table, 0);
    frames
        .iter()
        .filter(of_table)
        .flat_map(entries_of)
        .collect()
}

#[test]
fn tables_are_put_together_of_their_blocks() {
    let mut sent = memory_for(TABLE);
    let sent = counting_kernel(&mut sent, 700);
    let expected = counts(&sent);
    assert!(expected.iter().all(|core| core.len() > 100));
    let frames = frames_of(&sent);
    let mut arrived = memory_for(TABLE);
    let arrived = counting_kernel(&mut arrived, 3);
    for core in 0..CORES {
        let mut table = TableBlocks::new(&arrived, core.into());
        let of_core = frames
            .iter()
            .filter(|frame| frame.part.kind == Kind::Table && frame.part.core == core);
        // In the opposite order, and each once: a file has them so.
        let mut blocks: Vec<_> = of_core.collect();
        blocks.reverse();
        assert!(blocks.len() > 3, "{}", blocks.len());
        for frame in &blocks {
            table.add(frame, &unpacked_of(frame)).unwrap();
        }
        let samples: u64 = expected[usize::from(core)].values().sum();
        assert_eq!(table.samples(), samples);
        assert_eq!(table.add(blocks[0], &[0x80]), Err(Misplaced));
        let other = Frame {
            part: Part {
                core: core ^ 1,
                ..blocks[0].part
            },
            ..blocks[0].clone()
        };
        let unpacked = unpacked_of(&other);
        assert_eq!(table.add(&other, &unpacked), Err(Misplaced));
        // What ends in the middle of an entry is none.
        let cut = &unpacked[..unpacked.len() - 1];
        assert_eq!(table.add(blocks[0], cut), Err(Misplaced));
    }
    assert!(counts(&arrived) == expected, "other counts have arrived");
}

/// What a core that was stopped in the middle has left is passed.
#[test]
fn an_entry_that_is_in_no_bucket_is_not_sent() {
    let mut memory = memory_for(TABLE);
    let region = counting_kernel(&mut memory, 50);
    let before = frames_of(&region);
    let used = &region.page_words(0)[2368 / 8];
    let behind = used.load(core::sync::atomic::Ordering::Relaxed);
    // Room was taken, and a head was written that looks like one.
    let words = region.table_words(0);
    let at = words.len() / 4 + usize::try_from(behind).unwrap();
    words[at].store(1, core::sync::atomic::Ordering::Relaxed);
    words[at + 1].store(12 | 5 << 8, core::sync::atomic::Ordering::Relaxed);
    used.store(behind + 7, core::sync::atomic::Ordering::Relaxed);
    let offsets = crate::format::sample::compact::Offsets::new(TEXT);
    let later = Sample {
        task: 99,
        ..sample(0, 1)
    };
    let key = crate::format::table::Key::of(&later, offsets).unwrap();
    region.table(0).unwrap().count(key.words()).unwrap();
    assert_eq!(
        entries(&frames_of(&region)).len(),
        entries(&before).len() + 1
    );
}

/// What a kernel has made: `samples` samples on each core, and a count behind each hundredth.
fn kernel(memory: &mut Memory, samples: u32) -> Region<'_> {
    let mut description = Description::new([7; 20], TEXT, CORES.into(), RING_WORDS);
    description.samples = samples.into();
    // SAFETY: zeroed, aligned, and alive as long as what is returned.
    let region = unsafe { Region::create(memory.bytes(0), &description) };
    for core in 0..u32::from(CORES) {
        // SAFETY: one thread.
        let writer = unsafe { region.writer(core) };
        for sequence in 0..samples {
            let _ = writer.write_sample(&sample(core, sequence), &mut chain(core, sequence));
            if sequence % 100 == 99 {
                let head =
                    crate::format::RecordHead::of_words(crate::format::kind::COUNT, count::WORDS);
                let _ = writer.write(&[head.to_bits(), sequence.into(), 3, 4]);
            }
        }
    }
    region.set_state(RunState::Finished);
    region
}

/// Each thirtieth is wide, and some have the longest chain, which hardly packs.
fn sample(core: u32, sequence: u32) -> Sample<'static> {
    let number = u64::from(sequence) + u64::from(core) * 1_000_000;
    let is_wide = sequence % 30 == 29;
    Sample {
        sequence,
        handler_cost: sequence % 1000,
        event: 0,
        task: if is_wide { 300 } else { 3 },
        state: State(State::NMI),
        time: number * 1_003,
        period: number * 7 % 100_000,
        sp: StackAddress(0xffff_c000_0010_0000 - number % 50 * 8),
        stack_top: [0, TEXT.start.0 + number % 1000],
        pc: CodeAddress(TEXT.start.0 + number % 5000),
        exact: None,
        end: ChainEnd::Complete,
        chain_words: &[],
    }
}

fn chain(core: u32, sequence: u32) -> Chain {
    let mut chain = Chain::new();
    let (len, step) = match sequence % 90 {
        89 => (64, 0x9e3_779b_97f4_a7c1),
        _ => (sequence % 7, 100),
    };
    for caller in 1..=len {
        let number = u64::from(caller + core).wrapping_mul(step);
        let address = CodeAddress(TEXT.start.0 + 1 + number % 0xf_ffff);
        chain.push(ChainEntry::Return(address)).unwrap();
    }
    chain
}

/// A record, and where it ends; `None` where the ring is corrupt.
type Read = Option<(u64, Vec<u64>)>;

/// All records of a ring, up to where it is corrupt.
fn records(region: &Region<'_>, core: u16) -> Vec<Read> {
    let mut reader = region.reader(core.into());
    let mut record = [0; MAX_WORDS];
    let mut records = Vec::new();
    loop {
        match reader.read(&mut record) {
            Ok(Some(words)) => {
                records.push(Some((reader.position(), record[..words].to_vec())));
            }
            Ok(None) => return records,
            Err(_) => {
                records.push(None);
                return records;
            }
        }
    }
}

fn all_records(region: &Region<'_>) -> Vec<Vec<Read>> {
    (0..CORES).map(|core| records(region, core)).collect()
}

struct File(Vec<u8>);

impl Port for File {
    fn send(&mut self, bytes: &[u8]) {
        self.0.extend(bytes);
    }
    fn receive(&mut self) -> Option<u8> {
        None
    }
}

fn sent(region: &Region<'_>) -> Vec<u8> {
    let mut file = File(Vec::new());
    let sent = Sender::new().send(region, &mut file);
    assert!(!sent.is_confirmed);
    file.0
}

fn frames(bytes: &[u8]) -> Vec<Frame> {
    let mut scanner = Scanner::new();
    bytes
        .iter()
        .filter_map(|&byte| scanner.push(byte))
        .collect()
}

fn unpacked(frame: &Frame) -> Vec<u8> {
    if !frame.is_packed {
        return frame.payload().to_vec();
    }
    let raw = lz4_flex::block::decompress(frame.payload(), frame.raw_len.into());
    let raw = raw.expect("a block that is packed");
    assert_eq!(raw.len(), usize::from(frame.raw_len));
    raw
}

/// The blocks, each once, by their numbers.
fn blocks(bytes: &[u8]) -> Vec<Frame> {
    let mut blocks: Vec<_> = frames(bytes)
        .into_iter()
        .filter(|frame| frame.part.kind.is_block())
        .collect();
    blocks.sort_by_key(|frame| frame.number.block);
    blocks.dedup();
    blocks
}

/// The region that these blocks make, and the records that they have, by core.
fn rebuilt<'memory>(
    blocks: &[Frame],
    memory: &'memory mut Memory,
) -> (Region<'memory>, [u64; CORES as usize]) {
    let page = |kind, core| {
        let frames = blocks
            .iter()
            .filter(|it| (it.part.kind, it.part.core) == (kind, core));
        let page: Vec<u8> = frames.flat_map(unpacked).collect();
        <[u8; PAGE]>::try_from(page).ok()
    };
    memory.put(0, &page(Kind::Header, 0).unwrap());
    // SAFETY: aligned, and alive as long as what is returned.
    let (region, _) = unsafe { Region::open(memory.bytes(0)) }.unwrap();
    let mut counted = [0; CORES as usize];
    for core in 0..CORES {
        let mut ring = RingBlocks::new(&region, core.into(), page(Kind::Page, core).as_ref());
        for frame in blocks {
            if (frame.part.kind, frame.part.core) == (Kind::Ring, core) {
                ring.add(frame, &unpacked(frame)).unwrap();
            }
        }
        let records = ring.records();
        ring.end();
        counted[usize::from(core)] = records;
    }
    (region, counted)
}

#[test]
fn a_region_arrives_as_it_is() {
    let mut memory = memory_for(0);
    // The second ring's samples do not all fit.
    let region = kernel(&mut memory, 1500);
    let bytes = sent(&region);
    let blocks = blocks(&bytes);
    for (number, frame) in (0..).zip(&blocks) {
        assert_eq!(
            frame.number,
            Number {
                block: number,
                ..blocks[0].number
            }
        );
    }
    assert_eq!(blocks.len(), blocks[0].number.of as usize);
    let mut copy = memory_for(0);
    let (copy, counted) = rebuilt(&blocks, &mut copy);
    assert_eq!(copy.state(), RunState::Finished);
    assert_eq!(copy.control(1).lost(), region.control(1).lost());
    assert!(region.control(1).lost() > 0);
    let expected = all_records(&region);
    assert_eq!(
        counted,
        [0, 1].map(|core: usize| expected[core].len() as u64)
    );
    assert_eq!(all_records(&copy), expected);
}

#[test]
fn each_block_is_read_without_the_others() {
    let mut memory = memory_for(0);
    let region = kernel(&mut memory, 700);
    let blocks = blocks(&sent(&region));
    let expected = all_records(&region);
    let is_page = |frame: &&Frame| frame.part.kind != Kind::Ring;
    let pages: Vec<_> = blocks.iter().filter(is_page).cloned().collect();
    let header: Vec<_> = pages
        .iter()
        .filter(|it| it.part.kind == Kind::Header)
        .cloned()
        .collect();
    for block in blocks.iter().filter(|it| it.part.kind == Kind::Ring) {
        let ends = block.part.position + 1..=block.part.position + u64::from(block.raw_len) / 4;
        let core = usize::from(block.part.core);
        let of_block = |record: &&Read| record.as_ref().is_some_and(|(end, _)| ends.contains(end));
        let expected: Vec<_> = expected[core].iter().filter(of_block).cloned().collect();
        assert!(!expected.is_empty());
        // With the ring's page, and without.
        for pages in [&pages, &header] {
            let mut copy = memory_for(0);
            let (copy, _) = rebuilt(
                &[&pages[..], core::slice::from_ref(block)].concat(),
                &mut copy,
            );
            assert_eq!(records(&copy, block.part.core), expected);
        }
    }
}

#[test]
fn without_some_blocks_the_others_are_read() {
    let mut memory = memory_for(0);
    let region = kernel(&mut memory, 700);
    let blocks = blocks(&sent(&region));
    let expected = all_records(&region);
    for step in 2..9 {
        let is_kept = |frame: &&Frame| {
            frame.part.kind != Kind::Ring || !frame.number.block.is_multiple_of(step)
        };
        let kept: Vec<_> = blocks.iter().filter(is_kept).cloned().collect();
        let is_missing = |core: u16, end: u64| {
            blocks.iter().filter(|it| !is_kept(it)).any(|it| {
                let start = it.part.position;
                it.part.core == core && end > start && end <= start + u64::from(it.raw_len) / 4
            })
        };
        let mut copy = memory_for(0);
        let (copy, _) = rebuilt(&kept, &mut copy);
        for core in 0..CORES {
            let expected = expected[usize::from(core)].iter().flatten();
            let expected: Vec<_> = expected
                .filter(|(end, _)| !is_missing(core, *end))
                .collect();
            let found = records(&copy, core);
            let found: Vec<_> = found
                .iter()
                .map(|it| it.as_ref().expect("a record"))
                .collect();
            assert_eq!(found, expected, "without each {step}th");
        }
    }
}

#[test]
fn a_ring_that_is_corrupt_is_read_up_to_there() {
    let mut memory = memory_for(0);
    let region = kernel(&mut memory, 300);
    let expected = records(&region, 0);
    let mut memory = memory_for(0);
    let region = kernel(&mut memory, 300);
    let (end, _) = expected[150].as_ref().unwrap();
    let unit = &region.ring_data(0)[usize::try_from(*end).unwrap()];
    unit.store(0, crate::sync::Ordering::Relaxed);
    let blocks = blocks(&sent(&region));
    let mut copy = memory_for(0);
    let (copy, _) = rebuilt(&blocks, &mut copy);
    assert_eq!(all_records(&copy), all_records(&region));
    let found = records(&copy, 0);
    assert_eq!(found, [None]);
}

/// The longest record fits as it is, behind the most that does not make a block.
const _: () = assert!(PAYLOAD >= 4 * (2 * MAX_WORDS + 5));

#[test]
fn a_long_filler_is_sent() {
    let mut memory = memory_for(0);
    let region = kernel(&mut memory, 0);
    // What looks like a filler of 255 units, full of what does not pack.
    for start in [0_u32, 255] {
        for at in 0..255 {
            let number = (start + at).wrapping_mul(0x9e37_79b1);
            let unit = &region.ring_data(0)[(start + at) as usize];
            unit.store(
                if at == 0 { 0x04ff } else { number },
                crate::sync::Ordering::Relaxed,
            );
        }
    }
    region.control(0).set_head(510);
    let blocks = blocks(&sent(&region));
    let mut copy = memory_for(0);
    let (copy, _) = rebuilt(&blocks, &mut copy);
    assert_eq!(records(&copy, 0), []);
    assert_eq!(copy.reader(0).position(), 510);
}

/// A wire that loses each frame at first, and the other side, which asks for what is missing.
struct Line {
    has: Vec<Frame>,
    scanner: Scanner,
    frames: u32,
    back: std::collections::VecDeque<u8>,
    is_silent: bool,
}

impl Port for Line {
    fn send(&mut self, bytes: &[u8]) {
        self.frames += 1;
        let mut bytes = bytes.to_vec();
        if self.frames.is_multiple_of(3) {
            bytes.remove(100);
        }
        let found: Vec<_> = bytes
            .iter()
            .filter_map(|&byte| self.scanner.push(byte))
            .collect();
        for frame in found {
            if frame.part.kind == Kind::Summary && !self.is_silent {
                let has = |block| self.has.iter().any(|it| it.number.block == block);
                let missing = (0..frame.number.of).filter(|&block| !has(block));
                let missing: Vec<_> = missing.map(|block| (block, block + 1)).collect();
                let answer = match &missing[..] {
                    [] => done(frame.number.run),
                    missing => request(frame.number.run, missing),
                };
                self.back.extend(b"noise");
                self.back.extend(answer);
            } else if frame.part.kind.is_block() {
                self.has.push(frame);
            }
        }
    }
    fn receive(&mut self) -> Option<u8> {
        self.back.pop_front()
    }
}

#[test]
fn what_is_missing_is_sent_again_until_all_is_there() {
    let mut memory = memory_for(0);
    let region = kernel(&mut memory, 1000);
    let mut line = Line {
        has: Vec::new(),
        scanner: Scanner::new(),
        frames: 0,
        back: [].into(),
        is_silent: false,
    };
    let sent = Sender::new().send(&region, &mut line);
    assert!(sent.is_confirmed, "{sent:?}");
    assert!(sent.again >= sent.blocks / 4, "{sent:?}");
    let mut blocks = line.has;
    blocks.sort_by_key(|frame| frame.number.block);
    blocks.dedup();
    assert_eq!(blocks.len(), sent.blocks as usize);
    let mut copy = memory_for(0);
    let (copy, _) = rebuilt(&blocks, &mut copy);
    assert_eq!(all_records(&copy), all_records(&region));
}

/// The other side, which has answers ready.
struct Answers(Vec<u8>, std::collections::VecDeque<u8>);

impl Port for Answers {
    fn send(&mut self, bytes: &[u8]) {
        self.0.extend(bytes);
    }
    fn receive(&mut self) -> Option<u8> {
        self.1.pop_front()
    }
}

#[test]
fn what_is_asked_for_twice_is_sent_once() {
    let mut memory = memory_for(0);
    let region = kernel(&mut memory, 500);
    let run = blocks(&sent(&region))[0].number.run;
    let asked = request(run, &[(7, 9), (3, 6), (5, 8), (6, 6), (9, 2)]);
    let answers = [asked, done(run)].concat();
    let mut line = Answers(Vec::new(), answers.into());
    let sent = Sender::new().send(&region, &mut line);
    assert_eq!((sent.again, sent.is_confirmed), (6, true));
    let frames = frames(&line.0);
    let summary = frames.iter().position(|it| it.part.kind == Kind::Summary);
    let again = &frames[summary.unwrap() + 1..][..6];
    let again: Vec<_> = again.iter().map(|frame| frame.number.block).collect();
    assert_eq!(again, [3, 4, 5, 6, 7, 8]);
}

#[test]
fn whoever_is_silent_is_not_waited_for() {
    let mut memory = memory_for(0);
    let region = kernel(&mut memory, 100);
    let mut line = Line {
        has: Vec::new(),
        scanner: Scanner::new(),
        frames: 0,
        back: [].into(),
        is_silent: true,
    };
    let sent = Sender::new().send(&region, &mut line);
    assert_eq!((sent.again, sent.is_confirmed), (0, false));
}

/// Parity is for what a line does, and may mend what it should not to what nobody has sent.
#[test]
fn a_frame_whose_sum_is_wrong_is_none() {
    let mut body: [u8; BODY] = done(7)[SYNC.len()..].try_into().unwrap();
    assert_eq!(
        Frame::decode(&body).map(|(frame, _)| frame.number.run),
        Some(7)
    );
    let mut word: [u8; WORD] = core::array::from_fn(|place| body[place * LANES]);
    // The number of the run.
    word[12] ^= 1;
    parity::append(&mut word);
    for (place, byte) in word.into_iter().enumerate() {
        body[place * LANES] = byte;
    }
    assert_eq!(Frame::decode(&body), None);
}

#[test]
fn damage_is_mended_and_a_lost_byte_costs_one_frame() {
    let mut memory = memory_for(0);
    let region = kernel(&mut memory, 500);
    let whole = sent(&region);
    let all = frames(&whole);
    for offset in 0..50 {
        let mut damaged = whole.clone();
        for byte in damaged.iter_mut().skip(offset).step_by(50) {
            *byte ^= 0x40 | u8::try_from(offset).unwrap();
        }
        assert_eq!(frames(&damaged), all, "from {offset} on");
    }
    // One that loses a byte near its end may be mended, by the first one of the next: either is
    // lost then. Of no frame is made another one.
    let is_all_but_one = |found: &[Frame]| {
        let same = found.iter().zip(&all).take_while(|(a, b)| a == b).count();
        found == all || found[same..] == all[same + 1..]
    };
    for at in (0..whole.len()).step_by(97) {
        let mut shorter = whole.clone();
        shorter.remove(at);
        assert!(is_all_but_one(&frames(&shorter)), "without byte {at}");
        let mut longer = whole.clone();
        longer.insert(at, b'[');
        assert!(is_all_but_one(&frames(&longer)), "with one more at {at}");
    }
}
