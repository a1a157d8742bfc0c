//! What is counted of samples: the columns of a block that reports read.

use std::ops::Range;

use super::assembly::StoredBlock;
use super::block::Field;
use super::column::{Numbers, unzigzag};
use super::read::{Profile, ReadError};

/// What is counted of a sample.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Counted {
    /// The number of its stack.
    pub stack: u32,
    pub task: u16,
    pub event: u8,
    pub period: u64,
    /// What the handler before it cost; `None` where costs are not read.
    pub cost: Option<u32>,
    pub sequence: u32,
    /// In ticks of the run; 0 where times are not read.
    pub time: u64,
    /// It has an exact address.
    pub has_exact: bool,
}

/// What is read of samples: each also reads what the one before it does. Costs and times differ from
/// sample to sample, so that they take most of a file.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum Reading {
    Counts,
    Costs,
    Times,
}

/// The columns of [`Counted`], and from where on each is read.
const COUNTED: [(Field, Reading); 7] = [
    (Field::Stack, Reading::Counts),
    (Field::Task, Reading::Counts),
    (Field::Event, Reading::Counts),
    (Field::Period, Reading::Counts),
    (Field::Gap, Reading::Counts),
    (Field::Cost, Reading::Costs),
    (Field::Time, Reading::Times),
];

/// Those columns of a block. One that is not read has zeros.
#[derive(Default)]
pub(super) struct CountedColumns {
    stack: Numbers,
    task: Numbers,
    event: Numbers,
    period: Numbers,
    gap: Numbers,
    cost: Numbers,
    time: Numbers,
}

impl CountedColumns {
    /// The columns that are read, with what each is of.
    pub(super) fn read(&mut self, reading: Reading) -> impl Iterator<Item = (Field, &mut Numbers)> {
        // In the order of `COUNTED`.
        let columns = [
            &mut self.stack,
            &mut self.task,
            &mut self.event,
            &mut self.period,
            &mut self.gap,
            &mut self.cost,
            &mut self.time,
        ];
        let all = COUNTED.into_iter().zip(columns);
        all.filter(move |((_, from), _)| *from <= reading)
            .map(|((field, _), column)| (field, column))
    }
}

/// The samples of a core in a block, oldest first.
pub(crate) struct CountedSamples<'a> {
    pub(super) profile: &'a Profile,
    pub(super) block: &'a StoredBlock,
    pub(super) columns: &'a CountedColumns,
    pub(super) rows: Range<usize>,
    /// The first one's sequence number if none is missing before it.
    pub(super) next: u32,
    pub(super) has_costs: bool,
    /// The time of the core's sample before them, if times are read.
    pub(super) since: Option<u64>,
    pub(crate) core: u32,
}

/// What samples have in common that are counted by columns.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Alike {
    pub event: u8,
    /// The first one's sequence number: each has the one that follows that of the sample before.
    pub first: u32,
}

impl CountedSamples<'_> {
    /// The number of samples.
    pub(crate) fn len(&self) -> usize {
        self.rows.len()
    }

    /// What the samples have in common; `None` if they have to be looked at one by one: they are of
    /// several events, some are missing, or stacks are.
    pub(crate) fn alike(&self) -> Option<Alike> {
        // Stacks that no later part is behind are missing from the table, and not lost in it.
        let has_lost = self.profile.stacks().has_lost() || self.block.has_lost;
        let is_whole = !self.rows.is_empty() && !has_lost;
        let event = self.columns.event.same().filter(|_| is_whole)?;
        (self.columns.gap.same() == Some(0)).then_some(Alike {
            event: u8::try_from(event).ok()?,
            first: self.next,
        })
    }

    /// Counts every sample in the place that its stack has in `counts`.
    ///
    /// # Errors
    ///
    /// [`ReadError::Damaged`] if one has none.
    pub(crate) fn count_stacks(&self, counts: &mut [u64]) -> Result<(), ReadError> {
        self.count_by(&self.columns.stack, counts)
    }

    /// Counts every sample in the place that its task has in `counts`.
    ///
    /// # Errors
    ///
    /// [`ReadError::Damaged`] if one has none.
    pub(crate) fn count_tasks(&self, counts: &mut [u64]) -> Result<(), ReadError> {
        self.count_by(&self.columns.task, counts)
    }

    fn count_by(&self, column: &Numbers, counts: &mut [u64]) -> Result<(), ReadError> {
        let mut is_damaged = false;
        column.for_each_run(self.rows.clone(), |number, times| {
            let place = usize::try_from(number).ok();
            match place.and_then(|place| counts.get_mut(place)) {
                Some(count) => *count += times,
                None => is_damaged = true,
            }
        });
        self.check(!is_damaged)
    }

    /// Returns how many of the samples have an exact address.
    pub(crate) fn exact(&self) -> u64 {
        let stacks = self.profile.stacks();
        let mut exact = 0;
        if stacks.has_exact_addresses() {
            self.columns.stack.for_each(self.rows.clone(), |number| {
                let number = usize::try_from(number);
                exact += u64::from(number.is_ok_and(|number| stacks.has_exact(number)));
            });
        }
        exact
    }

    /// No task has a greater number.
    pub(crate) fn most_task(&self) -> u16 {
        u16::try_from(self.columns.task.most()).unwrap_or(u16::MAX)
    }

    /// No cost is greater.
    pub(crate) fn most_cost(&self) -> u64 {
        self.columns.cost.most()
    }

    /// Calls `each` with the costs of these of the samples, if costs are read.
    ///
    /// # Errors
    ///
    /// [`ReadError::Damaged`] if one cannot be that of a handler.
    pub(crate) fn for_each_cost(
        &self,
        some: Range<usize>,
        mut each: impl FnMut(u32),
    ) -> Result<(), ReadError> {
        let mut is_damaged = false;
        let rows = if self.has_costs {
            self.rows_of(some)
        } else {
            0..0
        };
        self.columns
            .cost
            .for_each(rows, |cost| match u32::try_from(cost) {
                Ok(cost) => each(cost),
                Err(_) => is_damaged = true,
            });
        self.check(!is_damaged)
    }

    /// The period of all samples, if they have the same.
    pub(crate) fn same_period(&self) -> Option<u64> {
        self.columns.period.same()
    }

    /// Calls `each` with the periods of these of the samples.
    pub(crate) fn for_each_period(&self, some: Range<usize>, each: impl FnMut(u64)) {
        self.columns.period.for_each(self.rows_of(some), each);
    }

    /// The rows of some of the samples.
    fn rows_of(&self, some: Range<usize>) -> Range<usize> {
        let start = self.rows.start;
        start + some.start..(start + some.end).min(self.rows.end)
    }

    fn check(&self, is_whole: bool) -> Result<(), ReadError> {
        if is_whole {
            Ok(())
        } else {
            Err(ReadError::Damaged(self.block.at))
        }
    }

    /// Calls `each` with every sample whose stack is in the profile.
    ///
    /// # Errors
    ///
    /// [`ReadError::Damaged`] if one is not valid.
    pub(crate) fn for_each(&self, mut each: impl FnMut(&Counted)) -> Result<(), ReadError> {
        let mut next = self.next;
        let mut now = self.since;
        for row in self.rows.clone() {
            let sample = self.sample(row, &mut next);
            let mut sample = sample.ok_or(ReadError::Damaged(self.block.at))?;
            if let Some(now) = &mut now {
                // As `block.rs` has it.
                let expected = now
                    .wrapping_add(sample.period)
                    .wrapping_add(sample.cost.unwrap_or(0).into());
                *now = expected.wrapping_add(unzigzag(self.columns.time.at(row)));
                sample.time = *now;
            }
            if self.profile.has_stack(sample.stack, self.block)? {
                each(&sample);
            }
        }
        Ok(())
    }

    /// The sample of a row, whose sequence number is `next` if there is no gap; `next` is then that
    /// of the one behind it.
    fn sample(&self, row: usize, next: &mut u32) -> Option<Counted> {
        let columns = self.columns;
        let gap = u32::try_from(columns.gap.at(row)).ok()?;
        let sequence = next.wrapping_add(gap);
        *next = sequence.wrapping_add(1);
        let stack = u32::try_from(columns.stack.at(row)).ok()?;
        Some(Counted {
            stack,
            task: u16::try_from(columns.task.at(row)).ok()?,
            event: u8::try_from(columns.event.at(row)).ok()?,
            period: columns.period.at(row),
            cost: if self.has_costs {
                Some(u32::try_from(columns.cost.at(row)).ok()?)
            } else {
                None
            },
            sequence,
            time: 0,
            has_exact: self.profile.stacks().has_exact(stack as usize),
        })
    }
}
