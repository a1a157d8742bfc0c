//! The header for C is made from the source, and checked in.

use std::env;
use std::fs;
use std::path::Path;

use cbindgen::{Builder, Config, EnumConfig, ExportConfig, Language, Style};

const TOP: &str = "\
/* The sampler of pmiscope, for kernels in C: libpmiscope.a.
 *
 * A kernel includes the fragment pmiscope.ld in its linker script, links with
 * --build-id=sha1, is compiled with -g and -fno-omit-frame-pointer, and
 *
 * 1. for each core, puts what pmiscope_set_up_core writes into its TSS;
 * 2. puts what pmiscope_gates writes into the interrupt table;
 * 3. calls pmiscope_start on core 0 and pmiscope_join on all others.
 *
 * Made by `make header` from profiler/c/src: changes belong there.
 *
 * SPDX-License-Identifier: MIT OR Apache-2.0
 */";

const CONSTANT_EXPRESSIONS: &str = "
// The bytes of the memory for pmiscope_start, for so many cores with rings of so many bytes
// each, a power of two of 64 KiB or more: pmiscope_region_bytes as a constant expression.
#define PMISCOPE_REGION_BYTES(cores, ring_bytes) \\
    (PMISCOPE_REGION_BYTES_ONCE + (uint64_t)(cores) * (PMISCOPE_REGION_BYTES_PER_CORE + (ring_bytes)))";

/// Names in Rust and in C.
const TYPES: [(&str, &str); 9] = [
    ("Callbacks", "pmiscope_callbacks"),
    ("Config", "pmiscope_config"),
    ("Gate", "pmiscope_gate"),
    ("GateStack", "pmiscope_gate_stack"),
    ("Registers", "pmiscope_registers"),
    ("Source", "pmiscope_source_kind"),
    ("Stack", "pmiscope_stack"),
    ("Status", "pmiscope_status"),
    ("Tops", "pmiscope_tops"),
];

const CONSTANTS: [&str; 4] = [
    "GATES",
    "MAX_CORES",
    "REGION_BYTES_ONCE",
    "REGION_BYTES_PER_CORE",
];

fn config() -> Config {
    let types = TYPES.map(|(rust, c)| (rust.to_owned(), c.to_owned()));
    let constants = CONSTANTS.map(|name| (name.to_owned(), format!("PMISCOPE_{name}")));
    Config {
        language: Language::C,
        style: Style::Tag,
        cpp_compat: true,
        header: Some(TOP.to_owned()),
        after_includes: Some(CONSTANT_EXPRESSIONS.to_owned()),
        include_guard: Some("PMISCOPE_H".to_owned()),
        no_includes: true,
        sys_includes: ["stdbool.h", "stddef.h", "stdint.h"]
            .map(String::from)
            .to_vec(),
        usize_is_size_t: true,
        tab_width: 4,
        line_length: 100,
        documentation_style: cbindgen::DocumentationStyle::C99,
        export: ExportConfig {
            rename: types.into_iter().chain(constants).collect(),
            ..ExportConfig::default()
        },
        enumeration: EnumConfig {
            rename_variants: cbindgen::RenameRule::QualifiedScreamingSnakeCase,
            ..EnumConfig::default()
        },
        ..Config::default()
    }
}

fn header() -> String {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let bindings = Builder::new()
        .with_config(config())
        .with_src(source.join("types.rs"))
        .with_src(source.join("api.rs"))
        .generate()
        .expect("the source is what cbindgen reads");
    let mut header = Vec::new();
    bindings.write(&mut header);
    String::from_utf8(header).expect("UTF-8")
}

#[test]
fn header_is_what_the_source_says() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("pmiscope.h");
    let header = header();
    if env::var_os("PMISCOPE_WRITE_HEADER").is_some() {
        fs::write(&path, &header).unwrap();
    }
    let there = fs::read_to_string(&path).unwrap_or_default();
    assert!(
        there == header,
        "{} is not what the source says: please run `make header`",
        path.display()
    );
}
