//! What a run does while its guest runs: it moves records into a profile.

use std::fs::File;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Error, Result, anyhow};
use profiler::format::region::{Region, RunState};
use profiler::format::{Clock, Description, Source};

use super::attended::Attended;
use super::plan::Recording;
use super::progress::Progress;
use super::view;
use crate::collect::Collector;
use crate::control::Server;
use crate::output::{Draft, Written};
use crate::profile::{CoreEnd, Embedded, Host, Mode, Outcome, RunEnd, Writer};
use crate::qemu::{End, Ended, Look, Observer, Seen};
use crate::signals::Interrupt;
use crate::symbols::BuildId;
use crate::top::{Standing, Top, Wanted};
use crate::units::{counted, grouped};

/// How long rings are drained that a guest still fills.
const DETACH: Duration = Duration::from_secs(5);

/// A run that is over.
pub(in crate::commands) struct FinishedRun {
    pub(super) ended: Ended,
    /// Whether there were records, lost ones included.
    pub(super) has_sampled: bool,
    /// The profile, if there is anything to write.
    pub(in crate::commands) profile: Option<Written>,
    /// The records of the last samples of all cores; empty where there is none.
    pub(super) newest: Vec<Vec<u64>>,
    /// What the kernel's memory says of how it failed, in a few lines; empty if nothing.
    pub(super) story: String,
}

/// What a run that is over has collected.
struct Collected {
    records: u64,
    lost: u64,
    /// The samples that the kernel was to take; 0 where it counts.
    total: u64,
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
    /// The files for the profile, until it is begun.
    embedded: Option<Embedded>,
    /// Whether the user wants an end.
    interrupt: Interrupt,
    progress: Progress,
    /// Who types to the guest, if somebody is to.
    attended: Option<Attended>,
    /// What shows the run while it goes on, if somebody watches it.
    top: Option<Top>,
    /// Where `pmiscope ctl` is heard, if there is a place for that.
    control: Option<Server>,
    /// Once the guest has made its region.
    sampling: Option<Sampling<'run>>,
}

/// The rings, and where their records go.
pub(super) struct Sampling<'run> {
    source: Source,
    pub(super) collector: Collector<'run>,
    /// The file of the profile, and what writes to it.
    pub(super) draft: Draft,
    pub(super) profile: Writer<File>,
    total: u64,
    /// Records so far.
    records: u64,
}

impl<'run> Session<'run> {
    pub(in crate::commands) fn new(
        plan: &'run Recording,
        (host, embedded): (Host, Embedded),
        interrupt: Interrupt,
        control: Option<Server>,
    ) -> Self {
        Self {
            plan,
            host,
            embedded: Some(embedded),
            interrupt,
            progress: Progress::new(plan.has_view),
            attended: None,
            top: None,
            control,
            sampling: None,
        }
    }

    /// The same with the terminal connected to the guest, whose serial port is there: nothing else is shown on
    /// it meanwhile.
    pub(super) fn attended(self, attended: Attended) -> Self {
        Self {
            progress: Progress::new(true),
            attended: Some(attended),
            ..self
        }
    }

    /// Ends the profile with all that the rings still have: nobody writes to them any more.
    pub(in crate::commands) fn finish(mut self, ended: Ended) -> Result<FinishedRun> {
        // The terminal is as it was.
        self.attended = None;
        self.top = None;
        loop {
            match self.drain() {
                Ok(0) => break,
                Ok(_) => {}
                Err(error) => return Err(self.abandon(error)),
            }
        }
        if let Err(error) = self.take_chains() {
            return Err(self.abandon(error));
        }
        let counters = self.counters();
        self.end(ended, counters)
    }

    /// Ends the profile of a guest that goes on, with what its rings have about now. It may
    /// fill them faster than they are drained.
    pub(in crate::commands) fn detach(mut self, ended: Ended) -> Result<FinishedRun> {
        self.top = None;
        // Before the records, which are then as many as the counters say, or more.
        let counters = self.counters();
        let started = Instant::now();
        while started.elapsed() < DETACH {
            match self.drain() {
                Ok(0) => break,
                Ok(_) => {}
                Err(error) => return Err(self.abandon(error)),
            }
        }
        if let Err(error) = self.take_chains() {
            return Err(self.abandon(error));
        }
        self.end(ended, counters)
    }

    /// Copies what was counted in place into the profile.
    fn take_chains(&mut self) -> Result<()> {
        let Some(sampling) = &mut self.sampling else {
            return Ok(());
        };
        let taken = sampling.collector.take_chains(&mut sampling.profile);
        taken.with_context(|| self.cannot_write())
    }

    /// What to say of a run that cannot go on for this reason: where its samples are.
    pub(in crate::commands) fn abandon(self, error: Error) -> Error {
        match self.sampling {
            Some(sampling) => with_part(&error, &sampling.draft),
            None => error,
        }
    }

    fn counters(&self) -> Vec<CoreEnd> {
        let sampling = self.sampling.as_ref();
        sampling.map_or_else(Vec::new, |sampling| sampling.collector.counters())
    }

    fn end(mut self, mut ended: Ended, counters: Vec<CoreEnd>) -> Result<FinishedRun> {
        let mut has_sampled = false;
        if let Some(sampling) = &self.sampling {
            let collected = Collected {
                records: if sampling.collector.counts_chains() {
                    // What was moved is the smaller part.
                    sampling.collector.samples()
                } else {
                    sampling.records
                },
                lost: sampling.collector.lost(),
                total: sampling.total,
            };
            has_sampled = collected.records + collected.lost > 0;
            ended.end = end_of_run(ended.end, &ended.seen, &collected);
        }
        let sampling = self.sampling.as_ref();
        let newest = sampling.map(|sampling| sampling.collector.newest());
        let profile = match self.sampling.take() {
            None => None,
            Some(sampling) => {
                let end = RunEnd {
                    outcome: ended.end.outcome,
                    message: ended.end.message.clone(),
                    cores: counters,
                };
                Some(self.write_end(sampling, &end)?)
            }
        };
        Ok(FinishedRun {
            ended,
            has_sampled,
            profile,
            newest: newest.unwrap_or_default(),
            story: String::new(),
        })
    }

    /// Writes the end of the profile, which is whole then.
    fn write_end(&self, sampling: Sampling<'_>, end: &RunEnd) -> Result<Written> {
        let Sampling {
            mut collector,
            mut profile,
            draft,
            ..
        } = sampling;
        let written = collector.flush(&mut profile);
        let written = written.and_then(|()| profile.finish(end).map(drop));
        if let Err(error) = written.with_context(|| self.cannot_write()) {
            return Err(with_part(&error, &draft));
        }
        let part = draft.part().to_owned();
        draft.finish().map_err(|error| {
            let part = part.display();
            anyhow!(
                "{}: {error}; it is whole in {part}, which pmiscope report reads",
                self.cannot_write()
            )
        })
    }

    /// Moves records into the profile, and returns how many.
    fn drain(&mut self) -> Result<u64> {
        let Some(sampling) = &mut self.sampling else {
            return Ok(0);
        };
        let collector = &mut sampling.collector;
        let moved = match &mut self.top {
            None => collector.drain(&mut sampling.profile),
            Some(top) => collector.drain(&mut view::Tee {
                profile: &mut sampling.profile,
                live: top.live(),
            }),
        };
        sampling.records += moved.as_ref().copied().unwrap_or_default();
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

    /// Shows how the run stands, if somebody watches it, and does what keys ask for.
    fn show(&mut self) -> Result<Wanted> {
        let (Some(top), Some(sampling)) = (&mut self.top, &mut self.sampling) else {
            return Ok(Wanted::Nothing);
        };
        let collector = &sampling.collector;
        let standing = Standing {
            lost: collector.lost_of_cores(),
            is_paused: collector.is_paused(),
        };
        let wanted = top.look(&standing).context("the terminal")?;
        if wanted == Wanted::Save {
            let path = self.plan.outputs.profile.path();
            let said = match view::save(path, sampling) {
                Ok(path) => format!("written: {}", path.display()),
                Err(error) => format!("not written: {error:#}"),
            };
            top.say(&said);
        }
        Ok(wanted)
    }

    fn begin_profile(&mut self, description: &Description) -> Result<(Draft, Writer<File>)> {
        let embedded = self.embedded.take().context("a run has one region")?;
        let target = &self.plan.outputs.profile;
        let draft = target.begin().with_context(|| self.cannot_write())?;
        let begin = |file| Writer::with(file, description, &self.host, embedded);
        match draft.file().and_then(begin) {
            Ok(writer) => Ok((draft, writer)),
            Err(error) => {
                draft.discard();
                Err(error).with_context(|| self.cannot_write())
            }
        }
    }

    fn cannot_write(&self) -> String {
        let profile = self.plan.outputs.profile.path();
        format!("cannot write the profile {}", profile.display())
    }
}

/// An error, and where the samples are that were written before it.
fn with_part(error: &Error, draft: &Draft) -> Error {
    anyhow!(
        "{error:#}; what was sampled until then is in {}, which pmiscope report reads",
        draft.part().display()
    )
}

impl<'run> Observer<'run> for Session<'run> {
    fn on_line(&mut self, line: &str) {
        if self.plan.verbose {
            self.progress.line(line);
        }
    }

    fn on_note(&mut self, text: &str) {
        match &mut self.top {
            Some(top) => top.say(text),
            None => self.progress.line(&format!("pmiscope: {text}")),
        }
    }

    fn on_region(&mut self, region: Region<'run>, description: &Description) -> Result<Look> {
        let found = BuildId(description.build_id);
        if found != self.plan.build_id {
            let Recording {
                build_id,
                is_disc,
                is_attached,
                ..
            } = *self.plan;
            let elf = match (is_disc, is_attached) {
                (true, _) => Some(["disc", "on the disc"]),
                (_, true) => Some(["guest", "in the guest"]),
                _ => None,
            };
            return Ok(Look::End(other_kernel(found, build_id, elf)));
        }
        // Of somebody else's guest, the command line may not be known.
        if self.plan.is_attached && description.clock == Clock::Instructions {
            self.host.mode = Mode::Deterministic;
        }
        self.progress.begin(description.samples);
        if self.plan.has_view {
            let live = view::live(self.plan, description)?;
            self.top = Some(Top::new(live).context("the terminal")?);
        }
        let (draft, profile) = self.begin_profile(description)?;
        self.sampling = Some(Sampling {
            collector: Collector::new(region),
            draft,
            profile,
            total: description.samples,
            records: 0,
            source: description.source,
        });
        Ok(Look::Active)
    }

    fn is_attended(&self) -> bool {
        self.attended.as_ref().is_some_and(Attended::has_input)
    }

    fn on_look(&mut self) -> Result<Look> {
        let has_moved = self.drain()? > 0;
        self.serve();
        if let Some(attended) = self.attended.take() {
            let looked = attended.look().context("the terminal")?;
            let (attended, wants_end) = looked;
            self.attended = Some(attended);
            if wants_end {
                return Ok(Look::End(interrupted("SIGINT")));
            }
        }
        if self.show()? == Wanted::End {
            return Ok(Look::End(interrupted("SIGINT")));
        }
        if let Some(signal) = self.interrupt.wanted_by() {
            return Ok(Look::End(interrupted(signal)));
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

/// The end of a run that a signal of this name ends. That of ^C needs no message.
fn interrupted(signal: &str) -> End {
    let message = match signal {
        "SIGINT" => "",
        other => other,
    };
    End {
        outcome: Outcome::Interrupted,
        message: message.into(),
    }
}

/// What it means that a run ended so which has begun.
fn end_of_run(end: End, seen: &Seen, collected: &Collected) -> End {
    let Collected {
        records,
        lost,
        total,
    } = *collected;
    let has_finished = *seen == Seen::Run(RunState::Finished);
    let all = records + lost;
    match end.outcome {
        Outcome::Finished if all == 0 || (!has_finished && all < total) => End {
            outcome: Outcome::EndedEarly,
            message: match total {
                0 => "it has counted nothing".into(),
                _ => format!("it has {} of {}", grouped(all), counted(total, "sample")),
            },
        },
        Outcome::Hung if all == 0 => End {
            message: match total {
                0 => format!(
                    "{}; it began to count, and no count came: the kernel has to do its work between `begin_counting` and `end_counting`",
                    end.message
                ),
                _ => format!(
                    "{}; it began to sample, and no sample came: nothing overflowed, or interrupts do not arrive",
                    end.message
                ),
            },
            ..end
        },
        _ => end,
    }
}

/// The end of a run whose region names another kernel than `expected`. `elf` is whose kernel
/// runs, and where, if not the one that was given.
fn other_kernel(found: BuildId, expected: BuildId, elf: Option<[&str; 2]>) -> End {
    let message = if found == BuildId([0; 20]) {
        "its region has no build-id: INCLUDE pmiscope.ld in the linker script keeps the note, and the sampler reads it; who writes a region copies its 20 bytes (docs/region.md, What a kernel needs)".into()
    } else if let Some([whose, place]) = elf {
        format!(
            "the {whose}'s has build-id {found} and --kernel {expected}: give the ELF that is {place}"
        )
    } else {
        format!(
            "its region has build-id {found} and --kernel {expected}: the kernel says the id of another build; it has to copy that of its own .note.gnu.build-id"
        )
    };
    let outcome = if found == BuildId([0; 20]) {
        Outcome::NoBuildId
    } else {
        Outcome::WrongKernel
    };
    End { outcome, message }
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

#[cfg(test)]
mod tests {
    use super::*;

    fn end(outcome: Outcome, seen: &Seen, [records, lost, total]: [u64; 3]) -> End {
        let collected = Collected {
            records,
            lost,
            total,
        };
        let end = End {
            outcome,
            message: "why".into(),
        };
        end_of_run(end, seen, &collected)
    }

    #[test]
    fn a_run_without_all_its_samples_has_ended_early() {
        let [sampling, finished] = [RunState::Sampling, RunState::Finished].map(Seen::Run);
        for (seen, numbers, outcome) in [
            (&sampling, [9, 0, 10], Outcome::EndedEarly),
            (&sampling, [10, 0, 10], Outcome::Finished),
            (&sampling, [4, 6, 10], Outcome::Finished),
            // Cores that only interrupt others take no samples.
            (&finished, [9, 0, 10], Outcome::Finished),
            (&finished, [0, 0, 10], Outcome::EndedEarly),
            // It counts.
            (&sampling, [2, 0, 0], Outcome::Finished),
            (&finished, [0, 0, 0], Outcome::EndedEarly),
        ] {
            let found = end(Outcome::Finished, seen, numbers);
            assert_eq!(found.outcome, outcome, "{seen:?} {numbers:?}");
        }
        let early = end(Outcome::Finished, &sampling, [9, 1, 12]);
        assert_eq!(early.message, "it has 10 of 12 samples");
        let nothing = end(Outcome::Finished, &finished, [0, 0, 0]);
        assert_eq!(nothing.message, "it has counted nothing");
        let panic = end(Outcome::Panic, &sampling, [9, 0, 10]);
        assert_eq!((panic.outcome, &*panic.message), (Outcome::Panic, "why"));
    }

    #[test]
    fn a_run_without_a_sample_says_so() {
        let seen = Seen::Run(RunState::Sampling);
        for (numbers, says) in [
            ([0, 0, 10], "why; it began to sample, and no sample came"),
            ([0, 0, 0], "why; it began to count, and no count came"),
        ] {
            let found = end(Outcome::Hung, &seen, numbers);
            assert_eq!(found.outcome, Outcome::Hung);
            assert!(found.message.starts_with(says), "{found:?}");
        }
        assert_eq!(end(Outcome::Hung, &seen, [1, 0, 10]).message, "why");
    }

    #[test]
    fn another_kernel_is_told_from_one_that_does_not_know_itself() {
        let [own, other] = [1, 2].map(|byte| BuildId([byte; 20]));
        let disc = Some(["disc", "on the disc"]);
        let guest = Some(["guest", "in the guest"]);
        for (found, elf, outcome, says) in [
            (
                other,
                guest,
                Outcome::WrongKernel,
                "give the ELF that is in the guest",
            ),
            (
                other,
                disc,
                Outcome::WrongKernel,
                "give the ELF that is on the disc",
            ),
            (
                other,
                None,
                Outcome::WrongKernel,
                "it has to copy that of its own",
            ),
            (
                BuildId([0; 20]),
                disc,
                Outcome::NoBuildId,
                "has no build-id: INCLUDE",
            ),
            (
                BuildId([0; 20]),
                None,
                Outcome::NoBuildId,
                "has no build-id: INCLUDE",
            ),
        ] {
            let end = other_kernel(found, own, elf);
            assert_eq!(end.outcome, outcome);
            assert!(end.message.contains(says), "{end:?}");
        }
    }
}
