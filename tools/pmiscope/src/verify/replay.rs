//! Replays cores: from each instruction that was about to execute to the next one of
//! the same core, all cores in the order of time, as a task can go from one core to
//! another.

use profiler::address::{CodeAddress, CodeRange, StackAddress, UserAddress};
use profiler::format::{ChainEnd, Sample};

use super::border::{Side, UserMode};
use super::code::{Code, Flow, Instruction};
use super::difference::{Kind, Verdict};
use super::place::{Mode, Place, Stack};
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
    /// Threads of programs that were seen in user mode, or on the way there, for the first time.
    pub threads: u64,
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
    /// What the user's programs did.
    pub user: UserMode,
}

/// A core's record before.
#[derive(Clone, Copy)]
pub(super) struct Before {
    sequence: u32,
    pub(super) pc: CodeAddress,
    pub(super) sp: StackAddress,
    pub(super) mode: Mode,
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

/// Whose code says where stacks have their roots.
pub(super) struct Roots {
    kernel: bool,
    programs: Vec<u16>,
}

impl Roots {
    fn of(callers: &Callers) -> Self {
        Self {
            kernel: callers.has_roots(),
            programs: callers.programs_with_roots(),
        }
    }

    /// Returns true if the code at `pc`, the kernel's or a program's, says so.
    pub(super) fn are_known_at(&self, pc: CodeAddress) -> bool {
        match UserAddress::of_program(pc) {
            Some(user) => self.programs.contains(&user.program),
            None => self.kernel,
        }
    }
}

/// The cores, as they are replayed.
pub(super) struct Replay<'a> {
    pub(super) setup: Setup<'a>,
    pub(super) roots: Roots,
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
        let roots = Roots::of(setup.callers);
        Self {
            setup,
            roots,
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

    /// Replays the next record of `core`, and compares its chain with the true one. Returns also
    /// where the core is.
    pub(super) fn step(&mut self, core: usize, sample: &Sample<'_>) -> (Verdict, Mode) {
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
        let (mode, is_successor) = self.advance(before, sample);
        self.executed.user.instructions += u64::from(matches!(mode, Mode::User(_)));
        let verdict = match is_successor {
            true if self.is_contradicted => Verdict::Different(Kind::AssumedWrong),
            true => self.compare(sample, mode),
            false => Verdict::Different(Kind::NotASuccessor),
        };
        self.before[core] = Some(Before {
            sequence: sample.sequence,
            pc: sample.pc,
            sp: sample.sp,
            mode,
            stack_top: sample.stack_top,
        });
        (verdict, mode)
    }

    /// Applies the instruction before to the shadow. Returns where the core is, and true if the
    /// instruction can have led here.
    fn advance(&mut self, before: Option<Before>, sample: &Sample<'_>) -> (Mode, bool) {
        let Some(before) = before else {
            return (self.start(sample), true);
        };
        let missing = sample
            .sequence
            .wrapping_sub(before.sequence)
            .wrapping_sub(1);
        if missing != 0 {
            self.assumed.lost += u64::from(missing);
            return (self.restart(sample), true);
        }
        if sample.period == 0 && !self.setup.is_stepped && before.is_at(sample) {
            // The interrupts of another core: nothing was executed.
            return (before.mode, true);
        }
        let instruction = self.setup.code.at(before.pc);
        let followed = instruction.and_then(|instruction| {
            let skips = self.setup.is_stepped && instruction.holds_traps_off;
            let seen = self.follows(&before, instruction, sample);
            match seen {
                None if skips => self.follows_unseen(&before, instruction, sample),
                seen => seen,
            }
        });
        let Some(mode) = followed else {
            return (self.restart(sample), false);
        };
        if let Some(place) = self.place(mode, sample.sp) {
            self.shadow.settle(place);
        }
        (mode, true)
    }

    /// The place of a stack pointer, unless it may be of either stack.
    pub(super) fn place(&self, mode: Mode, sp: StackAddress) -> Option<Place> {
        match mode {
            Mode::Kernel => Some(self.shadow.kernel(sp)),
            Mode::User(thread) => Some(Place {
                stack: Stack::User(thread),
                sp,
            }),
            Mode::Border(..) => None,
        }
    }

    /// Executes the instruction if it can have led to the sample; returns where the core is then.
    fn follows(
        &mut self,
        before: &Before,
        instruction: Instruction,
        sample: &Sample<'_>,
    ) -> Option<Mode> {
        let mode = match (before.mode, self.side_of(sample)) {
            (Mode::Kernel, Side::Kernel) | (Mode::User(_), Side::User) => before.mode,
            (_, side) => return self.crosses(before, instruction, sample, side),
        };
        let from = self.place(mode, before.sp)?;
        let to = self.place(mode, sample.sp)?;
        let is_kernel = mode == Mode::Kernel;
        let follows = is_kernel
            && (self.interrupted(before, from, instruction, sample)
                || self.returned_and_interrupted(from, instruction, sample))
            || self.executed(before, (from, to), instruction, sample)
            || self.setup.is_stepped && self.interrupted_unseen(before, from, instruction, sample);
        follows.then_some(mode)
    }

    /// As above, by way of one more instruction that was not seen.
    fn follows_unseen(
        &mut self,
        before: &Before,
        instruction: Instruction,
        sample: &Sample<'_>,
    ) -> Option<Mode> {
        let between = Before {
            pc: instruction.next,
            ..*before
        };
        let second = self.setup.code.at(between.pc)?;
        let mode = self.follows(&between, second, sample)?;
        self.assumed.unseen += 1;
        Some(mode)
    }

    /// Starts a core: its chain is assumed true. Returns where it is.
    fn start(&mut self, sample: &Sample<'_>) -> Mode {
        self.assumed.starts += 1;
        self.take_up(sample)
    }

    /// Forgets all stacks and cores, as instructions that were not seen may have changed
    /// them, and starts a core.
    fn restart(&mut self, sample: &Sample<'_>) -> Mode {
        self.shadow.forget();
        self.before.fill(None);
        self.start(sample)
    }

    /// Assumes that the reported chain is true, but for the innermost `known` links, of code on this
    /// stack.
    pub(super) fn assume(&mut self, stack: Stack, known: usize) {
        let is_cut = self.repaired.end != ChainEnd::Complete;
        let links = &self.reported[known..];
        self.shadow.assume(stack, links, is_cut);
        self.assumed.links += links.len() as u64;
    }

    /// The stack pointer was moved, by other than a call or a return.
    fn moved(&mut self, from: Place, to: Place, loads_stack_pointer: bool) {
        let mut is_known = self.shadow.knows(to.stack);
        if loads_stack_pointer {
            is_known &= self.shadow.switched(from, to);
        } else {
            self.shadow.moved(from, to);
        }
        if !is_known {
            self.assume(to.stack, 0);
            self.assumed.stacks += 1;
        }
    }

    /// A return at `at` has led to `pc`. Returns true if the rest of the stack is known.
    fn returned(&mut self, at: Place, pc: CodeAddress) -> bool {
        self.executed.returns += 1;
        match self.shadow.return_at(at) {
            Returned::Seen => true,
            Returned::Assumed(link) => {
                self.is_contradicted |= link != at.stack.return_to(pc);
                true
            }
            Returned::Cut => false,
        }
    }

    /// The instruction, at `from`, was followed by the entry of an interrupt of the kernel.
    fn interrupted(
        &mut self,
        before: &Before,
        from: Place,
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
        } else if !self.is_second(sample.pc, entry) || pc != before.pc {
            return false;
        }
        let Some(interrupted) = self.interrupted_at(before, from, instruction, pc) else {
            return false;
        };
        let Some(vector) = self.setup.code.vector(entry, self.setup.callers) else {
            return false;
        };
        let pushed = self.shadow.kernel(sample.sp).above(8 * words as u64);
        self.shadow
            .interrupt(pushed, Link::Interrupted { vector, pc }, interrupted);
        self.executed.interrupts += 1;
        true
    }

    /// Returns true if the instruction at `pc` is the second one of the entry: the interrupt came
    /// before an instruction, in place of which the first one was executed.
    pub(super) fn is_second(&mut self, pc: CodeAddress, entry: CodeAddress) -> bool {
        let first = self.setup.code.at(entry);
        first.is_some_and(|first| first.next == pc)
    }

    /// If the code can have been interrupted at `pc`: executes the instruction, at `from`, up to
    /// there, and returns the stack pointer.
    pub(super) fn interrupted_at(
        &mut self,
        before: &Before,
        from: Place,
        instruction: Instruction,
        pc: CodeAddress,
    ) -> Option<Place> {
        if pc == before.pc {
            // Before the instruction, in the midst of it, or by it.
            return Some(from);
        }
        if !leads_to(instruction, before, pc) {
            return None;
        }
        match instruction.flow {
            Flow::Call(_) => {
                let pushed = from.below(8);
                self.shadow.call(pushed, instruction.next);
                self.executed.calls += 1;
                Some(pushed)
            }
            Flow::Return(bytes) => {
                self.returned(from, pc);
                Some(from.above(bytes))
            }
            Flow::InterruptReturn => match self.shadow.interrupted_at(from)? {
                (to, back) if to == pc => {
                    self.shadow.interrupt_return_at(from);
                    Some(back.unwrap_or(from))
                }
                _ => None,
            },
            // Wherever within the same function's frame: no entry of the shadow lies
            // between.
            _ => Some(from),
        }
    }

    /// The instruction was executed, and the next one is where it led.
    fn executed(
        &mut self,
        before: &Before,
        (from, to): (Place, Place),
        instruction: Instruction,
        sample: &Sample<'_>,
    ) -> bool {
        if !leads_to(instruction, before, sample.pc) {
            return false;
        }
        match instruction.flow {
            Flow::Call(_) => {
                let pushed = from.below(8);
                if to != pushed || sample.stack_top[0] != instruction.next.0 {
                    return false;
                }
                self.shadow.call(pushed, instruction.next);
                self.executed.calls += 1;
            }
            Flow::Return(bytes) => {
                if to.sp != from.above(bytes).sp {
                    return false;
                }
                if !self.returned(from, sample.pc) {
                    self.assume(to.stack, 0);
                }
            }
            Flow::InterruptReturn if matches!(from.stack, Stack::User(_)) => {
                self.moved(from, to, true);
            }
            Flow::InterruptReturn => match self.shadow.interrupted_at(from) {
                Some((pc, _)) if pc != sample.pc => return false,
                Some((_, back)) => {
                    self.shadow.interrupt_return_at(from);
                    if back.is_none() {
                        self.shadow.carry_over(from, to);
                    }
                }
                None => self.shadow.begun(to),
            },
            Flow::Trap | Flow::SystemCall | Flow::SystemReturn => return false,
            Flow::Repeat if sample.pc == before.pc => self.executed.repeated += 1,
            _ if to != from => self.moved(from, to, instruction.loads_stack_pointer),
            _ => {}
        }
        self.begin_thread(to, sample.pc);
        true
    }

    /// The instruction was followed by an interrupt, and the next one that is seen is
    /// in its handler: where the trap flag was set again.
    fn interrupted_unseen(
        &mut self,
        before: &Before,
        from: Place,
        instruction: Instruction,
        sample: &Sample<'_>,
    ) -> bool {
        for index in 0..self.reported.len() {
            let Link::Interrupted { pc, .. } = self.reported[index] else {
                continue;
            };
            let Some(interrupted) = self.interrupted_at(before, from, instruction, pc) else {
                continue;
            };
            self.shadow.settle(interrupted);
            let links = &self.reported[..=index];
            let at = self.shadow.kernel(sample.sp);
            self.shadow.interrupt_unseen(at, links, interrupted);
            self.assumed.entries += 1;
            self.executed.interrupts += 1;
            return true;
        }
        false
    }
}

/// Returns true if executing the instruction can lead to `pc`.
pub(super) fn leads_to(instruction: Instruction, before: &Before, pc: CodeAddress) -> bool {
    match instruction.flow {
        Flow::Next | Flow::Trap => pc == instruction.next,
        Flow::Repeat => pc == instruction.next || pc == before.pc,
        Flow::Branch(target) => pc == instruction.next || pc == target,
        Flow::Jump(target) | Flow::Call(target) => target.is_none_or(|target| pc == target),
        Flow::Return(_) => pc.0 == before.stack_top[0],
        // The shadow has the address.
        Flow::InterruptReturn | Flow::SystemCall | Flow::SystemReturn => true,
    }
}
