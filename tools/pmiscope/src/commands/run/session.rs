//! What a run does while its guest runs: it moves records into a profile.

use std::fs::File;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use profiler::format::region::Region;
use profiler::format::{Clock, Description, Source};

use super::plan::Recording;
use super::progress::Progress;
use crate::collect::Collector;
use crate::control::Server;
use crate::profile::{CoreEnd, Head, Host, Mode, Outcome, RunEnd, Writer};
use crate::qemu::{End, Ended, Look, Observer};
use crate::symbols::BuildId;
use crate::units::grouped;

/// How long rings are drained that a guest still fills.
const DETACH: Duration = Duration::from_secs(5);

/// A run that is over.
pub(in crate::commands) struct FinishedRun {
    pub(super) ended: Ended,
    /// Whether a profile was written.
    pub(in crate::commands) has_profile: bool,
}

impl FinishedRun {
    pub(in crate::commands) fn outcome(&self) -> Outcome {
        self.ended.end.outcome
    }

    /// What is known of the reason; empty if nothing is.
    pub(in crate::commands) fn message(&self) -> &str {
        &self.ended.end.message
    }
}

/// A run whose guest runs.
pub(in crate::commands) struct Session<'run> {
    plan: &'run Recording,
    host: Host,
    /// Set when the user wants an end.
    interrupted: Arc<AtomicBool>,
    progress: Progress,
    /// Where `pmiscope ctl` is heard, if there is a place for that.
    control: Option<Server>,
    /// Once the guest has made its region.
    sampling: Option<Sampling<'run>>,
}

/// The rings, and where their records go.
struct Sampling<'run> {
    source: Source,
    collector: Collector<'run>,
    profile: Writer<File>,
    total: u64,
}

impl<'run> Session<'run> {
    pub(in crate::commands) fn new(
        plan: &'run Recording,
        host: Host,
        interrupted: Arc<AtomicBool>,
        control: Option<Server>,
    ) -> Self {
        Self {
            plan,
            host,
            interrupted,
            progress: Progress::new(),
            control,
            sampling: None,
        }
    }

    /// Ends the profile with all that the rings still have: nobody writes to them any more.
    pub(in crate::commands) fn finish(mut self, ended: Ended) -> Result<FinishedRun> {
        while self.drain()? > 0 {}
        let counters = self.counters();
        self.end(ended, counters)
    }

    /// Ends the profile of a guest that goes on, with what its rings have about now. It may
    /// fill them faster than they are drained.
    pub(in crate::commands) fn detach(mut self, ended: Ended) -> Result<FinishedRun> {
        // Before the records, which are then as many as the counters say, or more.
        let counters = self.counters();
        let started = Instant::now();
        while self.drain()? > 0 && started.elapsed() < DETACH {}
        self.end(ended, counters)
    }

    fn counters(&self) -> Vec<CoreEnd> {
        let sampling = self.sampling.as_ref();
        sampling.map_or_else(Vec::new, |sampling| sampling.collector.counters())
    }

    fn end(mut self, ended: Ended, counters: Vec<CoreEnd>) -> Result<FinishedRun> {
        let sampling = self.sampling.take();
        let has_profile = sampling.is_some();
        if let Some(sampling) = sampling {
            let Sampling {
                mut collector,
                mut profile,
                ..
            } = sampling;
            let end = RunEnd {
                outcome: ended.end.outcome,
                message: ended.end.message.clone(),
                cores: counters,
            };
            collector
                .flush(&mut profile)
                .and_then(|()| profile.finish(&end))
                .with_context(|| self.cannot_write())?;
        }
        Ok(FinishedRun { ended, has_profile })
    }

    /// Moves records into the profile, and returns how many.
    fn drain(&mut self) -> Result<u64> {
        let Some(sampling) = &mut self.sampling else {
            return Ok(0);
        };
        let collector = &mut sampling.collector;
        let moved = collector.drain(&mut sampling.profile);
        self.progress
            .update(collector.samples(), sampling.total, collector.lost());
        moved.with_context(|| self.cannot_write())
    }

    /// Executes what `pmiscope ctl` asks for.
    fn serve(&mut self) {
        let Some(control) = &mut self.control else {
            return;
        };
        let sampling = self.sampling.as_ref();
        let run = sampling.map(|it| (it.source, it.collector.mailbox()));
        control.serve(run, || match sampling {
            None => "the guest has not begun to sample yet".into(),
            Some(sampling) => status(sampling),
        });
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
}

impl<'run> Observer<'run> for Session<'run> {
    fn on_line(&mut self, line: &str) {
        if self.plan.verbose {
            self.progress.line(line);
        }
    }

    fn on_note(&mut self, text: &str) {
        self.progress.line(&format!("pmiscope: {text}"));
    }

    fn on_region(&mut self, region: Region<'run>, description: &Description) -> Result<Look> {
        let found = BuildId(description.build_id);
        if found != self.plan.build_id {
            return Ok(Look::End(End {
                outcome: Outcome::WrongKernel,
                message: format!(
                    "the guest runs build-id {found} and --kernel is {}: give the kernel that it boots",
                    self.plan.build_id
                ),
            }));
        }
        // Of somebody else's guest, the command line may not be known.
        if self.plan.is_attached && description.clock == Clock::Instructions {
            self.host.mode = Mode::Deterministic;
        }
        self.progress.begin(description.samples);
        self.sampling = Some(Sampling {
            collector: Collector::new(region),
            profile: self.begin_profile(description)?,
            total: description.samples,
            source: description.source,
        });
        Ok(Look::Active)
    }

    fn on_look(&mut self) -> Result<Look> {
        let has_moved = self.drain()? > 0;
        self.serve();
        if self.interrupted.load(Ordering::Relaxed) {
            return Ok(Look::End(End {
                outcome: Outcome::Interrupted,
                message: String::new(),
            }));
        }
        let sampling = self.sampling.as_ref();
        // A paused guest was asked to be silent.
        let is_paused = sampling.is_some_and(|sampling| sampling.collector.is_paused());
        Ok(if has_moved || is_paused {
            Look::Active
        } else {
            Look::Idle
        })
    }
}

/// The state of a run, in a line.
fn status(sampling: &Sampling<'_>) -> String {
    let collector = &sampling.collector;
    // A run that counts writes its counts at its end.
    if sampling.total == 0 {
        return "counting".into();
    }
    let state = if collector.is_paused() {
        "stopped"
    } else {
        "sampling"
    };
    format!(
        "{state}; {} of {} samples, {} lost",
        grouped(collector.samples()),
        grouped(sampling.total),
        grouped(collector.lost())
    )
}
