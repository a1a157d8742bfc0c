//! What `stat` takes.

use std::path::PathBuf;

use clap::Args;
use profiler::contract::settings::{Keep, Settings, SourceChoice};
use profiler::pmu::event::{Event, EventList};

use super::{
    BootArgs, MachineArgs, Monitor, ReportFormat, RunArgs, SamplingArgs, WorkArgs, events, machine,
    range, word,
};
use crate::units::parse_size;

pub(super) const EXAMPLES: &str = "\
Examples:
  pmiscope stat                                  100 units of the mix on each of 4 cores
  pmiscope stat --event instructions:k,cycles --workload heap --units 1000
  pmiscope stat --per-core --smp 2
  pmiscope stat --per-process --workload processes --units 2
  pmiscope stat --format json | jq .events[0].count

A count is whole if its event had a counter all the time; it is off by what interrupts of the
count cost otherwise than is taken off, which is behind it (±). If there are more events than
counters, they take turns, and what is then an estimate is marked as scaled.";

/// Bytes of the ring where each process has counts of its own.
const RING_OF_PROCESSES: u64 = 1 << 20;

/// What `stat` takes.
#[derive(Args, Debug)]
pub struct StatArgs {
    /// What is counted, as perf names it: cycles:k,instructions or
    /// cpu/event=0xc4,umask=0x20/u [default: cycles, instructions, branches,
    /// branch-misses, cache-references, cache-misses, as far as the machine has them];
    /// cpu_core/cycles/, cpu_atom/cycles/ on one kind of core of a hybrid processor
    #[arg(long, value_name = "LIST", value_parser = events)]
    pub event: Option<EventList>,

    /// What runs; mix runs all there is [default: mix]
    #[arg(long, value_name = "NAME", value_parser = word)]
    pub workload: Option<String>,

    /// Rounds of the workload that each core is counted for
    #[arg(long, value_name = "N", default_value_t = Settings::DEFAULT_UNITS,
          value_parser = clap::value_parser!(u64).range(range(&Settings::UNITS)))]
    pub units: u64,

    /// Count each process by itself, too: each event in its own code (:u) and in the kernel while it
    /// ran (:k) [default of --event then: instructions, cycles]
    #[arg(long)]
    pub per_process: bool,

    #[command(flatten)]
    pub machine: MachineArgs,

    #[command(flatten)]
    pub shown: ShownArgs,

    /// The machine's memory, such as 512M or 2G [default: what the cores need]
    #[arg(long, value_name = "SIZE", value_parser = parse_size, help_heading = machine::HEADING)]
    pub memory: Option<u64>,

    /// End a guest that hangs: that has not written a line of its log, nor its counts,
    /// for so many seconds. While it counts it writes nothing [default: 600; 10 if the
    /// kernel does not contain the sampler, or a boot menu waits]
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..=1_000_000))]
    pub timeout: Option<u64>,

    /// End the run after so many seconds, whatever it does [default: no limit]
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..=1_000_000))]
    pub time_limit: Option<u64>,

    /// Connect this terminal to the guest, and let its kernel have a monitor, as `run` does
    #[arg(
        long,
        value_name = "WHEN",
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "on",
        value_enum
    )]
    pub monitor: Option<Monitor>,

    /// The profile to write, which report shows as well [default: stat.pmi in the build
    /// directory]
    #[arg(short, long, value_name = "FILE")]
    pub output: Option<PathBuf>,
}

// How the counts are shown.
#[derive(Args, Debug)]
pub struct ShownArgs {
    /// Show each core's counts beside those of all
    #[arg(long)]
    pub per_core: bool,

    /// How the counts are written
    #[arg(long, value_enum, default_value_t = ReportFormat::Text)]
    pub format: ReportFormat,

    /// The same as --format json
    #[arg(long, conflicts_with = "format")]
    pub json: bool,
}

impl ShownArgs {
    pub fn format(&self) -> ReportFormat {
        if self.json {
            ReportFormat::Json
        } else {
            self.format
        }
    }
}

impl StatArgs {
    /// What is counted: of processes, each event in user code and in the kernel, unless it says where.
    fn events(&self) -> Option<EventList> {
        if !self.per_process {
            return self.event;
        }
        let default = || EventList::parse("instructions,cycles").expect("events that have names");
        let asked = self.event.unwrap_or_else(default);
        let mut events = asked.iter().flat_map(|&event| {
            let both = [(true, false), (false, true)];
            let both = both.map(|(user, kernel)| Event {
                user,
                kernel,
                ..event
            });
            if event.user && event.kernel {
                both.to_vec()
            } else {
                vec![event]
            }
        });
        let first = EventList::of(events.next()?);
        // More than there is room for are refused as they are.
        events.try_fold(first, EventList::and).or(self.event)
    }

    /// The run that counts so.
    #[must_use]
    pub fn run(&self) -> RunArgs {
        RunArgs {
            sampling: SamplingArgs {
                period: None,
                source: SourceChoice::Auto,
                event: self.events(),
                jitter: None,
                seed: None,
                delivery: None,
            },
            work: WorkArgs {
                units: Some(self.units),
                by_process: self.per_process,
                workload: self.workload.clone(),
                samples: None,
            },
            machine: self.machine.clone(),
            boot: BootArgs {
                log: None,
                append: Vec::new(),
                debug_file: Vec::new(),
                memory: self.memory,
                // What it holds is a few words for each event.
                ring: Some(match self.per_process {
                    false => *Settings::RING_BYTES.start(),
                    true => RING_OF_PROCESSES,
                }),
                keep: Keep::Samples,
                table: None,
                disc: None,
                disc_as: None,
                firmware: None,
            },
            timeout: self.timeout,
            time_limit: self.time_limit,
            embed_symbols: false,
            output: self.output.clone(),
            format: self.shown.format(),
            aim: None,
            monitor: self.monitor,
            self_test: None,
        }
    }
}
