//! Symbols from several files: what was taken out of a kernel is found, checked, and trusted for
//! nothing that it lacks; and what is missing is said, with what it costs.

use std::fs;
use std::path::{Path, PathBuf};

use assert_cmd::Command;
use pmiscope::symbols::build_id;
use profiler::address::{CodeAddress, CodeRange};
use profiler::format::{ChainEntry, Description, State};
use serde_json::Value;

use crate::command::{VERSION, pmiscope, qemu, refused, stderr, stdout, text};
use crate::compiled::{Compiled, has, link, tool};
use crate::fixture::{Seen, description, file, folder, profile_of_files};

/// `root` calls `mid`, that calls `leaf`, in which `inlined` is. At the first instruction of
/// `leaf` the return address into `mid` is on top of the stack only.
const SOURCE: &str = "int number;\n\
    static inline __attribute__((always_inline)) int inlined(int x) {\n\
    __asm__ volatile(\".globl in_inlined\\nin_inlined: nop\"); return x * 3; }\n\
    __attribute__((noinline)) int leaf(int x) {\n\
    __asm__ volatile(\"nop\"); return inlined(x) + number; }\n\
    __attribute__((noinline)) int mid(int x) {\n\
    x = leaf(x); __asm__ volatile(\".globl in_mid\\nin_mid: nop\"); return x + 1; }\n\
    void root(void) { mid(3); __asm__ volatile(\".globl in_root\\nin_root: nop\"); for (;;); }\n";

const FLAGS: [&str; 5] = [
    "-O1",
    "-fno-omit-frame-pointer",
    "-fno-ipa-sra",
    "-fno-ipa-ra",
    "-fno-reorder-functions",
];

/// The folded stacks of [`profile`] with everything.
pub const WHOLE: &str = "root;mid;leaf 1\nroot;mid;leaf;inlined 1\n";
/// Without debug information.
pub const NO_INLINED: &str = "root;mid;leaf 2\n";

/// The kernel, in a folder of its own.
pub fn kernel(name: &str, flags: &[&str]) -> Compiled {
    let folder = folder().join(format!("{name}.d"));
    fs::create_dir_all(&folder).unwrap();
    let mut kernel = link(name, "c", SOURCE, &[&FLAGS[..], flags].concat());
    let path = folder.join("kernel");
    fs::rename(&kernel.path, &path).unwrap();
    kernel.path = path;
    kernel
}

/// What a tool makes of the kernel: a file beside it.
#[track_caller]
pub fn made(kernel: &Compiled, name: &str, program: &str, arguments: &[&str]) -> PathBuf {
    let path = kernel.path.with_file_name(name);
    let all = [arguments, &[text(&kernel.path), text(&path)]].concat();
    tool(program, &all);
    path
}

fn stripped(kernel: &Compiled) -> PathBuf {
    made(kernel, "stripped", "objcopy", &["--strip-all"])
}

pub fn debug_file(kernel: &Compiled) -> PathBuf {
    made(kernel, "debug", "objcopy", &["--only-keep-debug"])
}

/// A profile of two samples, in which this ELF is the kernel: at the first instruction of
/// `leaf`, and in `inlined`.
pub fn profile(kernel: &Compiled, elf: &Path, name: &str) -> PathBuf {
    profile_with(kernel, elf, name, &[])
}

/// The same with these debug files in it.
fn profile_with(
    kernel: &Compiled,
    elf: &Path,
    name: &str,
    debug_files: &[(&str, Vec<u8>)],
) -> PathBuf {
    let [to_mid, to_root] = ["in_mid", "in_root"].map(|label| kernel.at(label));
    let entry = Seen {
        stack_top: [to_mid.0, 0],
        ..Seen::new(0, kernel.at("leaf"), &[ChainEntry::Return(to_root)])
    };
    let mut within = Seen::new(
        1,
        kernel.at("in_inlined"),
        &[ChainEntry::Return(to_mid), ChainEntry::Return(to_root)],
    );
    within.state |= State::CALLER_KNOWN;
    let files = (&*fs::read(elf).unwrap(), debug_files);
    let profile = profile_of_files(&run_of(kernel), files, &[&[entry, within]]);
    let path = kernel.path.with_file_name(name);
    fs::write(&path, profile).unwrap();
    path
}

/// A run of the kernel on one core.
pub fn run_of(kernel: &Compiled) -> Description {
    Description {
        build_id: build_id(&kernel.elf).unwrap().0,
        cores: 1,
        text: CodeRange {
            start: CodeAddress(0),
            end: CodeAddress(u64::MAX),
        },
        ..description()
    }
}

/// The folded stacks of a profile, and what is said beside them. Nothing fails.
#[track_caller]
fn folded(profile: &Path, more: &[&str]) -> (String, String) {
    let arguments = ["export", text(profile), "--format", "folded", "-o", "-"];
    let shown = pmiscope(&[&arguments[..], more].concat()).code(0);
    (stdout(&shown), stderr(&shown))
}

/// That everything is known, and nothing is said.
#[track_caller]
fn assert_whole(profile: &Path, more: &[&str]) {
    let nothing = String::new();
    assert_eq!(
        folded(profile, more),
        (WHOLE.to_owned(), nothing),
        "{more:?}"
    );
}

/// That the report is this, with one warning that has all these parts.
#[track_caller]
pub fn assert_said(profile: &Path, more: &[&str], stacks: &str, parts: &[&str]) {
    let (found, said) = folded(profile, more);
    assert_eq!(found, stacks, "{said}");
    assert_eq!(said.lines().count(), 1, "{said}");
    for part in parts {
        assert!(said.contains(part), "`{part}` is not in {said}");
    }
}

/// Addresses in place of names.
fn unnamed(kernel: &Compiled) -> String {
    let at = |label: &str, before: u64| format!("{:#x}", kernel.at(label).0 - before);
    let callers = format!("{};{}", at("in_root", 1), at("in_mid", 1));
    let [first, second] = [at("leaf", 0), at("in_inlined", 0)];
    let mut lines = [first, second].map(|pc| format!("{callers};{pc} 1\n"));
    lines.sort();
    lines.concat()
}

const NO_NAMES: &str = "addresses stand in place of names, in 2 samples (100.00%): the kernel's ELF \
    has no symbol table, and no debug information, so inlined calls are not shown";
const NO_DEBUG_INFO: &str = "the kernel's ELF has no debug information: calls that were inlined";

#[test]
fn a_debug_file_has_names_and_the_kernel_has_code_and_callers() {
    let kernel = kernel("merged", &["-g", "-fasynchronous-unwind-tables"]);
    let whole = profile(&kernel, &kernel.path, "whole.pmi");
    let without = profile(&kernel, &stripped(&kernel), "stripped.pmi");
    assert_whole(&whole, &[]);
    assert_said(
        &without,
        &[],
        &unnamed(&kernel),
        &[NO_NAMES, "--elf", "--debug-file"],
    );
    let kept = ["--only-keep-debug"];
    let compress = |how: &'static str| ["--only-keep-debug", how];
    let mut debug_files = vec![
        made(&kernel, "kept", "objcopy", &kept),
        made(
            &kernel,
            "zlib",
            "objcopy",
            &compress("--compress-debug-sections=zlib"),
        ),
        made(
            &kernel,
            "gnu",
            "objcopy",
            &compress("--compress-debug-sections=zlib-gnu"),
        ),
    ];
    // `make test` says what it is without.
    if has("llvm-objcopy") {
        debug_files.push(made(&kernel, "llvm", "llvm-objcopy", &kept));
    }
    let of_eu = kernel.path.with_file_name("eu");
    let rest = kernel.path.with_file_name("eu-stripped");
    let outputs = ["-o", text(&rest), "-f", text(&of_eu)];
    tool("eu-strip", &[&outputs[..], &[text(&kernel.path)]].concat());
    debug_files.push(of_eu);
    for file in &debug_files {
        for profile in [&whole, &without] {
            for option in ["--debug-file", "--elf"] {
                assert_whole(profile, &[option, text(file)]);
            }
        }
    }
    // A stripped file does not take away what the profile has.
    assert_whole(&whole, &["--elf", text(&stripped(&kernel))]);
}

#[test]
fn what_is_from_which_file_is_said_in_the_report() {
    let kernel = kernel("origins", &["-g", "-fasynchronous-unwind-tables"]);
    let without = profile(&kernel, &stripped(&kernel), "stripped.pmi");
    let debug = debug_file(&kernel);
    let arguments = ["report", text(&without), "--debug-file", text(&debug)];
    let report = stdout(&pmiscope(&arguments).code(0));
    let report = report.split_whitespace().collect::<Vec<_>>().join(" ");
    let expected = format!(
        "symbols names, debug information from {}; call-frame information, code from the kernel in \
         the profile ",
        debug.display()
    );
    assert!(
        report.contains(&expected),
        "`{expected}` is not in {report}"
    );
    let json = stdout(&pmiscope(&[&arguments[..], &["--format", "json"]].concat()).code(0));
    let json: Value = serde_json::from_str(&json).unwrap();
    let profile = "the kernel in the profile";
    let expected = serde_json::json!({
        "names": [text(&debug)],
        "debug_information": text(&debug),
        "call_frame_information": [profile],
        "code": profile,
    });
    assert_eq!(json["symbols_from"], expected);
    let whole = self::profile(&kernel, &kernel.path, "whole.pmi");
    let report = stdout(&pmiscope(&["report", text(&whole)]).code(0));
    assert!(!report.contains("\nsymbols "), "{report}");
}

#[test]
fn each_file_gives_what_it_has() {
    let kernel = kernel("parts", &["-g", "-fasynchronous-unwind-tables"]);
    let without = profile(&kernel, &stripped(&kernel), "stripped.pmi");
    let symbols = made(
        &kernel,
        "symbols",
        "objcopy",
        &["--only-keep-debug", "--strip-debug"],
    );
    let dwarf = made(
        &kernel,
        "dwarf",
        "objcopy",
        &["--strip-all", "--keep-section=.debug_*"],
    );
    assert_said(
        &without,
        &["--debug-file", text(&symbols)],
        NO_INLINED,
        &[NO_DEBUG_INFO],
    );
    assert_whole(&without, &["--debug-file", text(&dwarf)]);
    assert_whole(
        &without,
        &["--debug-file", text(&symbols), "--debug-file", text(&dwarf)],
    );
    // Names of which each has some.
    let named = |name: &str, without: &str| {
        let flags = ["--strip-debug", "--strip-symbol", without];
        made(&kernel, name, "objcopy", &flags)
    };
    let [no_mid, no_leaf] = ["mid", "leaf"].map(|name| named(&format!("no-{name}"), name));
    let part = profile(&kernel, &no_mid, "part.pmi");
    assert_said(
        &part,
        &["--debug-file", text(&no_leaf)],
        NO_INLINED,
        &[NO_DEBUG_INFO],
    );
    // Instructions that only the kernel has, and names that only the debug file has.
    let decoded = self::kernel("decoded", &["-g0", "-fno-asynchronous-unwind-tables"]);
    let without = profile(&decoded, &stripped(&decoded), "stripped.pmi");
    assert_said(
        &without,
        &["--debug-file", text(&debug_file(&decoded))],
        NO_INLINED,
        &[NO_DEBUG_INFO],
    );
    // Call frames that only the debug file has.
    let kernel = self::kernel("frames", &["-g", "-fno-asynchronous-unwind-tables"]);
    let without = profile(&kernel, &stripped(&kernel), "stripped.pmi");
    assert_whole(&without, &["--debug-file", text(&debug_file(&kernel))]);
}

#[test]
fn debug_files_are_found_by_build_id_and_by_link() {
    let kernel = kernel("found", &["-g", "-fasynchronous-unwind-tables"]);
    let debug = debug_file(&kernel);
    let stripped = stripped(&kernel);
    let id = build_id(&kernel.elf).unwrap().to_string();
    let without = profile(&kernel, &stripped, "stripped.pmi");
    let by_id = kernel.path.with_file_name(".build-id").join(&id[..2]);
    fs::create_dir_all(&by_id).unwrap();
    let by_id = by_id.join(format!("{}.debug", &id[2..]));
    fs::copy(&debug, &by_id).unwrap();
    assert_whole(&without, &[]);
    // That of another kernel is left alone, and named.
    let other = self::kernel("found-other", &["-g", "-DOTHER=1", "-gno-column-info"]);
    fs::copy(debug_file(&other), &by_id).unwrap();
    assert_ne!(build_id(&other.elf).unwrap().to_string(), id);
    let is_another = format!("{} is another kernel's", by_id.display());
    assert_said(&without, &[], &unnamed(&kernel), &[NO_NAMES, &is_another]);
    fs::remove_file(&by_id).unwrap();

    let linked = kernel.path.with_file_name("linked");
    let add = format!("--add-gnu-debuglink={}", debug.display());
    tool("objcopy", &[&add, text(&stripped), text(&linked)]);
    let linked = profile(&kernel, &linked, "linked.pmi");
    assert_whole(&linked, &[]);
    let within = kernel.path.with_file_name(".debug");
    fs::create_dir_all(&within).unwrap();
    fs::rename(&debug, within.join("debug")).unwrap();
    assert_whole(&linked, &[]);
    fs::remove_dir_all(&within).unwrap();
    let folder = kernel.path.parent().unwrap().display().to_string();
    let missing = format!(
        "its .gnu_debuglink names debug, which is not in {folder}, {folder}/.debug, /usr/lib/debug"
    );
    assert_said(&linked, &[], &unnamed(&kernel), &[NO_NAMES, &missing]);
    fs::copy(debug_file(&other), &debug).unwrap();
    let stale = format!(
        "{} has neither the kernel's build-id nor the checksum",
        debug.display()
    );
    assert_said(&linked, &[], &unnamed(&kernel), &[NO_NAMES, &stale]);
}

#[test]
fn a_debug_file_of_a_debug_file_is_found() {
    let kernel = kernel("chained", &["-g", "-fasynchronous-unwind-tables"]);
    let full = debug_file(&kernel);
    let symbols = made(
        &kernel,
        "symbols",
        "objcopy",
        &["--only-keep-debug", "--strip-debug"],
    );
    let add = |to: &Path, file: &Path| {
        tool(
            "objcopy",
            &[&format!("--add-gnu-debuglink={}", file.display()), text(to)],
        );
    };
    add(&symbols, &full);
    let stripped = stripped(&kernel);
    add(&stripped, &symbols);
    let profile = profile(&kernel, &stripped, "chained.pmi");
    assert_whole(&profile, &[]);
}

#[test]
fn another_kernels_debug_file_is_refused() {
    let kernel = kernel("checked", &["-g", "-fasynchronous-unwind-tables"]);
    let other = self::kernel("checked-other", &["-g", "-gno-column-info"]);
    let without = profile(&kernel, &stripped(&kernel), "stripped.pmi");
    let [wanted, found] = [&kernel, &other].map(|it| build_id(&it.elf).unwrap().to_string());
    let report = |file: &Path, more: &[&str]| {
        let arguments = ["report", text(&without), "--debug-file", text(file)];
        pmiscope(&[&arguments[..], more].concat())
    };
    let foreign = debug_file(&other);
    let says = [
        &*format!("it has build-id {found} and the kernel {wanted}"),
        "its names would be wrong",
        "--force",
    ];
    refused(report(&foreign, &[]), 1, &says);
    let forced = stdout(&report(&foreign, &["--force"]).code(0));
    let forced = forced.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(
        forced.contains("(another kernel's); call-frame"),
        "{forced}"
    );
    let nameless = made(
        &kernel,
        "nameless",
        "objcopy",
        &["--only-keep-debug", "-R", ".note.gnu.build-id"],
    );
    refused(
        report(&nameless, &[]),
        1,
        &["it has no build-id", "may be another kernel's", "--force"],
    );
    assert_whole(&without, &["--debug-file", text(&nameless), "--force"]);
    let empty = made(
        &kernel,
        "empty",
        "objcopy",
        &["--strip-all", "-R", ".eh_frame"],
    );
    refused(
        report(&empty, &[]),
        1,
        &["it has no symbols, no debug information and no call-frame information"],
    );
    refused(
        report(Path::new("/no/file"), &[]),
        1,
        &["cannot read /no/file"],
    );
    let pipe = folder().join("checked.pipe");
    tool("mkfifo", &[text(&pipe)]);
    for (path, what) in [
        (pipe.as_path(), "a pipe (FIFO)"),
        (Path::new("/dev/zero"), "a device"),
    ] {
        let says = format!("cannot read {}: it is {what}, not a file", path.display());
        refused(report(path, &[]), 1, &[&says]);
        refused(
            pmiscope(&["report", text(&without), "--elf", text(path)]),
            1,
            &[&says],
        );
        refused(pmiscope(&["run", "--kernel", text(path)]), 1, &[&says]);
    }
    let source = folder().join("checked.c");
    refused(report(&source, &[]), 1, &["it is no ELF file but text"]);
}

#[test]
fn debug_information_in_a_file_of_several_is_found_or_missed() {
    let flags = ["-g", "-gdwarf-4", "-fasynchronous-unwind-tables"];
    let kernel = kernel("shared", &flags);
    let other = self::kernel(
        "shared-other",
        &[&flags[..], &["-gno-column-info"]].concat(),
    );
    let [debug, second] = [debug_file(&kernel), debug_file(&other)];
    let shared = kernel.path.with_file_name("shared");
    let common = ["-m", text(&shared), "-M", "shared"];
    tool(
        "dwz",
        &[&common[..], &[text(&debug), text(&second)]].concat(),
    );
    let without = profile(&kernel, &stripped(&kernel), "stripped.pmi");
    assert_whole(&without, &["--debug-file", text(&debug)]);
    let away = other.path.with_file_name("away");
    fs::rename(&shared, &away).unwrap();
    assert_said(
        &without,
        &["--debug-file", text(&debug)],
        NO_INLINED,
        &[
            "the debug information has parts in another file (dwz, .gnu_debugaltlink), shared (build-id ",
        ],
    );
    let both = ["--debug-file", text(&away), "--debug-file", text(&debug)];
    assert_whole(&without, &both);
    // In the profile they find each other.
    let files = [("shared", &away), ("debug", &debug)];
    let files = files.map(|(name, file)| (name, fs::read(file).unwrap()));
    let embedded = profile_with(&kernel, &stripped(&kernel), "embedded.pmi", &files);
    assert_whole(&embedded, &[]);
}

#[test]
fn a_run_keeps_the_debug_file_in_its_profile() {
    let carried = folder().join("carried");
    fs::create_dir_all(&carried).unwrap();
    let original = crate::fixture::kernel();
    let [debug, stripped] = ["debug", "kernel"].map(|name| carried.join(name));
    tool(
        "objcopy",
        &["--only-keep-debug", text(&original.path), text(&debug)],
    );
    let add = format!("--add-gnu-debuglink={}", debug.display());
    tool(
        "objcopy",
        &["--strip-all", &add, text(&original.path), text(&stripped)],
    );
    let qemu = qemu("carried.sh", VERSION, "boot; exit 33");
    let run = |more: &[&str], output: &Path| {
        let kernel = text(&stripped);
        let all = [
            "run",
            "--kernel",
            kernel,
            "--loader",
            kernel,
            "--qemu",
            text(&qemu),
            "-o",
        ];
        pmiscope(&[&all[..], &[text(output)], more].concat())
    };
    let whole = carried.join("whole.pmi");
    let ran = run(&[], &whole);
    let report = stdout(&ran);
    assert!(report.contains("kernel::workload::hash::run"), "{report}");
    // On another machine there is nothing beside it.
    let away = carried.join("away");
    fs::create_dir_all(&away).unwrap();
    let moved = away.join("whole.pmi");
    fs::rename(&whole, &moved).unwrap();
    let status = ran.get_output().status.code().unwrap();
    assert_eq!(
        stdout(&pmiscope(&["report", text(&moved)]).code(status)),
        report
    );
    // Named, and not found.
    fs::rename(&debug, away.join("renamed")).unwrap();
    let named = away.join("renamed");
    let report = stdout(&run(&["--debug-file", text(&named)], &whole));
    assert!(report.contains("kernel::workload::hash::run"), "{report}");
    refused(
        run(
            &["--debug-file", text(&crate::fixture::other_kernel().path)],
            &whole,
        ),
        1,
        &["--debug-file", "its names would be wrong"],
    );
    let said = stderr(&run(&[], &whole));
    assert!(said.contains("addresses stand in place of names"), "{said}");
    assert!(
        said.contains("its .gnu_debuglink names debug, which is not in"),
        "{said}"
    );
}

#[test]
fn code_without_debug_information_is_said_where_other_code_has_it() {
    let other = folder().join("half-other.c");
    fs::write(
        &other,
        "int second(int x) { __asm__ volatile(\"nop\"); return x * 7; }\n",
    )
    .unwrap();
    let object = folder().join("half-other.o");
    let flags = [
        "-O1",
        "-ffreestanding",
        "-fno-pie",
        "-mcmodel=kernel",
        "-g0",
        "-c",
    ];
    tool(
        "cc",
        &[&flags[..], &[text(&other), "-o", text(&object)]].concat(),
    );
    // Tables of a crate have no unit in debug information, and no code that would need one.
    let tables = folder().join("half-tables.s");
    fs::write(&tables, ".file \"tables.0a1b-cgu.0\"\n.data\n.byte 1\n").unwrap();
    let data = folder().join("half-tables.o");
    tool("cc", &["-c", text(&tables), "-o", text(&data)]);
    let kernel = kernel("half", &["-g", text(&object), text(&data)]);
    let of = |name: &str, places: &[(&str, u32)]| {
        let places = places
            .iter()
            .flat_map(|&(label, count)| (0..count).map(move |_| label));
        let seen: Vec<_> = (0..)
            .zip(places)
            .map(|(sequence, label)| {
                let mut seen = Seen::new(sequence, kernel.at(label), &[]);
                seen.state |= State::CALLER_KNOWN;
                seen
            })
            .collect();
        let path = kernel.path.with_file_name(name);
        let profile = profile_of_files(&run_of(&kernel), (&kernel.elf, &[]), &[&seen]);
        fs::write(&path, profile).unwrap();
        path
    };
    let both = of("both.pmi", &[("second", 3), ("in_mid", 1)]);
    assert_said(
        &both,
        &[],
        "mid 1\nsecond 3\n",
        &[
            "inlined calls are not shown in 3 samples (75.00%)",
            "(without it: half-other.c)",
        ],
    );
    assert_eq!(
        folded(&of("one.pmi", &[("in_mid", 4)]), &[]),
        ("mid 4\n".to_owned(), String::new())
    );
}

#[test]
fn assembly_has_nothing_to_lose() {
    let source =
        ".text\n.globl function\n.type function, @function\nfunction: nop\n.size function, 1\n";
    let kernel = link("only-assembly", "s", source, &[]);
    let seen = Seen::new(0, kernel.at("function"), &[]);
    let profile = profile_of_files(&run_of(&kernel), (&kernel.elf, &[]), &[&[seen]]);
    let path = file("only-assembly.pmi", &profile);
    let arguments = ["export", text(&path), "--format", "folded", "-o", "-"];
    let shown = pmiscope(&arguments);
    assert_eq!(stdout(&shown), "function 1\n");
    assert!(
        !stderr(&shown).contains("debug information"),
        "{}",
        stderr(&shown)
    );
}

#[test]
fn names_are_doubted_of_code_that_no_symbol_covers() {
    let kernel = kernel("uncovered", &["-g0", "-fasynchronous-unwind-tables"]);
    let without = |function: &str, label: &str| {
        let flags = ["--strip-symbol", function, "--strip-symbol", label];
        made(&kernel, "gone", "objcopy", &flags)
    };
    let says = "are missing or may be wrong: no symbol covers that code";
    // `mid` has the name of `leaf` before it. It is only called in the first two samples.
    let gone = without("mid", "in_mid");
    let (stacks, said) = folded(&profile(&kernel, &gone, "callers.pmi"), &[]);
    assert_eq!(stacks, "root;leaf;leaf 2\n");
    assert!(!said.contains(says), "{said}");
    let mut seen = Seen::new(0, kernel.at("in_mid"), &[]);
    seen.state |= State::CALLER_KNOWN;
    let files = (&*fs::read(&gone).unwrap(), &[][..]);
    let sampled = profile_of_files(&run_of(&kernel), files, &[&[seen]]);
    let (stacks, said) = folded(&file("uncovered.pmi", &sampled), &[]);
    assert_eq!(stacks, "leaf 1\n");
    let one = format!("the names of 1 sample (100.00%) {says}");
    assert!(said.contains(&one), "{said}");
    // Nothing is before `leaf`.
    let gone = without("leaf", "in_inlined");
    let (_, said) = folded(&profile(&kernel, &gone, "gone.pmi"), &[]);
    let both = format!("the names of 2 samples (100.00%) {says}");
    assert!(said.contains(&both), "{said}");
}

#[test]
fn what_is_damaged_is_named_and_another_file_takes_its_place() {
    use object::{Object as _, ObjectSection as _};
    let kernel = kernel("damaged", &["-g", "-fasynchronous-unwind-tables"]);
    let whole = profile(&kernel, &kernel.path, "whole.pmi");
    let packed = made(
        &kernel,
        "packed",
        "objcopy",
        &["--compress-debug-sections=zlib"],
    );
    let mut bytes = fs::read(&packed).unwrap();
    let parsed = object::File::parse(&*bytes).unwrap();
    let (start, size) = parsed
        .section_by_name(".debug_info")
        .unwrap()
        .file_range()
        .unwrap();
    // Behind the header of 24 bytes.
    let range = usize::try_from(start).unwrap() + 24..usize::try_from(start + size).unwrap();
    bytes[range].fill(0xff);
    fs::write(&packed, &bytes).unwrap();
    let damaged = profile(&kernel, &packed, "damaged.pmi");
    let says = "damaged, and cannot be read: .debug_info of the kernel in the profile: the report does \
        without (2 samples in code without debug information";
    assert_said(&damaged, &[], NO_INLINED, &[says]);
    let says = format!(
        ".debug_info of {}: the report does without (0 samples",
        packed.display()
    );
    assert_said(&whole, &["--elf", text(&packed)], WHOLE, &[&says]);

    // A symbol table that is not in the file costs names, and not callers.
    let mut bytes = fs::read(stripped(&kernel)).unwrap();
    assert!(build_id(&bytes).is_ok());
    bytes.clone_from(&kernel.elf);
    let table = table_of_symbols(&bytes);
    bytes[table + 24..table + 32].copy_from_slice(&(1_u64 << 40).to_le_bytes());
    let beyond = kernel.path.with_file_name("beyond");
    fs::write(&beyond, &bytes).unwrap();
    let damaged = profile(&kernel, &beyond, "beyond.pmi");
    assert_said(
        &damaged,
        &[],
        WHOLE,
        &[
            "damaged, and cannot be read: .symtab of the kernel in the profile: the report does \
           without (0 samples without a name)",
        ],
    );
    assert_said(&whole, &["--elf", text(&beyond)], WHOLE, &[".symtab of "]);
}

/// Where the header of the symbol table is (ELF-64: 64 bytes each, the type behind 4).
fn table_of_symbols(elf: &[u8]) -> usize {
    let number = |at: usize, bytes: usize| {
        let bytes = elf[at..at + bytes].iter().rev();
        bytes.fold(0, |sum, &byte| sum << 8 | usize::from(byte))
    };
    let (start, count) = (number(40, 8), number(60, 2));
    let mut headers = (0..count).map(|index| start + index * 64);
    headers
        .find(|at| number(at + 4, 4) == 2)
        .expect("a symbol table")
}

#[test]
fn a_kernel_in_a_profile_that_is_no_elf_file_is_said() {
    let kernel = kernel("no-elf", &["-g", "-fasynchronous-unwind-tables"]);
    let nothing = kernel.path.with_file_name("nothing");
    fs::write(&nothing, b"not it").unwrap();
    let profile = profile(&kernel, &nothing, "nothing.pmi");
    let shown = pmiscope(&["report", text(&profile)]).code(3);
    let said = stderr(&shown);
    assert!(
        said.contains("damaged, and cannot be read: the kernel in the profile"),
        "{said}"
    );
    assert!(stdout(&shown).contains("100.00%"), "{}", stdout(&shown));
}

/// What is no kernel is refused before anything is started, in a line that says what it is.
#[test]
fn files_that_are_no_kernels_are_refused_by_what_they_are() {
    let kernel = kernel("none", &["-g"]);
    let changed = |name: &str, at: usize, to: &[u8]| {
        let mut bytes = kernel.elf.clone();
        bytes[at..at + to.len()].copy_from_slice(to);
        let path = kernel.path.with_file_name(name);
        fs::write(&path, bytes).unwrap();
        path
    };
    let other = |name: &str, content: &[u8]| {
        let path = kernel.path.with_file_name(name);
        fs::write(&path, content).unwrap();
        path
    };
    let object = kernel.path.with_file_name("object.o");
    let source = folder().join("none.c");
    tool(
        "cc",
        &["-ffreestanding", "-c", text(&source), "-o", text(&object)],
    );
    let library = kernel.path.with_file_name("library.so");
    let flags = [
        "-ffreestanding",
        "-nostdlib",
        "-shared",
        "-fPIC",
        "-Wl,-e,0",
        "-Wl,--build-id=sha1",
    ];
    tool(
        "cc",
        &[&flags[..], &[text(&source), "-o", text(&library)]].concat(),
    );
    let mut image = vec![0; 0x400];
    image[0x202..0x206].copy_from_slice(b"HdrS");
    let segments = u64::from_le_bytes(kernel.elf[32..40].try_into().unwrap());
    let size_in_file = usize::try_from(segments).unwrap() + 32;
    let debug_only = "it holds debug information only, its segments have no bytes";
    let mut cases = vec![
        (debug_file(&kernel), debug_only),
        (object, "it is an object file, which is not linked yet"),
        (library, "it is a shared library, which has no entry"),
        (changed("core", 16, &[4]), "it is a core dump and no kernel"),
        (changed("type", 16, &[9]), "it is an ELF file of type 9"),
        (changed("32", 4, &[1]), "it is a 32-bit ELF file"),
        (changed("big", 5, &[2]), "for a big-endian processor"),
        (changed("arm", 18, &[0xb7]), "for aarch64"),
        (changed("risc", 18, &[0xf3]), "for riscv"),
        (
            changed("more", size_in_file, &[0, 0, 0, 0x40]),
            "it is cut short: segment 0 ends at byte",
        ),
        (
            other("cut", &kernel.elf[..3000]),
            "it is cut short: its table of sections ends at byte",
        ),
        (other("empty", b""), "it is empty"),
        (other("image", &image), "a Linux bzImage: give its vmlinux"),
        (
            other("packed", b"\x1f\x8b\x08\0\0"),
            "compressed (gzip): unpack it",
        ),
        (
            other("library.a", b"!<arch>\n"),
            "a static library: link it",
        ),
        (
            other("words", b"some words\n"),
            "it is no ELF file but text",
        ),
        (
            other("noise", &[0, 1, 2, 0xff]),
            "it is no ELF file: give the kernel's",
        ),
        (folder().to_owned(), "not a file"),
    ];
    if Path::new("/lib64/ld-linux-x86-64.so.2").exists() {
        cases.push((
            "/bin/sh".into(),
            "it is a program for Linux, which asks for /lib",
        ));
    }
    for (path, says) in &cases {
        refused(pmiscope(&["run", "--kernel", text(path)]), 1, &[says]);
    }
    // Wherever a kernel is given.
    let ram = text(crate::fixture::image());
    let debug = text(&cases[0].0);
    for arguments in [
        &["stat", "--kernel", debug][..],
        &["list", "--kernel", debug],
        &["attach", "--ram", ram, "--once", "--kernel", debug],
    ] {
        let mut command = Command::new(env!("CARGO_BIN_EXE_pmiscope"));
        let said = stderr(&command.args(arguments).assert().code(1));
        assert!(said.contains(debug_only), "{arguments:?}: {said}");
    }
}
