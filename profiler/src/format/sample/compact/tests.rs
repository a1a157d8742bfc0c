//! What is compact is the sample that it was made of, and what does not fit is refused.

use super::*;
use crate::format::expand::{Expanded, expand};
use proptest::prelude::*;

/// Where the text of these tests begins.
const TEXT: u64 = 0xffff_ffff_8010_0000;
const CONTEXT: Context = Context {
    time: 7_000_000_000,
    sp: 0xffff_c000_0040_0ff0,
    next: 41,
};

/// The longest text whose offsets have three bytes.
const LONGEST_24: u64 = 0xff_f000;

/// The marker of a crossing by the vector of NMIs, whose caller is known.
const CROSSING: u64 = 0x0100_c055_0000_0102;

const fn text(bytes: u64) -> CodeRange {
    CodeRange {
        start: CodeAddress(TEXT),
        end: CodeAddress(TEXT + bytes),
    }
}

/// A text that takes offsets of this width.
const fn text_of(width: Width) -> CodeRange {
    match width {
        Width::Bits24 => text(LONGEST_24),
        Width::Bits32 => text(0x100_0000),
    }
}

/// The units of a sample in this context.
fn encoded(sample: &Sample<'_>, context: Context, text: CodeRange) -> Result<Vec<u32>, DoesNotFit> {
    // What is there is what was there before.
    let mut units = [0xa5a5_a5a5; EXTENT_UNITS];
    // SAFETY: of that length.
    let len = unsafe {
        encode(
            sample,
            context,
            Offsets::new(text),
            units.as_mut_ptr().cast(),
        )
    }?;
    Ok(units[..len as usize].to_vec())
}

/// The words that a reader has of these units.
fn expanded(
    units: &[u32],
    context: Option<Context>,
    text: CodeRange,
) -> Option<(Vec<u64>, Context)> {
    let mut record = [0; MAX_WORDS];
    match expand(units, context, text, &mut record)? {
        Expanded::Record { words, context } => Some((record[..words].to_vec(), context?)),
        Expanded::Filler { .. } => None,
    }
}

/// The words of a sample, as a reader has them of a wide one.
fn words(sample: &Sample<'_>) -> Vec<u64> {
    let mut record = [0; MAX_WORDS];
    let words = sample.encode(&mut record);
    record[..words].to_vec()
}

/// The units that a record of these words has.
fn halves(words: &[u64]) -> Vec<u32> {
    let halves = words
        .iter()
        .flat_map(|&word| [word & 0xffff_ffff, word >> 32]);
    halves.map(|half| u32::try_from(half).unwrap()).collect()
}

/// A sample that fits.
const fn example() -> Sample<'static> {
    Sample {
        sequence: CONTEXT.next,
        handler_cost: 0xfedc,
        event: 0xab,
        task: 0xcd,
        state: State(State::NMI | State::INTERRUPTS_ON),
        time: CONTEXT.time + 0x1234_5678,
        period: 0x9a_bcde,
        sp: StackAddress(CONTEXT.sp - 0x10),
        stack_top: [TEXT + 0x01_0203, 0],
        pc: CodeAddress(TEXT + 0x04_0506),
        exact: None,
        end: ChainEnd::Complete,
        chain_words: &[TEXT + 0x07_0809, TEXT + 1],
    }
}

#[test]
fn the_fields_lie_where_they_are_said_to_be() {
    let units = encoded(&example(), CONTEXT, text(1 << 20)).unwrap();
    let bytes: Vec<u8> = units.iter().flat_map(|unit| unit.to_le_bytes()).collect();
    let expected = [
        &[9, 5, 0b1100, 0xab][..],
        &[0x78, 0x56, 0x34, 0x12],
        &[0xcd, 0xdc, 0xfe],
        &[0xde, 0xbc, 0x9a],
        &[0xfe, 0xff, 0xff, 0x7f],
        &[0x06, 0x05, 0x04],
        &[0x03, 0x02, 0x01],
        &[0xff, 0xff, 0xff],
        &[0x09, 0x08, 0x07],
        &[0x01, 0x00, 0x00],
        &[0; 3],
    ];
    assert_eq!(bytes, expected.concat());
    // With a large text each offset has one byte more.
    let units = encoded(&example(), CONTEXT, text(1 << 25)).unwrap();
    let bytes: Vec<u8> = units.iter().flat_map(|unit| unit.to_le_bytes()).collect();
    assert_eq!(bytes[..4], [10, 6, 0b1100, 0xab]);
    assert_eq!(bytes[18..26], [6, 5, 4, 0, 3, 2, 1, 0]);
    assert_eq!(bytes[26..30], [0xff; 4]);
    assert_eq!(bytes[30..], [9, 8, 7, 0, 1, 0, 0, 0, 0, 0]);
}

#[test]
fn a_crossing_says_what_it_is_and_its_addresses() {
    let chain = [TEXT + 7, CROSSING, TEXT + 0x01_0203, 0x1234, TEXT + 5];
    let crossing = Sample {
        chain_words: &chain,
        ..example()
    };
    let units = encoded(&crossing, CONTEXT, text(1 << 20)).unwrap();
    let bytes: Vec<u8> = units.iter().flat_map(|unit| unit.to_le_bytes()).collect();
    let expected = [
        &[7, 0, 0][..],
        &[0x02, 0b1111_1111, 0xff],
        &[0x03, 0x02, 0x01],
        &[0xff, 0xff, 0xff],
        &[5, 0, 0],
        &[0; 2],
    ];
    assert_eq!(bytes[27..], expected.concat());
    let read = |units: &[u32]| expanded(units, Some(CONTEXT), text(1 << 20)).map(|it| it.0);
    let words = [TEXT + 7, CROSSING, TEXT + 0x01_0203, 0, TEXT + 5];
    assert_eq!(read(&units).unwrap()[8..], words);
    // Without such words on top of the stack.
    let chain = [TEXT + 7, CROSSING, TEXT + 0x01_0203, 0x1234, 0, TEXT + 6];
    let without = Sample {
        chain_words: &chain,
        ..example()
    };
    let units = encoded(&without, CONTEXT, text(1 << 20)).unwrap();
    let bytes: Vec<u8> = units.iter().flat_map(|unit| unit.to_le_bytes()).collect();
    let expected = [&[2, 0b1111_1101, 0xff, 3, 2, 1][..], &[6, 0, 0], &[0]];
    assert_eq!(bytes[30..], expected.concat());
    let words = [TEXT + 7, CROSSING, TEXT + 0x01_0203, 0, 0, TEXT + 6];
    assert_eq!(read(&units).unwrap()[8..], words);
    // Another vector, of which the caller is not known; a word that is the text's start.
    let chain = [CROSSING - 0x100 + 0x1e, TEXT, TEXT + 9, TEXT];
    let outermost = Sample {
        chain_words: &chain,
        ..example()
    };
    let units = encoded(&outermost, CONTEXT, text(1 << 20)).unwrap();
    let bytes: Vec<u8> = units.iter().flat_map(|unit| unit.to_le_bytes()).collect();
    assert_eq!(
        bytes[27..],
        [0x20, 0b1111_1110, 0xff, 0, 0, 0, 9, 0, 0, 0, 0, 0, 0]
    );
    assert_eq!(read(&units).unwrap()[8..], chain);
    // In a large text.
    let units = encoded(&crossing, CONTEXT, text(1 << 25)).unwrap();
    assert_eq!(units[7] >> 16 | units[8] << 16, 7);
    assert_eq!(units[8] >> 16 | units[9] << 16, 0xffff_ff02);
}

#[test]
fn a_crossing_that_lacks_words_is_refused() {
    let whole = [TEXT + 7, CROSSING, TEXT + 8, 0x1234, TEXT + 5];
    let fits = |chain_words: &[u64]| {
        let sample = Sample {
            chain_words,
            ..example()
        };
        encoded(&sample, CONTEXT, text(1 << 20)).is_ok()
    };
    assert!(fits(&whole) && fits(&whole[..1]));
    assert!((2..5).all(|len| !fits(&whole[..len])));
    assert!(!fits(&[CROSSING, 0x1234, 0, 0]));
    // The same of what is read: fewer fields, and a program counter that is none.
    let sample = Sample {
        chain_words: &whole,
        ..example()
    };
    let units = encoded(&sample, CONTEXT, text(1 << 20)).unwrap();
    let bytes: Vec<u8> = units.iter().flat_map(|unit| unit.to_le_bytes()).collect();
    let is_read = |bytes: &[u8]| {
        let (units, _) = bytes.as_chunks();
        let units: Vec<_> = units.iter().map(|it| u32::from_le_bytes(*it)).collect();
        expanded(&units, Some(CONTEXT), text(1 << 20)).is_some()
    };
    assert!(is_read(&bytes));
    for len in [33, 36, 39] {
        let mut cut = bytes[..len].to_vec();
        cut.resize(len.next_multiple_of(4), 0);
        assert!(!is_read(&cut), "{len} bytes");
    }
    let mut outside = bytes.clone();
    outside[33..36].copy_from_slice(&[0xff; 3]);
    assert!(!is_read(&outside));
}

#[test]
fn a_chain_that_is_too_deep_says_so() {
    let deep = [TEXT + 1; MAX_CHAIN];
    let deep = Sample {
        end: ChainEnd::DepthLimit,
        chain_words: &deep,
        ..example()
    };
    let units = encoded(&deep, CONTEXT, text(1 << 20)).unwrap();
    assert_eq!(units[0].to_le_bytes(), [55, 5, 0b100_1100, 0xab]);
    let (read, _) = expanded(&units, Some(CONTEXT), text(1 << 20)).unwrap();
    assert_eq!(read, words(&deep));
}

#[test]
fn each_value_that_does_not_fit_is_refused() {
    let fits = |sample: Sample<'_>| encoded(&sample, CONTEXT, text(1 << 20)).is_ok();
    let sample = example();
    assert!(fits(sample));
    let (time, sp) = (CONTEXT.time, CONTEXT.sp);
    // Pairs: the last one that fits, and the first that does not.
    let at_time = |time| fits(Sample { time, ..sample });
    assert!(at_time(time + 0xffff_ffff) && !at_time(time + 0x1_0000_0000));
    assert!(at_time(time) && !at_time(time - 1));
    let with_period = |period| fits(Sample { period, ..sample });
    assert!(with_period(0xff_ffff) && !with_period(1 << 24));
    let with_cost = |handler_cost| {
        fits(Sample {
            handler_cost,
            ..sample
        })
    };
    assert!(with_cost(0xffff) && !with_cost(1 << 16));
    let in_task = |task| fits(Sample { task, ..sample });
    assert!(in_task(0xff) && !in_task(1 << 8));
    let at_sp = |sp| {
        fits(Sample {
            sp: StackAddress(sp),
            ..sample
        })
    };
    assert!(at_sp(sp - (16 << 30)) && !at_sp(sp - (16 << 30) - 8));
    assert!(at_sp(sp + (16 << 30) - 8) && !at_sp(sp + (16 << 30)));
    assert!((1..8).all(|odd| !at_sp(sp + odd)));
    let in_state = |state| {
        fits(Sample {
            state: State(state),
            ..sample
        })
    };
    assert!(in_state(State::IDLE) && !in_state(State::IDLE | State::RING));
    let with_sequence = |sequence| fits(Sample { sequence, ..sample });
    assert!(with_sequence(41) && !with_sequence(40) && !with_sequence(42));
    let at_pc = |pc| {
        fits(Sample {
            pc: CodeAddress(pc),
            ..sample
        })
    };
    assert!(at_pc(TEXT) && !at_pc(TEXT - 1));
    assert!(at_pc(TEXT + (1 << 20) - 1) && !at_pc(TEXT + (1 << 20)));
    let with_chain = |chain_words: &[u64]| {
        fits(Sample {
            chain_words,
            ..sample
        })
    };
    assert!(with_chain(&[]) && with_chain(&[TEXT + 1; MAX_CHAIN]));
    assert!(!with_chain(&[TEXT + 1; MAX_CHAIN + 1]));
    assert!(!with_chain(&[TEXT]) && !with_chain(&[TEXT + (1 << 20)]));
    assert!(!fits(Sample {
        exact: Some(sample.pc),
        ..sample
    }));
    for end in ChainEnd::ALL {
        let has_place = matches!(end, ChainEnd::Complete | ChainEnd::DepthLimit);
        assert_eq!(fits(Sample { end, ..sample }), has_place);
    }
    let of_text = |bytes| Offsets::new(text(bytes)).width;
    assert_eq!(of_text(LONGEST_24), Some(Width::Bits24));
    assert_eq!(of_text(LONGEST_24 + 1), Some(Width::Bits32));
    let whole = |end| CodeRange {
        start: CodeAddress(0),
        end: CodeAddress(end),
    };
    assert_eq!(Offsets::new(whole(0xffff_f000)).width, Some(Width::Bits32));
    assert_eq!(Offsets::new(whole(0xffff_f001)).width, None);
}

/// A program's address as a record has it.
const fn of_program(address: u64) -> u64 {
    let program = 0x0102;
    UserAddress { program, address }.code().0
}

const CALLERS: [u64; 2] = [of_program(0x40_5678), of_program(0x1234_5678_9abc)];

/// A sample of a program that was interrupted.
const fn of_interrupted_program() -> Sample<'static> {
    Sample {
        state: State(State::NMI | State::INTERRUPTS_ON | State::RING),
        sp: StackAddress(0x7ffe_dcba_9870),
        stack_top: [0, of_program(0x40_1234)],
        pc: CodeAddress(of_program(0x7f12_3456_789a)),
        chain_words: &CALLERS,
        ..example()
    }
}

#[test]
fn a_program_that_was_interrupted_is_read_as_it_was() {
    let sample = of_interrupted_program();
    let units = encoded(&sample, CONTEXT, text(1 << 20)).unwrap();
    let bytes: Vec<u8> = units.iter().flat_map(|unit| unit.to_le_bytes()).collect();
    let expected = [
        // sp / 8: 0xfff_db97530e
        &[0x0e, 0x53, 0x97, 0xdb][..],
        &[0xff, 0xff, 0xff],
        &[0xff; 6],
        &[0x00, 0b1111_1011, 0xff],
        &[0x02, 0x01, 0x00],
        &[0; 6],
        &[0x00, 0x00, 0x00, 0x34, 0x12, 0x40],
        &[0x34, 0x12, 0x7f, 0x9a, 0x78, 0x56],
        &[0x00, 0x00, 0x00, 0x78, 0x56, 0x40],
        &[0x56, 0x34, 0x12, 0xbc, 0x9a, 0x78],
        &[0],
    ];
    assert_eq!(bytes[14..], expected.concat());
    let (read, context) = expanded(&units, Some(CONTEXT), text(1 << 20)).unwrap();
    assert_eq!(read, words(&sample));
    // What its stack pointer is, the next one is not relative to.
    assert_eq!((context.sp, context.next), (CONTEXT.sp, CONTEXT.next + 1));
    // The kernel's code with the same numbers is none, nor is a program with the kernel's.
    let mut kernel = units.clone();
    kernel[0] &= !(u32::from(State::RING) << 16);
    assert_eq!(expanded(&kernel, Some(CONTEXT), text(1 << 20)), None);
    let mut program = encoded(&example(), CONTEXT, text(1 << 20)).unwrap();
    program[0] |= u32::from(State::RING) << 16;
    assert_eq!(expanded(&program, Some(CONTEXT), text(1 << 20)), None);
}

#[test]
fn a_chain_goes_on_into_a_program() {
    for (came, field) in [(0x100, 0b1111_1001), (0x0e, 0b1111_1000)] {
        let border = 0x0100_c056_0000_0000 | came;
        let pc = of_program(0x40_1001);
        let chain = [TEXT + 7, border, pc, 0, 0, of_program(0x40_2002)];
        let sample = Sample {
            chain_words: &chain,
            ..example()
        };
        let units = encoded(&sample, CONTEXT, text(1 << 20)).unwrap();
        let bytes: Vec<u8> = units.iter().flat_map(|unit| unit.to_le_bytes()).collect();
        let expected = [
            &[7, 0, 0][..],
            &[came.to_le_bytes()[0], field, 0xff],
            &[0x02, 0x01, 0x00],
            &[0x00, 0x00, 0x00, 0x01, 0x10, 0x40],
            &[0x00, 0x00, 0x00, 0x02, 0x20, 0x40],
        ];
        assert_eq!(bytes[27..], expected.concat());
        let (read, _) = expanded(&units, Some(CONTEXT), text(1 << 20)).unwrap();
        assert_eq!(read[8..], chain);
        // Not with offsets of four bytes.
        assert!(encoded(&sample, CONTEXT, text(1 << 25)).is_err());
    }
}

#[test]
fn what_of_a_program_does_not_fit_is_refused() {
    let sample = of_interrupted_program();
    let fits = |sample: Sample<'_>| encoded(&sample, CONTEXT, text(1 << 20)).is_ok();
    assert!(fits(sample));
    let at_sp = |sp| {
        fits(Sample {
            sp: StackAddress(sp),
            ..sample
        })
    };
    assert!(at_sp(0) && at_sp(0x7fff_ffff_fff8) && !at_sp(0x8000_0000_0000));
    assert!((1..8).all(|odd| !at_sp(0x7ffe_dcba_9870 + odd)));
    let at_pc = |pc| {
        fits(Sample {
            pc: CodeAddress(pc),
            stack_top: [0; 2],
            chain_words: &[],
            ..sample
        })
    };
    // An address of the kernel's; one whose low field would be none.
    assert!(at_pc(of_program(1)) && !at_pc(0xffff_ffff_8000_0001));
    assert!(!at_pc(of_program(0x40_0000_0000)));
    let with_top = |word| {
        fits(Sample {
            stack_top: [word, 0],
            ..sample
        })
    };
    // Of another program; the address 0, which is none.
    assert!(!with_top(of_program(0x40_1000) ^ 1 << 48) && !with_top(of_program(0)));
    let with_chain = |chain_words: &[u64]| {
        fits(Sample {
            chain_words,
            ..sample
        })
    };
    assert!(with_chain(&[of_program(1); MAX_CHAIN]));
    assert!(!with_chain(&[of_program(1); MAX_CHAIN + 1]));
    assert!(!with_chain(&[of_program(1 << 24)]) && !with_chain(&[TEXT + 1]));
    assert!(!with_chain(&[of_program(1) ^ 1 << 48]));
    assert!(!with_chain(&[0x0100_c056_0000_0100, of_program(1), 0, 0]));
    // The longest is as long as there is room for.
    let longest = [of_program(1); MAX_CHAIN];
    let longest = Sample {
        stack_top: [of_program(1); 2],
        chain_words: &longest,
        ..sample
    };
    let units = encoded(&longest, CONTEXT, text(1 << 20)).unwrap();
    assert_eq!(units.len(), (27 + MOST_CHAIN_BYTES).div_ceil(4));
    let (read, _) = expanded(&units, Some(CONTEXT), text(1 << 20)).unwrap();
    assert_eq!(read, words(&longest));
}

#[test]
fn what_no_writer_makes_is_no_sample() {
    let units = encoded(&example(), CONTEXT, text(1 << 20)).unwrap();
    let is_one = |units: &[u32]| expanded(units, Some(CONTEXT), text(1 << 20)).is_some();
    assert!(is_one(&units));
    assert_eq!(
        expanded(&units, None, text(1 << 20)),
        None,
        "without a context"
    );
    let with = |place: usize, unit: u32| {
        let mut units = units.clone();
        units[place] = unit;
        is_one(&units)
    };
    // Another kind.
    assert!(!with(0, units[0] ^ 0x80 << 8));
    // The program counter outside of the text.
    assert!(!with(5, units[5] | 0xff));
    // A return address outside of the text, one of 0 before another, one of 0 too many.
    assert!(!with(7, units[7] | 0x7f00));
    let mut hole = units.clone();
    hole[6] &= 0x00ff_ffff;
    hole[7] &= 0xffff_0000;
    // The text's start, which is no address that a call returns to, but may be overwritten with.
    assert!(is_one(&hole));
    assert!(!is_one(&[&units[..], &[0]].concat()));
    // Too short for the fields before the chain, and longer than the longest.
    assert!(!is_one(&units[..6]));
    let longest = [TEXT + 1; MAX_CHAIN];
    let longest = Sample {
        chain_words: &longest,
        ..example()
    };
    let longest = encoded(&longest, CONTEXT, text(1 << 20)).unwrap();
    assert!(is_one(&longest));
    assert!(!is_one(&[&longest[..], &[u32::MAX]].concat()));
    assert!(!is_one(&[u32::from_le_bytes([255, 5, 0, 0]); 255]));
}

/// A word that lies in a text of this many bytes; 0 where it does not.
fn top(bytes: u64) -> impl Strategy<Value = u64> {
    let in_text = (0..bytes).prop_map(|offset| TEXT + offset);
    prop_oneof![1 => Just(0), 1 => in_text]
}

/// A chain in a text of this many bytes, with crossings.
fn chains(bytes: u64) -> impl Strategy<Value = Vec<u64>> {
    let caller = (1..bytes).prop_map(|offset| vec![TEXT + offset]);
    let crossing = (
        any::<u8>(),
        any::<bool>(),
        0..bytes,
        [top(bytes), top(bytes)],
    );
    let crossing = crossing.prop_map(|(vector, caller_known, pc, [top, below])| {
        vec![crossing_word(vector, caller_known), TEXT + pc, top, below]
    });
    let entries = prop::collection::vec(prop_oneof![5 => caller, 1 => crossing], 0..=MAX_CHAIN);
    entries.prop_map(|entries| {
        let mut chain = vec![];
        for entry in entries {
            if chain.len() + entry.len() <= MAX_CHAIN {
                chain.extend(entry);
            }
        }
        chain
    })
}

/// The fields that a chain has.
fn fields(chain: &[u64]) -> usize {
    let crossings = chain
        .windows(4)
        .filter(|words| crossing_of(words[0]).is_some());
    let without_top = crossings.filter(|words| words[2..] == [0; 2]);
    chain.len() - 2 * without_top.count()
}

prop_compose! {
    /// A sample that fits a text of this many bytes.
    fn samples(bytes: u64)(
        numbers in any::<(u16, u8, u8, u8, u32)>(),
        (period, sp) in (0..END_24, any::<u32>()),
        pc in 0..bytes,
        stack_top in [top(bytes), top(bytes)],
        chain in chains(bytes),
        is_deep in any::<bool>(),
    ) -> (Sample<'static>, Vec<u64>) {
        let (handler_cost, event, task, state, time) = numbers;
        let sample = Sample {
            sequence: CONTEXT.next,
            handler_cost: handler_cost.into(),
            event,
            task: task.into(),
            // Of the kernel's code: a program's addresses are no offsets.
            state: State(state & !(State::EXACT | State::RING)),
            time: CONTEXT.time + u64::from(time),
            period,
            sp: StackAddress(CONTEXT.sp - SP_BELOW + u64::from(sp) * 8),
            stack_top,
            pc: CodeAddress(TEXT + pc),
            exact: None,
            end: if is_deep { ChainEnd::DepthLimit } else { ChainEnd::Complete },
            chain_words: &[],
        };
        (sample, chain)
    }
}

proptest! {
    #[test]
    fn what_fits_is_read_as_it_was((sample, chain) in samples(LONGEST_24)) {
        let sample = Sample { chain_words: &chain, ..sample };
        for width in [Width::Bits24, Width::Bits32] {
            let units = encoded(&sample, CONTEXT, text_of(width)).unwrap();
            let bytes = width.chain() + fields(&chain) * width.bytes();
            prop_assert_eq!(units.len(), bytes.div_ceil(4));
            let (read, context) = expanded(&units, Some(CONTEXT), text_of(width)).unwrap();
            prop_assert_eq!(&read, &words(&sample));
            prop_assert_eq!(context, Context { next: CONTEXT.next + 1, ..CONTEXT });
            // As a wide one is read, so that the hash is the same.
            let (wide, _) = expanded(&halves(&read), None, text_of(width)).unwrap();
            prop_assert_eq!(wide, read);
        }
    }

    #[test]
    fn any_sample_is_read_as_a_wide_one_or_refused(
        numbers in any::<(u32, u32, u8, u16, u8)>(),
        wide in any::<[u64; 6]>(),
        context in any::<(u64, u64)>(),
        chain in prop::collection::vec(any::<u64>(), 0..70),
        crossings in prop::collection::vec((any::<prop::sample::Index>(), any::<[u64; 4]>()), 0..3),
        is_deep in any::<bool>(),
        bytes in 1..0x7fe0_0000_u64,
        // Of the six numbers those that are near to what fits.
        near in any::<[bool; 6]>(),
    ) {
        let (sequence, handler_cost, event, task, state) = numbers;
        let (time, sp) = context;
        let context = Context { time, sp, next: sequence };
        let text = text(bytes);
        let in_text = |value: u64| TEXT.wrapping_add(value % (bytes + 2)).wrapping_sub(1);
        let near_or = |at: usize, value: u64| if near[at] { value } else { wide[at] };
        let mut chain: Vec<_> = chain.into_iter().map(|word| if near[5] { in_text(word) } else { word }).collect();
        for (place, [marker, words @ ..]) in crossings {
            let place = place.index(chain.len() + 1);
            let words = words.map(|word| if near[5] { in_text(word) } else { word });
            let marker = crossing_word(marker.to_le_bytes()[0], marker >> 63 != 0);
            chain.splice(place..place, [&[marker][..], &words].concat());
        }
        let sample = Sample {
            sequence, event, task: task % 512, handler_cost: handler_cost % (1 << 17),
            state: State(state & !State::EXACT),
            time: near_or(0, time.wrapping_add(wide[0] % (1 << 33))),
            period: near_or(1, wide[1] % (1 << 25)),
            sp: StackAddress(near_or(2, sp.wrapping_add((wide[2] % (1 << 36)) & !7))),
            stack_top: [near_or(3, in_text(wide[3])), 0],
            pc: CodeAddress(near_or(4, in_text(wide[4]))),
            exact: None,
            end: if is_deep { ChainEnd::DepthLimit } else { ChainEnd::Complete },
            chain_words: &chain[..chain.len().min(MAX_CHAIN)],
        };
        if let Ok(units) = encoded(&sample, context, text) {
            let (wide, _) = expanded(&halves(&words(&sample)), None, text).unwrap();
            let (compact, _) = expanded(&units, Some(context), text).unwrap();
            prop_assert_eq!(compact, wide);
        }
    }

    #[test]
    fn any_units_are_a_record_or_none(mut units in prop::collection::vec(any::<u32>(), 0..255), kind in 0..8_u8) {
        if let Some(first) = units.first_mut() {
            *first = *first & 0xffff_0000 | u32::from(kind) << 8;
        }
        let mut record = [0; MAX_WORDS];
        let read = expand(&units, Some(CONTEXT), text(1 << 20), &mut record);
        if let Some(Expanded::Record { words, .. }) = read {
            prop_assert!((1..=MAX_WORDS).contains(&words));
        }
    }
}
