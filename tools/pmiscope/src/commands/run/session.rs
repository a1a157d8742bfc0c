//! A guest from its start to its end.

use std::fs::File;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use profiler::format::region::RegionError;
use profiler::format::{Description, Source};

use super::log::{Log, last_line};
use super::plan::Plan;
use super::progress::Progress;
use crate::collect::{Collector, GuestFile, Mapping, find};
use crate::control::Server;
use crate::profile::{Head, Host, Outcome, RunEnd, Writer};
use crate::qemu::{Process, WhenEnded};
use crate::symbols::BuildId;
use crate::units::grouped;

/// Between two looks at the rings. A ring holds some thousand samples; at the
/// fastest (a sample every 4 µs) this is some hundred.
const POLL: Duration = Duration::from_millis(2);
/// Between two searches for the rings, each of which looks at all pages.
const SEARCH: Duration = Duration::from_millis(20);

/// How a run ended, and what was seen of it.
pub(super) struct Ended {
    pub(super) outcome: Outcome,
    /// What is known of why.
    pub(super) message: String,
    /// Whether a profile was written.
    pub(super) has_profile: bool,
    /// The last lines of the guest's log.
    pub(super) log: Vec<String>,
}

/// What a session works on.
pub(super) struct Session<'run> {
    pub(super) plan: &'run Plan,
    pub(super) host: Host,
    pub(super) memory_file: &'run GuestFile,
    pub(super) memory: &'run Mapping,
    pub(super) log: Log<'run>,
    pub(super) messages: &'run File,
    /// Set when the user wants an end.
    pub(super) interrupted: Arc<AtomicBool>,
    pub(super) progress: Progress,
    /// Why what looked like rings could not be read.
    pub(super) not_shared: Option<RegionError>,
    /// Where `pmiscope ctl` is heard, if there is a place for that.
    pub(super) control: Option<Server>,
}

/// The rings, and where their records go.
struct Sampling<'run> {
    source: Source,
    collector: Collector<'run>,
    profile: Writer<File>,
    total: u64,
}

impl<'run> Session<'run> {
    /// Follows the guest to its end, or ends it.
    pub(super) fn follow(mut self, mut qemu: Process) -> Result<Ended> {
        let started = Instant::now();
        let mut active = started;
        let mut searched = None::<Instant>;
        let mut sampling = None;
        let end = loop {
            // Before the rings are looked at: what an ended guest left is seen then.
            let ended = qemu.ended().context("cannot wait for QEMU")?;
            let mut is_active = self.follow_log()?;
            if sampling.is_none()
                && (ended.is_some() || searched.is_none_or(|last| last.elapsed() >= SEARCH))
            {
                searched = Some(Instant::now());
                match self.find_rings()? {
                    Search::Nothing => {}
                    Search::Found(found) => sampling = Some(found),
                    Search::Other(found) => break self.wrong_kernel(found),
                }
            }
            if let Some(sampling) = &mut sampling {
                is_active |= self.drain(sampling)? > 0;
                // It was asked to be silent.
                is_active |= sampling.collector.is_paused();
            }
            self.serve(sampling.as_ref());
            if let Some(ended) = ended {
                break self.by_itself(ended);
            }
            if is_active {
                active = Instant::now();
            }
            if let Some(end) = self.reason_to_end(started, active) {
                break end;
            }
            thread::sleep(POLL);
        };
        qemu.kill();
        self.follow_log()?;
        self.log.finish();
        self.finish(end, sampling)
    }

    /// Ends the profile with all that the rings still have.
    fn finish(
        mut self,
        (outcome, message): (Outcome, String),
        sampling: Option<Sampling<'_>>,
    ) -> Result<Ended> {
        let has_profile = sampling.is_some();
        if let Some(mut sampling) = sampling {
            while self.drain(&mut sampling)? > 0 {}
            let Sampling {
                mut collector,
                mut profile,
                ..
            } = sampling;
            let end = RunEnd {
                outcome,
                message: message.clone(),
                cores: collector.counters(),
            };
            collector
                .flush(&mut profile)
                .and_then(|()| profile.finish(&end))
                .with_context(|| self.cannot_write())?;
        }
        Ok(Ended {
            outcome,
            message,
            has_profile,
            log: self.log.tail().map(str::to_owned).collect(),
        })
    }

    /// Does what `pmiscope ctl` asks for.
    fn serve(&mut self, sampling: Option<&Sampling<'_>>) {
        let Some(control) = &mut self.control else {
            return;
        };
        let run = sampling.map(|it| (it.source, it.collector.mailbox()));
        control.serve(run, || match sampling {
            None => "the guest has not begun to sample yet".into(),
            Some(sampling) => status(sampling),
        });
    }

    /// Reads the guest's log; says whether there was anything new.
    fn follow_log(&mut self) -> Result<bool> {
        let lines = self.log.poll().context("cannot read the guest's log")?;
        if self.plan.verbose {
            lines.iter().for_each(|line| self.progress.line(line));
        }
        Ok(!lines.is_empty())
    }

    fn find_rings(&mut self) -> Result<Search<'run>> {
        let found = find(&self.memory_file.file, self.memory)
            .context("cannot search the guest's memory")?;
        let (shared, description) = match found {
            Ok(Some(found)) => found,
            Ok(None) => return Ok(Search::Nothing),
            Err(problem) => {
                self.not_shared = Some(problem);
                return Ok(Search::Nothing);
            }
        };
        let build_id = BuildId(description.build_id);
        if build_id != self.plan.build_id {
            return Ok(Search::Other(build_id));
        }
        self.progress.begin(description.samples);
        Ok(Search::Found(Sampling {
            collector: Collector::new(shared),
            profile: self.begin_profile(&description)?,
            total: description.samples,
            source: description.source,
        }))
    }

    fn begin_profile(&self, description: &Description) -> Result<Writer<File>> {
        let head = Head {
            description,
            host: &self.host,
            kernel: &self.plan.kernel,
        };
        let file = File::create(&self.plan.output);
        file.and_then(|file| Writer::new(file, &head))
            .with_context(|| self.cannot_write())
    }

    fn cannot_write(&self) -> String {
        format!("cannot write the profile {}", self.plan.output.display())
    }

    fn drain(&mut self, sampling: &mut Sampling<'_>) -> Result<u64> {
        let collector = &mut sampling.collector;
        let taken = collector.drain(&mut sampling.profile);
        let taken = taken.with_context(|| self.cannot_write())?;
        self.progress
            .update(collector.samples(), sampling.total, collector.lost());
        Ok(taken)
    }

    /// Why the guest is to be ended now, if it is.
    fn reason_to_end(&self, started: Instant, active: Instant) -> Option<(Outcome, String)> {
        if self.interrupted.load(Ordering::Relaxed) {
            return Some((Outcome::Interrupted, String::new()));
        }
        if active.elapsed() >= self.plan.patience {
            let seconds = self.plan.patience.as_secs();
            let message = format!("no sample and no line of the log for {seconds} s (--timeout)");
            return Some((Outcome::Hung, message));
        }
        let limit = self
            .plan
            .time_limit
            .filter(|&limit| started.elapsed() >= limit)?;
        Some((
            Outcome::TimeLimit,
            format!("{} s (--time-limit)", limit.as_secs()),
        ))
    }

    fn wrong_kernel(&self, found: BuildId) -> (Outcome, String) {
        let message = format!(
            "the guest runs build-id {found} and --kernel is {}: give the kernel that it boots",
            self.plan.build_id
        );
        (Outcome::WrongKernel, message)
    }

    /// What it means that QEMU ended.
    fn by_itself(&mut self, ended: WhenEnded) -> (Outcome, String) {
        if let Some(line) = self.log.finish()
            && self.plan.verbose
        {
            self.progress.line(&line);
        }
        let said = match ended.outcome {
            Outcome::Finished => self
                .not_shared
                .map(|why| why.to_string())
                .unwrap_or_default(),
            Outcome::LoaderFailed => self.log.loader_error().unwrap_or_default().to_owned(),
            Outcome::QemuFailed => {
                let said = last_line(self.messages);
                [ended.status, said]
                    .into_iter()
                    .filter(|text| !text.is_empty())
                    .collect::<Vec<_>>()
                    .join("; ")
            }
            _ => self.log.error().unwrap_or_default().to_owned(),
        };
        (ended.outcome, said)
    }
}

/// How a run stands, in a line.
fn status(sampling: &Sampling<'_>) -> String {
    let collector = &sampling.collector;
    // What is left of a run that counts comes at its end.
    if sampling.total == 0 {
        return "counting".into();
    }
    let state = match collector.is_paused() {
        true => "stopped",
        false => "sampling",
    };
    format!(
        "{state}; {} of {} samples, {} lost",
        grouped(collector.samples()),
        grouped(sampling.total),
        grouped(collector.lost())
    )
}

enum Search<'run> {
    Nothing,
    Found(Sampling<'run>),
    /// Rings of another kernel.
    Other(BuildId),
}
