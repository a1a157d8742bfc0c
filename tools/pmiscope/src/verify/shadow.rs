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
//! What was called before the first instruction that was seen on a stack is
//! *assumed*: an entry without an address, over when a return finds no other entry.

use std::collections::HashMap;

use profiler::address::{CodeAddress, StackAddress};

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
    Across(Link, StackAddress),
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
    /// By the number of the stack's slot, outermost first.
    stacks: HashMap<u64, Vec<Entry>>,
    /// Where the stack pointer of a stack was when another one was switched to, by
    /// the same number.
    left_at: HashMap<u64, StackAddress>,
    /// The shadows of stacks in whose slots others are in use, by where their stack pointers
    /// were left.
    parked: HashMap<StackAddress, Vec<Entry>>,
}

impl Shadow {
    pub(super) fn new(slot: u64) -> Self {
        Self {
            slot,
            stacks: HashMap::new(),
            left_at: HashMap::new(),
            parked: HashMap::new(),
        }
    }

    /// The stack that a stack pointer is on. That of an empty stack may be the end
    /// of its slot.
    fn number(&self, sp: StackAddress) -> u64 {
        sp.0.wrapping_sub(1) / self.slot
    }

    /// Returns true if two stack pointers are on the same stack.
    pub(super) fn is_same_stack(&self, a: StackAddress, b: StackAddress) -> bool {
        self.number(a) == self.number(b)
    }

    fn stack(&mut self, sp: StackAddress) -> &mut Vec<Entry> {
        self.stacks.entry(self.number(sp)).or_default()
    }

    /// Drops what the stack pointer has passed.
    pub(super) fn settle(&mut self, sp: StackAddress) {
        let stack = self.stack(sp);
        stack.truncate(left(stack, sp));
    }

    /// The stack pointer was moved, by other than a call, a return or an interrupt.
    ///
    /// At the top of a stack nothing is left on that, assumed or not. On another
    /// stack all is as it was when that was left; a stack that is not taken up
    /// there has begun anew.
    pub(super) fn moved(&mut self, from: StackAddress, to: StackAddress) {
        let mut is_new = to.0.wrapping_neg() % self.slot <= EMPTY_WITHIN;
        if !self.is_same_stack(from, to) {
            self.left_at.insert(self.number(from), from);
            let left_at = self.left_at.remove(&self.number(to));
            is_new |= left_at.is_some_and(|left_at| left_at != to);
        }
        if is_new {
            self.stack(to).clear();
        }
    }

    /// The stack pointer was taken from elsewhere. Returns false if it is now on a stack that
    /// has its slot with others and was not left there before: nothing is known of it.
    pub(super) fn switched(&mut self, from: StackAddress, to: StackAddress) -> bool {
        let left_at = if self.is_same_stack(from, to) {
            Some(from)
        } else {
            self.left_at.get(&self.number(to)).copied()
        };
        let is_near_end = to.0.wrapping_neg() % self.slot <= NEW_WITHIN;
        let is_new = is_near_end && !self.parked.contains_key(&to);
        match left_at.filter(|&left_at| left_at != to && !is_new) {
            None => {
                self.moved(from, to);
                true
            }
            Some(left_at) => {
                let parked = std::mem::take(self.stack(to));
                self.parked.insert(left_at, parked);
                let taken_up = self.parked.remove(&to);
                if !self.is_same_stack(from, to) {
                    self.left_at.insert(self.number(from), from);
                    self.left_at.remove(&self.number(to));
                }
                let is_known = taken_up.is_some();
                *self.stack(to) = taken_up.unwrap_or_default();
                is_known
            }
        }
    }

    /// An interrupt has returned to what no interrupt has interrupted, at `sp`: a
    /// stack that begins.
    pub(super) fn begun(&mut self, sp: StackAddress) {
        self.stack(sp).clear();
    }

    /// A call has pushed `return_address` at `address`.
    pub(super) fn call(&mut self, address: StackAddress, return_address: CodeAddress) {
        self.push(address, What::Link(Link::Return(return_address)));
    }

    /// An interrupt has pushed what it interrupted, lowest the program counter, at
    /// `address`. `sp` is the stack pointer that was interrupted.
    pub(super) fn interrupt(&mut self, address: StackAddress, link: Link, sp: StackAddress) {
        self.left_at.remove(&self.number(sp));
        self.push(address, What::Across(link, sp));
    }

    fn push(&mut self, address: StackAddress, what: What) {
        // What was there before was overwritten.
        self.settle(StackAddress(address.0 + 1));
        self.stack(address).push(Entry {
            address: Some(address),
            what,
        });
    }

    /// An interrupt was taken on the way to the stack pointer `sp`, and nothing of
    /// that was seen: `links` lead from there to the one that says what was
    /// interrupted, at `interrupted`.
    pub(super) fn interrupt_unseen(
        &mut self,
        sp: StackAddress,
        links: &[Link],
        interrupted: StackAddress,
    ) {
        let same_stack = self.is_same_stack(sp, interrupted);
        // The processor aligns the stack before it pushes five words (SDM vol. 3,
        // 7.14.2).
        let pushed = StackAddress((interrupted.0 & !15).wrapping_sub(40));
        if !same_stack {
            // It came to a stack that was empty, or continued below what is in use:
            // entries below are over.
            self.settle(sp);
        }
        let stack = self.stack(sp);
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

    /// A return has popped its address at `sp`.
    pub(super) fn return_at(&mut self, sp: StackAddress) -> Returned {
        self.settle(sp);
        let stack = self.stack(sp);
        match stack.last() {
            // A return without a call: a new stack begins.
            Some(&Entry {
                address: Some(address),
                ..
            }) if address != sp => Returned::Seen,
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

    /// What an interrupt return at `sp` returns to: the program counter, and the
    /// stack pointer if that is known. `None` if no interrupt has pushed what lies
    /// there.
    pub(super) fn interrupted_at(
        &self,
        sp: StackAddress,
    ) -> Option<(CodeAddress, Option<StackAddress>)> {
        let stack = self.stacks.get(&self.number(sp))?;
        match stack[self.interrupt_at(sp)?].what {
            What::Across(Link::Interrupted { pc, .. }, sp) => Some((pc, Some(sp))),
            What::Link(Link::Interrupted { pc, .. }) => Some((pc, None)),
            _ => None,
        }
    }

    /// The entry of the interrupt that returns at `sp`: on its stack, what lies
    /// there, or behind what was assumed to be called since.
    fn interrupt_at(&self, sp: StackAddress) -> Option<usize> {
        let stack = self.stacks.get(&self.number(sp))?;
        let stack = &stack[..left(stack, sp)];
        let is_of_interrupt = |entry: &Entry| {
            matches!(
                entry.what,
                What::Across(..) | What::Link(Link::Interrupted { .. })
            )
        };
        let index = stack.iter().rposition(is_of_interrupt)?;
        let is_over = |entry: &Entry| entry.address.is_none_or(|address| address == sp);
        stack[index..].iter().all(is_over).then_some(index)
    }

    /// The interrupt that returns at `sp` has ended.
    pub(super) fn interrupt_return_at(&mut self, sp: StackAddress) {
        if let Some(index) = self.interrupt_at(sp) {
            self.stack(sp).truncate(index);
        }
    }

    /// What was assumed of the stack of `from` beyond an interrupt is on the stack
    /// of `to`, to which it has returned.
    pub(super) fn carry_over(&mut self, from: StackAddress, to: StackAddress) {
        if !self.is_same_stack(from, to) {
            let assumed = std::mem::take(self.stack(from));
            *self.stack(to) = assumed;
        }
    }

    pub(super) fn forget(&mut self) {
        self.stacks.clear();
        self.left_at.clear();
        self.parked.clear();
    }

    /// Returns true if the stack that `sp` is on is known, even if it is empty.
    pub(super) fn knows(&self, sp: StackAddress) -> bool {
        self.stacks.contains_key(&self.number(sp))
    }

    /// Assumes that `links`, of code whose stack pointer is `sp`, are true. If `is_cut`,
    /// there is more beyond.
    pub(super) fn assume(&mut self, sp: StackAddress, links: &[Link], is_cut: bool) {
        let assumed = |what| Entry {
            address: None,
            what,
        };
        let cut = is_cut.then_some(assumed(What::Cut));
        let links = links.iter().rev().map(|&link| assumed(What::Link(link)));
        *self.stack(sp) = cut.into_iter().chain(links).collect();
    }

    /// Adds a link beyond all that the stack of `sp` has.
    pub(super) fn add_outermost(&mut self, sp: StackAddress, link: Link) {
        let what = What::Link(link);
        self.stack(sp).insert(
            0,
            Entry {
                address: None,
                what,
            },
        );
    }

    /// There is nothing beyond what the stack of `sp` has.
    pub(super) fn drop_cut(&mut self, sp: StackAddress) {
        let stack = self.stack(sp);
        stack.retain(|entry| entry.what != What::Cut);
    }

    /// The true chain of code whose stack pointer is `sp`.
    pub(super) fn chain(&self, sp: StackAddress) -> Chain<'_> {
        let mut chain = Chain {
            shadow: self,
            sp,
            rest: &[],
            bottom: Bottom::Empty,
        };
        chain.enter(sp);
        chain
    }
}

/// The links of a true chain, innermost first.
pub(super) struct Chain<'a> {
    shadow: &'a Shadow,
    /// A stack pointer on the stack that the chain has come to.
    pub(super) sp: StackAddress,
    rest: &'a [Entry],
    /// Why there are no more links, when there are none.
    pub(super) bottom: Bottom,
}

impl Chain<'_> {
    fn enter(&mut self, sp: StackAddress) {
        let stack = self.shadow.stacks.get(&self.shadow.number(sp));
        let stack = stack.map_or(&[][..], Vec::as_slice);
        self.rest = &stack[..left(stack, sp)];
        self.sp = sp;
    }
}

impl Iterator for Chain<'_> {
    type Item = Link;

    fn next(&mut self) -> Option<Link> {
        let (entry, rest) = self.rest.split_last()?;
        self.rest = rest;
        match entry.what {
            What::Link(link) => Some(link),
            What::Across(link, sp) => {
                if !self.shadow.is_same_stack(self.sp, sp) {
                    self.enter(sp);
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
