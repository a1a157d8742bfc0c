use std::format;
use std::string::ToString;
use std::vec;
use std::vec::Vec;

use elf::abi::{
    DT_JMPREL, DT_NEEDED, DT_PLTRELSZ, DT_RELA, DT_RELAENT, DT_RELASZ, ET_CORE, ET_REL,
    R_X86_64_64, R_X86_64_NONE, R_X86_64_RELATIVE,
};
use proptest::prelude::*;

use super::*;

const HEADER: usize = 64;
const PROGRAM_HEADER: usize = 56;

const R: u32 = 4;
const RW: u32 = 6;
const RX: u32 = 5;

/// A segment of a file that is made here.
#[derive(Clone)]
struct Part {
    kind: u32,
    flags: u32,
    at: u64,
    content: Vec<u8>,
    memory: u64,
    align: u64,
}

fn loaded(flags: u32, at: u64, content: &[u8], memory: u64) -> Part {
    Part {
        kind: PT_LOAD,
        flags,
        at,
        content: content.to_vec(),
        memory,
        align: PAGE,
    }
}

/// An ELF file of these parts; `kind` is the file's.
fn file(kind: u16, entry: u64, parts: &[Part]) -> Vec<u8> {
    let mut offset = HEADER + PROGRAM_HEADER * parts.len();
    let mut file = vec![0x7f, b'E', b'L', b'F', ELFCLASS64, 1, 1, 0];
    file.resize(16, 0);
    for (value, bytes) in [
        (kind.into(), 2),
        (EM_X86_64.into(), 2),
        (1, 4),
        (entry, 8),
        (HEADER as u64, 8),
        (0, 8),
        (0, 4),
        (HEADER as u64, 2),
        (PROGRAM_HEADER as u64, 2),
        (parts.len() as u64, 2),
        (64, 2),
        (0, 2),
        (0, 2),
    ] {
        file.extend(&value.to_le_bytes()[..bytes]);
    }
    assert_eq!(file.len(), HEADER);
    for part in parts {
        file.extend(part.kind.to_le_bytes());
        file.extend(part.flags.to_le_bytes());
        let bytes = part.content.len() as u64;
        for word in [
            offset as u64,
            part.at,
            part.at,
            bytes,
            part.memory,
            part.align,
        ] {
            file.extend(word.to_le_bytes());
        }
        offset += part.content.len();
    }
    for part in parts {
        file.extend(&part.content);
    }
    file
}

fn words(words: &[u64]) -> Vec<u8> {
    words.iter().flat_map(|word| word.to_le_bytes()).collect()
}

const CODE: u64 = 0x40_0000;

fn code() -> Part {
    loaded(RX, CODE, &[0xc3; 10], 10)
}

fn parse(parts: &[Part]) -> Result<(), Error> {
    Program::parse(&file(ET_EXEC, CODE, parts)).map(drop)
}

#[test]
fn a_static_program_goes_where_it_is_linked() {
    let data = loaded(RW, CODE + 0x1800, b"data", 0x1000);
    let constants = loaded(R, CODE - 0x2000, b"constants", 9);
    let nothing = loaded(RW | RX, CODE, b"", 0);
    let file = file(ET_EXEC, CODE + 3, &[data, nothing, code(), constants]);
    let program = Program::parse(&file).unwrap();
    assert_eq!((program.entry(), program.slide()), (CODE + 3, 0));
    let segments: Vec<_> = program
        .segments()
        .iter()
        .map(|it| (it.start, it.bytes, it.content, it.rights))
        .collect();
    let expected: [(_, _, &[u8], _); 3] = [
        (CODE - 0x2000, 9, b"constants", Rights::Read),
        (CODE, 10, &[0xc3; 10], Rights::Execute),
        (CODE + 0x1800, 0x1000, b"data", Rights::Write),
    ];
    assert_eq!(segments, expected);
    assert_eq!(program.segments()[2].pages(), CODE + 0x1000..CODE + 0x3000);
    assert_eq!(program.relocations().count(), 0);
}

/// A position-independent program with these entries in its dynamic section, and a table of
/// relocations at 0x3000.
fn pie(dynamic: &[(i64, u64)], relocations: &[u64]) -> Vec<u8> {
    let dynamic: Vec<_> = dynamic
        .iter()
        .flat_map(|&(tag, value)| [tag.cast_unsigned(), value])
        .chain([0, 0])
        .collect();
    let dynamic = Part {
        kind: PT_DYNAMIC,
        ..loaded(RW, 0x2000, &words(&dynamic), 8)
    };
    let parts = [
        loaded(RX, 0x1000, &[0xc3], 1),
        loaded(RW, 0x2000, &[0; 64], 0x100),
        loaded(
            R,
            0x3000,
            &words(relocations),
            8 * relocations.len() as u64 + 8,
        ),
        dynamic,
    ];
    file(ET_DYN, 0x1000, &parts)
}

fn tables(bytes: u64) -> Vec<(i64, u64)> {
    vec![(DT_RELA, 0x3000), (DT_RELASZ, bytes), (DT_RELAENT, 24)]
}

const RELATIVE: u64 = R_X86_64_RELATIVE as u64;

#[test]
fn a_position_independent_program_is_relocated() {
    let records = [
        [0x2008, RELATIVE, 0x1000],
        [0x2000, R_X86_64_NONE.into(), 7],
        // The last word of the segment, behind what is in the file.
        [0x20f8, RELATIVE, 0x20ff],
    ];
    let file = pie(&tables(72), &records.concat());
    let program = Program::parse(&file).unwrap();
    let slide = PIE_BASE - 0x1000;
    assert_eq!((program.slide(), program.entry()), (slide, PIE_BASE));
    let relocations: Vec<_> = program.relocations().collect();
    let relocation = |address, value| Relocation {
        address: slide + address,
        value: slide + value,
    };
    assert_eq!(
        relocations,
        [relocation(0x2008, 0x1000), relocation(0x20f8, 0x20ff)]
    );
    // None at all.
    let file = pie(&[], &[]);
    assert_eq!(Program::parse(&file).unwrap().relocations().count(), 0);
}

#[test]
fn relocations_are_refused_that_cannot_be_applied() {
    let parse =
        |dynamic: &[(i64, u64)], records: &[u64]| Program::parse(&pie(dynamic, records)).map(drop);
    let one = |record: [u64; 3]| parse(&tables(24), &record);
    assert_eq!(
        one([0x2008, R_X86_64_64.into(), 0]),
        Err(Error::RelocationType(R_X86_64_64))
    );
    for at in [
        0x20f9,
        0x1ffc,
        0x8000,
        u64::MAX - 3,
        0_u64.wrapping_sub(PIE_BASE),
    ] {
        assert_eq!(one([at, RELATIVE, 0]), Err(Error::RelocationOutside(at)));
    }
    let good = [0x2008, RELATIVE, 0];
    assert_eq!(one(good), Ok(()));
    for bytes in [23, 25, 24 * 2, u64::MAX] {
        assert_eq!(parse(&tables(bytes), &good), Err(Error::RelocationTable));
    }
    let mut records = tables(24);
    records[2] = (DT_RELAENT, 16);
    assert_eq!(parse(&records, &good), Err(Error::RelocationTable));
    let elsewhere = [(DT_RELA, 0x9000), (DT_RELASZ, 24)];
    assert_eq!(parse(&elsewhere, &good), Err(Error::RelocationTable));
    assert_eq!(parse(&[(DT_NEEDED, 1)], &[]), Err(Error::SharedLibrary));
    assert_eq!(parse(&[(36, 0x3000)], &[]), Err(Error::CompactRelocations));
    let calls = [(DT_JMPREL, 0x3000), (DT_PLTRELSZ, 24)];
    assert_eq!(parse(&calls, &good), Err(Error::RelocationTable));
}

#[test]
fn a_position_independent_program_keeps_its_alignment() {
    let moved = |at: u64, align: u64| {
        let part = Part {
            align,
            ..loaded(RX, at, &[0xc3], 1)
        };
        let file = file(ET_DYN, at, &[part]);
        Program::parse(&file).map(|program| (program.slide(), program.entry()))
    };
    assert_eq!(moved(0, 1), Ok((PIE_BASE, PIE_BASE)));
    let large = PIE_BASE.next_multiple_of(2 << 20);
    assert_eq!(moved(0x10, 2 << 20), Ok((large, large + 0x10)));
    // Linked somewhere high.
    let high = 0xffff_ffff_8000_0123;
    let entry = PIE_BASE + 0x123;
    assert_eq!(moved(high, PAGE), Ok((entry.wrapping_sub(high), entry)));
    assert_eq!(moved(0, 0x3000), Err(Error::Alignment(0x3000)));
    assert_eq!(moved(0, 1 << 40), Err(Error::Alignment(1 << 40)));
}

#[test]
fn places_are_refused_that_are_no_processs() {
    let outside = |at, bytes| {
        let part = loaded(RW, at, b"", bytes);
        assert_eq!(parse(&[code(), part]), Err(Error::Outside(at)), "{at:#x}");
    };
    outside(0, 1);
    outside(USER.start - 1, 1);
    outside(USER.end - 1, 2);
    outside(USER.end, 1);
    outside(0xffff_8000_0000_0000, 1);
    outside(0xffff_ffff_8000_0000, 0x1000);
    outside(u64::MAX, 1);
    outside(u64::MAX - 5, 0x1000);
    assert_eq!(parse(&[code(), loaded(RW, USER.end - 1, b"", 1)]), Ok(()));
    assert_eq!(parse(&[code(), loaded(RW, USER.start, b"", 1)]), Ok(()));
}

#[test]
fn segments_are_refused_that_share_a_page_or_are_too_large() {
    let with = |part| parse(&[code(), part]);
    let overlap = Err(Error::Overlap(CODE));
    assert_eq!(with(loaded(RW, CODE + 0x800, b"", 1)), overlap);
    assert_eq!(with(loaded(RW, CODE - 1, b"", 2)), overlap);
    assert_eq!(with(loaded(RW, CODE - 1, b"", 1)), Ok(()));
    assert_eq!(with(loaded(RX, CODE, b"", 1)), overlap);
    let most = MOST_BYTES - 10;
    assert_eq!(with(loaded(RW, 0x1_0000_0000, b"", most)), Ok(()));
    for bytes in [most + 1, MOST_BYTES + 1, 1 << 46, u64::MAX] {
        let part = loaded(RW, 0x1_0000_0000, b"", bytes);
        assert_eq!(with(part), Err(Error::TooLarge));
    }
    let both = loaded(RW | RX, 0x1_0000_0000, b"", 1);
    assert_eq!(with(both), Err(Error::WrittenAndExecuted(0x1_0000_0000)));
    // More in the file than in memory.
    assert_eq!(with(loaded(R, 0x50_0000, b"xyz", 2)), Err(Error::CutShort));
    let many = |count: u64| {
        let parts = (0..count).map(|number| loaded(RX, CODE + number * PAGE, b"", 1));
        parse(&parts.collect::<Vec<_>>())
    };
    assert_eq!(many(16), Ok(()));
    assert_eq!(many(17), Err(Error::TooManySegments));
    assert_eq!(many(0), Err(Error::NoSegments));
}

#[test]
fn what_a_program_wants_and_does_not_get_is_refused() {
    let with = |kind, flags| {
        let part = Part {
            kind,
            ..loaded(flags, 0, b"", 8)
        };
        parse(&[part, code()])
    };
    assert_eq!(with(PT_INTERP, R), Err(Error::Interpreter));
    assert_eq!(with(PT_TLS, R), Err(Error::ThreadLocal));
    assert_eq!(with(PT_GNU_STACK, RW | RX), Err(Error::ExecutableStack));
    assert_eq!(with(PT_GNU_STACK, RW), Ok(()));
    let at = |entry| Program::parse(&file(ET_EXEC, entry, &[code()])).map(drop);
    assert_eq!(at(CODE + 9), Ok(()));
    for entry in [0, CODE - 1, CODE + 10, u64::MAX] {
        assert_eq!(at(entry), Err(Error::Entry(entry)));
    }
    let data = file(ET_EXEC, CODE, &[loaded(RW, CODE, b"", 16)]);
    assert_eq!(Program::parse(&data), Err(Error::Entry(CODE)));
}

#[test]
fn what_is_no_program_is_refused() {
    let good = file(ET_EXEC, CODE, &[code()]);
    let parse = |file: &[u8]| Program::parse(file).map(drop);
    assert_eq!(parse(&good), Ok(()));
    assert_eq!(parse(b""), Err(Error::NotElf));
    assert_eq!(parse(b"#!/bin/sh"), Err(Error::NotElf));
    for kind in [ET_REL, ET_CORE] {
        let file = file(kind, CODE, &[code()]);
        assert_eq!(parse(&file), Err(Error::NotExecutable));
    }
    let changed = |at: usize, byte| {
        let mut file = good.clone();
        file[at] = byte;
        parse(&file)
    };
    assert_eq!(changed(4, 1), Err(Error::NotX86_64));
    assert_eq!(changed(5, 2), Err(Error::NotX86_64));
    assert_eq!(changed(18, 0xb7), Err(Error::NotX86_64));
    for bytes in 4..good.len() {
        let problem = parse(&good[..bytes]).unwrap_err();
        let expected = if bytes == 4 {
            Error::NotX86_64
        } else {
            Error::CutShort
        };
        assert_eq!(problem, expected, "{bytes} bytes");
    }
}

#[test]
fn every_refusal_is_one_line_that_says_what_to_do() {
    use Error::*;
    for (error, expected) in [
        (NotElf, "no ELF file: give a program"),
        (
            TooLarge,
            "it takes more than 256 MiB of memory: make its variables smaller",
        ),
        (
            Outside(0xffff_ffff_8000_0000),
            "the segment at 0xffffffff80000000 is not between 0x10000 and 0x7ffffffff000: link it there",
        ),
        (
            RelocationType(1),
            "a relocation of type 1, and only R_X86_64_RELATIVE can be applied: link it by -static-pie",
        ),
    ] {
        assert_eq!(error.to_string(), expected);
    }
    for error in [
        NotX86_64,
        NotExecutable,
        CutShort,
        NoSegments,
        TooManySegments,
        Overlap(1),
        WrittenAndExecuted(1),
        Alignment(3),
        Entry(1),
        Interpreter,
        SharedLibrary,
        ThreadLocal,
        ExecutableStack,
        CompactRelocations,
        RelocationTable,
        RelocationOutside(1),
    ] {
        let line = format!("{error}");
        assert!(line.contains(": ") && !line.contains('\n'), "{line}");
    }
}

/// What holds of every program that is not refused.
fn check(file: &[u8]) {
    let Ok(program) = Program::parse(file) else {
        return;
    };
    let mut end = USER.start;
    for segment in program.segments() {
        let pages = segment.pages();
        assert!(pages.start >= end && pages.end <= USER.end, "{segment:?}");
        assert!(segment.content.len() as u64 <= segment.bytes);
        end = pages.end;
    }
    for Relocation { address, .. } in program.relocations() {
        let is_in = |it: &Segment<'_>| it.contains(&(address..address + 8));
        assert!(program.segments().iter().any(is_in), "{address:#x}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4_000))]

    /// Whatever is changed in a file, what is loaded of it is in order.
    #[test]
    fn damaged_programs_are_refused_or_in_order(
        is_pie in any::<bool>(),
        changes in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..6),
        length in any::<prop::sample::Index>(),
        is_cut in any::<bool>(),
    ) {
        let mut file = if is_pie {
            pie(&tables(48), &[0x2008, RELATIVE, 0x1000, 0x2010, RELATIVE, 0x2000])
        } else {
            file(ET_EXEC, CODE, &[code(), loaded(RW, CODE + 0x1800, b"data", 0x1000)])
        };
        check(&file);
        for (at, byte) in changes {
            let at = at.index(file.len());
            file[at] = byte;
        }
        if is_cut {
            file.truncate(length.index(file.len()));
        }
        check(&file);
    }
}
