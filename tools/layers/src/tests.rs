//! Each test writes a small workspace and looks at all that is said about it.

use std::path::Path;

use tempfile::TempDir;

use crate::check::{check_layers, circles, imports_within, too_large};
use crate::table::{Ban, Table};
use crate::tree::Tree;

/// Writes `files` into the package `k` of a new workspace, beside a `Cargo.toml`.
fn workspace(files: &[(&str, &str)]) -> TempDir {
    let workspace = tempfile::tempdir().expect("a temporary directory");
    write(
        workspace.path(),
        "k/Cargo.toml",
        "[package]\nname = \"k\"\n",
    );
    for (path, text) in files {
        write(workspace.path(), path, text);
    }
    workspace
}

fn write(workspace: &Path, path: &str, text: &str) {
    let path = workspace.join(path);
    std::fs::create_dir_all(path.parent().expect("a file has a folder")).expect("a folder");
    std::fs::write(path, text).expect("a file");
}

fn read(files: &[(&str, &str)]) -> Tree {
    let workspace = workspace(files);
    let folders = ["k", "other"].map(String::from);
    let existing: Vec<String> = folders
        .into_iter()
        .filter(|folder| workspace.path().join(folder).exists())
        .collect();
    Tree::read(workspace.path(), &existing).expect("the tree is read")
}

/// A table of layers of one module each, in the form `layer: module`.
fn table(layers: &[(&str, &str)]) -> Table {
    let mut text = "imports = { folders = [], largest_circle = 3 }\n\
        sizes = { folders = [], function_lines = 60, struct_fields = 10 }\n"
        .to_owned();
    for (name, module) in layers {
        text += &format!("[[layer]]\nname = \"{name}\"\nmodules = [\"{module}\"]\n");
    }
    toml::from_str(&text).expect("a table")
}

fn offences(files: &[(&str, &str)], table: &Table) -> Vec<String> {
    let offences = check_layers(&read(files), table);
    offences.iter().map(ToString::to_string).collect()
}

/// Layers of the modules `low` and `high` of `k`.
fn two_layers() -> Table {
    table(&[("bottom", "k::low"), ("top", "k::high")])
}

/// Checks `low` beside a `high` that defines a function, a type and a module.
fn offences_of_low(low: &str) -> Vec<String> {
    let high = "pub fn function() {}\npub struct Type;\npub mod inner { pub fn deep() {} }\n";
    let files = [
        ("k/src/lib.rs", "pub mod high;\npub mod low;\n"),
        ("k/src/high.rs", high),
        ("k/src/low.rs", low),
    ];
    offences(&files, &two_layers())
}

fn circles_of(files: &[(&str, &str)]) -> Vec<Vec<String>> {
    let tree = read(files);
    let names = |circle: &Vec<usize>| {
        let names = circle
            .iter()
            .map(|id| tree.files[*id].display().to_string());
        names.collect()
    };
    circles(&tree).iter().map(names).collect()
}

const UPWARDS: &str = "k::low (layer bottom) imports k::high (layer top), which is above it";

#[test]
fn an_import_upwards_is_an_offence() {
    let expected = [format!("k/src/low.rs:2: {UPWARDS}")];
    assert_eq!(offences_of_low("\nuse crate::high::Type;\n"), expected);
    assert_eq!(offences_of_low("\nuse super::high::Type;\n"), expected);
    assert_eq!(
        offences_of_low("\nuse crate::high;\nuse crate::high::Type;\n"),
        expected
    );
    assert_eq!(
        offences_of_low("\nuse {crate::high::{self as h}};\n"),
        expected
    );
    assert_eq!(offences_of_low("\nuse crate::high::*;\n"), expected);
    assert_eq!(offences_of_low("\npub use crate::high::Type;\n"), expected);
}

#[test]
fn a_path_upwards_in_code_is_an_offence() {
    let expected = [format!("k/src/low.rs:2: {UPWARDS}")];
    assert_eq!(
        offences_of_low("fn f() {\n crate::high::function() }\n"),
        expected
    );
    assert_eq!(
        offences_of_low("fn f(_:\n &crate::high::Type) {}\n"),
        expected
    );
    assert_eq!(
        offences_of_low("fn f() { assert!(\n [crate::high::function()]) }\n"),
        expected
    );
    let exported = "#[macro_export] macro_rules! m { () => {\n $crate::high::function() } }\n";
    assert_eq!(offences_of_low(exported), expected);
}

#[test]
fn a_path_by_the_name_of_an_import_is_followed() {
    let low = "use crate::high as h;\nfn f() { h::inner::deep() }\n";
    let inner = UPWARDS.replace("k::high", "k::high::inner");
    let expected = [
        format!("k/src/low.rs:1: {UPWARDS}"),
        format!("k/src/low.rs:2: {inner}"),
    ];
    assert_eq!(offences_of_low(low), expected);
}

#[test]
fn what_goes_down_or_elsewhere_is_none() {
    let files = [
        ("k/src/lib.rs", "pub mod high;\npub mod low;\n"),
        (
            "k/src/high.rs",
            "use crate::low::Type;\nuse std::high::Type as T;\n",
        ),
        (
            "k/src/low.rs",
            "pub struct Type;\nuse ::high::function;\npub(in crate::high) fn f() {}\n",
        ),
    ];
    assert_eq!(offences(&files, &two_layers()), [""; 0]);
}

#[test]
fn code_for_tests_alone_is_left_out() {
    for cfg in ["test", "all(test, not(loom))", "any(test, all(test, loom))"] {
        let import = format!("#[cfg({cfg})]\nuse crate::high::Type;\n");
        assert_eq!(offences_of_low(&import), [""; 0], "{cfg}");
        let module = format!("#[cfg({cfg})]\nmod tests {{ use crate::high::Type; }}\n");
        assert_eq!(offences_of_low(&module), [""; 0], "{cfg}");
        let no_file = format!("#[cfg({cfg})]\nmod not_there;\n");
        assert_eq!(offences_of_low(&no_file), [""; 0], "{cfg}");
    }
    for cfg in [
        "not(test)",
        "any(test, loom)",
        "loom",
        "target_os = \"none\"",
    ] {
        let import = format!("#[cfg({cfg})]\nuse crate::high::Type;\n");
        assert_eq!(
            offences_of_low(&import),
            [format!("k/src/low.rs:2: {UPWARDS}")],
            "{cfg}"
        );
    }
}

#[test]
fn a_module_may_export_what_is_in_it() {
    // The parent is below one of its modules.
    let table = table(&[("bottom", "k::low"), ("top", "k::low::part")]);
    let files = |low| {
        [
            ("k/src/lib.rs", "pub mod low;\n"),
            ("k/src/low/mod.rs", low),
            ("k/src/low/part.rs", "pub struct Type;\n"),
        ]
    };
    assert_eq!(
        offences(&files("mod part;\npub use part::Type;\n"), &table),
        [""; 0]
    );
    assert_eq!(
        offences(&files("mod part;\nuse part::Type;\n"), &table),
        [
            "k/src/low/mod.rs:2: k::low (layer bottom) imports k::low::part (layer top), which is above it"
        ]
    );
}

#[test]
fn an_import_is_of_the_module_that_defines() {
    // The type is in `low`; `high` only exports it.
    let files = [
        (
            "k/src/lib.rs",
            "pub mod high;\npub mod low;\npub mod user;\n",
        ),
        (
            "k/src/high.rs",
            "pub use crate::low::*;\npub use crate::low::Type as Named;\n",
        ),
        ("k/src/low.rs", "pub struct Type;\n"),
        ("k/src/user.rs", "use crate::high::{Named, Type};\n"),
    ];
    let table = table(&[
        ("bottom", "k::low"),
        ("middle", "k::user"),
        ("top", "k::high"),
    ]);
    assert_eq!(offences(&files, &table), [""; 0]);
}

#[test]
fn an_import_from_another_package_is_checked() {
    let files = [
        ("k/src/lib.rs", "use far_away::part::Type;\n"),
        ("other/Cargo.toml", "[package]\nname = \"far-away\"\n"),
        ("other/src/lib.rs", "pub mod part;\n"),
        ("other/src/part.rs", "pub struct Type;\n"),
    ];
    let table = table(&[("bottom", "k"), ("top", "far_away")]);
    assert_eq!(
        offences(&files, &table),
        ["k/src/lib.rs:1: k (layer bottom) imports far_away::part (layer top), which is above it"]
    );
}

#[test]
fn a_program_imports_from_its_library() {
    let files = [
        ("k/src/lib.rs", "pub mod high;\n"),
        ("k/src/high.rs", "pub struct Type;\n"),
        ("k/src/main.rs", "use k::high::Type;\n"),
    ];
    let table = table(&[("bottom", "k::bin"), ("top", "k::high")]);
    assert_eq!(
        offences(&files, &table),
        ["k/src/main.rs:1: k::bin (layer bottom) imports k::high (layer top), which is above it"]
    );
}

#[test]
fn the_longest_entry_of_the_table_decides() {
    let table = table(&[
        ("bottom", "k"),
        ("top", "k::high"),
        ("middle", "k::high::part"),
    ]);
    let layer = |module| table.layer_of(module).map(|(_, layer)| layer.name.as_str());
    assert_eq!(layer("k::high::part::more"), Some("middle"));
    assert_eq!(layer("k::high::party"), Some("top"));
    assert_eq!(layer("k"), Some("bottom"));
    assert_eq!(layer("kernel"), None);
}

#[test]
fn a_module_may_be_banned_though_it_is_below() {
    let mut table = table(&[("bottom", "k::high"), ("top", "k::low")]);
    table.bans.push(Ban {
        layers: vec!["top".to_owned()],
        modules: vec!["k::high".to_owned()],
    });
    let files = [
        ("k/src/lib.rs", "pub mod high;\npub mod low;\n"),
        ("k/src/high.rs", "pub mod inner { pub struct Type; }\n"),
        ("k/src/low.rs", "use crate::high::inner::Type;\n"),
    ];
    assert_eq!(
        offences(&files, &table),
        ["k/src/low.rs:1: k::low (layer top) imports k::high::inner, which it must never do"]
    );
}

#[test]
fn table_and_modules_must_agree() {
    let files = [
        ("k/src/lib.rs", "mod low;\nmod unlisted;\nuse low::f;\n"),
        (
            "k/src/low.rs",
            "use crate::unlisted::Type;\npub fn f() {}\n",
        ),
        ("k/src/unlisted.rs", "pub struct Type;\n"),
    ];
    let table = table(&[("bottom", "k::low"), ("top", "k::gone")]);
    let expected = [
        "the table lists k::gone, but there is no such module",
        "k/src/unlisted.rs: k::unlisted has no layer in the table",
        "k/src/low.rs:1: k::low (layer bottom) imports k::unlisted, which has no layer",
    ];
    assert_eq!(offences(&files, &table), expected);
}

#[test]
fn files_that_import_each_other_are_a_circle() {
    // Four in one circle, and a fifth that only imports.
    let files = [
        ("k/src/lib.rs", "mod a; mod b; mod c; mod d; mod e;\n"),
        ("k/src/a.rs", "use crate::b::B;\npub struct A;\n"),
        ("k/src/b.rs", "pub struct B;\nfn f() { crate::c::f() }\n"),
        (
            "k/src/c.rs",
            "use super::d;\npub fn f() { d::inner::g() }\n",
        ),
        (
            "k/src/d.rs",
            "pub mod inner { use super::super::a::A; pub fn g() {} }\n",
        ),
        ("k/src/e.rs", "use crate::a::A;\n"),
    ];
    let circle = ["k/src/a.rs", "k/src/b.rs", "k/src/c.rs", "k/src/d.rs"];
    assert_eq!(circles_of(&files), [circle]);

    let tree = read(&files);
    let imports = imports_within(&tree, &circles(&tree)[0]);
    let expected = [
        "k/src/a.rs:1 imports from k/src/b.rs",
        "k/src/b.rs:2 imports from k/src/c.rs",
        "k/src/c.rs:2 imports from k/src/d.rs",
        "k/src/d.rs:1 imports from k/src/a.rs",
    ];
    assert_eq!(imports, expected);
}

#[test]
fn a_module_and_its_part_can_be_a_circle() {
    let files = |module, part| {
        [
            ("k/src/lib.rs", "mod module;\n"),
            ("k/src/module.rs", module),
            ("k/src/module/part.rs", part),
        ]
    };
    let circle = ["k/src/module/part.rs", "k/src/module.rs"];
    let uses = "pub fn g() {}\nuse super::f;\n";
    assert_eq!(
        circles_of(&files("mod part;\nuse part::g;\nfn f() {}\n", uses)),
        [circle]
    );
    assert_eq!(
        circles_of(&files("mod part;\nfn f() { part::g() }\n", uses)),
        [circle]
    );
    // Neither the declaration nor an export is an import.
    assert_eq!(
        circles_of(&files("mod part;\npub use part::g;\nfn f() {}\n", uses)),
        [[""; 2]; 0]
    );
}

#[test]
fn the_name_of_a_module_makes_no_circle() {
    // `a` uses its import of `b` for what lies in `b/part.rs`.
    let files = [
        ("k/src/lib.rs", "mod a; mod b;\n"),
        ("k/src/a.rs", "use crate::b;\npub fn f() { b::part::g() }\n"),
        ("k/src/b.rs", "pub mod part;\nuse crate::a::f;\n"),
        ("k/src/b/part.rs", "pub fn g() {}\n"),
    ];
    assert_eq!(circles_of(&files), [[""; 2]; 0]);
}

#[test]
fn long_functions_and_wide_structs_are_listed() {
    let body = |lines: usize| "\n".repeat(lines - 1);
    let fields = |number: usize| {
        (0..number)
            .map(|n| format!("f{n}: u8,"))
            .collect::<String>()
    };
    let file = format!(
        "fn short() {{{}}}\nfn long() {{{}}}\nimpl S {{ fn longer() {{{}}} }}\nstruct S {{{}}}\nstruct Wide {{{}}}\n",
        body(60),
        body(61),
        body(70),
        fields(10),
        fields(11)
    );
    let tree = read(&[("k/src/lib.rs", &file)]);
    let list = |all, most, unit| -> Vec<String> {
        let offences = too_large(&tree, all, most, unit);
        offences.iter().map(ToString::to_string).collect()
    };
    assert_eq!(
        list(&tree.functions, 60, "lines"),
        [
            "k/src/lib.rs:122: longer has 70 lines",
            "k/src/lib.rs:61: long has 61 lines"
        ]
    );
    assert_eq!(
        list(&tree.structs, 10, "fields"),
        ["k/src/lib.rs:193: Wide has 11 fields"]
    );
}
