//! From the options that choose samples to a selection of a profile's.

use std::rc::Rc;

use anyhow::{Error, Result, bail};
use profiler::contract::task_number::LOCK;
use profiler::format::Description;

use super::show::LoadedProfile;
use crate::cli::{Idle, NumberRange, Privilege, SelectArgs, WhoseArgs};
use crate::profile::{Profile, ReadError, Reading};
use crate::report::counts::Counts;
use crate::report::model::{lock_name, lock_of, task_name, task_of};
use crate::report::{Only, Selection, StackFilter, Tally, event, groups};
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
            cores: self.cores(&arguments.whose.core)?,
            events: self.events(&arguments.whose.event)?,
            ..Selection::default()
        };
        selection.tasks = tasks(&self.profile.description, &arguments.whose)?;
        if let Some(window) = &arguments.state.time {
            if self.profile.keeps_chains() {
                bail!("--time: {}", no_times(&self.profile));
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
            if let Some((focus, problem)) = filter.unknown(&all, &self.symbols) {
                bail!(crate::exit::Usage(format!(
                    "--focus {focus}: there is no function of this name, and it is {problem}"
                )));
            }
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
            Reading::Times,
            |samples| samples.for_each(|sample| last = sample.time.max(last)),
        )?;
        Ok(last)
    }

    fn cores(&self, asked_for: &[NumberRange]) -> Result<Only<u32>> {
        let cores = self.profile.cores();
        let last = asked_for.iter().map(NumberRange::last).max();
        if let Some(core) = last.filter(|&core| core >= cores) {
            bail!(
                "there is no core {core}: the profile has cores 0 to {}",
                cores - 1
            );
        }
        Ok(asked_for.iter().flat_map(NumberRange::numbers).collect())
    }

    fn events(&self, asked_for: &[String]) -> Result<Only<u8>> {
        let events = self.profile.events();
        let is_event = |text: &str| events.iter().any(|event| event.name.as_str() == text);
        let names = asked_for.iter().flat_map(|text| words(text, is_event));
        names.map(|text| event::find(&self.profile, text)).collect()
    }

    fn filter(&self, arguments: &SelectArgs) -> Result<StackFilter> {
        let (state, frames) = (&arguments.state, &arguments.frames);
        let processes = &arguments.whose.process;
        let processes = (!processes.is_empty()).then(|| processes_of(&self.symbols, processes));
        Ok(StackFilter {
            user: state.privilege.map(|it| it == Privilege::User),
            interrupts_off: state.interrupts_off,
            idle: match state.idle {
                Idle::In => None,
                Idle::Out => Some(false),
                Idle::Only => Some(true),
            },
            processes: processes.transpose()?,
            filter: frames.filter.clone(),
            exclude: frames.exclude.clone(),
            focus: frames.focus.clone(),
        })
    }
}

/// Why nothing says when samples were.
pub(super) fn no_times(profile: &Profile) -> &'static str {
    match profile.host.imported {
        Some(_) => "folded stacks were imported, which say how often there was each and not when",
        None => "the run kept chains and not when they were (--keep chains)",
    }
}

/// The words of a list between commas, without blanks around them: but one that is there as it stands,
/// whose name has commas. Those between slashes are an event's own.
fn words(list: &str, is_one: impl Fn(&str) -> bool) -> Vec<&str> {
    if is_one(list) {
        return vec![list];
    }
    let mut is_within = false;
    let between = |c: char| {
        is_within ^= c == '/';
        c == ',' && !is_within
    };
    let words = list.split(between);
    words
        .map(|word| if is_one(word) { word } else { word.trim() })
        .collect()
}

/// The numbers of the processes that are asked for.
fn processes_of(symbols: &Symbols, asked_for: &[String]) -> Result<Vec<u16>> {
    let is_one = |name: &str| !symbols.numbers_of(name).is_empty();
    let names = asked_for.iter().flat_map(|text| words(text, is_one));
    let numbers = names.map(|name| processes_named(symbols, name));
    Ok(numbers.collect::<Result<Vec<_>>>()?.concat())
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
        task,
        thread: numbers,
        lock,
        ..
    } = asked_for;
    if task.is_empty() && numbers.is_empty() && lock.is_empty() {
        return Ok(None);
    }
    let (names, locks) = (task_names(run, task)?, lock_names(run, lock)?);
    let has_number = |task: u16| {
        let mut numbers = numbers.iter().map(NumberRange::numbers);
        numbers.any(|numbers| numbers.contains(&task.into()))
    };
    let of_task = |number: u16| {
        let task = task_of(run, number);
        (names.is_empty() || names.contains(&&*task_name(run, task)))
            && (numbers.is_empty() || has_number(task))
    };
    let is_held = |number| {
        let held = lock_of(run, number).map(|lock| lock_name(run, lock));
        held.is_some_and(|held| locks.contains(&&*held))
    };
    let marks =
        (0..=u16::MAX).map(|number| of_task(number) && (locks.is_empty() || is_held(number)));
    Ok(Some(marks.collect()))
}

/// The names of the tasks that are asked for.
fn task_names<'a>(run: &Description, asked_for: &'a [String]) -> Result<Vec<&'a str>> {
    let tasks: Vec<_> = named(run).filter(|name| !name.starts_with(LOCK)).collect();
    let is_task = |name: &str| tasks.contains(&name);
    let names = asked_for.iter().flat_map(|text| words(text, is_task));
    let names: Vec<_> = names.collect();
    for name in &names {
        let is_number = |number: &str| number.parse::<u16>().is_ok();
        let is_unnamed = name.strip_prefix("task ").is_some_and(is_number);
        if !is_task(name) && !is_unnamed {
            bail!(
                "--task {name}: the run names no such task, but {}",
                listed(&tasks)
            );
        }
    }
    Ok(names)
}

/// The names of the locks that are asked for.
fn lock_names<'a>(run: &Description, asked_for: &'a [String]) -> Result<Vec<&'a str>> {
    let locks: Vec<_> = named(run)
        .filter_map(|name| name.strip_prefix(LOCK))
        .collect();
    let is_lock = |name: &str| locks.contains(&name);
    let names = asked_for.iter().flat_map(|text| words(text, is_lock));
    let names: Vec<_> = names.collect();
    for name in &names {
        if locks.is_empty() {
            bail!("--lock {name}: the run does not say which locks are held (--append locks=on)");
        }
        if !is_lock(name) {
            bail!(
                "--lock {name}: the run has no such lock, but {}",
                listed(&locks)
            );
        }
    }
    Ok(names)
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

/// Refuses to show nothing: of a profile that has samples, those that are asked for are none.
pub(super) fn may_be_empty(profile: &Profile, selection: &Selection) -> Result<()> {
    if *selection == Selection::default() || profile.records() == 0 {
        return Ok(());
    }
    let only = groups::only(selection, profile).join(", ");
    bail!("the selection has no samples ({only})")
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
    said.extend(
        whose
            .thread
            .iter()
            .map(|numbers| format!("thread {numbers}")),
    );
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
