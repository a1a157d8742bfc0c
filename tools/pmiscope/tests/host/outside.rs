//! Bytes that somebody else chose: names from the ELF file, texts from the guest and the
//! host. No kind of output does what they say.

use std::fs;
use std::sync::OnceLock;

use pmiscope::internals::flame::unescape;
use pmiscope::profile::{Head, Host, RunEnd, Writer};
use profiler::address::CodeAddress;
use profiler::format::{ChainEntry, Description, State, Text};
use serde_json::Value;

use crate::command::{pmiscope, stderr, stdout, text};
use crate::compiled::link;
use crate::fixture::{Seen, description, file, host, run_end};

/// Names that functions have; the later one the more samples.
const NAMES: [&str; 12] = [
    "plain",
    "esc\x1b[31mname",
    "new\nline",
    "semi;colon",
    "ends in 12",
    "tab\tand\u{9b}1m",
    "right\u{202e}to left",
    "a&b<c>\"d'",
    "f_[k]",
    "名前を持つ関数の名前",
    "\u{fffe}\u{ffff}",
    "]]> <!-- ",
];

/// What a text of the guest is.
const FROM_GUEST: &str = "gu\x1b[2Jest\n;<&>\u{202e} 7";

/// A kernel whose functions have these names: written into the file in place of others, as
/// an assembler does not take all of them.
fn kernel() -> &'static (Vec<u8>, Vec<u64>) {
    static KERNEL: OnceLock<(Vec<u8>, Vec<u64>)> = OnceLock::new();
    KERNEL.get_or_init(|| make_kernel("names-from-outside", &NAMES))
}

fn make_kernel(file: &str, names: &[&str]) -> (Vec<u8>, Vec<u64>) {
    let placeholder =
        |(number, name): (usize, &&str)| format!("n{number:02}{:x<1$}", "", name.len() - 3);
    let placeholders: Vec<_> = names.iter().enumerate().map(placeholder).collect();
    let function = |name: &String| {
        format!(
            ".globl {name}\n.type {name},@function\n{name}: .cfi_startproc\nnop\n.cfi_endproc\n.size {name},1\n"
        )
    };
    let source: String = placeholders.iter().map(function).collect();
    let compiled = link(file, "s", &source, &[]);
    let places = placeholders
        .iter()
        .map(|name| compiled.at(name).0)
        .collect();
    let mut elf = compiled.elf;
    for (placeholder, name) in placeholders.iter().zip(names) {
        let entry = format!("\0{placeholder}\0");
        let at = elf
            .windows(entry.len())
            .position(|bytes| bytes == entry.as_bytes());
        let at = at.expect("the name in the string table") + 1;
        elf[at..at + name.len()].copy_from_slice(name.as_bytes());
    }
    (elf, places)
}

/// A profile in which every text is from outside.
fn profile() -> Vec<u8> {
    profile_of(kernel(), FROM_GUEST)
}

/// A profile in which every text, and the name of the only function, is this one.
pub fn profile_with(name: &str) -> Vec<u8> {
    profile_of(&make_kernel("name-from-outside", &[name]), name)
}

fn profile_of((elf, places): &(Vec<u8>, Vec<u64>), text: &str) -> Vec<u8> {
    let mut run = Description {
        cores: 1,
        reason: Text::new(text),
        bootloader: Text::new(text),
        workload: Text::new(text),
        build_id: pmiscope::symbols::build_id(elf).unwrap().0,
        ..description()
    };
    run.tasks[1] = Text::new(text);
    let host = Host {
        qemu: text.into(),
        ..host()
    };
    let head = Head {
        description: &run,
        host: &host,
        kernel: elf,
    };
    let mut writer = Writer::new(Vec::new(), &head).unwrap();
    let mut sequence = 0;
    for (number, &place) in (1..).zip(places) {
        for _ in 0..number {
            let callers = [ChainEntry::Return(profiler::address::CodeAddress(
                places[0] + 1,
            ))];
            let mut seen = Seen::new(sequence, CodeAddress(place), &callers);
            seen.state |= State::CALLER_KNOWN;
            writer.record(0, &seen.record()).unwrap();
            sequence += 1;
        }
    }
    let mut end = run_end();
    end.cores.truncate(1);
    end.cores[0].stored = sequence.into();
    writer
        .finish(&RunEnd {
            message: text.into(),
            ..end
        })
        .unwrap()
}

/// Returns true for what no output may have: what a terminal obeys, but for ends of lines.
fn is_obeyed(c: char) -> bool {
    (c.is_control() && c != '\n') || matches!(c, '\u{202e}' | '\u{ffff}' | '\u{fffe}')
}

#[test]
fn a_report_has_a_row_for_each_function() {
    let path = file("outside.pmi", &profile());
    let report = stdout(&pmiscope(&["report", text(&path)]).success());
    assert!(!report.contains(is_obeyed), "{report:?}");
    let (facts, table) = report.split_once(" by self share").unwrap();
    assert!(
        facts.contains("\nrun         finished: gu\\u{1b}[2Jest ;<&>\\u{202e} 7\n"),
        "{facts}"
    );
    assert!(
        facts.contains("  gu\\u{1b}[2Jest\\n;<&>\\u{202e} 7\n"),
        "the task: {facts}"
    );
    let rows: Vec<_> = table.lines().skip(2).collect();
    let shown = [
        "]]> <!-- ",
        "\\u{fffe}\\u{ffff}",
        "名前を持つ関数の名前",
        "f_[k]",
        "a&b<c>\"d'",
        "right\\u{202e}to left",
        "tab\\tand\\u{9b}1m",
        "ends in 12",
        "semi;colon",
        "new\\nline",
        "esc\\u{1b}[31mname",
        "plain",
    ];
    assert_eq!(rows.len(), shown.len(), "{table}");
    for (row, name) in rows.iter().zip(shown) {
        assert_eq!(row[20..].trim_end(), name.trim_end(), "{row}");
    }
}

#[test]
fn a_report_without_functions_is_not_one_without_samples() {
    let path = file("outside-top.pmi", &profile());
    let report = pmiscope(&["report", text(&path), "--top", "0"]).success();
    let shown = stdout(&report);
    assert!(
        shown.ends_with("\n0 of 12 functions by self share; i: inlined wherever it was seen\n"),
        "{shown}"
    );
    let most = usize::MAX.to_string();
    let all = stdout(&pmiscope(&["report", text(&path), "--top", &most]).success());
    assert!(all.contains("\n12 of 12 functions by self share"), "{all}");
}

#[test]
fn json_has_the_texts_and_a_terminal_does_not_obey_it() {
    let path = file("outside-json.pmi", &profile());
    let json = stdout(&pmiscope(&["report", text(&path), "--format", "json"]).success());
    assert!(!json.contains(is_obeyed), "{json:?}");
    let json: Value = serde_json::from_str(&json).unwrap();
    assert_eq!(json["workload"], FROM_GUEST);
    let functions = json["functions"].as_array().unwrap().iter();
    let names: Vec<_> = functions.map(|it| it["name"].as_str().unwrap()).collect();
    let mut expected = NAMES.to_vec();
    expected.reverse();
    assert_eq!(names, expected);
}

#[test]
fn folded_stacks_have_the_names() {
    let path = file("outside-folded.pmi", &profile());
    for by in [None, Some("--by=task")] {
        let arguments = ["export", text(&path), "--format=folded", "-o-"];
        let arguments: Vec<_> = arguments.into_iter().chain(by).collect();
        let folded = stdout(&pmiscope(&arguments).success());
        assert!(!folded.contains(is_obeyed), "{folded:?}");
        let mut read: Vec<_> = folded
            .lines()
            .map(|line| {
                let (stack, samples) = line.rsplit_once(' ').unwrap();
                let frames: Vec<_> = stack.split(';').map(unescape).collect();
                (samples.parse::<usize>().unwrap(), frames)
            })
            .collect();
        read.sort();
        let root = by.map(|_| FROM_GUEST.to_owned());
        let expected = (1..).zip(NAMES).map(|(samples, name)| {
            let frames = root
                .iter()
                .cloned()
                .chain(["plain".into(), name.to_owned()]);
            (samples, frames.collect::<Vec<_>>())
        });
        assert_eq!(read, expected.collect::<Vec<_>>());
    }
}

#[test]
fn a_picture_is_xml_and_has_the_names() {
    let path = file("outside-picture.pmi", &profile());
    let to = file("outside-picture.svg", b"");
    pmiscope(&["flamegraph", text(&path), "-o", text(&to)]).success();
    let picture = fs::read_to_string(to).unwrap();
    let options = roxmltree::ParsingOptions {
        allow_dtd: true,
        ..Default::default()
    };
    let picture = roxmltree::Document::parse_with_options(&picture, options).expect("XML");
    let texts: Vec<_> = picture
        .descendants()
        .filter_map(|node| node.text())
        .collect();
    for shown in [
        "pmiscope: gu\\u{1b}[2Jest\\n;<&>\\u{202e} 7",
        "a&b<c>\"d' (8 samples, 10.26%)",
        "semi;colon (4 samples, 5.13%)",
        "ends in 12 (5 samples, 6.41%)",
        "f_[k] (9 samples, 11.54%)",
        "]]> <!--  (12 samples, 15.38%)",
        "\\u{fffe}\\u{ffff} (11 samples, 14.10%)",
    ] {
        assert!(texts.contains(&shown), "no `{shown}` in {texts:#?}");
    }
}

#[test]
fn a_message_with_a_path_is_one_line() {
    let said = stderr(&pmiscope(&["report", "/no/\x1b[31m\nfile\u{202e}"]).code(1));
    assert_eq!(
        said,
        "pmiscope: cannot read /no/\\u{1b}[31m\\nfile\\u{202e}: No such file or directory (os error 2)\n"
    );
}
