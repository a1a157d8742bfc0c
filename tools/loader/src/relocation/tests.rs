//! Images of a few words, linked at `AT`.

use super::*;

const AT: u64 = 0x10_0000;
const SLIDE: u64 = 0xffff_ffff_8000_0000;

fn bytes(words: &[u64]) -> Vec<u8> {
    words.iter().flat_map(|word| word.to_le_bytes()).collect()
}

fn dynamic(entries: &[(i64, u64)]) -> Vec<u8> {
    let words = entries
        .iter()
        .flat_map(|&(tag, value)| [tag.cast_unsigned(), value]);
    bytes(&words.collect::<Vec<_>>())
}

/// Tables at the image's end: the records from word `at` on.
fn records(at: u64, count: u64) -> Tables {
    let entries = [
        (DT_RELASZ, count * RECORD),
        (DT_RELA, AT + 8 * at),
        (DT_RELAENT, RECORD),
        (DT_NULL, 0),
        (DT_NEEDED, 0), // behind the end
    ];
    Tables::parse(&dynamic(&entries)).unwrap()
}

fn compact(at: u64, count: u64) -> Tables {
    let entries = [
        (DT_RELR, AT + 8 * at),
        (DT_RELRSZ, 8 * count),
        (DT_RELRENT, 8),
    ];
    Tables::parse(&dynamic(&entries)).unwrap()
}

fn apply(tables: &Tables, words: &[u64]) -> Result<Vec<u64>> {
    let mut image = bytes(words);
    tables.apply(&mut image, AT, SLIDE)?;
    Ok(image
        .chunks(8)
        .map(|word| u64_at(word, 0).unwrap())
        .collect())
}

#[test]
fn a_record_makes_an_address() {
    let relative = u64::from(R_X86_64_RELATIVE);
    let mut image = [7, 7, AT + 8, relative, 0x10_0040, 0, 0, 0];
    let expected = [7, SLIDE + 0x10_0040, AT + 8, relative, 0x10_0040, 0, 0, 0];
    // What was in the word before does not matter; a record of type NONE does nothing.
    assert_eq!(apply(&records(2, 2), &image).unwrap(), expected);
    image[1] = 99;
    assert_eq!(apply(&records(2, 2), &image).unwrap(), expected);
}

#[test]
fn compact_tables_add_the_slide() {
    // The word 0; then a bitmap for words 1 to 63; then one for 64 to 126.
    let mut image = vec![5; 130];
    image[127] = AT;
    image[128] = 1 | 1 << 1 | 1 << 3 | 1 << 63;
    image[129] = 1 | 1 << 2;
    let moved = apply(&compact(127, 3), &image).unwrap();
    for (n, (&before, &after)) in image.iter().zip(&moved).enumerate() {
        let slide = if [0, 1, 3, 63, 65].contains(&n) {
            SLIDE
        } else {
            0
        };
        assert_eq!(after, before + slide, "word {n}");
    }
    // Another address begins anew.
    let image = [1, 2, 3, 4, AT, AT + 16, 1 | 1 << 1];
    let moved = apply(&compact(4, 3), &image).unwrap();
    assert_eq!(moved[..4], [SLIDE + 1, 2, SLIDE + 3, SLIDE + 4]);
}

#[test]
fn other_types_are_refused_by_name() {
    for (number, name) in [
        (6, "R_X86_64_GLOB_DAT"),
        (7, "R_X86_64_JUMP_SLOT"),
        (1, "R_X86_64_64"),
        (37, "R_X86_64_IRELATIVE"),
        (99, "number 99"),
    ] {
        // A symbol's number is above the type.
        let image = [0, AT, 3 << 32 | number, 0];
        let number = u32::try_from(number).unwrap();
        let refused = apply(&records(1, 1), &image).unwrap_err();
        assert_eq!(refused, Error::RelocationType(Type(number)));
        assert!(refused.to_string().contains(name), "{refused}");
        // So in the table for calls.
        let calls = dynamic(&[(DT_JMPREL, AT + 8), (DT_PLTRELSZ, 24)]);
        assert_eq!(apply(&Tables::parse(&calls).unwrap(), &image), Err(refused));
    }
}

#[test]
fn tables_and_targets_outside_are_refused() {
    let refused = Err(Error::RelocationTable);
    let relative = u64::from(R_X86_64_RELATIVE);
    for target in [AT - 1, AT - 8, AT + 25, AT + 32, u64::MAX, 0] {
        let image = [0, target, relative, 0];
        assert_eq!(apply(&records(1, 1), &image), refused, "{target:#x}");
    }
    assert_eq!(apply(&records(2, 1), &[0; 4]), refused, "cut off");
    assert_eq!(apply(&records(u64::MAX / 16, 1), &[0; 4]), refused);
    assert_eq!(apply(&compact(4, 1), &[0; 4]), refused);
    assert_eq!(apply(&compact(0, 1), &[AT + 8]), refused, "target");
    assert_eq!(
        apply(&compact(0, 1), &[3, 0, 0]),
        refused,
        "a bitmap of nothing"
    );
    assert_eq!(
        apply(&compact(0, 2), &[AT, 1 | 1 << 5]),
        refused,
        "bitmap's target"
    );
}

#[test]
fn a_dynamic_section_that_makes_no_sense_is_refused() {
    let refused = Err(Error::RelocationTable);
    for entries in [
        &[(DT_RELA, AT), (DT_RELASZ, 25)][..],
        &[(DT_RELA, AT), (DT_RELASZ, 24), (DT_RELAENT, 16)],
        &[(DT_RELA, u64::MAX), (DT_RELASZ, 24)],
        &[(DT_RELR, AT), (DT_RELRSZ, 12)],
        &[(DT_RELR, AT), (DT_RELRSZ, 8), (DT_RELRENT, 16)],
        &[(DT_REL, AT)],
    ] {
        assert_eq!(Tables::parse(&dynamic(entries)), refused, "{entries:?}");
    }
    let needed = dynamic(&[(DT_NEEDED, 1)]);
    assert_eq!(Tables::parse(&needed), Err(Error::SharedLibrary));
    assert_eq!(Tables::parse(&[]), Ok(Tables::default()));
    assert_eq!(Tables::parse(&[1; 15]), Ok(Tables::default()), "cut off");
}
