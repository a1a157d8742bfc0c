//! Samples, grouped by what they have in common: several events side by side.

mod by;
mod codes;
pub mod text;
mod unsaid;

use hashbrown::HashMap;
use profiler::contract::task_number::TaskNumbers;
use profiler::format::Sample;
use serde::Serialize;
use serde::ser::{SerializeMap as _, Serializer};

use super::model::{SortBy, lock_name, lock_of, task_name, task_numbers, task_of};
use super::tally::SampleKey;
use super::{Selection, Stack, Tally, event, only, processes, statistics};
use crate::profile::{Profile, ReadError};
use crate::symbols::{Lines, Symbols};
use crate::units::percent;
pub use by::By;
use codes::Codes;
pub use unsaid::unsaid;

/// Samples, grouped.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct Groups {
    #[serde(serialize_with = "names")]
    pub by: Vec<By>,
    /// What is asked of the samples that are counted.
    pub only: Vec<String>,
    /// All that are.
    pub samples: u64,
    /// What they are of, side by side; one without a name where there are no events.
    pub events: Vec<Column>,
    /// How many groups there are, shown or not.
    pub groups_in_all: usize,
    pub rows: Vec<Group>,
}

/// Samples that stand in one column.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Column {
    pub name: String,
    /// The number of the event, where there are several.
    #[serde(skip)]
    event: u8,
    pub samples: u64,
}

/// Samples that have something in common.
#[derive(Clone, PartialEq, Debug)]
pub struct Group {
    by: Vec<By>,
    /// What it is called, in the order of `by`.
    pub name: Vec<String>,
    /// Samples of each event in which its code was executing itself, or that are of it; of how many.
    pub own: Vec<u64>,
    /// Those in which its code was anywhere on the stack; none if it is not one of code.
    pub total: Option<Vec<u64>>,
    of: Vec<u64>,
}

/// Samples with their share, as JSON has them.
#[derive(Serialize)]
struct Share {
    #[serde(rename = "self")]
    own: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    total: Option<u64>,
    /// In percent of the event's samples; half the width of its 95 % confidence interval.
    self_percent: f64,
    self_error: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    total_percent: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    total_error: Option<f64>,
}

impl Group {
    fn share(&self, column: usize) -> Share {
        let (own, of) = (self.own[column], self.of[column]);
        let total = self.total.as_ref().map(|total| total[column]);
        Share {
            own,
            total,
            self_percent: percent(own, of),
            self_error: statistics::error(own, of),
            total_percent: total.map(|total| percent(total, of)),
            total_error: total.map(|total| statistics::error(total, of)),
        }
    }

    /// The samples that it is sorted by.
    fn sorted_by(&self, sort: SortBy) -> (u64, u64) {
        let own = self.own.iter().sum();
        let total = self.total.as_ref().map_or(own, |total| total.iter().sum());
        match sort {
            SortBy::Own => (own, total),
            SortBy::Total => (total, own),
        }
    }
}

impl Serialize for Group {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        for (by, name) in self.by.iter().zip(&self.name) {
            match name.parse::<u32>() {
                Ok(number) if *by == By::Core => map.serialize_entry(by.name(), &number)?,
                _ => map.serialize_entry(by.name(), name)?,
            }
        }
        let events: Vec<_> = (0..self.own.len()).map(|it| self.share(it)).collect();
        map.serialize_entry("events", &events)?;
        map.end()
    }
}

fn names<S: Serializer>(by: &[By], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(by.iter().map(|by| by.name()))
}

/// What samples are grouped by, and in what order.
#[derive(Clone, Debug)]
pub struct GroupOptions {
    pub by: Vec<By>,
    pub sort: SortBy,
    /// The most groups to show; all if `None`.
    pub top: Option<usize>,
}

impl Groups {
    /// Groups the samples of a tally. Addresses must have been resolved.
    ///
    /// # Errors
    ///
    /// Samples cannot be read that were there when the profile was opened.
    pub fn new(
        profile: &Profile,
        tally: &Tally,
        (symbols, lines): (&Symbols, &Lines),
        options: &GroupOptions,
    ) -> Result<Self, ReadError> {
        let by = with_function(&options.by);
        let events = columns(profile, tally, &by);
        let mut grouping = Grouping {
            names: Names::new(profile, symbols, &by),
            columns: events.iter().map(|column| column.event).collect(),
            codes: Codes::new(&by, symbols, lines),
            rows: HashMap::new(),
        };
        grouping.count(profile, tally)?;
        let of: Vec<u64> = events.iter().map(|column| column.samples).collect();
        let mut rows = grouping.named(&of);
        rows.sort_by(|a, b| {
            let samples = b.sorted_by(options.sort).cmp(&a.sorted_by(options.sort));
            samples.then_with(|| in_order(&a.name, &b.name))
        });
        let groups_in_all = rows.len();
        rows.truncate(options.top.unwrap_or(usize::MAX));
        Ok(Self {
            by,
            only: only(&tally.selection, profile),
            samples: tally.samples(),
            events,
            groups_in_all,
            rows,
        })
    }

    /// Returns true if files are asked for and not one is known.
    #[must_use]
    pub fn has_no_file(&self) -> bool {
        self.by == [By::File]
            && self.groups_in_all == 1
            && self.rows.iter().all(|it| it.name == [codes::UNKNOWN])
    }
}

/// What is asked of the samples of a selection, in words.
pub(crate) fn only(selection: &Selection, profile: &Profile) -> Vec<String> {
    let cores = selection.cores.these().map(only::cores);
    let events = selection.events.these().unwrap_or_default();
    let events = event::names(profile, events).into_iter();
    let others = selection.said.iter().cloned();
    cores.into_iter().chain(events).chain(others).collect()
}

/// An address alone says little.
fn with_function(by: &[By]) -> Vec<By> {
    let mut all: Vec<By> = Vec::new();
    for &by in by {
        if !all.contains(&by) {
            all.push(by);
        }
    }
    if all.contains(&By::Address) && !all.contains(&By::Function) {
        all.push(By::Function);
    }
    all
}

/// Names by their numbers where they are such.
fn in_order(a: &[String], b: &[String]) -> std::cmp::Ordering {
    let key = |name: &String| (name.parse::<u64>().ok(), name.clone());
    let keys = |names: &[String]| names.iter().map(key).collect::<Vec<_>>();
    keys(a).cmp(&keys(b))
}

/// The events whose samples stand side by side.
fn columns(profile: &Profile, tally: &Tally, by: &[By]) -> Vec<Column> {
    let samples = tally.samples();
    let all = |name: &str| {
        vec![Column {
            name: name.to_owned(),
            event: 0,
            samples,
        }]
    };
    let events = profile.events();
    if let Some(only) = tally.selection.events.single() {
        let name = event::names(profile, &[only]);
        return all(name.first().map_or("", String::as_str));
    }
    if by.contains(&By::Event) || events.is_empty() {
        return all("");
    }
    let counted = (0..).zip(events.iter().zip(&tally.events));
    let mut columns: Vec<_> = counted
        .filter(|&(number, _)| tally.selection.has_event(number))
        .map(|(number, (event, counted))| Column {
            name: event.name.as_str().to_owned(),
            event: number,
            samples: counted.samples,
        })
        .collect();
    let others = samples - columns.iter().map(|it| it.samples).sum::<u64>();
    if others > 0 {
        columns.push(Column {
            name: event::AIMED.to_owned(),
            event: Sample::AIMED,
            samples: others,
        });
    }
    columns
}

/// What samples are called by what they were taken of.
struct Names<'a> {
    profile: &'a Profile,
    /// How samples say which locks are held, if they do.
    numbers: Option<TaskNumbers>,
    symbols: &'a Symbols,
    by: Vec<By>,
}

/// What a group is, but its code: of samples alike, and the program.
type Base = (SampleKey, Option<u16>);

impl<'a> Names<'a> {
    fn new(profile: &'a Profile, symbols: &'a Symbols, by: &[By]) -> Self {
        let by = by.to_vec();
        Self {
            profile,
            numbers: task_numbers(&profile.description),
            symbols,
            by,
        }
    }

    /// A sample's key without what is not asked for.
    fn key(&self, of: SampleKey) -> SampleKey {
        let has = |by| self.by.contains(&by);
        let task = match (has(By::Lock), has(By::Thread) || has(By::Task)) {
            (true, _) => of.task,
            (false, true) => self.numbers.map_or(of.task, |it| it.task(of.task)),
            (false, false) => 0,
        };
        SampleKey {
            core: if has(By::Core) { of.core } else { 0 },
            task,
            event: of.event,
        }
    }

    /// What is asked for of a group but its code.
    fn name(&self, by: By, (of, program): Base) -> String {
        let run = &self.profile.description;
        let task = task_of(run, of.task);
        match by {
            By::Core => of.core.to_string(),
            By::Task => task_name(run, task),
            By::Thread => format!("{task} {}", task_name(run, task)),
            By::Lock => lock_of(run, of.task)
                .map_or_else(|| "(none)".to_owned(), |lock| lock_name(run, lock)),
            By::Event => self.event(of.event),
            By::Process | By::Program => match program {
                None => "(none)".to_owned(),
                Some(number) if by == By::Program => self.symbols.program_name(number),
                Some(number) => self.symbols.process_name(number),
            },
            By::Function | By::Line | By::File | By::Address => String::new(),
        }
    }

    fn event(&self, number: u8) -> String {
        match self.profile.events().get(usize::from(number)) {
            Some(event) => event.name.as_str().to_owned(),
            None if number == Sample::AIMED => event::AIMED.to_owned(),
            // Of a run without events.
            None => self.profile.description.clock.name().to_owned(),
        }
    }
}

/// Counts of a group.
#[derive(Clone, Default)]
struct Counts {
    own: Vec<u64>,
    total: Vec<u64>,
}

/// Groups while they are counted.
struct Grouping<'a> {
    names: Names<'a>,
    /// The number of each column's event.
    columns: Vec<u8>,
    codes: Codes<'a>,
    /// By what they are, and their code's number (0 if that is not asked for).
    rows: HashMap<(Base, u32), Counts>,
}

impl Grouping<'_> {
    fn count(&mut self, profile: &Profile, tally: &Tally) -> Result<(), ReadError> {
        let chains = match self.codes.is_empty() {
            true => Vec::new(),
            false => self.codes.of_chains(tally),
        };
        let mut of_chains: HashMap<(Base, usize, usize), u64> = HashMap::new();
        for (key, stack) in self.stacks(profile, tally)? {
            let column = self.column(key.event);
            let base = self.base(key, &stack);
            if self.codes.is_empty() {
                self.counts(base, 0).own[column] += stack.samples;
                continue;
            }
            let own = self.codes.own(&stack);
            self.counts(base, own).own[column] += stack.samples;
            let of_chain = &chains[stack.outer.number];
            for code in self.codes.innermost(&stack, own) {
                if of_chain.binary_search(&code).is_err() {
                    self.counts(base, code).total[column] += stack.samples;
                }
            }
            let chain = (base, column, stack.outer.number);
            *of_chains.entry(chain).or_default() += stack.samples;
        }
        // Many stacks have one chain.
        for ((base, column, chain), samples) in of_chains {
            for &code in &chains[chain] {
                self.counts(base, code).total[column] += samples;
            }
        }
        Ok(())
    }

    /// The different stacks, each with what its samples are told apart by.
    fn stacks<'t>(
        &self,
        profile: &Profile,
        tally: &'t Tally,
    ) -> Result<Vec<(SampleKey, Stack<'t>)>, ReadError> {
        let of_stacks = |by: &By| by.is_code() || matches!(by, By::Process | By::Program);
        if self.columns.len() == 1 && self.names.by.iter().all(of_stacks) {
            // Which are counted already.
            let any = SampleKey {
                core: 0,
                task: 0,
                event: 0,
            };
            return Ok(tally.stacks().map(|stack| (any, stack)).collect());
        }
        tally.stacks_by(profile, |of| self.names.key(of))
    }

    /// Where samples of an event stand; those of none that has a column are the last one's.
    fn column(&self, event: u8) -> usize {
        let place = self.columns.iter().position(|&column| column == event);
        place.unwrap_or(self.columns.len() - 1)
    }

    fn base(&self, key: SampleKey, stack: &Stack<'_>) -> Base {
        let has = |by| self.names.by.contains(&by);
        let event = if has(By::Event) { key.event } else { 0 };
        let has_program = has(By::Process) || has(By::Program);
        let program = has_program.then(|| processes::of_stack(stack));
        (SampleKey { event, ..key }, program.flatten())
    }

    fn counts(&mut self, base: Base, code: u32) -> &mut Counts {
        let columns = self.columns.len();
        self.rows.entry((base, code)).or_insert_with(|| Counts {
            own: vec![0; columns],
            total: vec![0; columns],
        })
    }

    /// The groups with their names: those of one name together.
    fn named(self, of: &[u64]) -> Vec<Group> {
        let by = &self.names.by;
        let has_total = !self.codes.is_empty();
        let mut groups: HashMap<Vec<String>, Counts> = HashMap::new();
        for ((base, code), counts) in &self.rows {
            let mut codes = match has_total {
                true => self.codes.name(*code).iter(),
                false => [].iter(),
            };
            let name = by.iter().map(|&by| match by.is_code() {
                true => codes.next().cloned().unwrap_or_default(),
                false => self.names.name(by, *base),
            });
            groups.entry(name.collect()).or_default().add(counts);
        }
        let group = |(name, Counts { own, total }): (Vec<String>, Counts)| Group {
            by: by.clone(),
            name,
            own,
            total: has_total.then_some(total),
            of: of.to_vec(),
        };
        groups.into_iter().map(group).collect()
    }
}

impl Counts {
    fn add(&mut self, other: &Self) {
        for (sums, more) in [(&mut self.own, &other.own), (&mut self.total, &other.total)] {
            sums.resize(more.len(), 0);
            for (sum, more) in sums.iter_mut().zip(more) {
                *sum += more;
            }
        }
    }
}
