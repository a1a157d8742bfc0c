//! The true stacks of calls: a *shadow* of each stack, kept by what instructions do
//! that run on it, on whichever core.
//!
//! A shadow has an entry for each call that has not returned and each interrupt
//! that has not ended, by the address of the word that was pushed. Whatever the
//! stack pointer has passed is over: so returns need no look at what they
//! return from, and neither do stacks that are thrown away. The shadows of other
//! stacks than the one that the stack pointer is on stand still, until it is back
//! on them, or an interrupt is crossed to them.
//!
//! Stacks are told apart by their slots. Where several have one slot, as with a kernel that
//! cuts them off one piece of memory, they are by the instruction that goes from one to another:
//! it takes the stack pointer from elsewhere. Then the slot's shadow is that of the stack in
//! use, and those of the others are kept by where their pointers were left.
//!
//! The stack of a program in user mode is its thread's, wherever that has it: different programs
//! have the same addresses. Where the kernel was entered from a thread the kernel's shadow has an
//! entry that leads to the thread's, so that follows the kernel's stack to any core.
//!
//! What was called before the first instruction that was seen on a stack is
//! *assumed*: an entry without an address, over when a return finds no other entry.

use std::collections::HashMap;

use profiler::address::{CodeAddress, StackAddress};

use super::place::{Place, Stack, Thread};
use crate::chain::Link;

/// An empty stack's pointer is no further from the end of its slot than this.
const EMPTY_WITHIN: u64 = 16;
/// Nor that of a stack on which nothing ran yet: a switch pops registers off it.
const NEW_WITHIN: u64 = 256;

/// What has not ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Entry {
    /// Where the return address, or what the interrupt pushed, lies; `None` if it
    /// was assumed.
    address: Option<StackAddress>,
    what: What,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum What {
    Link(Link),
    /// A link to code whose stack pointer is known: the shadow goes on there.
    Across(Link, Place),
    /// There is more, which is not known.
    Cut,
}

/// What a return has ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Returned {
    /// A call that was seen, or none at all.
    Seen,
    /// One that was assumed.
    Assumed(Link),
    /// Something that is not known.
    Cut,
}

/// Where a true chain ends.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Bottom {
    /// No entry is left.
    Empty,
    /// The rest is not known.
    Cut,
}

/// How many entries of a stack are left when its pointer is `sp`. Assumed ones,
/// which have no address, are over with one below them.
fn left(stack: &[Entry], sp: StackAddress) -> usize {
    let mut left = stack.len();
    for (index, entry) in stack.iter().enumerate().rev() {
        match entry.address {
            Some(address) if address < sp => left = index,
            Some(_) => break,
            None => {}
        }
    }
    left
}

/// The shadows of all stacks.
#[derive(Debug)]
pub(super) struct Shadow {
    /// Bytes of address space of a stack, a power of two.
    slot: u64,
    /// Outermost first.
    stacks: HashMap<Stack, Vec<Entry>>,
    /// Where the stack pointer of a stack was when another one was switched to.
    left_at: HashMap<Stack, StackAddress>,
    /// The shadows of stacks in whose slots, or in whose threads, others are in use, by where
    /// their stack pointers were left.
    parked: HashMap<Place, Vec<Entry>>,
    /// The thread that came to a stack of the kernel's last, and where it was left.
    came: HashMap<Stack, (Thread, CodeAddress)>,
    /// By the thread that an upcall is taken for: the one that it has interrupted, and where.
    upcalls: HashMap<Thread, (Thread, CodeAddress)>,
    /// Threads that were seen.
    threads: u32,
}

impl Shadow {
    pub(super) fn new(slot: u64) -> Self {
        Self {
            slot,
            stacks: HashMap::new(),
            left_at: HashMap::new(),
            parked: HashMap::new(),
            came: HashMap::new(),
            upcalls: HashMap::new(),
            threads: 0,
        }
    }

    /// A stack pointer of the kernel's. That of an empty stack may be the end of its slot.
    pub(super) fn kernel(&self, sp: StackAddress) -> Place {
        let slot = sp.0.wrapping_sub(1) / self.slot;
        Place {
            stack: Stack::Kernel(slot),
            sp,
        }
    }

    /// A thread of which nothing was seen yet.
    pub(super) fn new_thread(&mut self) -> Thread {
        self.threads += 1;
        Thread(self.threads)
    }

    fn stack(&mut self, stack: Stack) -> &mut Vec<Entry> {
        self.stacks.entry(stack).or_default()
    }

    /// Drops what the stack pointer has passed.
    pub(super) fn settle(&mut self, at: Place) {
        let stack = self.stack(at.stack);
        stack.truncate(left(stack, at.sp));
    }

    /// Returns true if a stack of the kernel's ends within so many bytes.
    fn is_near_end(&self, at: Place, within: u64) -> bool {
        matches!(at.stack, Stack::Kernel(_)) && at.sp.0.wrapping_neg() % self.slot <= within
    }

    /// The stack pointer was moved, by other than a call, a return or an interrupt.
    ///
    /// At the top of a stack nothing is left on that, assumed or not. On another
    /// stack all is as it was when that was left; a stack that is not taken up
    /// there has begun anew.
    pub(super) fn moved(&mut self, from: Place, to: Place) {
        let mut is_new = self.is_near_end(to, EMPTY_WITHIN);
        if from.stack != to.stack {
            self.left_at.insert(from.stack, from.sp);
            let left_at = self.left_at.remove(&to.stack);
            is_new |= left_at.is_some_and(|left_at| left_at != to.sp);
        }
        if is_new {
            self.stack(to.stack).clear();
        }
    }

    /// The stack pointer was taken from elsewhere. Returns false if it is now on a stack that
    /// has its slot, or its thread, with others and was not left there before: nothing is known of
    /// it.
    pub(super) fn switched(&mut self, from: Place, to: Place) -> bool {
        if let Some(left) = self.left_above(from, to) {
            self.stack(to.stack).truncate(left);
            return true;
        }
        let left_at = if from.stack == to.stack {
            Some(from.sp)
        } else {
            self.left_at.get(&to.stack).copied()
        };
        let is_new = self.is_near_end(to, NEW_WITHIN) && !self.parked.contains_key(&to);
        match left_at.filter(|&left_at| left_at != to.sp && !is_new) {
            None => {
                self.moved(from, to);
                true
            }
            Some(left_at) => {
                let parked = std::mem::take(self.stack(to.stack));
                self.parked.insert(to.at(left_at), parked);
                let taken_up = self.parked.remove(&to);
                if from.stack != to.stack {
                    self.left_at.insert(from.stack, from.sp);
                    self.left_at.remove(&to.stack);
                }
                let is_known = taken_up.is_some();
                *self.stack(to.stack) = taken_up.unwrap_or_default();
                is_known
            }
        }
    }

    /// How many entries are left if `to` lies between `from` and what was pushed before on the same
    /// stack: what is below is thrown away, and what was assumed with it.
    fn left_above(&self, from: Place, to: Place) -> Option<usize> {
        if from.stack != to.stack || from.sp >= to.sp {
            return None;
        }
        let stack = self.stacks.get(&from.stack)?;
        let is_above = |entry: &Entry| entry.address.is_some_and(|address| address >= to.sp);
        Some(stack.iter().rposition(is_above)? + 1)
    }

    /// An interrupt has returned to what no interrupt has interrupted, at `sp`: a
    /// stack that begins.
    pub(super) fn begun(&mut self, at: Place) {
        self.stack(at.stack).clear();
    }

    /// A call has pushed `return_address` at `at`.
    pub(super) fn call(&mut self, at: Place, return_address: CodeAddress) {
        self.push(at, What::Link(at.stack.return_to(return_address)));
    }

    /// An interrupt, or the entry of a system call, has pushed what was interrupted, lowest the
    /// program counter, at `at`. `interrupted` is the stack pointer that was interrupted.
    pub(super) fn interrupt(&mut self, at: Place, link: Link, interrupted: Place) {
        self.left_at.remove(&interrupted.stack);
        self.comes(at, link, interrupted);
        self.push(at, What::Across(link, interrupted));
    }

    fn comes(&mut self, at: Place, link: Link, interrupted: Place) {
        if let (Link::Border { pc, .. }, Stack::User(thread)) = (link, interrupted.stack) {
            self.came.insert(at.stack, (thread, pc));
        }
    }

    /// The thread that came to this stack of the kernel's last, and where it was left.
    pub(super) fn came_to(&self, kernel: Stack) -> Option<(Thread, CodeAddress)> {
        self.came.get(&kernel).copied()
    }

    /// The thread is called, from `pc`, where it was left: by no instruction of its own. What the upcall
    /// does is that of a thread of its own, which has the callers of this one, until it ends.
    pub(super) fn upcall(&mut self, thread: Thread, pc: CodeAddress) -> Thread {
        let mut callers = self.stack(Stack::User(thread)).clone();
        callers.push(Entry {
            address: None,
            what: What::Link(Link::UserReturn(pc)),
        });
        let upcall = self.new_thread();
        self.stacks.insert(Stack::User(upcall), callers);
        self.upcalls.insert(upcall, (thread, pc));
        upcall
    }

    /// If the thread is an upcall's that was called from `to`: it has ended. Returns what goes on.
    pub(super) fn end_upcall(&mut self, thread: Thread, to: CodeAddress) -> Option<Thread> {
        let &(back, pc) = self.upcalls.get(&thread)?;
        if pc != to {
            return None;
        }
        self.upcalls.remove(&thread);
        self.stacks.remove(&Stack::User(thread));
        Some(back)
    }

    fn push(&mut self, at: Place, what: What) {
        // What was there before was overwritten.
        self.settle(at.above(1));
        self.stack(at.stack).push(Entry {
            address: Some(at.sp),
            what,
        });
    }

    /// An interrupt was taken on the way to the stack pointer `at`, and nothing of
    /// that was seen: `links` lead from there to the one that says what was
    /// interrupted, at `interrupted`.
    pub(super) fn interrupt_unseen(&mut self, at: Place, links: &[Link], interrupted: Place) {
        let same_stack = at.stack == interrupted.stack;
        if let Some(&link) = links.last() {
            self.comes(at, link, interrupted);
        }
        // The processor aligns the stack before it pushes five words (SDM vol. 3,
        // 7.14.2).
        let pushed = StackAddress((interrupted.sp.0 & !15).wrapping_sub(40));
        if !same_stack {
            // It came to a stack that was empty, or continued below what is in use:
            // entries below are over.
            self.settle(at);
        }
        let stack = self.stack(at.stack);
        for (index, &link) in links.iter().enumerate().rev() {
            let is_last = index + 1 == links.len();
            stack.push(Entry {
                address: (is_last && same_stack).then_some(pushed),
                what: if is_last {
                    What::Across(link, interrupted)
                } else {
                    What::Link(link)
                },
            });
        }
    }

    /// A return has popped its address at `at`.
    pub(super) fn return_at(&mut self, at: Place) -> Returned {
        self.settle(at);
        let stack = self.stack(at.stack);
        match stack.last() {
            // A return without a call: a new stack begins.
            Some(&Entry {
                address: Some(address),
                ..
            }) if address != at.sp => Returned::Seen,
            Some(&Entry {
                what: What::Cut, ..
            }) => Returned::Cut,
            Some(&Entry {
                address: None,
                what: What::Link(link),
            }) => {
                stack.pop();
                Returned::Assumed(link)
            }
            _ => {
                stack.pop();
                Returned::Seen
            }
        }
    }

    /// What an interrupt return at `at` returns to: the program counter, and the
    /// stack pointer if that is known. `None` if no interrupt has pushed what lies
    /// there.
    pub(super) fn interrupted_at(&self, at: Place) -> Option<(CodeAddress, Option<Place>)> {
        let stack = self.stacks.get(&at.stack)?;
        match stack[self.interrupt_at(at)?].what {
            What::Across(Link::Interrupted { pc, .. } | Link::Border { pc, .. }, place) => {
                Some((pc, Some(place)))
            }
            What::Link(Link::Interrupted { pc, .. }) => Some((pc, None)),
            _ => None,
        }
    }

    /// The entry of the interrupt that returns at `at`: on its stack, what lies
    /// there, or behind what was assumed to be called since.
    fn interrupt_at(&self, at: Place) -> Option<usize> {
        let stack = self.stacks.get(&at.stack)?;
        let stack = &stack[..left(stack, at.sp)];
        let is_of_interrupt = |entry: &Entry| {
            matches!(
                entry.what,
                What::Across(..) | What::Link(Link::Interrupted { .. })
            )
        };
        let index = stack.iter().rposition(is_of_interrupt)?;
        let is_over = |entry: &Entry| entry.address.is_none_or(|address| address == at.sp);
        stack[index..].iter().all(is_over).then_some(index)
    }

    /// The interrupt that returns at `at` has ended.
    pub(super) fn interrupt_return_at(&mut self, at: Place) {
        if let Some(index) = self.interrupt_at(at) {
            self.stack(at.stack).truncate(index);
        }
    }

    /// What was assumed of the stack of `from` beyond an interrupt is on the stack
    /// of `to`, to which it has returned.
    pub(super) fn carry_over(&mut self, from: Place, to: Place) {
        if from.stack != to.stack {
            let assumed = std::mem::take(self.stack(from.stack));
            *self.stack(to.stack) = assumed;
        }
    }

    pub(super) fn forget(&mut self) {
        self.stacks.clear();
        self.left_at.clear();
        self.parked.clear();
        self.came.clear();
        self.upcalls.clear();
    }

    /// Returns true if the stack is known, even if it is empty.
    pub(super) fn knows(&self, stack: Stack) -> bool {
        self.stacks.contains_key(&stack)
    }

    /// Assumes that `links`, of code on this stack, are true. If `is_cut`, there is more beyond.
    pub(super) fn assume(&mut self, stack: Stack, links: &[Link], is_cut: bool) {
        let assumed = |what| Entry {
            address: None,
            what,
        };
        let is_border = |link: &Link| matches!(link, Link::Border { .. });
        let border = links.iter().position(is_border);
        let (links, end) = match border {
            Some(index) => {
                let thread = Stack::User(self.new_thread());
                self.assume(thread, &links[index + 1..], is_cut);
                let across = What::Across(links[index], Place::somewhere(thread));
                (&links[..index], Some(across))
            }
            None => (links, is_cut.then_some(What::Cut)),
        };
        let links = links.iter().rev().map(|&link| assumed(What::Link(link)));
        *self.stack(stack) = end.map(assumed).into_iter().chain(links).collect();
    }

    /// Adds a link beyond all that the stack has.
    pub(super) fn add_outermost(&mut self, stack: Stack, link: Link) {
        let what = What::Link(link);
        self.stack(stack).insert(
            0,
            Entry {
                address: None,
                what,
            },
        );
    }

    /// There is nothing beyond what the stack has.
    pub(super) fn drop_cut(&mut self, stack: Stack) {
        let stack = self.stack(stack);
        stack.retain(|entry| entry.what != What::Cut);
    }

    /// The true chain of code whose stack pointer is `at`, behind a link that is on no stack.
    pub(super) fn chain(&self, first: Option<Link>, at: Place) -> Chain<'_> {
        let mut chain = Chain {
            shadow: self,
            stack: at.stack,
            first,
            rest: &[],
            bottom: Bottom::Empty,
        };
        chain.enter(at);
        chain
    }
}

/// The links of a true chain, innermost first.
pub(super) struct Chain<'a> {
    shadow: &'a Shadow,
    /// The stack that the chain has come to.
    pub(super) stack: Stack,
    first: Option<Link>,
    rest: &'a [Entry],
    /// Why there are no more links, when there are none.
    pub(super) bottom: Bottom,
}

impl Chain<'_> {
    fn enter(&mut self, at: Place) {
        let stack = self.shadow.stacks.get(&at.stack);
        let stack = stack.map_or(&[][..], Vec::as_slice);
        self.rest = &stack[..left(stack, at.sp)];
        self.stack = at.stack;
    }
}

impl Iterator for Chain<'_> {
    type Item = Link;

    fn next(&mut self) -> Option<Link> {
        if let Some(first) = self.first.take() {
            return Some(first);
        }
        let (entry, rest) = self.rest.split_last()?;
        self.rest = rest;
        match entry.what {
            What::Link(link) => Some(link),
            What::Across(link, to) => {
                if self.stack != to.stack {
                    self.enter(to);
                }
                Some(link)
            }
            What::Cut => {
                self.bottom = Bottom::Cut;
                self.rest = &[];
                None
            }
        }
    }
}
