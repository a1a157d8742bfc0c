//! A guest that runs, from the tool's beginning to the run's end.

use std::collections::HashMap;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use profiler::format::Description;
use profiler::format::region::{Region, RunState};

use super::process::Activity;
use super::{Chosen, Found, Image, Process, Regions};
use crate::collect::{Mapping, Pace, guard};
use crate::profile::Outcome;
use crate::qemu::{End, Limits, Look, Observer};
use crate::symbols::BuildId;

/// Between two looks, as where the tool has started the guest.
const POLL: Duration = Duration::from_millis(2);
/// The wait between two searches, by what one takes: the guest may sample already.
const SEARCH_SHARE: u32 = 4;
/// How long another kernel's region, or one that was read before, may be all that there is:
/// an earlier boot has left it, and the kernel may be about to make its own.
const PATIENCE: Duration = Duration::from_secs(5);
/// How long the kernel may take to make its region, unless less was asked for.
const BEGIN: Duration = Duration::from_secs(60);
/// Between two looks at what the process does.
const ACTIVITY: Duration = Duration::from_millis(100);
/// How long there is neither a sample nor time on a processor in a guest that stands still.
const STILL: Duration = Duration::from_secs(2);
/// Time on a processor, in ticks of 10 ms, that a QEMU takes within [`STILL`] all the same.
const STILL_TICKS: u64 = 4;

/// A guest of somebody else's.
pub struct Guest<'memory> {
    image: &'memory Image,
    memory: &'memory Mapping,
    /// Whose it is, if that can be seen.
    process: Option<Process>,
    kernel: BuildId,
    run: Option<Run<'memory>>,
    search: Search,
    stillness: Stillness,
}

/// The run, once its region is there.
struct Run<'memory> {
    region: Region<'memory>,
    /// Words that were read in all rings, at the last look.
    read: u64,
}

/// How the search for the region goes.
struct Search {
    begun: Instant,
    pace: Pace,
    /// The interrupts in each region, at the last search.
    taken: HashMap<u64, u64>,
    /// What was found that is no run to follow; empty if nothing was.
    findings: String,
}

/// Whether the guest stands still.
struct Stillness {
    looked: Instant,
    /// When it last gave a sample, and the time on a processor that it had taken by then.
    moved: Instant,
    ticks: u64,
    state: State,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Runs,
    /// A signal or a debugger has stopped the process.
    Stopped,
    /// Nothing happens in it.
    Still,
}

impl<'memory> Guest<'memory> {
    #[must_use]
    pub fn new(
        image: &'memory Image,
        memory: &'memory Mapping,
        process: Option<Process>,
        kernel: BuildId,
    ) -> Self {
        let now = Instant::now();
        Self {
            image,
            memory,
            process,
            kernel,
            run: None,
            search: Search {
                begun: now,
                pace: Pace::new(SEARCH_SHARE),
                taken: HashMap::new(),
                findings: String::new(),
            },
            stillness: Stillness {
                looked: now,
                moved: now,
                ticks: 0,
                state: State::Runs,
            },
        }
    }

    /// Follows the guest until its run ends, or until a limit or the observer ends that. The
    /// guest itself goes on.
    ///
    /// # Errors
    ///
    /// The file or the process cannot be watched, or the observer's.
    pub fn follow(mut self, limits: &Limits, observer: &mut impl Observer<'memory>) -> Result<End> {
        let started = Instant::now();
        let mut active = started;
        loop {
            // First: what an ended guest has left behind is seen in the same look. But QEMU
            // ends of a file that is shortened.
            let exited = self.has_exited()?;
            let is_shortened = self.image.is_shortened()?;
            if self.run.is_none()
                && (exited || self.search.pace.is_due(Instant::now()))
                && let Look::End(end) = self.search(exited, observer)?
            {
                return Ok(end);
            }
            let look = observer.on_look()?;
            if is_shortened || guard::is_lost() {
                return Ok(self.shortened());
            }
            if let Some(end) = self.end_of_run(exited) {
                return Ok(end);
            }
            let is_active = match look {
                Look::End(end) => return Ok(end),
                Look::Active => true,
                Look::Idle => false,
            };
            if is_active {
                active = Instant::now();
            }
            if self.look_at_process(is_active, observer) == State::Stopped {
                active = Instant::now();
            }
            if let Some(mut end) = self.limits(limits).exceeded(started, active) {
                if end.outcome == Outcome::Hung {
                    // It is not ended, and only its owner knows.
                    end.outcome = Outcome::Silent;
                }
                return Ok(self.without_region(end));
            }
            thread::sleep(POLL);
        }
    }

    /// A run has to begin within a time, even if it may then be silent for ever.
    fn limits(&self, wanted: &Limits) -> Limits {
        match self.run {
            Some(_) => *wanted,
            None => Limits {
                silence: wanted.silence.min(BEGIN),
                ..*wanted
            },
        }
    }

    fn has_exited(&self) -> Result<bool> {
        let ended = self.process.as_ref().map(Process::has_ended).transpose();
        Ok(ended.context("cannot watch the process")?.unwrap_or(false))
    }

    fn search(&mut self, exited: bool, observer: &mut impl Observer<'memory>) -> Result<Look> {
        let look = || Regions::in_place(self.image, self.memory);
        let regions = self.search.pace.search(look)?;
        let before = std::mem::replace(&mut self.search.taken, regions.taken());
        if regions.are_ambiguous(self.kernel) && before.is_empty() && !exited {
            return Ok(Look::Idle);
        }
        let is_last = exited || self.search.begun.elapsed() >= PATIENCE;
        let unreadable = regions.unreadable.clone();
        let refusal = regions.refusal.clone();
        match regions.choose(self.kernel, &before) {
            // An earlier boot may have left it, and the kernel be about to make its own.
            Chosen::Run(found, _) if !is_last && is_over(&found) => {
                self.search.findings = format!("{}, which has ended", found.name());
            }
            Chosen::Run(found, others) => {
                if is_over(&found) {
                    observer.on_note("the run had ended before: it may be that of an earlier boot in the same memory");
                }
                return self.begin(&found, &others, observer);
            }
            // The observer says whose it is.
            Chosen::Other(found) if is_last => return self.begin(&found, &[], observer),
            Chosen::Other(found) => self.search.findings = found.name(),
            Chosen::Read(found) => {
                self.search.findings = format!("{}, which was read before", found.name());
            }
            Chosen::Nothing => {
                if let Some(message) = refusal.filter(|_| is_last) {
                    return Ok(Look::End(End {
                        outcome: Outcome::SamplingUnavailable,
                        message,
                    }));
                }
                self.search.findings = unreadable.unwrap_or_default();
            }
        }
        Ok(Look::Idle)
    }

    fn begin(
        &mut self,
        found: &Found<'memory>,
        others: &[String],
        observer: &mut impl Observer<'memory>,
    ) -> Result<Look> {
        for other in others {
            observer.on_note(&format!(
                "{other} is left alone: {} is the run",
                found.name()
            ));
        }
        let read = found.read();
        if read > 0 && found.description.build_id == self.kernel.0 {
            observer.on_note("some of the run was read before, and is not in this profile");
        }
        self.run = Some(Run {
            region: found.region,
            read,
        });
        self.stillness.moved = Instant::now();
        let description: &Description = &found.description;
        observer.on_region(found.region, description)
    }

    fn shortened(&self) -> End {
        End {
            outcome: Outcome::Unfinished,
            message: format!(
                "{} was shortened while it was read; the samples until then are kept",
                self.image.name()
            ),
        }
    }

    /// The end of the run by itself, or by its process's.
    fn end_of_run(&mut self, exited: bool) -> Option<End> {
        let end = |outcome, message: &str| {
            Some(End {
                outcome,
                message: message.to_owned(),
            })
        };
        if let Some(run) = &mut self.run {
            let cores = 0..run.region.cores();
            let read = cores.map(|core| run.region.reader(core).position()).sum();
            if std::mem::replace(&mut run.read, read) > read {
                return end(Outcome::Unfinished, RESTARTED);
            }
            match run.region.state() {
                RunState::Finished => return end(Outcome::Finished, ""),
                RunState::Failed => return end(Outcome::Panic, FAILED),
                RunState::Cut => return end(Outcome::Reset, CUT),
                RunState::Refused => {
                    let reason = run.region.refusal();
                    let reason = reason.as_ref().map_or("", |reason| reason.as_str());
                    return end(Outcome::SamplingUnavailable, reason);
                }
                RunState::Starting | RunState::Sampling | RunState::Paused => {}
            }
        }
        let process = self.process.as_ref().filter(|_| exited)?;
        let said = format!("{} ended before the run did", process.display());
        let end = End {
            outcome: Outcome::QemuFailed,
            message: said,
        };
        Some(self.without_region(end))
    }

    /// Says at an end that there was no region, if so.
    fn without_region(&self, mut end: End) -> End {
        if self.run.is_none() && end.outcome != Outcome::Interrupted {
            let found = match self.search.findings.as_str() {
                "" => NO_REGION.to_owned(),
                findings => format!("all that is in the memory is {findings}"),
            };
            end.message = format!("{}: {found}", end.message);
        }
        end
    }

    /// Looks whether the guest stands still, and says so once, as it says when it goes on.
    fn look_at_process(&mut self, is_active: bool, observer: &mut impl Observer<'memory>) -> State {
        let now = Instant::now();
        let stillness = &mut self.stillness;
        if let Some(process) = &self.process
            && (is_active || now.duration_since(stillness.looked) >= ACTIVITY)
        {
            // A guest that gives samples is looked at only when it had stopped.
            let activity = (!is_active).then(|| process.activity()).flatten();
            let said = stillness.look(now, is_active, activity, self.run.is_some());
            if let Some(text) = said {
                observer.on_note(&format!("{} {text}", process.display()));
            }
        }
        self.stillness.state
    }
}

impl Stillness {
    /// Takes in what the process does. Returns what is to be said of it.
    fn look(
        &mut self,
        now: Instant,
        is_active: bool,
        activity: Option<Activity>,
        is_run: bool,
    ) -> Option<&'static str> {
        self.looked = now;
        let ticks = activity.map_or(self.ticks, |activity| activity.ticks);
        if is_active || ticks > self.ticks + STILL_TICKS {
            self.moved = now;
            self.ticks = ticks;
        }
        let is_still = is_run && now.duration_since(self.moved) >= STILL;
        let state = match activity {
            Some(Activity {
                is_stopped: true, ..
            }) => State::Stopped,
            _ if is_still => State::Still,
            _ => State::Runs,
        };
        let before = std::mem::replace(&mut self.state, state);
        match (before, state) {
            (before, state) if before == state => None,
            (_, State::Stopped) => Some("is stopped by a signal: waiting for it to go on"),
            (_, State::Still) => Some(
                "stands still (stopped by QMP, or all its cores halt): waiting for it to go on",
            ),
            (_, State::Runs) => Some("goes on"),
        }
    }
}

/// Returns true if nothing is written to the region any more.
fn is_over(found: &Found<'_>) -> bool {
    found.has_ended() && found.region.state() != RunState::Refused
}

const RESTARTED: &str = "the guest has begun another run in the same memory: attach once more to follow that; the samples until then are kept";
/// What there is of a run that a reset has cut.
pub const CUT: &str = "in the middle of the run; these are the samples that its memory had";
/// How a kernel has failed that says no more in its region.
pub const FAILED: &str = "by a panic or an exception: the guest's log says which";
/// Why there may be no region.
pub const NO_REGION: &str = "no region was found in the memory: the kernel has no sampler in it or has not started it (docs/adopt.md), or this is not the guest's memory: name the file of -object memory-backend-file,share=on";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_stands_still_is_said_once_and_so_is_that_it_goes_on() {
        let begun = Instant::now();
        let mut stillness = Stillness {
            looked: begun,
            moved: begun,
            ticks: 0,
            state: State::Runs,
        };
        let mut at = |seconds: u64, is_active, is_stopped, ticks| {
            let activity = Activity { is_stopped, ticks };
            let now = begun + Duration::from_secs(seconds);
            stillness.look(now, is_active, Some(activity), true)
        };
        let is = |said: Option<&str>, part: &str| said.is_some_and(|said| said.contains(part));
        assert_eq!(at(1, false, false, 100), None);
        assert!(is(at(2, false, true, 100), "is stopped by a signal"));
        assert_eq!(at(9, false, true, 100), None);
        assert!(is(at(10, true, false, 101), "goes on"));
        // It computes, and gives no sample.
        assert_eq!(at(20, false, false, 1000), None);
        assert_eq!(at(21, false, false, 1003), None);
        assert!(is(at(22, false, false, 1003), "stands still"));
        assert_eq!(at(23, false, false, 1004), None);
        assert!(is(at(24, true, false, 1004), "goes on"));
    }
}
