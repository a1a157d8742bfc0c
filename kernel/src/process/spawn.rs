//! Starting a process.

use alloc::sync::Arc;

use kernel_core::process::Rights;
use kernel_core::process::mappings::Kind;
use kernel_core::process::program::Program;

use super::announce;
use super::error::Error;
use super::one::Process;
use super::pid::Pid;
use super::table;
use super::thread::{self, Start};
use crate::boot::{self, Module};
use crate::cpu::CoreBlock;
use crate::memory::space::Space;

/// The bytes of a process's first stack.
const STACK: u64 = 256 << 10;

/// The program with this name, and its number: its place among the modules, from 1 on.
pub(super) fn find(name: &str) -> Option<(u16, Module)> {
    let mut modules = (1..).zip(boot::info().modules());
    modules.find(|(_, module)| module.name == name)
}

/// What is to be run.
pub(super) struct Wanted<'a> {
    pub(super) name: &'a str,
    pub(super) argument: u64,
    pub(super) task_name: u16,
}

/// Starts a process.
pub(super) fn spawn(
    wanted: &Wanted<'_>,
    parent: Pid,
    core: &'static CoreBlock,
) -> Result<Pid, Error> {
    let pid = table::add(parent).ok_or(Error::TooMany)?;
    let started = make(wanted, pid)
        .and_then(|(process, start)| thread::start(Arc::new(process), start, core));
    started.inspect_err(|_| table::forget(pid))?;
    Ok(pid)
}

/// Makes a process with this number, which has no thread yet, and says where its first one is to begin.
pub(super) fn make(wanted: &Wanted<'_>, pid: Pid) -> Result<(Process, Start), Error> {
    let (program_number, module) = find(wanted.name).ok_or(Error::NotFound)?;
    let program = Program::parse(module.content).map_err(Error::Program)?;
    let space = Space::new().map_err(Error::Memory)?;
    space.load(&program).map_err(Error::Memory)?;
    let stack = space.map(STACK, Rights::Write, Kind::Stack);
    let stack = stack.map_err(Error::Memory)?;
    let ending = table::ending_of(pid).ok_or(Error::NotFound)?;
    let named = (wanted.name, announce::number_for(pid, program_number));
    let process = Process::new(pid, named, wanted.task_name, space, ending);
    let start = Start {
        pc: program.entry(),
        sp: stack.end - 16,
        argument: wanted.argument,
    };
    Ok((process, start))
}
