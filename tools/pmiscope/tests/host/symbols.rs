//! Addresses to frames.

use std::slice;

use pmiscope::symbols::{ElfError, Symbols, build_id};
use profiler::address::CodeAddress;

use crate::command::{pmiscope, refused, stderr};
use crate::fixture::{file, kernel, profile};

/// Name, file and line of each frame, and whether it was inlined.
fn frames(address: CodeAddress) -> Vec<(String, String, bool)> {
    let mut symbols = Symbols::new(&kernel().elf).unwrap();
    symbols.resolve([address, address]);
    let shown = symbols.frames(address).iter().map(|frame| {
        let function = symbols.function(frame.function);
        let place = match (&function.file, function.line) {
            (Some(file), Some(line)) => format!("{file}:{line}"),
            _ => String::new(),
        };
        (function.name.clone(), place, frame.inlined)
    });
    shown.collect()
}

fn frame(name: &str, place: &str, inlined: bool) -> (String, String, bool) {
    (name.into(), place.into(), inlined)
}

#[test]
fn inlined_functions_come_before_the_one_that_has_the_code() {
    let hash = frame("kernel::workload::hash::run", "fixture.c:20", false);
    let middle = frame("middle", "fixture.c:15", true);
    let innermost = frame("innermost", "fixture.c:11", true);
    assert_eq!(frames(kernel().at("in_hash")), slice::from_ref(&hash));
    assert_eq!(
        frames(kernel().at("in_middle")),
        [middle.clone(), hash.clone()]
    );
    assert_eq!(
        frames(kernel().at("in_innermost")),
        [innermost, middle, hash]
    );
}

#[test]
fn what_dwarf_does_not_know_comes_from_the_symbol_table() {
    let stub = kernel().at("stub").0;
    let unsized_ = kernel().at("unsized").0;
    assert_eq!(frames(CodeAddress(stub + 1)), [frame("stub", "", false)]);
    assert_eq!(
        frames(CodeAddress(unsized_ + 1)),
        [frame("unsized", "", false)]
    );
}

#[test]
fn what_is_nowhere_stays_an_address() {
    assert_eq!(frames(CodeAddress(7)), [frame("0x7", "", false)]);
}

#[test]
fn files_that_are_no_kernel_say_why() {
    assert!(matches!(
        Symbols::new(b"#!/bin/sh\n"),
        Err(ElfError::Elf(_))
    ));
    assert!(matches!(build_id(&[]), Err(ElfError::Elf(_))));
    let text = file(
        "no-kernel",
        b"root:x:0:0:root:/root:/bin/bash, and so on, for 64 bytes or more",
    );
    let profile = file("of-no-kernel.pmi", &profile());
    let [text, profile] = [&text, &profile].map(|path| path.to_str().unwrap());
    refused(
        pmiscope(&["report", profile, "--elf", text]),
        1,
        &[&format!(
            "{text}: it is no ELF file but text: give the kernel's ELF file"
        )],
    );
    let said = stderr(&pmiscope(&["report", profile, "--elf", text, "--force"]).code(1));
    assert_eq!(said.matches("no ELF file").count(), 1, "{said}");
    let half = &kernel().elf[..kernel().elf.len() / 2];
    let cut = file("cut-kernel", half);
    let cut = cut.to_str().unwrap();
    refused(
        pmiscope(&["report", profile, "--elf", cut]),
        1,
        &[
            "it is cut short: its table of sections ends at byte ",
            "build it or copy it again",
        ],
    );
    // The note's type, 3, made another one.
    let mut elf = kernel().elf.clone();
    let id = build_id(&elf).unwrap().0;
    let at = elf.windows(20).position(|window| window == id).unwrap();
    elf[at - 8] = 9;
    assert!(matches!(build_id(&elf), Err(ElfError::NoBuildId)));
}

#[test]
fn damaged_debug_information_costs_names_and_nothing_else() {
    let addresses: Vec<_> = ["in_hash", "in_innermost", "stub", "in_idle"]
        .map(|name| kernel().at(name))
        .into();
    for at in (0..kernel().elf.len()).step_by(7) {
        let mut elf = kernel().elf.clone();
        elf[at] ^= 0x5a;
        if let Ok(mut symbols) = Symbols::new(&elf) {
            symbols.resolve(addresses.iter().copied());
            assert!(
                addresses
                    .iter()
                    .all(|&address| !symbols.frames(address).is_empty())
            );
        }
    }
}
