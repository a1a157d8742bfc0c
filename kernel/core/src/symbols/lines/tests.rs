use std::string::{String, ToString as _};
use std::vec::Vec;
use std::{format, vec};

use super::super::EncodeError;
use super::*;

/// What is shown of the byte at an offset.
fn shown(table: &LineTable<'_>, offset: u64) -> Option<String> {
    table.find(offset).map(|line| line.to_string())
}

fn places(count: u32) -> Vec<(u32, Option<(String, u32)>)> {
    (0..count)
        .map(|number| {
            let path = match number % 5 {
                0 => "main.rs".to_owned(),
                1 | 2 => format!("kernel/src/{}/mod.rs", number % 7),
                _ => format!("library/core/src/{}.rs", number % 3),
            };
            // Up and down, by little and by much.
            let line = 1 + number.wrapping_mul(0x9e37_79b9) % [9, 300, 70_000][number as usize % 3];
            let is_known = number % 11 != 10;
            (10 + 7 * number, is_known.then_some((path, line)))
        })
        .collect()
}

fn rows(places: &[(u32, Option<(String, u32)>)]) -> Vec<Row<'_>> {
    places
        .iter()
        .map(|(start, place)| Row {
            start: *start,
            place: place.as_ref().map(|(path, line)| (path.as_str(), *line)),
        })
        .collect()
}

#[test]
fn each_byte_has_its_line_and_others_have_none() {
    for count in [0, 1, 2, 63, 64, 65, 128, 129, 1000] {
        let places = places(count);
        let bytes = encode(&rows(&places)).unwrap();
        let table = LineTable::new(&bytes).unwrap();
        for before in 0..10 {
            assert_eq!(shown(&table, before), None);
        }
        for (start, place) in &places {
            let expected = place.as_ref().map(|(path, line)| format!("{path}:{line}"));
            for into in 0..7 {
                let at = start + into;
                assert_eq!(shown(&table, at.into()), expected, "{at} of {count}");
            }
        }
        assert_eq!(shown(&table, 1 << 32), None);
    }
}

#[test]
fn a_row_takes_about_three_bytes() {
    let rows: Vec<_> = (0..6400)
        .map(|number| Row {
            start: number * 9,
            place: Some(("kernel/src/main.rs", 100 + number % 30)),
        })
        .collect();
    let bytes = encode(&rows).unwrap();
    assert!(bytes.len() < rows.len() * 5 / 2, "{}", bytes.len());
    assert_eq!(encode(&rows), Ok(bytes));
}

#[test]
fn rows_in_disorder_and_lines_too_far_are_refused() {
    let of = |start, line| Row {
        start,
        place: Some(("f.rs", line)),
    };
    assert_eq!(encode(&[of(5, 1), of(4, 2)]), Err(EncodeError));
    assert_eq!(encode(&[of(5, 1 << 30)]), Err(EncodeError));
    let most = (1 << 30) - 1;
    let bytes = encode(&[of(5, most), of(6, 1)]).unwrap();
    let table = LineTable::new(&bytes).unwrap();
    assert_eq!(shown(&table, 5), Some(format!("f.rs:{most}")));
    assert_eq!(shown(&table, 6).as_deref(), Some("f.rs:1"));
}

#[test]
fn a_path_is_shown_without_what_a_terminal_obeys() {
    let path = format!("a/\u{1b}[2J{}.rs", "x".repeat(MAX_LETTERS));
    let row = Row {
        start: 0,
        place: Some((&path, 7)),
    };
    let bytes = encode(&[row]).unwrap();
    let table = LineTable::new(&bytes).unwrap();
    let expected = format!("a/?[2J{}:7", "x".repeat(MAX_LETTERS - 6));
    assert_eq!(shown(&table, 0), Some(expected));
}

#[test]
fn any_bytes_are_safe() {
    for bytes in [&[][..], &[0; 4096], b"PMILINES", &[0xff; 64]] {
        assert!(LineTable::new(bytes).is_none());
    }
    let places = places(200);
    let whole = encode(&rows(&places)).unwrap();
    for cut in 0..whole.len() {
        assert!(LineTable::new(&whole[..cut]).is_none(), "cut at {cut}");
    }
    for at in 0..whole.len() {
        for value in [0, 1, 0x7f, 0x80, 0xff] {
            let mut damaged = whole.clone();
            damaged[at] = value;
            let Some(table) = LineTable::new(&damaged) else {
                continue;
            };
            for offset in (0..1500).step_by(61).chain([u32::MAX]) {
                let text = shown(&table, offset.into()).unwrap_or_default();
                assert!(text.len() <= MAX_LETTERS + 11, "{text}");
                assert!(text.bytes().all(is_shown), "{text}");
            }
        }
    }
    let more = [whole, vec![0x55; 100]].concat();
    assert!(LineTable::new(&more).is_some());
}
