//! Replays a core: from each instruction that was about to execute to the next.

use std::ops::AddAssign;

use profiler::address::{CodeAddress, CodeRange, StackAddress};
use profiler::format::{ChainEnd, Sample};

use super::code::{Code, Flow, Instruction};
use super::difference::{Difference, Kind, Verdict};
use super::shadow::{Bottom, Shadow};
use crate::chain::{Link, Repair};
use crate::symbols::callframe::Callers;

/// Words of a record's chain for a link.
const RETURN_WORDS: usize = 1;
const CROSSING_WORDS: usize = 4;

/// What was not seen, and therefore taken from the chains that are to be verified.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Assumed {
    /// Times that a core was taken up anew: at its first instruction, behind lost
    /// ones, and behind a step that no instruction can make.
    pub starts: u64,
    /// Links that were taken for true then.
    pub links: u64,
    /// Instructions that are not in the profile, as far as the sequence numbers say.
    pub lost: u64,
    /// Interrupts whose way into the kernel was not seen: where instructions are
    /// stepped by the trap flag.
    pub entries: u64,
    /// Instructions that were not seen, because the one before holds traps off:
    /// likewise.
    pub unseen: u64,
    /// First callers of a stack that nobody has called: the root that a new stack
    /// returns to.
    pub roots: u64,
}

impl AddAssign for Assumed {
    fn add_assign(&mut self, other: Self) {
        self.starts += other.starts;
        self.links += other.links;
        self.lost += other.lost;
        self.entries += other.entries;
        self.unseen += other.unseen;
        self.roots += other.roots;
    }
}

/// The record before.
#[derive(Clone, Copy)]
struct Before {
    sequence: u32,
    pc: CodeAddress,
    sp: StackAddress,
    stack_top: [u64; 2],
}

/// A core that is replayed.
pub(super) struct Replay<'a> {
    callers: &'a Callers,
    text: CodeRange,
    /// Whether entries of interrupts are not seen.
    is_stepped: bool,
    code: &'a mut Code,
    shadow: Shadow,
    before: Option<Before>,
    /// The instruction before that.
    came_from: Option<CodeAddress>,
    /// The chain of the record that was replayed last, repaired, and its end.
    reported: Vec<Link>,
    end: ChainEnd,
    pub(super) assumed: Assumed,
}

impl<'a> Replay<'a> {
    /// `is_stepped` says that the source is the trap flag; `stack_slot` is what the
    /// run says of its stacks.
    pub(super) fn new(
        callers: &'a Callers,
        code: &'a mut Code,
        text: CodeRange,
        stack_slot: u64,
        is_stepped: bool,
    ) -> Self {
        Self {
            callers,
            text,
            is_stepped,
            code,
            shadow: Shadow::new(stack_slot),
            before: None,
            came_from: None,
            reported: Vec::new(),
            end: ChainEnd::Complete,
            assumed: Assumed::default(),
        }
    }

    /// Goes on to the next record, and compares its chain with the true one.
    pub(super) fn step(&mut self, sample: &Sample<'_>) -> Verdict {
        let repair = Repair {
            callers: self.callers,
            text: self.text,
        };
        let mut reported = std::mem::take(&mut self.reported);
        self.end = repair.chain(sample, &mut reported).end;
        self.reported = reported;
        self.came_from = self.before.map(|before| before.pc);
        let verdict = match self.advance(sample) {
            true => self.compare(sample),
            false => Verdict::Different(Kind::NotASuccessor),
        };
        self.before = Some(Before {
            sequence: sample.sequence,
            pc: sample.pc,
            sp: sample.sp,
            stack_top: sample.stack_top,
        });
        verdict
    }

    /// Does to the shadow what the instruction before has done. Tells whether that
    /// can have led here.
    fn advance(&mut self, sample: &Sample<'_>) -> bool {
        let Some(before) = self.before else {
            self.start(sample);
            return true;
        };
        let missing = sample
            .sequence
            .wrapping_sub(before.sequence)
            .wrapping_sub(1);
        if missing != 0 {
            self.assumed.lost += u64::from(missing);
            self.start(sample);
            return true;
        }
        let is_successor = match self.code.at(before.pc) {
            Some(instruction) => {
                self.follows(&before, instruction, sample)
                    || self.is_stepped
                        && instruction.holds_traps_off
                        && self.follows_unseen(&before, instruction, sample)
            }
            None => false,
        };
        if is_successor {
            self.shadow.settle(sample.sp);
        } else {
            self.start(sample);
        }
        is_successor
    }

    /// Whether the instruction can have led to the sample; executes it then.
    fn follows(&mut self, before: &Before, instruction: Instruction, sample: &Sample<'_>) -> bool {
        self.interrupted(before, instruction, sample)
            || self.executed(before, instruction, sample)
            || self.is_stepped && self.interrupted_unseen(before, instruction, sample)
    }

    /// The same, by way of one more instruction that was not seen.
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
        let follows = match self.code.at(between.pc) {
            Some(second) => self.follows(&between, second, sample),
            None => false,
        };
        self.assumed.unseen += u64::from(follows);
        follows
    }

    /// Takes the reported chain for true.
    fn start(&mut self, sample: &Sample<'_>) {
        let is_cut = self.end == ChainEnd::DepthLimit;
        self.shadow.assume(sample.sp, &self.reported, is_cut);
        self.assumed.starts += 1;
        self.assumed.links += self.reported.len() as u64;
    }

    /// The instruction was followed by the entry of an interrupt.
    fn interrupted(
        &mut self,
        before: &Before,
        instruction: Instruction,
        sample: &Sample<'_>,
    ) -> bool {
        let Some((entry, words)) = self.callers.entry(sample.pc) else {
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
            let first = self.code.at(entry);
            if pc != before.pc || first.is_none_or(|first| first.next != sample.pc) {
                return false;
            }
        }
        let Some(sp) = self.interrupted_at(before, instruction, pc) else {
            return false;
        };
        let Some(vector) = self.code.vector(entry, self.callers) else {
            return false;
        };
        let pushed = StackAddress(sample.sp.0.wrapping_add(8 * words as u64));
        self.shadow
            .interrupt(pushed, Link::Interrupted { vector, pc }, sp);
        true
    }

    /// If the code can have been interrupted at `pc`: executes the instruction as
    /// far as it was, and gives the stack pointer.
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
                Some(pushed)
            }
            Flow::Return(bytes) => {
                self.shadow.return_at(sp);
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
            }
            Flow::Return(bytes) => {
                if sample.sp.0 != before.sp.0.wrapping_add(bytes) {
                    return false;
                }
                if !self.shadow.return_at(before.sp) {
                    self.start(sample);
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
            _ if sample.sp != before.sp => self.shadow.moved(before.sp, sample.sp),
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
            return true;
        }
        false
    }

    /// Compares the reported chain with the true one.
    fn compare(&mut self, sample: &Sample<'_>) -> Verdict {
        let end = self.end;
        if self.callers.is_root_at(sample.pc) {
            return match (self.reported.is_empty(), end) {
                (true, ChainEnd::Complete) => Verdict::Exact,
                (true, _) => Verdict::Different(Kind::End),
                (false, _) => Verdict::Different(Kind::Additional),
            };
        }
        let mut truth = self.shadow.chain(sample.sp);
        let mut at_root = false;
        for (index, &reported) in self.reported.iter().enumerate() {
            let expected = if at_root { None } else { truth.next() };
            match expected {
                Some(expected) if expected == reported => {
                    at_root = is_root(self.callers, expected);
                }
                Some(Link::Return(_)) => {
                    // Only a missing one leaves the chains the same further out.
                    let kind = match truth.next() == Some(reported) {
                        true => Kind::CallerMissing,
                        false => Kind::OtherLink,
                    };
                    return Verdict::Different(kind);
                }
                Some(Link::Interrupted { .. }) => {
                    let kind = match reported {
                        Link::Interrupted { .. } => Kind::OtherInterrupt,
                        Link::Return(_) => Kind::InterruptMissing,
                    };
                    return Verdict::Different(kind);
                }
                None if !at_root && truth.bottom == Bottom::Cut => {
                    return Verdict::Cut;
                }
                None => {
                    let is_last = index + 1 == self.reported.len();
                    let is_root = is_root(self.callers, reported);
                    if at_root || !is_last || !is_root || end != ChainEnd::Complete {
                        return Verdict::Different(Kind::Additional);
                    }
                    let sp = truth.sp;
                    self.shadow.add_outermost(sp, reported);
                    self.assumed.roots += 1;
                    return Verdict::Exact;
                }
            }
        }
        let next = if at_root { None } else { truth.next() };
        match (next, end) {
            (None, ChainEnd::Complete) if at_root => Verdict::Exact,
            (None, ChainEnd::DepthLimit) if !at_root && truth.bottom == Bottom::Cut => Verdict::Cut,
            (None, _) => Verdict::Different(Kind::End),
            (Some(link), ChainEnd::DepthLimit) if has_no_room(sample, link) => Verdict::Cut,
            (Some(_), ChainEnd::DepthLimit) => Verdict::Different(Kind::End),
            (Some(Link::Return(_)), _) => Verdict::Different(Kind::CallerMissing),
            (Some(Link::Interrupted { .. }), _) => Verdict::Different(Kind::InterruptMissing),
        }
    }

    /// How the chain of the record that was replayed last, `sample`, differs.
    pub(super) fn difference(&self, kind: Kind, sample: &Sample<'_>) -> Difference {
        // Somewhat more than was reported: a recursion may be thousands deep.
        const MORE: usize = 4;
        let most = self.reported.len() + MORE;
        let truth = self.shadow.chain(sample.sp).take(most);
        let root = self.callers.is_root_at(sample.pc);
        Difference {
            kind,
            sequence: sample.sequence,
            pc: sample.pc,
            before: self.came_from,
            expected: truth.take(if root { 0 } else { most }).collect(),
            reported: self.reported.clone(),
            end: self.end,
        }
    }
}

/// Whether a chain ends with this link.
fn is_root(callers: &Callers, link: Link) -> bool {
    match link {
        Link::Return(address) => callers.is_root(address),
        Link::Interrupted { pc, .. } => callers.is_root_at(pc),
    }
}

/// Whether the record has no room for one more link.
fn has_no_room(sample: &Sample<'_>, link: Link) -> bool {
    let words = match link {
        Link::Return(_) => RETURN_WORDS,
        Link::Interrupted { .. } => CROSSING_WORDS,
    };
    sample.chain_words.len() + words > profiler::format::sample::MAX_CHAIN
}

/// Whether executing the instruction can lead to `pc`.
fn leads_to(instruction: Instruction, before: &Before, pc: CodeAddress) -> bool {
    match instruction.flow {
        Flow::Next | Flow::Trap => pc == instruction.next,
        Flow::Repeat => pc == instruction.next || pc == before.pc,
        Flow::Branch(target) => pc == instruction.next || pc == target,
        Flow::Jump(target) | Flow::Call(target) => target.is_none_or(|target| pc == target),
        Flow::Return(_) => pc.0 == before.stack_top[0],
        // The shadow knows.
        Flow::InterruptReturn => true,
    }
}
