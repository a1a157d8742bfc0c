//! `stat`: boots a guest and shows how often events happened in it.

use anyhow::{Context as _, Result, anyhow};

use super::plan::Plan;
use super::{boot_and_follow, explain};
use crate::cli::StatArgs;
use crate::commands::{because, show};
use crate::exit::Exit;
use crate::profile::Outcome;
use crate::report::counts::Selection;

pub fn stat(arguments: &StatArgs) -> Result<Exit> {
    let plan = Plan::new(&arguments.run())?;
    let ended = boot_and_follow(&plan)?;
    if ended.outcome != Outcome::Finished {
        explain(&ended, true);
    } else if !ended.has_profile {
        return Err(anyhow!(
            "the guest ended without having counted{}",
            because(&ended.message)
        ));
    }
    if ended.has_profile {
        let profile = show::open(&plan.output)?;
        let selection = Selection {
            per_core: arguments.per_core,
            ..Selection::default()
        };
        show::print_counts(&profile, arguments.format(), selection)
            .context("cannot write the counts")?;
        eprintln!("pmiscope: profile      {}", plan.output.display());
    }
    Ok(ended.outcome.into())
}
