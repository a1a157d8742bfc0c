//! The cores and tasks of a dead kernel.

use kernel_core::postmortem::{NO_TASK, Root, SAVED_BEFORE_FRAME, TASK_BLOCKED, TASK_FREE};
use kernel_core::rest::CoreState;
use profiler::address::{CodeAddress, StackAddress};
use profiler::unwind::Registers;

use super::find::Dead;
use super::registers::{self, Processor};
use super::space::{Fault, Space};

/// More than a kernel of this kind has: what a root says is believed, but nothing is read for ever.
const MAX_CORES: u64 = 4096;
const MAX_TASKS: u64 = 1 << 16;

/// A core.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Core {
    pub index: u32,
    pub apic_id: u32,
    pub is_online: bool,
    pub state: CoreState,
    /// It has failed, or was about to.
    pub fails: bool,
    /// Where it has failed, or was stopped.
    pub left: Option<Registers>,
    /// Where its processor was when the dump was made.
    pub dumped: Option<Registers>,
    /// The number of the task that it ran.
    pub task: Option<u16>,
}

/// A task that has not ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Task {
    pub number: u16,
    /// The number of its name.
    pub name: u16,
    pub home: u32,
    pub is_blocked: bool,
    /// Its stack pointer, while it does not run.
    pub sp: u64,
}

/// What cannot be read, and why.
pub struct Unreadable {
    pub what: String,
    pub fault: Fault,
}

/// All cores, and the processors of a dump that are none of them.
pub fn cores(dead: &Dead<'_>) -> (Vec<Result<Core, Unreadable>>, Vec<Processor>) {
    let notes = dead.memory.notes();
    let mut processors: Vec<_> = notes
        .iter()
        .filter_map(|note| registers::processor(note))
        .chain(dead.processors.iter().copied())
        .collect();
    let cores = (0..dead.root.cores.count.min(MAX_CORES)).map(|number| {
        core(dead, number, &mut processors).map_err(|fault| Unreadable {
            what: format!("core {number}"),
            fault,
        })
    });
    (cores.collect(), processors)
}

fn core(dead: &Dead<'_>, number: u64, processors: &mut Vec<Processor>) -> Result<Core, Fault> {
    let (space, places) = (dead.space(), &dead.root.cores);
    let block = space.word(places.pointers.wrapping_add(number * 8))?;
    let in_block = |offset: u64| block.wrapping_add(offset);
    let distance = space.word(in_block(places.distance))?;
    let variables = &dead.root.variables;
    let own = |in_template: u64| in_template.wrapping_add(distance);
    let left = own(variables.left_registers);
    let word = |place: u64| space.word(left.wrapping_add(place * 8));
    let left = Registers {
        pc: CodeAddress(word(0)?),
        sp: StackAddress(word(1)?),
        fp: StackAddress(word(2)?),
    };
    let task = space.short(own(variables.current_task))?;
    let dumped = processors.iter().position(|it| it.gs_base == block);
    Ok(Core {
        index: space.half(in_block(places.index))?,
        apic_id: space.half(in_block(places.apic_id))?,
        is_online: space.byte(in_block(places.online))? != 0,
        state: CoreState::of(space.byte(own(variables.state))?),
        fails: space.byte(own(variables.fails))? != 0,
        left: (left.pc.0 != 0).then_some(left),
        dumped: dumped.map(|place| processors.swap_remove(place).at),
        task: (task != NO_TASK).then_some(task),
    })
}

/// All tasks that have not ended.
pub fn tasks(dead: &Dead<'_>) -> Vec<Result<Task, Unreadable>> {
    let (space, root) = (dead.space(), &dead.root);
    let numbers = 0..root.tasks.count.min(MAX_TASKS);
    let tasks = numbers.filter_map(|number| {
        let task = task(&space, root, u16::try_from(number).ok()?);
        let unreadable = |fault| Unreadable {
            what: format!("task {number}"),
            fault,
        };
        task.map_err(unreadable).transpose()
    });
    tasks.collect()
}

fn task(space: &Space<'_>, root: &Root, number: u16) -> Result<Option<Task>, Fault> {
    let places = &root.tasks;
    let start = places
        .table
        .wrapping_add(places.stride.wrapping_mul(number.into()));
    let at = |offset: u64| start.wrapping_add(offset);
    let state = space.byte(at(places.state))?;
    if state == TASK_FREE {
        return Ok(None);
    }
    Ok(Some(Task {
        number,
        name: space.short(at(places.name))?,
        home: space.half(at(places.home))?,
        is_blocked: state == TASK_BLOCKED,
        sp: space.word(at(places.sp))?,
    }))
}

/// Where a task that does not run will go on: what is on top of its stack says it.
pub fn registers_of(space: &Space<'_>, task: &Task) -> Result<Registers, Fault> {
    let frame = task.sp.wrapping_add(SAVED_BEFORE_FRAME * 8);
    Ok(Registers {
        pc: CodeAddress(space.word(frame.wrapping_add(8))?),
        sp: StackAddress(frame.wrapping_add(16)),
        fp: StackAddress(space.word(frame)?),
    })
}
