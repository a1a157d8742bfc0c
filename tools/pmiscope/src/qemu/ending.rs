//! What the end of a guest means, by all that is known of it.

use profiler::format::region::{RegionError, RunState};

use super::status;
use crate::profile::Outcome;

/// Why a guest is to be ended, or how it ended by itself.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct End {
    pub outcome: Outcome,
    /// What is known of the reason; empty if nothing is.
    pub message: String,
}

impl End {
    fn new(outcome: Outcome, message: impl Into<String>) -> Self {
        Self {
            outcome,
            message: message.into(),
        }
    }
}

/// How QEMU ended.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Exited {
    /// The guest wrote this to the exit port; its highest bit is not known.
    Value(u8),
    /// The guest reset the machine, as a triple fault does, or switched it off.
    Reset,
    /// QEMU failed; how, in words.
    Failed(String),
}

/// What the guest's memory says of the run.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Seen {
    /// There is no region.
    Nothing,
    /// A region, in this state.
    Run(RunState),
    /// A region that refuses the run, for this reason.
    Refused(String),
    /// A region that cannot be read.
    Unreadable(RegionError),
}

/// What the guest's log says.
#[derive(Clone, Copy, Default, Debug)]
pub(super) struct Said<'a> {
    /// The kernel's first error.
    pub error: Option<&'a str>,
    /// Its first panic.
    pub panic: Option<&'a str>,
    /// The first error, as the reason of a refusal.
    pub refusal: Option<&'a str>,
    /// What the loader said, if nothing was said since.
    pub loader: Option<&'a str>,
    /// The last line.
    pub last: Option<&'a str>,
}

impl<'a> Said<'a> {
    /// Why the kernel fails.
    fn reason(&self) -> Option<&'a str> {
        self.error.or(self.panic).or(self.last)
    }
}

/// What it means that a guest is silent which has panicked; `None` if it has not.
pub(super) fn of_silence(said: Said<'_>) -> Option<End> {
    said.panic.map(|panic| End::new(Outcome::Panic, panic))
}

/// What it means that QEMU has ended.
pub(super) fn of_exit(exited: &Exited, seen: &Seen, said: Said<'_>) -> End {
    let known = |text: Option<&str>| text.unwrap_or_default().to_owned();
    let value = match exited {
        Exited::Failed(how) => return End::new(Outcome::QemuFailed, how.clone()),
        // A kernel has no better way out if it does not know QEMU's.
        Exited::Reset => {
            return match seen {
                Seen::Refused(reason) => refused(reason),
                Seen::Run(RunState::Finished) => End::new(Outcome::Finished, ""),
                // It has said why.
                _ => of_silence(said).unwrap_or(End::new(Outcome::Reset, "")),
            };
        }
        Exited::Value(value) => *value,
    };
    match (value, seen) {
        (status::BAD_COMMAND_LINE, Seen::Refused(reason)) => {
            End::new(Outcome::BadCommandLine, reason.clone())
        }
        // Whatever the kernel did about it.
        (_, Seen::Refused(reason)) => refused(reason),
        (status::SUCCESS, Seen::Unreadable(problem)) => unreadable(*problem),
        (status::SUCCESS, Seen::Run(RunState::Failed)) => {
            End::new(Outcome::Failed, known(said.reason()))
        }
        (status::SUCCESS, _) => End::new(Outcome::Finished, ""),
        (status::PANIC, _) => End::new(Outcome::Panic, known(said.reason())),
        (status::EXCEPTION, _) => End::new(Outcome::Exception, known(said.reason())),
        (status::SAMPLING_UNAVAILABLE, _) => {
            End::new(Outcome::SamplingUnavailable, known(said.refusal))
        }
        // A kernel that is sampled has taken its command line.
        (status::BAD_COMMAND_LINE, Seen::Nothing | Seen::Unreadable(_)) => {
            End::new(Outcome::BadCommandLine, known(said.refusal))
        }
        (status::LOADER_FAILED, Seen::Nothing) if said.loader.is_some() => {
            End::new(Outcome::LoaderFailed, known(said.loader))
        }
        (other, Seen::Run(RunState::Finished)) => End::new(Outcome::Finished, written(other)),
        (other, _) => End::new(Outcome::UnknownValue, written(other)),
    }
}

/// What it means that the region is so and QEMU does not end: `None` if the run goes on.
pub(super) fn of_region(seen: &Seen, said: Said<'_>) -> Option<End> {
    match seen {
        Seen::Run(RunState::Finished) => Some(End::new(Outcome::Finished, "")),
        Seen::Run(RunState::Failed) => {
            let message = said.reason().unwrap_or_default();
            Some(End::new(Outcome::Failed, message))
        }
        Seen::Refused(reason) => Some(refused(reason)),
        Seen::Unreadable(problem) => Some(unreadable(*problem)),
        Seen::Nothing | Seen::Run(_) => None,
    }
}

fn refused(reason: &str) -> End {
    let outcome = if reason.starts_with("command line: ") {
        Outcome::BadCommandLine
    } else {
        Outcome::SamplingUnavailable
    };
    End::new(outcome, reason)
}

fn unreadable(problem: RegionError) -> End {
    End::new(Outcome::Unreadable, problem.to_string())
}

fn written(value: u8) -> String {
    format!(
        "it wrote {value:#04x} to port {:#x}, where {:#04x} says that all is done (docs/region.md, The end)",
        status::PORT,
        status::SUCCESS
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    const SAID: Said<'_> = Said {
        error: Some("an error"),
        panic: Some("a panic"),
        refusal: Some("a refusal"),
        loader: Some("the loader's"),
        last: Some("the last line"),
    };

    fn refusal(reason: &str) -> Seen {
        Seen::Refused(reason.into())
    }

    const RUNS: Seen = Seen::Run(RunState::Sampling);
    const FINISHED: Seen = Seen::Run(RunState::Finished);
    const OLD: Seen = Seen::Unreadable(RegionError::Version(3));

    #[test]
    fn each_exit_means_what_is_known() {
        let value = Exited::Value;
        let failed = Exited::Failed("killed by signal 9".into());
        for (exited, seen, outcome, message) in [
            (value(0x10), RUNS, Outcome::Finished, ""),
            (value(0x10), Seen::Nothing, Outcome::Finished, ""),
            (value(0x10), OLD, Outcome::Unreadable, "version 3"),
            (
                value(0x11),
                Seen::Nothing,
                Outcome::BadCommandLine,
                "a refusal",
            ),
            (value(0x11), refusal("x=1"), Outcome::BadCommandLine, "x=1"),
            // It is sampled, so it has taken its command line.
            (
                value(0x11),
                RUNS,
                Outcome::UnknownValue,
                "0x11 to port 0xf4",
            ),
            (value(0x12), RUNS, Outcome::Panic, "an error"),
            (value(0x13), RUNS, Outcome::Exception, "an error"),
            (
                value(0x14),
                Seen::Nothing,
                Outcome::SamplingUnavailable,
                "a refusal",
            ),
            // Whatever a kernel does that is refused.
            (
                value(0x10),
                refusal("no room"),
                Outcome::SamplingUnavailable,
                "no room",
            ),
            (
                value(0x12),
                refusal("no room"),
                Outcome::SamplingUnavailable,
                "no room",
            ),
            (
                value(0x2a),
                refusal("no room"),
                Outcome::SamplingUnavailable,
                "no room",
            ),
            (
                Exited::Reset,
                refusal("no room"),
                Outcome::SamplingUnavailable,
                "no room",
            ),
            (
                value(0x20),
                Seen::Nothing,
                Outcome::LoaderFailed,
                "the loader's",
            ),
            (
                value(0x20),
                RUNS,
                Outcome::UnknownValue,
                "0x20 to port 0xf4",
            ),
            (
                value(0x00),
                Seen::Nothing,
                Outcome::UnknownValue,
                "0x00 to port 0xf4",
            ),
            (
                value(0x2a),
                FINISHED,
                Outcome::Finished,
                "0x2a to port 0xf4",
            ),
            (Exited::Reset, FINISHED, Outcome::Finished, ""),
            (Exited::Reset, RUNS, Outcome::Panic, "a panic"),
            (Exited::Reset, Seen::Nothing, Outcome::Panic, "a panic"),
            (failed, FINISHED, Outcome::QemuFailed, "killed by signal 9"),
        ] {
            let end = of_exit(&exited, &seen, SAID);
            assert_eq!(end.outcome, outcome, "{exited:?}, {seen:?}: {end:?}");
            assert!(
                end.message.contains(message),
                "{exited:?}, {seen:?}: {end:?}"
            );
            assert_eq!(end.message.is_empty(), message.is_empty(), "{end:?}");
        }
        let silent = Said::default();
        let end = of_exit(&value(0x20), &Seen::Nothing, silent);
        assert_eq!(
            end.outcome,
            Outcome::UnknownValue,
            "no loader has said anything"
        );
    }

    #[test]
    fn a_region_that_is_at_its_end_ends_the_run() {
        for (seen, outcome, message) in [
            (FINISHED, Outcome::Finished, ""),
            (Seen::Run(RunState::Failed), Outcome::Failed, "an error"),
            (refusal("no room"), Outcome::SamplingUnavailable, "no room"),
            (
                refusal("command line: `x=1`"),
                Outcome::BadCommandLine,
                "command line: `x=1`",
            ),
            (OLD, Outcome::Unreadable, "version 3"),
        ] {
            let end = of_region(&seen, SAID).expect("an end");
            assert_eq!(end.outcome, outcome, "{seen:?}");
            assert!(end.message.contains(message), "{end:?}");
        }
        let going = [RunState::Starting, RunState::Sampling, RunState::Paused];
        for seen in going.map(Seen::Run).into_iter().chain([Seen::Nothing]) {
            assert_eq!(of_region(&seen, SAID), None, "{seen:?}");
        }
        let failed = Seen::Run(RunState::Failed);
        let mut said = SAID;
        for reason in ["an error", "a panic", "the last line"] {
            assert_eq!(of_region(&failed, said).unwrap().message, reason);
            if said.error.take().is_none() {
                said.panic = None;
            }
        }
    }

    #[test]
    fn a_silent_guest_that_has_panicked_has_panicked() {
        let end = of_silence(SAID).expect("an end");
        assert_eq!((end.outcome, &*end.message), (Outcome::Panic, "a panic"));
        let calm = Said {
            panic: None,
            ..SAID
        };
        assert_eq!(of_silence(calm), None, "an error is no end");
    }
}
