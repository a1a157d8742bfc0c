//! What code is called: each kind of symbol, and of debug information that is split off,
//! damaged or wrong.

use std::path::Path;
use std::process::Command;

use pmiscope::internals::entry_of;
use pmiscope::symbols::Symbols;
use profiler::address::{CodeAddress, CodeRange};

use crate::command::{pmiscope, stderr, stdout, text};
use crate::compiled::{Compiled, has, link, link_by, names, tool};
use crate::fixture::{Seen, description, file, folder, profile_of, profile_of_files};

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

/// What tables get wrong, or have beside code. What is at each `at_X` is in a comment.
const ODD: &str = r#"
.text
.globl too_small
.type too_small, @function
too_small:
    nop
    nop             /* behind its end: its own all the same */
.size too_small, 1
.globl too_large
.type too_large, @function
too_large:
    nop
.size too_large, 0x1000
.globl overlapped
.type overlapped, @function
overlapped:
    nop             /* the one that begins last */
.size overlapped, 1
.globl behind_overlapped
behind_overlapped:
    nop             /* too_large's */
.globl without_size
.type without_size, @function
without_size:
    nop             /* too_large's, which says its size */

.section .second, "ax"
.globl alias_with_size
alias_without_size:
.globl alias_without_size
.type alias_without_size, @function
alias_with_size:
.type alias_with_size, @function
__alias_with_size:
.globl __alias_with_size
.type __alias_with_size, @function
    nop
.size __alias_with_size, 1
.size alias_with_size, 1

.globl executed_data
.type executed_data, @object
executed_data:
    nop             /* nothing else is said to be there */
    nop
.size executed_data, 2
.globl data_without_size
.type data_without_size, @object
data_without_size:
    nop             /* no name: the function before */

.globl versioned_2
.type versioned_2, @function
versioned_2:
    nop
.size versioned_2, 1
.symver versioned_2, versioned@@V2
.globl versioned_1
.type versioned_1, @function
versioned_1:
    nop
.size versioned_1, 1

.section .tdata, "awT"
.globl of_thread
of_thread: .quad 0
.comm common, 8
.weak undefined
.section .note.GNU-stack,"",@progbits
"#;

/// The symbol's entry stays, and says that it covers its code.
#[test]
fn a_symbol_whose_name_cannot_be_read_gives_its_code_to_no_other() {
    let source = ".globl before\n.type before,@function\nbefore: nop\n.size before,1\n\
        .globl unreadable\n.type unreadable,@function\nunreadable: nop\nnop\n.size unreadable,2\n\
        .globl too_long\n.type too_long,@function\ntoo_long: nop\n.size too_long,0x7fffffff\n\
        .section .second,\"ax\"\nin_second: nop\n";
    let second = "-Wl,--section-start=.second=0xffffffff80200000";
    let mut kernel = link("unreadable-name", "s", source, &[second]);
    let [code, behind, too_long] =
        ["unreadable", "in_second", "too_long"].map(|name| kernel.at(name));
    let entry = {
        use object::{Object as _, ObjectSection as _, ObjectSymbol as _};
        let file = object::File::parse(&*kernel.elf).unwrap();
        let symbol = file
            .symbols()
            .find(|symbol| symbol.name() == Ok("unreadable"))
            .unwrap();
        let (table, _) = file
            .section_by_name(".symtab")
            .unwrap()
            .file_range()
            .unwrap();
        usize::try_from(table).unwrap() + symbol.index().0 * 24
    };
    kernel.elf[entry..entry + 4].copy_from_slice(&u32::MAX.to_le_bytes());
    let mut symbols = kernel.symbols();
    for offset in [0, 1] {
        let found = names(&mut symbols, CodeAddress(code.0 + offset));
        assert_eq!(found, [format!("{:#x}", code.0)], "+ {offset}");
    }
    // One that says more than its section has ends with that.
    assert_eq!(names(&mut symbols, too_long), ["too_long"]);
    assert_eq!(names(&mut symbols, behind), ["in_second"]);
}

#[test]
fn what_tables_get_wrong_costs_no_names() {
    let kernel = link(
        "odd",
        "s",
        ODD,
        &["-Wl,--section-start=.second=0xffffffff80200000"],
    );
    let mut symbols = kernel.symbols();
    for (label, offset, expected) in [
        ("too_small", 0, "too_small"),
        ("too_small", 1, "too_small"),
        ("too_large", 0, "too_large"),
        ("overlapped", 0, "overlapped"),
        ("behind_overlapped", 0, "too_large"),
        ("without_size", 0, "too_large"),
        ("alias_without_size", 0, "alias_with_size"),
        ("executed_data", 0, "executed_data"),
        ("executed_data", 1, "executed_data"),
        ("data_without_size", 0, "alias_with_size"),
        ("versioned_1", 0, "versioned_1"),
    ] {
        let address = CodeAddress(kernel.at(label).0 + offset);
        assert_eq!(
            names(&mut symbols, address),
            [expected],
            "{label} + {offset}"
        );
    }
    // The one that is the default.
    let versioned = CodeAddress(kernel.at("versioned_1").0 - 1);
    assert!(names(&mut symbols, versioned)[0].starts_with("versioned"));
    for name in ["of_thread", "common", "undefined", "executed_data"] {
        assert!(entry_of(&kernel.elf, name).is_err(), "{name}");
    }
}

#[test]
fn a_shared_object_without_a_symbol_table_has_its_dynamic_symbols() {
    let source = "void exported(void) {} static __attribute__((used)) void hidden(void) {}";
    let path = folder().join("dynamic.c");
    std::fs::write(&path, source).unwrap();
    let elf = folder().join("dynamic.so");
    let [from, to] = [&path, &elf].map(|path| text(path));
    tool(
        "cc",
        &["-shared", "-fpic", "-nostdlib", "-O1", "-s", from, "-o", to],
    );
    let elf = std::fs::read(&elf).unwrap();
    use object::{Object as _, ObjectSymbol as _};
    let file = object::File::parse(&*elf).unwrap();
    assert_eq!(file.symbols().count(), 0);
    let mut exported = file
        .dynamic_symbols()
        .filter(|it| it.name() == Ok("exported"));
    let exported = CodeAddress(exported.next().unwrap().address());
    assert_eq!(
        names(&mut Symbols::new(&elf).unwrap(), exported),
        ["exported"]
    );
    assert_eq!(entry_of(&elf, "exported").ok(), Some(exported));
}

#[test]
fn a_file_without_a_table_of_sections_has_no_names() {
    let mut kernel = link("no-sections", "c", INLINED, &["-g", "-O1"]);
    let at = kernel.at("in_inlined");
    // e_shoff, e_shnum, e_shstrndx.
    kernel.elf[40..48].fill(0);
    kernel.elf[60..64].fill(0);
    let address = format!("{:#x}", at.0);
    assert_eq!(names(&mut kernel.symbols(), at), [address]);
}

#[test]
fn sections_by_the_ten_thousand_have_names() {
    // So many that a symbol's own field is too small for the number of its section.
    const SECTIONS: usize = 66_000;
    let source: String = (0..SECTIONS)
        .map(|index| {
            format!(".section s{index},\"ax\"\n.globl f{index}\n.type f{index},@function\nf{index}: nop\n.size f{index},1\n")
        })
        .collect();
    let path = folder().join("sections.s");
    std::fs::write(&path, source).unwrap();
    let object = folder().join("sections.o");
    let [from, to] = [&path, &object].map(|path| text(path));
    tool("cc", &["-c", from, "-o", to]);
    let mut elf = std::fs::read(&object).unwrap();
    // An object's sections are all at 0: give those of two functions addresses of their own.
    let headers = u64::from_le_bytes(elf[40..48].try_into().unwrap());
    for (name, address) in [("s5", 0x1000_u64), ("s65999", 0x2000)] {
        use object::{Object as _, ObjectSection as _};
        let file = object::File::parse(&*elf).unwrap();
        let index = file.section_by_name(name).unwrap().index().0;
        let at = usize::try_from(headers).unwrap() + 64 * index + 16;
        elf[at..at + 8].copy_from_slice(&address.to_le_bytes());
    }
    use object::{Object as _, ObjectSymbol as _};
    let file = object::File::parse(&*elf).unwrap();
    let last = file.symbols().find(|it| it.name() == Ok("f65999")).unwrap();
    assert!(last.section_index().unwrap().0 > 0xff00);
    assert!(entry_of(&elf, "f65999").is_ok());
}

#[test]
fn many_symbols_at_one_place_are_looked_up_in_no_time() {
    // All in one that is around them; a look-up that goes through all takes hours.
    const SYMBOLS: u64 = 50_000;
    let function = |name: String| format!(".type {name},@function\n{name}:\n");
    let apart = |index| {
        let name = format!("f{index}");
        format!("{}nop\n.size {name}, 1\nnop\n", function(name.clone()))
    };
    let apart: String = (0..SYMBOLS).map(apart).collect();
    let together: String = (0..SYMBOLS)
        .map(|index| function(format!("g{index}")))
        .collect();
    let source = format!(
        ".text\n.globl around\n{}nop\n{apart}{together}nop\n.size around, . - around\n\
         .section .note.GNU-stack,\"\",@progbits\n",
        function("around".to_owned())
    );
    let kernel = link("many-symbols", "s", &source, &[]);
    let start = kernel.at("around").0;
    let started = std::time::Instant::now();
    let mut symbols = kernel.symbols();
    let addresses = (0..2 * SYMBOLS + 2).map(|offset| CodeAddress(start + offset));
    symbols.resolve(addresses);
    assert!(started.elapsed().as_secs() < 60, "{:?}", started.elapsed());
    assert_eq!(names(&mut symbols, CodeAddress(start + 7)), ["f3"]);
    assert_eq!(names(&mut symbols, CodeAddress(start + 8)), ["around"]);
}

/// The flags of debug information, and what has to be there for them.
const FLAVOURS: [(&str, &[&str]); 12] = [
    ("cc", &["-g", "-gdwarf-2", "-gstrict-dwarf"]),
    ("cc", &["-g", "-gdwarf-3"]),
    ("cc", &["-g", "-gdwarf-4"]),
    ("cc", &["-g", "-gdwarf-5"]),
    ("cc", &["-g", "-gdwarf64", "-gdwarf-5"]),
    ("cc", &["-g", "-gdwarf64", "-gdwarf-4"]),
    ("cc", &["-g", "-gz=zlib"]),
    (
        "cc",
        &["-g", "-ffunction-sections", "-Wl,--gc-sections,-u,outer"],
    ),
    ("cc", &["-g", "-fdebug-types-section"]),
    ("cc", &["-g", "-flto", "-Wl,-u,outer"]),
    ("cc", &["-g", "-gno-as-loc-support"]),
    ("clang", &["-gline-tables-only"]),
];

#[test]
fn inlined_calls_are_found_in_every_flavour_of_debug_information() {
    for (compiler, flags) in FLAVOURS {
        // `make test` says what it is without.
        if !has(compiler) {
            continue;
        }
        let name = format!("flavour{}", flags.concat().replace(['=', ','], "-"));
        let flags = [flags, &["-O1"]].concat();
        let kernel = link_by(compiler, &name, "c", INLINED, &flags);
        let found = names(&mut kernel.symbols(), kernel.at("in_inlined"));
        assert_eq!(found, ["inlined", "outer"], "{flags:?}");
    }
}

#[test]
fn clones_have_the_names_of_the_symbol_table_and_the_place_of_their_function() {
    let source = "extern volatile int out; volatile int out;\n\
        static __attribute__((noinline)) int work(int a, int b) { out = a; return a * b + out; }\n\
        int one(int a) { return work(a, 3); }\n\
        int two(int a) { return work(a, 3); }\n";
    for debug in ["-g", "-g0"] {
        let kernel = link("clones", "c", source, &[debug, "-O2", "-fno-ipa-icf"]);
        let clone = kernel.at("work.constprop.0");
        let mut symbols = kernel.symbols();
        assert_eq!(names(&mut symbols, clone), ["work.constprop.0"], "{debug}");
        let function = symbols.function(symbols.frames(clone)[0].function);
        assert_eq!(function.line, (debug == "-g").then_some(2));
    }
}

#[test]
fn an_alias_that_is_global_names_a_local_function_with_debug_information_or_without() {
    let source = "static __attribute__((used)) void local(void) { __asm__(\"nop\"); }\n\
        void weak(void) __attribute__((weak, alias(\"local\")));\n\
        void global(void) __attribute__((alias(\"local\")));\n";
    for debug in ["-g", "-g0"] {
        let kernel = link("aliases", "c", source, &[debug, "-O1"]);
        let mut symbols = kernel.symbols();
        assert_eq!(
            names(&mut symbols, kernel.at("local")),
            ["global"],
            "{debug}"
        );
        let function = symbols.function(symbols.frames(kernel.at("local"))[0].function);
        assert_eq!(function.line, (debug == "-g").then_some(1));
    }
}

#[test]
fn line_tables_of_rust_have_the_whole_names() {
    let source = "#![no_std]\n#![no_main]\n\
        #[panic_handler] fn panic(_: &core::panic::PanicInfo) -> ! { loop {} }\n\
        #[allow(named_asm_labels)] #[inline(always)] fn step(a: u64) -> u64 { unsafe { core::arch::asm!(\".globl in_step\", \"in_step: nop\") }; a * 3 }\n\
        pub mod heap { pub struct Block(pub u64); impl Block {\n\
            #[inline(never)] pub fn new(a: u64) -> Self { Block(crate::step(a)) } } }\n\
        #[unsafe(no_mangle)] pub extern \"C\" fn _start() -> ! {\n\
            core::hint::black_box(heap::Block::new(core::hint::black_box(4)).0); loop {} }\n";
    let path = folder().join("lines.rs");
    std::fs::write(&path, source).unwrap();
    for (debug, step) in [("full", "lines::step"), ("line-tables-only", "step")] {
        let elf = folder().join(format!("lines-{debug}"));
        let debug_flag = format!("-Cdebuginfo={debug}");
        let [from, to] = [&path, &elf].map(|path| text(path));
        tool(
            "rustc",
            &[
                "--edition",
                "2024",
                "-O",
                &debug_flag,
                "-Csymbol-mangling-version=v0",
                "-Cpanic=abort",
                "-Crelocation-model=static",
                "-Ctarget-feature=+crt-static",
                "-Clink-arg=-nostartfiles",
                "-Clink-arg=-static",
                "-Clink-arg=-no-pie",
                from,
                "-o",
                to,
            ],
        );
        let bytes = std::fs::read(&elf).unwrap();
        let kernel = Compiled {
            path: elf,
            elf: bytes,
        };
        let found = names(&mut kernel.symbols(), kernel.at("in_step"));
        assert_eq!(found, [step, "<lines::heap::Block>::new"], "{debug}");
    }
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
fn functions_whose_names_read_the_same_are_told_apart() {
    const LINKED: [&str; 4] = [
        "_ZN5QueueC1Ev",
        "_ZN5QueueC2Ev",
        "_ZN4core3fmt3foo17h0000000000000001E",
        "_ZN4core3fmt3foo17h0000000000000002E",
    ];
    let source = LINKED.map(|name| {
        format!(".globl {name}\n.type {name}, @function\n{name}: nop\n.size {name}, 1\n")
    });
    let kernel = link("read-alike", "s", &source.concat(), &[]);
    let mut symbols = kernel.symbols();
    let addresses = LINKED.map(|name| kernel.at(name));
    symbols.resolve(addresses);
    let read = [
        "Queue::Queue()",
        "Queue::Queue()",
        "core::fmt::foo",
        "core::fmt::foo",
    ];
    for (address, read) in addresses.into_iter().zip(read) {
        let label = symbols.label(symbols.frames(address)[0].function);
        assert_eq!(label, format!("{read} ({:#x})", address.0));
    }
}

#[test]
fn code_behind_the_end_of_a_function_is_no_other_of_its_name() {
    let source = "void outer(void) { __asm__(\"nop\"); }\nvoid other(void) { __asm__(\"nop\"); }\n";
    let kernel = link(
        "behind-end",
        "c",
        source,
        &["-g", "-O1", "-falign-functions=32"],
    );
    let mut symbols = kernel.symbols();
    let outer = kernel.at("outer");
    let behind = CodeAddress(outer.0 + 20);
    symbols.resolve([outer, behind]);
    let function = symbols.frames(outer)[0].function;
    assert_eq!(symbols.frames(behind)[0].function, function);
    assert_eq!(symbols.label(function), "outer");
    assert_eq!(symbols.function(function).line, Some(1));
}

#[test]
fn a_name_that_nobody_would_see_is_quoted() {
    let source = ".globl unseen_X\n.type unseen_X, @function\nunseen_X: nop\n.size unseen_X, 1\n";
    let mut kernel = link("unseen", "s", source, &[]);
    let at = kernel.at("unseen_X");
    let mut names_in_it = kernel.elf.windows(8);
    let name = names_in_it.position(|it| it == b"unseen_X").unwrap();
    kernel.elf[name..name + 8].copy_from_slice(b" \0\0\0\0\0\0\0");
    assert_eq!(names(&mut kernel.symbols(), at), ["\" \""]);
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
    let profile = profile_of_files(&run, (&kernel.elf, &[]), &[&samples]);
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

pub const INLINED: &str = "static inline __attribute__((always_inline)) void inlined(void) {\n\
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
        assert_split_has_lines(&arguments, flavour);
    } else {
        assert_eq!(said.lines().count(), 1, "{flavour}: {said}");
        let looked_in = folder().display().to_string();
        for part in ["inlined calls of 1 unit", "-gsplit-dwarf", &looked_in] {
            assert!(said.contains(part), "{flavour}: `{part}` is not in {said}");
        }
    }
}

/// That a report knows the files of what is split off: of functions, and of what is executed.
#[track_caller]
fn assert_split_has_lines(report: &[&str], flavour: &str) {
    let json = |more: &[&str]| -> serde_json::Value {
        let json = stdout(&pmiscope(&[report, &["--format", "json"], more].concat()).code(0));
        serde_json::from_str(&json).unwrap()
    };
    let functions = &json(&[])["functions"];
    let declared: Vec<_> = (0..2)
        .map(|row| {
            let row = &functions[row];
            let file = row["file"].as_str().unwrap_or("no file");
            let file = file.rsplit('/').next().unwrap();
            (
                row["name"].clone(),
                file.starts_with("split-gdwarf-"),
                row["line"].clone(),
            )
        })
        .collect();
    let row = |name: &str, line: u32| (name.into(), true, line.into());
    assert_eq!(declared, [row("inlined", 1), row("outer", 3)], "{flavour}");
    let lines = json(&["--by", "line"]);
    let line = lines["rows"][0]["line"].as_str().unwrap();
    assert!(line.ends_with(".c:2"), "{flavour}: {line}");
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
        // `make test` says what it is without.
        let packed = packer.is_some();
        if let Some(program) = packer {
            tool(program, &["-o", text(&package), text(&dwo)]);
        }
        // One of another unit is none.
        std::fs::write(&dwo, b"not it").unwrap();
        if packed {
            assert_split(&kernel, true, "package");
            std::fs::remove_file(&package).unwrap();
        }
        assert_split(&kernel, false, version);
        // A pipe that nobody writes to, and what has no end.
        std::fs::remove_file(&dwo).unwrap();
        tool("mkfifo", &[text(&dwo), text(&package)]);
        assert_split(&kernel, false, version);
        for path in [&dwo, &package] {
            std::fs::remove_file(path).unwrap();
            std::os::unix::fs::symlink("/dev/zero", path).unwrap();
        }
        assert_split(&kernel, false, version);
        std::fs::remove_file(&dwo).unwrap();
        assert_split(&kernel, false, version);
        std::fs::remove_file(&package).unwrap();
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

#[test]
fn a_unit_that_the_linker_has_emptied_costs_nothing() {
    use object::{Object as _, ObjectSection as _};
    let other = folder().join("emptied-other.c");
    let source = INLINED.replace("inlined", "second");
    std::fs::write(&other, source.replace("outer", "other")).unwrap();
    for version in ["-gdwarf-4", "-gdwarf-5"] {
        for (collect, is_removed) in [("-Wl,--gc-sections", true), ("-Wl,--no-gc-sections", false)]
        {
            let flags = ["-g", version, "-O1", "-ffunction-sections", "-Wl,-u,outer"];
            let flags = [&flags[..], &[collect, text(&other)]].concat();
            let mut kernel = link("emptied-unit", "c", INLINED, &flags);
            let first = kernel.at("in_inlined");
            let second = (!is_removed).then(|| kernel.at("in_second"));
            let file = object::File::parse(&*kernel.elf).unwrap();
            let section = file.section_by_name(".debug_info").unwrap();
            let start = usize::try_from(section.file_range().unwrap().0).unwrap();
            // That of `other` is the first. Behind its root are the entries of its functions.
            let length = kernel.elf[start..].first_chunk().copied();
            let end = start + 4 + u32::from_le_bytes(length.unwrap()) as usize;
            let mut unreadable = 0;
            for at in (start + end) / 2..end {
                let byte = std::mem::replace(&mut kernel.elf[at], 0x7f);
                let mut symbols = kernel.symbols();
                symbols.resolve(second);
                assert_eq!(names(&mut symbols, first), ["inlined", "outer"], "{at:#x}");
                unreadable += symbols.unreadable_units();
                kernel.elf[at] = byte;
            }
            assert_eq!(unreadable == 0, is_removed, "{version} {collect}");
        }
    }
}
