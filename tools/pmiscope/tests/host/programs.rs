//! Profiles of runs with programs of the user: two that lie at the same addresses, in the kernel and
//! in their own code.

use std::path::PathBuf;
use std::process::Command;

use object::{Object as _, ObjectSymbol as _};
use pmiscope::profile::ProcessEnd;
use pmiscope::profile::programs::embedded_name;
use profiler::address::{CodeAddress, UserAddress};
use profiler::format::{ChainEntry, Description, State};
use serde_json::{Value, json};

use crate::command::{pmiscope, refused, report, stderr, stdout, text};
use crate::fixture::{
    Seen, description, file, folder, kernel, profile_of_files, profile_with_end, run_end,
};

/// A program whose first function calls `work`, which calls `leaf`.
const SOURCE: &str = r#"
#ifdef TWO
int two = 2;
#endif
__attribute__((noinline)) void leaf(void) { __asm__ volatile(".globl in_leaf\nin_leaf: nop"); }
__attribute__((noinline)) void work(void) {
    leaf();
    __asm__ volatile(".globl in_work\nin_work: nop");
}
void _start(void) {
    work();
    __asm__ volatile(".globl in_start\nin_start: nop");
    for (;;) {}
}
"#;

pub struct Program {
    pub number: u16,
    pub path: PathBuf,
    pub elf: Vec<u8>,
}

impl Program {
    fn compile(number: u16, name: &str, flags: &[&str]) -> Self {
        let source = file("program.c", SOURCE.as_bytes());
        let path = folder().join(name);
        let compiled = Command::new("cc")
            .args(["-g", "-O1", "-nostdlib", "-static", "-no-pie", "-fno-pie"])
            .args(["-fno-omit-frame-pointer", "-fno-optimize-sibling-calls"])
            .args([
                "-momit-leaf-frame-pointer",
                "-ffreestanding",
                "-Wl,--build-id=sha1",
            ])
            .args(flags)
            .args([&source, &PathBuf::from("-o"), &path])
            .output()
            .expect("cc, which Rust links with");
        let said = String::from_utf8_lossy(&compiled.stderr);
        assert!(compiled.status.success(), "{said}");
        let elf = std::fs::read(&path).unwrap();
        Self { number, path, elf }
    }

    pub fn at(&self, name: &str) -> CodeAddress {
        let file = object::File::parse(&*self.elf).unwrap();
        let mut symbols = file.symbols();
        let symbol = symbols.find(|symbol| symbol.name() == Ok(name));
        of_program(self.number, symbol.expect("a symbol").address())
    }
}

fn of_program(program: u16, address: u64) -> CodeAddress {
    UserAddress { program, address }.code()
}

/// In `leaf`, which has no frame: its caller is on top of the stack only.
fn in_user_code(program: &Program) -> Seen {
    Seen {
        state: State::NMI | State::RING,
        stack_top: [program.at("in_work").0, 0],
        ..Seen::new(
            0,
            program.at("leaf"),
            &[ChainEntry::Return(program.at("in_start"))],
        )
    }
}

/// In code of a process, by its number.
pub fn in_process(sequence: u32, number: u16, address: u64) -> Seen {
    Seen {
        state: State::NMI | State::RING,
        ..Seen::new(sequence, of_program(number, address), &[])
    }
}

/// In a system call, or an exception, of `leaf`.
fn in_kernel(program: &Program, vector: Option<u8>) -> Seen {
    let kernel = kernel();
    let border = ChainEntry::Border {
        vector,
        pc: program.at("in_leaf"),
        stack_top: [program.at("in_work").0, 0],
    };
    let start = ChainEntry::Return(program.at("in_start"));
    let chain = [kernel.return_to("in_idle"), border, start];
    Seen::new(0, kernel.at("in_innermost"), &chain)
}

pub struct Run {
    pub one: Program,
    pub two: Program,
    /// The modules that it brought, which are embedded.
    modules: Vec<(String, Vec<u8>)>,
}

impl Run {
    pub fn new(name: &str) -> Self {
        let one = Program::compile(1, &format!("{name}-one"), &[]);
        let two = Program::compile(2, &format!("{name}-two"), &["-DTWO"]);
        Self::of(one, two)
    }

    /// A run that brought these programs.
    pub fn of(one: Program, two: Program) -> Self {
        let modules = [&one, &two].map(|it| {
            let file = it.path.file_name().unwrap().to_string_lossy();
            (embedded_name(it.number, &file), it.elf.clone())
        });
        Self {
            one,
            two,
            modules: modules.into(),
        }
    }

    /// A profile of two samples of each kind, and of one of a program that is no module.
    pub fn profile(&self, name: &str) -> PathBuf {
        let mut samples = vec![
            in_user_code(&self.one),
            in_user_code(&self.two),
            in_user_code(&self.two),
            in_kernel(&self.one, None),
            in_kernel(&self.two, Some(14)),
            Seen {
                state: State::NMI | State::RING,
                ..Seen::new(0, of_program(5, 0x40_1234), &[])
            },
        ];
        self.profile_of(name, &mut samples)
    }

    /// A profile of a core that has announced processes of the first program, by their numbers and
    /// pids.
    fn profile_of_processes(
        &self,
        name: &str,
        processes: impl IntoIterator<Item = (u16, u32)>,
        samples: &[Seen],
    ) -> PathBuf {
        let mut end = run_end();
        end.cores.truncate(1);
        end.cores[0].stored = samples.len() as u64;
        let processes = processes.into_iter().map(|(number, pid)| ProcessEnd {
            number,
            program: 1,
            pid,
        });
        end.cores[0].processes = processes.collect();
        let one_core = Description {
            cores: 1,
            ..description()
        };
        let modules = self.modules.iter();
        let modules: Vec<_> = modules.map(|(name, elf)| (&**name, elf.clone())).collect();
        let profile = profile_with_end((&one_core, &end), (&kernel().elf, &modules), &[samples]);
        file(name, &profile)
    }

    pub fn profile_of(&self, name: &str, samples: &mut [Seen]) -> PathBuf {
        for (sequence, seen) in (0..).zip(&mut *samples) {
            seen.sequence = sequence;
        }
        let one_core = Description {
            cores: 1,
            ..description()
        };
        let modules = self.modules.iter();
        let modules: Vec<_> = modules.map(|(name, elf)| (&**name, elf.clone())).collect();
        let profile = profile_of_files(&one_core, (&kernel().elf, &modules), &[samples]);
        file(name, &profile)
    }
}

fn folded(arguments: &[&str]) -> Vec<String> {
    let exported = ["export", "--format", "folded", "-o", "-"];
    let shown = pmiscope(&[&exported, arguments].concat()).success();
    stdout(&shown).lines().map(str::to_owned).collect()
}

#[test]
fn each_program_is_named_by_its_own_file_and_its_border_is_seen() {
    let run = Run::new("named");
    let profile = run.profile("named.pmi");
    let path = text(&profile);
    let chain = |name: &str| {
        ["_start", "work", "leaf"]
            .map(|it| format!("{it} [{name}]"))
            .join(";")
    };
    let [one, two] = ["named-one", "named-two"].map(chain);
    assert_eq!(
        folded(&[path]),
        [
            "0x401234 [program 5] 1".to_owned(),
            format!("{one} 1"),
            format!("{one};[system call];idle;kernel::workload::hash::run;middle;innermost 1"),
            format!("{two} 2"),
            format!(
                "{two};[exception 0x0e from user code];idle;kernel::workload::hash::run;middle;innermost 1"
            ),
        ]
    );
    assert_eq!(
        report(&[path])["processes"],
        json!([
            {"name": "named-two", "samples": 3, "user": 2, "kernel": 1},
            {"name": "named-one", "samples": 2, "user": 1, "kernel": 1},
            {"name": "program 5", "samples": 1, "user": 1, "kernel": 0},
        ])
    );
    for (chosen, samples) in [
        (&["--process", "named-two"][..], 3),
        (&["--process", "program 5"], 1),
        (&["--privilege", "user"], 4),
        (&["--privilege", "kernel"], 2),
        (&["--process", "named-two", "--privilege", "kernel"], 1),
        (&["--focus", "work [named-one]"], 2),
        (&["--filter", "system call"], 1),
    ] {
        let report = report(&[&[path, "--by", "process"], chosen].concat());
        assert_eq!(report["samples"], samples, "{chosen:?}");
    }
    let by_process = report(&[path, "--by", "process"]);
    let shares: Vec<_> = by_process["rows"]
        .as_array()
        .unwrap()
        .iter()
        .map(|row| json!([row["process"], row["events"][0]["self"]]))
        .collect();
    let expected = [
        json!(["named-two", 3]),
        json!(["named-one", 2]),
        json!(["program 5", 1]),
    ];
    assert_eq!(shares, expected);
    refused(
        pmiscope(&["report", path, "--process", "shell"]),
        1,
        &["--process shell: ", "its programs are named-one, named-two"],
    );
    let shown = stdout(&pmiscope(&["report", path]).success());
    let line = "named-two (2 in the program, 1 in the kernel)";
    assert!(shown.contains(line), "{shown}");
}

/// One that starts a great many is one row by its program; by process the first rows say how many more
/// there are.
#[test]
fn processes_of_a_program_are_one_row_by_program() {
    const PROCESSES: u16 = 40;
    let run = Run::new("spawned");
    let first = 100;
    let seen = (0..PROCESSES).map(|it| in_process(it.into(), first + it, 0x40_0000));
    let kernels = Seen::new(PROCESSES.into(), kernel().at("in_innermost"), &[]);
    let samples: Vec<_> = seen.chain([kernels]).collect();
    let processes = (0..PROCESSES).map(|it| (first + it, 7 + u32::from(it)));
    let path = run.profile_of_processes("spawned.pmi", processes, &samples);
    let path = text(&path);
    let rows = report(&[path, "--by", "program"])["rows"].clone();
    let rows = rows.as_array().unwrap().iter();
    let rows: Vec<_> = rows
        .map(|row| json!([row["program"], row["events"][0]["self"]]))
        .collect();
    assert_eq!(rows, [json!(["spawned-one", 40]), json!(["(none)", 1])]);
    let shown = stdout(&pmiscope(&["report", path, "--by", "process"]).success());
    assert!(shown.contains("  spawned-one 10\n"), "{shown}");
    let line = "(11 more groups: --top N; the processes of a program together: --by program)\n";
    assert!(shown.ends_with(line), "{shown}");
    let whole = stdout(&pmiscope(&["report", path, "--by", "process", "--top", "41"]).success());
    assert!(!whole.contains("more group"), "{whole}");
    let both = report(&[path, "--process", "7,9"]);
    assert_eq!(both["samples"], 2);
}

/// A process that was announced twice, as behind an exec of its own program.
#[test]
fn a_process_that_is_announced_again_is_one() {
    let run = Run::new("again");
    let seen = [100, 101, 102, 1].into_iter().zip(0..);
    let samples: Vec<_> = seen
        .map(|(number, sequence)| in_process(sequence, number, 0x40_0000))
        .collect();
    let processes = [(100, 7), (101, 7), (102, 8)];
    let path = run.profile_of_processes("again.pmi", processes, &samples);
    let rows = report(&[text(&path)])["processes"].clone();
    let rows = rows.as_array().unwrap().iter();
    let mut rows: Vec<_> = rows
        .map(|row| (row["pid"].as_u64(), row["samples"].as_u64()))
        .collect();
    rows.sort_unstable();
    assert_eq!(
        rows,
        [(None, Some(1)), (Some(7), Some(2)), (Some(8), Some(1))]
    );
    let shown = stdout(&pmiscope(&["report", text(&path)]).success());
    assert!(
        shown.contains("again-one (2 processes and more, 4 in the program"),
        "{shown}"
    );
}

/// Of three processes of one program, and of one that was not announced.
#[test]
fn code_of_a_program_is_one_whichever_process_ran_it() {
    let run = Run::new("shared");
    let leaf = UserAddress::of_program(run.one.at("leaf")).unwrap().address;
    let seen = [100, 101, 102, 1].into_iter().zip(0..);
    let samples: Vec<_> = seen
        .map(|(number, sequence)| in_process(sequence, number, leaf))
        .collect();
    let processes = [(100, 7), (101, 8), (102, 9)];
    let path = run.profile_of_processes("shared.pmi", processes, &samples);
    let path = text(&path);
    let rows = report(&[path, "--by", "address"])["rows"].clone();
    assert_eq!(rows.as_array().unwrap().len(), 1, "{rows}");
    assert_eq!(rows[0]["address"], format!("{leaf:#x}"));
    assert_eq!(rows[0]["events"][0]["self"], 4);
    let words = ["annotate", path, "leaf [shared-one]", "--format", "json"];
    let annotated = stdout(&pmiscope(&words).success());
    let annotated: Value = serde_json::from_str(&annotated).unwrap();
    let code = annotated[0]["code"].as_array().unwrap();
    assert_eq!(code.len(), 1, "{annotated}");
    let instruction = &code[0]["instructions"][0];
    assert_eq!(instruction["address"], format!("{leaf:#x}"));
    assert_eq!(instruction["self"], 4);
}

#[test]
fn a_program_is_taken_from_a_file_that_is_named_if_it_is_the_one_that_ran() {
    let mut run = Run::new("given");
    let [one, two] = [&run.one, &run.two].map(|it| text(&it.path).to_owned());
    let known = run.profile("given.pmi");
    // Another build of that name.
    let other = folder().join("other-build");
    std::fs::create_dir_all(&other).unwrap();
    let other = other.join("given-one");
    std::fs::write(&other, &run.two.elf).unwrap();
    let path = text(&known);
    assert_eq!(report(&[path, "--program", &one]), report(&[path]));
    let says = ["--program", "another build-id", "--force"];
    refused(
        pmiscope(&["report", path, "--program", text(&other)]),
        1,
        &says,
    );
    let says = [
        "the run had no program of that name",
        "given-one, given-two",
    ];
    let kernel = text(&kernel().path);
    refused(pmiscope(&["report", path, "--program", kernel]), 1, &says);
    // Where the profile has none, they are numbered as they are named.
    let with_modules = folded(&[path]);
    run.modules.clear();
    let bare = run.profile("bare.pmi");
    let path = text(&bare);
    assert!(
        folded(&[path])[0].contains("[program 1]"),
        "{:?}",
        folded(&[path])
    );
    let given = folded(&[path, "--program", &one, "--program", &two]);
    assert_eq!(given, with_modules);
}

#[test]
fn chains_of_programs_lie_in_what_these_may_execute() {
    let run = Run::new("contained");
    let path = run.profile("contained.pmi");
    let path = text(&path);
    let check = ["verify", "--programs", "--format", "json", path];
    let found: Value = serde_json::from_str(&stdout(&pmiscope(&check).success())).unwrap();
    // Program counters, words on top, return addresses.
    for (what, count) in [
        ("samples", 6),
        ("with_user_code", 6),
        ("addresses", 15),
        ("outside", 0),
        ("behind_no_call", 0),
        ("program_counters_outside", 0),
        ("unknown", 3),
    ] {
        assert_eq!(found[what], count, "{what}: {found:#}");
    }
    let shown = stdout(&pmiscope(&["verify", "--programs", path]).success());
    for line in [
        "checked     6 samples, 6 with code of programs\n",
        "           0  addresses outside what the program may execute\n",
        "           3  addresses of programs that are not known\n",
    ] {
        assert!(shown.contains(line), "{shown}");
    }
    let mut kernels = [Seen::new(0, kernel().at("in_innermost"), &[])];
    let path = run.profile_of("kernels.pmi", &mut kernels);
    let says = ["it has no sample with code of a program"];
    refused(pmiscope(&["verify", "--programs", text(&path)]), 1, &says);
}

#[test]
fn addresses_of_chains_that_are_not_of_their_program_are_found() {
    let run = Run::new("outside");
    let in_start = run.one.at("in_start").0;
    let with = |pc: CodeAddress, callers: &[u64]| {
        let chain: Vec<_> = callers
            .iter()
            .map(|&it| ChainEntry::Return(CodeAddress(it)))
            .collect();
        Seen {
            state: State::NMI | State::RING,
            stack_top: [0; 2],
            ..Seen::new(0, pc, &chain)
        }
    };
    let pc = run.one.at("in_leaf");
    let mut in_kernel = in_kernel(&run.one, None);
    in_kernel.chain.pop();
    in_kernel
        .chain
        .push(ChainEntry::Return(run.two.at("in_start")));
    let mut samples = [
        with(pc, &[in_start]),
        // Not of its memory, of the kernel, of another program.
        with(pc, &[of_program(1, 0x1000).0]),
        with(pc, &[kernel().at("in_innermost").0]),
        with(pc, &[in_start, run.two.at("in_start").0]),
        in_kernel,
        // A word that no call has written; a jump to nowhere.
        with(pc, &[in_start + 1]),
        with(of_program(1, 0x1000), &[in_start]),
    ];
    let path = run.profile_of("outside.pmi", &mut samples);
    let check = ["verify", "--programs", "--format", "json", text(&path)];
    let failed = pmiscope(&check).code(1);
    let said = stderr(&failed);
    assert!(
        said.contains("4 of 16 addresses in chains lie outside what their program may execute"),
        "{said}"
    );
    let found: Value = serde_json::from_str(&stdout(&failed)).unwrap();
    assert_eq!(found["outside"], 4);
    assert_eq!(found["behind_no_call"], 1);
    assert_eq!(found["program_counters_outside"], 1);
    let sequences: Vec<_> = found["examples"]
        .as_array()
        .unwrap()
        .iter()
        .map(|it| it["sequence"].as_u64().unwrap())
        .collect();
    assert_eq!(sequences, [1, 2, 3, 4]);
    let shown = stdout(&pmiscope(&["verify", "--programs", text(&path)]).code(1));
    assert!(
        shown.contains("core 0, sample 1: 0x1000000001000 of outside-one"),
        "{shown}"
    );
}

/// Exports a run's profile for perf: both.
fn exported(run: &Run, name: &str) -> (PathBuf, PathBuf) {
    let profile = run.profile(&format!("{name}.pmi"));
    let out = folder().join(format!("{name}.data"));
    let words = [
        "export",
        text(&profile),
        "--format",
        "perf",
        "-o",
        text(&out),
    ];
    let said = stderr(&pmiscope(&words).success());
    let missing = "perf will have no names of the code of program 5: the profile has no file of it";
    assert!(said.contains(missing), "{said}");
    (profile, out)
}

#[test]
fn perf_has_the_programs_of_a_profile_with_their_names() {
    let run = Run::new("mapped");
    let (_, out) = exported(&run, "mapped");
    for program in [&run.one, &run.two] {
        let name = program.path.file_name().unwrap().to_string_lossy();
        let beside = folder().join(format!("mapped.data.{name}"));
        assert_eq!(std::fs::read(&beside).unwrap(), program.elf);
    }
    let kernel = text(&kernel().path);
    let shown = Command::new("perf")
        .args([
            "script",
            "-F",
            "comm,ip,sym",
            "-i",
            text(&out),
            "--vmlinux",
            kernel,
        ])
        .output()
        .expect("perf: make setup-test installs it");
    let shown = String::from_utf8(shown.stdout).unwrap();
    // The last word of a line is the symbol.
    let words = |line: &str| {
        line.split_whitespace()
            .last()
            .unwrap_or_default()
            .to_owned()
    };
    let samples: Vec<String> = shown
        .split("\n\n")
        .map(|sample| sample.lines().map(words).collect::<Vec<_>>().join(" "))
        .collect();
    let count = |wanted: &str| samples.iter().filter(|it| **it == wanted).count();
    let own = "in_leaf work _start";
    let hash = "_RNvNtNtCs1234_6kernel8workload4hash3run";
    assert_eq!(count(&format!("mapped-one {own}")), 1, "{shown}");
    assert_eq!(count(&format!("mapped-two {own}")), 2, "{shown}");
    for name in ["mapped-one", "mapped-two"] {
        let served = format!("{name} {hash} in_idle {own}");
        assert_eq!(count(&served), 1, "{shown}");
    }
}

#[test]
fn programs_come_back_from_an_export_for_perf() {
    let run = Run::new("back");
    let (profile, out) = exported(&run, "back");
    let kernel = text(&kernel().path);
    // Names have that of the file behind them.
    let again = folder().join("again.pmi");
    let words = [
        "import",
        "--perf",
        text(&out),
        "--kernel",
        kernel,
        "-o",
        text(&again),
    ];
    pmiscope(&words).success();
    let functions = |path: &str| {
        let report = report(&[path]);
        let rows = report["functions"].as_array().unwrap().iter();
        let named = rows.filter_map(|row| {
            let name = row["name"].as_str()?.replace("back.data.", "");
            let has_name = !name.starts_with(['0', '[']);
            has_name.then(|| format!("{name} {} {}", row["self"], row["total"]))
        });
        let mut all: Vec<_> = named.collect();
        all.sort();
        all
    };
    assert_eq!(functions(text(&again)), functions(text(&profile)));
    let processes = report(&[text(&again)])["processes"].clone();
    let rows = processes.as_array().unwrap().iter();
    let rows: Vec<_> = rows
        .map(|row| json!([row["name"], row["user"], row["kernel"]]))
        .collect();
    let expected = [
        json!(["back-two", 2, 1]),
        json!(["back-one", 1, 1]),
        json!(["program 5", 1, 0]),
    ];
    assert_eq!(rows, expected);
}
