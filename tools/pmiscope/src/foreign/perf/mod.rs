//! `perf.data` of Linux's perf.

mod maps;
mod names;

use std::fs::File;
use std::io::BufReader;

use anyhow::{Context as _, Result, bail};
use hashbrown::HashMap;
use linux_perf_data::linux_perf_event_reader::{
    CpuMode, EventRecord, SampleRecord, SamplingPolicy,
};
use linux_perf_data::{AttributeDescription, PerfFile, PerfFileReader, PerfFileRecord};
use profiler::format::description::{MAX_EVENTS, MAX_TASKS};
use profiler::format::{EventDescription, Text};

use super::Foreign;
use super::table::{Code, Owner};
use super::writer::{Described, ForeignSample, MAX_CORES};
use maps::Maps;
pub(crate) use names::KernelNames;
use names::Names;

/// From here on a word of a chain says whose code the next ones are (`PERF_CONTEXT_MAX`).
const CONTEXTS: u64 = 0xffff_ffff_ffff_f001;
const KERNEL_CONTEXT: u64 = 0xffff_ffff_ffff_ff80;
const USER_CONTEXT: u64 = 0xffff_ffff_ffff_fe00;

/// What is read of a file.
struct Reading {
    maps: Maps,
    names: Names,
    foreign: Foreign,
    /// Stacks and lists of addresses that were met.
    stacks: HashMap<Vec<(Owner, Code)>, u32>,
    threads: HashMap<i32, String>,
    /// Samples by the names of their threads.
    tasks: HashMap<String, (u16, u64)>,
    programs: HashMap<i32, u16>,
    periods: Vec<u64>,
    begin: Option<u64>,
}

/// Reads a file; `kernel` has the names of the kernel that it is of, if somebody has named its file.
///
/// # Errors
///
/// It is none, or is damaged; it has no samples, or more kinds of events than a profile.
pub(crate) fn read(file: File, kernel: Option<KernelNames>) -> Result<(Foreign, Vec<String>)> {
    let PerfFileReader {
        mut perf_file,
        mut record_iter,
    } = PerfFileReader::parse_file(BufReader::new(file))
        .context("no perf.data that can be read")?;
    let mut reading = Reading::new(&perf_file, kernel)?;
    while let Some(record) = record_iter
        .next_record(&mut perf_file)
        .context("perf.data that is cut off or damaged")?
    {
        if let PerfFileRecord::EventRecord { attr_index, record } = record {
            let record = record.parse().context("a record makes no sense")?;
            reading.add(attr_index, &record)?;
        }
    }
    reading.finish()
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
        for (what, said) in [
            (" of Linux ", file.os_release()?),
            (", perf ", file.perf_version()?),
        ] {
            if let Some(said) = said {
                from = from + what + said;
            }
        }
        let maps = Maps::new(file.build_ids()?);
        Ok(Self {
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
            programs: HashMap::new(),
            begin: None,
        })
    }

    fn add(&mut self, event: usize, record: &EventRecord<'_>) -> Result<()> {
        match record {
            EventRecord::Comm(comm) => {
                let name = String::from_utf8_lossy(&comm.name.as_slice()).into_owned();
                self.threads.insert(comm.tid, name);
                if comm.is_execve {
                    self.maps.forget(comm.pid);
                }
            }
            EventRecord::Fork(fork) => {
                if let Some(name) = self.threads.get(&fork.ptid).cloned() {
                    self.threads.insert(fork.tid, name);
                }
                self.maps.fork(fork.ppid, fork.pid);
            }
            EventRecord::Mmap(map) => self.maps.add(map),
            EventRecord::Mmap2(map) => self.maps.add2(map),
            EventRecord::Lost(lost) => self.foreign.lost += lost.count,
            EventRecord::Sample(sample) => self.sample(event, sample)?,
            _ => {}
        }
        Ok(())
    }

    fn sample(&mut self, event: usize, sample: &SampleRecord<'_>) -> Result<()> {
        let core = sample.cpu.unwrap_or(0);
        if core >= MAX_CORES {
            bail!("a sample of CPU {core}: a profile has at most {MAX_CORES}");
        }
        let stack = self.stack(sample);
        if stack.is_empty() {
            return Ok(());
        }
        let next = u32::try_from(self.stacks.len()).context("too many stacks")?;
        let place = *self.stacks.entry_ref(&stack[..]).or_insert(next);
        if place == next {
            self.foreign.stacks.push(stack);
        }
        let time = sample.timestamp.unwrap_or(0);
        let begin = *self.begin.get_or_insert(time);
        let task = self.task(sample.tid.unwrap_or(0));
        self.foreign.described.cores = self.foreign.described.cores.max(core + 1);
        self.foreign.samples.push(ForeignSample {
            stack: place,
            core,
            task,
            event: u8::try_from(event).context("too many events")?,
            time: time.saturating_sub(begin),
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

    /// A sample's code, innermost first.
    fn stack(&mut self, sample: &SampleRecord<'_>) -> Vec<(Owner, Code)> {
        let pid = sample.pid.unwrap_or(0);
        let is_user = !matches!(sample.cpu_mode, CpuMode::Kernel | CpuMode::GuestKernel);
        let chain = sample.callchain.as_ref();
        let words = chain
            .into_iter()
            .flat_map(|it| (0..it.len()).filter_map(|at| it.get(at)));
        let places = places(words, sample.ip, is_user);
        places
            .into_iter()
            .map(|(is_user, address)| self.code(pid, is_user, address))
            .collect()
    }

    fn code(&mut self, pid: i32, is_user: bool, address: u64) -> (Owner, Code) {
        let table = &mut self.foreign.table;
        if !is_user {
            return (
                Owner::Kernel,
                self.names.of_kernel(&self.maps, address, table),
            );
        }
        // Those of a number that is too large have one together.
        let next = u16::try_from(self.programs.len() + 1).unwrap_or(u16::MAX);
        let program = *self.programs.entry(pid).or_insert(next);
        let code = self.names.of_program(&self.maps, (pid, address), table);
        (Owner::Program(program), code)
    }

    /// What was read, and what is to be said of it.
    fn finish(mut self) -> Result<(Foreign, Vec<String>)> {
        if self.foreign.samples.is_empty() {
            bail!("it has no samples");
        }
        self.foreign.samples.sort_by_key(|it| it.time);
        self.name_tasks();
        let threads = &self.threads;
        let name = |(pid, number): (i32, u16)| {
            let thread = threads.get(&pid).map_or("", |name| name);
            (number, format!("{thread} ({pid})"))
        };
        let mut programs: Vec<_> = self.programs.into_iter().map(name).collect();
        programs.sort_unstable();
        programs.dedup_by_key(|it| it.0);
        self.foreign.programs = programs;
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

/// The places of a chain, innermost first, each with whether it is user code. Of a sample without a
/// chain it is the interrupted one, if that is known.
fn places(
    chain: impl Iterator<Item = u64>,
    interrupted: Option<u64>,
    is_user: bool,
) -> Vec<(bool, u64)> {
    let mut is_user_now = is_user;
    let mut places = Vec::new();
    // Behind each change is code that was interrupted, or has entered the kernel.
    let mut is_first = true;
    for word in chain {
        match word {
            KERNEL_CONTEXT | USER_CONTEXT => {
                is_user_now = word == USER_CONTEXT;
                is_first = true;
            }
            CONTEXTS.. => {}
            address => {
                // A call is before what it returns to.
                let address = if is_first {
                    address
                } else {
                    address.wrapping_sub(1)
                };
                places.push((is_user_now, address));
                is_first = false;
            }
        }
    }
    if places.is_empty() {
        places.extend(interrupted.map(|address| (is_user, address)));
    }
    places
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chain_says_whose_code_its_addresses_are() {
        const KERNEL: u64 = 0xffff_ffff_8100_0000;
        let of = |chain: &[u64]| places(chain.iter().copied(), Some(7), true);
        let chain = [
            KERNEL_CONTEXT,
            KERNEL,
            KERNEL + 9,
            USER_CONTEXT,
            0x1000,
            0x2000,
        ];
        let expected = [
            (false, KERNEL),
            (false, KERNEL + 8),
            // Where the program entered the kernel, and what called that.
            (true, 0x1000),
            (true, 0x1fff),
        ];
        assert_eq!(of(&chain), expected);
        assert_eq!(of(&[0x1000]), [(true, 0x1000)]);
        // Of a hypervisor (PERF_CONTEXT_HV) nothing is known.
        assert_eq!(of(&[0xffff_ffff_ffff_ffe0]), [(true, 7)]);
        assert_eq!(places([].into_iter(), None, false), []);
    }
}
