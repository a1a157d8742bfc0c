//! Memory after a reset: what is found there, and what is refused.

use core::sync::atomic::Ordering;

use super::*;
use crate::address::{CodeAddress, CodeRange, StackAddress};
use crate::format::region::{RegionLayout, RunState};
use crate::format::sample::compact::Offsets;
use crate::format::sample::{Chain, MAX_WORDS};
use crate::format::table::Key;
use crate::format::test_memory::Memory;
use crate::format::{ChainEnd, ChainEntry, Description, Sample, State, VERSION, count};

const STEP: usize = 16 * PAGE;
const RING_WORDS: u64 = 8192;
const CORES: u32 = 2;
const TEXT: CodeRange = CodeRange {
    start: CodeAddress(0xffff_ffff_8010_0000),
    end: CodeAddress(0xffff_ffff_8020_0000),
};

/// The memory of a machine.
struct Machine(Memory);

impl Machine {
    fn new() -> Self {
        Self(Memory::filled(8 * STEP, 0x5a))
    }

    /// A run that was cut, with so many samples a core and a count behind them.
    fn run(&mut self, offset: usize, build_id: u8, samples: u32) -> Region<'_> {
        let description = Description::new([build_id; 20], TEXT, CORES, RING_WORDS);
        // SAFETY: aligned, and alive as long as what is returned.
        let region = unsafe { Region::create(self.0.bytes(offset), &description) };
        for core in 0..CORES {
            // SAFETY: one thread.
            let writer = unsafe { region.writer(core) };
            for sequence in 0..samples {
                let mut chain = Chain::new();
                let caller = CodeAddress(TEXT.start.0 + 5);
                chain.push(ChainEntry::Return(caller)).unwrap();
                writer.write_sample(&sample(sequence), &mut chain).unwrap();
            }
            let head = RecordHead::of_words(kind::COUNT, count::WORDS);
            writer.write(&[head.to_bits(), 1, 3, 4]).unwrap();
        }
        region.set_state(RunState::Sampling);
        region
    }

    fn find(&mut self) -> Vec<Result<Kept<'_>, Damaged>> {
        // SAFETY: alive as long as what is returned, and used by that alone.
        unsafe { find(self.0.bytes(0), STEP) }.collect()
    }

    /// Where regions are that are wanted, whose, and what can be read of each.
    fn wanted(&mut self) -> Vec<(usize, u8, Readable)> {
        let found = self.find().into_iter().flatten();
        let wanted = found.filter(Kept::is_wanted);
        wanted
            .map(|kept| (kept.offset, kept.build_id[0], kept.readable()))
            .collect()
    }

    fn damaged(&mut self) -> Vec<Damaged> {
        self.find().into_iter().filter_map(Result::err).collect()
    }
}

/// Each tenth is wide.
fn sample(sequence: u32) -> Sample<'static> {
    let number = u64::from(sequence);
    Sample {
        sequence,
        handler_cost: 3,
        event: 0,
        task: if sequence % 10 == 9 { 300 } else { 3 },
        state: State(State::NMI),
        time: number * 1_003,
        period: 1_000,
        sp: StackAddress(0xffff_c000_0010_0000),
        stack_top: [0, TEXT.start.0 + number],
        pc: CodeAddress(TEXT.start.0 + number % 500),
        exact: None,
        end: ChainEnd::Complete,
        chain_words: &[],
    }
}

const fn whole(samples: u64) -> Readable {
    Readable {
        samples,
        damaged_rings: 0,
    }
}

#[test]
fn runs_are_found_where_they_are_with_what_they_have() {
    let mut memory = Machine::new();
    assert!(memory.find().is_empty());
    memory.run(STEP, 7, 50);
    memory.run(5 * STEP, 8, 3);
    let expected = [(STEP, 7, whole(100)), (5 * STEP, 8, whole(6))];
    assert_eq!(memory.wanted(), expected);
    // SAFETY: alive as long as what is returned, and used by that alone.
    let first = unsafe { find(memory.0.bytes(0), STEP) }.beginning_before(5 * STEP);
    let places: Vec<_> = first.flatten().map(|kept| kept.offset).collect();
    assert_eq!(places, [STEP]);
    // Beside the step it is not looked for.
    memory.run(5 * STEP, 8, 3).forget();
    memory.run(5 * STEP + PAGE, 9, 3);
    assert_eq!(memory.wanted(), expected[..1]);
}

/// Of samples that were counted in place, and of the bytes that the tables have.
#[test]
fn a_run_that_has_counted_chains_is_kept_whole() {
    const TABLE: usize = 16 << 10;
    let mut memory = Machine::new();
    let mut description = Description::new([7; 20], TEXT, CORES, RING_WORDS);
    description.table_bytes = TABLE as u64;
    // SAFETY: aligned, and alive as long as what is returned.
    let region = unsafe { Region::create(memory.0.bytes(STEP), &description) };
    assert_eq!(memory.wanted(), [], "there is nothing in it yet");
    for (core, times) in [(0, 5), (1, 7)] {
        let table = region.table(core).unwrap();
        let key = Key::of(&sample(core), Offsets::new(TEXT)).unwrap();
        for _ in 0..times {
            table.count(key.words()).unwrap();
        }
    }
    assert_eq!(memory.wanted(), [(STEP, 7, whole(12))]);
    let ring = 8 * usize::try_from(RING_WORDS).unwrap();
    let all = PAGE + 2 * (PAGE + ring + TABLE);
    assert_eq!(region.bytes(), all);
    // The count of the first entry of the second core, and then its key.
    let entry = STEP + all - TABLE + TABLE / 4;
    memory.0.put(entry, &u64::MAX.to_le_bytes());
    assert_eq!(memory.wanted(), [(STEP, 7, whole(u64::MAX))]);
    memory.0.put(entry + 8, &[0; 8]);
    let damaged = Readable {
        samples: 5,
        damaged_rings: 1,
    };
    assert_eq!(memory.wanted(), [(STEP, 7, damaged)]);
}

#[test]
fn what_has_left_is_found_and_not_wanted() {
    let mut memory = Machine::new();
    let region = memory.run(0, 7, 50);
    assert!(!region.has_left());
    region.set_left();
    assert!(region.has_left());
    assert_eq!(memory.wanted(), []);
    assert_eq!(memory.find().len(), 1);
    // A reader has taken all but four of one core.
    let region = memory.run(0, 7, 50);
    let mut record = [0; MAX_WORDS];
    for core in 0..CORES {
        let mut reader = region.reader(core);
        for _ in 0..46 + 5 * core {
            reader.read(&mut record).unwrap().unwrap();
        }
    }
    assert_eq!(memory.wanted(), [(0, 7, whole(4))]);
    let mut reader = memory.run(0, 7, 0).reader(0);
    reader.read(&mut record).unwrap().unwrap();
    assert_eq!(memory.wanted(), [(0, 7, whole(0))]);
    // A region that is made anew has not left, whatever was there.
    memory.run(0, 7, 1).set_left();
    memory.run(0, 7, 1);
    assert_eq!(memory.wanted(), [(0, 7, whole(2))]);
    // Without its magic it is none.
    memory.run(0, 7, 1).forget();
    assert!(memory.find().is_empty());
}

#[test]
fn of_what_was_written_over_it_only_what_is_before_counts() {
    let mut memory = Machine::new();
    let region = memory.run(0, 7, 50);
    let mut reader = region.reader(1);
    let mut ends = Vec::new();
    while reader.read(&mut [0; MAX_WORDS]).unwrap().is_some() {
        ends.push(reader.position());
    }
    let region = memory.run(0, 7, 50);
    let unit = &region.ring_data(1)[usize::try_from(ends[19]).unwrap()];
    unit.store(0, crate::sync::Ordering::Relaxed);
    let part = Readable {
        samples: 70,
        damaged_rings: 1,
    };
    assert_eq!(memory.wanted(), [(0, 7, part)]);

    // Positions that cannot be.
    for (head, tail) in [(u64::MAX, 0), (16385, 0), (0, 4), (3, u64::MAX)] {
        let region = memory.run(0, 7, 50);
        region.control(0).advance(0, tail, None);
        region.control(0).set_head(head);
        let part = Readable {
            samples: 50,
            damaged_rings: 1,
        };
        assert_eq!(memory.wanted(), [(0, 7, part)], "{head} {tail}");
    }
}

#[test]
fn a_header_that_is_damaged_is_refused() {
    let at = |problem| {
        let offset = STEP;
        vec![Damaged { offset, problem }]
    };
    let mut memory = Machine::new();
    memory.run(STEP, 7, 5);
    memory.0.put(STEP + 16, &(VERSION + 1).to_le_bytes());
    assert_eq!(memory.damaged(), at(RegionError::Version(VERSION + 1)));

    // More cores than there is memory for.
    memory.run(STEP, 7, 5);
    memory.0.put(STEP + 24 + 20, &6_u32.to_le_bytes());
    let layout = RegionLayout {
        cores: 6,
        ring_words: RING_WORDS,
    };
    let bytes = layout.bytes().unwrap();
    assert!(bytes < 8 * STEP, "it does fit, but not from there on");
    memory.0.put(STEP + 24 + 20, &7_u32.to_le_bytes());
    let layout = RegionLayout { cores: 7, ..layout };
    let bytes = layout.bytes().unwrap();
    assert_eq!(memory.damaged(), at(RegionError::Truncated(bytes)));
    memory.0.put(STEP + 24 + 20, &u32::MAX.to_le_bytes());
    assert!(matches!(
        memory.damaged()[..],
        [Damaged {
            problem: RegionError::Truncated(_),
            ..
        }]
    ));

    for (field, bytes) in [
        // No cores; no source; rings of a length that is no power of two.
        (20, &[0; 4][..]),
        (24, &[9]),
        (28, &8191_u64.to_le_bytes()),
        (28, &0_u64.to_le_bytes()),
    ] {
        memory.run(STEP, 7, 5);
        memory.0.put(STEP + 24 + field, bytes);
        let damaged = memory.damaged();
        assert!(
            matches!(
                damaged[..],
                [Damaged {
                    offset: STEP,
                    problem: RegionError::Description(_)
                }]
            ),
            "field {field}: {damaged:?}"
        );
    }
    // Without the magic there is nothing to say.
    memory.run(STEP, 7, 5);
    memory.0.put(STEP + 15, &[0]);
    assert!(memory.find().is_empty());
}

#[test]
fn what_lies_in_a_region_that_is_wanted_is_none() {
    let mut memory = Machine::new();
    // An older run, in whose memory another one has then made its rings.
    memory.run(2 * STEP, 7, 5);
    memory.run(STEP, 8, 5);
    assert_eq!(memory.wanted(), [(STEP, 8, whole(10))]);
    // That one has left, and the older one is whole.
    memory.run(STEP, 8, 5).set_left();
    assert_eq!(memory.find().len(), 2);
}

#[test]
fn what_had_not_ended_was_cut() {
    for (state, then) in [
        (RunState::Starting, RunState::Cut),
        (RunState::Sampling, RunState::Cut),
        (RunState::Paused, RunState::Cut),
        (RunState::Cut, RunState::Cut),
        (RunState::Finished, RunState::Finished),
        (RunState::Failed, RunState::Failed),
    ] {
        let mut memory = Machine::new();
        memory.run(0, 7, 5).set_state(state);
        let found = memory.find();
        let [Ok(kept)] = &found[..] else {
            panic!("{state:?}")
        };
        kept.mark_cut();
        assert_eq!(kept.region.state(), then, "{state:?}");
    }
}

#[test]
fn a_refusal_is_nothing_to_keep() {
    let mut memory = Machine::new();
    memory.run(0, 7, 5).refuse("no such source");
    assert!(memory.find().is_empty());
    let counters = memory.run(0, 7, 5).counters(0);
    counters.stored.store(1 << 40, Ordering::Relaxed);
    // It is the rings that say how many there are.
    assert_eq!(memory.wanted(), [(0, 7, whole(10))]);
}
