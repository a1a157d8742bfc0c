//! The command line.

mod annotate;
mod attach;
mod capabilities;
mod diff;
#[cfg(test)]
mod documented;
mod embed;
mod html;
mod import;
mod load;
mod machine;
mod mistake;
mod numbers;
mod postmortem;
mod select;
mod serve;
mod shell;
mod stat;
mod stress_boot;
mod timeline;
mod top;
mod views;

use std::path::{Path, PathBuf};

use clap::{ArgGroup, Args, Parser, Subcommand, ValueEnum};
use kernel_core::log_filter::LogFilter;
use profiler::contract::settings::{Keep, Settings, SourceChoice};
use profiler::format::{Delivery, Source};
use profiler::pmu::event::EventList;

use crate::exit;
use crate::flame::Root;
use crate::qemu::{Drive, WARDEN};
use crate::report::SortBy;
use crate::units::parse_size;
pub use annotate::{AnnotateArgs, SourceArgs};
pub use attach::AttachArgs;
pub use capabilities::CapabilitiesArgs;
pub use diff::DiffArgs;
pub use embed::EmbedArgs;
pub use html::HtmlArgs;
pub use import::{ImportArgs, MemoryPlace};
pub use load::LoadArgs;
pub use machine::MachineArgs;
pub use mistake::Mistake;
pub use numbers::NumberRange;
pub use postmortem::{LogArgs, PostmortemArgs};
pub use select::{Idle, Privilege, SelectArgs, WhoseArgs};
pub use serve::ServeArgs;
pub use shell::{CompletionsArgs, ManArgs, shown};
pub use stat::StatArgs;
pub use stress_boot::{GivenArgs, StressBootArgs};
pub use timeline::TimelineArgs;
pub use top::TopArgs;
pub use views::{View, ViewArgs};

/// Boots the pmiscope kernel in QEMU, samples every core, and shows where the
/// time went.
#[derive(Parser, Debug)]
#[command(name = "pmiscope", version, after_help = exit::HELP, max_term_width = 100)]
pub struct Cli {
    #[command(subcommand)]
    pub command: Command,
}

/// The subcommands.
#[derive(Subcommand, Debug)]
pub enum Command {
    /// Boot the kernel, collect its samples into a profile, and report
    #[command(after_help = RUN_EXAMPLES)]
    Run(Box<RunArgs>),
    /// Boot the kernel, and show where its time goes while it runs
    #[command(after_help = top::EXAMPLES)]
    Top(Box<TopArgs>),
    /// Boot the kernel and count events, each core for so many units of a workload
    #[command(after_help = stat::EXAMPLES)]
    Stat(Box<StatArgs>),
    /// Read a guest that somebody else has started, while it runs or from what is left of it
    #[command(after_help = attach::EXAMPLES)]
    Attach(AttachArgs),
    /// Make a profile of what a kernel has sent by a serial line, or another profiler has recorded
    #[command(after_help = import::EXAMPLES)]
    Import(ImportArgs),
    /// Show what a profile says
    #[command(after_help = REPORT_EXAMPLES)]
    Report(ReportArgs),
    /// Compare two profiles: functions and stacks that are hotter or colder in the second
    #[command(after_help = diff::EXAMPLES)]
    Diff(Box<DiffArgs>),
    /// Show what cores did over time
    #[command(after_help = timeline::EXAMPLES)]
    Timeline(Box<TimelineArgs>),
    /// Draw a profile as a flame graph (SVG, for a browser)
    #[command(after_help = "Example:\n  pmiscope flamegraph profile.pmi -o profile.svg --by task")]
    Flamegraph(FlamegraphArgs),
    /// Write a profile in a form that other tools read
    #[command(
        after_help = "Example:\n  pmiscope export profile.pmi --format folded -o - | sort -t' ' -k2 | tail"
    )]
    Export(ExportArgs),
    /// Show the source and the instructions of a function, each with its samples
    #[command(after_help = annotate::EXAMPLES)]
    Annotate(Box<AnnotateArgs>),
    /// Show a profile as one page for a browser, with all in it: flame graph, functions, time, code
    #[command(after_help = html::EXAMPLES)]
    Html(Box<HtmlArgs>),
    /// Show the same page in a browser on this machine, and follow a run that has not come to its end
    #[command(after_help = serve::EXAMPLES)]
    Serve(Box<ServeArgs>),
    /// Write a profile again with the names of its code in place of the kernel: one to share
    #[command(after_help = embed::EXAMPLES)]
    EmbedSymbols(EmbedArgs),
    /// Compare every chain with the true one, where every instruction is a sample
    #[command(after_help = VERIFY_EXAMPLES)]
    Verify(VerifyArgs),
    /// Stop, start or change a run by performance counters while it goes on
    #[command(after_help = CTL_EXAMPLES)]
    Ctl(Box<CtlArgs>),
    /// Connect the terminal to a guest that runs, and to the monitor in its kernel
    #[command(after_help = MONITOR_EXAMPLES)]
    Monitor(MonitorArgs),
    /// Say what a dead kernel did: its cores, its tasks, its log, from its memory alone
    #[command(after_help = postmortem::POSTMORTEM_EXAMPLES)]
    Postmortem(PostmortemArgs),
    /// Show the last messages of a kernel's log, from its memory, while it runs or when it is dead
    #[command(after_help = postmortem::LOG_EXAMPLES)]
    Log(LogArgs),
    /// List the events that can be counted in the machine, and the sources that work there
    #[command(after_help = capabilities::LIST_EXAMPLES)]
    List(CapabilitiesArgs),
    /// Say what there is to sample by, and what to change to have something better
    #[command(after_help = capabilities::DOCTOR_EXAMPLES)]
    Doctor(CapabilitiesArgs),
    /// Boot again and again, on machines that are drawn from a seed, and say which boots did not
    /// end as they should
    #[command(after_help = stress_boot::EXAMPLES)]
    StressBoot(StressBootArgs),
    /// Print what a shell completes the tool's command line by
    #[command(after_help = shell::COMPLETIONS_EXAMPLES)]
    Completions(CompletionsArgs),
    /// Write the tool's man pages, a page for each subcommand
    #[command(after_help = "Example:\n  pmiscope man -o ~/.local/share/man/man1")]
    Man(ManArgs),
    /// Wait for the end of the tool that has started this, and end its QEMU
    #[command(hide = true, name = WARDEN)]
    Warden(WardenArgs),
}

const RUN_EXAMPLES: &str = "\
Examples:
  pmiscope run                                   4 cores, a sample every 1000 instructions
  pmiscope run --period 100 --samples 200000     ten times as many samples for the same work
  pmiscope run --event cycles:k,instructions     by performance counters, if there are any
  pmiscope run --smp 16 --mode realtime          16 cores in parallel, by the clock
  pmiscope run --disc pmiscope.iso               as a stock Limine boots it
  pmiscope run -- -device virtio-rng-pci         with more of QEMU's command line
  pmiscope run --monitor                         with a prompt in the guest's kernel
  pmiscope run --monitor=start                   with one before it samples, too

A second ^C ends at once, without a report. Exit status: see pmiscope --help.";

const CTL_EXAMPLES: &str = "\
Examples:
  pmiscope ctl stop                  nothing is counted any more, on any core
  pmiscope ctl start
  pmiscope ctl period 100            ten times as many samples as every 1000
  pmiscope ctl event cycles:k,instructions

What is sampled after a change is another event in the report, with its own period.";

const MONITOR_EXAMPLES: &str = "\
Examples:
  pmiscope run --monitor             a run with a monitor, on this terminal
  pmiscope monitor                   from another terminal, where that one is not connected
  pmiscope monitor --pid 4711        of several runs; a script writes to its standard input

On a terminal each key is the guest's, but ^], which leaves it. What is no terminal is sent as it
is; when it ends, so does this, once the guest is silent for 2 s, after 60 s at the latest.";

const REPORT_EXAMPLES: &str = "\
Examples:
  pmiscope report profile.pmi --sort total --top 10
  pmiscope report profile.pmi --core 2
  pmiscope report profile.pmi --event cache-misses
  pmiscope report profile.pmi --by core,function --task heap
  pmiscope report profile.pmi --focus memcpy              its callers and callees
  pmiscope report profile.pmi --tree --time 10%-20%
  pmiscope report profile.pmi --format json | jq .period.median";

const VERIFY_EXAMPLES: &str = "\
Examples:
  pmiscope run --period 1 --samples 400000 --workload recursion -o all.pmi
  pmiscope verify all.pmi

Exit status 1 if a chain differs.";

/// How a report is written.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub enum ReportFormat {
    /// For people, 100 columns.
    Text,
    /// For programs.
    Json,
}

/// The forms of `export`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub enum ExportFormat {
    /// A line per stack: frames from the outermost in, between semicolons, then the
    /// number of samples
    Folded,
    /// perf.data, for `perf report`, `script`, `annotate` and `diff`; the kernel goes beside it
    Perf,
    /// For profiler.firefox.com: a track for each core, inlined calls, lines, tasks as markers
    Firefox,
    /// For `pprof`, go tool pprof, and what else reads its protocol buffers
    Pprof,
    /// For speedscope.app
    Speedscope,
    /// For ui.perfetto.dev: samples by task and core
    Perfetto,
    /// For kcachegrind and callgrind_annotate
    Callgrind,
    /// A row per function: its samples by itself and with what it has called
    Csv,
}

/// What `run` takes.
#[derive(Args, Clone, Debug)]
pub struct RunArgs {
    #[command(flatten)]
    pub sampling: SamplingArgs,

    #[command(flatten)]
    pub work: WorkArgs,

    #[command(flatten)]
    pub machine: MachineArgs,

    #[command(flatten)]
    pub boot: BootArgs,

    /// End a guest that hangs: that gave neither a sample nor a line of its log for
    /// so many seconds [default: 60; 10 if the kernel does not contain the
    /// sampler, or a boot menu waits]
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..=1_000_000))]
    pub timeout: Option<u64>,

    /// End the run after so many seconds, whatever it does [default: no limit]
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..=1_000_000))]
    pub time_limit: Option<u64>,

    /// The profile to write; the flame graph goes beside it, with the ending svg
    /// [default: profile.pmi in the build directory; if the tool is installed, where you are]
    #[arg(short, long, value_name = "FILE")]
    pub output: Option<PathBuf>,

    /// Keep the names of the code that was sampled in the profile, and not the kernel: one to share
    #[arg(long)]
    pub embed_symbols: bool,

    /// How the report is written
    #[arg(long, value_enum, default_value_t = ReportFormat::Text)]
    pub format: ReportFormat,

    /// Let single overflows come, beside those of the period, N instructions after
    /// each time that FUNCTION is entered; with N..M, one instruction later each time
    #[arg(long, value_name = "FUNCTION:N[..M]")]
    pub aim: Option<String>,

    /// Connect this terminal to the guest, and let its kernel have a monitor: a prompt in a panic, or
    /// when a key is typed. ^] ends the run; it is not ended for being silent
    #[arg(
        long,
        value_name = "WHEN",
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "on",
        value_enum
    )]
    pub monitor: Option<Monitor>,

    /// Run a self-test of the kernel in place of the workload
    #[arg(long, value_name = "NAME", hide = true, value_parser = word)]
    pub self_test: Option<String>,
}

/// What `warden` takes.
#[derive(Args, Debug)]
pub struct WardenArgs {
    /// The number of the file by which QEMU's processes are known
    pub mark: std::os::fd::RawFd,
}

// What overflows, and how it interrupts.
#[derive(Args, Clone, Debug)]
pub struct SamplingArgs {
    /// What the interrupted code runs between two samples: instructions in
    /// deterministic mode (default 1000), nanoseconds in realtime mode (default
    /// 1000000)
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(range(&Settings::PERIODS)))]
    pub period: Option<u64>,

    /// Where overflows come from; auto takes the first that works
    #[arg(long, value_name = SourceChoice::NAMES, default_value_t, value_parser = source)]
    pub source: SourceChoice,

    /// What the performance counters count, as perf names it: cycles:k,instructions or
    /// cpu/event=0xc4,umask=0x20,period=500/u; each is sampled. On one kind of core of a hybrid
    /// processor: cpu_core/cycles/k, cpu_atom/event=0xc4/. Not with another source
    #[arg(long, value_name = "LIST", value_parser = events)]
    pub event: Option<EventList>,

    /// Let each counter overflow up to so many percent of its period earlier or later,
    /// at random, so that it does not keep step with what it samples: 0 to 50
    #[arg(long, value_name = "PERCENT",
          value_parser = jitter)]
    pub jitter: Option<u8>,

    /// Where the random numbers of --jitter begin
    #[arg(long, value_name = "N", requires = "jitter")]
    pub seed: Option<u64>,

    /// How overflows interrupt: an NMI sees code with interrupts off, an IRQ does not
    /// [default: nmi]
    #[arg(long, value_name = Delivery::NAMES, value_parser = delivery)]
    pub delivery: Option<Delivery>,
}

// What runs, and for how long.
#[derive(Args, Clone, Debug)]
pub struct WorkArgs {
    /// Count events of so many rounds of the workload, and take no samples: `stat`
    #[arg(skip)]
    pub units: Option<u64>,

    /// Count those of each process, too
    #[arg(skip)]
    pub by_process: bool,

    /// What runs; mix runs all there is [default: mix]
    #[arg(long, value_name = "NAME", value_parser = word)]
    pub workload: Option<String>,

    /// Samples to take, all cores together, one each at least [default: 100000 in deterministic mode,
    /// 10000 in realtime mode]
    #[arg(long, value_name = "N",
          value_parser = clap::value_parser!(u64).range(range(&Settings::SAMPLES)))]
    pub samples: Option<u64>,
}

// What only a run can choose of its machine.
#[derive(Args, Clone, Debug)]
pub struct BootArgs {
    /// A debug file that was split off the kernel; it must have the kernel's build-id. It goes
    /// into the profile; can be said several times [default: found by build-id and debuglink]
    #[arg(long, value_name = "FILE", help_heading = machine::HEADING)]
    pub debug_file: Vec<PathBuf>,

    /// What the kernel logs: LEVEL or MODULE=LEVEL between commas, such as warn,task=debug; levels
    /// are off, error, warn, info, debug, trace [default: debug]
    #[arg(long, value_name = "FILTER", value_parser = log_filter)]
    pub log: Option<String>,

    /// Further words of the kernel's command line, which are its own, such as
    /// "watchdog=100 accounting=on"; can be said several times
    #[arg(long, value_name = "WORDS", value_parser = own_words)]
    pub append: Vec<String>,

    /// The machine's memory, such as 512M or 2G [default: what the cores and their
    /// rings need]
    #[arg(long, value_name = "SIZE", value_parser = parse_size, help_heading = machine::HEADING)]
    pub memory: Option<u64>,

    /// Each core's ring, a power of two, such as 8M [default: what holds all its
    /// samples, from 256K to 64M]
    #[arg(long, value_name = "SIZE", value_parser = ring)]
    pub ring: Option<u64>,

    /// What is kept of samples: all of each, or how often there was each chain, which takes a table
    /// of one size however long the run is
    #[arg(long, value_name = Keep::NAMES, default_value_t, value_parser = keep)]
    pub keep: Keep,

    /// Each core's table of chains, a power of two, such as 4M: what does not fit is written to the
    /// ring [default: 1M]
    #[arg(long, value_name = "SIZE", value_parser = table)]
    pub table: Option<u64>,

    /// Boot this disc image, with a boot loader, a kernel and its command line on
    /// it, and not the loader: as a CD if it is one's (ISO 9660), else as a hard disk. The
    /// image itself is never written to. --kernel must be the kernel that is on it
    #[arg(long, visible_alias = "iso", value_name = "FILE", help_heading = machine::HEADING,
          conflicts_with_all = ["period", "source", "event", "jitter", "delivery", "workload",
          "samples", "ring", "keep", "table", "log", "append", "loader", "kaslr", "module", "aim", "self_test"])]
    pub disc: Option<PathBuf>,

    /// What the image of --disc is: a hybrid image, which is both, boots as a CD unless
    /// this says hd
    #[arg(long, value_enum, requires = "disc", help_heading = machine::HEADING)]
    pub disc_as: Option<Drive>,

    /// A UEFI firmware image (OVMF_CODE.fd) in place of QEMU's BIOS. It waits a lot:
    /// minutes if instructions are counted (raise --timeout), seconds in realtime
    #[arg(long, value_name = "FILE", requires = "disc", help_heading = machine::HEADING)]
    pub firmware: Option<PathBuf>,
}

/// What the commands that read a profile take.
#[derive(Args, Clone, Debug)]
#[command(group(ArgGroup::new("symbols").multiple(true)))]
pub struct ProfileArgs {
    /// The profile
    #[arg(value_name = "FILE")]
    pub profile: PathBuf,

    /// Take the symbols from this ELF file; it must have the profile's build-id. What it has
    /// not is taken from the profile
    #[arg(long, value_name = "KERNEL", group = "symbols")]
    pub elf: Option<PathBuf>,

    /// Take names and debug information from this debug file, which was split off the kernel;
    /// it must have the profile's build-id. Can be said several times [default: found by
    /// build-id and debuglink]
    #[arg(long, value_name = "FILE", group = "symbols")]
    pub debug_file: Vec<PathBuf>,

    /// Take the names of a program of the user from this ELF file: in place of the module of that
    /// name; if the profile has no modules, in their order. Can be said several times
    #[arg(long, value_name = "FILE", group = "symbols")]
    pub program: Vec<PathBuf>,

    /// Take the symbols of --elf, --debug-file or --program even if the build-id is another
    #[arg(long, requires = "symbols")]
    pub force: bool,
}

impl ProfileArgs {
    /// A profile with the symbols that are in it.
    pub(crate) fn of_file(profile: &Path) -> Self {
        Self {
            profile: profile.to_owned(),
            elf: None,
            debug_file: Vec::new(),
            program: Vec::new(),
            force: false,
        }
    }
}

/// What `report` takes.
#[derive(Args, Debug)]
pub struct ReportArgs {
    #[command(flatten)]
    pub profile: ProfileArgs,

    /// How the report is written
    #[arg(long, value_enum, default_value_t = ReportFormat::Text)]
    pub format: ReportFormat,

    #[command(flatten)]
    pub select: SelectArgs,

    #[command(flatten)]
    pub view: ViewArgs,

    /// Show each core's counts, where events were counted (stat)
    #[arg(long, conflicts_with_all = ["by", "tree", "inverted", "focus"])]
    pub per_core: bool,

    /// The order of the functions: by the samples in which a function was executing
    /// itself, or was anywhere on the stack [default: self]
    #[arg(long, value_enum, conflicts_with_all = ["tree", "inverted", "callers", "callees"])]
    pub sort: Option<SortBy>,

    /// The most functions to show [default: 30 as text, all as JSON]
    #[arg(long, value_name = "N")]
    pub top: Option<usize>,
}

/// What `flamegraph` takes.
#[derive(Args, Debug)]
pub struct FlamegraphArgs {
    #[command(flatten)]
    pub profile: ProfileArgs,

    /// The picture to write; - is the standard output
    #[arg(short, long, value_name = "OUT.svg")]
    pub output: PathBuf,

    /// Stand the stacks on the cores or on the tasks that they belong to
    #[arg(long, value_enum)]
    pub by: Option<Root>,

    #[command(flatten)]
    pub select: SelectArgs,
}

/// What `export` takes.
#[derive(Args, Debug)]
pub struct ExportArgs {
    #[command(flatten)]
    pub profile: ProfileArgs,

    /// The form
    #[arg(long, value_enum)]
    pub format: ExportFormat,

    /// The file to write; - is the standard output
    #[arg(short, long, value_name = "OUT")]
    pub output: PathBuf,

    /// Stand folded stacks on the cores or on the tasks that they belong to
    #[arg(long, value_enum)]
    pub by: Option<Root>,

    #[command(flatten)]
    pub select: SelectArgs,
}

/// What `verify` takes.
#[derive(Args, Debug)]
pub struct VerifyArgs {
    #[command(flatten)]
    pub profile: ProfileArgs,

    /// How the outcome is written
    #[arg(long, value_enum, default_value_t = ReportFormat::Text)]
    pub format: ReportFormat,

    /// The most examples of each kind of difference to show
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub examples: usize,

    /// Check something else, of any profile: whether all addresses of the user's programs in chains
    /// lie where their program may execute, by its ELF file
    #[arg(long)]
    pub programs: bool,
}

fn range(range: &std::ops::RangeInclusive<u64>) -> std::ops::RangeInclusive<u64> {
    range.clone()
}

fn source(name: &str) -> Result<SourceChoice, String> {
    name.parse().map_err(|_| {
        let names = SourceChoice::NAMES;
        debug_assert!(names.contains(Source::NAMES));
        format!("must be one of {names}")
    })
}

fn events(list: &str) -> Result<EventList, String> {
    EventList::parse(list).map_err(|bad| bad.to_string())
}

fn jitter(text: &str) -> Result<u8, String> {
    let percent = text.parse().ok();
    percent
        .filter(|&percent: &u8| Settings::JITTER.contains(&percent))
        .ok_or_else(|| {
            let (low, high) = (Settings::JITTER.start(), Settings::JITTER.end());
            format!("must be a number from {low} to {high}")
        })
}

fn delivery(name: &str) -> Result<Delivery, String> {
    name.parse()
        .map_err(|_| format!("must be one of {}", Delivery::NAMES))
}

/// What says the same as a word of the kernel's command line, if something does.
fn instead(word: &str) -> Option<String> {
    let (key, value) = word.split_once('=').unwrap_or((word, "VALUE"));
    Some(match key {
        "take" | "units" | "per" => "pmiscope stat counts events in place of taking samples".into(),
        "send" => "a run of QEMU is read from the guest's memory, and sends nothing".into(),
        "aim" => "an option says that: --aim FUNCTION:N".into(),
        "ring" | "table" => format!("an option says that: --{key} SIZE"),
        "test" => format!("an option says that: --self-test {value}"),
        "monitor" => format!("an option says that: --monitor={value}"),
        _ if key == "log" || Settings::KEYS.contains(&key) => {
            format!("an option says that: --{key} {value}")
        }
        _ => return None,
    })
}

/// Words that no option says.
fn own_words(words: &str) -> Result<String, String> {
    for word in words.split_whitespace() {
        if let Some(instead) = instead(word) {
            return Err(format!("`{word}`: {instead}"));
        }
        if !word.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(format!("`{word}`: words are of ASCII characters"));
        }
    }
    Ok(words.to_owned())
}

fn log_filter(text: &str) -> Result<String, String> {
    LogFilter::parse(text)?;
    word(text)
}

/// A value of the kernel's command line, which is words between spaces.
fn word(text: &str) -> Result<String, String> {
    let is_word = !text.is_empty() && text.chars().all(|c| c.is_ascii_graphic());
    is_word
        .then(|| text.to_owned())
        .ok_or_else(|| "must be one word".into())
}

fn ring(text: &str) -> Result<u64, String> {
    let bytes = parse_size(text)?;
    if !Settings::RING_BYTES.contains(&bytes) || !bytes.is_power_of_two() {
        return Err("must be a power of two from 64K to 1G".into());
    }
    Ok(bytes)
}

fn table(text: &str) -> Result<u64, String> {
    let bytes = parse_size(text)?;
    if !Settings::TABLE_BYTES.contains(&bytes) || !bytes.is_power_of_two() {
        return Err("must be a power of two from 16K to 1G".into());
    }
    Ok(bytes)
}

fn keep(name: &str) -> Result<Keep, String> {
    name.parse()
        .map_err(|_| format!("must be one of {}", Keep::NAMES))
}

/// When a kernel shows the prompt of its monitor.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub enum Monitor {
    /// In a panic, and when ^C is typed
    On,
    /// Before the run as well
    Start,
}

impl Monitor {
    /// What the kernel's word `monitor=` calls it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::On => "on",
            Self::Start => "start",
        }
    }
}

/// What `monitor` takes.
#[derive(Args, Debug)]
pub struct MonitorArgs {
    /// The run's process; the only one if there is only one
    #[arg(long, value_name = "PID")]
    pub pid: Option<u32>,
}

/// The arguments of `ctl`.
#[derive(Args, Debug)]
pub struct CtlArgs {
    /// The run's process; the only one if there is only one
    #[arg(long, value_name = "PID")]
    pub pid: Option<u32>,
    /// What it is to do.
    #[command(subcommand)]
    pub command: CtlCommand,
}

/// What a run can be told to do.
#[derive(Subcommand, Debug)]
#[allow(clippy::large_enum_variant)] // there is one
pub enum CtlCommand {
    /// Say how the run stands
    Status,
    /// Go on sampling
    Start,
    /// Sample and count nothing, until `start`
    Stop,
    /// Sample every so many events, those that have no period of their own
    Period {
        /// Events between two samples
        #[arg(value_name = "EVENTS",
              value_parser = clap::value_parser!(u64).range(range(&Settings::PERIODS)))]
        events: u64,
    },
    /// Count and sample these events from now on
    Event {
        /// As `--event` of `pmiscope run` takes them
        #[arg(value_name = "LIST", value_parser = events)]
        list: EventList,
    },
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory as _;
    use std::ffi::OsString;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn examples_are_not_wrapped() {
        let command = Cli::command();
        for sub in command.get_subcommands() {
            let text = sub.get_after_help().map(ToString::to_string);
            for line in text.iter().flat_map(|text| text.lines()) {
                assert!(line.chars().count() <= 100, "{}: {line}", sub.get_name());
            }
        }
    }

    #[test]
    fn examples_of_events_are_counted_by_the_default_emulator() {
        // It has no caches: a run that asks for their events is refused.
        for text in [RUN_EXAMPLES, CTL_EXAMPLES, stat::EXAMPLES, top::EXAMPLES] {
            let words = text.lines().filter(|line| line.contains("event"));
            let no_cache = words.clone().all(|line| !line.contains("cache-"));
            assert!(no_cache && words.count() > 0, "{text}");
        }
    }

    fn refusal(words: &[&str]) -> String {
        let words = [&["pmiscope"], words].concat();
        let error = Cli::try_parse_from(&words).unwrap_err();
        Mistake::new(&Cli::command(), words.iter().map(OsString::from)).line(&error)
    }

    /// Each tip can be taken as it stands.
    #[test]
    fn a_value_that_begins_with_a_dash_is_taken_as_the_tip_says() {
        for (words, tip) in [
            (&["report", "x", "--filter", "-x"][..], "--filter=-x"),
            (&["report", "x", "--focus", "-foo"], "--focus=-foo"),
            (&["report", "x", "--ignore", "--no"], "--ignore=--no"),
            (&["timeline", "--task", "-1", "x"], "--task=-1"),
            (&["flamegraph", "x", "-o", "-x"], "-o=-x"),
        ] {
            let said = refusal(words);
            let end = format!(
                "tip: to pass '{}' as a value, say {tip}",
                &tip[tip.find('=').unwrap() + 1..]
            );
            assert!(said.ends_with(&end), "{words:?}: {said}");
            let value = words
                .iter()
                .position(|word| tip.ends_with(&format!("={word}")));
            let value = value.unwrap();
            let taken = [
                &["pmiscope"],
                &words[..value - 1],
                &[tip],
                &words[value + 1..],
            ]
            .concat();
            let problem = Cli::try_parse_from(&taken)
                .err()
                .map(|error| error.to_string());
            assert_eq!(problem, None, "{taken:?}");
        }
        let said = refusal(&["annotate", "x", "-foo"]);
        assert_eq!(
            said,
            "unexpected argument '-foo' found tip: to pass '-foo' as a value, use '-- -foo'"
        );
        Cli::try_parse_from(["pmiscope", "annotate", "x", "--", "-foo"]).unwrap();
        let said = refusal(&["report", "x", "--tree", "-x"]);
        assert!(!said.contains("say --tree"), "{said}");
    }

    #[test]
    fn what_cannot_be_taken_is_said_in_one_line() {
        for (line, says) in [
            (
                "run --smp 0",
                "invalid value '0' for '--smp <N>': 0 is not in 1..=255",
            ),
            ("run --smp 300", "300 is not in 1..=255"),
            ("run --smp four", "invalid digit"),
            ("run --period 0", "0 is not in 1..=1000000000"),
            ("run --samples 0", "0 is not in 1..=1000000000"),
            (
                "run --source rdtsc",
                "must be one of auto, pmu, apic-timer, hpet, ipi, step",
            ),
            ("run --delivery smi", "must be one of nmi, irq"),
            (
                "run --event slots,cycels:k",
                "`cycels`: no such event; did you mean `cycles`?",
            ),
            ("run --event cycles,", "nothing at byte 7 of the events"),
            ("run --jitter 51", "must be a number from 0 to 50"),
            ("run --seed 5", "not provided: --jitter <PERCENT>"),
            ("run --iso x.iso --event slots", "cannot be used with"),
            (
                "run --mode fast",
                "[possible values: deterministic, realtime, kvm]",
            ),
            ("run --ring 100K", "must be a power of two from 64K to 1G"),
            ("run --memory 64", "expected a number and a unit"),
            (
                "run --workload",
                "a value is required for '--workload <NAME>'",
            ),
            ("run --iso x.iso --period 5", "cannot be used with"),
            ("run --firmware x.fd", "not provided: --disc <FILE>"),
            ("run --iso x.iso --kaslr", "cannot be used with"),
            ("run --iso x.iso --module x", "cannot be used with"),
            ("run --kaslr=here", "invalid digit"),
            ("run --module ,quiet", "must be FILE or FILE,COMMAND LINE"),
            ("run --log warn,task", "must be LEVEL or MODULE=LEVEL"),
            ("run --log warn --iso x.iso", "cannot be used with"),
            ("run --fast", "unexpected argument '--fast' found"),
            ("report", "not provided: <FILE>"),
            ("postmortem", "not provided: <RAMFILE|ELFCORE>"),
            ("log ram --pid 1", "cannot be used with"),
            (
                "report x.pmi --force",
                "not provided: <--elf <KERNEL>|--debug-file <FILE>|--program <FILE>>",
            ),
            ("export x.pmi --format dot -o y", "invalid value 'dot'"),
            ("flamegraph x.pmi", "not provided: --output <OUT.svg>"),
            ("profile", "unrecognized subcommand 'profile'"),
        ] {
            let said = refusal(&line.split(' ').collect::<Vec<_>>());
            assert!(said.contains(says), "{line}: {said}");
            assert!(
                !said.contains('\n') && !said.starts_with("error"),
                "{line}: {said}"
            );
        }
        let said = refusal(&["run", "--workload", "a b=c"]);
        assert!(said.contains("must be one word"), "{said}");
    }
}
