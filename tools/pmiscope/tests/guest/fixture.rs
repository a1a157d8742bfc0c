//! Runs the kernel that was built, through the command or by hand, and reads
//! what came of it.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::Output;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Condvar, Mutex, OnceLock, PoisonError};
use std::time::Duration;

pub use crate::folder::folder;
use assert_cmd::Command;
use pmiscope::internals::collect::{Collector, Search};
use pmiscope::internals::qemu::{
    self, Additions, Boot, Choice, End, GuestMemory, Limits, Load, Machine, Observer, Qemu,
};
use pmiscope::internals::{Callers, Link, Profile, Repair};
use pmiscope::profile::{CoreEnd, Mode, Outcome, OverheadEnd};
use pmiscope::symbols::Symbols;
use profiler::address::{CodeAddress, StackAddress};
use profiler::format::{
    ChainEnd, ChainEntry, Clock, Description, RecordHead, Sample, Source, State, region,
};
use serde_json::Value;

/// A guest that takes longer hangs: the slowest takes seconds.
const LIMIT: Duration = Duration::from_secs(120);

/// A file of the build that the tests boot.
pub fn built(name: &str) -> PathBuf {
    let executable = Path::new(env!("CARGO_BIN_EXE_pmiscope"));
    let build = executable.parent().and_then(Path::parent).unwrap();
    let path = build.join("x86_64-unknown-none/release").join(name);
    assert!(
        path.is_file(),
        "no {name} at {}: run `make build` first",
        path.display()
    );
    path
}

/// The right to run a guest. Tests run in parallel; more than two guests at a time
/// would only slow each other down, up to their time-outs.
pub struct Slot;

static RUNNING: Mutex<u32> = Mutex::new(0);
static ENDED: Condvar = Condvar::new();

impl Slot {
    const ALL: u32 = 2;

    /// Waits until there is one to be had.
    pub fn take() -> Self {
        let running = RUNNING.lock().unwrap_or_else(PoisonError::into_inner);
        let wait = ENDED.wait_while(running, |running| *running >= Self::ALL);
        *wait.unwrap_or_else(PoisonError::into_inner) += 1;
        Self
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        *RUNNING.lock().unwrap_or_else(PoisonError::into_inner) -= 1;
        ENDED.notify_one();
    }
}

pub fn kernel() -> &'static [u8] {
    static KERNEL: OnceLock<Vec<u8>> = OnceLock::new();
    KERNEL.get_or_init(|| std::fs::read(built("kernel")).unwrap())
}

/// Where a function of the kernel begins, or a label of its assembly.
#[track_caller]
pub fn function(name: &str) -> CodeAddress {
    pmiscope::internals::entry_of(kernel(), name).unwrap()
}

/// The kernel's call-frame information.
fn callers() -> &'static Callers {
    static CALLERS: OnceLock<Callers> = OnceLock::new();
    CALLERS.get_or_init(|| Symbols::new(kernel()).unwrap().callers().clone())
}

/// `pmiscope run`, ended.
pub struct Run {
    arguments: String,
    output: Output,
    /// Where the profile is, if there is one.
    pub profile: PathBuf,
}

/// Runs `pmiscope run` with these arguments, words between spaces, and the kernel
/// and the loader that were built; on the stock QEMU, if they name no other.
pub fn run(arguments: &str) -> Run {
    run_within(arguments, LIMIT)
}

/// The same, within another time.
pub fn run_within(arguments: &str, limit: Duration) -> Run {
    start_within("run", arguments, &built_files(), limit)
}

/// `pmiscope stat` with these arguments.
pub fn stat(arguments: &str) -> Run {
    start_within("stat", arguments, &built_files(), LIMIT)
}

fn built_files() -> [std::ffi::OsString; 4] {
    let [kernel, loader] = ["kernel", "loader"].map(built);
    [
        "--kernel".into(),
        kernel.into_os_string(),
        "--loader".into(),
        loader.into_os_string(),
    ]
}

/// The same without naming a kernel.
pub fn start(arguments: &str, more: &[std::ffi::OsString]) -> Run {
    start_within("run", arguments, more, LIMIT)
}

/// Another command that runs a guest, and a kernel that is named.
pub fn start_command(command: &str, arguments: &str, more: &[std::ffi::OsString]) -> Run {
    start_within(command, arguments, more, LIMIT)
}

/// Another command that boots what was built: its status, and what it printed.
pub fn tool(command: &str, arguments: &str) -> (Option<i32>, String) {
    let _slot = Slot::take();
    let output = Command::new(env!("CARGO_BIN_EXE_pmiscope"))
        .arg(command)
        .arg("--kernel")
        .arg(built("kernel"))
        .arg("--loader")
        .arg(built("loader"))
        .args(stock_unless_named(arguments))
        .args(arguments.split_ascii_whitespace())
        .timeout(LIMIT)
        .output();
    let output = output.unwrap_or_else(|error| panic!("pmiscope {command} {arguments}: {error}"));
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(said, "", "pmiscope {command} {arguments}");
    (
        output.status.code(),
        String::from_utf8_lossy(&output.stdout).into_owned(),
    )
}

/// What a test sees is not to depend on whether the lab emulator is there.
fn stock_unless_named(arguments: &str) -> impl Iterator<Item = &'static str> {
    let names_one = ["--qemu", "--pmu"]
        .iter()
        .any(|option| arguments.contains(option));
    ["--qemu", "stock"].into_iter().filter(move |_| !names_one)
}

fn start_within(
    command: &str,
    arguments: &str,
    more: &[std::ffi::OsString],
    limit: Duration,
) -> Run {
    static RUNS: AtomicU32 = AtomicU32::new(0);
    let number = RUNS.fetch_add(1, Ordering::Relaxed);
    let profile = folder().join(format!("{number}.pmi"));
    let _slot = Slot::take();
    let ended = Command::new(env!("CARGO_BIN_EXE_pmiscope"))
        .args([command, "--format", "json", "-o"])
        .arg(&profile)
        .args(stock_unless_named(arguments))
        // First, as the arguments may end in some for QEMU.
        .args(more)
        .args(arguments.split_ascii_whitespace())
        .timeout(limit)
        .output();
    let output = ended.unwrap_or_else(|error| panic!("pmiscope {command} {arguments}: {error}"));
    Run {
        arguments: arguments.into(),
        output,
        profile,
    }
}

impl Run {
    /// What it said beside the report.
    pub fn said(&self) -> String {
        String::from_utf8_lossy(&self.output.stderr).into_owned()
    }

    /// Asserts how it ended.
    #[track_caller]
    pub fn ended_with(self, status: i32) -> Self {
        self.ended_with_one_of(&[status])
    }

    /// Asserts that it ended in one of these ways.
    #[track_caller]
    pub fn ended_with_one_of(self, statuses: &[i32]) -> Self {
        let code = self.output.status.code();
        assert!(
            statuses.iter().any(|status| code == Some(*status)),
            "{code:?} and not one of {statuses:?} is the exit status of `pmiscope run {}`, which said:\n{}",
            self.arguments,
            self.said()
        );
        self
    }

    /// Asserts that it said each of these.
    #[track_caller]
    pub fn saying(self, parts: &[&str]) -> Self {
        let said = self.said();
        for part in parts {
            assert!(
                said.contains(part),
                "`pmiscope run {}` did not say `{part}` but:\n{said}",
                self.arguments
            );
        }
        self
    }

    #[track_caller]
    pub fn report(&self) -> Value {
        let report = serde_json::from_slice(&self.output.stdout);
        report.unwrap_or_else(|error| panic!("no report ({error}): {}", self.said()))
    }

    /// The profile, and each core's samples.
    #[track_caller]
    pub fn samples(&self) -> Samples {
        let file = std::fs::read(&self.profile);
        let file = file.unwrap_or_else(|error| panic!("no profile ({error}): {}", self.said()));
        let profile = Profile::read(file).unwrap();
        Samples {
            what: format!("pmiscope run {}", self.arguments),
            cores: crate::records::of(&profile),
            ends: Vec::new(),
            description: profile.description.clone(),
            counters: profile
                .end
                .as_ref()
                .expect("the profile's end")
                .cores
                .clone(),
            incomplete: profile.incomplete(),
        }
    }
}

/// Runs that are to succeed: the samples.
#[track_caller]
pub fn sample(arguments: &str) -> Samples {
    run(arguments).ended_with(0).samples()
}

/// What a guest has sampled.
pub struct Samples {
    /// What made them, for messages.
    pub what: String,
    /// What the kernel said of the run.
    pub description: Description,
    /// The records of each core.
    pub cores: Vec<Vec<Vec<u64>>>,
    /// Where each of them ends in its ring, in units. None of records that come from a profile.
    pub ends: Vec<Vec<u64>>,
    /// The counters of each core.
    pub counters: Vec<CoreEnd>,
    incomplete: Option<String>,
}

/// A sample, with its chain decoded.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Seen {
    pub sequence: u32,
    pub event: u8,
    pub task: u16,
    pub state: State,
    pub time: u64,
    pub period: u64,
    pub sp: StackAddress,
    pub stack_top: [u64; 2],
    pub pc: CodeAddress,
    pub chain: Vec<ChainEntry>,
    /// How the chain ends, once the tool has added callers that only the stack's top has.
    pub end: ChainEnd,
}

impl Samples {
    /// The samples of `core`, in order.
    pub fn of(&self, core: usize) -> impl Iterator<Item = Seen> {
        (0..self.cores[core].len()).map(move |number| self.at(core, number))
    }

    /// One of them, by its place.
    pub fn at(&self, core: usize, number: usize) -> Seen {
        let record = &self.cores[core][number];
        let sample = Sample::decode(record).expect("every record is a sample");
        let repair = Repair {
            callers: callers(),
            text: self.description.text,
        };
        Seen {
            sequence: sample.sequence,
            event: sample.event,
            task: sample.task,
            state: sample.state,
            time: sample.time,
            period: sample.period,
            sp: sample.sp,
            stack_top: sample.stack_top,
            pc: sample.pc,
            chain: sample.chain().collect(),
            end: repair.chain(&sample, &mut Vec::new()).end,
        }
    }

    /// The chain of one of them, as the tool shows it, innermost first.
    pub fn links(&self, core: usize, number: usize) -> Vec<Link> {
        let sample = Sample::decode(&self.cores[core][number]).expect("a sample");
        let repair = Repair {
            callers: callers(),
            text: self.description.text,
        };
        let mut links = Vec::new();
        repair.chain(&sample, &mut links);
        links
    }

    /// The samples of all cores.
    pub fn all(&self) -> impl Iterator<Item = Seen> {
        (0..self.cores.len()).flat_map(|core| self.of(core))
    }

    /// The name of a sample's task.
    pub fn task(&self, seen: &Seen) -> &str {
        self.description.tasks[usize::from(seen.task)].as_str()
    }

    /// The achieved periods in order of size, those of each core's first sample
    /// left out: they began when the core was armed.
    pub fn periods(&self) -> Vec<u64> {
        let later = self.all().filter(|seen| seen.sequence != 0);
        let mut periods: Vec<_> = later.map(|seen| seen.period).collect();
        periods.sort_unstable();
        periods
    }

    /// Asserts that each core has taken its share of all samples and that each of
    /// them is there: nothing lost, unclaimed or nested, in order. Performance counters
    /// may interrupt more often than that, for reasons that are known.
    #[track_caller]
    pub fn assert_whole(&self, cores: u64, samples: u64) {
        let what = &self.what;
        assert_eq!(self.incomplete, None, "{what}: incomplete");
        assert_eq!(self.cores.len() as u64, cores, "{what}: cores");
        for (core, counters) in self.counters.iter().enumerate() {
            let share = samples / cores + u64::from((core as u64) < samples % cores);
            let [late, early, missed] = match self.description.source {
                Source::Pmu => [counters.late, counters.early, counters.missed],
                _ => [0; 3],
            };
            let expected = CoreEnd {
                apic_id: counters.apic_id,
                taken: share + late + early,
                stored: share,
                lost: 0,
                fast: counters.fast,
                unclaimed: 0,
                nested: 0,
                late,
                early,
                missed,
                checks: counters.checks,
                smis: counters.smis,
                maker: counters.maker,
                kind: counters.kind,
                overheads: counters.overheads.clone(),
                ring_bytes: counters.ring_bytes,
                corrupt_at: None,
                damaged_chains: 0,
                accounts: counters.accounts.clone(),
                processes: counters.processes.clone(),
            };
            assert_eq!(*counters, expected, "{what}: the counters of core {core}");
            assert!(
                matches!(counters.smis, None | Some(0)),
                "{what}: SMIs of core {core}"
            );
            self.assert_overheads(core, counters);
            assert_eq!(
                self.cores[core].len() as u64,
                share,
                "{what}: samples of core {core}"
            );
            self.assert_in_order(core);
        }
    }

    /// Asserts that where instructions are counted all overheads of a core are one number,
    /// whenever they were measured, and no check is lost; and that there were checks if there
    /// was time.
    #[track_caller]
    fn assert_overheads(&self, core: usize, counters: &CoreEnd) {
        if self.description.source != Source::Pmu || self.description.clock != Clock::Instructions {
            return;
        }
        let what = &self.what;
        for (event, OverheadEnd(row)) in counters.overheads.iter().enumerate() {
            let seen = format!("{what}: overhead of event {event} on core {core}: {row:?}");
            assert_eq!([row.rest, row.spread], [row.busy, 0], "{seen}");
            if row.checks > 0 {
                assert_eq!([row.min, row.max], [row.busy; 2], "{seen}");
            }
        }
        let done = counters
            .overheads
            .iter()
            .map(|OverheadEnd(row)| row.checks)
            .max();
        assert_eq!(
            counters.checks,
            done.unwrap_or(0),
            "{what}: checks of core {core}"
        );
        let is_due = counters.stored > 600;
        assert!(
            !is_due || counters.checks > 0,
            "{what}: core {core} was not checked"
        );
    }

    /// Asserts that a core's sequence numbers have no gap and that its time goes
    /// on.
    #[track_caller]
    fn assert_in_order(&self, core: usize) {
        let mut before = None;
        for (number, seen) in (0..).zip(self.of(core)) {
            let what = &self.what;
            assert_eq!(
                seen.sequence, number,
                "{what}: sequence number of sample {number} of core {core}"
            );
            assert!(
                before < Some(seen.time),
                "{what}: sample {number} of core {core} is of {}, the one before of {before:?}",
                seen.time
            );
            before = Some(seen.time);
        }
    }

    /// Asserts that the interrupted code ran `period` instructions between any two
    /// samples of a core: not one more, not one less.
    #[track_caller]
    pub fn assert_exact(&self, period: u64) {
        let periods = self.periods();
        let (min, max) = (periods[0], periods[periods.len() - 1]);
        let median = periods[periods.len() / 2];
        assert_eq!(
            [min, median, max],
            [period; 3],
            "{}: least, median and greatest period",
            self.what
        );
    }

    /// Asserts that two runs have the same samples, to the bit.
    #[track_caller]
    pub fn assert_same(&self, other: &Self) {
        for (core, (own, others)) in self.cores.iter().zip(&other.cores).enumerate() {
            let differ = own.iter().zip(others).position(|(a, b)| a != b);
            assert_eq!(
                differ,
                None,
                "{}: two runs differ in this sample of core {core}: {:#x?} and {:#x?}",
                self.what,
                differ.map(|at| self.of(core).nth(at)),
                differ.map(|at| other.of(core).nth(at)),
            );
        }
        assert!(self.cores == other.cores, "{}: other counts", self.what);
    }
}

/// A guest that was booted without a collector, and has ended.
pub struct Guest {
    memory: GuestMemory,
    /// What it logged.
    pub log: String,
    end: End,
}

/// Keeps the whole log.
struct LogKeeper(String);

impl Observer<'_> for LogKeeper {
    fn on_line(&mut self, line: &str) {
        self.0 += line;
        self.0 += "\n";
    }
}

impl Guest {
    /// Boots a machine of `cores` cores and `mib` MiB whose kernel gets this command
    /// line, and waits for its end.
    pub fn boot(cores: u32, mib: u64, command_line: &str) -> Self {
        Self::boot_kernel(built("kernel"), cores, mib, command_line)
    }

    /// The same of another kernel.
    pub fn boot_kernel(kernel: PathBuf, cores: u32, mib: u64, command_line: &str) -> Self {
        Self::boot_machine(kernel, cores, mib, command_line, |_| {})
    }

    /// The same of a machine that is changed.
    pub fn boot_machine(
        kernel: PathBuf,
        cores: u32,
        mib: u64,
        command_line: &str,
        change: impl FnOnce(&mut Machine),
    ) -> Self {
        let _slot = Slot::take();
        let qemu = Qemu::find(&Choice::Stock).unwrap_or_else(|problem| panic!("{problem}"));
        let mut machine = Machine {
            mode: Mode::Deterministic,
            pmu: None,
            cores,
            memory: mib << 20,
            boot: Boot::Loader {
                loader: built("loader"),
                kernel,
                command_line: command_line.into(),
                load: Load::default(),
            },
            firmware: None,
            hpet: false,
            framebuffer: false,
            additions: Additions::default(),
        };
        change(&mut machine);
        let memory = GuestMemory::new(machine.memory).unwrap_or_else(|error| panic!("{error:#}"));
        let guest = qemu::Guest::start(&qemu, &machine, &memory).unwrap();
        let limits = Limits {
            silence: LIMIT,
            silence_means: "no line of the log",
            total: Some(LIMIT),
        };
        let mut log = LogKeeper(String::new());
        let end = guest.follow(&limits, &mut log).unwrap().end;
        Self {
            memory,
            log: log.0,
            end,
        }
    }

    /// Asserts how it ended, and that it logged each of these.
    #[track_caller]
    pub fn ended_with(self, outcome: Outcome, parts: &[&str]) -> Self {
        let Self { log, end, .. } = &self;
        assert_eq!(end.outcome, outcome, "{end:?}; the log: {log}");
        for part in parts {
            assert!(log.contains(part), "`{part}` is not in the log: {log}");
        }
        self
    }

    /// Four bytes of its memory, as it has left them.
    #[track_caller]
    pub fn word_at(&self, address: u64) -> u32 {
        let mut bytes = [0; 4];
        self.memory.read(address, &mut bytes).unwrap();
        u32::from_le_bytes(bytes)
    }

    /// The first unit of each record that is in the ring of `core`, which nobody has read and which
    /// has room for all of them: `docs/region.md`.
    #[track_caller]
    pub fn record_heads(&self, core: u64, ring_bytes: u64) -> Vec<RecordHead> {
        let page = region::PAGE as u64;
        let is_region = |at: &u64| {
            let mut magic = [0; 16];
            self.memory.read(*at, &mut magic).is_ok() && magic == region::MAGIC
        };
        let pages = (0..1 << 20).map(|number| page * number);
        let region = pages.into_iter().find(is_region).expect("a region");
        let ring = region + page + core * (page + ring_bytes);
        let (end, data) = (u64::from(self.word_at(ring)), ring + page);
        assert!(4 * end <= ring_bytes, "{end} units");
        let mut heads = Vec::new();
        let mut at = 0;
        while at < end {
            let head = RecordHead::from_unit(self.word_at(data + 4 * at));
            assert_ne!(head.units, 0, "unit {at} of {end}");
            at += u64::from(head.units);
            heads.push(head);
        }
        assert_eq!(at, end, "{heads:?}");
        heads
    }

    /// The samples that each core has counted in its table.
    #[track_caller]
    pub fn counted_in_tables(&self) -> Vec<u64> {
        let Search::Found(shared, _) = self.memory.find_region().unwrap() else {
            panic!("no rings; {}", self.log);
        };
        let of_core = |core| {
            let chains = shared.chains(core);
            chains.map(|it| it.expect("a chain").count).sum()
        };
        (0..shared.cores()).map(of_core).collect()
    }

    /// What the rings have.
    #[track_caller]
    pub fn samples(&self, what: &str) -> Samples {
        let Search::Found(shared, description) = self.memory.find_region().unwrap() else {
            panic!("no rings; {}", self.log);
        };
        let counters = Collector::new(shared).counters();
        let cores = (0..shared.cores()).map(|core| {
            let mut reader = shared.reader(core);
            let mut record = [0; profiler::format::sample::MAX_WORDS];
            let next = || {
                let read = reader.read(&mut record);
                let words = read.expect("the ring is whole")?;
                Some((record[..words].to_vec(), reader.position()))
            };
            std::iter::from_fn(next).unzip()
        });
        let (cores, ends) = cores.unzip();
        Samples {
            what: what.into(),
            cores,
            ends,
            counters,
            description: *description,
            incomplete: None,
        }
    }
}

/// Some of a list, for a message.
pub fn listed<T: std::fmt::Debug>(items: impl Iterator<Item = T>) -> String {
    let mut text = String::new();
    for item in items.take(8) {
        writeln!(text, "  {item:x?}").unwrap();
    }
    text
}
