//! A guest from its start to its end: the one way in which commands and tests run QEMU.

use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::path::PathBuf;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use profiler::format::Description;
use profiler::format::region::{Region, RegionError};

use super::log::{Log, last_line};
use super::{Machine, Process, Qemu, WhenEnded};
use crate::collect::{InheritedFile, Mapping, Search, find, guest_memory, log_file};
use crate::profile::Outcome;

/// Between two looks at the guest. A ring holds some thousand samples; at the fastest
/// (a sample every 4 µs) this is some hundred.
const POLL: Duration = Duration::from_millis(2);
/// Between two searches for the region, each of which looks at all pages.
const SEARCH: Duration = Duration::from_millis(20);

/// The memory of a guest: a file that QEMU and the tool both map.
pub struct GuestMemory {
    file: InheritedFile,
    mapping: Mapping,
}

impl GuestMemory {
    /// Makes a guest's memory.
    ///
    /// # Errors
    ///
    /// No folder has room for it, or it cannot be mapped.
    pub fn new(bytes: u64) -> Result<Self> {
        let file = guest_memory(bytes)?;
        let length = usize::try_from(bytes).context("too much memory")?;
        let mapping = Mapping::new(&file.file, length).context("cannot map the guest's memory")?;
        Ok(Self { file, mapping })
    }

    /// Reads what is at a physical address below 2 GiB.
    ///
    /// # Errors
    ///
    /// Those of reading a file.
    pub fn read(&self, address: u64, into: &mut [u8]) -> std::io::Result<()> {
        self.file.file.read_exact_at(into, address)
    }

    /// Looks for the region that the kernel shares.
    ///
    /// # Errors
    ///
    /// Those of asking the file system for holes.
    pub fn find_region(&self) -> Result<Search<'_>> {
        find(&self.file.file, &self.mapping).context("cannot search the guest's memory")
    }
}

/// How long a guest may take.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// The longest time without a sign of life.
    pub silence: Duration,
    /// What is missing then, for the message.
    pub silence_means: &'static str,
    /// How long it may run.
    pub total: Option<Duration>,
}

/// Why a guest is to be ended, or how it ended by itself.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct End {
    pub outcome: Outcome,
    /// What is known of the reason; empty if nothing is.
    pub message: String,
}

/// What an observer saw in a look at its guest.
pub enum Look {
    /// Nothing new.
    Idle,
    /// The guest did something: it does not hang.
    Active,
    /// The guest is to be ended.
    End(End),
}

/// What a command does while its guest runs. The methods are called in this order at
/// each look.
pub trait Observer<'memory> {
    /// Called with each line of the guest's log, once it is complete.
    fn on_line(&mut self, line: &str);

    /// Called once, when the guest has made its region.
    ///
    /// # Errors
    ///
    /// Errors end the guest.
    fn on_region(&mut self, region: Region<'memory>, description: &Description) -> Result<Look> {
        let _ = (region, description);
        Ok(Look::Active)
    }

    /// Called at each look, also at the last one, after the guest has ended.
    ///
    /// # Errors
    ///
    /// Errors end the guest.
    fn on_look(&mut self) -> Result<Look> {
        Ok(Look::Idle)
    }
}

/// What is left of a guest.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Ended {
    pub end: End,
    /// The last lines of its log.
    pub log: Vec<String>,
    /// What the kernel asked the loader for and did not get.
    pub unanswered: Option<String>,
}

/// A guest that runs.
pub struct Guest<'memory> {
    memory: &'memory GuestMemory,
    process: Process,
    program: PathBuf,
    arguments: Vec<String>,
    log: Log,
    /// What QEMU prints.
    messages: File,
    /// The region, once it is found.
    region: Option<Region<'memory>>,
    /// Why the kernel refuses the run, if it made a region for that alone.
    refusal: Option<String>,
    /// Why what looks like a region cannot be read.
    unreadable: Option<RegionError>,
}

impl<'memory> Guest<'memory> {
    /// Starts QEMU.
    ///
    /// # Errors
    ///
    /// The files for its output cannot be made, or QEMU cannot be started.
    pub fn start(qemu: &Qemu, machine: &Machine, memory: &'memory GuestMemory) -> Result<Self> {
        let serial = log_file().context("cannot make a file for the guest's log")?;
        let messages = log_file().context("cannot make a file for QEMU's messages")?;
        let arguments = machine.arguments(&memory.file.path, &serial.path);
        let process = Process::start(qemu, &arguments, &messages.file)
            .with_context(|| format!("cannot start {}", qemu.program.display()))?;
        let shown = arguments.iter().map(|word| word.to_string_lossy());
        Ok(Self {
            memory,
            process,
            program: qemu.program.clone(),
            arguments: shown.map(|word| word.into_owned()).collect(),
            log: Log::new(serial.file),
            messages: messages.file,
            region: None,
            refusal: None,
            unreadable: None,
        })
    }

    /// QEMU's command line, the program left out.
    #[must_use]
    pub fn arguments(&self) -> &[String] {
        &self.arguments
    }

    /// QEMU's command line.
    #[must_use]
    pub fn command_line(&self) -> String {
        format!("{} {}", self.program.display(), self.arguments.join(" "))
    }

    /// Follows the guest until it ends, or until a limit or the observer ends it.
    ///
    /// # Errors
    ///
    /// The guest cannot be followed, or the observer's.
    pub fn follow(
        mut self,
        limits: &Limits,
        observer: &mut impl Observer<'memory>,
    ) -> Result<Ended> {
        let started = Instant::now();
        let mut active = started;
        let mut searched = None::<Instant>;
        let end = loop {
            // First: what an ended guest has left behind is seen in the same look.
            let exited = self.process.ended().context("cannot wait for QEMU")?;
            let mut is_active = self.read_log(observer)?;
            let is_due = searched.is_none_or(|last| last.elapsed() >= SEARCH);
            if self.region.is_none() && (is_due || exited.is_some()) {
                searched = Some(Instant::now());
                if let Look::End(end) = self.search(observer)? {
                    break end;
                }
            }
            let look = observer.on_look()?;
            if let Some(exited) = exited {
                break self.meaning(exited, observer);
            }
            match look {
                Look::Idle => {}
                Look::Active => is_active = true,
                Look::End(end) => break end,
            }
            if is_active {
                active = Instant::now();
            }
            if let Some(end) = limits.exceeded(started, active) {
                break end;
            }
            thread::sleep(POLL);
        };
        self.process.kill();
        self.read_log(observer)?;
        self.log.finish();
        Ok(Ended {
            end,
            log: self.log.tail().map(str::to_owned).collect(),
            unanswered: self.log.unanswered().map(str::to_owned),
        })
    }

    /// Reads the guest's log. Returns true if there was anything new.
    fn read_log(&mut self, observer: &mut impl Observer<'memory>) -> Result<bool> {
        let lines = self.log.poll().context("cannot read the guest's log")?;
        lines.iter().for_each(|line| observer.on_line(line));
        Ok(!lines.is_empty())
    }

    fn search(&mut self, observer: &mut impl Observer<'memory>) -> Result<Look> {
        match self.memory.find_region()? {
            Search::Nothing => Ok(Look::Idle),
            Search::Unreadable(problem) => {
                self.unreadable = Some(problem);
                Ok(Look::Idle)
            }
            Search::Refused(reason) => {
                self.refusal = Some(reason);
                Ok(Look::Idle)
            }
            Search::Found(region, description) => {
                self.region = Some(region);
                observer.on_region(region, &description)
            }
        }
    }

    /// Why the kernel refuses the run, if its region says so.
    fn refusal(&self) -> Option<String> {
        let of_region = self.region.and_then(|region| region.refusal());
        let of_region = of_region.map(|reason| reason.as_str().to_owned());
        of_region.or_else(|| self.refusal.clone())
    }

    /// Maps QEMU's exit to an outcome and a message.
    fn meaning(&mut self, exited: WhenEnded, observer: &mut impl Observer<'memory>) -> End {
        if let Some(line) = self.log.finish() {
            observer.on_line(&line);
        }
        let known = |text: Option<&str>| text.unwrap_or_default().to_owned();
        let refusal = self.refusal();
        let message = match exited.outcome {
            Outcome::Finished => match self.unreadable {
                Some(problem) if self.region.is_none() => problem.to_string(),
                _ => String::new(),
            },
            Outcome::LoaderFailed => known(self.log.loader_error()),
            Outcome::QemuFailed => match last_line(&self.messages) {
                line if line.is_empty() => exited.status,
                line => format!("{}; {line}", exited.status),
            },
            Outcome::BadCommandLine | Outcome::SamplingUnavailable => match refusal {
                Some(reason) => reason,
                // A kernel of an older library says it in its log only.
                None => known(self.log.refusal()),
            },
            _ => known(self.log.error()),
        };
        End {
            outcome: exited.outcome,
            message,
        }
    }
}

impl Limits {
    /// The end of a guest that takes too long.
    fn exceeded(&self, started: Instant, active: Instant) -> Option<End> {
        if active.elapsed() >= self.silence {
            let seconds = self.silence.as_secs();
            return Some(End {
                outcome: Outcome::Hung,
                message: format!("{} for {seconds} s (--timeout)", self.silence_means),
            });
        }
        let limit = self.total.filter(|&limit| started.elapsed() >= limit)?;
        Some(End {
            outcome: Outcome::TimeLimit,
            message: format!("{} s (--time-limit)", limit.as_secs()),
        })
    }
}
