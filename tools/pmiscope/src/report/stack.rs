//! A chain of calls that was seen, and how often.

use std::borrow::Cow;

use profiler::address::CodeAddress;
use profiler::format::sample::UNKNOWN_VECTOR;
use profiler::format::{ChainEnd, State};

use crate::chain::Link;
use crate::symbols::{Frame, Symbols};

/// A stack that samples had.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Stack<'a> {
    /// What the processor was doing.
    pub state: State,
    /// The instruction that was about to execute.
    pub pc: CodeAddress,
    /// The number of that: others have another one, in the order of [`super::Tally::places`].
    pub place: usize,
    /// The instruction that the overflow is for, where the processor says it; it was
    /// executed some instructions before `pc`.
    pub exact: Option<CodeAddress>,
    /// The caller of the code at `pc`, if it was on top of the stack only.
    pub added: Option<CodeAddress>,
    /// The callers further out.
    pub outer: Chain<'a>,
    /// How the walk ended.
    pub end: ChainEnd,
    pub samples: u64,
}

/// The callers of stacks that differ in what was interrupted alone, innermost first.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Chain<'a> {
    /// Others have another number.
    pub number: usize,
    /// By their numbers.
    pub links: &'a [u32],
    /// The links that all chains have, by these numbers.
    pub different: &'a [Link],
}

/// A step outwards on a stack.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Step {
    Frame(Frame),
    /// What is further out was interrupted, by this vector.
    Interrupt(u8),
    /// What is further out is the user's program; it was interrupted by this vector, or made a
    /// system call.
    Border(Option<u8>),
}

impl Step {
    /// What it is called where frames stand below each other.
    #[must_use]
    pub fn label(self, symbols: &Symbols) -> Cow<'_, str> {
        match self {
            Self::Frame(frame) => symbols.label(frame.function).into(),
            Self::Interrupt(vector @ 0..32) => format!("[exception {vector:#04x}]").into(),
            Self::Interrupt(vector) => format!("[interrupt {vector:#04x}]").into(),
            // On top of the program's frames.
            Self::Border(None) => "[system call]".into(),
            // Another profiler does not say how the kernel was entered.
            Self::Border(Some(UNKNOWN_VECTOR)) => "[from user code]".into(),
            Self::Border(Some(vector @ 0..32)) => {
                format!("[exception {vector:#04x} from user code]").into()
            }
            Self::Border(Some(vector)) => {
                format!("[interrupt {vector:#04x} from user code]").into()
            }
        }
    }
}

/// The steps of a link, whose address must have been resolved.
fn steps_of(link: Link, symbols: &Symbols) -> impl Iterator<Item = Step> {
    let crossed = match link {
        Link::Return(_) | Link::UserReturn(_) => None,
        Link::Interrupted { vector, .. } => Some(Step::Interrupt(vector)),
        Link::Border { vector, .. } => Some(Step::Border(vector)),
    };
    crossed.into_iter().chain(frames(link.lookup(), symbols))
}

fn frames(address: CodeAddress, symbols: &Symbols) -> impl Iterator<Item = Step> {
    symbols.frames(address).iter().copied().map(Step::Frame)
}

impl Chain<'_> {
    /// The addresses that [`Self::steps`] looks up.
    pub fn addresses(&self) -> impl Iterator<Item = CodeAddress> {
        self.links().map(Link::lookup)
    }

    /// The links, innermost first.
    pub(super) fn links(&self) -> impl Iterator<Item = Link> {
        self.links.iter().map(|&link| self.different[link as usize])
    }

    /// The chain's functions, innermost first, inlined ones included. Its addresses must have
    /// been resolved.
    pub fn steps(&self, symbols: &Symbols) -> impl Iterator<Item = Step> {
        self.links().flat_map(|link| steps_of(link, symbols))
    }
}

impl Chain<'_> {
    /// The functions that [`Self::steps`] goes through, each at least once: where a function calls
    /// itself, or two each other, the same links follow each other. `frames` are those of all links.
    pub fn functions(&self, frames: &[&[Frame]]) -> impl Iterator<Item = Frame> {
        let links = self.links;
        let is_repeated = move |place: usize| {
            let before = &links[place.saturating_sub(2)..place];
            before.contains(&links[place])
        };
        let places = (0..links.len()).filter(move |&place| !is_repeated(place));
        places.flat_map(move |place| frames[links[place] as usize].iter().copied())
    }
}

impl Stack<'_> {
    /// What stands below the outermost frame where the walk has not come to the end.
    #[must_use]
    pub fn cut_label(&self) -> Option<String> {
        let is_cut = self.end != ChainEnd::Complete;
        is_cut.then(|| format!("[cut: {}]", self.end.name()))
    }

    /// The number of callers, interrupted ones included.
    #[must_use]
    pub fn callers(&self) -> usize {
        usize::from(self.added.is_some()) + self.outer.links.len()
    }

    /// Returns true if code in user mode was interrupted.
    #[must_use]
    pub const fn is_user(&self) -> bool {
        self.state.0 & State::RING != 0
    }

    /// Returns true if its place alone says which functions were interrupted.
    #[must_use]
    pub fn is_plain(&self) -> bool {
        self.exact.is_none() && self.added.is_none()
    }

    /// The addresses that [`Self::innermost`] looks up.
    pub fn addresses(self) -> impl Iterator<Item = CodeAddress> {
        let added = self.added.map(Link::Return).map(Link::lookup);
        std::iter::once(self.pc).chain(self.exact).chain(added)
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

    /// Where the functions that were interrupted are, as [`Self::innermost`] has them.
    #[must_use]
    pub fn innermost_address(&self, symbols: &Symbols) -> CodeAddress {
        let is_same = !self.is_exact_elsewhere(symbols);
        self.exact.filter(|_| is_same).unwrap_or(self.pc)
    }

    /// The functions that were interrupted, and those of the caller that was on top of the
    /// stack only, innermost first, inlined ones included; behind them are those of
    /// [`Self::outer`]. Addresses must have been resolved. An exact address takes the place of
    /// the interrupted one if both are of one function; else the callers are not its own.
    pub fn innermost(&self, symbols: &Symbols) -> impl Iterator<Item = Step> {
        let innermost = self.innermost_address(symbols);
        let added = self.added.map(Link::Return).into_iter();
        frames(innermost, symbols).chain(added.flat_map(|link| steps_of(link, symbols)))
    }
}
