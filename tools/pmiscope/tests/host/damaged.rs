//! Debug information that is damaged: it costs its own names, and nobody else's.

use std::time::{Duration, Instant};

use object::{Object as _, ObjectSection as _};

use crate::compiled::{Compiled, link, names};
use crate::folder::folder;
use crate::names::INLINED;

/// Abbreviations of units that are made by hand, and the beginning of one which claims all
/// addresses. `BODY` are its entries.
const UNIT: &str = r#"
.section .note.GNU-stack,"",@progbits
.section .debug_abbrev,"",@progbits
.Labbreviations:
    .uleb128 1, 0x11            /* the unit: low_pc, high_pc */
    .byte 1
    .uleb128 0x11, 0x01, 0x12, 0x07, 0, 0
    .uleb128 2, 0x1d            /* an inlined call of nothing, with entries in it */
    .byte 1
    .uleb128 0, 0
    .uleb128 3, 0x2e            /* a function: name, low_pc, high_pc */
    .byte 1
    .uleb128 0x03, 0x08, 0x11, 0x01, 0x12, 0x07, 0, 0
    .uleb128 4, 0x1d            /* an inlined call: of what, low_pc, high_pc */
    .byte 0
    .uleb128 0x31, 0x13, 0x11, 0x01, 0x12, 0x07, 0, 0
    .uleb128 5, 0x2e            /* a function of ranges */
    .byte 0
    .uleb128 0x03, 0x08, 0x55, 0x17, 0, 0
    .uleb128 6, 0x2e            /* a function with a name that is elsewhere */
    .byte 0
    .uleb128 0x03, 0x0e, 0x11, 0x01, 0x12, 0x07, 0, 0
    .uleb128 7, 0x11            /* a unit with lines */
    .byte 1
    .uleb128 0x11, 0x01, 0x12, 0x07, 0x10, 0x17, 0, 0
    .byte 0
.section .debug_info,"",@progbits
.Lunit:
    .long .Lend - .Lversion
.Lversion:
    .value 4
    .long .Labbreviations
    .byte 8
    .uleb128 1
    .quad 0, -1
"#;

/// What is behind the entries of a unit.
const END: &str = "\n.Lend:\n";

/// Links two functions, each with a call that is inlined, before these units.
fn kernel(name: &str, units: &str) -> Compiled {
    let units_path = folder().join(format!("{name}-units.s"));
    std::fs::write(&units_path, units).unwrap();
    let other = folder().join(format!("{name}-other.c"));
    let source = INLINED
        .replace("inlined", "second")
        .replace("outer", "other");
    std::fs::write(&other, source).unwrap();
    let [units, other] = [&units_path, &other].map(|path| path.to_str().unwrap());
    link(name, "c", INLINED, &["-g", "-O1", units, other])
}

/// What is found of the kernel, and the number of units that cannot be read.
fn found(kernel: &Compiled) -> ([String; 2], u64) {
    let mut symbols = kernel.symbols();
    let found =
        ["in_inlined", "in_second"].map(|label| names(&mut symbols, kernel.at(label)).join(" in "));
    (found, symbols.unreadable_units())
}

fn whole() -> [String; 2] {
    ["inlined in outer", "second in other"].map(str::to_owned)
}

#[test]
fn a_unit_that_cannot_be_read_costs_no_other_its_names() {
    let body = |entries: &str| format!("{UNIT}{entries}{END}");
    let ranges = |list: &str| {
        let unit = body(".uleb128 5\n.asciz \"f\"\n.long .Llist\n.byte 0");
        format!("{unit}.section .debug_ranges,\"\",@progbits\n.Llist: {list}\n")
    };
    for (name, units, unreadable) in [
        ("whole", body(".byte 0"), 0),
        ("no-abbreviation", body(".uleb128 99"), 1),
        (
            "cut-in-an-entry",
            body(".uleb128 3\n.asciz \"cut\"\n.byte 1"),
            1,
        ),
        ("too-deep", body(".rept 200000\n.uleb128 2\n.endr"), 1),
        (
            "bad-ranges",
            body(".uleb128 5\n.asciz \"f\"\n.long 0x7fffffff\n.byte 0"),
            1,
        ),
        ("overwritten-ranges", ranges(".quad 0, 0, 0, 0"), 1),
        ("bases-alone", ranges(".quad -1, -1, -1, -1"), 1),
        // Of code that was removed, and of none at all.
        ("removed-ranges", ranges(".quad 1, 1, 0, 0"), 0),
        ("no-ranges", ranges(".quad 0, 0"), 0),
        // Nothing that is asked for has these.
        (
            "no-text",
            body(".uleb128 6\n.long 0x7fffffff\n.quad 16, 16\n.byte 0"),
            0,
        ),
        (
            "its-own-origin",
            body(
                ".uleb128 3\n.asciz \"f\"\n.quad 16, 16\n\
                 .Lself: .uleb128 4\n.long .Lself - .Lunit\n.quad 16, 16\n.byte 0, 0",
            ),
            0,
        ),
        ("no-length", format!("{UNIT}.byte 0{END}.long 0, 0, 0"), 0),
        (
            "short",
            format!("{UNIT}.byte 0{END}.long 3\n.byte 4, 0, 0"),
            1,
        ),
        (
            "of-the-future",
            format!("{UNIT}.byte 0{END}.long 20\n.value 77\n.skip 18"),
            1,
        ),
        (
            "without-lines",
            UNIT.replace(
                "    .uleb128 1\n    .quad 0, -1",
                "    .uleb128 7\n    .quad 0, -1\n    .long 0x7fffffff",
            ) + END,
            1,
        ),
    ] {
        assert_eq!(
            found(&kernel(name, &units)),
            (whole(), unreadable),
            "{name}"
        );
    }
}

#[test]
fn what_is_too_short_for_a_unit_costs_none_wherever_it_is() {
    for (name, first, unreadable) in [
        ("no-length", ".long 0", 0),
        ("no-lengths", ".long 0, 0, 0, 0", 0),
        ("short", ".long 1\n.byte 5", 1),
        ("short-and-no-length", ".long 2\n.byte 5, 5\n.long 0", 1),
    ] {
        for version in ["-gdwarf-4", "-gdwarf-5"] {
            let source = format!(
                ".section .note.GNU-stack,\"\",@progbits\n.section .debug_info,\"\",@progbits\n{first}\n"
            );
            let path = folder().join(format!("first-{name}.s"));
            std::fs::write(&path, source).unwrap();
            // The first file's is first: what is made by hand.
            let [main, other] = ["main", "other"].map(|file| folder().join(format!("{file}.c")));
            std::fs::write(&main, INLINED).unwrap();
            let replaced = INLINED.replace("inlined", "second");
            std::fs::write(&other, replaced.replace("outer", "other")).unwrap();
            let files = [&path, &main, &other].map(|path| path.to_str().unwrap());
            let flags = [&["-g", version, "-O1"], &files[..]].concat();
            let kernel = link(&format!("first-{name}"), "c", "", &flags);
            assert_eq!(found(&kernel), (whole(), unreadable), "{name}, {version}");
        }
    }
}

/// Two units of which the second refers to an entry of the first, by its place in the section;
/// before them are four bytes of nothing.
const REFERRING: &str = r#"
.section .note.GNU-stack,"",@progbits
.section .debug_abbrev,"",@progbits
.Labbreviations:
    .uleb128 1, 0x11            /* a unit: low_pc, high_pc */
    .byte 1
    .uleb128 0x11, 0x01, 0x12, 0x07, 0, 0
    .uleb128 2, 0x2e            /* a function: name */
    .byte 0
    .uleb128 0x03, 0x08, 0, 0
    .uleb128 3, 0x2e            /* its code: of which (ref_addr), low_pc, high_pc */
    .byte 0
    .uleb128 0x31, 0x10, 0x11, 0x01, 0x12, 0x07, 0, 0
    .byte 0
.section .debug_info,"",@progbits
    .long 0
.Lfirst:
    .long .Lfirst_end - .Lfirst - 4
    .value 5
    .byte 1, 8
    .long .Labbreviations
    .uleb128 1
    .quad 0, 0
.Lname: .uleb128 2
    .asciz "named"
    .byte 0
.Lfirst_end:
.Lsecond:
    .long .Lsecond_end - .Lsecond - 4
    .value 5
    .byte 1, 8
    .long .Labbreviations
    .uleb128 1
    .quad code, 8
    .uleb128 3
    .long .Lname
    .quad code, 8
    .byte 0
.Lsecond_end:
"#;

#[test]
fn units_may_refer_to_one_that_was_moved() {
    let path = folder().join("referring.s");
    std::fs::write(&path, REFERRING).unwrap();
    let code = "__asm__(\".globl code, in_code\\ncode: nop\\nin_code: .skip 8\");";
    let kernel = link("referring", "c", code, &[path.to_str().unwrap()]);
    let mut symbols = kernel.symbols();
    assert_eq!(names(&mut symbols, kernel.at("in_code")), ["named"]);
    assert_eq!(symbols.unreadable_units(), 0);
}

/// The place of a section in the file.
pub fn place(kernel: &Compiled, section: &str) -> std::ops::Range<usize> {
    let file = object::File::parse(&*kernel.elf).unwrap();
    let section = file.section_by_name(section).unwrap();
    let (start, size) = section.file_range().unwrap();
    let [start, end] = [start, start + size].map(|at| usize::try_from(at).unwrap());
    start..end
}

#[test]
fn programs_of_lines_and_tables_of_addresses_cost_nothing() {
    for version in ["-gdwarf-4", "-gdwarf-5"] {
        let mut kernel = link("damaged-lines", "c", INLINED, &["-g", version, "-O1"]);
        let at = |kernel: &Compiled| {
            let mut symbols = kernel.symbols();
            symbols.resolve([kernel.at("in_inlined")]);
            let frames = symbols.frames(kernel.at("in_inlined")).iter();
            let lines = frames.map(|frame| symbols.function(frame.function).line);
            let lines: Vec<_> = lines.collect();
            (lines, symbols.unreadable_units())
        };
        let whole = (vec![Some(1), Some(3)], 0);
        assert_eq!(at(&kernel), whole, "{version}");
        // The last bytes are the program's; in the middle of it is an end of a sequence that
        // has more bytes than there are.
        let lines = place(&kernel, ".debug_line");
        let original = kernel.elf.clone();
        kernel.elf[lines.end - 12..lines.end]
            .copy_from_slice(&[0, 0xff, 0xff, 0xff, 0x7f, 1, 0, 0, 0, 0, 0, 0xff]);
        assert_eq!(at(&kernel), whole, "{version}");
        kernel.elf.clone_from(&original);
        let addresses = place(&kernel, ".debug_aranges");
        for at_byte in 0..addresses.len() {
            kernel.elf[addresses.start + at_byte] ^= 0xff;
            assert_eq!(at(&kernel), whole, "{version}: byte {at_byte}");
            kernel.elf.clone_from(&original);
        }
    }
}

#[test]
fn many_damaged_units_are_passed_in_linear_time() {
    let units =
        format!("{UNIT}.byte 0{END}.rept 100000\n.long 8\n.value 9\n.long 0\n.value 8\n.endr");
    let kernel = kernel("many-units", &units);
    let started = Instant::now();
    assert_eq!(found(&kernel), (whole(), 100_000));
    assert!(
        started.elapsed() < Duration::from_secs(60),
        "{:?}",
        started.elapsed()
    );
}

#[test]
fn units_that_claim_nothing_are_read_once() {
    const UNITS: u64 = 20_000;
    let without = UNIT.replace(
        "    .uleb128 0x11, 0x01, 0x12, 0x07, 0, 0\n    .uleb128 2,",
        "    .uleb128 0, 0\n    .uleb128 2,",
    );
    let (abbreviations, _) = without.split_once(".section .debug_info").unwrap();
    let units = format!(
        "{abbreviations}.section .debug_info,\"\",@progbits\n\
         .rept {UNITS}\n.long 9\n.value 4\n.long .Labbreviations\n.byte 8\n.uleb128 1\n.byte 0\n.endr\n"
    );
    let kernel = kernel("claimless-units", &units);
    let mut symbols = kernel.symbols();
    let started = Instant::now();
    let first = kernel.at("in_inlined").0;
    symbols.resolve((first..first + UNITS).map(profiler::address::CodeAddress));
    assert!(
        started.elapsed() < Duration::from_secs(20),
        "{:?}",
        started.elapsed()
    );
    assert_eq!(found(&kernel), (whole(), 0));
}
