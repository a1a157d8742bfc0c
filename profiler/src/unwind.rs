//! The bounded walk over frame pointers.
//!
//! Every function of the kernel keeps a *frame pointer* in `rbp`: it points at a
//! pair of words, the caller's frame pointer and the return address. The pairs
//! form a list, innermost first, and walking it gives the chain of calls.
//!
//! The code that an NMI interrupts can be anything: a function's first
//! instruction, a context switch, an idle loop that is throwing its stack away,
//! or code that has just corrupted its own frame. So a frame pointer is an
//! *allegation*. [`StackBounds::slot`] is the one place that turns it into a
//! proven address, a [`Slot`]: aligned, on the stack that the walk is on, and
//! above everything that the walk has already passed. Only slots are loaded
//! from, and each step goes strictly up or to another stack with one more word
//! in the chain, so the walk ends after at most [`MAX_CHAIN`] steps, whatever
//! the memory holds.
//!
//! [`MAX_CHAIN`]: crate::format::sample::MAX_CHAIN
//!
//! # Code without a frame of its own
//!
//! A kernel has some code in assembly that no frame pointer describes: the entry
//! stubs of interrupts, the switch from one stack to another, the bottom of a
//! stack. For each of its instructions the kernel knows where the caller is, and
//! says so by a [`Rule`].
//!
//! An entry stub saves the interrupted registers as a *trap frame*, points `rbp`
//! at it and calls the dispatcher. A return address right behind that call
//! therefore means that the frame pointer stored next to it leads to a trap
//! frame ([`Rule::TrapFrame`]). There the walk crosses to the code that was
//! interrupted, on whatever stack that was. Before and after that, what the
//! processor pushed lies at a known distance above the stack pointer
//! ([`Rule::Interrupted`]).
//!
//! # Where a chain is complete
//!
//! | what the walk finds | end |
//! |---|---|
//! | frame pointer 0 in code of a [`Rule::Root`] | complete |
//! | frame pointer 0 saved beside a return address 0, unless [`Target::has_root_rules`] | complete |
//! | frame pointer 0 anywhere else | [`ChainEnd::FrameNull`] |
//! | frame pointer 0 in the user's program | complete |
//!
//! A kernel whose stacks begin in assembly has a root there: it zeroes `rbp` and calls the
//! first function. A boot loader that enters compiled code directly zeroes `rbp` and pushes
//! a return address of 0 (the Limine protocol does), and the first function saves both.
//!
//! # Where the user's program begins
//!
//! What an interrupt pushed says whether it came from the kernel or from the user's program. At the
//! latter the walk crosses the *border* ([`ChainEntry::Border`]) and goes on in the program's
//! memory ([`user`]), as far as [`Target::user_memory`] says where that is. SYSCALL pushes
//! nothing: where the program's registers are in its entry, and in the exit by SYSRET, say
//! [`Rule::SystemCall`], and then [`Rule::Interrupted`], of what the entry has pushed
//! as an interrupt would, with [`SYSCALL`] in place of a vector.

pub mod assembly;
pub(crate) mod fast;
pub mod user;

use crate::address::{CodeAddress, CodeRange, StackAddress, UserAddress};
use crate::format::sample::{Chain, ChainEnd, ChainEntry, UNKNOWN_VECTOR};

/// Bytes in a word.
const WORD: u64 = 8;

/// What stands in place of a vector where SYSCALL came from the user's program: behind those of
/// interrupts.
pub const SYSCALL: u16 = 256;

/// The vectors that there are, and [`SYSCALL`].
const VECTORS: u64 = SYSCALL as u64 + 1;

/// A word on a stack: aligned and within the bounds of a stack that the core
/// knows; or a word of the user's memory, where the kernel has that mapped. It cannot be made in any
/// other way than by [`StackBounds::slot`], and by the walk in [`user`].
///
/// ```
/// use profiler::address::StackAddress;
/// use profiler::unwind::StackBounds;
///
/// let stack = StackBounds { low: 0x1000, high: 0x2000 };
/// let slot = stack.slot(StackAddress(0x1ff0), 2, StackAddress(0x1f00)).unwrap();
/// assert_eq!(slot.address(), 0x1ff0);
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Slot(u64);

impl Slot {
    /// The address of the word.
    #[must_use]
    pub const fn address(self) -> u64 {
        self.0
    }
}

/// The part of a stack that a walk may look at: `low` up to, not including,
/// `high`.
///
/// ```
/// use profiler::address::StackAddress;
/// use profiler::format::ChainEnd;
/// use profiler::unwind::StackBounds;
///
/// let stack = StackBounds { low: 0x1000, high: 0x2000 };
/// let sp = StackAddress(0x1f00);
/// assert!(stack.holds_pointer(sp));
///
/// // What a frame pointer may be that has two words there, and what it may not.
/// assert!(stack.slot(StackAddress(0x1ff0), 2, sp).is_ok());
/// assert_eq!(stack.slot(StackAddress(0x1ff8), 2, sp), Err(ChainEnd::FrameAbove));
/// assert_eq!(stack.slot(StackAddress(0x1ef8), 2, sp), Err(ChainEnd::FrameBelow));
/// assert_eq!(stack.slot(StackAddress(0x1ff1), 2, sp), Err(ChainEnd::FrameMisaligned));
/// assert_eq!(stack.slot(StackAddress(0), 2, sp), Err(ChainEnd::FrameNull));
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct StackBounds {
    /// The lowest address of the stack's memory.
    pub low: u64,
    /// The first address past it.
    pub high: u64,
}

impl StackBounds {
    /// Returns true if a stack pointer with the value `address` is on this stack. An
    /// empty stack's pointer equals `high`.
    #[must_use]
    pub const fn holds_pointer(&self, address: StackAddress) -> bool {
        self.low <= address.0 && address.0 <= self.high
    }

    /// Returns the slot at `address` if `words` words from there lie on this stack, none
    /// of them below `floor`.
    ///
    /// # Errors
    ///
    /// The end of a walk whose frame pointer is `address`.
    pub fn slot(
        &self,
        address: StackAddress,
        words: u64,
        floor: StackAddress,
    ) -> Result<Slot, ChainEnd> {
        let address = address.0;
        if address == 0 {
            return Err(ChainEnd::FrameNull);
        }
        if !address.is_multiple_of(WORD) {
            return Err(ChainEnd::FrameMisaligned);
        }
        if address < floor.0 || address < self.low {
            return Err(ChainEnd::FrameBelow);
        }
        match address.checked_add(words * WORD) {
            Some(end) if end <= self.high => Ok(Slot(address)),
            _ => Err(ChainEnd::FrameAbove),
        }
    }
}

/// The registers of the code that was interrupted.
///
/// ```
/// use profiler::address::{CodeAddress, StackAddress};
/// use profiler::unwind::Registers;
///
/// // What an interrupt's handler finds: the program counter and the stack pointer that the
/// // processor pushed, and the frame pointer that the handler's entry saved.
/// fn registers(rip: u64, rsp: u64, rbp: u64) -> Registers {
///     Registers { pc: CodeAddress(rip), sp: StackAddress(rsp), fp: StackAddress(rbp) }
/// }
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Registers {
    /// The instruction that was about to execute.
    pub pc: CodeAddress,
    /// The stack pointer.
    pub sp: StackAddress,
    /// The frame pointer.
    pub fp: StackAddress,
}

/// Where the registers of interrupted code are saved, in words from the trap frame's
/// start, to which `rbp` points.
///
/// ```
/// use profiler::unwind::TrapFrameLayout;
///
/// // Entries that push the vector, an error code or 0, then 15 registers, rbp last.
/// const LAYOUT: TrapFrameLayout = TrapFrameLayout {
///     fp: 0,
///     vector: Some(15),
///     pc: 17,
///     sp: 20,
///     words: 22,
/// };
/// assert_eq!(LAYOUT, profiler::entry::TrapFrame::LAYOUT);
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct TrapFrameLayout {
    /// The interrupted frame pointer.
    pub fp: u64,
    /// The vector, if the frame has it.
    pub vector: Option<u64>,
    /// The interrupted program counter.
    pub pc: u64,
    /// The interrupted stack pointer.
    pub sp: u64,
    /// The length of a trap frame.
    pub words: u64,
}

impl TrapFrameLayout {
    /// Where the interrupted code's selector is: right above the program counter, where the words
    /// are as the processor pushes them.
    #[must_use]
    pub const fn cs(&self) -> Option<u64> {
        if self.sp == self.pc + 3 {
            Some(self.pc + 1)
        } else {
            None
        }
    }

    /// The frame of a compiled handler (`extern "x86-interrupt"` in Rust,
    /// `__attribute__((interrupt))` in C) of a vector without an error code: it pushes
    /// `rbp` right below the five words that the processor pushed.
    pub const COMPILED_HANDLER: Self = Self {
        fp: 0,
        vector: None,
        pc: 1,
        sp: 4,
        words: 6,
    };
}

/// How the code at an address keeps its caller.
///
/// ```
/// use profiler::address::CodeAddress;
/// use profiler::unwind::Rule;
///
/// /// A kernel whose one piece of assembly, at its start, calls the first function.
/// fn rule(address: CodeAddress) -> Rule {
///     if address < CodeAddress(0xffff_ffff_8000_0020) { Rule::Root } else { Rule::FramePointer }
/// }
/// # assert_eq!(rule(CodeAddress(0xffff_ffff_8000_0020)), Rule::FramePointer);
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Rule {
    /// By a frame pointer, except in the first and last instructions: compiled
    /// code.
    FramePointer,
    /// The frame pointer leads to a trap frame, not to a pair of words.
    TrapFrame,
    /// The code was entered by an interrupt. What the processor pushed lies
    /// `words` words above the stack pointer, lowest the program counter; the
    /// frame pointer is still, or again, the interrupted code's.
    Interrupted {
        /// From the stack pointer to the interrupted program counter.
        words: u64,
        /// The vector, or [`SYSCALL`], if it does not stand where a trap frame has it.
        vector: Option<u16>,
    },
    /// The stack was just switched, and the frame pointer is not of this one: the
    /// one that is lies `words` words above the stack pointer, with its return
    /// address behind it.
    Saved {
        /// From the stack pointer to the saved frame pointer.
        words: u64,
    },
    /// It has no caller: the root of a stack.
    Root,
    /// SYSCALL's entry, or the exit by SYSRET: the user's program counter is in `rcx`, its frame
    /// pointer in `rbp`.
    SystemCall {
        /// Where its stack pointer is.
        sp: UserSp,
    },
}

/// Where the stack pointer of the user's program is, in the entry of SYSCALL and the exit by SYSRET.
///
/// ```
/// use profiler::unwind::{Rule, UserSp};
///
/// // An entry's instructions: `swapgs`, the switch of stacks, and behind the push of ss and rsp.
/// let rules = [UserSp::Register, UserSp::Saved, UserSp::Pushed(0)].map(|sp| Rule::SystemCall { sp });
/// assert!(rules.contains(&Rule::SystemCall { sp: UserSp::Saved }));
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum UserSp {
    /// In the stack pointer: the stack was not switched yet, or is again the program's.
    Register,
    /// In the word of the core that [`Target::user_sp`] reads.
    Saved,
    /// So many words above the stack pointer, on the kernel's stack.
    Pushed(u64),
}

/// What a walk begins at: code that was interrupted, with more of its registers.
///
/// ```
/// use profiler::address::{CodeAddress, StackAddress};
/// use profiler::unwind::{Registers, Start};
///
/// let registers = Registers {
///     pc: CodeAddress(0x40_1000),
///     sp: StackAddress(0x7fff_f000),
///     fp: StackAddress(0),
/// };
/// assert!(Start { is_user: true, ..Start::from(registers) }.rcx.is_none());
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Start {
    /// Where it was.
    pub registers: Registers,
    /// Its `rcx`, if that is known: for [`Rule::SystemCall`].
    pub rcx: Option<u64>,
    /// It is the user's program.
    pub is_user: bool,
}

impl From<Registers> for Start {
    /// Code of the kernel.
    #[inline]
    fn from(registers: Registers) -> Self {
        Self {
            registers,
            rcx: None,
            is_user: false,
        }
    }
}

/// What the walk asks of a kernel, on the running core.
///
/// Only the text and the stacks have no default. A kernel that says no more gets true
/// chains, which end at the first code that keeps no frame pointer.
///
/// # Safety
///
/// 1. Every aligned word within bounds that [`Self::stack_of`] returns is mapped and may be
///    read until the walk ends: no guard pages, no memory of devices, nothing that another
///    core unmaps meanwhile. Whether it changes meanwhile does not matter: it is read by
///    volatile loads, any value is valid, and none is believed unproven.
/// 2. So is and may every aligned word of the memory that [`Self::user_memory`] names, where its
///    direct map has it.
///
/// An implementation whose [`Self::load`] reads elsewhere (a copy of a stack, as in a test)
/// has to be sound for every slot in those bounds instead.
///
/// ```
/// use profiler::address::{CodeAddress, CodeRange, StackAddress};
/// use profiler::format::sample::{Chain, ChainEnd};
/// use profiler::unwind::{Registers, StackBounds, Target, walk};
///
/// /// A stack of four words: a frame, and above it the first function's.
/// struct Stack([u64; 4]);
///
/// // SAFETY: the words of the array can be read as long as the value lives.
/// unsafe impl Target for Stack {
///     fn text(&self) -> CodeRange {
///         CodeRange { start: CodeAddress(0x1000), end: CodeAddress(0x2000) }
///     }
///
///     fn stack_of(&self, sp: StackAddress) -> Option<StackBounds> {
///         let low = self.0.as_ptr() as u64;
///         let stack = StackBounds { low, high: low + 32 };
///         stack.holds_pointer(sp).then_some(stack)
///     }
/// }
///
/// let mut stack = Stack([0; 4]);
/// let low = stack.0.as_ptr() as u64;
/// stack.0 = [low + 16, 0x1234, 0, 0];
/// let interrupted = Registers {
///     pc: CodeAddress(0x1500),
///     sp: StackAddress(low),
///     fp: StackAddress(low),
/// };
/// let mut chain = Chain::new();
/// assert_eq!(walk(interrupted, &stack, &mut chain), ChainEnd::Complete);
/// assert_eq!(chain.words(), [0x1234]);
/// ```
pub unsafe trait Target {
    /// The kernel's text: return addresses lie in it.
    fn text(&self) -> CodeRange;

    /// The stack that a stack pointer is on; `None` if this core may not read it.
    ///
    /// The bounds may be wider than the stack, as long as they can be read: what lies
    /// beyond is then believed as if it were the stack's.
    fn stack_of(&self, sp: StackAddress) -> Option<StackBounds>;

    /// How code keeps its caller while the instruction at `address` has not been
    /// executed.
    #[inline]
    fn rule(&self, address: CodeAddress) -> Rule {
        let _ = address;
        Rule::FramePointer
    }

    /// Returns true if every stack of the kernel begins in code of a [`Rule::Root`]. Then
    /// two zeros in place of a frame pointer and a return address are not taken for a
    /// stack's root: they are an overwritten frame.
    #[inline]
    fn has_root_rules(&self) -> bool {
        false
    }

    /// Returns true if the instruction at `address` is of a function that entry stubs
    /// call. Such a function calls no other one as its last step (by a jump).
    #[inline]
    fn is_called_by_stub(&self, address: CodeAddress) -> bool {
        let _ = address;
        false
    }

    /// What a trap frame looks like, if [`Self::rule`] ever says that there is one.
    #[inline]
    fn trap_frame_layout(&self) -> TrapFrameLayout {
        TrapFrameLayout::COMPILED_HANDLER
    }

    /// Where a trap frame has the interrupted `rcx`, in words from its start, if it has. What the
    /// entry has pushed of a frame lies where it does in a whole one.
    #[inline]
    fn rcx_in_trap_frame(&self) -> Option<u64> {
        None
    }

    /// Where the memory of the user's program is that was interrupted (`stack` is `None`), or that
    /// the kernel serves on the stack of its own to which the stack pointer `stack` points. `None`:
    /// there is none, or it is not known.
    ///
    /// The program of a stack stays the same as long as there is a border on it, whatever page tables
    /// are in force: a task may be left, for another program's, with its frames on its stack.
    #[inline]
    fn user_memory(&self, stack: Option<StackAddress>) -> Option<user::UserMemory> {
        let _ = stack;
        None
    }

    /// The word in which the entry of SYSCALL, and the exit by SYSRET, keep the user's stack pointer
    /// on this core: for [`UserSp::Saved`].
    #[inline]
    fn user_sp(&self) -> Option<StackAddress> {
        None
    }

    /// Loads a word from a stack, or from a user's memory.
    #[inline]
    fn load(&self, slot: Slot) -> u64 {
        // SAFETY: a slot is aligned and within bounds that `stack_of` returned or in memory that
        // `user_memory` names, so it can be read (the trait's conditions). Volatile: the compiler
        // must not assume a value, as interrupted code or another core may be writing it.
        unsafe { (slot.address() as *const u64).read_volatile() }
    }
}

/// What a walk appends the chain to.
pub(crate) trait Append {
    /// Appends an entry.
    ///
    /// # Errors
    ///
    /// [`ChainEnd::DepthLimit`] if there is no room for all of it.
    fn push(&mut self, entry: ChainEntry) -> Result<(), ChainEnd>;

    /// Appends a return address of the program whose part of the chain was begun.
    ///
    /// # Errors
    ///
    /// Likewise.
    #[inline(always)]
    fn push_of_program(&mut self, caller: UserAddress) -> Result<(), ChainEnd> {
        self.push(ChainEntry::Return(caller.code()))
    }

    /// Appends callers of `frame`, which is on `stack`, in a way of its own, as far as it has one.
    /// Returns the frame to go on from.
    #[inline(always)]
    fn pass(&mut self, frame: Frame, stack: StackBounds) -> Frame {
        let _ = stack;
        frame
    }
}

impl Append for Chain {
    #[inline]
    fn push(&mut self, entry: ChainEntry) -> Result<(), ChainEnd> {
        Self::push(self, entry)
    }
}

/// Walks from `interrupted`, code of the kernel, outwards and appends the callers to `chain`.
///
/// The program counter itself is the caller's to record. However the walk ends,
/// what `chain` holds is true as far as the stack was.
pub fn walk(interrupted: Registers, target: &impl Target, chain: &mut Chain) -> ChainEnd {
    walk_to(chain, interrupted.into(), target)
}

/// The same from whatever was interrupted, the user's program too.
pub fn walk_from(start: Start, target: &impl Target, chain: &mut Chain) -> ChainEnd {
    walk_to(chain, start, target)
}

/// What a record has of the code that was interrupted, beside the chain.
///
/// ```
/// use profiler::address::CodeAddress;
/// use profiler::format::ChainEnd;
/// use profiler::unwind::Walked;
///
/// let walked = Walked { end: ChainEnd::Complete, pc: CodeAddress(0x1000), stack_top: [0; 2] };
/// assert_eq!(walked.end.name(), "complete");
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Walked {
    /// How the walk ended.
    pub end: ChainEnd,
    /// Where it was: of the user's program with the number of that.
    pub pc: CodeAddress,
    /// The two words on top of its stack: of the user's those that may be return addresses.
    pub stack_top: [u64; 2],
}

/// The same, with all that a record has of what was interrupted.
#[inline]
pub fn walk_with_top(start: Start, target: &impl Target, chain: &mut Chain) -> Walked {
    if start.is_user {
        return user::walk_with_top(start.registers, target, chain);
    }
    Walked {
        end: walk_to(chain, start, target),
        pc: start.registers.pc,
        stack_top: top_of(start, target),
    }
}

/// The same, for any chain.
pub(crate) fn walk_to(
    chain: &mut impl Append,
    interrupted: Start,
    target: &impl Target,
) -> ChainEnd {
    if interrupted.is_user {
        return user::walk(interrupted.registers, target, chain);
    }
    let mut at = interrupted;
    // Each turn of the loop appends at least one word to the chain, or ends.
    loop {
        let rule = target.rule(at.registers.pc);
        // Before the stack pointer is looked at, which may be the program's.
        if let Rule::SystemCall { sp } = rule {
            return at_system_call(at, sp, target, chain);
        }
        let sp = at.registers.sp;
        let Some(stack) = target.stack_of(sp) else {
            return ChainEnd::UnknownStack;
        };
        match walk_stack(at, rule, stack, target, chain) {
            Ok(Beyond::Kernel(beyond)) => at = beyond,
            Ok(Beyond::User(border)) => return user::cross(border, Some(sp), target, chain),
            Err(end) => return end,
        }
    }
}

/// Crosses the border in the entry of SYSCALL or the exit by SYSRET.
#[cold]
fn at_system_call(
    at: Start,
    user_sp: UserSp,
    target: &impl Target,
    chain: &mut impl Append,
) -> ChainEnd {
    let Registers { sp: here, fp, .. } = at.registers;
    let sp = match user_sp {
        UserSp::Register => Some(here),
        UserSp::Saved => target.user_sp(),
        UserSp::Pushed(words) => target.stack_of(here).and_then(|stack| {
            let pushed = StackAddress(here.0.wrapping_add(words * WORD));
            let slot = stack.slot(pushed, 1, here).ok()?;
            Some(StackAddress(target.load(slot)))
        }),
    };
    let (Some(pc), Some(sp)) = (at.rcx.map(CodeAddress), sp) else {
        return ChainEnd::UserUnknown;
    };
    let border = user::Border {
        vector: None,
        registers: Registers { pc, sp, fp },
    };
    // Where the stack pointer is the program's there is no other to tell it by than the core.
    let stack = (user_sp != UserSp::Register).then_some(here);
    user::cross(border, stack, target, chain)
}

/// What lies beyond an interrupt.
enum Beyond {
    Kernel(Start),
    User(user::Border),
}

/// Walks the frames of one stack to its root or to an interrupt. Returns what that interrupted.
fn walk_stack(
    at: Start,
    rule: Rule,
    stack: StackBounds,
    target: &impl Target,
    chain: &mut impl Append,
) -> Result<Beyond, ChainEnd> {
    let Registers { pc, sp, fp } = at.registers;
    let mut frame = Frame {
        code: pc,
        fp,
        floor: sp,
    };
    match rule {
        Rule::FramePointer if is_trap_call(at.registers, stack, target) => {
            return cross(frame, stack, target, chain);
        }
        Rule::TrapFrame => return cross(frame, stack, target, chain),
        Rule::Interrupted { words, vector } => {
            return cross_pushed(at, words, vector, stack, target, chain);
        }
        Rule::Saved { words } => {
            let saved = StackAddress(sp.0.wrapping_add(words * WORD));
            frame = caller(saved, sp, stack, target, chain)?;
        }
        // A root is one, here or below, only if the frame pointer says so as well. A system call's
        // entry has no frame that could be returned to.
        Rule::FramePointer | Rule::Root | Rule::SystemCall { .. } => {}
    }
    // A chain holds a bounded number of words and each turn appends one.
    loop {
        frame = chain.pass(frame, stack);
        match target.rule(frame.code) {
            Rule::TrapFrame => return cross(frame, stack, target, chain),
            Rule::Root if frame.fp.0 == 0 => return Err(ChainEnd::Complete),
            _ => frame = caller(frame.fp, frame.floor, stack, target, chain)?,
        }
    }
}

/// A function of the chain.
#[derive(Clone, Copy)]
pub(crate) struct Frame {
    /// The instruction that it is at, or returns to.
    code: CodeAddress,
    fp: StackAddress,
    /// Its frame lies at or above this.
    floor: StackAddress,
}

/// Appends the return address at `pair` and returns the caller's frame.
fn caller(
    pair: StackAddress,
    floor: StackAddress,
    stack: StackBounds,
    target: &impl Target,
    chain: &mut impl Append,
) -> Result<Frame, ChainEnd> {
    let pair = stack.slot(pair, 2, floor)?;
    let fp = StackAddress(target.load(pair));
    let code = CodeAddress(target.load(Slot(pair.0 + WORD)));
    if !target.text().contains(code) {
        let is_root = fp.0 == 0 && code.0 == 0 && !target.has_root_rules();
        return Err(if is_root {
            ChainEnd::Complete
        } else {
            ChainEnd::ReturnOutsideText
        });
    }
    chain.push(ChainEntry::Return(code))?;
    let floor = StackAddress(pair.0 + 2 * WORD);
    Ok(Frame { code, fp, floor })
}

/// Returns true if `at` is in the first or last instructions of the dispatcher that an
/// entry stub has called: the frame pointer is still, or again, the trap frame's
/// address, and the call has left its return address right below. Between that
/// and the stack pointer lies nothing, or the frame pointer that the dispatcher
/// has just saved.
fn is_trap_call(at: Registers, stack: StackBounds, target: &impl Target) -> bool {
    if !target.is_called_by_stub(at.pc) {
        return false;
    }
    let below = at.fp.0.wrapping_sub(WORD);
    let saved = below.wrapping_sub(WORD);
    if at.sp.0 != below && at.sp.0 != saved {
        return false;
    }
    let Ok(slot) = stack.slot(StackAddress(below), 1, at.sp) else {
        return false;
    };
    if target.rule(CodeAddress(target.load(slot))) != Rule::TrapFrame {
        return false;
    }
    // Later in the function the word may be left over from a trap before. Then what
    // the frame pointer leads to is no trap frame.
    let layout = target.trap_frame_layout();
    let Ok(frame) = stack.slot(at.fp, layout.words, at.sp) else {
        return false;
    };
    let field = |words: u64| target.load(Slot(frame.0 + words * WORD));
    let has_vector = layout.vector.is_none_or(|words| field(words) < VECTORS);
    let is_code = || {
        let is_user = layout.cs().is_some_and(|words| is_users(field(words)));
        is_user || target.text().contains(CodeAddress(field(layout.pc)))
    };
    has_vector && is_code()
}

/// Crosses the trap frame that the frame pointer of `at` leads to.
fn cross(
    at: Frame,
    stack: StackBounds,
    target: &impl Target,
    chain: &mut impl Append,
) -> Result<Beyond, ChainEnd> {
    let layout = target.trap_frame_layout();
    let frame = stack.slot(at.fp, layout.words, at.floor)?;
    // Within the frame, so proven with it.
    let field = |words: u64| target.load(Slot(frame.0 + words * WORD));
    let interrupted = Start {
        registers: Registers {
            pc: CodeAddress(field(layout.pc)),
            sp: StackAddress(field(layout.sp)),
            fp: StackAddress(field(layout.fp)),
        },
        rcx: target.rcx_in_trap_frame().map(field),
        is_user: layout.cs().is_some_and(|words| is_users(field(words))),
    };
    let vector = layout.vector.map_or(UNKNOWN_VECTOR.into(), field);
    push_crossing(vector, interrupted, target, chain)
}

/// Returns true if a code selector is the user's.
const fn is_users(cs: u64) -> bool {
    cs & 3 != 0
}

/// Crosses the words that the processor pushed, `words` words above the stack pointer,
/// before a stub has made them a trap frame or after it has taken it down.
fn cross_pushed(
    at: Start,
    words: u64,
    vector: Option<u16>,
    stack: StackBounds,
    target: &impl Target,
    chain: &mut impl Append,
) -> Result<Beyond, ChainEnd> {
    // Program counter, code segment, flags, stack pointer, stack segment (SDM vol.
    // 3, figure 7-8).
    let Registers { sp, fp, .. } = at.registers;
    let pushed = StackAddress(sp.0.wrapping_add(words * WORD));
    let pushed = stack.slot(pushed, 5, sp)?;
    let field = |words: u64| target.load(Slot(pushed.0 + words * WORD));
    let layout = target.trap_frame_layout();
    let interrupted = Start {
        registers: Registers {
            pc: CodeAddress(field(0)),
            sp: StackAddress(field(3)),
            fp,
        },
        rcx: pushed_rcx(at, words, pushed, layout, target),
        is_user: is_users(field(1)),
    };
    let vector = match (vector, layout.vector) {
        (Some(vector), _) => vector.into(),
        // It may have been popped off just now, so it can lie below the stack pointer.
        (None, Some(words)) => {
            let distance = layout.pc.wrapping_sub(words).wrapping_mul(WORD);
            let address = StackAddress(pushed.0.wrapping_sub(distance));
            target.load(stack.slot(address, 1, StackAddress(stack.low))?)
        }
        (None, None) => UNKNOWN_VECTOR.into(),
    };
    push_crossing(vector, interrupted, target, chain)
}

/// The interrupted `rcx` where the entry has pushed `words` words below `pushed`: one of them, or
/// the register's still.
fn pushed_rcx(
    at: Start,
    words: u64,
    pushed: Slot,
    layout: TrapFrameLayout,
    target: &impl Target,
) -> Option<u64> {
    let distance = layout.pc.checked_sub(target.rcx_in_trap_frame()?)?;
    if distance > words {
        return at.rcx;
    }
    // Above the stack pointer, so on the stack.
    Some(target.load(Slot(pushed.0 - distance * WORD)))
}

fn push_crossing(
    vector: u64,
    interrupted: Start,
    target: &impl Target,
    chain: &mut impl Append,
) -> Result<Beyond, ChainEnd> {
    let registers = interrupted.registers;
    if interrupted.is_user {
        return Ok(Beyond::User(user::Border {
            vector: vector.try_into().ok().or_else(|| {
                // What no stub pushes is no vector.
                (vector != SYSCALL.into()).then_some(UNKNOWN_VECTOR)
            }),
            registers,
        }));
    }
    if !target.text().contains(registers.pc) {
        return Err(ChainEnd::InterruptedOutsideText);
    }
    chain.push(ChainEntry::Crossing {
        // The stub pushed it as a byte's worth.
        #[allow(clippy::cast_possible_truncation)]
        vector: vector as u8,
        pc: registers.pc,
        caller_known: is_caller_known(registers.pc, target),
        stack_top: top_of(interrupted, target),
    })?;
    Ok(Beyond::Kernel(interrupted))
}

/// Returns true if the chain from `pc` lacks no caller, whatever is on top of the stack:
/// the kernel has a rule for it.
pub fn is_caller_known(pc: CodeAddress, target: &impl Target) -> bool {
    target.rule(pc) != Rule::FramePointer
}

/// The two words on top of the stack that `sp` points to, lowest first; 0 where
/// the stack has none or is not known.
///
/// In a function's first and last instructions the frame pointer is still, or
/// again, the caller's: the return address is then one of these words, and the
/// host finds it by the call-frame information.
pub fn stack_top(sp: StackAddress, target: &impl Target) -> [u64; 2] {
    let Some(stack) = target.stack_of(sp) else {
        return [0; 2];
    };
    [0, WORD].map(|offset| {
        let word = StackAddress(sp.0.wrapping_add(offset));
        stack.slot(word, 1, sp).map_or(0, |slot| target.load(slot))
    })
}

/// An address of the code that was interrupted, as a record has it: of the user's program with the
/// number of that.
pub fn recorded(address: CodeAddress, start: Start, target: &impl Target) -> CodeAddress {
    if start.is_user {
        user::recorded(address, target)
    } else {
        address
    }
}

/// The two words on top of the stack of the kernel's code that was interrupted, as above.
fn top_of(start: Start, target: &impl Target) -> [u64; 2] {
    let Registers { pc, sp, .. } = start.registers;
    // It may be the program's, which may have an address of the kernel's there.
    let is_users = matches!(
        target.rule(pc),
        Rule::SystemCall {
            sp: UserSp::Register
        }
    );
    if is_users {
        [0; 2]
    } else {
        stack_top(sp, target)
    }
}

#[cfg(all(test, not(loom)))]
mod tests;
