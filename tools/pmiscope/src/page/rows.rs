//! The samples of a profile by all that the page tells apart but the core and the time.

use hashbrown::HashMap;
use profiler::format::State;

use crate::export::Export;
use crate::export::samples::Weighted;
use crate::export::tree::{Kind, Tree};

/// What a row's samples have in common, as columns.
#[derive(Default)]
pub(super) struct Rows {
    /// The innermost node of the stack.
    pub leaf: Vec<u32>,
    /// 1 + the place that the samples are of, if it is not that node's; else 0.
    pub exact: Vec<u32>,
    /// What the core was doing, a [`Doing`], and whether interrupts were off.
    pub flags: Vec<u32>,
    pub task: Vec<u32>,
    pub event: Vec<u32>,
}

impl Rows {
    pub(super) fn doing(&self, row: u32) -> usize {
        self.flags[row as usize] as usize % Doing::ALL
    }
}

/// Stacks by what the page shows of them, and their rows.
pub(super) struct Finder<'a> {
    export: &'a Export<'a>,
    states: Vec<State>,
    in_interrupts: Vec<bool>,
    rows: Rows,
    by_key: HashMap<[u32; 5], u32>,
    by_sample: HashMap<(u32, u16, usize), u32>,
}

/// What a core was doing: the first of these that is true.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Doing {
    Halted,
    /// In the handler of an interrupt that is no exception.
    Interrupt,
    User,
    Kernel,
}

impl Doing {
    /// The number of them.
    pub(super) const ALL: usize = 4;
    /// The bit of [`Rows::flags`] behind the number: interrupts were off.
    const INTERRUPTS_OFF: u32 = 1 << 2;

    fn of(state: State, is_in_interrupt: bool) -> Self {
        if state.has(State::IDLE) {
            Self::Halted
        } else if is_in_interrupt {
            Self::Interrupt
        } else if state.0 & State::RING != 0 {
            Self::User
        } else {
            Self::Kernel
        }
    }
}

/// Which nodes of a tree are in the handler of an interrupt.
fn in_interrupts(tree: &Tree) -> Vec<bool> {
    let mut all: Vec<bool> = Vec::with_capacity(tree.len());
    for node in 0..tree.len() {
        let node = u32::try_from(node).expect("fewer than 2³²");
        let place = &tree.places[tree.place_of(node) as usize];
        let is_it = matches!(place.kind, Kind::Interrupt(32..) | Kind::Border(Some(32..)));
        let is_within = tree.parent(node).is_some_and(|it| all[it as usize]);
        all.push(is_it || is_within);
    }
    all
}

impl<'a> Finder<'a> {
    pub(super) fn new(export: &'a Export<'a>) -> Self {
        let mut states = Vec::new();
        for (number, stack) in export.tally.numbered_stacks() {
            let number = number as usize;
            states.resize(states.len().max(number + 1), State(0));
            states[number] = stack.state;
        }
        Self {
            export,
            states,
            in_interrupts: in_interrupts(&export.tree),
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
            self.flags(self.states[sample.stack as usize], leaf),
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

    fn flags(&self, state: State, leaf: u32) -> u32 {
        let doing = Doing::of(state, self.in_interrupts[leaf as usize]) as u32;
        match state.has(State::INTERRUPTS_ON) {
            true => doing,
            false => doing | Doing::INTERRUPTS_OFF,
        }
    }

    pub(super) fn finish(self) -> Rows {
        self.rows
    }
}
