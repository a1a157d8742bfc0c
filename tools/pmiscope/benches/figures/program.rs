//! What a program takes: processor time and memory.

use std::fs;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::Duration;

use rustix::process::{Pid, WaitId, WaitIdOptions, waitid};

/// Between two looks at a program's memory.
const LOOK: Duration = Duration::from_micros(500);

/// Seconds of processor time of all programs that were started here and have ended, in user mode and in
/// the system, to within a hundredth; theirs included that they have started.
#[allow(dead_code)] // not all benches ask
pub fn processor_seconds() -> f64 {
    let stat = fs::read_to_string("/proc/self/stat").expect("Linux's /proc");
    seconds(&stat, 13)
}

fn start(command: &mut Command) -> Child {
    let quiet = command.stdin(Stdio::null()).stdout(Stdio::null());
    let child = quiet.stderr(Stdio::null()).spawn();
    child.unwrap_or_else(|error| panic!("{command:?}: {error}"))
}

/// Returns true if a program of this name is installed.
pub fn exists(name: &str) -> bool {
    let version = Command::new(name).arg("--version").output();
    version.is_ok_and(|version| version.status.success())
}

/// Runs it once: the processor time of all that it did, however busy the machine is.
fn processor_time(command: &mut Command) -> Duration {
    let mut child = start(command);
    let id = Pid::from_child(&child);
    // What has ended is there until somebody waits for it.
    let ended = WaitIdOptions::EXITED | WaitIdOptions::NOWAIT;
    waitid(WaitId::Pid(id), ended).expect("a child");
    let took = taken_by(child.id());
    let status = child.wait().expect("a child");
    assert!(status.success(), "{command:?}: {status}");
    took
}

/// The processor time of a process that has ended: its first thread's in nanoseconds, or, if others
/// have taken more, that of all to within a hundredth of a second.
fn taken_by(process: u32) -> Duration {
    let read = |file: &str| {
        let file = format!("/proc/{process}/{file}");
        fs::read_to_string(file).expect("Linux's /proc")
    };
    let schedstat = read("schedstat");
    let of_first = schedstat.split(' ').next().and_then(|it| it.parse().ok());
    let of_first = Duration::from_nanos(of_first.expect("a number"));
    of_first.max(Duration::from_secs_f64(seconds(&read("stat"), 11)))
}

/// The seconds in two fields of a `stat` of /proc, by the number of the first behind the name.
fn seconds(stat: &str, field: usize) -> f64 {
    // The name, in brackets, may have spaces; behind it is field 3 of proc(5).
    let (_, fields) = stat.rsplit_once(')').expect("a name in brackets");
    let ticks = fields.split_whitespace().skip(field).take(2);
    let ticks: u32 = ticks
        .map(|field| field.parse::<u32>().expect("a number"))
        .sum();
    f64::from(ticks) / 100.0
}

/// Runs each of them in turns, so that what disturbs one disturbs the other: the shortest
/// processor time of each.
pub fn times<const N: usize>(rounds: usize, mut commands: [Command; N]) -> [Duration; N] {
    let mut best = [Duration::MAX; N];
    for _ in 0..rounds {
        for (best, command) in best.iter_mut().zip(&mut commands) {
            *best = processor_time(command).min(*best);
        }
    }
    best
}

/// Runs it and gives the most memory that it had, in bytes: to within what it took in its last
/// half millisecond.
pub fn peak_memory(command: &mut Command) -> u64 {
    let mut child = start(command);
    let file = format!("/proc/{}/status", child.id());
    let mut most = 0;
    let status = loop {
        let status = fs::read_to_string(&file).unwrap_or_default();
        let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let kilobytes = peak.and_then(|it| it.trim().trim_end_matches(" kB").parse().ok());
        most = most.max(kilobytes.unwrap_or(0));
        if let Some(status) = child.try_wait().expect("a child") {
            break status;
        }
        thread::sleep(LOOK);
    };
    assert!(status.success(), "{command:?}: {status}");
    most << 10
}
