//! Which samples a view shows: what all commands that show samples take.

use clap::{Args, ValueEnum};

use super::NumberRange;
use crate::report::{Pattern, TimeWindow};

/// Where the help of a command lists these.
const HEADING: &str = "Which samples";

/// Which samples of a profile are shown. All that is said holds of each of them; what has a list can be
/// said several times, and one of those is enough.
#[derive(Args, Clone, Default, Debug)]
pub struct SelectArgs {
    #[command(flatten)]
    pub whose: WhoseArgs,

    #[command(flatten)]
    pub state: StateArgs,

    #[command(flatten)]
    pub frames: FrameArgs,
}

/// What samples were taken of.
#[derive(Args, Clone, Default, Debug)]
pub struct WhoseArgs {
    /// Only these cores', such as 0,2-5
    #[arg(long, value_name = "LIST", value_delimiter = ',', allow_negative_numbers = true,
          help_heading = HEADING)]
    pub core: Vec<NumberRange>,

    /// Only these events', by their names or numbers, between commas
    #[arg(long, value_name = "LIST", help_heading = HEADING)]
    pub event: Vec<String>,

    /// Only those of tasks of these names, between commas
    #[arg(long, value_name = "LIST", help_heading = HEADING)]
    pub task: Vec<String>,

    /// Only those of the tasks with these numbers, such as 1,4-6
    #[arg(long, value_name = "LIST", value_delimiter = ',', allow_negative_numbers = true,
          help_heading = HEADING)]
    pub thread: Vec<NumberRange>,

    /// Only those of the processes of these programs, or of those with these pids, between commas, in
    /// their own code and in the kernel on their behalf
    #[arg(long, value_name = "LIST", help_heading = HEADING)]
    pub process: Vec<String>,

    /// Only those with one of these locks held (locks=on), between commas
    #[arg(long, value_name = "LIST", help_heading = HEADING)]
    pub lock: Vec<String>,
}

/// What the core was doing, and when.
#[derive(Args, Clone, Default, Debug)]
pub struct StateArgs {
    /// Only those of this time since sampling began, such as 1.2s,1.4s (s, ms, us, ns; without a
    /// unit seconds; either may be missing: ,5ms) or 10%-20% of the run
    #[arg(long, value_name = "FROM,TO", help_heading = HEADING)]
    pub time: Option<TimeWindow>,

    /// Only those of code in user mode, or of the kernel's own
    #[arg(long, value_enum, value_name = "user|kernel", help_heading = HEADING)]
    pub privilege: Option<Privilege>,

    /// Only those with interrupts off
    #[arg(long, help_heading = HEADING)]
    pub interrupts_off: bool,

    /// Samples of halted cores: with the others, left out, or alone
    #[arg(long, value_enum, default_value_t, hide_default_value = true, value_name = "in|out|only", help_heading = HEADING)]
    pub idle: Idle,
}

/// Which functions are on the stack.
#[derive(Args, Clone, Default, Debug)]
pub struct FrameArgs {
    /// Only those with a frame whose name matches this regular expression; of several, each has to
    #[arg(long, value_name = "REGEX", help_heading = HEADING)]
    pub filter: Vec<Pattern>,

    /// None with a frame whose name matches this; of several, any
    #[arg(long, visible_alias = "ignore", value_name = "REGEX", help_heading = HEADING)]
    pub exclude: Vec<Pattern>,

    /// Only those with this function on the stack: of its whole name, else of names that match it as
    /// a regular expression
    #[arg(long, value_name = "FUNCTION", value_parser = Pattern::of_function, help_heading = HEADING)]
    pub focus: Option<Pattern>,
}

/// Whose code ran.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub enum Privilege {
    /// A program's, in user mode
    User,
    /// The kernel's
    Kernel,
}

/// Whether samples of halted cores are shown.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug, ValueEnum)]
pub enum Idle {
    /// With the others
    #[default]
    In,
    /// Left out
    Out,
    /// Alone
    Only,
}

impl SelectArgs {
    /// The options that only samples can be chosen by, not counts of events: the first that is there.
    #[must_use]
    pub fn of_samples_alone(&self) -> Option<&'static str> {
        let Self {
            whose,
            state,
            frames,
        } = self;
        let options = [
            ("--task", !whose.task.is_empty()),
            ("--thread", !whose.thread.is_empty()),
            ("--process", !whose.process.is_empty()),
            ("--lock", !whose.lock.is_empty()),
            ("--time", state.time.is_some()),
            ("--privilege", state.privilege.is_some()),
            ("--interrupts-off", state.interrupts_off),
            ("--idle", state.idle != Idle::In),
            ("--filter", !frames.filter.is_empty()),
            ("--exclude", !frames.exclude.is_empty()),
            ("--focus", frames.focus.is_some()),
        ];
        let mut said = options.into_iter().filter(|&(_, is_said)| is_said);
        said.next().map(|(name, _)| name)
    }
}
