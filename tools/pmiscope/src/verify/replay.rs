//! Replays cores: from each instruction that was about to execute to the next one of
//! the same core, all cores in the order of time, as a task can go from one core to
//! another.

use profiler::address::{CodeAddress, CodeRange, StackAddress};
use profiler::format::{ChainEnd, Sample};

use super::code::{Code, Flow, Instruction};
use super::difference::{Kind, Verdict};
use super::shadow::{Returned, Shadow};
use crate::chain::{Link, Repair, Repaired};
use crate::symbols::callframe::Callers;

/// What was not seen, and therefore taken from the chains that are to be verified.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Assumed {
    /// Times that a core was taken up anew: at its first instruction, and whenever
    /// instructions were lost or one did not follow from the one before, on any core.
    pub starts: u64,
    /// Stacks that were switched to and had not been seen since: those of tasks, at
    /// their first instruction.
    pub stacks: u64,
    /// Links that were assumed true then.
    pub links: u64,
    /// Instructions that are not in the profile, as far as the sequence numbers say.
    pub lost: u64,
    /// Interrupts whose way into the kernel was not seen: where instructions are
    /// stepped by the trap flag.
    pub entries: u64,
    /// Instructions that were not seen, because the one before holds traps off:
    /// likewise.
    pub unseen: u64,
    /// Roots: the code that a new stack returns to, which no call has pushed.
    pub roots: u64,
}

/// What instructions did, as far as it makes chains.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Executed {
    /// Calls that were made.
    pub calls: u64,
    /// Returns from them.
    pub returns: u64,
    /// Interrupts and exceptions that were taken.
    pub interrupts: u64,
    /// String instructions that were interrupted between two of their steps.
    pub repeated: u64,
}

/// A core's record before.
#[derive(Clone, Copy)]
struct Before {
    sequence: u32,
    pc: CodeAddress,
    sp: StackAddress,
    stack_top: [u64; 2],
}

impl Before {
    /// Returns true if the sample is at the same instruction, with the same stack.
    fn is_at(&self, sample: &Sample<'_>) -> bool {
        (self.pc, self.sp) == (sample.pc, sample.sp)
    }
}

/// The kernel and the run that are replayed.
pub(super) struct Setup<'a> {
    pub(super) callers: &'a Callers,
    pub(super) code: &'a mut Code<'a>,
    pub(super) text: CodeRange,
    /// The source is the trap flag: entries of interrupts are not seen.
    pub(super) is_stepped: bool,
}

/// The cores, as they are replayed.
pub(super) struct Replay<'a> {
    pub(super) setup: Setup<'a>,
    /// The kernel's code says where stacks have their roots.
    pub(super) has_roots: bool,
    pub(super) shadow: Shadow,
    /// By core; `None` if it is to be taken up anew.
    before: Vec<Option<Before>>,
    /// True if a return contradicts an assumption.
    is_contradicted: bool,
    /// The instruction before the one that was replayed last, on the same core.
    pub(super) came_from: Option<CodeAddress>,
    /// The chain of the record that was replayed last, repaired, and what became of it.
    pub(super) reported: Vec<Link>,
    pub(super) repaired: Repaired,
    pub(super) assumed: Assumed,
    pub(super) executed: Executed,
}

impl<'a> Replay<'a> {
    /// Begins the replay of so many cores; `stack_slot` is that of the run's description.
    pub(super) fn new(setup: Setup<'a>, stack_slot: u64, cores: usize) -> Self {
        let has_roots = setup.callers.has_roots();
        Self {
            setup,
            has_roots,
            shadow: Shadow::new(stack_slot),
            before: vec![None; cores],
            is_contradicted: false,
            came_from: None,
            reported: Vec::new(),
            repaired: Repaired::NOTHING,
            assumed: Assumed::default(),
            executed: Executed::default(),
        }
    }

    /// Replays the next record of `core`, and compares its chain with the true one.
    pub(super) fn step(&mut self, core: usize, sample: &Sample<'_>) -> Verdict {
        let repair = Repair {
            callers: self.setup.callers,
            text: self.setup.text,
        };
        let mut reported = std::mem::take(&mut self.reported);
        self.repaired = repair.chain(sample, &mut reported);
        self.reported = reported;
        let before = self.before[core];
        self.came_from = before.map(|before| before.pc);
        self.is_contradicted = false;
        let verdict = match self.advance(before, sample) {
            true if self.is_contradicted => Verdict::Different(Kind::AssumedWrong),
            true => self.compare(sample),
            false => Verdict::Different(Kind::NotASuccessor),
        };
        self.before[core] = Some(Before {
            sequence: sample.sequence,
            pc: sample.pc,
            sp: sample.sp,
            stack_top: sample.stack_top,
        });
        verdict
    }

    /// Applies the instruction before to the shadow. Returns true if it can have led here.
    fn advance(&mut self, before: Option<Before>, sample: &Sample<'_>) -> bool {
        let Some(before) = before else {
            self.start(sample);
            return true;
        };
        let missing = sample
            .sequence
            .wrapping_sub(before.sequence)
            .wrapping_sub(1);
        if missing != 0 {
            self.assumed.lost += u64::from(missing);
            self.restart(sample);
            return true;
        }
        if sample.period == 0 && !self.setup.is_stepped && before.is_at(sample) {
            // The interrupts of another core: nothing was executed.
            return true;
        }
        let is_successor = match self.setup.code.at(before.pc) {
            Some(instruction) => {
                self.follows(&before, instruction, sample)
                    || self.setup.is_stepped
                        && instruction.holds_traps_off
                        && self.follows_unseen(&before, instruction, sample)
            }
            None => false,
        };
        if is_successor {
            self.shadow.settle(sample.sp);
        } else {
            self.restart(sample);
        }
        is_successor
    }

    /// Executes the instruction if it can have led to the sample; returns true if so.
    fn follows(&mut self, before: &Before, instruction: Instruction, sample: &Sample<'_>) -> bool {
        self.interrupted(before, instruction, sample)
            || self.executed(before, instruction, sample)
            || self.setup.is_stepped && self.interrupted_unseen(before, instruction, sample)
    }

    /// As above, by way of one more instruction that was not seen.
    fn follows_unseen(
        &mut self,
        before: &Before,
        instruction: Instruction,
        sample: &Sample<'_>,
    ) -> bool {
        let between = Before {
            pc: instruction.next,
            ..*before
        };
        let follows = match self.setup.code.at(between.pc) {
            Some(second) => self.follows(&between, second, sample),
            None => false,
        };
        self.assumed.unseen += u64::from(follows);
        follows
    }

    /// Starts a core: its chain is assumed true.
    fn start(&mut self, sample: &Sample<'_>) {
        self.assume(sample);
        self.assumed.starts += 1;
    }

    /// Forgets all stacks and cores, as instructions that were not seen may have changed
    /// them, and starts a core.
    fn restart(&mut self, sample: &Sample<'_>) {
        self.shadow.forget();
        self.before.fill(None);
        self.start(sample);
    }

    /// Assumes that the reported chain is true.
    fn assume(&mut self, sample: &Sample<'_>) {
        let is_cut = self.repaired.end != ChainEnd::Complete;
        self.shadow.assume(sample.sp, &self.reported, is_cut);
        self.assumed.links += self.reported.len() as u64;
    }

    /// The stack pointer was moved, by other than a call or a return.
    fn moved(&mut self, before: &Before, instruction: Instruction, sample: &Sample<'_>) {
        let mut is_known = self.shadow.knows(sample.sp);
        if instruction.loads_stack_pointer {
            is_known &= self.shadow.switched(before.sp, sample.sp);
        } else {
            self.shadow.moved(before.sp, sample.sp);
        }
        if !is_known {
            self.assume(sample);
            self.assumed.stacks += 1;
        }
    }

    /// A return at `sp` has led to `pc`. Returns true if the rest of the stack is known.
    fn returned(&mut self, sp: StackAddress, pc: CodeAddress) -> bool {
        self.executed.returns += 1;
        match self.shadow.return_at(sp) {
            Returned::Seen => true,
            Returned::Assumed(link) => {
                self.is_contradicted |= link != Link::Return(pc);
                true
            }
            Returned::Cut => false,
        }
    }

    /// The instruction was followed by the entry of an interrupt.
    fn interrupted(
        &mut self,
        before: &Before,
        instruction: Instruction,
        sample: &Sample<'_>,
    ) -> bool {
        let Some((entry, words)) = self.setup.callers.entry(sample.pc) else {
            return false;
        };
        let pc = CodeAddress(sample.stack_top[words]);
        if sample.pc == entry {
            if instruction.flow == Flow::Jump(Some(entry)) {
                // From another entry: the interrupt is known.
                return false;
            }
        } else {
            // It came before the instruction, and the entry's first one was executed in
            // place of that.
            let first = self.setup.code.at(entry);
            if pc != before.pc || first.is_none_or(|first| first.next != sample.pc) {
                return false;
            }
        }
        let Some(sp) = self.interrupted_at(before, instruction, pc) else {
            return false;
        };
        let Some(vector) = self.setup.code.vector(entry, self.setup.callers) else {
            return false;
        };
        let pushed = StackAddress(sample.sp.0.wrapping_add(8 * words as u64));
        self.shadow
            .interrupt(pushed, Link::Interrupted { vector, pc }, sp);
        self.executed.interrupts += 1;
        true
    }

    /// If the code can have been interrupted at `pc`: executes the instruction up to there,
    /// and returns the stack pointer.
    fn interrupted_at(
        &mut self,
        before: &Before,
        instruction: Instruction,
        pc: CodeAddress,
    ) -> Option<StackAddress> {
        if pc == before.pc {
            // Before the instruction, in the midst of it, or by it.
            return Some(before.sp);
        }
        if !leads_to(instruction, before, pc) {
            return None;
        }
        let sp = before.sp;
        match instruction.flow {
            Flow::Call(_) => {
                let pushed = StackAddress(sp.0.wrapping_sub(8));
                self.shadow.call(pushed, instruction.next);
                self.executed.calls += 1;
                Some(pushed)
            }
            Flow::Return(bytes) => {
                self.returned(sp, pc);
                Some(StackAddress(sp.0.wrapping_add(bytes)))
            }
            Flow::InterruptReturn => match self.shadow.interrupted_at(sp)? {
                (to, back) if to == pc => {
                    self.shadow.interrupt_return_at(sp);
                    Some(back.unwrap_or(sp))
                }
                _ => None,
            },
            // Wherever within the same function's frame: no entry of the shadow lies
            // between.
            _ => Some(sp),
        }
    }

    /// The instruction was executed, and the next one is where it led.
    fn executed(&mut self, before: &Before, instruction: Instruction, sample: &Sample<'_>) -> bool {
        if !leads_to(instruction, before, sample.pc) {
            return false;
        }
        match instruction.flow {
            Flow::Call(_) => {
                let pushed = StackAddress(before.sp.0.wrapping_sub(8));
                if sample.sp != pushed || sample.stack_top[0] != instruction.next.0 {
                    return false;
                }
                self.shadow.call(pushed, instruction.next);
                self.executed.calls += 1;
            }
            Flow::Return(bytes) => {
                if sample.sp.0 != before.sp.0.wrapping_add(bytes) {
                    return false;
                }
                if !self.returned(before.sp, sample.pc) {
                    self.assume(sample);
                }
            }
            Flow::InterruptReturn => match self.shadow.interrupted_at(before.sp) {
                Some((pc, _)) if pc != sample.pc => return false,
                Some((_, back)) => {
                    self.shadow.interrupt_return_at(before.sp);
                    if back.is_none() {
                        self.shadow.carry_over(before.sp, sample.sp);
                    }
                }
                None => self.shadow.begun(sample.sp),
            },
            Flow::Trap => return false,
            Flow::Repeat if sample.pc == before.pc => self.executed.repeated += 1,
            _ if sample.sp != before.sp => self.moved(before, instruction, sample),
            _ => {}
        }
        true
    }

    /// The instruction was followed by an interrupt, and the next one that is seen is
    /// in its handler: where the trap flag was set again.
    fn interrupted_unseen(
        &mut self,
        before: &Before,
        instruction: Instruction,
        sample: &Sample<'_>,
    ) -> bool {
        for index in 0..self.reported.len() {
            let Link::Interrupted { pc, .. } = self.reported[index] else {
                continue;
            };
            let Some(sp) = self.interrupted_at(before, instruction, pc) else {
                continue;
            };
            self.shadow.settle(sp);
            let links = &self.reported[..=index];
            self.shadow.interrupt_unseen(sample.sp, links, sp);
            self.assumed.entries += 1;
            self.executed.interrupts += 1;
            return true;
        }
        false
    }
}

/// Returns true if executing the instruction can lead to `pc`.
fn leads_to(instruction: Instruction, before: &Before, pc: CodeAddress) -> bool {
    match instruction.flow {
        Flow::Next | Flow::Trap => pc == instruction.next,
        Flow::Repeat => pc == instruction.next || pc == before.pc,
        Flow::Branch(target) => pc == instruction.next || pc == target,
        Flow::Jump(target) | Flow::Call(target) => target.is_none_or(|target| pc == target),
        Flow::Return(_) => pc.0 == before.stack_top[0],
        // The shadow has the address.
        Flow::InterruptReturn => true,
    }
}
