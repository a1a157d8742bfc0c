//! The tool's exit status.

use thiserror::Error;

use crate::profile::Outcome;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum Exit {
    /// Done.
    Success = 0,
    /// Not done; the message says why.
    Failure = 1,
    /// The command line is wrong.
    Usage = 2,
    /// The profile is incomplete, misleading or not what was asked for; what there is was shown.
    Incomplete = 3,
    /// The guest failed: a panic, an exception, or QEMU itself.
    GuestFailed = 4,
    /// The guest refused the run: no such source here, or too short a period.
    Refused = 5,
    /// The guest hung, or took too long.
    Hung = 6,
    /// The user ended the run.
    Interrupted = 130,
}

/// The table of [`Exit`] for `--help`.
pub const HELP: &str = "\
Exit status:
  0    done
  1    not done: the message says why
  2    the command line cannot be taken
  3    the profile is incomplete, misleading or not what was asked for: what there is was shown
  4    the guest failed (panic, exception, reset, QEMU): samples until then were shown
  5    the guest refused: no such sampling source here, or too short a period
  6    the guest hung or took too long: samples until then were shown
  130  interrupted: samples until then were shown";

/// A command line that cannot be taken, where that is found out after it was read: what is wrong.
#[derive(Debug, Error)]
#[error("{0}")]
pub struct Usage(pub String);

impl Exit {
    /// Of a command that has failed.
    #[must_use]
    pub fn of_error(error: &anyhow::Error) -> Self {
        match error.is::<Usage>() {
            true => Self::Usage,
            false => Self::Failure,
        }
    }

    /// The status itself, or `other` in place of success.
    #[must_use]
    pub fn or(self, other: Self) -> Self {
        if self == Self::Success { other } else { self }
    }
}

impl From<Outcome> for Exit {
    fn from(outcome: Outcome) -> Self {
        match outcome {
            Outcome::Finished => Self::Success,
            Outcome::BadCommandLine | Outcome::SamplingUnavailable => Self::Refused,
            Outcome::EndedEarly | Outcome::Unfinished | Outcome::Partial => Self::Incomplete,
            Outcome::Panic
            | Outcome::Exception
            | Outcome::Failed
            | Outcome::UnknownValue
            | Outcome::Reset
            | Outcome::LoaderFailed
            | Outcome::QemuFailed => Self::GuestFailed,
            Outcome::WrongKernel | Outcome::NoBuildId | Outcome::Unreadable => Self::Failure,
            Outcome::Hung | Outcome::TimeLimit | Outcome::Silent => Self::Hung,
            Outcome::Interrupted => Self::Interrupted,
        }
    }
}

impl From<Exit> for std::process::ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}
