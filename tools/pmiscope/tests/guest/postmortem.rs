//! What the memory of a kernel says of it: of one that is dead, of one that hangs, of one that runs.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use object::{Object as _, ObjectSection as _};

use crate::attach::Guest;
use crate::ctl::Going;
use crate::fixture::{built, run};
use crate::folder::folder;

/// A command of the tool.
fn tool(arguments: &[&Path]) -> Output {
    let command = Command::new(env!("CARGO_BIN_EXE_pmiscope"))
        .args(arguments)
        .output();
    command.expect("it is built")
}

/// `pmiscope postmortem` of a memory: its status, what it shows and what it says.
fn postmortem(memory: &Path) -> (Option<i32>, String, String) {
    let elf = Path::new("--elf");
    let output = tool(&[Path::new("postmortem"), memory, elf, &built("kernel")]);
    told(&output)
}

fn log(memory: &Path) -> (Option<i32>, String, String) {
    told(&tool(&[Path::new("log"), memory]))
}

fn told(output: &Output) -> (Option<i32>, String, String) {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (
        output.status.code(),
        text(&output.stdout),
        text(&output.stderr),
    )
}

/// What is told of a core, up to the empty line behind it.
fn of_core(text: &str, core: u32) -> &str {
    let begin = format!("\ncore {core} (APIC id ");
    let (_, rest) = text
        .split_once(&begin)
        .unwrap_or_else(|| panic!("core {core} is missing:\n{text}"));
    rest.split("\n\n").next().unwrap()
}

/// The functions of the first chain in a text, innermost first, and how it ended.
fn chain(text: &str) -> (Vec<&str>, &str) {
    let mut functions = Vec::new();
    for line in text.lines() {
        let line = line.trim_start();
        if let Some(end) = line.strip_prefix("-- chain: ") {
            return (functions, end.trim_end_matches(" --"));
        }
        if line.starts_with('#') {
            let (_, named) = line.split_once(">] ").expect(line);
            functions.push(named.split(" at ").next().unwrap());
        }
    }
    panic!("no chain in {text}")
}

/// Cores and functions of the self-test `spin-deep`.
const SPINNING: [(u32, &[&str]); 2] = [
    (
        0,
        &[
            "kernel::selftest::last_words::spin_for_ever",
            "kernel::selftest::last_words::spin_inner",
            "kernel::selftest::last_words::spin_outer",
            "kernel::selftest::last_words::spin_deep",
            "kernel::first_core",
            "enter_stack",
        ],
    ),
    (
        1,
        &[
            "kernel::selftest::last_words::spin_for_ever",
            "kernel::selftest::last_words::busy_without_interrupts",
            "kernel::selftest::last_words::busy",
            "kernel::smp::idle",
            "kernel::other_core",
            "other_core_entry",
        ],
    ),
];

#[test]
fn a_dump_of_a_kernel_that_loops_shows_each_frame() {
    let guest = Guest::start("postmortem-dump", "test=spin-deep");
    guest.has_said("self-test: all cores loop");
    let core = folder().join("postmortem.core");
    guest.dump(&core);
    let serial = fs::read_to_string(&guest.serial).unwrap();
    drop(guest);
    let (status, text, said) = postmortem(&core);
    assert_eq!((status, &*said), (Some(0), ""), "{text}");
    for (number, functions) in SPINNING {
        let told = of_core(&text, number);
        assert!(
            told.contains("where it was when the dump was made:"),
            "{told}"
        );
        let (shown, end) = chain(told);
        assert_eq!((&*shown, end), (functions, "complete"), "core {number}");
        assert!(
            told.contains("kernel/src/selftest/last_words.rs:"),
            "{told}"
        );
    }
    // The log is what came by the port, but for the loader's lines.
    let (status, kept, said) = log(&core);
    assert_eq!((status, &*said), (Some(0), ""));
    let port: Vec<_> = serial
        .lines()
        .filter(|line| line.starts_with('['))
        .collect();
    assert_eq!(kept.lines().collect::<Vec<_>>(), port);
    is_never_told_wrong(&core, &text);
    fs::remove_file(core).unwrap();
}

/// Of the beginning of a memory nothing is told that is not told of the whole; and what is missing
/// is said.
fn is_never_told_wrong(memory: &Path, whole: &str) {
    let bytes = fs::read(memory).unwrap();
    let cut = memory.with_extension("cut");
    for part in 0..16 {
        fs::write(&cut, &bytes[..bytes.len() / 4096 * part / 16 * 4096]).unwrap();
        let (status, text, said) = postmortem(&cut);
        let is_whole = status == Some(0) && text == whole;
        let is_said = matches!(status, Some(1 | 3)) && said.starts_with("pmiscope: ");
        assert!(is_whole || is_said, "{part}/16: {status:?}\n{text}{said}");
        for line in text.lines() {
            let is_known = whole.lines().any(|known| known.starts_with(line));
            let is_known = is_known || line == "  -- chain: cut --";
            assert!(is_known, "{part}/16: {line}\n{said}");
        }
    }
    fs::remove_file(cut).unwrap();
}

#[test]
fn after_the_end_of_its_qemu_every_core_of_a_guest_is_shown() {
    let mut guest = Guest::endless("postmortem-killed");
    guest.sampling();
    guest.kill();
    let (status, text, said) = postmortem(&guest.ram);
    assert_eq!((status, &*said), (Some(0), ""), "{text}");
    for number in 0..2 {
        let told = of_core(&text, number);
        assert!(told.contains("online, "), "{told}");
        assert!(
            told.contains("its registers are not known; its newest sample (number "),
            "{told}"
        );
        let (functions, end) = chain(told);
        assert_eq!(
            (end, functions.last()),
            ("complete", Some(&"task_root")),
            "{told}"
        );
        assert_eq!(told.matches("\nsample ").count(), 2, "{told}");
    }
    // Tasks that do not run have stood still in the scheduler.
    let resting = text.split("\n\n").filter(|it| it.starts_with("task "));
    let resting: Vec<_> = resting
        .filter(|it| !it.contains(": runs on core "))
        .collect();
    assert!(!resting.is_empty(), "{text}");
    for task in resting {
        let (functions, end) = chain(task);
        assert!(functions[0].contains("kernel::task::scheduler::"), "{task}");
        assert_eq!(
            (end, functions.last()),
            ("complete", Some(&"task_root")),
            "{task}"
        );
    }
    assert!(
        text.contains("period=20000 workload=mix"),
        "the log:\n{text}"
    );
    is_never_told_wrong(&guest.ram, &text);
    // Cut within its last page, in which there is nothing.
    let memory = fs::OpenOptions::new().write(true).open(&guest.ram).unwrap();
    let bytes = memory.metadata().unwrap().len();
    memory.set_len(bytes - 100).unwrap();
    let (status, cut, said) = postmortem(&guest.ram);
    assert_eq!((status, cut), (Some(3), text), "{said}");
    let is_cut =
        "pmiscope: the file ends within a page: it is cut, and so is what was read of it\n";
    assert_eq!(said, is_cut);
}

#[test]
fn after_a_panic_the_cores_are_where_they_were_stopped() {
    let mut guest = Guest::start("postmortem-panic", "test=panic-among-busy");
    assert_eq!(guest.status(), Some(37));
    let (status, text, said) = postmortem(&guest.ram);
    assert_eq!((status, &*said), (Some(0), ""), "{text}");
    let words = "it has failed: [ERROR core0] panicked at kernel/src/selftest/last_words.rs:";
    assert!(text.contains(words), "{text}");
    assert!(text.contains("\n  this panic was asked for\n"), "{text}");
    let told = of_core(&text, 0);
    assert!(
        told.starts_with("0): has failed, no task\nwhere it failed:\n"),
        "{told}"
    );
    assert!(
        chain(told)
            .0
            .contains(&"kernel::selftest::last_words::panic_among_busy"),
        "{told}"
    );
    let told = of_core(&text, 1);
    assert!(
        told.starts_with("1): was stopped, no task\nwhere it was stopped:\n"),
        "{told}"
    );
    let (functions, end) = chain(told);
    assert_eq!(end, "complete", "{told}");
    assert_eq!(functions[0], "kernel::selftest::last_words::spin_for_ever");
    // What other cores did is in the log as well.
    let (_, kept, _) = log(&guest.ram);
    assert!(
        kept.contains("\ncore 1 (APIC id 1) was stopped\n#00 "),
        "{kept}"
    );
}

#[test]
fn a_message_whose_writer_has_failed_is_torn() {
    let mut guest = Guest::start("postmortem-torn", "test=trap-in-log");
    assert_eq!(guest.status(), Some(39));
    let (status, kept, said) = log(&guest.ram);
    assert_eq!((status, &*said), (Some(0), ""));
    let whole = kept.lines().filter(|line| !line.contains("(torn: "));
    assert!(whole.count() > 8, "{kept}");
    let port = fs::read_to_string(&guest.serial).unwrap();
    // Of a message of one part nothing is left, and it is not shown as if it were whole.
    let ends = port.lines().filter(|line| line.starts_with('['));
    let missing = ends.filter(|line| !kept.lines().any(|it| it == *line));
    assert_eq!(missing.collect::<Vec<_>>(), ["[INFO core0] "], "{kept}");
}

#[test]
fn the_log_of_a_run_that_goes_on_is_read() {
    let going = Going::endless("log-live", "--smp 2 --qemu stock --log info,task=off");
    let pid = going.pid().to_string();
    let log = || {
        told(&tool(&[
            Path::new("log"),
            Path::new("--pid"),
            Path::new(&pid),
        ]))
    };
    let (status, kept, said) = log();
    assert_eq!((status, &*said), (Some(0), ""));
    assert!(kept.contains(" log=info,task=off`\n"), "{kept}");
    assert!(kept.contains("[INFO core0] cores: 2 online"), "{kept}");
    // It goes on.
    going.go_on(1);
    drop(going);
    let (status, _, said) = log();
    assert_eq!(status, Some(1));
    assert!(
        said.contains("is no run of this user's that goes on"),
        "{said}"
    );
}

#[test]
fn another_kernels_names_are_refused() {
    let mut guest = Guest::start("postmortem-other", "test=nothing");
    assert_eq!(guest.status(), Some(33));
    let mut kernel = fs::read(built("kernel")).unwrap();
    let id = note_of_build_id(&kernel);
    kernel[id] ^= 1;
    let other = folder().join("postmortem-kernel");
    fs::write(&other, kernel).unwrap();
    let output = tool(&[
        Path::new("postmortem"),
        &guest.ram,
        Path::new("--elf"),
        &other,
    ]);
    let (status, text, said) = told(&output);
    assert_eq!((status, &*text), (Some(1), ""), "{said}");
    assert!(said.contains("is not the kernel in "), "{said}");
    assert!(said.contains("say which it is by --elf KERNEL"), "{said}");
}

/// Where the build-id begins in the kernel's file: behind the head of its note.
fn note_of_build_id(kernel: &[u8]) -> usize {
    let file = object::File::parse(kernel).unwrap();
    let note = file.section_by_name(".note.gnu.build-id").unwrap();
    usize::try_from(note.file_range().unwrap().0).unwrap() + 16
}

#[test]
fn the_log_has_what_its_filter_lets_through() {
    let said = |words: &str| {
        let mut guest = Guest::start("postmortem-filter", &format!("test=nothing {words}"));
        assert_eq!(guest.status(), Some(33), "{words}");
        let port = fs::read_to_string(&guest.serial).unwrap();
        let port: Vec<_> = port.lines().filter(|it| it.starts_with('[')).collect();
        let (status, kept, _) = log(&guest.ram);
        assert_eq!((status, kept.lines().collect()), (Some(0), port), "{words}");
        // The line that has the command line is not the same.
        let lines = kept.lines().filter(|line| !line.contains("command line: "));
        lines.map(|line| format!("{line}\n")).collect::<String>()
    };
    let all = said("");
    assert!(all.contains("[INFO core0] self-test: nothing\n"), "{all}");
    assert!(all.contains("[INFO core0] cores: 2 online"), "{all}");
    assert_eq!(said("log=warn"), "");
    assert_eq!(
        said("log=warn,selftest=info"),
        "[INFO core0] self-test: nothing\n"
    );
    let but_tests = said("log=info,kernel::selftest=off");
    assert_eq!(
        but_tests,
        all.replace("[INFO core0] self-test: nothing\n", "")
    );
}

#[test]
fn a_run_that_fails_says_where_by_source_lines() {
    let run = run("--smp 2 --self-test fault-deep").ended_with(4);
    let said = run.said();
    let (_, story) = said.split_once("  core 0 has failed here:\n").expect(&said);
    let (functions, end) = chain(story);
    let own = |name: &str| format!("kernel::selftest::last_words::{name}");
    let expected = [own("inner"), own("middle"), own("outer"), own("fault_deep")];
    assert_eq!(functions[..4], expected, "{said}");
    assert_eq!((end, functions.last()), ("complete", Some(&"enter_stack")));
    let source = include_str!("../../../../kernel/src/selftest/last_words.rs");
    for (function, line) in [
        ("middle", "middle(value: u64)"),
        ("outer", "outer(value: u64)"),
    ] {
        // The call is in the line behind.
        let declared = source.lines().position(|it| it.contains(line)).unwrap();
        let at = format!(
            "{} at kernel/src/selftest/last_words.rs:{}\n",
            own(function),
            declared + 2
        );
        assert!(story.contains(&at), "{at}: {said}");
    }
    // Before the log's end.
    assert!(story.contains("the guest's log ends with:"), "{said}");
}

#[test]
fn a_run_that_hangs_says_where_each_core_is() {
    let few = run("--smp 2 --self-test hang-midway --timeout 3").ended_with(6);
    let said = few.said();
    let place = |core: u32| {
        let begin = format!("  core {core} is here:\n");
        let (_, story) = said.split_once(&begin).expect(&said);
        story.split_once("-- chain: ").expect(&said).0
    };
    // The last one loops for ever, unsampled; the other one waits in its handler for its turn.
    let source = include_str!("../../../../kernel/src/selftest.rs");
    let hang = source
        .lines()
        .position(|line| line == "fn hang() {")
        .unwrap();
    let hangs = place(1)
        .lines()
        .find(|line| line.contains("kernel::selftest::hang at "));
    let line = hangs.and_then(|line| line.rsplit_once("kernel/src/selftest.rs:"));
    let line: usize = line.expect(&said).1.parse().unwrap();
    assert!((hang + 1..hang + 8).contains(&line), "{line}: {said}");
    assert!(
        place(0).contains("RoundRobin>::pass_to_next at profiler/src/"),
        "{said}"
    );
    // Of many it is a line each.
    let many = run("--smp 6 --self-test hang-midway --timeout 3").ended_with(6);
    let lines = many
        .said()
        .lines()
        .filter(|line| line.contains(" is here: "))
        .count();
    assert_eq!(lines, 6, "{}", many.said());
}
