//! When the command fails, and what it says at its end.

use std::fs;

use assert_cmd::Command;
use tempfile::TempDir;

/// A workspace whose package has the modules `low` and `high`.
fn workspace(low: &str) -> TempDir {
    let workspace = tempfile::tempdir().expect("a temporary directory");
    let table = "[imports]\nfolders = [\"k\"]\nlargest_circle = 3\n\
        [sizes]\nfolders = [\"k\"]\nfunction_lines = 2\nstruct_fields = 1\n\
        [[layer]]\nname = \"bottom\"\nmodules = [\"k::low\"]\n\
        [[layer]]\nname = \"top\"\nmodules = [\"k::high\"]\n";
    fs::create_dir_all(workspace.path().join("k/src")).expect("a folder");
    for (path, text) in [
        ("layers.toml", table),
        ("k/Cargo.toml", "[package]\nname = \"k\"\n"),
        ("k/src/lib.rs", "mod high;\nmod low;\n"),
        ("k/src/high.rs", "pub fn f() {}\n"),
        ("k/src/low.rs", low),
    ] {
        fs::write(workspace.path().join(path), text).expect("a file");
    }
    workspace
}

fn run(workspace: &TempDir, arguments: &[&str]) -> (Option<i32>, String) {
    let mut command = Command::cargo_bin("layers").expect("the program is built");
    let command = command.arg("--workspace").arg(workspace.path());
    let output = command
        .args(["--table", "layers.toml"])
        .args(arguments)
        .output();
    let output = output.expect("the program runs");
    let text = String::from_utf8(output.stdout).expect("text");
    (output.status.code(), text)
}

#[test]
fn an_import_upwards_fails_but_in_a_report() {
    let workspace = workspace("use crate::high::f;\n");
    let text = "k/src/low.rs:1: k::low (layer bottom) imports k::high (layer top), which is above it\n\
        layers: 3 files; 1 offences; 0 circles, the largest of 0 files (at most 3)\n\
        layers: 0 functions of more than 2 lines, 0 structs of more than 1 fields\n";
    assert_eq!(run(&workspace, &[]), (Some(1), text.to_owned()));
    assert_eq!(run(&workspace, &["--report"]), (Some(0), text.to_owned()));
}

#[test]
fn long_functions_fail_if_it_is_strict() {
    let workspace = workspace("fn f() {\n\n}\n");
    let text = "layers: 3 files; 0 offences; 0 circles, the largest of 0 files (at most 3)\n\
        k/src/low.rs:1: f has 3 lines\n\
        layers: 1 functions of more than 2 lines, 0 structs of more than 1 fields\n";
    assert_eq!(run(&workspace, &[]), (Some(0), text.to_owned()));
    assert_eq!(run(&workspace, &["--strict"]), (Some(1), text.to_owned()));
}

#[test]
fn a_circle_of_more_files_than_the_table_allows_fails() {
    let workspace = workspace("mod a;\nmod b;\nmod c;\npub use a::f;\n");
    fs::create_dir(workspace.path().join("k/src/low")).expect("a folder");
    for (name, text) in [
        ("a", "pub use super::b::f;\n"),
        ("b", "pub fn f() { super::c::f() }\n"),
        ("c", "pub fn f() { super::b::f() }\n"),
    ] {
        fs::write(workspace.path().join(format!("k/src/low/{name}.rs")), text).expect("a file");
    }
    let (status, text) = run(&workspace, &[]);
    assert!(
        text.starts_with("a circle of 2 files: k/src/low/b.rs k/src/low/c.rs\n"),
        "{text}"
    );
    assert_eq!(status, Some(0));

    let table = fs::read_to_string(workspace.path().join("layers.toml")).expect("the table");
    let table = table.replace("largest_circle = 3", "largest_circle = 1");
    fs::write(workspace.path().join("layers.toml"), table).expect("the table");
    let (status, text) = run(&workspace, &[]);
    let expected = "a circle of 2 files, too many: k/src/low/b.rs k/src/low/c.rs\n";
    assert!(text.starts_with(expected), "{text}");
    assert_eq!(status, Some(1));
}
