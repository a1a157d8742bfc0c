//! `list`: the events that can be counted here, and the sources that work.

use anyhow::{Context as _, Result};

use super::run::plan::may_accelerate;
use super::survey::{boot, emulator, survey};
use super::{because, print};
use crate::cli::SurveyArgs;
use crate::exit::Exit;
use crate::qemu::Qemu;
use crate::report::text::outcome_name;
use crate::survey::{json, list};

pub(super) fn list(arguments: &SurveyArgs) -> Result<Exit> {
    let boot = boot(arguments)?;
    let (choice, pmu) = emulator(arguments)?;
    let qemu = Qemu::find(&choice)?;
    may_accelerate(arguments.machine.mode, &qemu)?;
    let surveyed = survey((&qemu, pmu), boot, arguments)?;
    if !surveyed.is_whole() {
        eprintln!(
            "pmiscope: no list: {}{}; pmiscope doctor says what there is",
            outcome_name(surveyed.outcome),
            because(&surveyed.message)
        );
        return Ok(match surveyed.outcome.into() {
            Exit::Success => Exit::Failure,
            exit => exit,
        });
    }
    let text = match arguments.json {
        true => crate::report::pretty(&json::Surveyed::from(&surveyed.survey))?,
        false => list::text(&surveyed.survey),
    };
    print(&text).context("cannot write the list")?;
    Ok(Exit::Success)
}
