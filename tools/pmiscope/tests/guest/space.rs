//! What processes have in memory, by the kernel's own tests of it (`kernel/src/selftest/space.rs`):
//! every frame is accounted for, what is unmapped is forgotten by all cores, and programs among the
//! modules are loaded as their files say, or refused.

use std::path::PathBuf;

use pmiscope::profile::Outcome;
use pmiscope::qemu::Module;

use crate::fixture::{Guest, folder, run};
use pmiscope::internals::qemu::Boot;

/// Boots four cores that run a self-test.
#[track_caller]
fn test(name: &str, says: &[&str]) {
    let guest = Guest::boot(4, 128, &format!("test={name}"));
    guest.ended_with(Outcome::Finished, says);
}

#[test]
fn pages_come_by_demand_and_all_frames_go_back() {
    test("space-pages", &["bytes are free before and after"]);
}

#[test]
fn what_a_process_cannot_have_is_refused() {
    let says = [
        "pages are all that there are",
        "bytes are free before and after",
    ];
    test("space-refused", &says);
}

#[test]
fn all_cores_forget_what_is_unmapped() {
    let says = ["looked 600 times, saw what was unmapped 0 times"];
    test("space-shootdown", &says);
}

#[test]
fn frames_are_kept_until_all_cores_have_forgotten_them() {
    test("space-late-answer", &["0 bytes were given back early"]);
}

#[test]
fn cores_that_map_and_unmap_at_once_do_not_meet() {
    test("space-storm", &["0 pages left, 0 had what others wrote"]);
}

/// Where programs go that may be anywhere.
const PIE_BASE: u64 = 0x5555_5555_4000;

fn words(words: &[u64]) -> Vec<u8> {
    words.iter().flat_map(|word| word.to_le_bytes()).collect()
}

/// A segment: its type, its flags, where it is, what is in it, its bytes in memory.
type Segment = (u64, u64, u64, Vec<u8>, u64);

/// An ELF file of a type.
fn elf(kind: u64, entry: u64, segments: &[Segment]) -> Vec<u8> {
    let mut file = b"\x7fELF\x02\x01\x01".to_vec();
    file.resize(16, 0);
    file.extend(words(&[kind | 62 << 16 | 1 << 32, entry, 64, 0]));
    let count = segments.len() as u64;
    file.extend(words(&[64 << 32 | 56 << 48, count | 64 << 16]));
    let mut offset = 64 + 56 * count;
    for (kind, flags, at, content, memory) in segments {
        let bytes = content.len() as u64;
        file.extend(words(&[
            kind | flags << 32,
            offset,
            *at,
            *at,
            bytes,
            *memory,
            4096,
        ]));
        offset += bytes;
    }
    for (_, _, _, content, _) in segments {
        file.extend(content);
    }
    file
}

/// A position-independent program of three segments, and the sum of what is in memory once it is
/// loaded.
fn program() -> (Vec<u8>, u64) {
    let records = words(&[0x3ff8, 8, 0x1000, 0x4000, 8, 0x1004, 0x5010, 8, 0x3008]);
    // RELA, its bytes, those of a record.
    let dynamic = words(&[7, 0x2000, 8, 72, 9, 24, 0, 0]);
    let mut data = vec![0x11; 0x1000];
    let code = vec![0xc3; 5];
    let segments = [
        (1, 5, 0x1000, code.clone(), 5),
        (1, 4, 0x2000, records.clone(), 72),
        (1, 6, 0x3008, data.clone(), 0x2010),
        (2, 6, 0x3008, dynamic.clone(), 64),
    ];
    // The dynamic section lies in the data.
    data[..64].copy_from_slice(&dynamic);
    let mut segments = segments;
    segments[2].3 = data.clone();
    data.resize(0x2010, 0);
    let slide = PIE_BASE - 0x1000;
    for (at, value) in [(0x3ff8, 0x1000), (0x4000, 0x1004), (0x5010, 0x3008)] {
        data[at - 0x3008..][..8].copy_from_slice(&words(&[slide + value]));
    }
    let bytes = code.iter().chain(&records).chain(&data);
    let sum = bytes.fold(0_u64, |sum, &byte| {
        sum.wrapping_mul(31).wrapping_add(byte.into())
    });
    (elf(3, 0x1004, &segments), sum)
}

fn file(name: &str, content: &[u8]) -> PathBuf {
    let path = folder().join(name);
    std::fs::write(&path, content).unwrap();
    path
}

#[test]
fn programs_are_loaded_as_their_files_say() {
    let (program, sum) = program();
    let kernels = elf(
        2,
        0xffff_8000_0000_1000,
        &[(1, 5, 0xffff_8000_0000_1000, vec![0xc3], 1)],
    );
    let huge = elf(
        2,
        0x40_0000,
        &[
            (1, 5, 0x40_0000, vec![0xc3], 1),
            (1, 6, 0x50_0000, vec![], 1 << 40),
        ],
    );
    let modules = [
        ("space-good", &program[..], "a line"),
        ("space-cut", &program[..100], ""),
        ("space-text", b"#!/bin/sh\n", ""),
        ("space-empty", b"", ""),
        ("space-kernels", &kernels, ""),
        ("space-huge", &huge, ""),
    ];
    let modules = modules.map(|(name, content, line)| Module {
        file: file(name, content),
        command_line: line.into(),
    });
    let guest = Guest::boot_machine(
        crate::fixture::built("kernel"),
        2,
        128,
        "test=space-programs",
        |machine| match &mut machine.boot {
            Boot::Loader { load, .. } => load.modules = modules.to_vec(),
            Boot::Pvh { .. } | Boot::Disc(_) => unreachable!(),
        },
    );
    let bytes = program.len();
    let loaded = format!(
        "program space-good: \n\
         0x555555554000-0x555555555000 r-x image\n\
         0x555555555000-0x555555556000 r-- image\n\
         0x555555556000-0x555555559000 rw- image\n\
         entry 0x555555554004, 3 relocations, 5 pages, 4 tables, sum {sum:x}\n"
    );
    guest.ended_with(
        Outcome::Finished,
        &[
            &format!("module: space-good, {bytes} bytes, `a line`\n"),
            "module: space-empty, 0 bytes, ``\n",
            &loaded,
            "program space-cut: refused: the file is cut short or damaged: build it again\n",
            "program space-text: refused: no ELF file: give a program\n",
            "program space-empty: refused: no ELF file: give a program\n",
            "program space-kernels: refused: the segment at 0xffff800000001000 is not between \
             0x10000 and 0x7ffffffff000: link it there\n",
            "program space-huge: refused: it takes more than 256 MiB of memory: make its variables \
             smaller\n",
            "bytes are free before and after",
        ],
    );
}

/// The kernel does without modules, so that it is not told that there are none.
#[test]
fn modules_are_not_missed() {
    let run = run("--smp 1 --self-test nothing --verbose");
    let said = run.said();
    assert!(!said.contains("module"), "{said}");
}

/// Each core waits again and again for all others, which wait for their turns in handlers: by NMI,
/// and by interrupts that whoever waits has to let in.
#[test]
fn shootdowns_are_sampled_and_end() {
    for more in ["", " --delivery irq"] {
        let arguments = format!("--smp 4 --memory 128M --samples 4000 --self-test spaces{more}");
        let report = run(&arguments).ended_with(0).report();
        for core in report["cores"].as_array().unwrap() {
            assert_eq!(core["samples"], 1000, "{more}: {core}");
            assert_eq!(core["lost"], 0, "{more}: {core}");
        }
        let again = run(&arguments).ended_with(0).report();
        assert_eq!(report["sample_hash"], again["sample_hash"], "{more}");
    }
}
