//! `perf.data` of Linux's perf.

mod chain;
mod layout;
mod maps;
mod names;
mod processes;

use std::io::{ErrorKind, Read, Seek};

use anyhow::{Context as _, Result, anyhow, bail};
use hashbrown::HashMap;
use linux_perf_data::linux_perf_event_reader::{
    EventRecord, ForkOrExitRecord, SampleRecord, SamplingPolicy,
};
use linux_perf_data::{AttributeDescription, PerfFile, PerfFileReader, PerfFileRecord};
use profiler::format::description::{MAX_EVENTS, MAX_TASKS};
use profiler::format::{EventDescription, Text};

use super::Foreign;
use super::table::{Code, Owner};
use super::writer::{Described, ForeignSample, ForeignStack, MAX_CORES};
use crate::export::PERF_VERSION;
use chain::Recorded;
use maps::Maps;
pub(crate) use names::KernelNames;
use names::Names;
use processes::Processes;

/// What is read of a file.
struct Reading {
    maps: Maps,
    names: Names,
    foreign: Foreign,
    /// Stacks and lists of addresses that were met.
    stacks: HashMap<(Vec<(Owner, Code)>, u8), u32>,
    threads: HashMap<i32, String>,
    /// Samples by the names of their threads.
    tasks: HashMap<String, (u16, u64)>,
    processes: Processes,
    periods: Vec<u64>,
    /// It is an export of ours: callers are calls, not what is behind them.
    is_ours: bool,
}

/// Reads a file, or a stream as perf writes it into a pipe; `kernel` has the names of the kernel that it is
/// of, if somebody has named its file.
///
/// # Errors
///
/// It is none, or is damaged; it has no samples, or more kinds of events than a profile.
pub(crate) fn read<R: Read + Seek>(
    mut file: R,
    kernel: Option<KernelNames>,
) -> Result<(Foreign, Vec<String>)> {
    let is_stream = layout::is_stream(&mut file)?;
    let is_whole = match is_stream {
        true => layout::is_whole(&mut file)?,
        false => layout::is_within(&mut file)?,
    };
    if !is_whole {
        bail!("{CUT}");
    }
    let opened = match is_stream {
        true => PerfFileReader::parse_pipe(file),
        false => PerfFileReader::parse_file(file),
    };
    let PerfFileReader {
        mut perf_file,
        mut record_iter,
    } = opened
        .map_err(told)
        .context("no perf.data that can be read")?;
    let mut reading = Reading::new(&perf_file, kernel)?;
    while let Some(record) = record_iter.next_record(&mut perf_file).map_err(told)? {
        if let PerfFileRecord::EventRecord { attr_index, record } = record {
            let record = record.parse().map_err(|it| told(it.into()));
            reading.add(attr_index, &record.context("a record makes no sense")?)?;
        }
    }
    reading.finish()
}

/// Of a file that ends where something is to follow, or whose header says that there is more.
const CUT: &str = "it is cut off or damaged: it ends too early";

/// What is wrong with a file, once: the library's error has its cause in its text.
fn told(error: linux_perf_data::Error) -> anyhow::Error {
    match error {
        linux_perf_data::Error::IoError(error) if error.kind() == ErrorKind::UnexpectedEof => {
            anyhow!(CUT)
        }
        linux_perf_data::Error::IoError(error) => error.into(),
        other => anyhow!("{other}"),
    }
}

impl Reading {
    fn new(file: &PerfFile, kernel: Option<KernelNames>) -> Result<Self> {
        let attributes = file.event_attributes();
        if attributes.len() > MAX_EVENTS {
            bail!(
                "it has {} events, and a profile at most {MAX_EVENTS}",
                attributes.len()
            );
        }
        let mut from = "perf.data".to_owned();
        let version = file.perf_version().map_err(told)?;
        let is_ours = version.is_some_and(|it| it.starts_with(PERF_VERSION));
        let by = if is_ours { " of " } else { ", perf " };
        for (what, said) in [
            (" of Linux ", file.os_release().map_err(told)?),
            (by, version),
        ] {
            if let Some(said) = said {
                from = from + what + said;
            }
        }
        let maps = Maps::new(file.build_ids().map_err(told)?);
        Ok(Self {
            is_ours,
            foreign: Foreign {
                from,
                build_id: maps.kernel_build_id(),
                described: Described {
                    events: attributes.iter().map(event).collect(),
                    ..Described::default()
                },
                ..Foreign::default()
            },
            periods: attributes.iter().map(period).collect(),
            names: Names::new(kernel, maps.kernel_build_id())?,
            maps,
            stacks: HashMap::new(),
            threads: HashMap::new(),
            tasks: HashMap::new(),
            processes: Processes::default(),
        })
    }

    fn add(&mut self, event: usize, record: &EventRecord<'_>) -> Result<()> {
        match record {
            EventRecord::Comm(comm) => {
                if comm.is_execve {
                    self.processes.end(comm.pid, &self.threads);
                    self.maps.forget(comm.pid);
                }
                let name = String::from_utf8_lossy(&comm.name.as_slice()).into_owned();
                self.threads.insert(comm.tid, name);
            }
            EventRecord::Fork(fork) => self.fork(fork),
            EventRecord::Mmap(map) => self.maps.add(map),
            EventRecord::Mmap2(map) => self.maps.add2(map),
            EventRecord::Lost(lost) => {
                self.foreign.lost = self.foreign.lost.saturating_add(lost.count);
            }
            EventRecord::Sample(sample) => self.sample(event, sample)?,
            _ => {}
        }
        Ok(())
    }

    /// A new thread is called as what has made it, and so is a new process.
    fn fork(&mut self, fork: &ForkOrExitRecord) {
        if fork.ppid != fork.pid {
            // Another one may have had its pid.
            self.processes.end(fork.pid, &self.threads);
            self.maps.fork(fork.ppid, fork.pid);
        }
        match self.threads.get(&fork.ptid).cloned() {
            Some(name) => self.threads.insert(fork.tid, name),
            None => self.threads.remove(&fork.tid),
        };
    }

    fn sample(&mut self, event: usize, sample: &SampleRecord<'_>) -> Result<()> {
        let core = sample.cpu.unwrap_or(0);
        if core >= MAX_CORES {
            bail!("a sample of CPU {core}: a profile has at most {MAX_CORES}");
        }
        let ForeignStack { places, end } = self.stack(sample);
        if places.is_empty() {
            return Ok(());
        }
        let next = u32::try_from(self.stacks.len()).context("too many stacks")?;
        let key = (places, end as u8);
        let place = match self.stacks.get(&key) {
            Some(&known) => known,
            None => {
                let places = key.0.clone();
                self.foreign.stacks.push(ForeignStack { places, end });
                self.stacks.insert(key, next);
                next
            }
        };
        let task = self.task(sample.tid.unwrap_or(0));
        self.foreign.described.cores = self.foreign.described.cores.max(core + 1);
        self.foreign.samples.push(ForeignSample {
            stack: place,
            core,
            task,
            event: u8::try_from(event).context("too many events")?,
            time: sample.timestamp.unwrap_or(0),
            period: sample
                .period
                .unwrap_or(self.periods.get(event).copied().unwrap_or(0)),
            count: 1,
        });
        Ok(())
    }

    /// The number of a thread's name, by which samples are counted.
    fn task(&mut self, tid: i32) -> u16 {
        let name = match (self.threads.get(&tid), tid) {
            (Some(name), _) => name.clone(),
            (None, 0) => "swapper".into(),
            (None, tid) => format!(":{tid}"),
        };
        let next = u16::try_from(self.tasks.len()).unwrap_or(u16::MAX);
        let (number, samples) = self.tasks.entry(name).or_insert((next, 0));
        *samples += 1;
        *number
    }

    /// A sample's code, and how far it goes.
    fn stack(&mut self, sample: &SampleRecord<'_>) -> ForeignStack {
        let pid = sample.pid.unwrap_or(0);
        let recorded = Recorded::new(sample, self.is_ours, self.maps.has_process(pid));
        let places = recorded.places.into_iter();
        let places = places.map(|(is_user, address)| self.code(pid, is_user, address));
        ForeignStack {
            places: places.collect(),
            end: recorded.end,
        }
    }

    fn code(&mut self, pid: i32, is_user: bool, address: Option<u64>) -> (Owner, Code) {
        let table = &mut self.foreign.table;
        match (is_user, address) {
            (true, Some(address)) => (
                Owner::Program(self.processes.number(pid)),
                self.names.of_program(&self.maps, (pid, address), table),
            ),
            (true, None) => (
                Owner::Program(self.processes.number(pid)),
                Names::unknown(table),
            ),
            (false, address) => (
                Owner::Kernel,
                self.names
                    .of_kernel(&self.maps, address.unwrap_or(0), table),
            ),
        }
    }

    /// What was read, and what is to be said of it.
    fn finish(mut self) -> Result<(Foreign, Vec<String>)> {
        if self.foreign.samples.is_empty() {
            bail!("it has no samples");
        }
        self.foreign.samples.sort_by_key(|it| it.time);
        let begin = self.foreign.samples[0].time;
        for sample in &mut self.foreign.samples {
            sample.time -= begin;
        }
        self.name_tasks();
        let (programs, processes) = self.processes.finish(&self.threads);
        self.foreign.programs = programs;
        self.foreign.processes = processes;
        Ok((self.foreign, self.names.problems()))
    }

    /// Gives the threads with most samples the numbers that have names, all others the last.
    fn name_tasks(&mut self) {
        let mut all: Vec<_> = self.tasks.drain().collect();
        all.sort_unstable_by_key(|(name, (_, samples))| {
            (std::cmp::Reverse(*samples), name.clone())
        });
        let named = if all.len() <= MAX_TASKS {
            MAX_TASKS
        } else {
            MAX_TASKS - 1
        };
        let mut numbers = vec![0; all.len()];
        let tasks = &mut self.foreign.described.tasks;
        for (place, (name, (number, _))) in all.into_iter().enumerate() {
            numbers[usize::from(number)] = place.min(named);
            if place < named {
                tasks.push(name);
            } else if place == named {
                tasks.push("(other threads)".into());
            }
        }
        for sample in &mut self.foreign.samples {
            let place = numbers[usize::from(sample.task)];
            sample.task = u16::try_from(place).unwrap_or(u16::MAX);
        }
    }
}

/// An event, as a description has it.
fn event(attribute: &AttributeDescription) -> EventDescription {
    let period = period(attribute);
    EventDescription {
        name: Text::new(attribute.name().unwrap_or("event")),
        requested_period: period,
        period,
        floor: 0,
    }
}

fn period(attribute: &AttributeDescription) -> u64 {
    match attribute.attributes().sampling_policy {
        SamplingPolicy::Period(period) => period.get(),
        SamplingPolicy::Frequency(_) | SamplingPolicy::NoSampling => 0,
    }
}
