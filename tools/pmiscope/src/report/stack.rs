//! A chain of calls that was seen, and how often.

use profiler::address::CodeAddress;
use profiler::format::{ChainEnd, State};

use crate::chain::Link;
use crate::symbols::{Frame, Symbols};

/// Samples that differ in nothing but their times.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Stack {
    /// The core that took them.
    pub core: u32,
    /// The task that ran, by its number.
    pub task: u16,
    /// What the processor was doing.
    pub state: State,
    /// The instruction that was about to execute.
    pub pc: CodeAddress,
    /// The instruction that the overflow is for, where the processor says it; it was
    /// executed some instructions before `pc`.
    pub exact: Option<CodeAddress>,
    /// The callers, innermost first.
    pub chain: Vec<Link>,
    /// How the walk ended.
    pub end: ChainEnd,
    /// True if some callers were on top of the stack only.
    pub is_repaired: bool,
    /// True if a caller may be missing.
    pub is_doubtful: bool,
    /// True if that is because code has no call-frame information.
    pub is_undecided: bool,
    pub samples: u64,
}

/// A step outwards on a stack.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Step {
    Frame(Frame),
    /// What is further out was interrupted, by this vector.
    Interrupt(u8),
}

/// Where to look a link up. A return address is the instruction *after*
/// the call, perhaps the first one of another function: the call is found one
/// byte before it. A program counter is looked up as it is.
fn lookup(link: Link) -> CodeAddress {
    match link {
        Link::Return(address) => CodeAddress(address.0.wrapping_sub(1)),
        Link::Interrupted { pc, .. } => pc,
    }
}

impl Stack {
    /// The addresses that [`Self::steps`] looks up.
    pub fn addresses(&self) -> impl Iterator<Item = CodeAddress> {
        let innermost = std::iter::once(self.pc).chain(self.exact);
        innermost.chain(self.chain.iter().copied().map(lookup))
    }

    /// True if the exact address lies in another function than the one that was
    /// interrupted. Its addresses must have been resolved.
    #[must_use]
    pub fn is_exact_elsewhere(&self, symbols: &Symbols) -> bool {
        // The one that has the code, whatever is inlined into it there.
        let function = |address| symbols.frames(address).last().map(|frame| frame.function);
        let exact = self.exact.map(function);
        exact.is_some_and(|exact| exact != function(self.pc))
    }

    /// The function that was executing itself, an inlined one too: at the exact address if
    /// there is one.
    #[must_use]
    pub fn own(&self, symbols: &Symbols) -> Option<Frame> {
        let address = self.exact.unwrap_or(self.pc);
        symbols.frames(address).first().copied()
    }

    /// The stack's functions, innermost first, inlined ones included. Its
    /// addresses must have been resolved. An exact address takes the place of the
    /// interrupted one if both are of one function; else the callers are not its own.
    pub fn steps(&self, symbols: &Symbols) -> impl Iterator<Item = Step> {
        let frames = |address| symbols.frames(address).iter().copied().map(Step::Frame);
        let callers = self.chain.iter().flat_map(move |&link| {
            let crossed = match link {
                Link::Return(_) => None,
                Link::Interrupted { vector, .. } => Some(Step::Interrupt(vector)),
            };
            crossed.into_iter().chain(frames(lookup(link)))
        });
        let is_same = !self.is_exact_elsewhere(symbols);
        let innermost = self.exact.filter(|_| is_same).unwrap_or(self.pc);
        frames(innermost).chain(callers)
    }
}
