//! The header for C is made from the source, and checked in.

use std::env;
use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::process::Command;

use cbindgen::{Builder, Config, EnumConfig, ExportConfig, Language, Style};

const TOP: &str = "\
/* The sampler of pmiscope, for kernels in C: libpmiscope.a.
 *
 * A kernel includes the fragment pmiscope.ld in its linker script, links with
 * --build-id=sha1, is compiled with -g and -fno-omit-frame-pointer, and
 *
 * 1. for each core, puts what pmiscope_set_up_core writes into its TSS;
 * 2. puts what pmiscope_gates writes into the interrupt table;
 * 3. puts pmiscope_protection_entry_before, its own entry, into the gate of #GP: the sampler tries
 *    registers that the processor may refuse;
 * 4. calls pmiscope_start on core 0 and pmiscope_join on all others.
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
const TYPES: [(&str, &str); 11] = [
    ("Callbacks", "pmiscope_callbacks"),
    ("Config", "pmiscope_config"),
    ("Gate", "pmiscope_gate"),
    ("GateStack", "pmiscope_gate_stack"),
    ("Port", "pmiscope_port"),
    ("Registers", "pmiscope_registers"),
    ("Sent", "pmiscope_sent"),
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

/// What the header's examples use of a kernel.
const KERNEL: &str = r#"#include "pmiscope.h"
struct frame { uint64_t rbp, rip, cs, rflags, rsp; };
extern const char *command_line;
extern const char protection_entry[];
extern const uint32_t *apic_ids;
extern uint64_t direct_map;
extern uint32_t core, cores;
extern struct frame *frame;
void set_interrupt_stack(uint32_t core, int number, uint64_t top);
void set_gate(uint8_t vector, uint64_t entry, int interrupt_stack);
bool stack_of(uint32_t core, uint64_t address, struct pmiscope_stack *stack);
void print_line(const char *line);
void send_bytes(const uint8_t *bytes, size_t count);
int32_t receive_byte(void);
void work(void);
"#;

/// The examples in the header's comments: lines that are indented by four more.
fn examples(header: &str) -> Vec<String> {
    let mut found = vec![String::new()];
    for line in header.lines() {
        match line.strip_prefix("//     ") {
            Some(code) => *found.last_mut().unwrap() += &format!("    {code}\n"),
            None if found.last().unwrap().is_empty() => {}
            None => found.push(String::new()),
        }
    }
    found.pop();
    found
}

#[test]
fn examples_in_the_header_compile() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"));
    let header = fs::read_to_string(folder.join("pmiscope.h")).unwrap();
    let examples = examples(&header);
    let mut source = KERNEL.to_owned();
    for (number, example) in examples.iter().enumerate() {
        write!(source, "void example_{number}(void)\n{{\n{example}}}\n").unwrap();
    }
    for function in [
        "set_up_core",
        "start",
        "on_interrupt",
        "fail",
        "poll",
        "pause",
        "units",
        "send",
    ] {
        let call = format!("pmiscope_{function}(");
        assert!(
            examples.iter().any(|example| example.contains(&call)),
            "no example of {function}"
        );
    }
    let file = Path::new(env!("CARGO_TARGET_TMPDIR")).join("examples.c");
    fs::write(&file, source).unwrap();
    let compiled = Command::new("cc")
        .args([
            "-std=gnu11",
            "-Wall",
            "-Wextra",
            "-Werror",
            "-ffreestanding",
            "-fsyntax-only",
            "-I",
        ])
        .arg(folder)
        .arg(&file)
        .output()
        .expect("a C compiler");
    assert!(
        compiled.status.success(),
        "{}",
        String::from_utf8_lossy(&compiled.stderr)
    );
}

#[test]
fn each_function_says_where_it_may_be_called_and_what_it_returns() {
    const PLACES: [&str; 5] = [
        "ay be called",
        "n core 0",
        "on every other core",
        "handler",
        "in a task",
    ];
    const CALLED_LIKE: [&str; 4] = [
        "in place of pmiscope_start",
        "where that is",
        "where pmiscope_pause is",
        "in the same task",
    ];
    let header = header();
    let mut comment = String::new();
    let mut functions = 0;
    for line in header.lines() {
        if let Some(text) = line.strip_prefix("//") {
            comment += text;
        } else if line.contains(" pmiscope_") && line.contains('(') && !line.starts_with([' ', '#'])
        {
            let says = |words: &[&str]| words.iter().any(|words| comment.contains(words));
            assert!(says(&PLACES) || says(&CALLED_LIKE), "where: {line}");
            let is_void = line.starts_with("void ");
            assert!(
                is_void || says(&["eturns", "arguments, errors"]),
                "returns: {line}"
            );
            functions += 1;
            comment.clear();
        } else {
            comment.clear();
        }
    }
    assert_eq!(functions, 22, "are they found?");
}
