//! What the kernel says when it fails: where each core was and how it came there, by the names
//! that are in its image. Each is compared with the ELF file's own symbols.

use std::fs;
use std::ops::Range;
use std::rc::Rc;
use std::sync::OnceLock;

use gimli::{EndianRcSlice, LittleEndian};
use kernel_core::symbols::Table;
use kernel_core::symbols::lines::LineTable;
use object::{Object as _, ObjectSection as _, ObjectSymbol as _, SymbolKind};
use pmiscope::profile::Mode;
use pmiscope::profile::Outcome::{self, Exception, Panic};

use crate::fixture::{Guest, built, kernel};
use crate::folder::folder;

/// The functions of the kernel by its file: where each lies, and what it is called.
fn functions() -> &'static [(Range<u64>, String)] {
    static FUNCTIONS: OnceLock<Vec<(Range<u64>, String)>> = OnceLock::new();
    FUNCTIONS.get_or_init(|| {
        let file = object::File::parse(kernel()).unwrap();
        let is_function = |it: &object::Symbol<'_, '_>| {
            it.kind() == SymbolKind::Text && it.is_definition() && it.size() > 0
        };
        let functions = file.symbols().filter(is_function).map(|it| {
            let name = rustc_demangle::demangle(it.name().unwrap());
            (it.address()..it.address() + it.size(), format!("{name:#}"))
        });
        functions.collect()
    })
}

/// The bytes of the table of names, and where in the kernel's file they are.
fn table() -> (&'static [u8], Range<usize>) {
    section(".pmiscope.symbols")
}

/// The bytes of a section, and where in the kernel's file they are.
fn section(name: &str) -> (&'static [u8], Range<usize>) {
    let file = object::File::parse(kernel()).unwrap();
    let section = file.section_by_name(name).unwrap();
    let (start, bytes) = section.file_range().unwrap();
    let start = usize::try_from(start).unwrap();
    let range = start..start + usize::try_from(bytes).unwrap();
    (&kernel()[range.clone()], range)
}

#[test]
fn each_functions_bytes_are_named_as_in_the_elf_file() {
    let table = Table::new(table().0).expect("`make kernel` writes a table");
    let start = functions().iter().map(|it| it.0.start).min().unwrap();
    let start = start & !0xfff;
    for (addresses, name) in functions() {
        let Range { start: first, end } = addresses.clone();
        for address in [first, first + (end - first) / 2, end - 1] {
            let found = table.find(address - start);
            let found = found.unwrap_or_else(|| panic!("{address:#x} of {name} has no name"));
            // Several can lie at one address.
            let names: Vec<_> = functions()
                .iter()
                .filter(|it| it.0.contains(&address))
                .map(|it| it.1.as_str())
                .collect();
            let shown = found.name.to_string();
            // A long one is cut.
            let is_it = |name: &&str| match shown.strip_suffix("...") {
                Some(start) => start.len() == 400 && name.starts_with(start),
                None => *name == shown,
            };
            assert!(
                names.iter().any(is_it),
                "{address:#x}: {shown}, not {names:?}"
            );
        }
        let is_other = |it: &(Range<u64>, String)| it.0.contains(&end);
        if !functions().iter().any(is_other) {
            assert!(table.find(end - start).is_none(), "a name behind {name}");
        }
    }
}

type Bytes = EndianRcSlice<LittleEndian>;

/// Where the kernel's file says that code is: the function that has a name there, not what is inlined
/// into it.
fn source_of(context: &addr2line::Context<Bytes>, address: u64) -> Option<(String, u32)> {
    let mut frames = context.find_frames(address).skip_all_loads().ok()?;
    let mut place = None;
    while let Ok(Some(frame)) = frames.next() {
        place = frame.location;
    }
    let place = place?;
    Some((
        place.file?.to_owned(),
        place.line.filter(|&line| line != 0)?,
    ))
}

#[test]
fn the_table_of_lines_says_what_the_debug_information_says() {
    let file = object::File::parse(kernel()).unwrap();
    let dwarf = gimli::Dwarf::load(|id| {
        let section = file.section_by_name(id.name());
        let bytes = section.map_or(&[][..], |it| it.data().unwrap());
        Ok::<_, object::Error>(Bytes::new(Rc::from(bytes), LittleEndian))
    });
    let context = addr2line::Context::from_dwarf(dwarf.unwrap()).unwrap();
    let table = LineTable::new(section(".pmiscope.lines").0).expect("`make kernel` writes a table");
    let text = file.section_by_name(".text").unwrap();
    let start = text.address();
    // Each 13th byte, and the first and last ones of functions.
    let edges = functions().iter().flat_map(|it| [it.0.start, it.0.end - 1]);
    let mut known = 0;
    for address in (start..start + text.size()).step_by(13).chain(edges) {
        let found = table.find(address - start).map(|it| it.to_string());
        let expected = source_of(&context, address);
        let Some(found) = &found else {
            assert_eq!(expected, None, "{address:#x} has no line");
            continue;
        };
        let (path, line) = expected.unwrap_or_else(|| panic!("{address:#x} is at {found}"));
        let (found, number) = found.rsplit_once(':').unwrap();
        let is_end = path == found || path.ends_with(&format!("/{found}"));
        assert!(is_end, "{address:#x} is in {path}, found is {found}");
        assert_eq!(number, line.to_string(), "{address:#x} in {path}");
        known += 1;
    }
    assert!(known > 60_000, "{known} of {} bytes", text.size());
}

/// The line of a source file of the self-tests that has this text, once.
#[track_caller]
fn line_of(file: &str, text: &str) -> String {
    let path = format!("{}/../../{file}", env!("CARGO_MANIFEST_DIR"));
    let source = fs::read_to_string(path).unwrap();
    let mut found = (1..).zip(source.lines()).filter(|it| it.1.contains(text));
    let number = found.next().expect(text).0;
    assert_eq!(found.next(), None, "{text} is there twice");
    format!("{file}:{number}")
}

#[test]
fn backtraces_have_files_and_lines_when_asked() {
    let file = "kernel/src/selftest/last_words.rs";
    let texts = ["middle(value)) + 1", "inner(value)) + 1", "outer(black_box"];
    let callers = texts.map(|text| line_of(file, text));
    let guest = Guest::boot_kernel(built("kernel"), 2, 64, "lines=on test=fault-deep");
    let log = guest.ended_with(Exception, &[]).log;
    let frames: Vec<_> = log.lines().filter(|it| it.starts_with('#')).collect();
    let shown: Vec<_> = frames[1..4]
        .iter()
        .map(|it| it.split_once(" at ").expect("a line").1)
        .collect();
    assert_eq!(shown, [&callers[1], &callers[0], &callers[2]], "{log}");
    // The fault itself is in what is inlined, and the message has it as the first frame.
    let (place, source) = frames[0]
        .split_once(">] ")
        .unwrap()
        .1
        .split_once(" at ")
        .unwrap();
    assert!(place.starts_with(&own("inner+0x")), "{log}");
    assert!(source.starts_with(&format!("{file}:")), "{log}");
    assert!(
        log.contains(&format!(" {place} at {source}\n  rip ")),
        "{log}"
    );
    assert!(
        frames[5].contains("] enter_stack+0x"),
        "assembly has none: {log}"
    );
    assert!(!frames[5].contains(" at "), "{log}");
    let idle = frames.iter().find(|it| it.contains("kernel::smp::idle+0x"));
    let idle = idle.expect("core 1 is idle");
    assert!(idle.contains(" at kernel/src/smp.rs:"), "{log}");
}

/// What is said of a core.
#[derive(Debug, Default)]
struct Report {
    /// What comes before the frames: one line, or two of a panic.
    head: String,
    /// The names of the frames, and the interrupts between them.
    frames: Vec<String>,
    /// How the chain ends.
    end: String,
}

/// The function's name in a line of a frame, which must be the one that the ELF file has for the
/// address, as must be the distance.
#[track_caller]
pub(crate) fn name_in(line: &str, is_call: bool) -> String {
    let (address, symbol) = line.split_once(">]").expect("an address");
    let address = u64::from_str_radix(address.split_once("0x").unwrap().1, 16).unwrap();
    let within = address - u64::from(is_call);
    let (name, offset) = symbol.trim().rsplit_once("+0x").unwrap_or_default();
    let offset = u64::from_str_radix(offset, 16).unwrap_or_default();
    let known = functions().iter().filter(|it| it.0.contains(&within));
    let known: Vec<_> = known
        .map(|it| (it.1.as_str(), address - it.0.start))
        .collect();
    if name.is_empty() {
        assert_eq!(known, [], "{line} has no name");
    } else {
        // A name that is too long is cut.
        let is_shown = |whole: &str| match name.strip_suffix("...") {
            Some(start) => start.len() == 400 && whole.starts_with(start),
            None => whole == name,
        };
        let is_known = known.iter().any(|it| is_shown(it.0) && it.1 == offset);
        assert!(is_known, "{line} is in {known:?}");
    }
    name.to_owned()
}

/// Reads reports from the first error of a log to its end. Any line that is out of place, as of
/// another core in the middle of a report, fails.
#[track_caller]
fn reports(log: &str) -> Vec<Report> {
    let start = log.find("[ERROR ").expect("an error");
    let mut reports = Vec::new();
    let mut report = Report::default();
    let mut number = 0;
    // The next frame is of an instruction, not of a call.
    let mut is_instruction = true;
    for line in log[start..].lines() {
        if let Some(end) = line.strip_prefix("-- chain: ") {
            assert_ne!(number, 0, "an end without frames: {log}");
            report.end = end.strip_suffix(" --").unwrap().to_owned();
            reports.push(std::mem::take(&mut report));
            (number, is_instruction) = (0, true);
        } else if line.starts_with("-- ") {
            report.frames.push(line.to_owned());
            is_instruction = true;
        } else if let Some(again) = line.strip_prefix("    and ") {
            let times: usize = again.strip_suffix(" times more").unwrap().parse().unwrap();
            let last = report.frames.last().unwrap().clone();
            report.frames.extend(vec![last; times]);
            number += times;
        } else if let Some(frame) = line.strip_prefix('#') {
            assert!(
                frame.starts_with(&format!("{number:02} [<0x")),
                "{line}: {log}"
            );
            report.frames.push(name_in(frame, !is_instruction));
            is_instruction = false;
            number += 1;
        } else {
            assert_eq!(number, 0, "`{line}` is between frames: {log}");
            report.head += line;
            report.head += "\n";
        }
    }
    if !report.head.is_empty() {
        reports.push(report);
    }
    reports
}

/// Boots that many cores with a self-test, which ends so, and returns its log and reports.
#[track_caller]
fn fails(cores: u32, test: &str, outcome: Outcome, mode: Mode) -> (String, Vec<Report>) {
    let line = format!("test={test}");
    let guest = Guest::boot_machine(built("kernel"), cores, 128, &line, |machine| {
        machine.mode = mode;
    });
    let log = guest.ended_with(outcome, &[]).log;
    let reports = reports(&log);
    (log, reports)
}

const HANDLER: [&str; 2] = ["__rustc::rust_begin_unwind", "core::panicking::panic_fmt"];
/// From an NMI's handler to what it has interrupted.
const NMI: [&str; 6] = [
    "kernel::trap::dispatch::dispatch",
    "kernel::trap::debug::on_switched_trap",
    "debug_entry",
    "-- debug exception (vector 1) --",
    "nmi_entry",
    "-- NMI (vector 2) --",
];
const FIRST_CORE: [&str; 2] = ["kernel::first_core", "enter_stack"];
const OTHER_CORE: [&str; 3] = [
    "kernel::smp::idle",
    "kernel::other_core",
    "other_core_entry",
];

/// A function of the self-tests.
fn own(name: &str) -> String {
    format!("kernel::selftest::last_words::{name}")
}

#[track_caller]
fn assert_frames(report: &Report, parts: &[&[&str]]) {
    assert_eq!(report.frames, parts.concat(), "{report:#?}");
    assert_eq!(report.end, "complete", "{report:#?}");
}

#[test]
fn a_fault_deep_in_calls_is_named_frame_by_frame() {
    let (log, reports) = fails(2, "fault-deep", Exception, Mode::Deterministic);
    let [inner, middle, outer, first] = ["inner", "middle", "outer", "fault_deep"].map(own);
    let frames = [&*inner, &middle, &outer, &first];
    assert_frames(&reports[0], &[&frames, &FIRST_CORE]);
    let head = &reports[0].head;
    assert!(
        head.starts_with("[ERROR core0] page fault (vector 14) at 0xffffffff8"),
        "{head}"
    );
    for says in [
        &format!(" {inner}+0x"),
        "\n  rflags ",
        " IF IOPL=0\n",
        "\n  cr3 00000",
        "  fs base 0000000000000000  gs base ffff8000",
        "\n  core 0, APIC id 0\n",
        "\n  cr2 00000000dead0000 (reading, not mapped)\n",
        "\n  stack pointer: core 0's kernel stack\n",
    ] {
        assert!(head.contains(says), "`{says}` is not in {head}");
    }
    assert_eq!(reports[1].head, "core 1 (APIC id 1) was stopped\n");
    assert_frames(&reports[1], &[&OTHER_CORE]);
    assert_eq!(reports.len(), 2, "{log}");
}

#[test]
fn a_call_of_no_code_has_its_caller() {
    let (_, reports) = fails(1, "execute-data", Exception, Mode::Deterministic);
    let caller = "kernel::selftest::execute_data";
    assert_frames(&reports[0], &[&["", caller], &FIRST_CORE]);
}

#[test]
fn a_stack_that_overflows_is_walked_by_the_frame_pointer() {
    let (_, reports) = fails(1, "stack-overflow", Exception, Mode::Deterministic);
    let deeper = "kernel::selftest::stack_overflow::deeper";
    assert_eq!(reports[0].frames, [deeper; 65]);
    assert_eq!(reports[0].end, "depth limit");
}

/// All cores panic and none is stopped before: each says its own, behind one another.
#[test]
fn panics_of_16_cores_are_all_readable() {
    let (log, reports) = fails(16, "panic-in-all-nmis", Panic, Mode::Deterministic);
    let panics = own("panic_with_all");
    let [in_nmi, first, other] =
        ["in_nmi", "panic_in_all_nmis", "panic_in_all_nmis::panic"].map(own);
    let mut cores: Vec<u32> = Vec::new();
    for (at, report) in reports.iter().enumerate() {
        let core = report.head.split("this panic of core ").nth(1);
        let core = core.and_then(|rest| rest.strip_suffix(" was asked for\n"));
        let core: u32 = core
            .unwrap_or_else(|| panic!("{report:?}"))
            .parse()
            .unwrap();
        let begins = if at == 0 {
            format!("[ERROR core{core}] panicked at kernel/src/selftest/last_words.rs:")
        } else {
            format!("core {core} (APIC id {core}) has failed as well: panicked at kernel/src/self")
        };
        assert!(report.head.starts_with(&begins), "{report:?}");
        let (test, root) = if core == 0 {
            (&first, &FIRST_CORE[..])
        } else {
            (&other, &OTHER_CORE[..])
        };
        assert_frames(
            report,
            &[&HANDLER, &[&panics], &NMI, &[&in_nmi, test], root],
        );
        cores.push(core);
    }
    cores.sort_unstable();
    assert_eq!(cores, (0..16).collect::<Vec<_>>(), "{log}");
}

/// The same of cores that run at once, some of which are stopped before they have panicked.
#[test]
fn panics_at_once_are_not_mixed() {
    for _ in 0..3 {
        let (log, reports) = fails(16, "panic-everywhere", Panic, Mode::Realtime);
        assert_eq!(reports.len(), 16, "{log}");
        for report in &reports {
            assert!(report.frames.contains(&own("panic_with_all")), "{report:?}");
            assert_eq!(report.end, "complete", "{report:?}");
        }
        let panics = log.matches("panicked at ").count();
        let stopped = log.matches(" was stopped\n").count();
        assert_eq!(panics + stopped, 16, "{log}");
    }
}

#[test]
fn a_panic_in_a_panic_says_how_it_came_there() {
    let (log, reports) = fails(2, "panic-in-panic", Panic, Mode::Deterministic);
    let head = &reports[0].head;
    assert!(head.contains("\npanic while ending the run\n"), "{head}");
    let shown = "<kernel::selftest::PanicsWhenShown as core::fmt::Display>::fmt";
    let frames = &reports[0].frames;
    assert_eq!(frames[2], shown, "{frames:?}");
    let outer = "kernel::selftest::panic_in_panic";
    assert_eq!(
        frames[frames.len() - 3..],
        [&[outer], &FIRST_CORE[..]].concat()
    );
    assert_frames(&reports[1], &[&OTHER_CORE]);
    assert_eq!(reports.len(), 2, "{log}");
}

#[test]
fn a_panic_in_an_nmi_that_came_while_the_core_held_the_log() {
    let (log, reports) = fails(2, "panic-in-nmi", Panic, Mode::Deterministic);
    let head = &reports[0].head;
    assert!(
        head.ends_with("\nthis panic in an NMI was asked for\n"),
        "{head}"
    );
    let frames = &reports[0].frames;
    let below = 3 + NMI.len();
    assert_eq!(frames[3..below], NMI, "{frames:?}");
    for name in ["core::fmt::write", "kernel::log::line"] {
        let is_below = frames[below + 1..].iter().any(|frame| frame == name);
        assert!(is_below, "{name} was interrupted: {frames:?}");
    }
    assert_frames(&reports[1], &[&OTHER_CORE]);
    assert_eq!(reports.len(), 2, "{log}");
}

#[test]
fn each_other_core_says_where_it_was() {
    let (log, reports) = fails(3, "panic-among-busy", Panic, Mode::Deterministic);
    for (core, inner) in [(1, "busy_without_interrupts"), (2, "busy_with_interrupts")] {
        let report = &reports[core];
        assert_eq!(
            report.head,
            format!("core {core} (APIC id {core}) was stopped\n")
        );
        let own = ["spin_for_ever", inner, "busy"].map(own);
        let expected: Vec<_> = own.iter().map(String::as_str).chain(OTHER_CORE).collect();
        // It may be in what it calls.
        let frames: Vec<_> = report
            .frames
            .iter()
            .filter(|it| !it.ends_with("wait_for"))
            .collect();
        assert_eq!(frames, expected, "{log}");
        assert_eq!(report.end, "complete");
    }
    assert_eq!(reports.len(), 3, "{log}");
}

#[test]
fn a_core_that_hears_no_nmi_is_named() {
    let (log, reports) = fails(3, "panic-beside-deaf", Panic, Mode::Deterministic);
    assert_eq!(reports[1].head, "core 1 (APIC id 1) was stopped\n");
    assert_eq!(
        reports[2].head, "core 2 (APIC id 2) has not stopped\n",
        "{log}"
    );
    assert_eq!(reports.len(), 3, "{log}");
}

#[test]
fn a_panic_while_another_core_ends_the_run_in_success_is_not_lost() {
    let (log, reports) = fails(2, "panic-behind-success", Panic, Mode::Deterministic);
    let says =
        "[ERROR core0] core 1 has failed while the run ended: panicked at kernel/src/selftest/";
    assert!(log.contains(says), "{log}");
    let head = &reports[0].head;
    assert!(
        head.ends_with("\nthis panic at the end was asked for\n"),
        "{head}"
    );
    assert_eq!(reports[0].end, "complete", "{log}");
}

/// As `cargo build` alone leaves it, or as it is where something has gone wrong.
#[test]
fn a_kernel_without_a_table_or_with_a_damaged_one_says_addresses() {
    let (whole, place) = table();
    let mut damaged = whole.to_vec();
    damaged[16..].fill(0xff);
    for (name, table, is_named) in [
        ("none", vec![0; whole.len()], false),
        ("damaged", damaged, false),
        ("whole", whole.to_vec(), true),
    ] {
        let mut file = kernel().to_vec();
        file[place.clone()].copy_from_slice(&table);
        let path = folder().join(name);
        fs::write(&path, file).unwrap();
        let log = Guest::boot_kernel(path, 2, 64, "test=fault-deep")
            .ended_with(Exception, &["#00 [<0xffffffff8", "#05 [<0xffffffff8"])
            .log;
        let is_shown = log.contains(&own("inner"));
        assert_eq!(is_shown, is_named, "{name}: {log}");
        assert_eq!(
            log.matches("-- chain: complete --").count(),
            2,
            "{name}: {log}"
        );
    }
}
