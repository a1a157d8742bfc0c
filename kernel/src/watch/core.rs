//! The core that a command is for.

use kernel_core::monitor::{Arguments, Problem};

use crate::cpu::{self, CoreBlock};

/// The core that the next word names, if there is one.
pub(super) fn core_of(
    arguments: &mut Arguments<'_>,
) -> Result<Option<&'static CoreBlock>, Problem> {
    let Some(number) = arguments.number("CORE")? else {
        return Ok(None);
    };
    let index = usize::try_from(number).ok();
    let core = index.and_then(|index| cpu::cores().get(index).copied());
    let last = cpu::count().saturating_sub(1);
    let problem = || Problem::new(format_args!("there is no core {number}: 0 to {last}"));
    core.map(Some).ok_or_else(problem)
}
