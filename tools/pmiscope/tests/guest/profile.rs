//! The profile that the kernel makes of its own run: what it shows is what the tool has of the same samples.

use std::collections::BTreeMap;
use std::io::{Read as _, Write as _};
use std::process::{Command, Stdio};
use std::thread;
use std::time::Duration;

use object::{Object as _, ObjectSymbol as _, SymbolKind};
use pmiscope::internals::{Link, demangle};
use serde_json::Value;

use crate::fixture::{Run, Samples, Slot, built, folder, kernel, run};
use crate::pmu::is_skipped;

/// What the kernel has answered to each line.
fn answers(run: &Run) -> BTreeMap<String, Vec<String>> {
    let said = run.said();
    let mut answers = BTreeMap::new();
    for part in said.split("monitor> ").skip(1) {
        let mut lines = part.lines().map(str::to_owned);
        let asked = lines.next().unwrap();
        // Behind the last one is what the tool says.
        let lines = lines.take_while(|line| !line.starts_with("pmiscope: "));
        answers.insert(asked, lines.collect());
    }
    answers
}

/// Where functions are, and their names.
struct Functions(Vec<(u64, u64, String)>);

impl Functions {
    fn of_kernel() -> Self {
        let file = object::File::parse(kernel()).unwrap();
        let symbols = file.symbols().filter(|it| it.kind() == SymbolKind::Text);
        let named = symbols.map(|it| {
            let name = demangle(it.name().unwrap());
            (it.address(), it.address() + it.size(), name)
        });
        let mut all: Vec<_> = named.collect();
        all.sort_unstable();
        Self(all)
    }

    #[track_caller]
    fn at(&self, address: u64) -> &str {
        let mut there = self.0.iter();
        let found = there.find(|(start, end, _)| (*start..*end).contains(&address));
        &found.unwrap_or_else(|| panic!("{address:#x}")).2
    }
}

/// Samples by function, and of each by who had called it.
type Counted = BTreeMap<String, (u64, BTreeMap<String, u64>)>;

/// What the tool has of the samples that are wanted.
fn counted(samples: &Samples, is_wanted: impl Fn(usize, &str) -> bool) -> Counted {
    let functions = Functions::of_kernel();
    let mut counted = Counted::new();
    for (core, records) in samples.cores.iter().enumerate() {
        for number in 0..records.len() {
            let seen = samples.at(core, number);
            if !is_wanted(core, samples.task(&seen)) {
                continue;
            }
            let caller = match samples.links(core, number).first() {
                None => "the root of its stack".to_owned(),
                Some(Link::UserReturn(_) | Link::Border { .. }) => unreachable!("no program runs"),
                Some(Link::Return(address)) => functions.at(address.0 - 1).to_owned(),
                Some(Link::Interrupted { pc, .. }) => {
                    format!("interrupt of {}", functions.at(pc.0))
                }
            };
            let row = counted
                .entry(functions.at(seen.pc.0).to_owned())
                .or_default();
            row.0 += 1;
            *row.1.entry(caller).or_default() += 1;
        }
    }
    counted
}

/// What a table of the kernel shows; of callers those that have a name there.
fn shown(lines: &[String]) -> Counted {
    let mut shown = Counted::new();
    let mut last = String::new();
    for line in lines {
        let samples = line[..9].trim().parse().unwrap();
        let (rest, name) = line[9..].split_at(if line.contains("  < ") { 12 } else { 10 });
        match name.strip_prefix("< ") {
            Some(caller) => {
                let row = shown.get_mut(&last).unwrap();
                row.1.insert(caller.to_owned(), samples);
            }
            None => {
                assert!(rest.ends_with("%  "), "{line}");
                last = name.to_owned();
                shown.insert(last.clone(), (samples, BTreeMap::new()));
            }
        }
    }
    shown
}

/// Asserts that the kernel shows what the tool has counted: three callers of each function, and the rest.
#[track_caller]
fn assert_same(mut shown: Counted, counted: &Counted) {
    let counts = |all: &Counted| -> BTreeMap<String, u64> {
        all.iter()
            .map(|(name, row)| (name.clone(), row.0))
            .collect()
    };
    assert_eq!(counts(&shown), counts(counted));
    for (name, (samples, callers)) in counted {
        let shown = &mut shown.get_mut(name).unwrap().1;
        let mut rest = *samples;
        let mut by_count: Vec<_> = callers.values().copied().collect();
        by_count.sort_unstable_by(|a, b| b.cmp(a));
        for (caller, count) in shown.iter().filter(|(it, _)| !it.contains(" other")) {
            assert_eq!(callers.get(caller), Some(count), "{caller} of {name}");
            rest -= count;
        }
        let others = shown.iter().filter(|(it, _)| it.contains(" other"));
        assert_eq!(
            others.map(|it| it.1).sum::<u64>(),
            rest,
            "{name}: {shown:?}"
        );
        let most: u64 = by_count.iter().take(3).sum();
        assert_eq!(samples - rest, most, "the most frequent callers of {name}");
    }
}

#[test]
fn what_the_kernel_shows_of_its_run_is_what_the_tool_has_of_it() {
    let run = run("--self-test profile-in-kernel --samples 4000 --verbose").ended_with(0);
    let answers = answers(&run);
    let samples = run.samples();
    samples.assert_whole(4, 4000);
    let top = &answers["prof top 1000"];
    assert_eq!(
        top[..2],
        [
            "4000 samples that are still in memory, of 4000 taken, 0 lost",
            "  samples   share  function, and its callers"
        ]
    );
    let in_kernel = shown(&top[2..]);
    assert_same(in_kernel.clone(), &counted(&samples, |_, _| true));
    assert!(in_kernel.len() > 12, "{in_kernel:?}");
    // The report counts inlined functions for themselves: of those that call no other, their totals
    // are the same.
    let report = run.report();
    let functions = report["functions"].as_array().unwrap();
    for name in ["collatz_steps", "greatest_divisor", "shift", "multiply"] {
        let name = format!("kernel::workload::arithmetic::{name}");
        let row = functions.iter().find(|row| row["name"] == *name);
        let total = row.and_then(|row| row["total"].as_u64());
        assert_eq!(total, Some(in_kernel[&name].0), "{name}");
    }

    // By core, as many of each as ten.
    let by_core = &answers["prof top by core"];
    let heads = by_core.iter().filter(|line| line.starts_with("core "));
    let expected: Vec<_> = (0..4)
        .map(|core| format!("core {core}: 1000 samples,  25.00%"))
        .collect();
    assert_eq!(heads.cloned().collect::<Vec<_>>(), expected);
    let second = by_core
        .split(|line| line.starts_with("core "))
        .nth(2)
        .unwrap();
    let table: Vec<_> = second[1..]
        .iter()
        .filter(|line| !line.contains("%  in "))
        .cloned()
        .collect();
    let of_core = counted(&samples, |core, _| core == 1);
    let table = shown(&table);
    assert_eq!(table.len(), 10);
    for (name, row) in &table {
        assert_eq!(row.0, of_core[name].0, "{name}");
    }
    // By task.
    let by_task = &answers["prof top 2 by task"];
    for task in ["arithmetic", "hash", "recursion"] {
        let of_task = counted(&samples, |_, of| of == task);
        let sum: u64 = of_task.values().map(|row| row.0).sum();
        let head = format!("task {task}: {sum} samples,");
        assert!(
            by_task.iter().any(|line| line.starts_with(&head)),
            "{by_task:#?}"
        );
    }
}

#[test]
fn what_cannot_be_done_is_said_and_what_was_last_is_traced() {
    let run = run("--self-test profile-in-kernel --samples 4000 --verbose").ended_with(0);
    let answers = answers(&run);
    assert_eq!(
        answers["prof"][0],
        "source apic-timer, period 1000, finished"
    );
    let all = &answers["prof"][6];
    let numbers: Vec<_> = all.split_whitespace().take(5).collect();
    assert_eq!(numbers, ["all", "4000", "4000", "4000", "0"]);
    for (asked, problem) in [
        (
            "prof top by moon",
            "`by`: behind the number of functions comes `by task` or `by core`",
        ),
        ("prof stop", "nothing to change: the run is finished"),
        (
            "prof period 0",
            "a period is a number from 1 to 1000000000, not 0",
        ),
        (
            "prof event nothing",
            "`nothing`: no such event (`pmiscope list` shows those there are, rUUEE is a raw one)",
        ),
        (
            "prof sleep",
            "`prof sleep`: it is start, stop, status, period, event or top",
        ),
        (
            "stat arithmetic",
            "nothing is counted at the prompt, where all cores stand still: pmiscope stat --workload arithmetic counts it",
        ),
        ("stat nothing", "`nothing`: there is no such workload"),
        ("trace 65", "N is a number from 1 to 64, not 65"),
    ] {
        assert_eq!(answers[asked], [format!("problem: {problem}")], "{asked}");
    }
    // The last three of all cores, by time.
    let samples = run.samples();
    let mut last: Vec<_> = (0..4)
        .flat_map(|core| (900..1000).map(move |number| (core, number)))
        .map(|(core, number)| (samples.at(core, number), core))
        .collect();
    last.sort_by_key(|(seen, _)| seen.time);
    let heads = answers["trace 3"]
        .iter()
        .filter(|it| it.starts_with("core "));
    let expected = last[last.len() - 3..].iter().map(|(seen, core)| {
        let (sequence, time, task) = (seen.sequence, seen.time, samples.task(seen));
        format!("core {core}: sample {sequence} at {time}, period 1000, task {task}")
    });
    assert_eq!(
        heads.cloned().collect::<Vec<_>>(),
        expected.collect::<Vec<_>>()
    );
    let first = answers["trace 3"]
        .iter()
        .find(|it| it.starts_with("#00 "))
        .unwrap();
    let pc = last[last.len() - 3].0.pc.0;
    let functions = Functions::of_kernel();
    let expected = format!("#00 [<{pc:#018x}>] {}+", functions.at(pc));
    assert!(first.starts_with(&expected), "{first}, not {expected}");
}

#[test]
fn where_chains_are_counted_in_place_they_are_what_is_shown() {
    let arguments = "--self-test profile-in-kernel --samples 4000 --verbose";
    let [each, counted] = ["", " --keep chains"].map(|more| {
        let run = run(&format!("{arguments}{more}")).ended_with(0);
        answers(&run)
    });
    assert_eq!(each["prof top 1000"], counted["prof top 1000"]);
    assert_eq!(each["prof top by core"], counted["prof top by core"]);
    assert!(
        counted["trace 3"][0].starts_with("equal chains are counted in place (keep=chains)"),
        "{:?}",
        counted["trace 3"]
    );
}

/// A run with a monitor, at whose prompt these lines are typed, each once the one before is answered.
fn at_prompt(name: &str, arguments: &str, lines: &[&str]) -> (Option<i32>, String, Value) {
    let _slot = Slot::take();
    let profile = folder().join(format!("{name}.pmi"));
    let mut tool = Command::new(env!("CARGO_BIN_EXE_pmiscope"))
        .args(["run", "--monitor", "--time-limit", "100", "-o"])
        .arg(&profile)
        .arg("--kernel")
        .arg(built("kernel"))
        .arg("--loader")
        .arg(built("loader"))
        .args(arguments.split_ascii_whitespace())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = tool.stdin.take().unwrap();
    let mut stdout = tool.stdout.take().unwrap();
    let mut shown = String::new();
    let mut read_until = |what: &str, from: usize| {
        let mut bytes = [0; 4096];
        while !shown[from.min(shown.len())..].contains(what) {
            let read = stdout.read(&mut bytes).unwrap();
            assert!(read > 0, "`{what}` does not come: {shown}");
            shown += &String::from_utf8_lossy(&bytes[..read]);
        }
        shown.len()
    };
    read_until("monitor: ^C on the serial port", 0);
    // Behind some samples.
    thread::sleep(Duration::from_secs(2));
    stdin.write_all(b"\x03").unwrap();
    let mut end = read_until("pmiscope> ", 0);
    for line in lines {
        stdin.write_all(format!("{line}\r").as_bytes()).unwrap();
        if *line == "resume" {
            thread::sleep(Duration::from_secs(2));
            stdin.write_all(b"\x03").unwrap();
        }
        if !line.starts_with("exit") {
            // What is typed is shown behind the prompt.
            end = read_until("\npmiscope> ", end);
        }
    }
    drop(stdin);
    stdout.read_to_string(&mut shown).unwrap();
    let status = tool.wait().unwrap().code();
    let report = Command::new(env!("CARGO_BIN_EXE_pmiscope"))
        .args(["report", "--format", "json"])
        .arg(&profile)
        .output()
        .unwrap();
    (
        status,
        shown,
        serde_json::from_slice(&report.stdout).unwrap(),
    )
}

#[test]
fn a_run_with_a_monitor_shows_its_profile_and_is_ended_from_there() {
    let (status, shown, report) = at_prompt(
        "at-prompt",
        "--qemu stock --samples 100000000 --ring 8M",
        &["prof stop", "prof top 3", "trace 1", "exit 16"],
    );
    let refused = "monitor: a run by apic-timer goes on as it began: only counters can be changed. status, top and trace work\r\n";
    assert!(shown.contains(refused), "{shown}");
    let (top, _) = shown
        .split_once(" samples that are still in memory, of ")
        .unwrap();
    let top: u64 = top.rsplit('\n').next().unwrap().parse().unwrap();
    // Nothing was sampled after that: the profile has those, and all of them.
    assert_eq!(report["samples"], top);
    assert!(top > 100, "{top}");
    // Who ends a run so has not let it finish.
    assert_eq!((status, &report["lost"]), (Some(4), &0.into()), "{shown}");
    assert!(shown.contains("-- chain: complete --"), "{shown}");
}

#[test]
fn a_run_by_counters_is_changed_at_the_prompt() {
    if is_skipped() {
        return;
    }
    let (status, shown, report) = at_prompt(
        "counters-at-prompt",
        "--qemu lab --event instructions:k --period 2000 --samples 100000000 --ring 8M",
        &[
            "prof",
            "prof period 700",
            "prof",
            "resume",
            "prof",
            "exit 16",
        ],
    );
    assert!(
        shown.contains("source pmu, period 2000, sampling\r\n"),
        "{shown}"
    );
    assert!(shown.contains("events instructions:k\r\n"), "{shown}");
    assert_eq!(
        shown.matches("no answer yet: core 0 does it").count(),
        2,
        "{shown}"
    );
    assert!(
        shown.contains("source pmu, period 700, sampling\r\n"),
        "{shown}"
    );
    assert!(shown.contains("asked last: done\r\n"), "{shown}");
    assert!(report["samples"].as_u64() > Some(100));
    assert_eq!(status, Some(4), "{shown}");
}
