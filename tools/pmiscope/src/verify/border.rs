//! The border between the kernel and the user's programs, as instructions cross it.
//!
//! | from | to | by |
//! |---|---|---|
//! | user mode | the border | SYSCALL, to its entry |
//! | the border | the kernel | the entry has pushed what an interrupt would have pushed |
//! | user mode | the kernel | an interrupt or exception |
//! | the kernel | the border | the exit by SYSRET has taken the program's instruction into a register |
//! | the border | user mode | SYSRET |
//! | the kernel | user mode | IRETQ |
//!
//! What the kernel sends elsewhere than where it came from, it lets leave user mode and begin anew: with what
//! an interrupt would have pushed there, on the same stack of its own. If that has the last thread of that
//! stack as its caller, it is an upcall, and if it is where one has come from, the end of that: what is
//! known of the thread stays true. Anything else is another thread, as behind `exec`.
//!
//! Which thread that is says what was pushed on the kernel's stack: see [`super::shadow`].

use profiler::address::{CodeAddress, UserAddress};
use profiler::format::{Sample, State};
use serde::Serialize;

use super::code::{Flow, Instruction};
use super::place::{Mode, Place, Stack, Thread};
use super::replay::{Before, Replay, leads_to};
use crate::chain::Link;
use crate::symbols::callframe::Caller;

/// What programs did in user mode, as far as it crosses the border.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize)]
pub struct UserMode {
    /// Instructions of theirs that are samples.
    pub instructions: u64,
    /// Calls of the kernel by SYSCALL.
    pub system_calls: u64,
    /// Interrupts and exceptions that were taken there.
    pub interrupts: u64,
    /// Returns to there by SYSRET.
    pub system_returns: u64,
    /// By IRETQ.
    pub interrupt_returns: u64,
    /// Upcalls: what the kernel has interrupted the program for, as by a call.
    pub upcalls: u64,
    /// Those that have gone back to what they were called from.
    pub upcall_returns: u64,
}

/// In which code a sample is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Side {
    Kernel,
    User,
    /// See [`Mode::Border`].
    Border,
}

impl Replay<'_> {
    pub(super) fn side_of(&self, sample: &Sample<'_>) -> Side {
        if sample.state.has(State::RING) {
            Side::User
        } else if self.setup.callers.of(sample.pc) == Caller::InRcx {
            Side::Border
        } else {
            Side::Kernel
        }
    }

    /// Takes a core up of which nothing is known. Returns where it is.
    pub(super) fn take_up(&mut self, sample: &Sample<'_>) -> Mode {
        let side = self.side_of(sample);
        if side == Side::Kernel {
            let stack = self.shadow.kernel(sample.sp).stack;
            self.assume(stack, 0);
            return Mode::Kernel;
        }
        let thread = self.new_thread();
        let border = match self.reported.first() {
            Some(&link @ Link::Border { .. }) if side == Side::Border => Some(link),
            _ => None,
        };
        self.assume(Stack::User(thread), border.iter().len());
        border.map_or(Mode::User(thread), |link| Mode::Border(thread, link))
    }

    fn new_thread(&mut self) -> Thread {
        self.assumed.threads += 1;
        self.shadow.new_thread()
    }

    /// Executes an instruction that leads to the other side of the border, or is at it. Returns
    /// where the core is then; `None` if it cannot have led to the sample.
    pub(super) fn crosses(
        &mut self,
        before: &Before,
        instruction: Instruction,
        sample: &Sample<'_>,
        side: Side,
    ) -> Option<Mode> {
        match (before.mode, side) {
            (Mode::User(thread), Side::Border) => {
                self.system_call(before, instruction, sample, thread)
            }
            (Mode::User(thread), _) => {
                let from = Place {
                    stack: Stack::User(thread),
                    sp: before.sp,
                };
                self.interrupted_in_user_mode(before, from, instruction, sample)
                    .or_else(|| match self.setup.is_stepped {
                        true => self.entered_unseen(before, from, instruction, sample),
                        false => None,
                    })
            }
            (Mode::Border(..), Side::Border) => {
                leads_to(instruction, before, sample.pc).then_some(before.mode)
            }
            (Mode::Border(thread, Link::Border { pc, .. }), Side::Kernel)
                if instruction.flow == Flow::SystemReturn =>
            {
                let mode = self.interrupted_on_return((thread, pc), sample)?;
                self.executed.user.system_returns += 1;
                Some(mode)
            }
            (Mode::Border(thread, link), Side::Kernel) => {
                let pushed = self.pushed_at(sample.pc, self.shadow.kernel(sample.sp))?;
                if !leads_to(instruction, before, sample.pc) {
                    return None;
                }
                let user = Place::somewhere(Stack::User(thread));
                self.shadow.interrupt(pushed, link, user);
                Some(Mode::Kernel)
            }
            (Mode::Border(thread, link), Side::User) => {
                let is_return = instruction.flow == Flow::SystemReturn;
                let to = matches!(link, Link::Border { pc, .. } if pc == sample.pc);
                self.executed.user.system_returns += u64::from(is_return && to);
                (is_return && to).then_some(Mode::User(thread))
            }
            (Mode::Kernel, _) => self.leaves(before, instruction, sample, side),
        }
    }

    /// Where the code at `pc`, with this stack pointer, has what an interrupt pushed.
    fn pushed_at(&self, pc: CodeAddress, at: Place) -> Option<Place> {
        match self.setup.callers.of(pc) {
            Caller::Pushed(words) => Some(at.above(8 * words)),
            _ => None,
        }
    }

    fn system_call(
        &mut self,
        before: &Before,
        instruction: Instruction,
        sample: &Sample<'_>,
        thread: Thread,
    ) -> Option<Mode> {
        let is_entry = self.setup.callers.is_system_call_entry(sample.pc);
        if instruction.flow != Flow::SystemCall || !is_entry || sample.sp != before.sp {
            return None;
        }
        self.executed.user.system_calls += 1;
        let link = Link::Border {
            vector: None,
            pc: instruction.next,
        };
        Some(Mode::Border(thread, link))
    }

    /// The program's instruction, at `from`, was followed by the entry of an interrupt.
    fn interrupted_in_user_mode(
        &mut self,
        before: &Before,
        from: Place,
        instruction: Instruction,
        sample: &Sample<'_>,
    ) -> Option<Mode> {
        let (entry, words) = self.setup.callers.entered(sample.pc)?;
        let pc = if sample.pc == entry {
            let program = UserAddress::of(before.pc)?.program;
            let top = usize::try_from(words).ok();
            match (
                top.and_then(|it| sample.stack_top.get(it)),
                self.reported.first(),
            ) {
                // A record that has no words outside the kernel's text: the chain has it.
                (None | Some(0), Some(&Link::Border { pc, .. })) => pc,
                (None | Some(0), _) => return None,
                (Some(&address), _) => UserAddress { program, address }.code(),
            }
        } else if self.is_second(sample.pc, entry) {
            before.pc
        } else {
            return None;
        };
        let vector = self.setup.code.vector(entry, self.setup.callers)?;
        let interrupted = self.interrupted_at(before, from, instruction, pc)?;
        let pushed = self.shadow.kernel(sample.sp).above(8 * words);
        let vector = Some(vector);
        let link = Link::Border { vector, pc };
        self.shadow.interrupt(pushed, link, interrupted);
        self.executed.user.interrupts += 1;
        Some(Mode::Kernel)
    }

    /// The program's thread was about to go on at `pc`, and was interrupted before its first instruction:
    /// the return let the interrupt in.
    fn interrupted_on_return(
        &mut self,
        (thread, pc): (Thread, CodeAddress),
        sample: &Sample<'_>,
    ) -> Option<Mode> {
        let (entry, words) = self.setup.callers.entered(sample.pc)?;
        if sample.pc != entry && !self.is_second(sample.pc, entry) {
            return None;
        }
        let address = UserAddress::of(pc)?.address;
        let top = usize::try_from(words).ok();
        match top.and_then(|it| sample.stack_top.get(it)) {
            // A record may have no words outside the kernel's text.
            None | Some(0) => {}
            Some(&pushed) if pushed == address => {}
            Some(_) => return None,
        }
        let vector = self.setup.code.vector(entry, self.setup.callers)?;
        let pushed = self.shadow.kernel(sample.sp).above(8 * words);
        let vector = Some(vector);
        let user = Place::somewhere(Stack::User(thread));
        self.shadow
            .interrupt(pushed, Link::Border { vector, pc }, user);
        self.executed.user.interrupts += 1;
        Some(Mode::Kernel)
    }

    /// The kernel's IRETQ, at `from`, led to user mode, and an interrupt from there back at once.
    pub(super) fn returned_and_interrupted(
        &mut self,
        from: Place,
        instruction: Instruction,
        sample: &Sample<'_>,
    ) -> bool {
        if instruction.flow != Flow::InterruptReturn {
            return false;
        }
        let Some((pc, Some(interrupted))) = self.shadow.interrupted_at(from) else {
            return false;
        };
        let Stack::User(thread) = interrupted.stack else {
            return false;
        };
        let is_seen = self.interrupted_on_return((thread, pc), sample).is_some();
        self.executed.user.interrupt_returns += u64::from(is_seen);
        is_seen
    }

    /// The same where the entry was not seen, nor that of a system call: where the trap flag was
    /// set again.
    fn entered_unseen(
        &mut self,
        before: &Before,
        from: Place,
        instruction: Instruction,
        sample: &Sample<'_>,
    ) -> Option<Mode> {
        let is_border = |link: &Link| matches!(link, Link::Border { .. });
        let index = self.reported.iter().position(is_border)?;
        let Link::Border { vector, pc } = self.reported[index] else {
            return None;
        };
        let is_call = vector.is_none();
        let interrupted = if is_call != (instruction.flow == Flow::SystemCall) {
            None
        } else if is_call {
            (pc == instruction.next).then_some(from)
        } else {
            self.interrupted_at(before, from, instruction, pc)
        }?;
        self.shadow.settle(interrupted);
        let links = &self.reported[..=index];
        let at = self.shadow.kernel(sample.sp);
        self.shadow.interrupt_unseen(at, links, interrupted);
        self.assumed.entries += 1;
        self.executed.user.system_calls += u64::from(is_call);
        self.executed.user.interrupts += u64::from(!is_call);
        Some(Mode::Kernel)
    }

    /// The kernel's instruction leads to user mode, or has taken the program's registers up.
    fn leaves(
        &mut self,
        before: &Before,
        instruction: Instruction,
        sample: &Sample<'_>,
        side: Side,
    ) -> Option<Mode> {
        let from = self.shadow.kernel(before.sp);
        let pushed = match instruction.flow {
            Flow::InterruptReturn if side == Side::User => from,
            Flow::Next if side == Side::Border && instruction.next == sample.pc => {
                self.pushed_at(before.pc, from)?
            }
            _ => return None,
        };
        let (pc, interrupted) = self.shadow.interrupted_at(pushed)?;
        let Stack::User(thread) = interrupted?.stack else {
            return None;
        };
        if side == Side::User && pc != sample.pc {
            return None;
        }
        self.shadow.interrupt_return_at(pushed);
        if side == Side::User {
            self.executed.user.interrupt_returns += 1;
            return Some(Mode::User(thread));
        }
        let vector = None;
        Some(Mode::Border(thread, Link::Border { vector, pc }))
    }

    /// Looks whether the kernel, which is at `at` about to execute `pc`, has made what an interrupt
    /// from user mode would have pushed. So begins a thread, whose chain is assumed true, or an upcall,
    /// or that ends.
    pub(super) fn begin_thread(&mut self, at: Place, pc: CodeAddress) {
        let Some(&link @ Link::Border { pc: to, .. }) = self.reported.first() else {
            return;
        };
        let Some(pushed) = self.pushed_at(pc, at) else {
            return;
        };
        if self.shadow.interrupted_at(pushed).is_some() {
            return;
        }
        let known = self.sent_elsewhere(at.stack, to);
        let stack = Stack::User(known.unwrap_or_else(|| self.new_thread()));
        self.shadow.interrupt(pushed, link, Place::somewhere(stack));
        if known.is_none() {
            self.assume(stack, 1);
        }
    }

    /// The thread that goes on at `to`, if it is one that came to this stack of the kernel's last: called
    /// from where it was, or back there.
    fn sent_elsewhere(&mut self, kernel: Stack, to: CodeAddress) -> Option<Thread> {
        let (thread, from) = self.shadow.came_to(kernel)?;
        if let Some(back) = self.shadow.end_upcall(thread, to) {
            self.executed.user.upcall_returns += 1;
            return Some(back);
        }
        if self.reported.get(1) != Some(&Link::UserReturn(from)) {
            return None;
        }
        self.executed.user.upcalls += 1;
        Some(self.shadow.upcall(thread, from))
    }
}
