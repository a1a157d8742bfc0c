use alloc::string::{String, ToString as _};
use alloc::vec::Vec;

use super::{BLOCK, ENDS_BYTES, EncodeError, Function, HEAD_BYTES, MAX_LETTERS, Table, encode};

/// Numbers that look random, the same each time.
struct Random(u64);

impl Random {
    fn below(&mut self, end: u32) -> u32 {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        u32::try_from(self.0 >> 33).unwrap() % end
    }
}

/// Names that have much in common, as those of a kernel have.
fn names(count: u32) -> Vec<String> {
    let parts = [
        "kernel::",
        "task::",
        "memory::",
        "core::fmt::",
        "<impl X for ",
        ">::",
        "run",
    ];
    let mut random = Random(count.into());
    let mut part = || parts[random.below(7) as usize];
    (0..count)
        .map(|number| [part(), part(), part(), &number.to_string()].concat())
        .collect()
}

/// Functions with these names, with and without gaps between them.
fn functions(names: &[String]) -> Vec<Function<'_>> {
    let mut random = Random(7);
    let mut end = 0;
    let functions = names.iter().map(|name| {
        let start = end + random.below(3) * random.below(300);
        let size = 1 + random.below(40_000);
        end = start + size;
        Function { start, size, name }
    });
    functions.collect()
}

fn name_at(table: &Table<'_>, offset: u64) -> Option<String> {
    table.find(offset).map(|place| place.name.to_string())
}

#[test]
fn each_functions_bytes_have_its_name_and_gaps_have_none() {
    for count in [0, 1, 2, 15, 16, 17, 32, 33, 1000] {
        let names = names(count);
        let functions = functions(&names);
        let bytes = encode(&functions).unwrap();
        let table = Table::new(&bytes).unwrap();
        let mut end = 0;
        for function in &functions {
            let (start, size) = (function.start, function.size);
            for byte in [0, size / 2, size - 1] {
                let found = table.find((start + byte).into()).unwrap();
                assert_eq!((found.start, found.size), (start, size), "{function:?}");
                assert_eq!(found.name.to_string(), function.name);
            }
            for gap in [end, start.saturating_sub(1)] {
                if (end..start).contains(&gap) {
                    assert_eq!(name_at(&table, gap.into()), None, "before {function:?}");
                }
            }
            end = start + size;
        }
        for behind in [u64::from(end), u64::from(u32::MAX), 1 << 32, u64::MAX] {
            assert_eq!(name_at(&table, behind), None, "{count} functions");
        }
    }
}

#[test]
fn names_take_less_than_half_of_their_text() {
    let names = names(1000);
    let bytes = encode(&functions(&names)).unwrap();
    let text: usize = names.iter().map(String::len).sum();
    assert!(bytes.len() < text / 2, "{} of {text}", bytes.len());
}

#[test]
fn the_same_functions_make_the_same_bytes() {
    let names = names(300);
    let functions = functions(&names);
    assert_eq!(encode(&functions), encode(&functions));
}

#[test]
fn functions_that_overlap_are_refused() {
    for second in [0, 9] {
        let of = |start| Function {
            start,
            size: 10,
            name: "f",
        };
        assert_eq!(
            encode(&[of(0), of(second)]),
            Err(EncodeError),
            "at {second}"
        );
    }
    let last = Function {
        start: u32::MAX,
        size: 2,
        name: "f",
    };
    assert_eq!(encode(&[last]), Err(EncodeError));
}

#[test]
fn a_name_is_shown_without_what_a_terminal_obeys_and_without_an_end() {
    let long = "x".repeat(MAX_LETTERS + 1);
    let just = "y".repeat(MAX_LETTERS);
    let all = ["\u{1b}[2J\nß <'a>", &long, &just];
    let functions: Vec<_> = (0..)
        .zip(all)
        .map(|(number, name)| Function {
            start: number,
            size: 1,
            name,
        })
        .collect();
    let bytes = encode(&functions).unwrap();
    let table = Table::new(&bytes).unwrap();
    assert_eq!(name_at(&table, 0).unwrap(), r"\u{1b}[2J\n\u{df} <'a>");
    assert_eq!(name_at(&table, 1).unwrap(), long[1..].to_owned() + "...");
    assert_eq!(name_at(&table, 2).unwrap(), just);
    // The bytes themselves are no text either.
    let mut damaged = bytes.clone();
    damaged[HEAD_BYTES + ENDS_BYTES] = 0x1b;
    let table = Table::new(&damaged).unwrap();
    let shown: String = (0..3).filter_map(|at| name_at(&table, at)).collect();
    assert!(shown.contains('?') && !shown.contains('\u{1b}'), "{shown}");
}

#[test]
fn a_kernel_without_a_table_has_none() {
    for bytes in [
        &[][..],
        &[0; 65_536],
        b"PMINAMES",
        b"PMINAMES\xff\xff\xff\xff",
    ] {
        assert!(Table::new(bytes).is_none(), "{} bytes", bytes.len());
    }
    let whole = encode(&functions(&names(40))).unwrap();
    // What lies behind is not the table's.
    let more = [&whole[..], &[0x55; 100]].concat();
    let (table, longer) = (Table::new(&whole).unwrap(), Table::new(&more).unwrap());
    assert_eq!(table.list, longer.list);
    for cut in 0..whole.len() {
        assert!(Table::new(&whole[..cut]).is_none(), "cut at {cut}");
    }
}

/// Looks at all of a table, which may be damaged: nothing may fail, and nothing be without end.
fn look_everywhere(bytes: &[u8]) {
    let Some(table) = Table::new(bytes) else {
        return;
    };
    for offset in (0..1 << 20).step_by(16_381).chain([u64::from(u32::MAX)]) {
        if let Some(place) = table.find(offset) {
            let into = offset.checked_sub(place.start.into());
            assert!(into.is_some_and(|into| into < place.size.into()));
            let name = place.name.to_string();
            assert!(name.len() <= MAX_LETTERS + 3, "{name}");
            assert!(
                name.bytes().all(|it| it == b' ' || it.is_ascii_graphic()),
                "{name}"
            );
        }
    }
}

#[test]
fn any_bytes_are_safe() {
    let names = names(3 * u32::try_from(BLOCK).unwrap());
    let whole = encode(&functions(&names)).unwrap();
    // Each byte that says where something is, and some of the others.
    let text = HEAD_BYTES + ENDS_BYTES;
    for at in (0..text).chain((text..whole.len()).step_by(3)) {
        for value in [0, 1, 0x7f, 0x80, 0xff] {
            let mut damaged = whole.clone();
            damaged[at] = value;
            look_everywhere(&damaged);
        }
    }
    let mut random = Random(3);
    for _ in 0..500 {
        let mut damaged = whole.clone();
        for _ in 0..=random.below(8) {
            let at = random.below(u32::try_from(whole.len()).unwrap() - 16) as usize + 16;
            damaged[at] = random.below(256).to_le_bytes()[0];
        }
        look_everywhere(&damaged);
    }
}

#[test]
fn all_functions_come_in_their_order_and_of_a_damaged_table_some() {
    for count in [0, 1, 15, 16, 17, 33, 100] {
        let names = names(count);
        let functions = functions(&names);
        let bytes = encode(&functions).unwrap();
        let table = Table::new(&bytes).unwrap();
        let read: Vec<_> = table
            .functions()
            .map(|it| (it.start, it.size, it.name.to_string()))
            .collect();
        let expected: Vec<_> = functions
            .iter()
            .map(|it| (it.start, it.size, it.name.to_string()))
            .collect();
        assert_eq!(read, expected);
        for at in HEAD_BYTES..bytes.len() {
            let mut damaged = bytes.clone();
            damaged[at] ^= 0xff;
            if let Some(table) = Table::new(&damaged) {
                let shown = table.functions().map(|it| it.name.to_string().len());
                assert!(shown.sum::<usize>() <= 2 * bytes.len() * MAX_LETTERS);
            }
        }
    }
}
