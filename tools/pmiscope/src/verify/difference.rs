//! How a reported chain can differ from the true one.

use std::fmt;

use profiler::address::CodeAddress;
use profiler::format::ChainEnd;

use crate::chain::Link;

/// A kind of difference: the innermost one of a chain.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Kind {
    /// No instruction leads from the one before to this one. What is true from
    /// here on was taken from the chain itself.
    NotASuccessor,
    /// An assumption about code that was not seen is wrong: it returned somewhere else.
    AssumedWrong,
    /// The chain is true as far as it goes, and says that it is not complete.
    Incomplete,
    /// A caller is missing.
    CallerMissing,
    /// An interrupt is missing.
    InterruptMissing,
    /// There is another interrupt, or it interrupted something else.
    OtherInterrupt,
    /// There is something else in a caller's place.
    OtherLink,
    /// There is something further out than all that is true.
    Additional,
    /// The links are right, and the end is not.
    End,
}

impl Kind {
    /// The kind in words.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::NotASuccessor => "not a successor of the instruction before",
            Self::AssumedWrong => "what was assumed turned out to be wrong",
            Self::Incomplete => "true as far as it goes, and said to be incomplete",
            Self::CallerMissing => "a caller is missing",
            Self::InterruptMissing => "an interrupt is missing",
            Self::OtherInterrupt => "another interrupt",
            Self::OtherLink => "something else in a caller's place",
            Self::Additional => "more than there is",
            Self::End => "another end",
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A sample whose chain is not the true one.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Difference {
    /// What differs innermost.
    pub kind: Kind,
    /// The sample's number on its core.
    pub sequence: u32,
    /// The instruction that was about to execute.
    pub pc: CodeAddress,
    /// The one before.
    pub before: Option<CodeAddress>,
    /// The true links, innermost first, a little further than the reported chain. Their
    /// end is complete.
    pub expected: Vec<Link>,
    pub reported: Vec<Link>,
    /// The end that was reported.
    pub end: ChainEnd,
}

/// The result of comparing a chain.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Verdict {
    /// It is the true one.
    Exact,
    /// It is the true one as far as a record can hold it.
    Cut,
    /// It is not.
    Different(Kind),
}
