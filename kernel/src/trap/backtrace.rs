//! Where code is, and how it came there: the walk of the sampler, with names.
//!
//! ```text
//! #00 [<0xffffffff80012345>] kernel::task::scheduler::yield_now+0x25
//! #01 [<0xffffffff80012399>] kernel::workload::mix::unit+0x19
//! -- interrupt (vector 64) --
//! #02 [<0xffffffff80010203>] kernel::smp::idle+0x33
//! -- chain: complete --
//! ```
//!
//! The line 0, and the one behind each interrupt, is of an instruction that was about to
//! execute; the others are return addresses, and their names those of the calls before them.

use core::fmt;

use kernel_core::caller::{self, Frame, Interrupted, LONGEST};
use profiler::address::{CodeAddress, CodeRange, StackAddress};
use profiler::entry::TrapFrame;
use profiler::format::sample::Chain;
use profiler::format::{ChainEntry, Sample, State};
use profiler::linked;
use profiler::unwind::{self, Registers, Rule, StackBounds, TrapFrameLayout, assembly};
use x86_64::VirtAddr;
use yaxpeax_arch::{Decoder as _, LengthedInstruction as _, U8Reader};
use yaxpeax_x86::long_mode::InstDecoder;

use super::{vector, walk};
use crate::memory::{image, stacks};

/// The stacks of a core and of all tasks, as a walk sees them.
struct StacksOf(u32);

// SAFETY: the stacks of cores and tasks are mapped for ever.
unsafe impl unwind::Target for StacksOf {
    fn text(&self) -> CodeRange {
        linked::text()
    }

    fn stack_of(&self, sp: StackAddress) -> Option<StackBounds> {
        stacks::bounds_at(self.0, sp)
    }

    fn rule(&self, address: CodeAddress) -> Rule {
        walk::rule(address)
    }

    fn has_root_rules(&self) -> bool {
        true
    }

    fn is_called_by_stub(&self, address: CodeAddress) -> bool {
        assembly::is_called_by_stub(address)
    }

    fn trap_frame_layout(&self) -> TrapFrameLayout {
        TrapFrame::LAYOUT
    }
}

/// How code came where it is, a line for each function. It takes no lock, and ends whatever
/// the stack holds.
pub struct Backtrace {
    /// The core that runs it, or did until it was stopped.
    pub core: u32,
    /// Where it is.
    pub at: Registers,
}

impl fmt::Display for Backtrace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let stacks = StacksOf(self.core);
        let mut lines = Lines {
            f,
            number: 0,
            repeated: None,
        };
        lines.instruction(self.at.pc.0)?;
        let mut from = self.at;
        if unwind::Target::stack_of(&stacks, from.sp).is_none() {
            // It has overflowed, or is lost. The frame pointer may still be what it was.
            from.sp = from.fp;
        } else if walk::rule(from.pc) == Rule::FramePointer {
            lines.caller_on_stack(from.pc.0, unwind::stack_top(from.sp, &stacks))?;
        }
        let mut chain = Chain::new();
        let end = unwind::walk(from, &stacks, &mut chain);
        for entry in chain.entries() {
            lines.entry(entry)?;
        }
        lines.end_of_repeated()?;
        write!(lines.f, "-- chain: {} --", end.name())
    }
}

/// How code came where a sample has found it, as a [`Backtrace`] shows it.
pub struct Sampled<'a>(pub &'a Sample<'a>);

impl fmt::Display for Sampled<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(sample) = self;
        let mut lines = Lines {
            f,
            number: 0,
            repeated: None,
        };
        lines.instruction(sample.pc.0)?;
        if !sample.state.has(State::CALLER_KNOWN) {
            lines.caller_on_stack(sample.pc.0, sample.stack_top)?;
        }
        for entry in sample.chain() {
            lines.entry(entry)?;
        }
        lines.end_of_repeated()?;
        write!(lines.f, "-- chain: {} --", sample.end.name())
    }
}

/// The lines of a backtrace.
struct Lines<'a, 'b> {
    f: &'a mut fmt::Formatter<'b>,
    number: u32,
    /// The last return address, and how often it came again.
    repeated: Option<(u64, u32)>,
}

impl Lines<'_, '_> {
    fn entry(&mut self, entry: ChainEntry) -> fmt::Result {
        match entry {
            ChainEntry::Return(address) => self.call_before(address.0),
            ChainEntry::Crossing {
                vector,
                pc,
                caller_known,
                stack_top,
            } => {
                self.end_of_repeated()?;
                let name = vector::name(vector);
                writeln!(self.f, "-- {name} (vector {vector}) --")?;
                self.instruction(pc.0)?;
                if caller_known {
                    return Ok(());
                }
                self.caller_on_stack(pc.0, stack_top)
            }
            ChainEntry::Border { vector, pc, .. } => {
                self.end_of_repeated()?;
                match vector {
                    Some(vector) => {
                        let name = vector::name(vector);
                        writeln!(self.f, "-- {name} (vector {vector}) from user code --")?;
                    }
                    None => writeln!(self.f, "-- system call from user code --")?,
                }
                self.instruction(pc.0)
            }
        }
    }

    /// An instruction that was about to execute.
    fn instruction(&mut self, address: u64) -> fmt::Result {
        self.line(address, Symbol::of_instruction(address))
    }

    /// A return address: of the call before it, which may be the last of its function.
    fn call_before(&mut self, address: u64) -> fmt::Result {
        match &mut self.repeated {
            Some((last, times)) if *last == address => {
                *times += 1;
                self.number += 1;
                return Ok(());
            }
            _ => self.end_of_repeated()?,
        }
        self.repeated = Some((address, 0));
        self.line(address, Symbol::of_call(address))
    }

    /// The caller of code that has no frame, which the walk does not see: its return address is
    /// on top of the stack.
    fn caller_on_stack(&mut self, pc: u64, top: [u64; 2]) -> fmt::Result {
        let address = CallerPlace::of(pc).address(top);
        address.map_or(Ok(()), |address| self.call_before(address))
    }

    fn line(&mut self, address: u64, symbol: Symbol) -> fmt::Result {
        let number = self.number;
        self.number += 1;
        writeln!(self.f, "#{number:02} [<{address:#018x}>]{symbol}")
    }

    fn end_of_repeated(&mut self) -> fmt::Result {
        match self.repeated.take() {
            Some((_, times)) if times > 0 => writeln!(self.f, "    and {times} times more"),
            _ => Ok(()),
        }
    }
}

/// Where code has its caller.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum CallerPlace {
    /// Where the frame pointer leads, or nothing is known of the code.
    Frame,
    /// In this one of the words on top of its stack.
    OnTop(usize),
    /// Further behind on its stack: the walk over frame pointers passes over it.
    Lost,
}

impl CallerPlace {
    /// That of the code at `pc`.
    #[must_use]
    pub fn of(pc: u64) -> Self {
        let words = match (frame_of(pc), code_at(pc)) {
            (Some(Frame::Set), _) => return Self::Frame,
            (Some(Frame::Missing(words)), _) => usize::try_from(words).ok(),
            (None, Some(code)) => match code.words_to_return_address() {
                None => return Self::Frame,
                words => words,
            },
            // Called by a pointer that leads to no code.
            (None, None) => Some(0),
        };
        let words = words.filter(|&words| words < 2);
        words.map_or(Self::Lost, Self::OnTop)
    }

    /// The return address, if it is among these words on top of the stack.
    #[must_use]
    pub fn address(self, top: [u64; 2]) -> Option<u64> {
        let Self::OnTop(words) = self else {
            return None;
        };
        let address = top.get(words).copied();
        address.filter(|&it| linked::text().contains(CodeAddress(it)))
    }
}

/// What the function at `pc` has on its stack there, as its instructions say.
fn frame_of(pc: u64) -> Option<Frame> {
    let start = image::function_at(pc)?.start;
    let fetch = |offset: u64| {
        let mut code = [0; LONGEST];
        for (address, byte) in (start + offset..).zip(&mut code) {
            *byte = byte_of_text(address).unwrap_or_default();
        }
        code
    };
    let length = |code: &[u8; LONGEST]| {
        let decoded = InstDecoder::default().decode(&mut U8Reader::new(code));
        decoded.ok().map(|instruction| instruction.len().to_const())
    };
    caller::frame_at(pc - start, fetch, length)
}

/// What there is at an address; `None` if it is no code.
fn code_at(address: u64) -> Option<Interrupted> {
    Some(Interrupted {
        into: image::function_at(address).map(|function| address - function.start),
        before: byte_of_text(address.wrapping_sub(1)).unwrap_or_default(),
        first: byte_of_text(address)?,
    })
}

fn byte_of_text(address: u64) -> Option<u8> {
    let is_text = linked::text().contains(CodeAddress(address));
    let at: *const u8 = VirtAddr::new_truncate(address).as_ptr();
    // SAFETY: in the kernel's text, which is mapped for ever.
    is_text.then(|| unsafe { at.read_volatile() })
}

/// The name of code, behind a space, and how far it is from the function's start; nothing if
/// that is not known.
pub struct Symbol {
    address: u64,
    /// An address in the function.
    within: u64,
}

impl Symbol {
    /// Of an instruction.
    #[must_use]
    pub const fn of_instruction(address: u64) -> Self {
        Self {
            address,
            within: address,
        }
    }

    /// Of a return address.
    #[must_use]
    pub const fn of_call(address: u64) -> Self {
        Self {
            address,
            within: address.wrapping_sub(1),
        }
    }
}

impl fmt::Display for Symbol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(function) = image::function_at(self.within) else {
            return Ok(());
        };
        let offset = self.address.wrapping_sub(function.start);
        write!(f, " {}+{offset:#x}", function.name)
    }
}
