//! What a profile does not say of its samples, which cannot be grouped by it: all would be in one group
//! without a name.

use super::By;
use crate::profile::Profile;
use crate::report::model::task_numbers;
use crate::report::{Tally, processes};
use crate::symbols::Symbols;

/// Why samples cannot be grouped by this, if they cannot.
#[must_use]
pub fn unsaid(
    by: By,
    profile: &Profile,
    (tally, symbols): (&Tally, &Symbols),
) -> Option<&'static str> {
    let run = &profile.description;
    let is_folded = profile.host.imported.is_some() && profile.keeps_chains();
    let (is_unsaid, reason) = match by {
        By::Function | By::Line | By::File | By::Address => return None,
        By::Process | By::Program => (
            symbols.program_names().next().is_none() && has_no_process(tally),
            "the profile has no processes: no sample is of a user's program, or of the kernel on behalf of one",
        ),
        By::Thread | By::Task => (
            run.tasks.iter().all(|name| name.as_str().is_empty()) && has_no_task(tally),
            "the profile does not say which tasks ran",
        ),
        By::Core => (
            is_folded,
            "folded stacks were imported, which do not say on which core each was",
        ),
        By::Event => (
            is_folded,
            "folded stacks were imported, which do not say of which event each is",
        ),
        By::Lock => (
            task_numbers(run).is_none(),
            "the run does not say which locks are held (--append locks=on)",
        ),
    };
    (is_unsaid && tally.samples() > 0).then_some(reason)
}

fn has_no_process(tally: &Tally) -> bool {
    processes::by_stack(tally).all(|(_, number)| number.is_none())
}

/// Where tasks have numbers and no names, these tell them apart.
fn has_no_task(tally: &Tally) -> bool {
    tally.tasks().all(|(number, _)| number == 0)
}
