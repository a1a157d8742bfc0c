//! `ctl`: controls a run while it samples.

use anyhow::Result;
use profiler::contract::mailbox::Request;

use super::print;
use crate::cli::{CtlArgs, CtlCommand};
use crate::control::{self, Command};
use crate::exit::Exit;
use crate::output::one_line;

pub(super) fn run(arguments: &CtlArgs) -> Result<Exit> {
    let command = match &arguments.command {
        CtlCommand::Status => Command::Status,
        CtlCommand::Start => Command::Request(Request::Start),
        CtlCommand::Stop => Command::Request(Request::Stop),
        CtlCommand::Period { events } => Command::Request(Request::Period(*events)),
        CtlCommand::Event { list } => Command::Request(Request::Events(*list)),
    };
    let said = control::send(arguments.pid, &command)?;
    if !said.is_empty() {
        print(&format!("{}\n", one_line(&said)))?;
    }
    Ok(Exit::Success)
}
