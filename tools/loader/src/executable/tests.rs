//! Small ELF files, right and wrong.

use super::*;

const LOW: u64 = 0xffff_ffff_8000_0000;
const HEADERS: usize = 64;
const CONTENT: usize = 0x400;

struct Header {
    kind: u32,
    flags: u32,
    offset: u64,
    address: u64,
    file_size: u64,
    memory_size: u64,
}

/// Loads `file_size` bytes of 0xcc.
fn load(flags: u32, address: u64, file_size: u64, memory_size: u64) -> Header {
    Header {
        kind: 1,
        flags,
        offset: CONTENT as u64,
        address,
        file_size,
        memory_size,
    }
}

fn put(file: &mut [u8], offset: usize, bytes: &[u8]) {
    file[offset..offset + bytes.len()].copy_from_slice(bytes);
}

fn elf(headers: &[Header]) -> Vec<u8> {
    let mut file = vec![0; HEADERS + 56 * headers.len()];
    put(&mut file, 0, b"\x7fELF\x02\x01\x01"); // 64 bits, little-endian, version 1
    put(&mut file, 16, &2_u16.to_le_bytes()); // executable
    put(&mut file, 18, &62_u16.to_le_bytes()); // x86-64
    put(&mut file, 20, &1_u32.to_le_bytes());
    put(&mut file, 24, &(LOW + 0x123).to_le_bytes()); // entry
    put(&mut file, 32, &(HEADERS as u64).to_le_bytes());
    put(&mut file, 52, &64_u16.to_le_bytes());
    put(&mut file, 54, &56_u16.to_le_bytes());
    put(
        &mut file,
        56,
        &u16::try_from(headers.len()).unwrap().to_le_bytes(),
    );
    for (n, header) in headers.iter().enumerate() {
        let at = HEADERS + 56 * n;
        put(&mut file, at, &header.kind.to_le_bytes());
        put(&mut file, at + 4, &header.flags.to_le_bytes());
        put(&mut file, at + 8, &header.offset.to_le_bytes());
        put(&mut file, at + 16, &header.address.to_le_bytes());
        put(&mut file, at + 32, &header.file_size.to_le_bytes());
        put(&mut file, at + 40, &header.memory_size.to_le_bytes());
    }
    file.resize(CONTENT, 0);
    file.resize(CONTENT + 0x100, 0xcc);
    file
}

fn parse(file: &[u8]) -> Result<Executable<'_>> {
    Executable::parse(file, None)
}

#[test]
fn a_kernel_is_loaded() {
    let file = elf(&[
        load(6, LOW + 0x3010, 0x20, 0x2000),
        Header {
            kind: 4,
            ..load(4, 0, 4, 4)
        }, // a note
        load(5, LOW + 0x1000, 0x100, 0x100),
        load(4, LOW + 0x9000, 0, 0), // empty
    ]);
    let kernel = parse(&file).unwrap();
    assert_eq!(kernel.entry, LOW + 0x123);
    assert_eq!(
        (kernel.start().as_u64(), kernel.size()),
        (LOW + 0x1000, 0x5000)
    );
    let flags: Vec<_> = kernel
        .segments()
        .iter()
        .map(|s| (s.writable, s.executable))
        .collect();
    assert_eq!(flags, [(false, true), (true, false)]);

    let mut image = vec![0xff; 0x5000];
    assert_eq!(kernel.from_file(), 0x2030);
    kernel.load(&mut image).unwrap();
    let expected = |at: usize| at < 0x100 || (0x2010..0x2030).contains(&at);
    for (at, &byte) in image.iter().enumerate() {
        assert_eq!(byte, if expected(at) { 0xcc } else { 0 }, "at {at:#x}");
    }
}

#[test]
fn what_is_no_kernel_is_named() {
    let good = elf(&[load(5, LOW, 0x100, 0x100)]);
    assert!(parse(&good).is_ok());
    let with = |offset: usize, byte: u8| {
        let mut file = good.clone();
        file[offset] = byte;
        file
    };
    for (file, error) in [
        (vec![], Error::NotElf),
        (good[..63].to_vec(), Error::CutShort),
        (with(0, 0), Error::NotElf),
        (with(4, 1), Error::NotElf),         // 32 bits
        (with(5, 2), Error::NotX86_64),      // big-endian
        (with(18, 183), Error::NotX86_64),   // aarch64
        (with(16, 1), Error::NotExecutable), // an object file
        (with(16, 4), Error::NotExecutable), // a core dump
        (good[..100].to_vec(), Error::CutShort),
        (good[..good.len() - 1].to_vec(), Error::CutShort),
        (elf(&[]), Error::NoSegments),
        (elf(&[load(5, LOW, 0x100, 0xff)]), Error::CutShort),
        (
            elf(&[load(5, LOW - 1, 1, 1)]),
            Error::SegmentOutside(LOW - 1),
        ),
        (
            elf(&[load(5, 0x10_0000, 1, 1)]),
            Error::SegmentOutside(0x10_0000),
        ),
        (
            elf(&[load(5, LOW, 1, u64::MAX)]),
            Error::SegmentOutside(LOW),
        ),
        (
            elf(&[load(5, LOW, 1, 0x7fff_f001)]),
            Error::SegmentOutside(LOW),
        ),
    ] {
        assert_eq!(parse(&file), Err(error));
    }
    assert!(parse(&elf(&[load(5, LOW, 1, 0x7fff_f000)])).is_ok());
}

#[test]
fn segments_may_not_share_a_page() {
    let pair = |second| elf(&[load(6, second, 1, 1), load(5, LOW, 0x100, 0x1001)]);
    let overlap = |address| Err(Error::SegmentsOverlap(VirtAddr::new(address)));
    assert_eq!(parse(&pair(LOW + 0x1fff)), overlap(LOW + 0x1000));
    assert_eq!(parse(&pair(LOW + 0x800)), overlap(LOW));
    assert!(parse(&pair(LOW + 0x2000)).is_ok());
}

#[test]
fn too_many_segments_are_an_error() {
    let headers = |n| {
        (0..n)
            .map(|i| load(4, LOW + i * 0x1000, 1, 1))
            .collect::<Vec<_>>()
    };
    assert!(parse(&elf(&headers(16))).is_ok());
    assert_eq!(parse(&elf(&headers(17))), Err(Error::TooManySegments));
}

/// A relocatable kernel of one segment, its dynamic section in it.
fn pie(linked_at: u64, align: u64) -> Vec<u8> {
    let mut file = elf(&[
        load(6, linked_at, 0x100, 0x3000),
        Header {
            kind: 2,
            ..load(4, linked_at + 0x80, 0x40, 0x40)
        },
    ]);
    put(&mut file, 16, &3_u16.to_le_bytes());
    put(&mut file, 24, &(linked_at + 0x123).to_le_bytes()); // entry
    put(&mut file, HEADERS + 48, &align.to_le_bytes());
    let dynamic = CONTENT + 0x80;
    put(&mut file, HEADERS + 56 + 8, &(dynamic as u64).to_le_bytes());
    // RELA, RELASZ, the end; a record for the word at 8 is at 0x40.
    let words = [7, linked_at + 0x40, 8, 24, 0, 0];
    for (n, word) in words.into_iter().enumerate() {
        put(&mut file, dynamic + 8 * n, &u64::to_le_bytes(word));
    }
    for (n, word) in [linked_at + 8, 8, linked_at + 0x99].into_iter().enumerate() {
        put(&mut file, CONTENT + 0x40 + 8 * n, &u64::to_le_bytes(word));
    }
    file
}

/// Where it is moved to, and that its entry and its relocated word go with it.
fn moved(linked_at: u64, align: u64, seed: Option<u64>) -> Result<u64> {
    let file = pie(linked_at, align);
    let kernel = Executable::parse(&file, seed)?;
    let start = kernel.start().as_u64();
    assert_eq!(start, linked_at.wrapping_add(kernel.slide));
    assert_eq!(kernel.entry, start + 0x123);
    let mut image = vec![0; usize::try_from(kernel.size()).unwrap()];
    kernel.load(&mut image)?;
    assert_eq!(image[8..16], (start + 0x99).to_le_bytes());
    Ok(start)
}

#[test]
fn a_relocatable_kernel_is_moved() {
    const MIB: u64 = 1 << 20;
    let offset = |end: u64, align| kaslr::offset(7, end.wrapping_neg() - 0x1000, align);
    for (linked_at, start) in [
        (0, LOW),
        (0x20_0000, LOW + 0x20_0000),
        (LOW, LOW),
        (LOW + 0x10_0000, LOW + 0x10_0000),
    ] {
        assert_eq!(moved(linked_at, 0x1000, None), Ok(start), "{linked_at:#x}");
        for align in [0x1000, 16 * MIB] {
            let further = offset(start + 0x3000, align).unwrap();
            let with_seed = moved(linked_at, align, Some(7));
            assert_eq!(with_seed, Ok(start + further), "{linked_at:#x}");
            assert!(further >= 2 * MIB);
        }
    }
}

#[test]
fn a_kernel_that_is_relocatable_may_say_so_in_its_dynamic_section_alone() {
    let mut file = pie(LOW, 0x1000);
    put(&mut file, 16, &2_u16.to_le_bytes()); // fixed, says the header
    assert_eq!(
        Executable::parse(&file, Some(1)),
        Err(Error::NotRelocatable)
    );
    let mut image = vec![0; 0x3000];
    parse(&file).unwrap().load(&mut image).unwrap();
    assert_eq!(image[8..16], [0xcc; 8], "nothing is relocated");
    for (n, word) in [0x6fff_fffb_u64, 0x0800_0000].into_iter().enumerate() {
        put(&mut file, CONTENT + 0xa0 + 8 * n, &word.to_le_bytes());
    }
    assert!(parse(&file).unwrap().load(&mut image).is_ok());
    assert_eq!(image[8..16], (LOW + 0x99).to_le_bytes());
    assert!(Executable::parse(&file, Some(1)).unwrap().slide >= 2 << 20);
}

#[test]
fn a_kernel_that_cannot_be_moved_is_refused() {
    let fixed = elf(&[load(5, LOW, 0x100, 0x100)]);
    assert_eq!(
        Executable::parse(&fixed, Some(1)),
        Err(Error::NotRelocatable)
    );
    let high = LOW + 0x7fe0_0000;
    assert_eq!(moved(high, 0x1000, None), Ok(high));
    assert_eq!(moved(high, 0x1000, Some(1)), Err(Error::NoRoomToMove));
    let middle = 0x1000_0000_0000;
    assert_eq!(
        moved(middle, 0x1000, None),
        Err(Error::SegmentOutside(middle))
    );
    assert_eq!(moved(0, 0x3000, None), Err(Error::CutShort), "no alignment");
}

#[test]
fn damaged_relocations_are_refused() {
    let mut file = pie(0, 0x1000);
    put(&mut file, CONTENT + 0x48, &6_u64.to_le_bytes());
    let refused = parse(&file).unwrap().load(&mut vec![0; 0x3000]);
    let kind = relocation::Type(6);
    assert_eq!(refused, Err(Error::RelocationType(kind)));
    put(&mut file, CONTENT + 0x98, &25_u64.to_le_bytes());
    assert_eq!(parse(&file), Err(Error::RelocationTable));
}
