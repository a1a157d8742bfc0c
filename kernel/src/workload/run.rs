//! Which workloads there are, and running one for ever.

use core::sync::atomic::{AtomicU16, Ordering};
use core::{fmt, ptr};

use profiler::contract::task_number::TaskNumbers;
use profiler::format::Text;
use profiler::format::description::MAX_TASKS;
use spin::Once;
use x86_64::VirtAddr;

use super::scratch::Scratch;
use super::{
    arithmetic, contention, copy, corruption, hash, heap, idle, interrupts_off, layers, nmi_storm,
    ping_pong, processes, recursion, yield_storm,
};
use crate::cpu;
use crate::exit::{self, ExitCode};
use crate::{process, sync, task};

/// Something to profile.
pub struct Workload {
    /// What the command line calls it.
    pub name: &'static str,
    unit: fn(&mut Scratch),
    /// The mix runs it in one of `n` rounds; not at all if there is no number.
    one_in: Option<u64>,
    /// It runs in user mode.
    is_process: bool,
}

impl Workload {
    /// One that the mix runs in every round.
    pub(crate) const fn new(name: &'static str, unit: fn(&mut Scratch)) -> Self {
        Self {
            name,
            unit,
            one_in: Some(1),
            is_process: false,
        }
    }

    /// One that mostly halts: by the clock a halt is much longer than all other
    /// units together.
    const fn halting(name: &'static str, unit: fn(&mut Scratch)) -> Self {
        Self {
            one_in: Some(8),
            ..Self::new(name, unit)
        }
    }

    /// A round of it.
    #[inline(always)]
    fn run_unit(&self, scratch: &mut Scratch) {
        (self.unit)(scratch);
        scratch.round += 1;
    }

    /// One that is not for the mix, whose chains are to be whole.
    const fn alone(name: &'static str, unit: fn(&mut Scratch)) -> Self {
        Self {
            one_in: None,
            ..Self::new(name, unit)
        }
    }

    /// One of processes: neither for the mix.
    pub(crate) const fn process(name: &'static str, unit: fn(&mut Scratch)) -> Self {
        Self {
            is_process: true,
            ..Self::alone(name, unit)
        }
    }
}

/// Registers the interrupt handlers of all workloads.
pub fn start() {
    ping_pong::start();
    idle::start();
    layers::start();
}

/// All but `mix` and `processes`; `mix` runs them in this order. A sample's task is a workload's
/// place here, from 1.
pub static ALL: &[Workload] = &[
    Workload::new("arithmetic", arithmetic::unit),
    Workload::new("hash", hash::unit),
    Workload::new("recursion", recursion::unit),
    Workload::new("contention", contention::unit),
    Workload::new("copy", copy::unit),
    Workload::new("interrupts-off", interrupts_off::unit),
    Workload::halting("ping-pong", ping_pong::unit),
    Workload::new("heap", heap::unit),
    Workload::halting("idle", idle::unit),
    Workload::new("yield-storm", yield_storm::unit),
    Workload::new("layers", layers::unit),
    Workload::alone("corruption", corruption::unit),
    Workload::alone("nmi-storm", nmi_storm::unit),
    Workload::process("process-arithmetic", |_| process(0)),
    Workload::process("process-calls", |_| process(1)),
    Workload::process("process-yield", |_| process(2)),
    Workload::process("process-recursion", |_| process(3)),
    Workload::process("process-spawn", |_| process(4)),
    Workload::process("process-memory", |_| process(5)),
    Workload::process("process-unmap", |_| process(6)),
    Workload::process("process-ping-pong", |_| process(7)),
    Workload::process("process-upcall", |_| process(8)),
    Workload::process("process-exec", |_| process(9)),
    Workload::process("process-c", |_| process(10)),
    Workload::process(processes::HOSTILE, |_| {
        processes::on_first_core(|| process(11))
    }),
];

static MIX: Workload = Workload::new("mix", mix);

static PROCESSES: Workload = Workload::process("processes", processes::unit);

/// The programs that are workloads, with the numbers of their names.
pub(super) fn programs() -> impl Iterator<Item = processes::Program> {
    let numbered = (1..).zip(ALL);
    let own = numbered.filter(|(_, workload)| workload.is_process);
    own.map(|(number, workload)| (workload.name, number))
}

/// Runs the program with this place among those of [`ALL`].
fn process(place: usize) {
    if let Some(program) = programs().nth(place) {
        processes::run(program);
    }
}

/// Lets processes run where the workload is of them: the first core, before any is sampled. Ends the
/// run if the boot loader has not brought a program.
pub fn prepare_processes(workload: &Workload) {
    if !workload.is_process {
        return;
    }
    let all = programs().map(|(name, _)| name);
    let all = all.filter(|_| workload.name == PROCESSES.name);
    let all = all.filter(|name| *name != processes::HOSTILE);
    let one = Some(workload.name).filter(|name| *name != PROCESSES.name);
    let mut names = all.chain(one);
    if let Some(name) = names.find(|name| !process::has_program(name)) {
        let problem = format_args!(
            "command line: `workload={}`: the boot loader has brought no module `{name}`",
            workload.name
        );
        exit::refuse(ExitCode::BadCommandLine, "", &problem)
    }
    if workload.name == processes::HOSTILE && cpu::count() < 2 {
        let problem = format_args!(
            "command line: `workload={}`: it needs two cores or more, as it is ended from another one",
            workload.name
        );
        exit::refuse(ExitCode::BadCommandLine, "", &problem)
    }
    process::start();
}

/// The task name with this number; empty if there is none. Of a task that holds a lock it is the
/// task's.
#[must_use]
pub fn task_name(number: u16) -> &'static str {
    let (number, _) = task_and_lock(number);
    let Some(place) = usize::from(number).checked_sub(1) else {
        return "kernel";
    };
    let before = numbers().map_or(ALL.len(), |numbers| usize::from(numbers.tasks) - 1);
    match place.checked_sub(before) {
        None => ALL[place].name,
        Some(lock) if are_locks_named() => {
            let lock = sync::classes().get(lock);
            lock.map_or("", sync::Class::name_in_samples)
        }
        Some(_) => "",
    }
}

/// How many task names come before those of locks; 0 if samples do not say which lock is held.
static TASKS_BEFORE_LOCKS: AtomicU16 = AtomicU16::new(0);

/// The numbers of samples of cores that hold locks, if samples say which.
fn numbers() -> Option<TaskNumbers> {
    let tasks = TASKS_BEFORE_LOCKS.load(Ordering::Relaxed);
    (tasks != 0).then_some(TaskNumbers { tasks })
}

/// Returns true if samples of cores that hold locks say which.
#[must_use]
pub fn are_locks_named() -> bool {
    numbers().is_some()
}

/// Lets locks have names behind those of tasks, where this workload runs: those of programs, the
/// last ones, are left out for it where there are none.
pub fn name_locks(workload: &str) {
    let runs_programs = find(workload).is_some_and(|workload| workload.is_process);
    let programs = ALL.iter().position(|each| each.is_process);
    let others = programs.filter(|_| !runs_programs);
    let names = 1 + others.unwrap_or(ALL.len());
    TASKS_BEFORE_LOCKS.store(u16::try_from(names).unwrap_or(u16::MAX), Ordering::Relaxed);
    let all = sync::classes().iter().zip(0..);
    for (lock, _) in all.filter(|(_, number)| !has_room(*number)) {
        log::warn!(
            "locks=on: samples have no room for the lock `{}`",
            lock.name()
        );
    }
}

/// Returns true if there is a name for this lock, and a number for each task that holds it.
fn has_room(lock: u16) -> bool {
    numbers().is_some_and(|numbers| {
        let names = usize::from(numbers.tasks) + usize::from(lock) < MAX_TASKS;
        names && numbers.with_lock(numbers.tasks - 1, lock) <= u8::MAX.into()
    })
}

/// The number of a task's name, and the lock that it holds, by a sample's number.
#[must_use]
pub fn task_and_lock(number: u16) -> (u16, Option<u16>) {
    match numbers() {
        Some(numbers) => (numbers.task(number), numbers.lock(number)),
        None => (number, None),
    }
}

/// The number of a sample's task that takes this lock while it has that number; the same if samples
/// have no room for the lock.
#[must_use]
pub fn number_with_lock(before: u16, lock: u16) -> u8 {
    let both = numbers().filter(|_| has_room(lock));
    let both = both.map(|numbers| numbers.with_lock(before, lock));
    both.and_then(|both| u8::try_from(both).ok())
        .or(u8::try_from(before).ok())
        .unwrap_or_default()
}

/// Runs one unit of every workload in the mix; halting ones every 8th round. All cores
/// start with the same one, so that those that wait for others find them there.
fn mix(scratch: &mut Scratch) {
    for (task, workload) in (1..).zip(ALL) {
        let one_in = workload.one_in;
        if one_in.is_some_and(|one_in| scratch.round.is_multiple_of(one_in)) {
            task::set_name(task);
            (workload.unit)(scratch);
        }
    }
}

fn each() -> impl Iterator<Item = &'static Workload> {
    let parts = core::iter::once(&MIX).chain(ALL);
    parts.chain([&PROCESSES])
}

/// The workload with this name.
#[must_use]
pub fn find(name: &str) -> Option<&'static Workload> {
    each().find(|workload| workload.name == name)
}

/// The workload with this name. If there is none, ends the run and says which
/// there are.
pub fn find_or_refuse(name: &str) -> &'static Workload {
    find(name).unwrap_or_else(|| {
        let names = names();
        let names = names.as_str();
        let problem = format_args!("command line: `workload={name}`: must be one of {names}");
        exit::refuse(ExitCode::BadCommandLine, "", &problem)
    })
}

/// All names, for a message.
fn names() -> Text<512> {
    struct Names;
    impl fmt::Display for Names {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            each().enumerate().try_for_each(|(index, workload)| {
                let comma = if index == 0 { "" } else { ", " };
                write!(f, "{comma}{}", workload.name)
            })
        }
    }
    Text::formatted(format_args!("{Names}"))
}

/// The number of a workload's name. The mix starts with its first.
fn number_of(name: &str) -> u16 {
    let number = (1..).zip(ALL).find(|(_, each)| each.name == name);
    number.map_or(1, |(number, _)| number)
}

/// Rounds of a workload in which events are counted.
#[derive(Clone, Copy)]
pub struct Counted {
    /// The number of rounds; 0: none are counted.
    pub units: u64,
    /// Called on the core before the first.
    pub begin: fn(),
    /// Called on the core behind the last.
    pub finish: fn(),
}

/// What all cores count.
static COUNTED: Once<Counted> = Once::new();

/// Called on the first core between units of the workload, if there is such a thing.
static BETWEEN: Once<fn()> = Once::new();

/// Lets the first core call this between units of the workload. Without it, what cores execute
/// is the same as if there were no such function.
pub fn set_between(action: fn()) {
    BETWEEN.call_once(|| action);
}

/// What all cores run.
static SELECTED: Once<&'static Workload> = Once::new();

/// Lets all cores run this workload.
pub fn select(workload: &'static Workload) {
    SELECTED.call_once(|| workload);
}

/// Lets this core run a task that runs the selected workload, for ever. The first rounds
/// are `counted`, the same on all cores.
///
/// # Panics
///
/// If none is selected, or there is no memory for the task.
pub fn run(counted: Counted) -> ! {
    let core = cpu::current();
    let workload = *SELECTED.get().expect("a workload is selected");
    let entry = if counted.units == 0 {
        let is_watched = core.index == 0 && BETWEEN.get().is_some();
        if is_watched { repeat_watched } else { repeat }
    } else {
        COUNTED.call_once(|| counted);
        repeat_counted
    };
    let argument = ptr::from_ref(workload).addr() as u64;
    let task = task::spawn(number_of(workload.name), core, entry, argument);
    task.expect("no memory for the workload's task");
    task::run(core)
}

/// Runs the workload at this address on this core, for ever.
fn repeat(workload: u64) {
    let workload = at(workload);
    let mut scratch = Scratch::new(cpu::current_index());
    loop {
        workload.run_unit(&mut scratch);
    }
}

/// The same; what is between the units is the kernel's.
fn repeat_watched(workload: u64) {
    let workload = at(workload);
    let name = number_of(workload.name);
    let mut scratch = Scratch::new(cpu::current_index());
    loop {
        if let Some(between) = BETWEEN.get() {
            task::set_name(0);
            between();
            task::set_name(name);
        }
        workload.run_unit(&mut scratch);
    }
}

/// The same; the first rounds are counted.
fn repeat_counted(workload: u64) {
    let workload = at(workload);
    let mut scratch = Scratch::new(cpu::current_index());
    if let Some(counted) = COUNTED.get() {
        (counted.begin)();
        for _ in 0..counted.units {
            workload.run_unit(&mut scratch);
        }
        (counted.finish)();
    }
    loop {
        workload.run_unit(&mut scratch);
    }
}

/// The workload at this address.
fn at(workload: u64) -> &'static Workload {
    let workload = VirtAddr::new_truncate(workload).as_ptr::<Workload>();
    // SAFETY: `run` made the address of a reference that lives for ever.
    unsafe { &*workload }
}
