//! What the library's part of a sample costs on the host: the walk, the record,
//! the ring.
//!
//! The guest's own figures, which repeat exactly, are those of the host tool's
//! bench `guest`; the times here depend on the machine and serve to compare two
//! versions on the same one.

use std::hint::black_box;
use std::ptr::NonNull;
use std::time::Duration;

use criterion::{BenchmarkId, Criterion, Throughput};
use profiler::address::{CodeAddress, CodeRange, StackAddress};
use profiler::format::region::{PAGE, Region};
use profiler::format::sample::{Chain, MAX_WORDS};
use profiler::format::{ChainEnd, ChainEntry, Clock, Description, Sample, State};
use profiler::unwind::{Registers, Rule, Slot, StackBounds, Target, TrapFrameLayout, walk};

const TEXT: CodeRange = CodeRange {
    start: CodeAddress(0xffff_ffff_8000_0000),
    end: CodeAddress(0xffff_ffff_8010_0000),
};

/// The stack's first function returns here.
const ROOT: u64 = TEXT.start.0 + 0x10;

/// The lowest address of the stack.
const LOW: u64 = 0xffff_a000_0000_0000;

/// Callers of a sample that is like most: what the workload `mix` has.
const CALLERS: u64 = 8;

fn main() {
    let mut criterion = Criterion::default()
        .warm_up_time(Duration::from_millis(500))
        .measurement_time(Duration::from_secs(2))
        .configure_from_args();
    walks(&mut criterion);
    records(&mut criterion);
    rings(&mut criterion);
    criterion.final_summary();
}

/// The walk over stacks of different depths: an element is a frame.
fn walks(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("walk");
    for frames in [1, CALLERS, 64] {
        let stack = Stack::new(frames);
        assert_eq!(stack.walk(&mut Chain::new()), ChainEnd::Complete);
        group.throughput(Throughput::Elements(frames));
        group.bench_function(BenchmarkId::new("frames", frames), |bencher| {
            bencher.iter(|| {
                let mut chain = Chain::new();
                let end = black_box(&stack).walk(&mut chain);
                black_box(chain.words().len());
                end
            });
        });
    }
}

/// The record: made as the handler makes it, in place; and taken apart again.
fn records(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("record");
    group.throughput(Throughput::Elements(1));
    let mut chain = chain(CALLERS);
    group.bench_function("encode", |bencher| {
        bencher.iter(|| black_box(chain.record(black_box(&sample()))).len());
    });
    let record = chain.record(&sample()).to_vec();
    group.bench_function("decode", |bencher| {
        bencher.iter(|| {
            let sample = Sample::decode(black_box(&record)).expect("a sample");
            sample.chain().fold(sample.pc.0, |sum, entry| match entry {
                ChainEntry::Return(address) => sum ^ address.0,
                ChainEntry::Crossing { vector, pc, .. } => sum ^ pc.0 ^ u64::from(vector),
                ChainEntry::Border { pc, .. } => sum ^ pc.0,
            })
        });
    });
}

/// The ring: a record goes in and comes out again.
fn rings(criterion: &mut Criterion) {
    let description = description();
    let mut pages = vec![Page([0; PAGE]); 2 + RING_PAGES];
    let bytes = pages.len() * PAGE;
    let base = NonNull::from(&mut pages[..]).cast::<u8>();
    let memory = NonNull::slice_from_raw_parts(base, bytes);
    // SAFETY: condition 1: `memory` is all of `pages`, which outlives every use of
    // `shared` in this function. Condition 2: `pages` is not touched until it is
    // dropped at the function's end.
    let shared = unsafe { Region::create(memory, &description) };
    // SAFETY: condition 1: the only writer, used by this thread only.
    let writer = unsafe { shared.writer(0) };
    let mut reader = shared.reader(0);

    let mut chain = chain(CALLERS);
    let record = chain.record(&sample());
    let mut copy = [0; MAX_WORDS];
    let mut group = criterion.benchmark_group("ring");
    group.throughput(Throughput::Elements(1));
    group.bench_function("write and read", |bencher| {
        bencher.iter(|| {
            writer.write(black_box(record)).expect("the ring is empty");
            reader.read(black_box(&mut copy))
        });
    });
    group.finish();
    assert_eq!(shared.control(0).lost(), 0);
    assert_eq!(copy[..record.len()], *record);
}

/// A stack of frames of eight words each, the innermost lowest.
struct Stack(Vec<u64>);

impl Stack {
    const FRAME_BYTES: u64 = 64;

    fn new(frames: u64) -> Self {
        let mut words = Vec::new();
        for frame in 1..=frames {
            words.extend(match frame {
                _ if frame == frames => [0, ROOT],
                _ => [LOW + frame * Self::FRAME_BYTES, code(frame)],
            });
            words.extend([0; 6]); // locals
        }
        Self(words)
    }

    fn walk(&self, chain: &mut Chain) -> ChainEnd {
        let interrupted = Registers {
            pc: CodeAddress(code(0)),
            sp: StackAddress(LOW),
            fp: StackAddress(LOW),
        };
        walk(interrupted, self, chain)
    }
}

// SAFETY: `load` reads no memory by an address.
unsafe impl Target for Stack {
    fn text(&self) -> CodeRange {
        TEXT
    }

    fn rule(&self, address: CodeAddress) -> Rule {
        match address.0 {
            ROOT => Rule::Root,
            start if start == TEXT.start.0 => Rule::TrapFrame,
            _ => Rule::FramePointer,
        }
    }

    fn has_root_rules(&self) -> bool {
        true
    }

    fn is_called_by_stub(&self, _: CodeAddress) -> bool {
        false
    }

    fn trap_frame_layout(&self) -> TrapFrameLayout {
        TrapFrameLayout {
            fp: 0,
            vector: Some(1),
            pc: 2,
            sp: 3,
            words: 4,
        }
    }

    fn stack_of(&self, sp: StackAddress) -> Option<StackBounds> {
        let stack = StackBounds {
            low: LOW,
            high: LOW + 8 * self.0.len() as u64,
        };
        stack.holds_pointer(sp).then_some(stack)
    }

    fn load(&self, slot: Slot) -> u64 {
        #[allow(clippy::cast_possible_truncation)] // the stack is in memory
        let place = ((slot.address() - LOW) / 8) as usize;
        self.0[place]
    }
}

fn code(number: u64) -> u64 {
    TEXT.start.0 + 0x100 + 16 * number
}

fn chain(callers: u64) -> Chain {
    let mut chain = Chain::new();
    for caller in 0..callers {
        let entry = ChainEntry::Return(CodeAddress(code(caller)));
        chain.push(entry).expect("a short chain");
    }
    chain
}

fn sample() -> Sample<'static> {
    Sample {
        sequence: 1,
        handler_cost: 900,
        event: 0,
        task: 1,
        state: State(State::NMI | State::INTERRUPTS_ON),
        time: 123_456,
        period: 1000,
        sp: StackAddress(0),
        stack_top: [1, 2],
        pc: CodeAddress(code(0)),
        exact: None,
        end: ChainEnd::Complete,
        chain_words: &[],
    }
}

#[derive(Clone)]
#[repr(align(4096))]
struct Page(#[allow(dead_code)] [u8; PAGE]); // memory, read through `Region`

/// Pages of the ring's words: 64 KiB, the smallest ring of a run.
const RING_PAGES: usize = 16;

fn description() -> Description {
    Description {
        clock: Clock::Instructions,
        turns: true,
        period: 1000,
        period_floor: 1,
        stack_slot: 1 << 17,
        samples: 1,
        ..Description::new([0; 20], TEXT, 1, (RING_PAGES * PAGE / 8) as u64)
    }
}
