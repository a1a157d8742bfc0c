//! What is counted while a run goes on.

use hashbrown::HashMap;
use profiler::address::CodeAddress;
use profiler::format::sample::Sample;
use profiler::format::{ChainEntry, Description, State};

use super::Standing;
use super::keys::{Keys, Order};
use super::screen::{Bar, FunctionLine, Screen};
use crate::chain::{Link, Repair};
use crate::symbols::{FunctionId, Symbols};

/// Each refresh keeps seven eighths of what was counted, as perf's top does.
const KEPT: (u64, u64) = (7, 8);

/// What a core did in a sample.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Doing {
    Task,
    Interrupt,
    Nmi,
    Idle,
    User,
}

impl Doing {
    pub(super) const ALL: [Self; 5] = [
        Self::Task,
        Self::Interrupt,
        Self::Nmi,
        Self::Idle,
        Self::User,
    ];

    fn of(sample: &Sample<'_>) -> Self {
        const NMI: u8 = 2;
        if sample.state.has(State::IDLE) {
            return Self::Idle;
        }
        if sample.state.0 & State::RING != 0 {
            return Self::User;
        }
        let crossed = sample.chain().find_map(|entry| match entry {
            ChainEntry::Crossing { vector, .. } => Some(vector),
            _ => None,
        });
        match crossed {
            Some(NMI) => Self::Nmi,
            Some(_) => Self::Interrupt,
            None => Self::Task,
        }
    }
}

/// A stack, and how often it was there lately.
struct LiveStack {
    /// Empty until its addresses are resolved.
    functions: Vec<FunctionId>,
    samples: u64,
}

/// Samples as they come.
pub(crate) struct Live {
    symbols: Symbols,
    run: Description,
    /// By the addresses that are looked up, innermost first.
    stacks: HashMap<Vec<CodeAddress>, LiveStack>,
    /// Samples of each core by what it did.
    cores: Vec<[u64; Doing::ALL.len()]>,
    /// All samples since the beginning.
    samples: u64,
    /// The last achieved periods.
    periods: Vec<u64>,
    requested_period: u64,
    /// Room for one chain.
    links: Vec<Link>,
}

/// Periods that the median is of.
const PERIODS: usize = 1024;

impl Live {
    pub(crate) fn new(run: &Description, symbols: Symbols) -> Self {
        let of_event = run.events().first().map(|event| event.requested_period);
        Self {
            symbols,
            stacks: HashMap::new(),
            cores: vec![[0; Doing::ALL.len()]; usize::try_from(run.cores).unwrap_or(0)],
            samples: 0,
            periods: Vec::new(),
            requested_period: of_event.unwrap_or(run.period),
            links: Vec::new(),
            run: run.clone(),
        }
    }

    /// Counts a sample.
    pub(crate) fn add(&mut self, core: u32, sample: &Sample<'_>) {
        let repair = Repair {
            callers: self.symbols.callers(),
            text: self.run.text,
        };
        repair.chain(sample, &mut self.links);
        let innermost = sample.exact.unwrap_or(sample.pc);
        let links = self.links.iter().copied().map(Link::lookup);
        let key: Vec<_> = std::iter::once(innermost).chain(links).collect();
        let stack = self.stacks.entry(key).or_insert_with(|| LiveStack {
            functions: Vec::new(),
            samples: 0,
        });
        stack.samples += 1;
        if let Some(core) = self.cores.get_mut(core as usize) {
            core[Doing::of(sample) as usize] += 1;
        }
        let place = usize::try_from(self.samples).unwrap_or(0) % PERIODS;
        self.samples += 1;
        if place < self.periods.len() {
            self.periods[place] = sample.period;
        } else {
            self.periods.push(sample.period);
        }
    }

    pub(super) fn requested_period(&self) -> u64 {
        self.requested_period
    }

    pub(super) fn set_requested_period(&mut self, period: u64) {
        self.requested_period = period;
    }

    /// Begins to count anew.
    pub(super) fn forget(&mut self) {
        self.stacks.clear();
        self.cores.fill([0; Doing::ALL.len()]);
        self.periods.clear();
        self.samples = 0;
    }

    /// Lets what was counted count less.
    pub(super) fn decay(&mut self) {
        let less = |samples: u64| samples * KEPT.0 / KEPT.1;
        self.stacks.retain(|_, stack| {
            stack.samples = less(stack.samples);
            stack.samples > 0
        });
        let counts = self.cores.iter_mut().flatten();
        counts.for_each(|count| *count = less(*count));
    }

    /// Finds the functions of stacks that are new.
    fn resolve(&mut self) {
        let is_new = |(_, stack): &(&Vec<CodeAddress>, &LiveStack)| stack.functions.is_empty();
        let new = self.stacks.iter().filter(is_new);
        let addresses: Vec<_> = new.flat_map(|(key, _)| key.iter().copied()).collect();
        if addresses.is_empty() {
            return;
        }
        self.symbols.resolve(addresses);
        for (key, stack) in &mut self.stacks {
            if stack.functions.is_empty() {
                let frames = key.iter().flat_map(|&it| self.symbols.frames(it));
                stack.functions = frames.map(|frame| frame.function).collect();
            }
        }
    }

    /// The functions that are shown: own and total samples of each, in order; and all samples.
    fn rows(&self, keys: &Keys) -> (Vec<(FunctionId, u64, u64)>, u64) {
        let mut counts: HashMap<FunctionId, (u64, u64)> = HashMap::new();
        let mut all = 0;
        let has_focus =
            |stack: &&LiveStack| keys.focus.is_none_or(|it| stack.functions.contains(&it));
        for stack in self.stacks.values().filter(has_focus) {
            all += stack.samples;
            for (place, &function) in stack.functions.iter().enumerate() {
                // One that calls itself is there once.
                if stack.functions[..place].contains(&function) {
                    continue;
                }
                let (own, total) = counts.entry(function).or_default();
                *total += stack.samples;
                *own += if place == 0 { stack.samples } else { 0 };
            }
        }
        let is_shown = |function: FunctionId| {
            keys.filter.is_empty() || self.symbols.label(function).contains(&keys.filter)
        };
        let rows = counts
            .into_iter()
            .filter(|&(function, _)| is_shown(function));
        let mut rows: Vec<_> = rows
            .map(|(function, (own, total))| (function, own, total))
            .collect();
        rows.sort_by_key(|&(function, own, total)| {
            let by = match keys.order {
                Order::Own => [own, total],
                Order::Total => [total, own],
            };
            (std::cmp::Reverse(by), function)
        });
        (rows, all)
    }

    /// The function of the selected row.
    pub(super) fn selected(&mut self, keys: &Keys) -> Option<FunctionId> {
        self.resolve();
        let (rows, _) = self.rows(keys);
        let row = keys.row.min(rows.len().saturating_sub(1));
        rows.get(row).map(|&(function, ..)| function)
    }

    /// What is to be drawn.
    pub(super) fn screen(&mut self, keys: &Keys, standing: &Standing) -> Screen {
        self.resolve();
        let (rows, all) = self.rows(keys);
        let line = |&(function, own, total): &(FunctionId, u64, u64)| FunctionLine {
            own,
            total,
            name: self.symbols.label(function).to_owned(),
        };
        let mut periods = self.periods.clone();
        periods.sort_unstable();
        let bar = |(core, counts): (usize, &[u64; 5])| Bar {
            counts: *counts,
            lost: standing.lost.get(core).copied().unwrap_or(0),
        };
        Screen {
            source: self.run.source.name(),
            requested: self.requested_period,
            achieved: periods.get(periods.len().saturating_sub(1) / 2).copied(),
            samples: self.samples,
            all,
            bars: self.cores.iter().enumerate().map(bar).collect(),
            functions: rows.iter().map(line).collect(),
            focus: keys
                .focus
                .map(|function| self.symbols.label(function).to_owned()),
            facts: super::Facts::default(),
        }
    }
}

#[cfg(test)]
mod tests {
    use profiler::address::CodeRange;

    use super::*;
    use crate::test_sample::with_sample;

    const ON: u8 = State::INTERRUPTS_ON;

    fn live() -> Live {
        let text = CodeRange {
            start: CodeAddress(0x1000),
            end: CodeAddress(0x9000),
        };
        let run = Description {
            period: 100,
            samples: 9,
            ..Description::new([0; 20], text, 2, 1 << 10)
        };
        Live::new(&run, Symbols::without_elf())
    }

    fn add(
        live: &mut Live,
        core: u32,
        (pc, state, period): (u64, u8, u64),
        entries: &[ChainEntry],
    ) {
        with_sample((pc, state), entries, |sample| {
            live.add(core, &Sample { period, ..sample });
        });
    }

    fn crossing(vector: u8) -> ChainEntry {
        ChainEntry::Crossing {
            vector,
            pc: CodeAddress(0x3000),
            caller_known: true,
            stack_top: [0; 2],
        }
    }

    fn returns(address: u64) -> ChainEntry {
        ChainEntry::Return(CodeAddress(address))
    }

    /// The rows, and how many samples their shares are of.
    fn shown(live: &mut Live, keys: &Keys) -> (Vec<(String, u64, u64)>, u64) {
        let screen = live.screen(keys, &Standing::default());
        let rows = screen
            .functions
            .into_iter()
            .map(|row| (row.name, row.own, row.total));
        (rows.collect(), screen.all)
    }

    fn row(name: &str, own: u64, total: u64) -> (String, u64, u64) {
        (name.to_owned(), own, total)
    }

    #[test]
    fn functions_are_counted_by_themselves_and_with_what_they_call() {
        let mut live = live();
        for _ in 0..16 {
            // One that calls itself counts once.
            add(
                &mut live,
                0,
                (0x1000, ON, 100),
                &[returns(0x2001), returns(0x2001)],
            );
        }
        for _ in 0..8 {
            add(&mut live, 1, (0x2000, ON, 104), &[]);
        }
        let mut keys = Keys::default();
        let expected = [row("0x1000", 16, 16), row("0x2000", 8, 24)];
        assert_eq!(shown(&mut live, &keys), (expected.to_vec(), 24));
        keys.order = Order::Total;
        let expected = [row("0x2000", 8, 24), row("0x1000", 16, 16)];
        assert_eq!(shown(&mut live, &keys), (expected.to_vec(), 24));
        keys.row = 1;
        let selected = live.selected(&keys);
        keys.focus(selected);
        let expected = [row("0x1000", 16, 16), row("0x2000", 0, 16)];
        assert_eq!(shown(&mut live, &keys), (expected.to_vec(), 16));
        keys.focus(None);
        keys.filter = "x2".into();
        assert_eq!(shown(&mut live, &keys), (vec![row("0x2000", 8, 24)], 24));
        keys.filter.clear();
        live.decay();
        let expected = [row("0x2000", 7, 21), row("0x1000", 14, 14)];
        assert_eq!(shown(&mut live, &keys), (expected.to_vec(), 21));
        let screen = live.screen(&keys, &Standing::default());
        assert_eq!(
            (screen.samples, screen.achieved, screen.requested),
            (24, Some(100), 100)
        );
        live.forget();
        assert_eq!(shown(&mut live, &keys), (vec![], 0));
    }

    #[test]
    fn cores_say_what_they_do() {
        let mut live = live();
        add(&mut live, 0, (0x1000, ON, 1), &[]);
        add(&mut live, 0, (0x1000, 0, 1), &[crossing(32), crossing(2)]);
        add(&mut live, 0, (0x1000, 0, 1), &[crossing(2)]);
        add(&mut live, 0, (0x1000, ON | State::IDLE, 1), &[]);
        add(&mut live, 0, (0x1000, ON | State::RING, 1), &[]);
        add(&mut live, 0, (0x1000, ON | State::RING, 1), &[]);
        // A core that the run does not have.
        add(&mut live, 7, (0x1000, ON, 1), &[]);
        let standing = Standing {
            lost: vec![0, 5],
            is_paused: false,
        };
        let bars = live.screen(&Keys::default(), &standing).bars;
        assert_eq!(bars[0].counts, [1, 1, 1, 1, 2]);
        assert_eq!((bars[1].counts, bars[1].lost), ([0; 5], 5));
    }
}
