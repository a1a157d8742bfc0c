//! Counts a profile's samples: in one pass over what is counted of them, column by column where that
//! says the same, and one over the different stacks, which completes their chains.

use std::hash::Hash;
use std::ops::Range;

use hashbrown::HashMap;
use profiler::address::CodeAddress;
use profiler::format::{ChainEnd, State};

use super::cells::Cells;
use super::selection::Selection;
use super::stack::{Chain, Stack};
use crate::chain::{Link, Repair, Repaired};
use crate::profile::stacks as profile;
use crate::profile::{Alike, ChainCount, Counted, CountedSamples, Profile, ReadError, Reading};
use crate::symbols::callframe::{Caller, Callers};
use crate::symbols::{Frame, Symbols};

/// A profile's samples, counted.
#[derive(Clone, Debug, Default)]
pub struct Tally {
    /// Which samples are counted.
    pub selection: Selection,
    /// Each core that was asked for.
    pub cores: Vec<CoreTally>,
    /// Every different stack, in the order of the profile's table.
    rows: Vec<Row>,
    extras: Vec<Extra>,
    /// Samples by the stack's number there.
    of_stacks: Vec<u64>,
    /// Samples by the number of the task that ran.
    of_tasks: Histogram,
    /// Samples by the number of the event.
    of_events: Histogram,
    places: Places,
    chains: Chains,
    /// Samples whose stacks have a property.
    pub totals: Totals,
    /// The achieved periods, in ticks, of all samples but each core's first,
    /// whose period began when the core was armed. None where the run has events.
    pub periods: Distribution,
    /// Each of the run's events, in their order.
    pub events: Vec<EventTally>,
    /// The cost of each sample's handler, in ticks, as the next sample reports it; of all
    /// events, whichever are counted. None if costs were not asked for.
    pub handler: Distribution,
    /// Records that this version cannot read.
    pub unreadable: u64,
    /// Those of the samples that were counted in place.
    pub counted_in_place: u64,
}

/// Samples by what is known of their stacks.
#[derive(Clone, Copy, Debug, Default)]
pub struct Totals {
    /// Some callers were on top of the stack only.
    pub repaired: u64,
    /// A caller may be missing.
    pub doubtful: u64,
    /// That is because code has no call-frame information.
    pub undecided: u64,
    /// Code ran with interrupts off.
    pub interrupts_off: u64,
    /// The core was halted.
    pub idle: u64,
    /// In the order of [`ChainEnd::ALL`].
    ends: [u64; ChainEnd::ALL.len()],
}

impl Totals {
    fn count(&mut self, row: &Row, samples: u64, repaired: Repaired) {
        let if_it = |has: bool| if has { samples } else { 0 };
        self.repaired += if_it(repaired.added > 0);
        self.doubtful += if_it(repaired.doubtful > 0);
        self.undecided += if_it(repaired.undecided > 0);
        self.interrupts_off += if_it(!row.state.has(State::INTERRUPTS_ON));
        self.idle += if_it(row.state.has(State::IDLE));
        self.ends[row.end as usize] += samples;
    }
}

// The numbers of ends are their places among all.
const _: () = {
    let mut place = 0;
    while place < ChainEnd::ALL.len() {
        assert!(ChainEnd::ALL[place] as usize == place);
        place += 1;
    }
};

/// A stack, and how often it was seen: there are many, so they are small.
#[derive(Clone, Copy, Debug)]
struct Row {
    /// By the profile's table.
    stack: u32,
    /// The numbers of its program counter and its chain here.
    pc: u32,
    chain: u32,
    /// The number of [`Extra`] addresses, or [`NONE`].
    extra: u32,
    state: State,
    end: ChainEnd,
}

/// A stack, without what has to be looked for elsewhere.
pub(super) struct StackNumbers {
    /// [`Stack::place`].
    pub place: usize,
    /// The number of its chain.
    pub chain: usize,
    pub samples: u64,
    /// [`Stack::is_plain`].
    pub is_plain: bool,
}

/// Addresses that few stacks have.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
struct Extra {
    exact: Option<CodeAddress>,
    added: Option<CodeAddress>,
}

/// Where a list of numbers has none.
const NONE: u32 = u32::MAX;

/// Chains that were completed, each once.
#[derive(Clone, Default, Debug)]
struct Chains {
    /// Of all chains, one behind the other, by their numbers.
    links: Vec<u32>,
    different: DifferentLinks,
    all: Vec<OuterChain>,
    /// By the profile's numbers, where each is in `all`, or [`NONE`].
    known: Vec<u32>,
    /// Room for one chain: its words, and its links.
    room: (Vec<u64>, Vec<Link>),
}

/// Where samples were, each address once.
#[derive(Clone, Default, Debug)]
struct Places {
    all: Vec<Place>,
    /// By the profile's numbers of words, where each is in `all`, or [`NONE`].
    known: Vec<u32>,
}

#[derive(Clone, Copy, Debug)]
struct Place {
    pc: CodeAddress,
    /// Where the code there has its caller.
    caller: Caller,
    samples: u64,
}

/// The place that a list of numbers has for this one: `next`, if it has none yet.
fn place_of(known: &mut Vec<u32>, number: u32, next: usize) -> usize {
    let number = number as usize;
    if number >= known.len() {
        known.resize(number + 1, NONE);
    }
    if known[number] == NONE {
        // The profile has its numbers in 32 bits.
        known[number] = u32::try_from(next).expect("fewer than 2³²");
    }
    known[number] as usize
}

/// A chain without what the interrupted code itself adds to it.
#[derive(Clone, Copy, Debug)]
struct OuterChain {
    start: usize,
    end: usize,
    repaired: Repaired,
    /// The last link, if that was added.
    last: Option<CodeAddress>,
}

impl Chains {
    /// The number of a stack's chain, which has another one in the profile; it is completed if
    /// it is new.
    fn find_or_add(&mut self, stack: &profile::Stack<'_>, repair: Repair<'_>) -> usize {
        let Self {
            links,
            different,
            all,
            known,
            room: (words, of_chain),
        } = self;
        let place = place_of(known, stack.chain, all.len());
        if place == all.len() {
            let start = links.len();
            of_chain.clear();
            let (repaired, last) = repair.outer(&stack.sample(words), of_chain);
            links.extend(of_chain.iter().map(|&link| different.number(link)));
            all.push(OuterChain {
                start,
                end: links.len(),
                repaired,
                last,
            });
        }
        place
    }

    fn get(&self, number: u32) -> Chain<'_> {
        let number = number as usize;
        let OuterChain { start, end, .. } = self.all[number];
        Chain {
            number,
            links: &self.links[start..end],
            different: &self.different.all,
        }
    }
}

/// The links of all chains, each once: there are few, and chains have them many times.
#[derive(Clone, Default, Debug)]
struct DifferentLinks {
    all: Vec<Link>,
    numbers: HashMap<Link, u32>,
    /// The numbers of those that came last, by the low bits of their addresses.
    recent: Vec<u32>,
}

impl DifferentLinks {
    fn number(&mut self, link: Link) -> u32 {
        const RECENT: usize = 1 << 12;
        if self.recent.is_empty() {
            self.recent.resize(RECENT, NONE);
        }
        #[allow(clippy::cast_possible_truncation)] // the low bits
        let recent = &mut self.recent[link.lookup().0 as usize % RECENT];
        if self.all.get(*recent as usize) != Some(&link) {
            let next = u32::try_from(self.all.len()).expect("fewer links than 2³²");
            *recent = *self.numbers.entry(link).or_insert(next);
            if *recent == next {
                self.all.push(link);
            }
        }
        *recent
    }
}

/// What a sample was taken of.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(crate) struct SampleKey {
    pub core: u32,
    pub task: u16,
    pub event: u8,
}

/// An event's samples, counted.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct EventTally {
    pub samples: u64,
    /// Those of them that have an exact address.
    pub exact: u64,
    /// Its achieved periods, in events, but the first of each core.
    pub periods: Distribution,
    by_core: HashMap<u32, OnCore>,
}

/// An event's samples on one core.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
struct OnCore {
    /// Those of the core, chosen or not.
    samples: u64,
    /// The most samples of all events from one of its samples, which is left out, to the next.
    most_apart: u64,
}

impl EventTally {
    /// Its samples on this core, whichever of them are chosen: what is said of the run by them holds
    /// of all.
    #[must_use]
    pub fn samples_of(&self, core: u32) -> u64 {
        self.by_core.get(&core).map_or(0, |it| it.samples)
    }

    /// The most samples that this core took, whatever they are of, in a period of the event: its
    /// own one at the end, and those that were lost, included. At least 1.
    #[must_use]
    pub fn most_in_a_period(&self, core: u32) -> u64 {
        self.by_core.get(&core).map_or(1, |it| it.most_apart.max(1))
    }
}

/// A core's samples, counted.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct CoreTally {
    pub core: u32,
    pub samples: u64,
    /// Samples that its sequence numbers say are missing between those that are
    /// there.
    pub gaps: u64,
}

/// How often there is each number from 0 on.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
struct Histogram(Vec<u64>);

impl Histogram {
    #[inline]
    fn add(&mut self, number: usize, times: u64) {
        self.room_for(number)[number] += times;
    }

    /// The counts of all numbers up to `most`, at least.
    #[inline]
    fn room_for(&mut self, most: usize) -> &mut [u64] {
        let room = most + 1;
        if self.0.len() < room {
            self.0.resize(room, 0);
        }
        &mut self.0
    }
}

/// Numbers whose smallest, median and largest are reported.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Distribution {
    /// Most are small.
    small: Histogram,
    large: HashMap<u64, u64>,
}

impl Distribution {
    /// The first number that is not small. A column of numbers that differ by less than 2¹⁶ may
    /// begin above 0.
    const LARGE: usize = 1 << 17;

    /// Adds the costs of these of the samples.
    fn add_costs(
        &mut self,
        samples: &CountedSamples<'_>,
        some: Range<usize>,
    ) -> Result<(), ReadError> {
        match usize::try_from(samples.most_cost()) {
            Ok(most) if most < Self::LARGE => {
                // There is seldom one as large as `most`: room is made for those that there are.
                let small = &mut self.small;
                samples.for_each_cost(some, |cost| match small.0.get_mut(cost as usize) {
                    Some(times) => *times += 1,
                    None => small.add(cost as usize, 1),
                })
            }
            _ => samples.for_each_cost(some, |cost| self.add(cost.into())),
        }
    }

    /// Adds the periods of these of the samples.
    fn add_all(&mut self, samples: &CountedSamples<'_>, some: Range<usize>) {
        match samples.same_period() {
            Some(period) => self.add_times(period, some.len() as u64),
            None => samples.for_each_period(some, |period| self.add(period)),
        }
    }

    #[inline]
    fn add(&mut self, number: u64) {
        self.add_times(number, 1);
    }

    #[inline]
    fn add_times(&mut self, number: u64, times: u64) {
        if times == 0 {
            return;
        }
        match usize::try_from(number) {
            Ok(small) if small < Self::LARGE => self.small.add(small, times),
            _ => *self.large.entry(number).or_default() += times,
        }
    }

    /// Smallest, median and largest; `None` without any numbers. The median of
    /// an even number of them is the lower one of the two in the middle.
    #[must_use]
    pub fn summary(&self) -> Option<[u64; 3]> {
        let small = (0..).zip(self.small.0.iter().copied());
        let mut counts: Vec<(u64, u64)> = small.filter(|&(_, count)| count > 0).collect();
        counts.extend(self.large.iter().map(|(&number, &count)| (number, count)));
        counts.sort_unstable();
        let all: u64 = counts.iter().map(|&(_, count)| count).sum();
        let mut before = all.checked_sub(1)? / 2;
        let (median, _) = *counts.iter().find(|&&(_, count)| {
            let is_it = before < count;
            before = before.saturating_sub(count);
            is_it
        })?;
        Some([counts.first()?.0, median, counts.last()?.0])
    }
}

/// What is counted of a core while its samples are read.
struct Counting {
    tally: CoreTally,
    numbers: Numbers,
    /// Samples of events that are not counted; all samples.
    others: u64,
    all: u64,
    events: Box<[OfEvent]>,
}

/// An event's samples on a core.
#[derive(Clone, Copy, Default)]
struct OfEvent {
    on_core: OnCore,
    /// Where its last sample was, counted as [`OnCore::most_apart`] is.
    last: Option<u64>,
}

impl Counting {
    fn new(core: u32) -> Self {
        Self {
            tally: CoreTally {
                core,
                samples: 0,
                gaps: 0,
            },
            numbers: Numbers::default(),
            others: 0,
            all: 0,
            events: vec![OfEvent::default(); 1 << u8::BITS].into(),
        }
    }

    /// Passes samples whose numbers follow each other, from the first on, which lies ahead. Returns
    /// where that is, counted as [`OnCore::most_apart`] is.
    fn pass_all(&mut self, first: u32, count: u64) -> u64 {
        self.numbers.pass(first);
        let now = self.numbers.0.max(self.all + 1);
        self.numbers.0 += count - 1;
        self.all += count;
        now
    }

    /// Counts so many samples of one event that are asked for, the first of which is at `now`, and
    /// each behind the other. Returns true if that is not the event's first.
    fn count_alike(&mut self, event: u8, now: u64, count: u64) -> bool {
        self.tally.samples += count;
        let of_event = &mut self.events[usize::from(event)];
        of_event.on_core.samples += count;
        let before = of_event.last.replace(now + count - 1);
        let to_first = before.map_or(0, |before| now - before);
        let to_others = u64::from(count > 1);
        let most = &mut of_event.on_core.most_apart;
        *most = (*most).max(to_first).max(to_others);
        before.is_some()
    }

    /// Counts a sample that is asked for.
    fn count(&mut self) {
        self.tally.samples += 1;
    }

    /// Passes a sample of an event that is asked for. Returns true if it is not the event's first.
    fn pass(&mut self, event: u8) -> bool {
        let of_event = &mut self.events[usize::from(event)];
        of_event.on_core.samples += 1;
        let now = self.numbers.0.max(self.all);
        let Some(before) = of_event.last.replace(now) else {
            return false;
        };
        let most = &mut of_event.on_core.most_apart;
        *most = (*most).max(now - before);
        true
    }
}

impl Tally {
    /// Counts the samples of `selection`.
    /// `callers` are those of the profile's kernel.
    ///
    /// # Errors
    ///
    /// Samples cannot be read that were there when the profile was opened.
    pub fn new(
        profile: &Profile,
        callers: &Callers,
        selection: Selection,
    ) -> Result<Self, ReadError> {
        Self::counted((profile, callers), selection, Reading::Counts)
    }

    /// The same, with the costs of the handler.
    ///
    /// # Errors
    ///
    /// As [`Self::new`].
    pub fn with_costs(
        profile: &Profile,
        callers: &Callers,
        selection: Selection,
    ) -> Result<Self, ReadError> {
        Self::counted((profile, callers), selection, Reading::Costs)
    }

    fn counted(
        (profile, callers): (&Profile, &Callers),
        selection: Selection,
        reading: Reading,
    ) -> Result<Self, ReadError> {
        let mut tally = Self {
            selection,
            events: vec![EventTally::default(); profile.events().len()],
            of_stacks: vec![0; profile.stacks().len()],
            ..Self::default()
        };
        let selection = tally.selection.clone();
        let is_selected = |core| selection.has_core(core);
        let mut cores: Vec<_> = (0..profile.cores()).map(Counting::new).collect();
        let reading = selection.reading().max(reading);
        profile.for_each_of(is_selected, reading, |samples| {
            tally.count_all(&mut cores[samples.core as usize], samples)
        })?;
        for &chain in profile.chains() {
            if is_selected(chain.core) {
                tally.count_chain(&mut cores[chain.core as usize], chain);
            }
        }
        if profile.keeps_chains() {
            tally.forget_order();
        }
        for core in cores.iter().filter(|core| is_selected(core.tally.core)) {
            tally.end_core(core);
            tally.unreadable += profile.unreadable(core.tally.core);
        }
        let repair = Repair {
            callers,
            text: profile.description.text,
        };
        tally.complete(profile, repair);
        Ok(tally)
    }

    /// Counts samples: by columns if they are alike, else one by one.
    fn count_all(
        &mut self,
        core: &mut Counting,
        samples: &CountedSamples<'_>,
    ) -> Result<(), ReadError> {
        match samples.alike() {
            Some(alike) if core.numbers.is_ahead(alike.first) && self.selection.is_plain() => {
                self.count_alike(core, alike, samples)
            }
            _ => samples.for_each(|sample| self.count(core, sample)),
        }
    }

    /// Counts as [`Self::count`] does, each column by itself.
    fn count_alike(
        &mut self,
        core: &mut Counting,
        Alike { event, first }: Alike,
        samples: &CountedSamples<'_>,
    ) -> Result<(), ReadError> {
        let count = samples.len();
        // Nothing was before the sample with the number 0.
        let zero = (0_u32.wrapping_sub(first) as usize).min(count);
        let behind_others = [0..zero, zero.saturating_add(1).min(count)..count];
        for some in behind_others.clone() {
            self.handler.add_costs(samples, some)?;
        }
        let now = core.pass_all(first, count as u64);
        if !self.selection.has_event(event) {
            core.others += count as u64;
            return Ok(());
        }
        let has_period = core.count_alike(event, now, count as u64);
        samples.count_stacks(&mut self.of_stacks)?;
        self.of_events.add(event.into(), count as u64);
        if let Some(event) = self.events.get_mut(usize::from(event)) {
            event.samples += count as u64;
            event.exact += samples.exact();
            event
                .periods
                .add_all(samples, usize::from(!has_period)..count);
        } else if self.events.is_empty() {
            for some in behind_others {
                self.periods.add_all(samples, some);
            }
        }
        samples.count_tasks(self.of_tasks.room_for(samples.most_task().into()))
    }

    fn count(&mut self, core: &mut Counting, sample: &Counted) {
        core.numbers.pass(sample.sequence);
        core.all += 1;
        if let Some(cost) = sample.cost.filter(|_| sample.sequence != 0) {
            self.handler.add(cost.into());
        }
        if !self.selection.has_event(sample.event) {
            core.others += 1;
            return;
        }
        let has_period = core.pass(sample.event);
        if !self.selection.has(sample.stack, sample.task, sample.time) {
            core.others += 1;
            return;
        }
        core.count();
        if let Some(event) = self.events.get_mut(usize::from(sample.event)) {
            event.samples += 1;
            event.exact += u64::from(sample.has_exact);
            if has_period {
                event.periods.add(sample.period);
            }
        } else if self.events.is_empty() && sample.sequence != 0 {
            self.periods.add(sample.period);
        }
        self.of_stacks[sample.stack as usize] += 1;
        self.of_tasks.add(sample.task.into(), 1);
        self.of_events.add(sample.event.into(), 1);
    }

    /// Counts a chain that was counted in place.
    fn count_chain(&mut self, core: &mut Counting, chain: ChainCount) {
        core.all += chain.samples;
        let has_event = self.selection.has_event(chain.event);
        if has_event {
            core.events[usize::from(chain.event)].on_core.samples += chain.samples;
        }
        if !has_event || !self.selection.has_of(chain) {
            core.others += chain.samples;
            return;
        }
        core.tally.samples += chain.samples;
        if let Some(event) = self.events.get_mut(usize::from(chain.event)) {
            event.samples += chain.samples;
        }
        self.counted_in_place += chain.samples;
        self.of_stacks[chain.stack as usize] += chain.samples;
        self.of_tasks.add(chain.task.into(), chain.samples);
        self.of_events.add(chain.event.into(), chain.samples);
    }

    /// Forgets what is known of the few samples alone that were not counted in place.
    fn forget_order(&mut self) {
        self.periods = Distribution::default();
        self.handler = Distribution::default();
        for event in &mut self.events {
            event.periods = Distribution::default();
        }
    }

    fn end_core(&mut self, core: &Counting) {
        let id = core.tally.core;
        for (event, of_event) in self.events.iter_mut().zip(&core.events) {
            if of_event.on_core.samples > 0 {
                event.by_core.insert(id, of_event.on_core);
            }
        }
        let seen = core.tally.samples + core.others;
        self.cores.push(CoreTally {
            gaps: core.numbers.0.saturating_sub(seen),
            ..core.tally
        });
    }

    /// Completes the chains of the stacks that were seen.
    fn complete(&mut self, profile: &Profile, repair: Repair<'_>) {
        let seen = self.of_stacks.iter().filter(|&&samples| samples > 0);
        self.rows.reserve_exact(seen.count());
        // A few are added, and a word of four is a link where interrupts are crossed.
        self.chains.links.reserve(profile.stacks().chain_words());
        for number in 0..self.of_stacks.len() {
            if self.of_stacks[number] > 0
                && let Some(stack) = profile.stacks().get(number)
            {
                self.complete_stack(number, &stack, repair);
            }
        }
    }

    fn complete_stack(&mut self, number: usize, stack: &profile::Stack<'_>, repair: Repair<'_>) {
        let Places { all, known } = &mut self.places;
        let pc = place_of(known, stack.pc_number, all.len());
        if pc == all.len() {
            all.push(Place {
                pc: stack.pc,
                caller: repair.callers.of(stack.pc),
                samples: 0,
            });
        }
        let place = &mut all[pc];
        let innermost = repair.innermost_of(place.caller, stack.pc, stack.state, stack.top);
        let chain = self.chains.find_or_add(stack, repair);
        let outer = &self.chains.all[chain];
        let mut repaired = outer.repaired;
        repaired.count(innermost);
        let last = if outer.start == outer.end {
            innermost.added()
        } else {
            outer.last
        };
        let samples = self.of_stacks[number];
        place.samples += samples;
        let extra = Extra {
            exact: stack.exact,
            added: innermost.added(),
        };
        #[allow(clippy::cast_possible_truncation)] // all were made of such
        let row = Row {
            stack: number as u32,
            pc: pc as u32,
            chain: chain as u32,
            extra: if extra == Extra::default() {
                NONE
            } else {
                self.extras.push(extra);
                self.extras.len() as u32 - 1
            },
            state: stack.state,
            end: repair.end(stack.end, last),
        };
        self.totals.count(&row, samples, repaired);
        self.rows.push(row);
    }

    fn stack(&self, row: &Row) -> Stack<'_> {
        let extra = self.extras.get(row.extra as usize);
        let Extra { exact, added } = extra.copied().unwrap_or_default();
        Stack {
            state: row.state,
            pc: self.places.all[row.pc as usize].pc,
            place: row.pc as usize,
            exact,
            added,
            outer: self.chains.get(row.chain),
            end: row.end,
            samples: self.of_stacks[row.stack as usize],
        }
    }

    /// Where samples were, each address once, and how many.
    pub fn places(&self) -> impl Iterator<Item = (CodeAddress, u64)> {
        let places = self.places.all.iter();
        places.map(|place| (place.pc, place.samples))
    }

    /// Every different stack.
    pub fn stacks(&self) -> impl Iterator<Item = Stack<'_>> {
        self.rows.iter().map(|row| self.stack(row))
    }

    /// Every different stack with its number in the profile's table.
    pub fn numbered_stacks(&self) -> impl Iterator<Item = (u32, Stack<'_>)> {
        self.rows.iter().map(|row| (row.stack, self.stack(row)))
    }

    /// The numbers of every different stack, in the order of [`Self::stacks`]: what most stacks are
    /// counted by.
    pub(super) fn stack_numbers(&self) -> impl Iterator<Item = StackNumbers> {
        self.rows.iter().map(|row| StackNumbers {
            place: row.pc as usize,
            chain: row.chain as usize,
            samples: self.of_stacks[row.stack as usize],
            is_plain: row.extra == NONE,
        })
    }

    /// The different stack at this place of [`Self::stacks`].
    pub(super) fn stack_at(&self, index: usize) -> Stack<'_> {
        self.stack(&self.rows[index])
    }

    /// The different stacks whose places alone do not say which functions were interrupted.
    pub fn stacks_with_more(&self) -> impl Iterator<Item = Stack<'_>> {
        let rows = self.rows.iter().filter(|row| row.extra != NONE);
        rows.map(|row| self.stack(row))
    }

    /// The samples by what `key` makes of them, and by stack: they are read once more.
    ///
    /// # Errors
    ///
    /// Samples cannot be read that were there when the profile was opened.
    pub(crate) fn stacks_by<K: Copy + Eq + Hash>(
        &self,
        profile: &Profile,
        key: impl Fn(SampleKey) -> K,
    ) -> Result<Vec<(K, Stack<'_>)>, ReadError> {
        let counts = self.counted_by(profile, key)?.into_counts();
        let stack = |((key, number), samples)| {
            let index = self.rows.partition_point(|row| row.stack < number);
            let stack = self.stack(&self.rows[index]);
            (key, Stack { samples, ..stack })
        };
        Ok(counts.map(stack).collect())
    }

    /// The same by the stack's number in the profile.
    ///
    /// # Errors
    ///
    /// As [`Self::stacks_by`].
    pub(crate) fn counted_by<K: Copy + Eq + Hash>(
        &self,
        profile: &Profile,
        key: impl Fn(SampleKey) -> K,
    ) -> Result<Cells<K>, ReadError> {
        let mut counts = Cells::new(profile.stacks().len());
        let selection = &self.selection;
        profile.for_each_of(
            |core| selection.has_core(core),
            selection.reading(),
            |samples| {
                samples.for_each(|sample| {
                    let &Counted {
                        stack, task, event, ..
                    } = sample;
                    if selection.has_event(event) && selection.has(stack, task, sample.time) {
                        let core = samples.core;
                        let key = key(SampleKey { core, task, event });
                        counts.add(key, stack, 1);
                    }
                })
            },
        )?;
        for &chain in profile.chains() {
            if selection.has_chain(chain) {
                let ChainCount {
                    core, task, event, ..
                } = chain;
                let key = key(SampleKey { core, task, event });
                counts.add(key, chain.stack, chain.samples);
            }
        }
        Ok(counts)
    }

    /// The tasks that ran, by their numbers, and the samples of each.
    pub fn tasks(&self) -> impl Iterator<Item = (u16, u64)> {
        let tasks = (0..=u16::MAX).zip(self.of_tasks.0.iter().copied());
        tasks.filter(|&(_, samples)| samples > 0)
    }

    /// The numbers of the events that samples are of, aims among them, and the samples of each.
    pub(crate) fn event_numbers(&self) -> impl Iterator<Item = (u8, u64)> {
        let events = (0..=u8::MAX).zip(self.of_events.0.iter().copied());
        events.filter(|&(_, samples)| samples > 0)
    }

    /// The chains of the stacks, by their numbers.
    pub fn chains(&self) -> impl Iterator<Item = Chain<'_>> {
        (0..)
            .zip(&self.chains.all)
            .map(|(number, _)| self.chains.get(number))
    }

    /// The addresses that have to be resolved for the functions of all stacks.
    pub fn addresses(&self) -> impl Iterator<Item = CodeAddress> {
        let places = self.places().map(|(pc, _)| pc);
        let others = self.stacks_with_more().flat_map(Stack::addresses);
        let chains = self.chains.different.all.iter().copied().map(Link::lookup);
        places.chain(others).chain(chains)
    }

    /// The frames of the chains' links, by the numbers that they have in [`Chain::links`]. Addresses must
    /// have been resolved.
    pub fn frames_of_links<'a>(&self, symbols: &'a Symbols) -> Vec<&'a [Frame]> {
        let links = self.chains.different.all.iter();
        links.map(|&link| symbols.frames(link.lookup())).collect()
    }

    /// The samples of all cores that were asked for.
    #[must_use]
    pub fn samples(&self) -> u64 {
        self.cores.iter().map(|core| core.samples).sum()
    }

    /// Samples by how their chains ended, in the order of [`ChainEnd::ALL`].
    #[must_use]
    pub fn chain_ends(&self) -> [(ChainEnd, u64); ChainEnd::ALL.len()] {
        let mut ends = self.totals.ends.into_iter();
        ChainEnd::ALL.map(|end| (end, ends.next().unwrap_or_default()))
    }

    /// The samples whose stack has a property.
    pub fn samples_where(&self, has: impl Fn(&Stack<'_>) -> bool) -> u64 {
        let having = self.stacks().filter(|stack| has(stack));
        having.map(|stack| stack.samples).sum()
    }

    /// The samples whose exact address is in another function than the one that was interrupted.
    pub fn exact_elsewhere(&self, symbols: &Symbols) -> u64 {
        let elsewhere = self.stacks_with_more();
        let elsewhere = elsewhere.filter(|stack| stack.is_exact_elsewhere(symbols));
        elsewhere.map(|stack| stack.samples).sum()
    }
}

/// The number of sequence numbers that a core has given out, as far as its records tell.
/// They are modulo 2³²: half of them lie ahead. An overflow in the handler of another one
/// is recorded before it, and has the higher number.
#[derive(Default)]
struct Numbers(u64);

impl Numbers {
    /// By how much a number lies ahead, or behind modulo 2³².
    #[allow(clippy::cast_possible_truncation)] // it is modulo 2³²
    fn ahead(&self, sequence: u32) -> u32 {
        sequence.wrapping_sub(self.0 as u32)
    }

    fn is_ahead(&self, sequence: u32) -> bool {
        self.ahead(sequence) < 1 << 31
    }

    fn pass(&mut self, sequence: u32) {
        if self.is_ahead(sequence) {
            self.0 += u64::from(self.ahead(sequence)) + 1;
        }
    }
}
