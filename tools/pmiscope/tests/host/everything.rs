//! Every view and every export of every kind of profile: each shows something, or says in one line
//! why not.

use std::fs;
use std::path::Path;

use crate::command::{pmiscope, stderr, text};
use crate::counts::whole as counted_profile;
use crate::exports::FORMS;
use crate::fixture::{
    description, file, folder, profile, profile_of_chains, profile_of_cores, profile_of_events,
    samples,
};
use crate::programs::Run;

/// What stands for the profile, and for what is written.
const PROFILE: &str = "PROFILE";
const OUTPUT: &str = "OUTPUT";

/// All that shows a profile, but what goes on until it is ended.
fn views() -> Vec<Vec<&'static str>> {
    let words = |line: &'static str| line.split_whitespace().collect::<Vec<_>>();
    let mut views: Vec<_> = [
        "report PROFILE",
        "report PROFILE --format json",
        "report PROFILE --per-core --sort total --top 1",
        "report PROFILE --tree",
        "report PROFILE --inverted --format json",
        "report PROFILE --focus stub",
        "report PROFILE --focus stub --callers --format json",
        "report PROFILE --core 1 --idle out --filter idle",
        "report PROFILE --time 10%-90%",
        "report PROFILE --event 1",
        "report PROFILE --process 1 --privilege user",
        "diff PROFILE PROFILE",
        "diff PROFILE PROFILE --sort total --format json",
        "diff PROFILE PROFILE -o OUTPUT",
        "timeline PROFILE",
        "timeline PROFILE --format json --core 1",
        "flamegraph PROFILE -o OUTPUT",
        "flamegraph PROFILE --by core -o OUTPUT",
        "flamegraph PROFILE --by task -o OUTPUT",
        "export PROFILE --format folded --by core -o OUTPUT",
        "annotate PROFILE stub",
        "annotate PROFILE .* --format json",
        "html PROFILE -o OUTPUT",
        "html PROFILE --base PROFILE -o OUTPUT",
        "embed-symbols PROFILE -o OUTPUT",
        "verify PROFILE",
        "verify --programs PROFILE",
    ]
    .map(words)
    .into();
    let keys = [
        "function,core",
        "line",
        "file",
        "address",
        "process",
        "thread",
        "task",
    ];
    for by in keys.into_iter().chain(["core", "event", "lock"]) {
        views.push(vec!["report", PROFILE, "--by", by]);
    }
    for show in ["busy", "selected", "samples", "user", "interrupts-off"] {
        views.push(vec!["timeline", PROFILE, "--show", show]);
    }
    for form in FORMS {
        views.push(vec!["export", PROFILE, "--format", form, "-o", OUTPUT]);
    }
    views
}

/// That each shows something, or says why not; how many did show something.
#[track_caller]
fn assert_all(kind: &str, path: &Path) -> usize {
    let mut shown = 0;
    for view in views() {
        let output = folder().join(format!("everything-{kind}"));
        let _ = fs::remove_file(&output);
        let words = view.iter().map(|&word| match word {
            PROFILE => text(path),
            OUTPUT => text(&output),
            _ => word,
        });
        let assert = pmiscope(&words.collect::<Vec<_>>());
        let said = stderr(&assert);
        let status = assert.get_output().status.code();
        let written = fs::metadata(&output).map_or(0, |it| it.len());
        let is_empty = assert.get_output().stdout.is_empty() && written == 0;
        let about = format!("{kind}, {view:?}: status {status:?}, {said}");
        // What does not keep it from being shown stands in lines of its own.
        let reasons = said.lines().filter(|line| {
            let remarks = ["pmiscope: warning: ", "pmiscope: note: "];
            !remarks.iter().any(|it| line.starts_with(it)) && !line.contains(" is incomplete: ")
        });
        let reasons: Vec<_> = reasons.collect();
        assert!(
            said.lines().all(|line| line.starts_with("pmiscope: ")),
            "{about}"
        );
        match status {
            // Of folded stacks of no samples there is no line.
            Some(0 | 3) => {
                assert!(!is_empty || view.contains(&"folded"), "{about}");
                shown += 1;
            }
            Some(1) => {
                // `verify` shows what it has found.
                assert_eq!(reasons.len(), 1, "{about}");
                assert!(is_empty || view[0] == "verify", "{about}");
            }
            _ => panic!("{about}"),
        }
    }
    shown
}

#[test]
fn whole_profiles_of_every_kind_are_shown_or_refused_in_one_line() {
    let of_cores = |cores: &[&[_]]| profile_of_cores(&description(), cores);
    let [first, second] = samples();
    let chains = [first.clone(), second.clone()].map(|it| it.into_iter().zip(1..).collect());
    let [a, b]: [Vec<_>; 2] = chains;
    for (kind, profile, at_least) in [
        ("whole", profile(), 42),
        ("events", profile_of_events(), 39),
        ("one-sample", of_cores(&[&first[..1], &[]]), 38),
        ("one-core", of_cores(&[&[], &second]), 40),
        ("chains", profile_of_chains([&a, &b]), 33),
        ("empty", of_cores(&[&[], &[]]), 20),
        ("counts", counted_profile(), 2),
    ] {
        let path = file(&format!("everything-{kind}.pmi"), &profile);
        let shown = assert_all(kind, &path);
        assert!(shown >= at_least, "{kind}: {shown} are shown");
    }
}

#[test]
fn profiles_of_programs_and_of_names_alone_are_shown_or_refused_in_one_line() {
    let programs = Run::new("everything").profile("everything-programs.pmi");
    let shown = assert_all("programs", &programs);
    assert!(shown >= 40, "programs: {shown} are shown");
    let names = folder().join("everything-names.pmi");
    pmiscope(&["embed-symbols", text(&programs), "-o", text(&names)]).success();
    let shown = assert_all("names", &names);
    assert!(shown >= 35, "names: {shown} are shown");
    let stacks = file("everything.folded", b"main;parse 3\nidle 1\n");
    let imported = folder().join("everything-folded.pmi");
    pmiscope(&["import", "--folded", text(&stacks), "-o", text(&imported)]).success();
    let shown = assert_all("folded", &imported);
    assert!(shown >= 19, "folded: {shown} are shown");
}

#[test]
fn a_profile_that_is_cut_anywhere_is_shown_or_refused_in_one_line() {
    let whole = profile_of_events();
    let last = (1..4).map(|missing| whole.len() - missing);
    let many = (0..12).map(|part| part * whole.len() / 12);
    for bytes in many.chain(last) {
        let kind = format!("cut-{bytes}");
        let path = file(&format!("everything-{kind}.pmi"), &whole[..bytes]);
        assert_all(&kind, &path);
    }
}
