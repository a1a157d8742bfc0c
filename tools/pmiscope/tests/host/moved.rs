//! Text that a boot loader has moved: all that is shown is as if it had not.

use object::{Object as _, ObjectSection as _};
use profiler::address::{CodeAddress, CodeRange};
use profiler::format::{ChainEnd, ChainEntry, Description, State};
use serde_json::Value;

use crate::command::{pmiscope, stderr, stdout, text};
use crate::compiled::{Compiled, TEXT, link};
use crate::fixture::{Seen, description, file, kernel, profile_of};

const SLIDE: u64 = 0x2345_6000;
const MOVED: &str = "of the samples are in the kernel's text but not in the ELF's";

/// The text of an ELF file, as a kernel describes it.
fn text_of(elf: &[u8]) -> CodeRange {
    let file = object::File::parse(elf).unwrap();
    let section = file.section_by_name(".text").unwrap();
    CodeRange {
        start: CodeAddress(section.address()),
        end: CodeAddress(section.address() + section.size()),
    }
}

fn moved(address: CodeAddress, by: u64) -> CodeAddress {
    CodeAddress(address.0.wrapping_add(by))
}

/// A run on one core of which every instruction is a sample, with its text moved.
fn run_moved(by: u64) -> Description {
    let CodeRange { start, end } = text_of(&kernel().elf);
    Description {
        cores: 1,
        period: 1,
        text: CodeRange {
            start: moved(start, by),
            end: moved(end, by),
        },
        ..description()
    }
}

fn moved_entry(entry: ChainEntry, by: u64) -> ChainEntry {
    match entry {
        ChainEntry::Return(address) => ChainEntry::Return(moved(address, by)),
        // Programs stay where they are.
        ChainEntry::Border { .. } => entry,
        ChainEntry::Crossing {
            vector,
            pc,
            caller_known,
            stack_top,
        } => ChainEntry::Crossing {
            vector,
            pc: moved(pc, by),
            caller_known,
            stack_top,
        },
    }
}

/// Samples of all kinds, at the addresses that text moved so far has.
fn samples_moved(by: u64) -> Vec<Seen> {
    let kernel = kernel();
    let ChainEntry::Return(to_root) = kernel.return_to("in_root") else {
        unreachable!("it gives a return address");
    };
    // Inlined calls, a caller on top of the stack which is the root, and nothing else.
    let followed = ["in_innermost", "in_middle", "in_hash"].map(|label| Seen {
        stack_top: [moved(to_root, by).0, 0],
        end: ChainEnd::FrameNull,
        ..Seen::new(0, kernel.at(label), &[])
    });
    // An interrupt, and a return address that is the first one of another function.
    let interrupted = Seen::new(
        0,
        kernel.at("stub"),
        &[
            ChainEntry::Crossing {
                vector: 0x40,
                pc: kernel.at("in_never_returns"),
                caller_known: true,
                stack_top: [0; 2],
            },
            ChainEntry::Return(kernel.at("stub")),
        ],
    );
    let mut samples = Vec::from(followed);
    samples.push(interrupted);
    for (number, seen) in (0..).zip(&mut samples) {
        seen.sequence = number;
        seen.pc = moved(seen.pc, by);
        for entry in &mut seen.chain {
            *entry = moved_entry(*entry, by);
        }
    }
    samples
}

/// A profile of these samples of text that was moved so far.
fn written(name: &str, by: u64, samples: &[Seen]) -> String {
    let path = file(name, &profile_of(&run_moved(by), samples));
    text(&path).to_owned()
}

/// What a command prints on a profile, with no word beside.
#[track_caller]
fn shown(path: &str, command: &[&str]) -> String {
    let assert = pmiscope(&[command, &[path]].concat()).code(0);
    assert_eq!(stderr(&assert), "");
    stdout(&assert)
}

fn json(path: &str, more: &[&str]) -> Value {
    let command = [&["report", "--format", "json"], more].concat();
    serde_json::from_str(&shown(path, &command)).unwrap()
}

#[test]
fn what_is_shown_of_moved_text_is_what_is_shown_of_the_same_in_its_place() {
    let here = written("here.pmi", 0, &samples_moved(0));
    let expected = json(&here, &[]);
    assert_eq!(expected["text_moved_by"], "0x0");
    assert_eq!(expected["callers_from_stack_top"], 3);
    let folded = shown(&here, &["export", "--format", "folded", "-o", "-"]);
    assert!(
        folded.contains("root;kernel::workload::hash::run;middle;innermost 1\n"),
        "{folded}"
    );
    assert!(!shown(&here, &["report"]).contains("\ntext "));
    // Up, down, and from the lower half of the addresses to the upper one or back.
    for (name, by) in [
        ("up", SLIDE),
        ("down", SLIDE.wrapping_neg()),
        ("across", 0x7fff_ffff_ff00_0000_u64.wrapping_neg() << 8),
        ("low", TEXT.wrapping_neg()),
    ] {
        let there = written(&format!("{name}.pmi"), by, &samples_moved(by));
        let mut report = json(&there, &[]);
        assert_eq!(report["text_moved_by"], format!("{by:#x}"), "{name}");
        for key in ["text_moved_by", "sample_hash"] {
            report[key] = expected[key].clone();
        }
        assert_eq!(report, expected, "{name}");
        let command = ["export", "--format", "folded", "-o", "-"];
        assert_eq!(shown(&there, &command), folded, "{name}");
        let said = shown(&there, &["report"]);
        assert!(
            said.contains(&format!("\ntext        moved by {by:#x}\n")),
            "{said}"
        );
    }
}

#[test]
fn chains_of_moved_text_are_verified() {
    let there = written("verified.pmi", SLIDE, &samples_moved(SLIDE)[..3]);
    let said = shown(&there, &["verify"]);
    assert!(said.contains("  100.0000%            3  exact\n"), "{said}");
    // Addresses are those of the ELF file.
    let mut samples = samples_moved(SLIDE);
    samples.truncate(3);
    samples[1].stack_top[0] = 0;
    let there = written("different.pmi", SLIDE, &samples);
    let said = stdout(&pmiscope(&["verify", &there]).code(1));
    let to_root = kernel().at("in_root").0 + 1;
    let line = format!("expected  {to_root:#x} in root\n");
    assert!(said.contains(&line), "`{line}` is not in {said}");
}

#[test]
fn addresses_that_are_shown_are_those_of_the_elf_file() {
    let here = kernel().at("in_hash");
    let stuck = vec![Seen::new(0, moved(here, SLIDE), &[]); 200];
    let there = written("stuck-there.pmi", SLIDE, &stuck);
    let said = stderr(&pmiscope(&["report", &there]).code(0));
    assert!(
        said.contains(&format!("at one instruction of their core, {:#x}:", here.0)),
        "{said}"
    );
    // What is not the kernel's is shown where it ran, and has no name of it.
    let there = written("other-there.pmi", SLIDE, &[Seen::new(0, here, &[])]);
    let name = format!("{:#x}", here.0);
    assert_eq!(json(&there, &[])["functions"][0]["name"], name);
}

/// A sample that needs no caller.
fn seen_at(pc: CodeAddress) -> Seen {
    let mut seen = Seen::new(0, pc, &[]);
    seen.state |= State::CALLER_KNOWN;
    seen
}

/// Asserts that a distance is not believed: samples have no names, and that is said.
#[track_caller]
fn refused(name: &str, run: &Description, pc: CodeAddress, more: &[&str]) {
    let path = file(name, &profile_of(run, &[seen_at(pc)]));
    let assert = pmiscope(&[&["report", "--format", "json", text(&path)], more].concat()).code(3);
    assert!(
        stderr(&assert).contains(&format!("100.00% {MOVED}")),
        "{name}: {}",
        stderr(&assert)
    );
    let report: Value = serde_json::from_str(&stdout(&assert)).unwrap();
    assert_eq!(report["text_moved_by"], Value::Null, "{name}");
    assert_eq!(
        report["functions"][0]["name"],
        format!("{:#x}", pc.0),
        "{name}"
    );
    let assert = pmiscope(&[&["verify", text(&path)], more].concat()).code(1);
    assert!(
        stderr(&assert).contains("by how much cannot be told"),
        "{}",
        stderr(&assert)
    );
}

#[test]
fn distances_that_cannot_be_are_not_believed() {
    let here = kernel().at("in_hash");
    // By no whole page.
    for by in [SLIDE + 8, SLIDE + 0x800] {
        refused("bytes.pmi", &run_moved(by), moved(here, by), &[]);
    }
    // To where there are no addresses.
    let by = 0x1234_0000_0000_0000_u64.wrapping_sub(TEXT) & !0xfff;
    refused("nowhere.pmi", &run_moved(by), moved(here, by), &[]);
    // Of another size than anything in the ELF file.
    let mut run = run_moved(SLIDE);
    run.text.end.0 += 0x10_0000;
    refused("larger.pmi", &run, moved(here, SLIDE), &[]);
    let mut run = run_moved(SLIDE);
    run.text.end.0 -= 1;
    refused("smaller.pmi", &run, moved(here, SLIDE), &[]);
}

/// A kernel with two executable sections, and symbols at these offsets in the first one.
fn two_sections(name: &str, sizes: [u64; 2], symbols: &[(&str, u64)]) -> Compiled {
    let [first, second] = sizes;
    let source = format!(
        ".text\n.globl first\n.type first, @function\nfirst: .skip {first}, 0x90\n.size first, . - first\n\
         .section .other, \"ax\"\n.globl second\n.type second, @function\n\
         second: .skip {second}, 0x90\n.size second, . - second\n\
         .section .note.GNU-stack,\"\",@progbits\n"
    );
    let mut flags = vec![format!(
        "-Wl,--section-start=.other={:#x}",
        TEXT + 0x10_0000
    )];
    flags.extend(
        symbols
            .iter()
            .map(|(symbol, offset)| format!("-Wl,--defsym={symbol}={:#x}", TEXT + offset)),
    );
    let flags: Vec<_> = flags.iter().map(String::as_str).collect();
    link(name, "s", &source, &flags)
}

/// A run whose text has this start and size.
fn run_of(start: u64, size: u64) -> Description {
    Description {
        cores: 1,
        period: 1,
        text: CodeRange {
            start: CodeAddress(start),
            end: CodeAddress(start + size),
        },
        ..description()
    }
}

#[test]
fn the_text_of_the_librarys_linker_fragment_goes_first() {
    // It is of no section's size.
    let ends = [("__pmiscope_text_start", 0), ("__pmiscope_text_end", 0x180)];
    let with = two_sections("with-fragment", [0x200, 0x180], &ends);
    let elf = ["--elf", text(&with.path), "--force"];
    let pc = moved(with.at("second"), SLIDE);
    let run = run_of(TEXT + SLIDE, 0x180);
    let path = file("fragment.pmi", &profile_of(&run, &[seen_at(pc)]));
    let report = json(text(&path), &elf);
    assert_eq!(report["text_moved_by"], format!("{SLIDE:#x}"));
    assert_eq!(report["functions"][0]["name"], "second");
    // Without the symbols it can only be the other section.
    let without = two_sections("without-fragment", [0x200, 0x180], &[]);
    let elf = ["--elf", text(&without.path), "--force"];
    let by = SLIDE.wrapping_sub(0x10_0000);
    let pc = moved(without.at("first"), by);
    let path = file("sections.pmi", &profile_of(&run, &[seen_at(pc)]));
    let report = json(text(&path), &elf);
    assert_eq!(report["text_moved_by"], format!("{by:#x}"));
    assert_eq!(report["functions"][0]["name"], "first");
}

#[test]
fn text_is_found_by_size_if_only_one_thing_has_it() {
    let kernel = two_sections("two-sections", [0x200, 0x180], &[]);
    let elf = ["--elf", text(&kernel.path), "--force"];
    // One section, that up to a whole page, and from the one to the other.
    for (name, size) in [("one", 0x200), ("page", 0x1000), ("all", 0x10_0180)] {
        let by = SLIDE;
        let pc = moved(kernel.at("first"), by);
        let run = run_of(TEXT + by, size);
        let path = file(&format!("{name}.pmi"), &profile_of(&run, &[seen_at(pc)]));
        if name == "page" {
            // The other one has as many pages.
            refused("page.pmi", &run, pc, &elf);
            continue;
        }
        assert_eq!(
            json(text(&path), &elf)["text_moved_by"],
            format!("{by:#x}"),
            "{name}"
        );
    }
    let same = two_sections("same-sections", [0x200, 0x200], &[]);
    let elf = ["--elf", text(&same.path), "--force"];
    let pc = moved(same.at("first"), SLIDE);
    refused("same.pmi", &run_of(TEXT + SLIDE, 0x200), pc, &elf);
    // In its place it was not moved, whatever else has its size.
    let run = run_of(TEXT, 0x200);
    let path = file(
        "same-here.pmi",
        &profile_of(&run, &[seen_at(same.at("first"))]),
    );
    assert_eq!(json(text(&path), &elf)["text_moved_by"], "0x0");
}
