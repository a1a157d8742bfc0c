//! The samples of a profile by all that the page tells apart but the core and the time.

use hashbrown::HashMap;
use profiler::format::State;

use crate::export::Export;
use crate::export::samples::Weighted;

/// What a row's samples have in common, as columns.
#[derive(Default)]
pub(super) struct Rows {
    /// The innermost node of the stack.
    pub leaf: Vec<u32>,
    /// 1 + the place that the samples are of, if it is not that node's; else 0.
    pub exact: Vec<u32>,
    /// What the processor was doing: see [`flags`].
    pub flags: Vec<u32>,
    pub task: Vec<u32>,
    pub event: Vec<u32>,
}

/// Stacks by what the page shows of them, and their rows.
pub(super) struct Finder<'a> {
    export: &'a Export<'a>,
    flags_of: Vec<u8>,
    rows: Rows,
    by_key: HashMap<[u32; 5], u32>,
    by_sample: HashMap<(u32, u16, usize), u32>,
}

/// A sample of a program of the user, with interrupts on, of a halted core.
fn flags(state: State) -> u8 {
    let is_user = state.0 & State::RING == State::RING;
    u8::from(is_user)
        | u8::from(state.has(State::INTERRUPTS_ON)) << 1
        | u8::from(state.has(State::IDLE)) << 2
}

impl<'a> Finder<'a> {
    pub(super) fn new(export: &'a Export<'a>) -> Self {
        let mut flags_of = Vec::new();
        for (number, stack) in export.tally.numbered_stacks() {
            let number = number as usize;
            flags_of.resize(flags_of.len().max(number + 1), 0);
            flags_of[number] = flags(stack.state);
        }
        Self {
            export,
            flags_of,
            rows: Rows::default(),
            by_key: HashMap::new(),
            by_sample: HashMap::new(),
        }
    }

    /// The row of a sample, if its stack was counted.
    pub(super) fn row(&mut self, sample: &Weighted) -> Option<u32> {
        let key = (sample.stack, sample.task, sample.event);
        if let Some(&row) = self.by_sample.get(&key) {
            return Some(row);
        }
        let leaf = self.export.tree.leaf(sample.stack)?;
        let exact = self.export.tree.exact_elsewhere(sample.stack);
        let task = self.export.task_of(sample.task);
        let of_row = [
            leaf,
            exact.map_or(0, |place| place + 1),
            self.flags_of[sample.stack as usize].into(),
            task.into(),
            u32::try_from(sample.event).unwrap_or(u32::MAX),
        ];
        let rows = &mut self.rows;
        let row = *self.by_key.entry(of_row).or_insert_with(|| {
            let [leaf, exact, flags, task, event] = of_row;
            rows.leaf.push(leaf);
            rows.exact.push(exact);
            rows.flags.push(flags);
            rows.task.push(task);
            rows.event.push(event);
            u32::try_from(rows.leaf.len() - 1).expect("fewer than there are stacks")
        });
        self.by_sample.insert(key, row);
        Some(row)
    }

    pub(super) fn finish(self) -> Rows {
        self.rows
    }
}
