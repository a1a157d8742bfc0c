//! Profiles that have names in place of the kernel: they say the same, and no kernel is in them.

use std::fs;
use std::path::{Path, PathBuf};

use pmiscope::internals::Profile;

use crate::command::{pmiscope, refused, stderr, stdout, text};
use crate::fixture::{bare_kernel, file, folder, kernel, profile, profile_of_kernel, samples};
use crate::fixture::{description, other_kernel};

/// The profile with names in place of its kernel.
fn embedded(original: &Path) -> PathBuf {
    let output = folder().join("embedded.pmi");
    let words = ["embed-symbols", text(original), "-o", text(&output)];
    let status = pmiscope(&words).get_output().status.code();
    // As that of a report on it.
    assert_eq!(
        status,
        pmiscope(&["report", text(original)])
            .get_output()
            .status
            .code()
    );
    output
}

#[test]
fn names_say_what_the_kernel_said() {
    let original = file("original.pmi", &profile());
    let output = embedded(&original);
    for command in [
        &["report", "FILE", "--top", "100"][..],
        &["report", "FILE", "--format", "json"],
        &["report", "FILE", "--core", "1"],
        &["export", "FILE", "--format", "folded", "-o", "-"],
        &["export", "FILE", "--format", "csv", "-o", "-"],
    ] {
        let of = |path: &Path| {
            let words: Vec<_> = command
                .iter()
                .map(|&it| if it == "FILE" { text(path) } else { it })
                .collect();
            let assert = pmiscope(&words);
            (
                assert.get_output().status.code(),
                assert.get_output().stdout.clone(),
            )
        };
        assert!(of(&original) == of(&output), "{command:?}");
    }
    let bytes = fs::read(&output).unwrap();
    let read = Profile::read(bytes.clone()).unwrap();
    assert!(read.kernel.is_none() && read.debug_files.is_empty());
    assert_eq!(read.incomplete(), None);
    assert_eq!(bytes[16], 8, "the version");
    // Names again, of the names.
    let again = folder().join("again.pmi");
    pmiscope(&["embed-symbols", text(&output), "-o", text(&again)]).success();
    assert_eq!(
        stdout(&pmiscope(&["report", text(&again)])),
        stdout(&pmiscope(&["report", text(&output)]))
    );
}

#[test]
fn files_are_those_of_declarations_and_lines_are_said_to_be_missing() {
    let output = embedded(&file("original.pmi", &profile()));
    let by = |by: &str| {
        let assert = pmiscope(&["report", text(&output), "--by", by, "--format", "json"]);
        let json: serde_json::Value = serde_json::from_str(&stdout(&assert)).unwrap();
        let rows = json["rows"].as_array().unwrap().iter();
        let rows = rows.map(|row| (row[by].clone(), row["events"][0]["self"].clone()));
        (rows.collect::<Vec<_>>(), stderr(&assert))
    };
    let (files, said) = by("file");
    // Assembly is declared nowhere, nor is what has no name.
    let expected = [("fixture.c", 3), ("??", 3)].map(|(file, own)| (file.into(), own.into()));
    assert_eq!(files, expected);
    assert!(!said.contains("names and no code"), "{said}");
    let (lines, said) = by("line");
    assert_eq!(lines[0], ("?? innermost".into(), 2.into()));
    let says = "the profile has names and no code: which line was executing is not known, and ?? \
        stands for it; give the kernel that ran by --elf";
    assert!(said.contains(says), "{said}");
}

#[test]
fn a_kernel_without_call_frames_says_the_same_by_names() {
    let kernel = bare_kernel();
    let description = profiler::format::Description {
        build_id: pmiscope::symbols::build_id(&kernel.elf).unwrap().0,
        ..description()
    };
    let [first, second] = samples();
    let whole = profile_of_kernel(&kernel.elf, &description, &[&first, &second]);
    let original = file("bare.pmi", &whole);
    let output = embedded(&original);
    let said = |path: &Path| {
        let assert = pmiscope(&["report", text(path)]);
        (stdout(&assert), stderr(&assert).replace(text(path), "FILE"))
    };
    assert_eq!(said(&original), said(&output));
}

#[test]
fn what_needs_the_kernel_itself_says_so() {
    let output = embedded(&file("original.pmi", &profile()));
    let perf = folder().join("perf.data");
    let export = [
        "export",
        text(&output),
        "--format",
        "perf",
        "-o",
        text(&perf),
    ];
    refused(
        pmiscope(&export),
        1,
        &["names in place of its kernel", "give it by --elf"],
    );
    assert!(!perf.exists());
    let given = [&export[..], &["--elf", text(&kernel().path)]].concat();
    pmiscope(&given).success();
    refused(pmiscope(&["verify", text(&output)]), 1, &["the kernel"]);
    refused(
        pmiscope(&["annotate", text(&output), "main"]),
        1,
        &["no code to show: give the kernel that ran by --elf"],
    );
    // Files that somebody names go first, if they are the kernel's.
    pmiscope(&["report", text(&output), "--elf", text(&kernel().path)]).success();
    let other = text(&other_kernel().path);
    refused(
        pmiscope(&["report", text(&output), "--elf", other]),
        1,
        &["its names would be wrong"],
    );
}

#[test]
fn nothing_is_written_over_and_nothing_is_hidden() {
    let original = file("original.pmi", &profile());
    let path = text(&original);
    refused(
        pmiscope(&["embed-symbols", path, "-o", path]),
        1,
        &["the profile"],
    );
    let whole = profile();
    let cut = file("cut.pmi", &whole[..whole.len() - 5]);
    let output = folder().join("never.pmi");
    let assert = pmiscope(&["embed-symbols", text(&cut), "-o", text(&output)]).code(1);
    assert!(stderr(&assert).contains("the profile is incomplete, and would not say so any more"));
    assert!(!output.exists());
}
