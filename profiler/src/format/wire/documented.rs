//! The tables of `docs/wire.md`.

use super::frame::{BODY, CRC_AT, Frame, HEAD, LANES, PAYLOAD, SYNC};
use super::parity::{DATA, WORD};
use super::{FRAME_BYTES, Kind, Number, Part};
use crate::format::expand::{GAP_UNITS, gap};
use crate::format::kind;
use crate::format::sample::compact::Context;

const PAGE: &str = include_str!("../../../../docs/wire.md");

/// The rows of the table with this first column that is the `nth` such one.
fn table(first_column: &str, nth: usize) -> Vec<Vec<&'static str>> {
    let cells = |line: &'static str| -> Vec<_> {
        let inner = line.trim_matches('|').split('|');
        inner.map(|cell| cell.trim().trim_matches('`')).collect()
    };
    let rows: Vec<_> = PAGE.lines().map(cells).collect();
    let heads = rows
        .iter()
        .enumerate()
        .filter(|(_, row)| row[0] == first_column);
    let (head, _) = heads.into_iter().nth(nth).expect("the table");
    let rows = rows.into_iter().skip(head + 2);
    rows.take_while(|row| row.len() > 1).collect()
}

/// The fields of a table, which has no gaps: what follows it begins at `end`.
fn fields(nth: usize, end: usize) -> Vec<(&'static str, std::ops::Range<usize>)> {
    let mut next = 0;
    let mut fields = Vec::new();
    for row in table("offset", nth) {
        let [offset, bytes]: [usize; 2] = [row[0], row[1]].map(|cell| cell.parse().unwrap());
        assert_eq!(offset, next, "{}", row[2]);
        next += bytes;
        fields.push((row[2], offset..next));
    }
    assert_eq!(next, end);
    fields
}

fn context() -> Context {
    Context {
        time: 0x0102_0304_0506_0708,
        sp: 0x1112_1314_1516_1718,
        next: 0x2122_2324,
    }
}

fn frame() -> Frame {
    let number = Number {
        run: 0x3132_3334,
        block: 0x4142_4344,
        of: 0x5152_5354,
    };
    let mut frame = Frame::empty(Kind::Ring, number);
    frame.part = Part {
        kind: Kind::Ring,
        core: 0x6162,
        position: 0x7172_7374_7576_7778,
    };
    frame.raw_len = 0x8182;
    frame.is_packed = true;
    frame.context = Some(context());
    frame.packed_len = 3;
    frame.payload[..3].copy_from_slice(b"abc");
    frame
}

#[test]
fn a_frame_is_as_the_page_has_it() {
    let bytes = frame().encode();
    let places = fields(0, FRAME_BYTES);
    assert_eq!(places, [("sync", 0..4), ("words", 4..4 + BODY)]);
    assert_eq!(bytes[..4], SYNC);
    assert!(PAGE.contains("`d5 1a c3 8e`") && SYNC == [0xd5, 0x1a, 0xc3, 0x8e]);
    // The code words, and their contents one behind the other.
    assert_eq!((LANES, WORD, DATA), (3, 255, 239));
    let lane = |lane: usize| (0..DATA).map(move |place| 4 + lane + 3 * place);
    let content: Vec<u8> = (0..3).flat_map(lane).map(|at| bytes[at]).collect();
    let field = |name| {
        let fields = fields(1, 3 * DATA);
        let (_, place) = fields.into_iter().find(|(it, _)| *it == name).unwrap();
        &content[place]
    };
    for (name, expected) in [
        ("kind", &[3][..]),
        ("flags", &[0x13]),
        ("core", &0x6162_u16.to_le_bytes()),
        ("block", &0x4142_4344_u32.to_le_bytes()),
        ("of", &0x5152_5354_u32.to_le_bytes()),
        ("run", &0x3132_3334_u32.to_le_bytes()),
        ("position", &0x7172_7374_7576_7778_u64.to_le_bytes()),
        ("raw_len", &0x8182_u16.to_le_bytes()),
        ("packed_len", &3_u16.to_le_bytes()),
        ("time", &context().time.to_le_bytes()),
        ("sp", &context().sp.to_le_bytes()),
        ("next", &context().next.to_le_bytes()),
    ] {
        assert_eq!(field(name), expected, "{name}");
    }
    assert_eq!(
        (field("payload").len(), &field("payload")[..4]),
        (PAYLOAD, &b"abc\0"[..])
    );
    assert_eq!(fields(1, 3 * DATA)[12].1, CRC_AT..HEAD);
    let body = bytes[4..].try_into().unwrap();
    assert_eq!(Frame::decode(&body), Some((frame(), 0)));
}

#[test]
fn kinds_have_the_numbers_that_the_page_has() {
    let rows = table("kind", 0);
    let rows: Vec<_> = rows
        .iter()
        .map(|row| (row[0].to_owned(), row[1].to_owned()))
        .collect();
    let all = Kind::ALL.map(|kind| ((kind as u8).to_string(), format!("{kind:?}")));
    assert_eq!(rows, all);
}

#[test]
fn a_gap_is_as_the_page_has_it() {
    let head = 6 | 7 << 8;
    let expected = [
        head | 1 << 16,
        0x0506_0708,
        0x0102_0304,
        0x1516_1718,
        0x1112_1314,
        0x2122_2324,
    ];
    assert_eq!((kind::GAP, GAP_UNITS), (7, 6));
    assert_eq!(gap(Some(context())), expected);
    assert_eq!(gap(None), [head, 0, 0, 0, 0, 0]);
}
