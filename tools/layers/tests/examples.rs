//! Each public type of the library has an example in its documentation, and no example is
//! passed over by the tests.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;
use walkdir::WalkDir;

/// The types without an example, by reason.
const EXCEPT: [(&str, &[&str]); 2] = [
    (
        "an error, which is only shown: the example of what returns it has its text",
        &[
            "contract::mailbox::RequestError",
            "contract::settings::BadWord",
            "entry::NoBreakpoint",
            "format::UnknownValue",
            "format::count::CountError",
            "format::description::DescriptionError",
            "format::region::RegionError",
            "format::ring::Corrupt",
            "format::ring::Lost",
            "format::sample::SampleError",
            "hw::apic::NoApic",
            "pmu::detect::NoPmu",
            "pmu::event::BadEvent",
            "sampler::AimError",
            "sampler::CoresError",
            "sampler::NoMemory",
            "sampler::OtherMode",
            "sampler::WrongPlace",
            "sampler::NotStarted",
            "sampler::PmuError",
            "sampler::SourceError",
        ],
    ),
    (
        "a part of such an error",
        &["contract::settings::Problem", "pmu::event::EventProblem"],
    ),
];

const KINDS: [&str; 5] = ["struct", "enum", "union", "trait", "macro"];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// What rustdoc knows of the library: only it knows what is public, by which path.
fn documentation() -> Value {
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).join("documentation");
    let status = Command::new(env!("CARGO"))
        .args([
            "doc",
            "--locked",
            "--quiet",
            "--no-deps",
            "-p",
            "pmiscope-profiler",
        ])
        .arg("--target-dir")
        .arg(&target)
        .current_dir(root())
        // Its output as JSON is not stable, and the toolchain is pinned.
        .env("RUSTC_BOOTSTRAP", "1")
        .env("RUSTDOCFLAGS", "-Zunstable-options --output-format json")
        .status()
        .expect("cargo starts");
    assert!(status.success(), "cargo doc fails");
    let text = std::fs::read(target.join("doc/profiler.json")).expect("a file of rustdoc's");
    serde_json::from_slice(&text).expect("JSON")
}

/// The public types and macros below the module `id`, by their paths without the crate's
/// name: each with its documentation.
fn types<'a>(all: &'a Value, id: &Value, path: &str, found: &mut Vec<(String, &'a str)>) {
    // What is not there is of another crate, or private.
    let Some(item) = all["index"].get(id.to_string()) else {
        return;
    };
    let inner = item["inner"].as_object().expect("an item has a kind");
    let (kind, inner) = inner.iter().next().expect("one");
    let below = |name: &Value| {
        let name = name.as_str().expect("a name");
        if path.is_empty() {
            name.to_owned()
        } else {
            format!("{path}::{name}")
        }
    };
    match kind.as_str() {
        "module" => {
            let path = if inner["is_crate"] == true {
                String::new()
            } else {
                below(&item["name"])
            };
            for item in inner["items"].as_array().expect("items") {
                types(all, item, &path, found);
            }
        }
        "use" => {
            assert_ne!(inner["is_glob"], true, "{path}: exports all of a module");
            let Some(target) = all["index"].get(inner["id"].to_string()) else {
                return;
            };
            let kind = target["inner"].as_object().expect("a kind").keys().next();
            if KINDS.contains(&kind.expect("one").as_str()) {
                found.push((
                    below(&inner["name"]),
                    target["docs"].as_str().unwrap_or_default(),
                ));
            }
        }
        kind if KINDS.contains(&kind) => {
            found.push((
                below(&item["name"]),
                item["docs"].as_str().unwrap_or_default(),
            ));
        }
        _ => {}
    }
}

/// Returns true if there is code in the documentation that a test compiles.
fn has_example(documentation: &str) -> bool {
    let fences = documentation.lines().filter(|line| line.starts_with("```"));
    let mut openings = fences.step_by(2);
    openings.any(|fence| ["```", "```no_run", "```no_run,standalone_crate"].contains(&fence))
}

#[test]
fn each_public_type_has_an_example_or_a_reason_to_have_none() {
    let all = documentation();
    let mut found = Vec::new();
    types(&all, &all["root"], "", &mut found);
    let paths = |of: &[(String, &str)]| of.iter().map(|(path, _)| path.clone()).collect();
    let public: BTreeSet<String> = paths(&found);
    // If fewer are found than there are, then not because of how they are looked for.
    for path in [
        "address::CodeAddress",
        "format::Sample",
        "sampler::Sampler",
        "sampler_gates",
    ] {
        assert!(public.contains(path), "{path} is not found");
    }

    found.retain(|(_, documentation)| !has_example(documentation));
    let without: BTreeSet<String> = paths(&found);
    let except = EXCEPT
        .iter()
        .flat_map(|(_, paths)| paths.iter().map(|&path| path.to_owned()));
    let except: BTreeSet<String> = except.collect();
    let missing: Vec<_> = without.difference(&except).collect();
    assert!(
        missing.is_empty(),
        "these types have no example: {missing:#?}"
    );
    let stale: Vec<_> = except.difference(&without).collect();
    assert!(
        stale.is_empty(),
        "these have an example, or are gone: {stale:#?}"
    );
}

#[test]
fn no_example_is_passed_over() {
    for file in WalkDir::new(root().join("profiler/src")) {
        let file = file.expect("a file");
        if file
            .path()
            .extension()
            .is_none_or(|extension| extension != "rs")
        {
            continue;
        }
        let text = std::fs::read_to_string(file.path()).expect("text");
        let ignored = text.lines().position(|line| {
            let fence = line.split_once("```").map(|(_, fence)| fence.trim());
            line.trim_start().starts_with("//")
                && fence.is_some_and(|fence| fence.contains("ignore"))
        });
        let line = ignored.map(|index| index + 1);
        assert_eq!(
            line,
            None,
            "{}: an example that no test compiles",
            file.path().display()
        );
    }
}
