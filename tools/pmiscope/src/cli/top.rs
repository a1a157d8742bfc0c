//! What `top` takes.

use clap::Args;

use super::RunArgs;

pub(super) const EXAMPLES: &str = "\
Examples:
  pmiscope top                                   until q is typed, then a report
  pmiscope top --mode realtime --smp 16
  pmiscope top --event cycles:k                  + and - change the period
  pmiscope attach --ram /dev/shm/guest.ram --top    of a guest that runs already

Keys: q ends it, s sorts by own or total samples, / filters by a part of a name, up and down select,
Enter shows only stacks with the selected function, Esc all again, space freezes the picture,
z begins to count anew, + and - double and halve the period of a run by counters, w writes a profile
of what there is so far beside that of the run.";

/// What `top` takes: as `run`, for as many samples as there are until somebody ends it.
#[derive(Args, Clone, Debug)]
pub struct TopArgs {
    #[command(flatten)]
    pub run: RunArgs,
}
