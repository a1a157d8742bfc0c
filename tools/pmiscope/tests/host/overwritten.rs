//! Tables of names, strings and ranges that were written over or taken out: what is left of names is
//! shown, and what that costs is said.

use std::fs;
use std::path::PathBuf;

use profiler::address::CodeAddress;
use profiler::format::State;
use serde_json::Value;

use crate::command::{pmiscope, stdout, text};
use crate::compiled::{Compiled, link};
use crate::damaged::place;
use crate::fixture::{Seen, file, profile_of_kernel};
use crate::separate::{NO_INLINED, WHOLE, assert_said, debug_file, kernel, made, profile, run_of};

const IN_PROFILE: &str = "of the kernel in the profile: the report does without";

/// The kernel with all bytes of a section that are alike to these, or of all of it, another byte.
fn overwritten(kernel: &Compiled, section: &str, what: Option<&[u8]>, byte: u8) -> PathBuf {
    let mut elf = kernel.elf.clone();
    let section = place(kernel, section);
    let range = match what {
        None => section,
        Some(what) => {
            let bytes = &elf[section.clone()];
            let at = bytes.windows(what.len()).position(|it| it == what);
            let start = section.start + at.expect("it is there");
            start..start + what.len()
        }
    };
    elf[range].fill(byte);
    let path = kernel.path.with_file_name("overwritten");
    fs::write(&path, elf).unwrap();
    path
}

#[test]
fn names_that_were_overwritten_are_those_of_debug_information() {
    let with = kernel("no-names", &["-g", "-fasynchronous-unwind-tables"]);
    let zeroed = overwritten(&with, ".strtab", None, 0);
    let damaged = profile(&with, &zeroed, "zeroed.pmi");
    let says = |nameless: &str| {
        format!("damaged, and cannot be read: .strtab {IN_PROFILE} ({nameless} without a name)")
    };
    assert_said(&damaged, &[], WHOLE, &[&says("0 samples")]);
    // Without any other names the addresses of functions stand for them.
    let without = kernel("no-names-g0", &["-g0", "-fasynchronous-unwind-tables"]);
    let at = |name: &str| format!("{:#x}", without.at(name).0);
    let zeroed = overwritten(&without, ".strtab", None, 0);
    let damaged = profile(&without, &zeroed, "zeroed.pmi");
    let unnamed = ["root", "mid", "leaf"].map(at).join(";");
    assert_said(
        &damaged,
        &[],
        &format!("{unnamed} 2\n"),
        &[&says("2 samples")],
    );
    let debug = debug_file(&without);
    let given = ["--debug-file", text(&debug)];
    assert_said(&damaged, &given, NO_INLINED, &[&says("0 samples")]);
    // One name of many.
    let part = overwritten(&without, ".strtab", Some(b"\0leaf\0"), 0);
    let damaged = profile(&without, &part, "part.pmi");
    let unnamed = format!("root;mid;{} 2\n", at("leaf"));
    assert_said(&damaged, &[], &unnamed, &[&says("2 samples")]);
}

#[test]
fn ranges_that_were_overwritten_or_are_missing_are_said() {
    for (version, section) in [
        ("-gdwarf-4", ".debug_ranges"),
        ("-gdwarf-5", ".debug_rnglists"),
    ] {
        let flags = [
            "-g",
            version,
            "-ffunction-sections",
            "-fasynchronous-unwind-tables",
        ];
        let kernel = kernel(&format!("ranges{version}"), &flags);
        let whole = profile(&kernel, &kernel.path, "whole.pmi");
        assert_eq!(folded_alone(&whole), WHOLE, "{version}");
        let removed = format!("--remove-section={section}");
        let removed = made(&kernel, "removed", "objcopy", &[&removed]);
        let says = "1 unit of the debug information cannot be read";
        let damaged = profile(&kernel, &removed, "removed.pmi");
        assert_said(
            &damaged,
            &[],
            NO_INLINED,
            &[says, "(2 samples in code without)"],
        );
        for byte in [0, 0xff] {
            let damaged = overwritten(&kernel, section, None, byte);
            let damaged = profile(&kernel, &damaged, "damaged.pmi");
            assert_said(
                &damaged,
                &[],
                NO_INLINED,
                &[says, "(2 samples in code without)"],
            );
        }
    }
}

#[test]
fn strings_that_were_overwritten_or_are_missing_are_said() {
    for version in ["-gdwarf-4", "-gdwarf-5"] {
        let flags = ["-g", version, "-fasynchronous-unwind-tables"];
        let kernel = kernel(&format!("strings{version}"), &flags);
        let removed = made(
            &kernel,
            "removed",
            "objcopy",
            &["--remove-section=.debug_str"],
        );
        let says = |section: &str, samples: &str| {
            format!(
                "damaged, and cannot be read: {section} {IN_PROFILE} ({samples} in code without debug information"
            )
        };
        let damaged = profile(&kernel, &removed, "removed.pmi");
        let all = says(".debug_str", "2 samples");
        assert_said(&damaged, &[], NO_INLINED, &[&all]);
        for byte in [0, 0xff] {
            let damaged = overwritten(&kernel, ".debug_str", None, byte);
            let damaged = profile(&kernel, &damaged, "damaged.pmi");
            assert_said(&damaged, &[], NO_INLINED, &[&all]);
        }
        // One name of many: only the sample that has it lacks something.
        let part = overwritten(&kernel, ".debug_str", Some(b"inlined\0"), 0);
        let damaged = profile(&kernel, &part, "part.pmi");
        assert_said(
            &damaged,
            &[],
            NO_INLINED,
            &[&says(".debug_str", "1 sample")],
        );
        if version == "-gdwarf-5" {
            // It has the names of files, without which no line can be looked up, nor what is with it.
            let files = ["--remove-section=.debug_line_str"];
            let removed = made(&kernel, "no-files", "objcopy", &files);
            let damaged = profile(&kernel, &removed, "no-files.pmi");
            let all = says(".debug_line_str", "2 samples");
            assert_said(&damaged, &[], NO_INLINED, &[&all]);
        }
    }
}

/// The folded stacks of a profile of which nothing is said.
fn folded_alone(profile: &std::path::Path) -> String {
    let shown = pmiscope(&["export", text(profile), "--format", "folded", "-o", "-"]).code(0);
    assert!(shown.get_output().stderr.is_empty());
    stdout(&shown)
}

#[test]
fn code_behind_the_end_of_a_function_is_annotated_with_it() {
    let source = ".globl _start\n.type _start, @function\n_start: .skip 4, 0x90\n.size _start, 4\n\
        .globl behind\nbehind = .\n.skip 4, 0x90\njmp .\n\
        .globl next\n.type next, @function\nnext: nop\n.size next, 1\n";
    let mut kernel = link("longer", "s", source, &[]);
    let [start, behind] = ["_start", "behind"].map(|name| kernel.at(name));
    let stripped = kernel.path.with_file_name("longer-stripped");
    crate::compiled::tool(
        "objcopy",
        &["--strip-symbol=behind", text(&kernel.path), text(&stripped)],
    );
    kernel.elf = fs::read(&stripped).unwrap();
    let seen = |sequence, at: u64| {
        let mut seen = Seen::new(sequence, CodeAddress(at), &[]);
        seen.state |= State::CALLER_KNOWN;
        seen
    };
    let samples = [
        seen(0, start.0),
        seen(1, behind.0),
        seen(2, behind.0),
        seen(3, behind.0 + 4),
    ];
    let profile = profile_of_kernel(&kernel.elf, &run_of(&kernel), &[&samples]);
    let path = file("longer.pmi", &profile);
    let shown = pmiscope(&["annotate", text(&path), "_start", "--format", "json"]).code(0);
    let shown: Value = serde_json::from_str(&stdout(&shown)).unwrap();
    assert_eq!(shown[0]["self"], 4);
    let parts = shown[0]["code"].as_array().unwrap().iter();
    let parts: Vec<Vec<(Value, Value)>> = parts
        .map(|part| {
            let rows = part["instructions"].as_array().unwrap().iter();
            let rows = rows.map(|row| (row["address"].clone(), row["self"].clone()));
            rows.filter(|(_, own)| *own != 0).collect()
        })
        .collect();
    let row = |at: u64, own: u64| (format!("{at:#x}").into(), own.into());
    let expected = [
        vec![row(start.0, 1)],
        vec![row(behind.0, 2), row(behind.0 + 4, 1)],
    ];
    assert_eq!(parts, expected);
}
