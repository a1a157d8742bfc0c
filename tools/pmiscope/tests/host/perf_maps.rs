//! What `import --perf` makes of code that is mapped while it is recorded, and of libraries.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use object::{Object as _, ObjectSection as _, ObjectSymbol as _};
use serde_json::{Value, json};

use crate::command::{pmiscope, report, text};
use crate::fixture::{file, folder};
use crate::foreign::{attribute, perf_file, record};

/// Where files are mapped.
const AT: u64 = 0x40_0000;
/// How many bytes of each.
const LENGTH: u64 = 0x1_0000;

/// What perf has recorded, in the order of time.
#[derive(Default)]
struct Records {
    bytes: Vec<u8>,
    time: u64,
}

impl Records {
    /// Ends with who it is of, when it was, and the CPU, as samples begin.
    fn add(&mut self, kind: u32, misc: u16, pid: u32, body: &[u8]) {
        self.time += 1;
        let who = [pid, pid].map(u32::to_le_bytes).concat();
        let when = [self.time, 0].map(u64::to_le_bytes).concat();
        let body = [body, &who, &when].concat();
        self.bytes.extend(record(kind, misc, &body));
    }

    /// A process is called so: because it executes a program, or by itself.
    fn called(&mut self, pid: u32, name: &str, executes: bool) {
        let misc = if executes { 1 << 13 } else { 0 };
        let mut body = [pid, pid].map(u32::to_le_bytes).concat();
        body.extend(padded(name));
        self.add(3, misc, pid, &body);
    }

    fn forked(&mut self, parent: u32, pid: u32) {
        let mut body = [pid, parent, pid, parent].map(u32::to_le_bytes).concat();
        body.extend(0_u64.to_le_bytes());
        self.add(7, 0, parent, &body);
    }

    /// A file is mapped from its begin.
    fn mapped(&mut self, pid: u32, path: &Path, build_id: &[u8]) {
        let mut body = [pid, pid].map(u32::to_le_bytes).concat();
        body.extend([AT, LENGTH, 0].map(u64::to_le_bytes).concat());
        body.extend([u8::try_from(build_id.len()).unwrap(), 0, 0, 0]);
        body.extend(build_id);
        body.extend([5_u32, 2].map(u32::to_le_bytes).concat());
        body.extend(padded(text(path)));
        self.add(10, 1 << 14 | 2, pid, &body);
    }

    /// A sample of a program's code.
    fn sample(&mut self, pid: u32, address: u64) {
        self.time += 1;
        let mut body = address.to_le_bytes().to_vec();
        body.extend([pid, pid].map(u32::to_le_bytes).concat());
        body.extend([self.time, 0].map(u64::to_le_bytes).concat());
        self.bytes.extend(record(9, 2, &body));
    }

    /// The profile that it becomes.
    fn imported(self, name: &str) -> PathBuf {
        // Of a sample: IP, TID, TIME, CPU; of other records the last three (sample_id_all).
        let attribute = attribute(1 | 1 << 1 | 1 << 2 | 1 << 7, 1 << 18);
        let path = file(&format!("{name}.data"), &perf_file(attribute, self.bytes));
        let output = folder().join(format!("{name}.pmi"));
        let words = ["import", "--perf", text(&path), "-o", text(&output)];
        pmiscope(&words).success();
        output
    }
}

/// A text with zeros behind it to whole words.
fn padded(text: &str) -> Vec<u8> {
    let mut bytes = text.as_bytes().to_vec();
    bytes.resize((bytes.len() / 8 + 1) * 8, 0);
    bytes
}

/// The functions with samples of their own.
fn own(path: &Path) -> Value {
    let report = report(&[text(path)]);
    let rows = report["functions"].as_array().unwrap().iter();
    let mut rows: Vec<_> = rows.map(|row| json!([row["name"], row["self"]])).collect();
    rows.sort_by_key(Value::to_string);
    rows.into()
}

/// A library with two functions of one size, of which it shows one.
struct Library {
    path: PathBuf,
    elf: Vec<u8>,
}

impl Library {
    fn compile(name: &str, shown: &str) -> Self {
        let source = format!(
            "__attribute__((visibility(\"hidden\"))) int hidden_{shown}(int a);
             int {shown}(int a) {{ return hidden_{shown}(a) + 1; }}
             int hidden_{shown}(int a) {{ return a * 3; }}"
        );
        let source = file(&format!("{name}.c"), source.as_bytes());
        let path = folder().join(name);
        let compiled = Command::new("cc")
            .args(["-O1", "-shared", "-fPIC", "-fno-toplevel-reorder"])
            .args(["-nostdlib", "-Wl,--build-id=sha1"])
            .args([&source, &PathBuf::from("-o"), &path])
            .output()
            .expect("cc, which Rust links with");
        let said = String::from_utf8_lossy(&compiled.stderr);
        assert!(compiled.status.success(), "{said}");
        let elf = fs::read(&path).unwrap();
        Self { path, elf }
    }

    fn build_id(&self) -> Vec<u8> {
        let file = object::File::parse(&*self.elf).unwrap();
        file.build_id().unwrap().unwrap().to_vec()
    }

    /// Where a function is when the file is mapped.
    fn at(&self, name: &str) -> u64 {
        let file = object::File::parse(&*self.elf).unwrap();
        let mut symbols = file.symbols();
        let symbol = symbols.find(|symbol| symbol.name() == Ok(name)).unwrap();
        let text = file.section_by_name(".text").unwrap();
        let offset = text.file_range().unwrap().0 + symbol.address() - text.address();
        assert!(offset < LENGTH);
        AT + offset
    }

    fn strip(&self, options: &[&str], to: &Path) {
        let mut objcopy = Command::new("objcopy");
        let objcopy = objcopy.args(options).arg(&self.path).arg(to);
        assert!(objcopy.status().expect("objcopy of binutils").success());
    }
}

/// Its samples before are of the program that it ran then, at the same addresses.
#[test]
fn a_process_that_executes_a_program_is_of_that_one_from_there_on() {
    let before = Library::compile("before", "first");
    let behind = Library::compile("behind", "second");
    let mut records = Records::default();
    records.called(7, "shell", false);
    records.mapped(7, &before.path, &before.build_id());
    records.sample(7, before.at("first"));
    records.called(7, "tool", true);
    // Nothing is mapped yet.
    records.sample(7, before.at("first"));
    records.mapped(7, &behind.path, &behind.build_id());
    records.sample(7, behind.at("second"));
    records.sample(7, behind.at("second"));
    records.called(7, "renamed", false);
    records.sample(7, behind.at("second"));
    let path = records.imported("executed");
    let expected = json!([
        ["[unknown]", 1],
        ["first [before]", 1],
        ["second [behind]", 3]
    ]);
    assert_eq!(own(&path), expected);
    let expected = json!([
        {"name": "renamed", "pid": 7, "samples": 4, "user": 4, "kernel": 0},
        {"name": "shell", "pid": 7, "samples": 1, "user": 1, "kernel": 0},
    ]);
    assert_eq!(report(&[text(&path)])["processes"], expected);
    for (process, samples) in [("7", 5), ("shell", 1), ("renamed", 4)] {
        let chosen = report(&[text(&path), "--process", process]);
        assert_eq!(chosen["samples"], samples, "{process}");
    }
}

#[test]
fn a_pid_that_another_process_has_had_is_of_the_one_that_has_it() {
    let old = Library::compile("old", "first");
    let mut records = Records::default();
    records.called(8, "old", false);
    records.mapped(8, &old.path, &old.build_id());
    records.sample(8, old.at("first"));
    // Of a parent of which nothing is known.
    records.forked(1, 8);
    records.sample(8, old.at("first"));
    records.forked(8, 9);
    records.sample(9, old.at("first"));
    let path = records.imported("pids");
    assert_eq!(own(&path), json!([["[unknown]", 2], ["first [old]", 1]]));
    let rows = report(&[text(&path)])["processes"].clone();
    let rows = rows.as_array().unwrap().iter();
    let rows: Vec<_> = rows.map(|row| json!([row["name"], row["pid"]])).collect();
    assert_eq!(
        rows,
        [json!(["old", 8]), json!([":8", 8]), json!([":9", 9])]
    );
}

/// Another library where one was.
#[test]
fn what_is_mapped_over_code_is_what_runs_there() {
    let one = Library::compile("one.so", "first");
    let two = Library::compile("two.so", "second");
    let address = one.at("first");
    assert_eq!(two.at("second"), address);
    let mut records = Records::default();
    records.called(7, "main", false);
    for library in [&one, &two, &one] {
        records.mapped(7, &library.path, &library.build_id());
        records.sample(7, address);
    }
    let path = records.imported("over");
    let expected = json!([["first [one.so]", 2], ["second [two.so]", 1]]);
    assert_eq!(own(&path), expected);
}

/// What a stripped library shows ends where its symbols do, unless the file that was split off it is here.
#[test]
fn code_that_a_stripped_library_does_not_show_has_no_other_ones_name() {
    let library = Library::compile("stripped.so", "shown");
    let addresses = ["shown", "hidden_shown"].map(|name| library.at(name));
    assert!(addresses[0] < addresses[1]);
    let id = library.build_id();
    let debug = folder().join("split-off.debug");
    library.strip(&["--only-keep-debug"], &debug);
    let path = folder().join("stripped.so.1");
    library.strip(&["--strip-all"], &path);
    let import = |name: &str| {
        let mut records = Records::default();
        records.called(7, "main", false);
        records.mapped(7, &path, &id);
        records.sample(7, addresses[0]);
        records.sample(7, addresses[1]);
        own(&records.imported(name))
    };
    let expected = json!([["[stripped.so.1]", 1], ["shown [stripped.so.1]", 1]]);
    assert_eq!(import("stripped"), expected);
    let hex: String = id.iter().map(|byte| format!("{byte:02x}")).collect();
    let beside = folder().join(".build-id").join(&hex[..2]);
    fs::create_dir_all(&beside).unwrap();
    fs::copy(&debug, beside.join(format!("{}.debug", &hex[2..]))).unwrap();
    let expected = json!([
        ["hidden_shown [stripped.so.1]", 1],
        ["shown [stripped.so.1]", 1]
    ]);
    assert_eq!(import("split"), expected);
}
