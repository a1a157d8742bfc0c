//! `list`: the events that can be counted here, and the sources that work.

use anyhow::{Context as _, Result};

use super::capabilities::{boot, emulator, probe};
use super::run::plan::may_accelerate;
use super::{print, with_reason};
use crate::capabilities::{json, list};
use crate::cli::CapabilitiesArgs;
use crate::exit::Exit;
use crate::output::say;
use crate::qemu::Qemu;
use crate::report::text::outcome_name;

pub(super) fn list(arguments: &CapabilitiesArgs) -> Result<Exit> {
    let boot = boot(arguments)?;
    let (choice, pmu) = emulator(arguments)?;
    let qemu = Qemu::find(&choice)?;
    may_accelerate(arguments.machine.mode, &qemu)?;
    let probed = probe((&qemu, pmu), boot, arguments)?;
    if !probed.is_whole() {
        let end = &probed.ended.end;
        if let Some(list) = &probed.ended.unanswered {
            say!("pmiscope: the kernel asked for what the loader did not answer: {list}");
        }
        say!(
            "pmiscope: no list: {}{}; pmiscope doctor says what there is",
            outcome_name(end.outcome),
            with_reason(&end.message)
        );
        return Ok(match end.outcome.into() {
            Exit::Success => Exit::Failure,
            exit => exit,
        });
    }
    let text = if arguments.json {
        crate::output::json(&json::Document::from(&probed.capabilities))?
    } else {
        list::text(&probed.capabilities)
    };
    print(&text).context("cannot write the list")?;
    Ok(Exit::Success)
}
