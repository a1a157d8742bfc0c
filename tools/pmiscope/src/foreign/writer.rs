//! Writes what another profiler has recorded as a profile.

use std::io::{self, Write};

use profiler::address::StackAddress;
use profiler::format::sample::{Chain, UNKNOWN_VECTOR};
use profiler::format::{ChainEnd, ChainEntry, Clock, Description, Sample, Source, State};

use super::table::{Code, CodeTable, Owner};
use crate::profile::{Asked, CoreEnd, Embedded, Host, Mode, Outcome, ProcessEnd, RunEnd, Writer};
use crate::qemu::Emulator;
use crate::symbols::BuildId;

/// The most cores of a profile.
pub(super) const MAX_CORES: u32 = 4096;

/// What was recorded.
#[derive(Default)]
pub(crate) struct Foreign {
    /// By what, in a few words.
    pub(super) from: String,
    pub(super) build_id: Option<BuildId>,
    pub(super) table: CodeTable,
    /// In the order of their times.
    pub(super) samples: Vec<ForeignSample>,
    /// Each once.
    pub(super) stacks: Vec<ForeignStack>,
    pub(super) programs: Vec<(u16, String)>,
    pub(super) processes: Vec<ProcessEnd>,
    /// What the description says: tasks and events.
    pub(super) described: Described,
    /// Samples that the profiler has lost.
    pub(super) lost: u64,
}

/// What the description has beside what every one has.
#[derive(Default)]
pub(super) struct Described {
    pub(super) tasks: Vec<String>,
    pub(super) events: Vec<profiler::format::EventDescription>,
    pub(super) cores: u32,
    /// How often there was each stack is all that is known.
    pub(super) are_counts: bool,
}

/// A stack.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct ForeignStack {
    /// Its code, innermost first. Where a program's is behind the kernel's the kernel was entered.
    pub(super) places: Vec<(Owner, Code)>,
    pub(super) end: ChainEnd,
}

/// A sample, or several that are alike where only their number is known.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct ForeignSample {
    pub(super) stack: u32,
    pub(super) core: u32,
    pub(super) task: u16,
    pub(super) event: u8,
    pub(super) time: u64,
    pub(super) period: u64,
    pub(super) count: u64,
}

impl Foreign {
    /// The number of samples.
    pub(crate) fn samples(&self) -> u64 {
        self.samples.iter().map(|it| it.count).sum()
    }

    /// Writes the profile.
    ///
    /// # Errors
    ///
    /// Those of the output.
    pub(crate) fn write<W: Write>(&mut self, out: W) -> io::Result<W> {
        let stacks = std::mem::take(&mut self.stacks);
        let words: Vec<_> = stacks
            .iter()
            .map(|stack| (self.words(&stack.places), stack.end))
            .collect();
        let description = self.description();
        let host = self.host();
        let mut writer = Writer::with(out, &description, &host, Embedded::nothing())?;
        let names = self.table.names(self.build_id(), self.programs.clone());
        writer.names(&names)?;
        let cores = description.cores as usize;
        let (mut sequences, mut stored) = (vec![0_u32; cores], vec![0; cores]);
        for &seen in &self.samples {
            let chain = &words[seen.stack as usize];
            let core = seen.core as usize;
            let sample = sample(seen, chain, sequences[core]);
            if self.described.are_counts {
                writer.chain(seen.core, &sample, seen.count)?;
            } else {
                writer.sample(seen.core, &sample)?;
                sequences[core] = sequences[core].wrapping_add(1);
            }
            stored[core] += seen.count;
        }
        writer.finish(&self.end(&stored))
    }

    /// A stack as a record has it: the program counter, then return addresses, and the border where
    /// the kernel was entered.
    fn words(&mut self, stack: &[(Owner, Code)]) -> Vec<u64> {
        let mut words = Vec::with_capacity(stack.len());
        let mut inner = None;
        for &(owner, code) in stack {
            match inner {
                None => words.push(self.table.at(owner, code).0),
                Some(Owner::Kernel) if owner != Owner::Kernel => {
                    words.extend(self.border(owner, code).words());
                }
                Some(_) => words.push(self.table.behind(owner, code).0),
            }
            inner = Some(owner);
        }
        words
    }

    /// The border to a program: how it was left is not known.
    fn border(&mut self, owner: Owner, code: Code) -> Chain {
        let mut border = Chain::new();
        let entry = ChainEntry::Border {
            vector: Some(UNKNOWN_VECTOR),
            pc: self.table.at(owner, code),
            stack_top: [0; 2],
        };
        border.push(entry).expect("there is room for one");
        border
    }

    fn build_id(&self) -> BuildId {
        self.build_id.unwrap_or(BuildId([0; 20]))
    }

    fn description(&self) -> Description {
        let Described {
            tasks,
            events,
            cores,
            are_counts,
        } = &self.described;
        let cores = (*cores).clamp(1, MAX_CORES);
        let build_id = self.build_id().0;
        let mut description = Description {
            source: Source::Pmu,
            clock: Clock::Time,
            samples: self.samples(),
            table_bytes: if *are_counts { LEAST_TABLE } else { 0 },
            ..Description::new(build_id, self.table.text(), cores, 1 << 10)
        };
        for (place, name) in description.tasks.iter_mut().zip(tasks) {
            *place = profiler::format::Text::new(name);
        }
        for (place, event) in description.event_table.iter_mut().zip(events) {
            *place = *event;
            description.event_count += 1;
        }
        description
    }

    fn host(&self) -> Host {
        Host {
            pmiscope: env!("CARGO_PKG_VERSION").into(),
            qemu: "(not known)".into(),
            emulator: Emulator::Other,
            pmu: None,
            mode: Mode::Realtime,
            arguments: Vec::new(),
            asked: Asked::default(),
            imported: Some(self.from.clone()),
        }
    }

    fn end(&self, stored: &[u64]) -> RunEnd {
        let core = |(number, &stored): (usize, &u64)| {
            let lost = if number == 0 { self.lost } else { 0 };
            CoreEnd {
                apic_id: number as u64,
                taken: stored.saturating_add(lost),
                stored,
                lost,
                // Of no core: they are kept where there always is one.
                processes: if number == 0 {
                    self.processes.clone()
                } else {
                    Vec::new()
                },
                ..CoreEnd::default()
            }
        };
        RunEnd {
            outcome: Outcome::Finished,
            message: String::new(),
            cores: stored.iter().enumerate().map(core).collect(),
        }
    }
}

/// The smallest table that a description can have, which says that stacks were counted.
const LEAST_TABLE: u64 = 16 << 10;

fn sample(seen: ForeignSample, (stack, end): &(Vec<u64>, ChainEnd), sequence: u32) -> Sample<'_> {
    let (&pc, chain) = stack.split_first().expect("a stack has a function");
    let pc = profiler::address::CodeAddress(pc);
    let is_user = profiler::address::UserAddress::of_program(pc).is_some();
    let ring = if is_user { State::RING } else { 0 };
    Sample {
        sequence,
        handler_cost: 0,
        event: seen.event,
        task: seen.task,
        state: State(State::INTERRUPTS_ON | State::CALLER_KNOWN | ring),
        time: seen.time,
        period: seen.period,
        sp: StackAddress(0),
        stack_top: [0; 2],
        pc,
        exact: None,
        end: *end,
        chain_words: chain,
    }
}
