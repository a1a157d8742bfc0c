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
        std::iter::once(self.pc).chain(self.chain.iter().copied().map(lookup))
    }

    /// The stack's functions, innermost first, inlined ones included. Its
    /// addresses must have been resolved.
    pub fn steps(&self, symbols: &Symbols) -> impl Iterator<Item = Step> {
        let frames = |address| symbols.frames(address).iter().copied().map(Step::Frame);
        let callers = self.chain.iter().flat_map(move |&link| {
            let crossed = match link {
                Link::Return(_) => None,
                Link::Interrupted { vector, .. } => Some(Step::Interrupt(vector)),
            };
            crossed.into_iter().chain(frames(lookup(link)))
        });
        frames(self.pc).chain(callers)
    }
}
