//! Chains as they are shown: with the caller that a frame pointer cannot tell.
//!
//! In a function's first and last instructions the frame pointer is still, or
//! again, the caller's, so a walk over frame pointers skips the caller itself
//! (see [`profiler::format::sample`]). Its return address is then one of the two
//! words on top of the stack; the call-frame information says which, or else the
//! instructions do. That holds for the sample, and for the code that each interrupt
//! of its chain interrupted.

use profiler::address::{CodeAddress, CodeRange, UserAddress};
use profiler::format::{ChainEnd, ChainEntry, Sample, State};

use crate::symbols::callframe::{Caller, Callers};

/// A link to the next frame outwards.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Link {
    /// It made a call that returns here: the call is the instruction *before*.
    Return(CodeAddress),
    Interrupted {
        /// By an interrupt or exception with this vector.
        vector: u8,
        /// The instruction that it was about to execute.
        pc: CodeAddress,
    },
    /// What is further out is the user's program.
    Border {
        /// The interrupt or exception that came from it; `None`: it made a system call.
        vector: Option<u8>,
        /// The instruction that it was about to execute.
        pc: CodeAddress,
    },
    /// As [`Self::Return`], in the user's program.
    UserReturn(CodeAddress),
}

impl Link {
    /// Where to look it up. A return address is the instruction *after* the call, perhaps the first one
    /// of another function: the call is found one byte before it. A program counter is looked up as
    /// it is.
    #[must_use]
    pub const fn lookup(self) -> CodeAddress {
        match self {
            Self::Return(address) | Self::UserReturn(address) => {
                CodeAddress(address.0.wrapping_sub(1))
            }
            Self::Interrupted { pc, .. } | Self::Border { pc, .. } => pc,
        }
    }
}

/// The result of repairing a sample's chain.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Repaired {
    /// How the walk ended, the callers that were added taken into account.
    pub end: ChainEnd,
    /// Callers that the words on top of the stack have added.
    pub added: u32,
    /// Places at which a caller may be missing still: the frame pointer does not lead
    /// to it, or may not, and the words on top of the stack do not have it.
    pub doubtful: u32,
    /// Those of them that are in code without call-frame information.
    pub undecided: u32,
}

impl Repaired {
    /// That of a chain without a link.
    pub(crate) const NOTHING: Self = Self {
        end: ChainEnd::Complete,
        added: 0,
        doubtful: 0,
        undecided: 0,
    };
}

#[derive(Clone, Copy, Debug)]
pub struct Repair<'a> {
    /// Where the kernel's code keeps its return addresses; without an ELF file, chains
    /// stay as they are.
    pub callers: &'a Callers,
    /// The kernel's text: an address outside is no return address.
    pub text: CodeRange,
}

/// The caller of the code that a stack was interrupted in.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Innermost {
    /// The frame pointer leads to it, or there is none, or nothing is known of the code.
    InFrame,
    /// It was on top of the stack only: its return address.
    Added(CodeAddress),
    /// It may be missing.
    Doubtful {
        /// The code has no call-frame information.
        is_undecided: bool,
    },
}

impl Innermost {
    /// The return address that was added.
    #[must_use]
    pub fn added(self) -> Option<CodeAddress> {
        match self {
            Self::Added(address) => Some(address),
            Self::InFrame | Self::Doubtful { .. } => None,
        }
    }
}

impl Repaired {
    /// Counts what was found of a caller.
    pub fn count(&mut self, caller: Innermost) {
        match caller {
            Innermost::InFrame => {}
            Innermost::Added(_) => self.added += 1,
            Innermost::Doubtful { is_undecided } => {
                self.doubtful += 1;
                self.undecided += u32::from(is_undecided);
            }
        }
    }
}

impl Repair<'_> {
    /// Puts the links of a sample's chain into `links`, innermost first, in place
    /// of what those hold.
    pub fn chain(&self, sample: &Sample<'_>, links: &mut Vec<Link>) -> Repaired {
        links.clear();
        let innermost = self.innermost(sample);
        links.extend(innermost.added().map(|address| self.link_to(address)));
        let (mut repaired, last) = self.outer(sample, links);
        repaired.count(innermost);
        let last = match sample.chain_words {
            [] => innermost.added(),
            [..] => last,
        };
        repaired.end = self.end(sample.end, last);
        repaired
    }

    /// What is known of the caller of the code that a sample interrupted.
    #[must_use]
    pub fn innermost(&self, sample: &Sample<'_>) -> Innermost {
        let caller = self.callers.of(sample.pc);
        self.innermost_of(caller, sample.pc, sample.state, sample.stack_top)
    }

    /// The same, by what is known of all samples at this program counter.
    #[must_use]
    pub fn innermost_of(
        &self,
        caller: Caller,
        pc: CodeAddress,
        state: State,
        stack_top: [u64; 2],
    ) -> Innermost {
        if state.has(State::CALLER_KNOWN) {
            return Innermost::InFrame;
        }
        self.judge(caller, pc, stack_top)
    }

    /// Appends the links of a sample's chain but those of the code that it interrupted: they
    /// depend on the chain alone. Returns what was found, with no end, and the last link if that was added.
    pub fn outer(
        &self,
        sample: &Sample<'_>,
        links: &mut Vec<Link>,
    ) -> (Repaired, Option<CodeAddress>) {
        let mut repaired = Repaired::NOTHING;
        let mut last = None;
        for entry in sample.chain() {
            last = None;
            match entry {
                ChainEntry::Return(address) => links.push(self.link_to(address)),
                ChainEntry::Border {
                    vector,
                    pc,
                    stack_top,
                } => {
                    links.push(Link::Border { vector, pc });
                    let caller = self.judge(self.callers.of(pc), pc, stack_top);
                    repaired.count(caller);
                    last = caller.added();
                    links.extend(last.map(Link::UserReturn));
                }
                ChainEntry::Crossing {
                    vector,
                    pc,
                    caller_known,
                    stack_top,
                } => {
                    links.push(Link::Interrupted { vector, pc });
                    if !caller_known {
                        let caller = self.judge(self.callers.of(pc), pc, stack_top);
                        repaired.count(caller);
                        last = caller.added();
                        links.extend(last.map(Link::Return));
                    }
                }
            }
        }
        (repaired, last)
    }

    /// The link of a return address, which may be the user's program's: where the kernel's are is
    /// known, and programs have the lower half of the addresses.
    fn link_to(&self, address: CodeAddress) -> Link {
        if UserAddress::of(address).is_some() && !self.text.contains(address) {
            Link::UserReturn(address)
        } else {
            Link::Return(address)
        }
    }

    /// How a walk ended, by what the sample says and the last link of its chain, if that was
    /// added.
    #[must_use]
    pub fn end(&self, said: ChainEnd, last: Option<CodeAddress>) -> ChainEnd {
        // The walk met the root's zero frame pointer in a function that the root
        // called and that had not yet saved it.
        match last {
            Some(address) if said == ChainEnd::FrameNull && self.callers.is_root(address) => {
                ChainEnd::Complete
            }
            _ => said,
        }
    }

    /// What is known of the caller of the code at `pc`, which has it as `caller` says, and whose
    /// stack had these words on top.
    fn judge(&self, caller: Caller, pc: CodeAddress, stack_top: [u64; 2]) -> Innermost {
        match caller {
            Caller::InFrame | Caller::None => return Innermost::InFrame,
            // Nothing is known of code that is not the ELF file's.
            Caller::Unknown if !self.callers.has_code_at(pc) => {
                return Innermost::InFrame;
            }
            Caller::OnTop(index) => {
                let address = CodeAddress(stack_top[index]);
                // Of a program the guest has looked where it may execute.
                let is_users = UserAddress::of_program(pc).is_some()
                    && UserAddress::of_program(address).is_some();
                if is_users || self.text.contains(address) {
                    return Innermost::Added(address);
                }
            }
            Caller::Pushed(_) | Caller::InRcx | Caller::OutOfReach | Caller::Unknown => {}
        }
        Innermost::Doubtful {
            is_undecided: !self.callers.has_frames_at(pc),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test_sample::with_sample;

    const ROOT: u64 = 0x1000;
    const FUNCTION: u64 = 0x1010;
    const ENTRY: u64 = 0x1020;
    /// Return addresses.
    const TO_ROOT: u64 = 0x1005;
    const TO_FUNCTION: u64 = 0x1018;

    fn returns(address: u64) -> ChainEntry {
        ChainEntry::Return(CodeAddress(address))
    }

    fn crossing(pc: u64, caller_known: bool, stack_top: [u64; 2]) -> ChainEntry {
        ChainEntry::Crossing {
            vector: 0x41,
            pc: CodeAddress(pc),
            caller_known,
            stack_top,
        }
    }

    /// The chain of a sample at `pc`, repaired: the links' addresses, and the rest.
    fn repaired(
        pc: u64,
        state: u8,
        stack_top: [u64; 2],
        chain: &[ChainEntry],
        end: ChainEnd,
    ) -> (Vec<u64>, Repaired) {
        let callers = Callers::of_functions(&[
            &[(ROOT, Caller::None), (0x1010, Caller::Unknown)],
            &[
                (FUNCTION, Caller::OnTop(0)),
                (0x1011, Caller::OnTop(1)),
                (0x1014, Caller::InFrame),
                (0x1020, Caller::Unknown),
            ],
            &[(ENTRY, Caller::Pushed(0)), (0x1030, Caller::Unknown)],
        ]);
        let text = CodeRange {
            start: CodeAddress(0x1000),
            end: CodeAddress(0x2000),
        };
        let repair = Repair {
            callers: &callers,
            text,
        };
        let mut links = vec![Link::Return(CodeAddress(7))];
        let repaired = with_sample((pc, state), chain, |sample| {
            let sample = Sample {
                stack_top,
                end,
                ..sample
            };
            repair.chain(&sample, &mut links)
        });
        let address = |link: &Link| match *link {
            Link::Return(address) => address.0,
            Link::Interrupted { vector, pc } => {
                assert_eq!(vector, 0x41);
                pc.0
            }
            Link::UserReturn(address) => address.0,
            Link::Border { pc, .. } => pc.0,
        };
        (links.iter().map(address).collect(), repaired)
    }

    const COMPLETE: Repaired = Repaired::NOTHING;

    #[test]
    fn the_caller_is_taken_from_where_the_call_frame_information_says() {
        let added = Repaired {
            added: 1,
            ..COMPLETE
        };
        for (pc, state, stack_top, first, expected) in [
            (FUNCTION, 0, [TO_FUNCTION, 0], Some(TO_FUNCTION), added),
            (FUNCTION + 1, 0, [0, TO_FUNCTION], Some(TO_FUNCTION), added),
            (FUNCTION + 4, 0, [TO_FUNCTION; 2], None, COMPLETE),
            // The guest has found the caller itself.
            (
                FUNCTION,
                State::CALLER_KNOWN,
                [TO_FUNCTION; 2],
                None,
                COMPLETE,
            ),
            // There is no call-frame information.
            (0x1800, 0, [TO_FUNCTION; 2], None, COMPLETE),
        ] {
            let chain = [returns(TO_ROOT)];
            let (links, repaired) = repaired(pc, state, stack_top, &chain, ChainEnd::Complete);
            let links_expected: Vec<_> = first.into_iter().chain([TO_ROOT]).collect();
            assert_eq!((links, repaired), (links_expected, expected), "{pc:#x}");
        }
    }

    #[test]
    fn what_cannot_be_a_return_address_is_left_and_counted() {
        let doubtful = Repaired {
            doubtful: 1,
            ..COMPLETE
        };
        for (pc, stack_top) in [
            (FUNCTION, [0x2000, TO_FUNCTION]),
            (FUNCTION + 1, [TO_FUNCTION, 0xfff]),
            (ENTRY, [TO_FUNCTION; 2]),
        ] {
            let chain = [returns(TO_ROOT)];
            let (links, repaired) = repaired(pc, 0, stack_top, &chain, ChainEnd::Complete);
            assert_eq!((links, repaired), (vec![TO_ROOT], doubtful), "{pc:#x}");
        }
    }

    #[test]
    fn what_an_interrupt_interrupted_is_repaired_as_well() {
        let chain = [
            returns(TO_FUNCTION),
            crossing(FUNCTION, false, [TO_FUNCTION, 0]),
            crossing(FUNCTION, true, [TO_FUNCTION, 0]),
            returns(TO_ROOT),
        ];
        let (links, repaired) = repaired(FUNCTION + 4, 0, [0; 2], &chain, ChainEnd::Complete);
        assert_eq!(
            links,
            [TO_FUNCTION, FUNCTION, TO_FUNCTION, FUNCTION, TO_ROOT]
        );
        assert_eq!(repaired.added, 1);
    }

    #[test]
    fn a_chain_whose_last_caller_is_the_root_is_complete() {
        let end_of = |stack_top: u64, chain: &[ChainEntry], end| {
            repaired(FUNCTION, 0, [stack_top, 0], chain, end).1.end
        };
        let null = ChainEnd::FrameNull;
        assert_eq!(end_of(TO_ROOT, &[], null), ChainEnd::Complete);
        assert_eq!(end_of(TO_FUNCTION, &[], null), null);
        assert_eq!(end_of(TO_ROOT, &[returns(TO_FUNCTION)], null), null);
        assert_eq!(
            end_of(TO_ROOT, &[], ChainEnd::FrameBelow),
            ChainEnd::FrameBelow
        );
        let crossed = [crossing(FUNCTION, false, [TO_ROOT, 0])];
        assert_eq!(end_of(TO_FUNCTION, &crossed, null), ChainEnd::Complete);
    }
}
