//! The walk of the sampler over the stacks of a dead kernel.

use std::cell::Cell;

use kernel_core::postmortem::Root;
use kernel_core::stub;
use profiler::address::{CodeAddress, CodeRange, StackAddress};
use profiler::entry::TrapFrame;
use profiler::format::sample::Chain;
use profiler::format::{ChainEnd, Sample, State};
use profiler::unwind::assembly::{ENTRY_BYTES, entry_at};
use profiler::unwind::{self, Registers, Rule, Slot, StackBounds, Target, TrapFrameLayout};

use super::space::{Fault, Space};
use crate::chain::{Link, Repair};
use crate::symbols::Symbols;

/// More rules than a kernel has.
const MAX_RULES: u64 = 1 << 16;

/// How code came where it is.
pub struct Walked {
    /// Where it is, then what called it, or was interrupted there, innermost first.
    pub links: Vec<Link>,
    pub end: ChainEnd,
    /// A caller that has no frame may be missing.
    pub is_doubtful: bool,
    /// Why the walk could not read on, if that is why it ended.
    pub fault: Option<Fault>,
}

/// The stacks of a dead kernel.
pub struct Stacks<'a> {
    space: Space<'a>,
    root: &'a Root,
    rules: Vec<(CodeAddress, Rule)>,
    /// Slots of tasks that have a stack.
    made: u64,
}

impl<'a> Stacks<'a> {
    /// # Errors
    ///
    /// What leads to them cannot be read.
    pub fn new(space: Space<'a>, root: &'a Root) -> Result<Self, Fault> {
        let code = &root.code;
        let entries = code.rules_end.saturating_sub(code.rules_start) / ENTRY_BYTES as u64;
        let rules = (0..entries.min(MAX_RULES)).map(|number| {
            let address = code.rules_start + number * ENTRY_BYTES as u64;
            let bytes: [u8; ENTRY_BYTES] = space.bytes(address)?;
            Ok(entry_at(address, &bytes))
        });
        let mut rules = rules.collect::<Result<Vec<_>, _>>()?;
        rules.sort_by_key(|(address, _)| *address);
        let made = space.short(root.stacks.made)?.into();
        Ok(Self {
            space,
            root,
            rules,
            made,
        })
    }

    /// How the code that `core` ran, or a task that does not run, came where it is.
    pub fn walk(&self, core: u32, at: Registers, symbols: &Symbols) -> Walked {
        let target = OfCore {
            stacks: self,
            core,
            fault: Cell::new(None),
        };
        let mut from = at;
        if target.stack_of(from.sp).is_none() {
            // It has overflowed, or is lost. The frame pointer may still be what it was.
            from.sp = from.fp;
        }
        let stack_top = unwind::stack_top(from.sp, &target);
        // Without it a caller may be missing, no more.
        target.fault.set(None);
        let mut chain = Chain::new();
        let end = unwind::walk(from, &target, &mut chain);
        // Where the rule of assembly says where the caller is, nothing is missing.
        let is_known = target.rule(at.pc) != Rule::FramePointer || from.sp != at.sp;
        let sample = Sample {
            sequence: 0,
            handler_cost: 0,
            event: 0,
            task: 0,
            state: State(if is_known { State::CALLER_KNOWN } else { 0 }),
            time: 0,
            period: 0,
            sp: from.sp,
            stack_top,
            pc: at.pc,
            exact: None,
            end,
            chain_words: chain.words(),
        };
        let mut walked = of_sample(&sample, self.text(), symbols);
        walked.fault = target.fault.get();
        walked
    }

    pub fn text(&self) -> CodeRange {
        let image = &self.root.image;
        CodeRange {
            start: CodeAddress(image.text_start),
            end: CodeAddress(image.text_end),
        }
    }

    /// The bounds of a stack of so many bytes at the end of the slot that `sp` is in.
    fn in_slot(&self, area: u64, sp: u64, bytes: u64) -> Option<StackBounds> {
        let slot = self.root.stacks.slot;
        let number = sp.checked_sub(area)?.checked_sub(1)?.checked_div(slot)?;
        let high = area.checked_add(number.checked_add(1)?.checked_mul(slot)?)?;
        let low = high.checked_sub(bytes)?;
        (low <= sp && bytes <= slot && bytes.is_multiple_of(8)).then_some(StackBounds { low, high })
    }

    fn bounds(&self, core: u32, sp: u64) -> Option<StackBounds> {
        let stacks = &self.root.stacks;
        let of_tasks = self
            .made
            .checked_mul(stacks.slot)?
            .checked_add(stacks.tasks)?;
        if stacks.tasks <= sp && sp <= of_tasks {
            return self.in_slot(stacks.tasks, sp, stacks.task_bytes);
        }
        let area = stacks.core_stride.checked_mul(core.into())?;
        let area = area.checked_add(stacks.cores)?;
        let kind = sp
            .checked_sub(area)?
            .checked_sub(1)?
            .checked_div(stacks.slot)?;
        let kibibytes = stacks.kibibytes.to_le_bytes();
        let kibibytes = *kibibytes.get(usize::try_from(kind).ok()?)?;
        self.in_slot(area, sp, u64::from(kibibytes) << 10)
            .filter(|bounds| bounds.low < bounds.high)
    }
}

/// The links of a sample, with the code itself first.
pub fn of_sample(sample: &Sample<'_>, text: CodeRange, symbols: &Symbols) -> Walked {
    let repair = Repair {
        callers: symbols.callers(),
        text,
    };
    let mut links = Vec::new();
    let repaired = repair.chain(sample, &mut links);
    let code = Link::Interrupted {
        vector: 0,
        pc: sample.pc,
    };
    links.insert(0, code);
    Walked {
        links,
        end: repaired.end,
        is_doubtful: repaired.doubtful > 0,
        fault: None,
    }
}

/// The stacks of a core, and of all tasks.
struct OfCore<'a> {
    stacks: &'a Stacks<'a>,
    core: u32,
    fault: Cell<Option<Fault>>,
}

// SAFETY: `load` reads a file, by an address that it proves to be in it: no slot is referred to.
unsafe impl Target for OfCore<'_> {
    fn text(&self) -> CodeRange {
        self.stacks.text()
    }

    fn stack_of(&self, sp: StackAddress) -> Option<StackBounds> {
        self.stacks.bounds(self.core, sp.0)
    }

    fn rule(&self, address: CodeAddress) -> Rule {
        let code = &self.stacks.root.code;
        let assembly = CodeRange {
            start: CodeAddress(code.assembly_start),
            end: CodeAddress(code.assembly_end),
        };
        if !assembly.contains(address) {
            return Rule::FramePointer;
        }
        let of_stub = address.0.checked_sub(code.stubs).and_then(stub::rule);
        let rules = &self.stacks.rules;
        let after = rules.partition_point(|(start, _)| *start <= address);
        let last = rules[..after].last().map(|(_, rule)| *rule);
        of_stub.or(last).unwrap_or(Rule::FramePointer)
    }

    fn has_root_rules(&self) -> bool {
        true
    }

    fn is_called_by_stub(&self, address: CodeAddress) -> bool {
        let code = &self.stacks.root.code;
        (code.calls_start..code.calls_end).contains(&address.0)
    }

    fn trap_frame_layout(&self) -> TrapFrameLayout {
        TrapFrame::LAYOUT
    }

    fn load(&self, slot: Slot) -> u64 {
        let word = self.stacks.space.word(slot.address());
        word.unwrap_or_else(|fault| {
            self.fault.set(self.fault.get().or(Some(fault)));
            // No frame pointer and no return address: the walk ends there.
            0
        })
    }
}
