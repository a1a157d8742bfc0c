//! What code is called: each kind of symbol, and of debug information that is split off,
//! damaged or wrong.

use std::path::Path;
use std::process::Command;

use pmiscope::internals::entry_of;
use pmiscope::symbols::Symbols;
use profiler::address::{CodeAddress, CodeRange};

use crate::command::{pmiscope, stderr, stdout, text};
use crate::compiled::{Compiled, has, link, link_by, names, tool};
use crate::fixture::{Seen, description, file, folder, profile_of, profile_of_kernel};

/// Symbols of all kinds. What is at each `at_X` is in a comment.
const SOURCE: &str = r#"
.text
.globl first_label
first_label:
at_first_label = . - first_label
    nop
    nop
.L_assemblers:
    nop
.globl function
.type function, @function
function:
    nop
.globl label_within
label_within:
    nop
.size function, . - function
    nop             /* behind its end: function's */
.globl label_behind
label_behind:
    nop
$x.1:               /* no name: label_behind's */
    nop
.type sized_label, @notype
.globl sized_label
sized_label:
    nop
.globl in_sized_label
in_sized_label:
    nop
.size sized_label, . - sized_label

/* Of aliases, a function goes before a label, then a global one before a weak before a local
   one, whatever their order. */
.globl alias_label
alias_label:
alias_local:
.type alias_local, @function
.weak alias_weak
alias_weak:
.type alias_weak, @function
.globl alias_global
alias_global:
.type alias_global, @function
    nop
.size alias_local, 1
.size alias_weak, 1
.size alias_global, 1

.weak weak_label
weak_label:
local_label:
    nop
.globl chosen_at_run_time
.type chosen_at_run_time, @gnu_indirect_function
chosen_at_run_time:
    nop
.size chosen_at_run_time, 1

.globl not_utf8_X
.type not_utf8_X, @function
not_utf8_X:
    nop
.size not_utf8_X, 1

.type _ZN4kern3runERNS_5QueueIiEEi, @function
.globl _ZN4kern3runERNS_5QueueIiEEi
_ZN4kern3runERNS_5QueueIiEEi:
    nop
.size _ZN4kern3runERNS_5QueueIiEEi, 1

.section .other, "ax"
    nop             /* the label of another section is none here */
.globl other_label
other_label:
    nop

.section .rodata
.globl constant
constant: .quad 0
.globl absolute
absolute = 0xffffffff80100001
.section .note.GNU-stack,"",@progbits
"#;

fn all_kinds() -> Compiled {
    let mut kernel = link(
        "names",
        "s",
        SOURCE,
        &["-Wl,--section-start=.other=0xffffffff80200000"],
    );
    // A byte that is no UTF-8.
    let at = kernel
        .elf
        .windows(10)
        .position(|it| it == b"not_utf8_X")
        .unwrap();
    kernel.elf[at + 9] = 0xff;
    kernel
}

#[test]
fn each_kind_of_symbol_names_what_it_is_said_to() {
    let kernel = all_kinds();
    let mut symbols = kernel.symbols();
    let mut name = |label: &str, offset: u64| {
        let address = CodeAddress(kernel.at(label).0.wrapping_add(offset));
        names(&mut symbols, address).join(" in ")
    };
    for (label, offset, expected) in [
        ("first_label", 0, "first_label"),
        ("first_label", 1, "first_label"),
        ("first_label", 2, "first_label"),
        ("function", 0, "function"),
        ("label_within", 0, "function"),
        ("label_within", 1, "function"),
        ("label_behind", 0, "label_behind"),
        ("label_behind", 1, "label_behind"),
        ("sized_label", 0, "sized_label"),
        ("in_sized_label", 0, "sized_label"),
        ("alias_label", 0, "alias_global"),
        ("weak_label", 0, "weak_label"),
        ("chosen_at_run_time", 0, "chosen_at_run_time"),
        (
            "_ZN4kern3runERNS_5QueueIiEEi",
            0,
            "kern::run(kern::Queue<int>&, int)",
        ),
        ("other_label", 0, "other_label"),
        ("other_label", 1_u64.wrapping_neg(), "0xffffffff80200000"),
        ("other_label", 1, "0xffffffff80200002"),
    ] {
        assert_eq!(name(label, offset), expected, "{label} + {offset}");
    }
    let not_utf8 = CodeAddress(kernel.at("chosen_at_run_time").0 + 1);
    assert_eq!(names(&mut symbols, not_utf8), ["not_utf8_\u{fffd}"]);
}

#[test]
fn aims_are_at_what_has_a_name() {
    let kernel = all_kinds();
    let entry = |name: &str| entry_of(&kernel.elf, name).ok();
    for name in [
        "first_label",
        "label_within",
        "chosen_at_run_time",
        "alias_weak",
    ] {
        assert_eq!(entry(name), Some(kernel.at(name)), "{name}");
    }
    let run = kernel.at("_ZN4kern3runERNS_5QueueIiEEi");
    for name in ["run", "kern::run", "kern::run(kern::Queue<int>&, int)"] {
        assert_eq!(entry(name), Some(run), "{name}");
    }
    for name in ["constant", "absolute", "$x.1", "names.s"] {
        assert_eq!(entry(name), None, "{name}");
    }
}

/// Two files that have a static function of the same name, in the same line. They are in these
/// folders and compiled with these flags.
fn twins(name: &str, files: [(&str, &str); 2]) -> Compiled {
    let main = "void a(void), b(void); void main_of_both(void) { a(); b(); }";
    let compile = |of: &str, (path, debug): (&str, &str)| {
        let all = folder().join(format!("{name}-files"));
        let path = all.join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        let source = format!(
            "static __attribute__((noinline)) void init(void) {{ __asm__(\"nop\"); }}\n\
             void {of}(void) {{ init(); __asm__(\"\"); }}\n"
        );
        std::fs::write(&path, source).unwrap();
        let compiled = Command::new("cc")
            .current_dir(path.parent().unwrap())
            .args([
                debug,
                "-O1",
                "-ffreestanding",
                "-fno-pie",
                "-mcmodel=kernel",
                "-c",
            ])
            .arg(path.file_name().unwrap())
            .status();
        assert!(compiled.unwrap().success());
        text(&path.with_extension("o")).to_owned()
    };
    let objects = [compile("a", files[0]), compile("b", files[1])];
    link(name, "c", main, &objects.each_ref().map(String::as_str))
}

/// The addresses of the functions that `a` and `b` call.
fn called(kernel: &Compiled) -> [CodeAddress; 2] {
    use object::{Object as _, ObjectSymbol as _};
    let file = object::File::parse(&*kernel.elf).unwrap();
    ["a", "b"].map(|caller| {
        // Each stands behind its own `init`, or before it.
        let caller = kernel.at(caller).0;
        let inits = file.symbols().filter(|it| it.name() == Ok("init"));
        let nearest = inits.min_by_key(|it| it.address().abs_diff(caller));
        CodeAddress(nearest.unwrap().address())
    })
}

#[test]
fn two_static_functions_of_one_name_are_told_apart() {
    const FOLDERS: [&str; 2] = ["a/file.c", "b/file.c"];
    for (name, [first, second], debug, places) in [
        (
            "folders-g",
            FOLDERS,
            ["-g"; 2],
            ["a/file.c:1", "b/file.c:1"],
        ),
        ("files-g0", ["a.c", "b.c"], ["-g0"; 2], ["a.c", "b.c"]),
        // Debug information of one of them only.
        (
            "files-partly",
            ["a.c", "b.c"],
            ["-g", "-g0"],
            ["a.c:1", "b.c"],
        ),
        // The symbol table has no folders.
        ("folders-g0", FOLDERS, ["-g0"; 2], ["", ""]),
    ] {
        let kernel = twins(name, [(first, debug[0]), (second, debug[1])]);
        let called = called(&kernel);
        let mut symbols = kernel.symbols();
        symbols.resolve(called);
        let ids = called.map(|at| symbols.frames(at)[0].function);
        assert_ne!(ids[0], ids[1], "{name}");
        let labels = ids.map(|id| symbols.label(id).to_owned());
        let functions = ids.map(|id| symbols.function(id));
        assert_ne!(functions[0], functions[1], "{name}");
        if places[0].is_empty() {
            let names = called.map(|at| format!("init ({:#x})", at.0));
            assert_eq!(functions.map(|it| it.name.clone()), names, "{name}");
            assert_eq!(labels, names, "{name}");
        } else {
            assert_eq!(functions.map(|it| &*it.name), ["init"; 2], "{name}");
            assert_eq!(
                labels,
                places.map(|place| format!("init ({place})")),
                "{name}"
            );
            let files = places.map(|place| place.split(':').next());
            assert_eq!(functions.map(|it| it.file.as_deref()), files, "{name}");
        }
        // Alone, one has its name as it is.
        let mut symbols = kernel.symbols();
        symbols.resolve([called[0]]);
        let id = symbols.frames(called[0])[0].function;
        assert_eq!(symbols.label(id), "init", "{name}");
    }
}

#[test]
fn flame_graphs_and_json_tell_functions_of_one_name_apart() {
    let kernel = twins("twins-shown", [("a.c", "-g0"), ("b.c", "-g")]);
    let called = called(&kernel);
    let run = profiler::format::Description {
        build_id: pmiscope::symbols::build_id(&kernel.elf).unwrap().0,
        cores: 1,
        ..description()
    };
    let samples =
        [(0, 0), (1, 1), (2, 1)].map(|(sequence, index)| Seen::new(sequence, called[index], &[]));
    let profile = profile_of_kernel(&kernel.elf, &run, &[&samples]);
    let path = file("twins.pmi", &profile);
    let path = text(&path);
    let folded = folder().join("twins.folded");
    let arguments = ["export", path, "--format", "folded", "-o", text(&folded)];
    let _ = pmiscope(&arguments).code(0);
    let folded = std::fs::read_to_string(&folded).unwrap();
    assert_eq!(folded, "init (a.c) 1\ninit (b.c:1) 2\n");
    let json = stdout(&pmiscope(&["report", path, "--format", "json"]).code(0));
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    let rows = json["functions"].as_array().unwrap().iter();
    let rows: Vec<_> = rows
        .map(|row| (&row["name"], &row["file"], &row["line"], &row["self"]))
        .collect();
    let row = |file: &str, line: serde_json::Value, own: u64| {
        (
            serde_json::json!("init"),
            serde_json::json!(file),
            line,
            serde_json::json!(own),
        )
    };
    let expected = [
        row("b.c", 1.into(), 2),
        row("a.c", serde_json::Value::Null, 1),
    ];
    let expected: Vec<_> = expected.iter().map(|(a, b, c, d)| (a, b, c, d)).collect();
    assert_eq!(rows, expected);
}

#[test]
fn the_symbol_table_goes_before_a_name_that_is_not_the_linked_one() {
    // What says `was_here` and has no linkage name is where `is_here` is.
    let source = "void is_here(void) { __asm__(\"nop\"); }\n\
        void local(void) { __asm__(\"nop\"); }\n\
        void also(void) __attribute__((alias(\"local\")));";
    let mut kernel = link(
        "disagree",
        "c",
        source,
        &["-g", "-O1", "-fno-dwarf2-cfi-asm"],
    );
    let mut symbols = kernel.symbols();
    assert_eq!(names(&mut symbols, kernel.at("is_here")), ["is_here"]);
    // Agreeing with any name of the code is enough: the place it is declared in stays known.
    symbols.resolve([kernel.at("also")]);
    let function = symbols.frames(kernel.at("also"))[0].function;
    assert_eq!(symbols.function(function).name, "local");
    assert!(symbols.function(function).line.is_some());
    // Names of DWARF are in .debug_str or in the entry, those of symbols in .strtab: rename
    // the former.
    use object::{Object as _, ObjectSection as _};
    let file = object::File::parse(&*kernel.elf).unwrap();
    let ranges: Vec<_> = [".debug_str", ".debug_info"]
        .into_iter()
        .filter_map(|name| file.section_by_name(name)?.file_range())
        .collect();
    let mut renamed = 0;
    for (start, size) in ranges {
        let range = usize::try_from(start).unwrap()..usize::try_from(start + size).unwrap();
        for at in range {
            if kernel.elf[at..].starts_with(b"is_here\0") {
                kernel.elf[at..at + 7].copy_from_slice(b"was_her");
                renamed += 1;
            }
        }
    }
    assert_eq!(renamed, 1);
    let mut symbols = kernel.symbols();
    assert_eq!(names(&mut symbols, kernel.at("is_here")), ["is_here"]);
}

#[test]
fn functions_of_cpp_have_their_names() {
    if !has("g++") {
        eprintln!("skipped: there is no g++");
        return;
    }
    let source = "namespace kern { template <class T> struct Queue { T last; };\n\
        int run(Queue<int> &queue, int more) { return queue.last += more; } }\n";
    for flags in [&["-g"][..], &["-g0"]] {
        let flags = [flags, &["-O1", "-fno-exceptions"]].concat();
        let kernel = link_by("g++", "cpp", "cc", source, &flags);
        let run = kernel.at("_ZN4kern3runERNS_5QueueIiEEi");
        assert_eq!(
            names(&mut kernel.symbols(), run),
            ["kern::run(kern::Queue<int>&, int)"]
        );
    }
}

const INLINED: &str = "static inline __attribute__((always_inline)) void inlined(void) {\n\
    __asm__ volatile(\".globl in_inlined\\nin_inlined: nop\"); }\n\
    void outer(void) { inlined(); }\n";

/// Asserts what is found of a kernel whose debug information is split off, and what is said
/// of it.
#[track_caller]
fn assert_split(kernel: &Compiled, has_inlined: bool, flavour: &str) {
    let at = kernel.at("in_inlined");
    let everything = CodeRange {
        start: CodeAddress(0),
        end: CodeAddress(u64::MAX),
    };
    let mut symbols = Symbols::of_run(&kernel.elf, everything, &kernel.path).unwrap();
    let expected: &[&str] = if has_inlined {
        &["inlined", "outer"]
    } else {
        &["outer"]
    };
    assert_eq!(names(&mut symbols, at), expected, "{flavour}");
    let run = profiler::format::Description {
        text: everything,
        cores: 1,
        ..description()
    };
    let mut seen = Seen::new(0, at, &[]);
    seen.state |= profiler::format::State::CALLER_KNOWN;
    let path = file("split.pmi", &profile_of(&run, &[seen]));
    let arguments = [
        "report",
        text(&path),
        "--force",
        "--elf",
        text(&kernel.path),
    ];
    let said = stderr(&pmiscope(&arguments).code(0));
    if has_inlined {
        assert_eq!(said, "", "{flavour}");
    } else {
        assert_eq!(said.lines().count(), 1, "{flavour}: {said}");
        let looked_in = folder().display().to_string();
        for part in ["inlined calls of 1 unit", "-gsplit-dwarf", &looked_in] {
            assert!(said.contains(part), "{flavour}: `{part}` is not in {said}");
        }
    }
}

#[test]
fn debug_information_that_is_split_off_is_found_or_missed() {
    for version in ["-gdwarf-4", "-gdwarf-5"] {
        let name = format!("split{version}");
        let flags = ["-g", version, "-gsplit-dwarf", "-O1"];
        let kernel = link(&name, "c", INLINED, &flags);
        // The compiler puts it where the output goes, or in its own folder.
        let found = |name: &str| {
            let places = [folder().join(name), Path::new(".").join(name)];
            places.into_iter().find(|path| path.is_file())
        };
        let names = [format!("{name}-{name}.dwo"), format!("{name}.dwo")];
        let dwo = names
            .iter()
            .find_map(|name| found(name))
            .expect("a .dwo file");
        assert_split(&kernel, true, version);
        let package = folder().join(format!("{name}.dwp"));
        // That of binutils leaves units of DWARF 5 out.
        let of_binutils = (version == "-gdwarf-4").then_some("dwp");
        let packers = of_binutils.into_iter().chain(["llvm-dwp"]);
        let packer = packers.into_iter().find(|program| has(program));
        let packed = packer.is_some();
        if let Some(program) = packer {
            tool(program, &["-o", text(&package), text(&dwo)]);
        } else {
            eprintln!("packages of {version} are skipped: there is no llvm-dwp");
        }
        // One of another unit is none.
        std::fs::write(&dwo, b"not it").unwrap();
        if packed {
            assert_split(&kernel, true, "package");
            std::fs::remove_file(&package).unwrap();
        }
        assert_split(&kernel, false, version);
        std::fs::remove_file(&dwo).unwrap();
        assert_split(&kernel, false, version);
    }
}

#[test]
fn a_damaged_unit_costs_its_own_names() {
    let other = folder().join("other-unit.c");
    std::fs::write(
        &other,
        INLINED
            .replace("inlined", "second")
            .replace("outer", "other"),
    )
    .unwrap();
    for version in ["-gdwarf-4", "-gdwarf-5"] {
        let flags = ["-g", version, "-O1", text(&other)];
        let mut kernel = link("damaged-unit", "c", INLINED, &flags);
        let [first, second] = ["in_inlined", "in_second"].map(|label| kernel.at(label));
        let of = |kernel: &Compiled| {
            let mut symbols = kernel.symbols();
            let found = [first, second].map(|at| names(&mut symbols, at).join(" in "));
            (found, symbols.unreadable_units())
        };
        let whole = ["inlined in outer", "second in other"].map(str::to_owned);
        assert_eq!(of(&kernel), (whole, 0));
        use object::{Object as _, ObjectSection as _};
        let file = object::File::parse(&*kernel.elf).unwrap();
        let (start, _) = file
            .section_by_name(".debug_info")
            .unwrap()
            .file_range()
            .unwrap();
        let start = usize::try_from(start).unwrap();
        let original = kernel.elf.clone();
        // Linked in the order of the command line: `other` first. Its version, its root's
        // abbreviation, and where its abbreviations are.
        let offset = if version == "-gdwarf-4" { 6 } else { 8 };
        let root = if version == "-gdwarf-4" { 11 } else { 12 };
        for (at, value) in [(4, 0x77), (root, 0x7f), (offset + 3, 0x7f)] {
            kernel.elf[start + at] = value;
            let (found, unreadable) = of(&kernel);
            assert_eq!(unreadable, 1, "{version}: byte {at}");
            let mut left = found.to_vec();
            left.sort();
            let one = ["inlined in outer", "other"].map(str::to_owned);
            let other = ["outer", "second in other"].map(str::to_owned);
            assert!(
                left == one || left == other,
                "{version}: byte {at}: {left:?}"
            );
            kernel.elf.clone_from(&original);
        }
        // The table of addresses says where the next unit begins if a length does not.
        kernel.elf[start + 3] = 0x7f;
        let left = ["inlined in outer", "other"].map(str::to_owned);
        assert_eq!(of(&kernel), (left, 1), "{version}");
    }
}
