//! The user's processes as perf has them: each with a pid, its threads, and its program's file, which is
//! mapped where it ran.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::Result;
use object::{Object as _, ObjectSegment as _};

use super::super::Export;
use crate::report::processes::of_stack;

/// Above the pids of tasks: to it the pid is added that the kernel has given.
const PIDS: u32 = 100_000;
/// Of those that it has given none, their numbers; and of a process that has become another program: all
/// that perf is told of a pid holds from the beginning on.
const UNNUMBERED: u32 = 1_000_000;
/// Threads beside the first of their process.
const THREADS: u32 = 2_000_000;

/// A program's file, where perf finds it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct MappedProgram {
    /// As records have it.
    pub number: u16,
    pub path: String,
    pub elf: Vec<u8>,
}

/// What a program has mapped as executable.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Mapping {
    pub(super) start: u64,
    pub(super) length: u64,
    /// Where the file has it.
    pub(super) offset: u64,
}

impl MappedProgram {
    pub(super) fn mappings(&self) -> Vec<Mapping> {
        const PAGE: u64 = 4096;
        let Ok(file) = object::File::parse(&*self.elf) else {
            return Vec::new();
        };
        let segments = file.segments();
        let executable = segments.filter(|segment| segment.permissions().executable());
        let mapping = |it: object::Segment<'_, '_>| {
            let (offset, length) = it.file_range();
            // Whole pages are mapped.
            let before = it.address() % PAGE;
            Mapping {
                start: it.address() - before,
                length: (length + before).next_multiple_of(PAGE),
                offset: offset.saturating_sub(before),
            }
        };
        executable.map(mapping).collect()
    }

    pub(super) fn build_id(&self) -> Option<Vec<u8>> {
        let file = object::File::parse(&*self.elf).ok()?;
        file.build_id().ok()?.map(<[u8]>::to_vec)
    }
}

/// Who ran in which stack.
pub(super) struct Processes {
    /// Of the stacks by their numbers in the profile: the process, and whether it ran its own code.
    stacks: Vec<(Option<u16>, bool)>,
    /// By the process and the task.
    threads: BTreeMap<(u16, u16), u32>,
}

/// A thread to perf.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Thread {
    pub(super) pid: u32,
    pub(super) tid: u32,
}

impl Processes {
    pub(super) fn new(export: &Export<'_>) -> Result<Self> {
        let mut stacks = vec![(None, false); export.profile.stacks().len()];
        for (number, stack) in export.tally.numbered_stacks() {
            stacks[number as usize] = (of_stack(&stack), stack.is_user());
        }
        let mut all = Self {
            stacks,
            threads: BTreeMap::new(),
        };
        if all.stacks.iter().any(|(process, _)| process.is_some()) {
            all.number_threads(export)?;
        }
        Ok(all)
    }

    fn number_threads(&mut self, export: &Export<'_>) -> Result<()> {
        let met: BTreeSet<_> = export
            .counted()?
            .into_iter()
            .filter_map(|it| Some((self.of_stack(it.stack)?, it.task)))
            .collect();
        let (mut last, mut next) = (None, THREADS);
        for (process, task) in met {
            let tid = if last == Some(process) {
                next += 1;
                next
            } else {
                pid(export, process)
            };
            last = Some(process);
            self.threads.insert((process, task), tid);
        }
        Ok(())
    }

    /// The process of a stack, if it is of one.
    pub(super) fn of_stack(&self, stack: u32) -> Option<u16> {
        self.stacks[stack as usize].0
    }

    /// Whether a stack is of code in user mode.
    pub(super) fn is_user(&self, stack: u32) -> bool {
        self.stacks[stack as usize].1
    }

    /// Whether any is.
    pub(super) fn are_any(&self) -> bool {
        !self.threads.is_empty() || self.stacks.iter().any(|&(_, is_user)| is_user)
    }

    /// Who ran a task in a process.
    pub(super) fn thread(&self, export: &Export<'_>, (process, task): (u16, u16)) -> Thread {
        let pid = pid(export, process);
        let tid = self.threads.get(&(process, task)).copied();
        Thread {
            pid,
            tid: tid.unwrap_or(pid),
        }
    }

    /// The threads of each process, with its number.
    pub(super) fn threads(&self, export: &Export<'_>) -> impl Iterator<Item = (u16, Thread)> {
        let threads = self.threads.iter();
        threads.map(|(&(process, _), &tid)| {
            let pid = pid(export, process);
            (process, Thread { pid, tid })
        })
    }
}

fn pid(export: &Export<'_>, process: u16) -> u32 {
    let symbols = &export.symbols;
    let is_first = |pid| symbols.first_program_of(pid) == Some(symbols.program_of(process));
    let known = symbols.pid_of(process);
    let known = known.filter(|&pid| pid < UNNUMBERED - PIDS && is_first(pid));
    known.map_or(UNNUMBERED + u32::from(process), |pid| PIDS + pid)
}
