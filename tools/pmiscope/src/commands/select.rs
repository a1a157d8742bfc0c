//! From the options that choose samples to a selection of a profile's.

use std::rc::Rc;

use anyhow::{Error, Result, bail};
use profiler::contract::task_number::LOCK;
use profiler::format::Description;

use super::show::LoadedProfile;
use crate::cli::{Idle, Privilege, SelectArgs, WhoseArgs};
use crate::profile::ReadError;
use crate::report::counts::Counts;
use crate::report::model::{lock_name, lock_of, task_name, task_of};
use crate::report::{Selection, StackFilter, Tally};
use crate::symbols::Symbols;

impl LoadedProfile {
    /// The samples that are asked for.
    ///
    /// # Errors
    ///
    /// The profile has nothing of the kind; it cannot be read.
    pub(super) fn select(&mut self, arguments: &SelectArgs) -> Result<Selection> {
        if Counts::are_in(&self.profile.description)
            && let Some(option) = arguments.of_samples_alone()
        {
            bail!("{option}: the profile has counts of events and no samples");
        }
        let mut selection = Selection {
            core: self.core(arguments.whose.core)?,
            event: self.event(arguments.whose.event.as_deref())?,
            ..Selection::default()
        };
        selection.tasks = tasks(&self.profile.description, &arguments.whose)?;
        if let Some(window) = &arguments.state.time {
            if self.profile.keeps_chains() {
                bail!("--time: the run kept chains and not when they were (--keep chains)");
            }
            let last = self.last_time()?;
            let clock = self.profile.description.clock;
            selection.time = Some(window.ticks(clock, last).map_err(Error::msg)?);
        }
        let filter = self.filter(arguments)?;
        if !filter.is_empty() {
            // All samples, so that what is chosen by stacks does not depend on what else is.
            let all = Tally::new(&self.profile, self.symbols.callers(), Selection::default())?;
            self.symbols.resolve(all.addresses());
            let stacks = self.profile.stacks().len();
            selection.stacks = Some(filter.marks(&all, &self.symbols, stacks));
        }
        selection.said = said(arguments);
        Ok(selection)
    }

    /// The time of the last sample, in ticks since sampling began.
    pub(super) fn last_time(&self) -> Result<u64, ReadError> {
        let mut last = 0;
        self.profile.for_each_of(
            |_| true,
            true,
            |samples| samples.for_each(|sample| last = sample.time.max(last)),
        )?;
        Ok(last)
    }

    fn core(&self, asked_for: Option<u32>) -> Result<Option<u32>> {
        let cores = self.profile.cores();
        if let Some(core) = asked_for.filter(|&core| core >= cores) {
            bail!(
                "there is no core {core}: the profile has cores 0 to {}",
                cores - 1
            );
        }
        Ok(asked_for)
    }

    fn filter(&self, arguments: &SelectArgs) -> Result<StackFilter> {
        let (state, frames) = (&arguments.state, &arguments.frames);
        let process = arguments.whose.process.as_deref();
        let process = process.map(|name| processes_named(&self.symbols, name));
        Ok(StackFilter {
            user: state.privilege.map(|it| it == Privilege::User),
            interrupts_off: state.interrupts_off,
            idle: match state.idle {
                Idle::In => None,
                Idle::Out => Some(false),
                Idle::Only => Some(true),
            },
            processes: process.transpose()?,
            filter: frames.filter.clone(),
            exclude: frames.exclude.clone(),
            focus: frames.focus.clone(),
        })
    }
}

/// The numbers of a process, or of those of a program.
fn processes_named(symbols: &Symbols, name: &str) -> Result<Vec<u16>> {
    let numbers = symbols.numbers_of(name);
    if numbers.is_empty() {
        let names: Vec<_> = symbols.program_names().collect();
        bail!(
            "--process {name}: the profile has no such program, and no process with such a pid; its programs are {}",
            listed(&names)
        );
    }
    Ok(numbers)
}

/// Which numbers of tasks are asked for; `None` if all are.
fn tasks(run: &Description, asked_for: &WhoseArgs) -> Result<Option<Rc<[bool]>>> {
    let WhoseArgs {
        task: names,
        thread: numbers,
        lock,
        ..
    } = asked_for;
    if names.is_empty() && numbers.is_empty() && lock.is_none() {
        return Ok(None);
    }
    let of_task = |number: u16| {
        let task = task_of(run, number);
        (names.is_empty() || names.contains(&task_name(run, task)))
            && (numbers.is_empty() || numbers.contains(&task))
    };
    let held = |number| lock_of(run, number).map(|lock| lock_name(run, lock));
    check_names(run, asked_for)?;
    let marks =
        (0..=u16::MAX).map(|number| of_task(number) && (lock.is_none() || held(number) == *lock));
    Ok(Some(marks.collect()))
}

/// Checks that the run has what is asked for by name.
fn check_names(run: &Description, asked_for: &WhoseArgs) -> Result<()> {
    let (locks, tasks): (Vec<_>, Vec<_>) = named(run).partition(|name| name.starts_with(LOCK));
    for name in &asked_for.task {
        let is_number = |number: &str| number.parse::<u16>().is_ok();
        let is_unnamed = name.strip_prefix("task ").is_some_and(is_number);
        if !tasks.contains(&&**name) && !is_unnamed {
            bail!(
                "--task {name}: the run names no such task, but {}",
                listed(&tasks)
            );
        }
    }
    if let Some(lock) = &asked_for.lock {
        let locks: Vec<_> = locks.iter().map(|name| &name[LOCK.len()..]).collect();
        if locks.is_empty() {
            bail!("--lock {lock}: the run does not say which locks are held (--append locks=on)");
        }
        if !locks.contains(&&**lock) {
            bail!(
                "--lock {lock}: the run has no such lock, but {}",
                listed(&locks)
            );
        }
    }
    Ok(())
}

/// The names of tasks and locks.
fn named(run: &Description) -> impl Iterator<Item = &str> {
    let names = run.tasks.iter().map(|name| name.as_str());
    names.filter(|name| !name.is_empty())
}

fn listed(names: &[&str]) -> String {
    if names.is_empty() {
        return "none".into();
    }
    names.join(", ")
}

/// What is asked for, in words.
fn said(arguments: &SelectArgs) -> Vec<String> {
    let SelectArgs {
        whose,
        state,
        frames,
    } = arguments;
    let mut said = Vec::new();
    said.extend(whose.task.iter().map(|task| format!("task {task}")));
    said.extend(whose.thread.iter().map(|number| format!("thread {number}")));
    said.extend(whose.process.iter().map(|name| format!("process {name}")));
    said.extend(whose.lock.iter().map(|name| format!("lock {name}")));
    said.extend(state.time.iter().map(|time| format!("time {time}")));
    said.extend(state.privilege.map(|it| match it {
        Privilege::User => "user mode".to_owned(),
        Privilege::Kernel => "kernel mode".to_owned(),
    }));
    said.extend(state.interrupts_off.then(|| "interrupts off".to_owned()));
    said.extend(match state.idle {
        Idle::In => None,
        Idle::Out => Some("not halted".to_owned()),
        Idle::Only => Some("halted".to_owned()),
    });
    said.extend(frames.filter.iter().map(|it| format!("with /{it}/")));
    said.extend(frames.exclude.iter().map(|it| format!("without /{it}/")));
    said.extend(frames.focus.iter().map(|it| format!("through {it}")));
    said
}
