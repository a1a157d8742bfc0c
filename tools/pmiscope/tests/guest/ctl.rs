//! A run that is stopped, started and changed while it goes on.

use std::io::Read as _;
use std::process::{Child, Command as Process, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use pmiscope::internals::Profile;
use pmiscope::profile::OverheadEnd;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::fixture::{Slot, folder};
use crate::pmu::is_skipped;

/// A run that goes on.
pub struct Going {
    child: Child,
    _slot: Slot,
}

impl Going {
    /// A run that takes samples, and does not end by itself.
    fn sampling(name: &str, arguments: &str) -> Self {
        Self::endless(name, &format!("--ring 32M {arguments}"))
    }

    /// The same, with rings of another size.
    pub fn endless(name: &str, arguments: &str) -> Self {
        let endless = format!("--samples 1000000000 {arguments}");
        let going = Self::start("run", name, &endless);
        going.wait_for("a sample", |it| it.samples() > 0);
        going
    }

    /// A run that counts, and ends when it has.
    fn counting(name: &str, arguments: &str) -> Self {
        let going = Self::start("stat", name, arguments);
        going.wait_for("the counting", |it| it.status() == "counting\n");
        going
    }

    fn start(command: &str, name: &str, arguments: &str) -> Self {
        let _slot = Slot::take();
        let child = Process::new(env!("CARGO_BIN_EXE_pmiscope"))
            .args([command, "--format", "json"])
            .args(["--time-limit", "120", "-o"])
            .arg(folder().join(format!("{name}.pmi")))
            .args(arguments.split_ascii_whitespace())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("the tool starts");
        Self { child, _slot }
    }

    /// Its process.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// What `pmiscope ctl` ends with and says of this run.
    fn ctl(&self, command: &str) -> (Option<i32>, String) {
        let output = Process::new(env!("CARGO_BIN_EXE_pmiscope"))
            .args(["ctl", "--pid", &self.child.id().to_string()])
            .args(command.split_ascii_whitespace())
            .output()
            .expect("the tool starts");
        let said = [output.stdout, output.stderr].concat();
        (output.status.code(), String::from_utf8(said).unwrap())
    }

    #[track_caller]
    pub fn does(&self, command: &str) {
        let (status, said) = self.ctl(command);
        assert_eq!((status, said.as_str()), (Some(0), ""), "ctl {command}");
    }

    #[track_caller]
    fn refuses(&self, command: &str, why: &str) {
        let (status, said) = self.ctl(command);
        assert!(
            status == Some(1) && said.contains(why),
            "ctl {command} was not refused because `{why}`, but ended with {status:?}: {said}"
        );
    }

    fn status(&self) -> String {
        self.ctl("status").1
    }

    /// The samples that were taken so far.
    fn samples(&self) -> u64 {
        let status = self.status();
        let count = status
            .split("; ")
            .nth(1)
            .and_then(|it| it.split(' ').next());
        count.map_or(0, |count| count.replace(',', "").parse().unwrap_or(0))
    }

    #[track_caller]
    fn wait_for(&self, what: &str, condition: impl Fn(&Self) -> bool) {
        let started = Instant::now();
        while !condition(self) {
            let is_late = started.elapsed() > Duration::from_secs(60);
            assert!(!is_late, "{what} does not come: {}", self.status());
            thread::sleep(Duration::from_millis(20));
        }
    }

    /// Waits for so many samples more.
    #[track_caller]
    pub fn go_on(&self, more: u64) {
        let before = self.samples();
        self.wait_for("a sample", |it| it.samples() >= before + more);
    }

    /// Stops it; the samples that it has taken.
    #[track_caller]
    fn stop(&self) -> u64 {
        self.does("stop");
        self.wait_for("the stop", |it| it.status().starts_with("stopped; "));
        // The rings are drained still. If it has not stopped, there is no end of it.
        self.wait_for("an end of the samples", |it| {
            let before = it.samples();
            thread::sleep(Duration::from_millis(500));
            it.samples() == before
        });
        self.samples()
    }

    /// Ends it as ^C does; gives its report.
    #[track_caller]
    pub fn end(self) -> Value {
        kill_process(Pid::from_child(&self.child), Signal::INT).unwrap();
        self.report(130)
    }

    /// Waits for its end; gives its report.
    #[track_caller]
    fn report(mut self, status: i32) -> Value {
        let mut text = String::new();
        let mut out = self.child.stdout.take().expect("it was piped");
        out.read_to_string(&mut text).expect("the report is text");
        assert_eq!(self.child.wait().unwrap().code(), Some(status), "{text}");
        serde_json::from_str(&text).expect("the report is JSON")
    }
}

impl Drop for Going {
    fn drop(&mut self) {
        // It may have ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn a_run_by_counters_is_stopped_changed_and_started() {
    if is_skipped() {
        return;
    }
    let going = Going::sampling("ctl", "--smp 2 --qemu lab --period 1000 --workload mix");
    let stopped = going.stop();

    going.does("period 700");
    assert_eq!(going.samples(), stopped, "a change starts nothing");
    going.does("start");
    assert!(
        going.status().starts_with("sampling; "),
        "{}",
        going.status()
    );
    going.go_on(1000);
    // While it goes on.
    going.does("event instructions:k,cycles/period=400/");
    going.go_on(1000);
    // What cannot be counted changes nothing.
    going.refuses(
        "event branches",
        "event 1, branches: this processor does not have the event",
    );
    going.go_on(1000);

    let report = going.end();
    let events: Vec<_> = report["events"]
        .as_array()
        .unwrap()
        .iter()
        .map(|event| {
            let period = &event["period"];
            assert!(event["samples"].as_u64() > Some(0), "{event:#}");
            assert_eq!(period["min"], period["requested"], "{event:#}");
            assert_eq!(period["max"], period["requested"], "{event:#}");
            let name = event["name"].as_str().unwrap();
            (name, period["requested"].as_u64().unwrap())
        })
        .collect();
    let expected = [
        ("cycles", 1000),
        ("cycles", 700),
        ("instructions:k", 700),
        ("cycles", 400),
    ];
    assert_eq!(events, expected);
    assert_changes_are_where_they_were("ctl", &[0, 1, 2, 2]);
}

/// What is counted in place knows its event, whatever was asked for meanwhile.
#[test]
fn a_run_that_keeps_chains_is_stopped_changed_and_started() {
    if is_skipped() {
        return;
    }
    let arguments = "--smp 2 --qemu lab --period 1000 --workload layers --keep chains";
    let going = Going::sampling("ctl-chains", arguments);
    going.go_on(1000);
    let stopped = going.stop();
    going.does("period 700");
    assert_eq!(going.samples(), stopped, "a change starts nothing");
    going.does("start");
    going.go_on(1000);
    going.does("event instructions:k");
    going.go_on(1000);
    let all = going.stop();
    let report = going.end();
    let number = |key: &str| report[key].as_u64().unwrap();
    assert_eq!((number("samples"), number("lost")), (all, 0));
    let counted = number("counted_in_place") + number("counted_in_rings");
    assert_eq!(counted, all);
    let events = report["events"].as_array().unwrap();
    let of_each = events.iter().map(|it| it["samples"].as_u64().unwrap());
    let of_each: Vec<u64> = of_each.collect();
    assert_eq!(of_each[0], stopped, "{of_each:?}");
    assert!(of_each[1..].iter().all(|&it| it >= 1000), "{of_each:?}");
    assert_eq!((of_each.len(), of_each.iter().sum()), (3, all));
}

/// Seconds may lie between two samples, and a thousand until the next one that is not fast.
#[test]
fn a_run_with_few_samples_takes_a_request_at_the_next_one() {
    if is_skipped() {
        return;
    }
    let long = "--smp 1 --qemu lab --period 100000000 --workload arithmetic";
    let going = Going::sampling("seldom", long);
    going.go_on(2);
    let before = going.samples();
    assert!(
        before < 20,
        "{before} samples: the period is too short for this test"
    );
    going.does("stop");
    let more = going.samples() - before;
    assert!(more < 20, "the request was taken {more} samples later");
    going.end();
}

/// Asserts of the run of this name that what a core says it had taken, when the counts of an event
/// began, are the samples of those before it: of each event, how many those are.
#[track_caller]
fn assert_changes_are_where_they_were(name: &str, before: &[u8]) {
    let file = std::fs::read(folder().join(format!("{name}.pmi"))).unwrap();
    let profile = Profile::read(file).unwrap();
    let end = profile.end.as_ref().expect("the profile's end");
    for (core, end) in (0..).zip(&end.cores) {
        let mut events = Vec::new();
        profile
            .for_each_sample(core, |sample| events.push(sample.event))
            .unwrap();
        assert!(
            events.is_sorted_by_key(|it| before[usize::from(*it)]),
            "core {core} has samples of events that were not counted any more"
        );
        assert_eq!(end.overheads.len(), before.len(), "core {core}");
        for (event, OverheadEnd(row)) in end.overheads.iter().enumerate() {
            let samples = events.iter().filter(|it| **it < before[event]).count() as u64;
            // Some may have had no sample.
            let most = samples + end.late + end.early + end.unclaimed;
            assert!(
                (samples..=most).contains(&row.since),
                "core {core}, event {event}: since {}, not {samples} to {most}: {end:?}",
                row.since
            );
        }
    }
}

#[test]
fn a_pause_and_what_a_change_measures_are_no_handlers_time() {
    if is_skipped() {
        return;
    }
    // The longest handler is told of a single core only.
    let arguments = "--smp 1 --qemu lab --period 1000 --workload arithmetic";
    let going = Going::sampling("ctl-pause", arguments);
    going.does("stop");
    going.does("start");
    going.go_on(1000);
    going.does("period 700");
    going.go_on(1000);
    let report = going.end();
    let longest = report["handler_instructions"]["max"].as_u64();
    assert!(
        longest < Some(20_000),
        "{:#}",
        report["handler_instructions"]
    );
}

/// Each time an overflow may be due in the entry of the interrupt that stops the counters:
/// one in some, as overflows are displaced at random. Else all stops would come at the
/// same distance from the sample before.
#[test]
fn a_stop_survives_overflows_that_it_meets() {
    if is_skipped() {
        return;
    }
    let going = Going::sampling(
        "ctl-stops",
        "--smp 2 --qemu lab --period 100 --jitter 50 --workload mix",
    );
    for _ in 0..40 {
        going.does("stop");
        going.does("start");
    }
    going.go_on(1000);
}

/// What a change needs to measure comes by an interrupt that its own handler keeps out.
#[test]
fn a_run_by_maskable_interrupts_is_changed_as_exactly() {
    if is_skipped() {
        return;
    }
    let arguments = "--smp 2 --qemu lab --delivery irq --period 1000 --workload arithmetic";
    let going = Going::sampling("ctl-irq", arguments);
    going.does("period 700");
    going.go_on(1000);
    let report = going.end();
    let changed = &report["events"][1]["period"];
    for what in ["requested", "min", "median", "max"] {
        assert_eq!(changed[what], 700, "{what}: {:#}", report["events"]);
    }
    // Where it is not known how much an overflow has to be put off, each comes early once.
    assert_eq!(report["counters"]["early"], 0, "{:#}", report["counters"]);
}

/// A core that has interrupts off for good is not reached by maskable ones. It does not
/// hold the others.
#[test]
fn a_core_that_does_not_answer_is_named_and_the_run_goes_on() {
    if is_skipped() {
        return;
    }
    let hangs = "--smp 2 --qemu lab --delivery irq --period 1000 --self-test hang-midway";
    let going = Going::sampling("ctl-hung", hangs);
    // The last core, which is as fast as the other, hangs after some thousand.
    going.go_on(20_000);
    going.refuses(
        "period 700",
        "core 1 does not answer: it may have interrupts off",
    );
    let status = going.status();
    assert!(
        status.starts_with("sampling; "),
        "what was refused has stopped the run: {status}"
    );
    going.go_on(1000);
    let report = going.end();
    let events = report["events"].as_array().unwrap();
    assert_eq!(events.len(), 1, "as before: {events:#?}");
    for what in ["requested", "min", "median", "max"] {
        assert_eq!(events[0]["period"][what], 1000, "{what}: {events:#?}");
    }
}

/// The first core takes requests, and none after its last sample.
#[test]
fn a_run_that_is_ending_refuses_at_once() {
    if is_skipped() {
        return;
    }
    // The other core hangs, so the run does not end.
    let hangs = "--smp 2 --qemu lab --delivery irq --period 1000 --samples 20000 \
                 --timeout 100 --self-test hang-midway";
    let going = Going::start("run", "ctl-ending", hangs);
    going.wait_for("the first core's end", |it| it.samples() > 10_000);
    let why = "the core that takes requests has its last sample: the run is ending";
    going.wait_for("the refusal", |it| it.ctl("start").1.contains(why));
    going.refuses("stop", why);
}

#[test]
fn a_run_by_a_timer_refuses_and_goes_on() {
    let going = Going::sampling("ctl-timer", "--smp 2 --qemu stock");
    going.refuses(
        "stop",
        "it samples by apic-timer; only runs by the source pmu",
    );
    going.go_on(100);
    going.end();
}

#[test]
fn a_run_that_counts_refuses_and_counts_on() {
    if is_skipped() {
        return;
    }
    // So many that it has not ended by then, on a busy machine either.
    const UNITS: u64 = 30_000;
    let going = Going::counting(
        "ctl-counting",
        &format!("--smp 2 --qemu lab --workload arithmetic --units {UNITS} --event instructions:k"),
    );
    for command in ["stop", "start", "period 700", "event cycles"] {
        going.refuses(command, "a run that counts goes on as it began");
    }
    assert_eq!(going.status(), "counting\n");
    let report = going.report(0);
    // A unit is tens of thousands of instructions.
    let count = report["events"][0]["count"].as_u64();
    assert!(count > Some(UNITS * 2 * 10_000), "{report:#}");
}
