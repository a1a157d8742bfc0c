//! What the sampler asks of the kernel that it is linked into.

use core::fmt;
use core::ptr;
use core::sync::atomic::AtomicU8;

use crate::address::{CodeAddress, CodeRange, StackAddress};
use crate::contract::capabilities::Line;
use crate::entry::fast::Handover;
use crate::entry::{self, NoBreakpoint, TrapFrame};
use crate::format::{Clock, Source};
use crate::hw::exit;
use crate::linked;
use crate::unwind::user::UserMemory;
use crate::unwind::{Registers, Rule, StackBounds, Start, TrapFrameLayout, assembly};

/// The kernel that is sampled.
///
/// Everything but [`Self::stack_of`] has a default, which suits a kernel that has no
/// assembly but the sampler's own, links by the fragment `pmiscope.ld` and runs one task
/// on each core.
///
/// While a run is planned or changed, [`Self::show`], [`Self::set_paused`] and
/// [`Self::check_breakpoint`] are called on a stack of the sampler's, and interrupts come on it.
///
/// # Safety
///
/// 1. Each word within the bounds that [`Self::stack_of`] returns is mapped, and may be
///    read at any time from then on, whatever the kernel does. So is all that [`Self::text`]
///    returns, under whatever page tables the kernel's code runs, what it has executed at its
///    start alone included: an NMI's handler looks for a `hlt` at the interrupted address. So is
///    the memory that [`Self::user_memory`] names.
/// 2. All methods may be called in an NMI handler: they take no lock, allocate nothing,
///    cannot fault and return soon. Over a program of the user, and in the kernel's entry from
///    one, GS is the user's still.
/// 3. Before [`super::Sampler::start`], `list` and `join` are called, the running core has
///    the gates of the sampler's interrupts, its gate of #GP leads to
///    [`entry_before`](crate::entry::protection::entry_before), or the handler asks
///    [`super::Sampler::on_general_protection`]; and what [`super::Config`] says is mapped is
///    mapped from then on.
/// 4. Gates, entries, the sampler's statics and memory, and the APIC's page are mapped under all
///    page tables that are in use while an interrupt of the sampler's can come.
/// 5. No exception that returns has an interrupt stack (IST) of its own but those of
///    [`super::gates()`]: an NMI in its handler would be handled over another one's frames.
///
/// ```
/// use profiler::address::StackAddress;
/// use profiler::sampler::Target;
/// use profiler::unwind::StackBounds;
///
/// #[repr(align(16))]
/// struct Stack([u8; 65536]);
/// static STACK: Stack = Stack([0; 65536]);
///
/// struct ThisKernel;
///
/// // SAFETY: the stack is a static, and looking it up is arithmetic.
/// unsafe impl Target for ThisKernel {
///     fn stack_of(&self, _core: u32, sp: StackAddress) -> Option<StackBounds> {
///         let low = STACK.0.as_ptr() as u64;
///         let stack = StackBounds { low, high: low + STACK.0.len() as u64 };
///         stack.holds_pointer(sp).then_some(stack)
///     }
/// }
/// ```
pub unsafe trait Target: Sync + 'static {
    /// Every stack of the kernel begins in assembly of a [`Rule::Root`]: see
    /// [`crate::unwind::Target::has_root_rules`].
    const HAS_ROOT_RULES: bool = false;

    /// The stack of `core`, the running core, that the stack pointer `sp` is on; `None`
    /// if it is on none that may be looked at. The walk goes no further than that.
    ///
    /// The pointer of an empty stack equals the stack's upper end.
    fn stack_of(&self, core: u32, sp: StackAddress) -> Option<StackBounds>;

    /// What `core` works on: what [`super::Config::task_name`] names.
    #[inline]
    fn task(&self, _core: u32) -> u16 {
        0
    }

    /// What of this kernel stays as it is, so that the fast handler need not ask each time: see
    /// [`Settled`]. By default it asks.
    #[inline]
    fn settled(&self, _core: u32) -> Option<Settled> {
        None
    }

    /// Returns true if a core that is about to execute the instruction at `pc` was
    /// halted: it stands behind the kernel's `hlt`.
    #[inline]
    fn is_halted_at(&self, _pc: CodeAddress) -> bool {
        false
    }

    /// The kernel's text, without what is unmapped later. By default what the linker fragment
    /// has as such: all of `.text`.
    #[inline]
    fn text(&self) -> CodeRange {
        linked::text()
    }

    /// The part of [`Self::text`] from its start on in which each instruction keeps its caller by a
    /// frame pointer ([`Rule::FramePointer`]) and which no entry stub calls into: where most samples
    /// are walked without asking for rules. By default what lies before the assembly of
    /// [`assembly!`](crate::assembly).
    ///
    /// A kernel whose [`Self::rule`] says something else of code there has to end it before that
    /// code. An empty one has all chains walked the slow way.
    #[inline]
    fn compiled_code(&self) -> CodeRange {
        let text = self.text();
        let end = assembly::start().min(text.end);
        CodeRange {
            start: text.start,
            end: end.max(text.start),
        }
    }

    /// How the code at `address` keeps its caller: see [`Rule`]. Of code before the assembly, see
    /// [`Self::compiled_code`].
    #[inline]
    fn rule(&self, address: CodeAddress) -> Rule {
        assembly::rule(address)
    }

    /// Returns true if the instruction at `address` is of a function that entry stubs
    /// call: see [`crate::unwind::Target::is_called_by_stub`].
    #[inline]
    fn is_called_by_stub(&self, address: CodeAddress) -> bool {
        assembly::is_called_by_stub(address)
    }

    /// What a trap frame of the kernel's entry stubs looks like.
    #[inline]
    fn trap_frame_layout(&self) -> TrapFrameLayout {
        TrapFrame::LAYOUT
    }

    /// Where a trap frame has the interrupted `rcx`, in words from its start: see
    /// [`crate::unwind::Target::rcx_in_trap_frame`].
    #[inline]
    fn rcx_in_trap_frame(&self) -> Option<u64> {
        let is_ours = self.trap_frame_layout() == TrapFrame::LAYOUT;
        is_ours.then_some(TrapFrame::RCX)
    }

    /// Where the memory of a user's program is, on `core`, the running core: see
    /// [`crate::unwind::Target::user_memory`]. By default chains end where the kernel does.
    ///
    /// Of the program that was interrupted (`stack` is `None`) it is asked in an NMI too that came
    /// in the first instructions of SYSCALL's entry, or the last ones of an exit.
    #[inline]
    fn user_memory(&self, _core: u32, _stack: Option<StackAddress>) -> Option<UserMemory> {
        None
    }

    /// What the entry of SYSCALL has put into the word of `core` for the user's stack pointer: see
    /// [`crate::unwind::Target::user_sp`].
    #[inline]
    fn user_sp(&self, _core: u32) -> Option<StackAddress> {
        None
    }

    /// Makes sure that a breakpoint may be at `address`, where the command line aims at.
    ///
    /// # Errors
    ///
    /// The kernel's entry of debug exceptions executes it, or an NMI has just landed there:
    /// see [`entry::check_breakpoint`], which does so for this library's entries by default.
    fn check_breakpoint(&self, address: CodeAddress) -> Result<(), NoBreakpoint> {
        entry::check_breakpoint(address)
    }

    /// Called on each core, interrupts off, before its source is armed.
    ///
    /// Where `source` is [`Source::Pmu`], overflows do not end a halt: the kernel's own
    /// timer should, now and then. Where it is [`Source::Step`], nothing does: the kernel
    /// should not halt. Where it is [`Source::ApicTimer`], the timer of the core's APIC is
    /// the sampler's from now on, and halts are ended by it; so it is, too, where events are
    /// counted in place of samples.
    fn begin(&self, _core: u32, _source: Source, _clock: Clock) {}

    /// Called on the first core when counters are stopped until the host asks for more, or
    /// count again. While paused, the kernel should call [`super::Sampler::poll`] now and
    /// then, with interrupts on or off.
    fn set_paused(&self, _is_paused: bool) {}

    /// NMIs of `core` that the sampler never saw, or had no use for: they are added to
    /// the unclaimed ones. Those that the NMI's entry had no room for are such
    /// ([`crate::entry::stacks::TrapStacks::without_room`]).
    fn unclaimed_nmis(&self, _core: u32) -> u64 {
        0
    }

    /// Returns true if an NMI of `core` that no overflow came of is the kernel's own, so that it is not
    /// counted as unclaimed. It is asked of such a one alone, where [`Interrupted::is_kernels`] does not
    /// say so already.
    fn is_own_nmi(&self, _core: u32) -> bool {
        false
    }

    /// An NMI of `core` that is not the sampler's, where its entry is that of
    /// [`sampler_gates!`](crate::sampler_gates): one by which the kernel stops its cores, or a
    /// watchdog's. Not in a run: there the sampler counts them as unclaimed, until
    /// [`super::Sampler::stop`], `fail` or `panicked`. One of its own that comes late, when the
    /// run has ended, is such, too.
    #[inline]
    fn other_nmi(&self, _core: u32, _interrupted: &mut Interrupted) {}

    /// The same for a debug exception: a breakpoint or single step of the kernel's.
    #[inline]
    fn other_debug(&self, _core: u32, _interrupted: &mut Interrupted) {}

    /// Called where a run that has begun cannot go on, on any core, in a handler or not.
    ///
    /// By default it ends QEMU as [`exit::UNAVAILABLE`].
    fn failed(&self, _problem: &dyn fmt::Display) {
        exit::exit_qemu(exit::UNAVAILABLE);
    }

    /// Writes a line of what the machine has to sample by to the log: see
    /// [`super::Sampler::list`].
    fn show(&self, _line: &Line) {}

    /// Called on the first core, in the handler of its last sample, when every core has
    /// taken its share. If it returns, all cores resume what they did.
    ///
    /// By default it ends QEMU with success; on a machine without its device for that,
    /// nothing happens.
    fn finished(&self) {
        exit::exit_qemu(exit::SUCCESS);
    }
}

/// What a kernel says once, in place of being asked at each sample ([`Target::settled`]). It
/// promises that
///
/// * for each stack pointer within bounds that [`Target::stack_of`] has returned, it returns the
///   same upper bound for ever;
/// * [`Target::is_halted_at`] returns true in the assembly of [`assembly!`](crate::assembly) alone.
///
/// ```
/// use core::sync::atomic::AtomicU8;
/// use profiler::sampler::Settled;
///
/// /// The name of what the only core works on.
/// static TASK: AtomicU8 = AtomicU8::new(0);
///
/// // In an implementation of `Target`.
/// fn settled(_core: u32) -> Option<Settled> {
///     Some(Settled { task: Some(&TASK) })
/// }
/// # assert!(settled(0).is_some());
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Settled {
    /// Where what [`Target::task`] returns for that core stands; `None`: it is always 0.
    pub task: Option<&'static AtomicU8>,
}

/// The code that was interrupted.
///
/// ```
/// use profiler::sampler::Interrupted;
///
/// // In a handler: what the processor pushed, and the frame pointer.
/// let interrupted = Interrupted::new(0xffff_ffff_8000_1000, 0xffff_ffff_8002_1fd0, 0, 0x202);
/// assert_eq!((interrupted.privilege, interrupted.is_nested), (0, false));
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Interrupted {
    /// Where it was, on which stack, and with which frame pointer. The sampler may change
    /// where it resumes: see [`super::Sampler::on_nmi`].
    pub registers: Registers,
    /// Its flags. The sampler may change them: they are to be restored from here.
    pub flags: u64,
    /// Its privilege level, 0 to 3: the low two bits of the code selector.
    pub privilege: u8,
    /// The handler runs on top of another one of the sampler's: of a core whose stack
    /// pointer was on the stack of the NMI's handler.
    pub is_nested: bool,
    /// The kernel has a use of its own for this NMI, as its watchdog: one that finds no overflow is
    /// then not counted.
    pub is_kernels: bool,
    /// Its `rcx`, if the entry has saved it: by it the walk finds the program that a kernel with
    /// SYSCALL serves, in the first and last instructions of that.
    pub rcx: Option<u64>,
    /// What the entry says of a fast handler.
    pub(super) handover: Handover,
}

impl Interrupted {
    /// Code of the kernel, not in a handler of the sampler.
    #[must_use]
    pub const fn new(pc: u64, sp: u64, fp: u64, flags: u64) -> Self {
        Self {
            registers: Registers {
                pc: CodeAddress(pc),
                sp: StackAddress(sp),
                fp: StackAddress(fp),
            },
            flags,
            privilege: 0,
            is_nested: false,
            is_kernels: false,
            rcx: None,
            handover: Handover {
                defers: false,
                claimed: None,
            },
        }
    }
}

impl Interrupted {
    /// The code that a compiled handler has interrupted, by the address of the handler's
    /// argument: what the processor pushed.
    ///
    /// ```
    /// use profiler::sampler::{Interrupted, Sampler, Target, vector};
    ///
    /// /// Called by an `extern "x86-interrupt" fn on_overflow(frame: InterruptStackFrame)`.
    /// ///
    /// /// # Safety
    /// ///
    /// /// `frame` is that handler's argument.
    /// unsafe fn sample<Frame>(sampler: &'static Sampler<impl Target>, frame: &Frame) {
    ///     // SAFETY: by the caller's condition; the vector has no error code.
    ///     let mut interrupted = unsafe { Interrupted::of_compiled_handler(frame) };
    ///     sampler.on_interrupt_here(vector::OVERFLOW.into(), &mut interrupted);
    /// }
    /// ```
    ///
    /// What the sampler changes in it does not reach the interrupted code: not for `step`.
    ///
    /// # Safety
    ///
    /// 1. `frame` is the argument of a handler that is running, `extern "x86-interrupt"` in
    ///    Rust or `__attribute__((interrupt))` in C, of a vector without an error code.
    /// 2. The handler was compiled with frame pointers.
    #[must_use]
    #[inline(always)]
    pub unsafe fn of_compiled_handler<F>(frame: &F) -> Self {
        const LAYOUT: TrapFrameLayout = TrapFrameLayout::COMPILED_HANDLER;
        const WORD: u64 = size_of::<u64>() as u64;
        let start = ptr::from_ref(frame).expose_provenance() as u64 - LAYOUT.pc * WORD;
        let word = |words: u64| {
            // The target's addresses are 64 bits.
            #[allow(clippy::cast_possible_truncation)]
            let word = ptr::with_exposed_provenance::<u64>((start + words * WORD) as usize);
            // SAFETY: the handler has pushed the interrupted frame pointer right below what
            // the processor has pushed, by the caller's conditions.
            unsafe { word.read_volatile() }
        };
        Self {
            // The low two bits of a code selector are the privilege level.
            privilege: word(LAYOUT.pc + 1).to_le_bytes()[0] & 3,
            ..Self::new(
                word(LAYOUT.pc),
                word(LAYOUT.sp),
                word(LAYOUT.fp),
                word(LAYOUT.pc + 2),
            )
        }
    }
}

impl Interrupted {
    /// Where a walk begins.
    pub(super) const fn start(&self) -> Start {
        Start {
            registers: self.registers,
            rcx: self.rcx,
            is_user: self.privilege != 0,
        }
    }

    /// Lets the code whose frame this is resume as the sampler has it: where, and with which
    /// flags.
    #[inline]
    pub fn resume(&self, frame: &mut TrapFrame) {
        frame.rip = self.registers.pc.0;
        frame.rflags = self.flags;
    }
}

impl From<&TrapFrame> for Interrupted {
    #[inline]
    fn from(frame: &TrapFrame) -> Self {
        Self {
            // The low two bits of a code selector are the privilege level.
            privilege: frame.cs.to_le_bytes()[0] & 3,
            rcx: Some(frame.rcx),
            handover: Handover::of(frame.error_code),
            ..Self::new(frame.rip, frame.rsp, frame.rbp, frame.rflags)
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A kernel without stacks, text or assembly.
    pub(crate) struct NoKernel;

    // SAFETY: it names no stack.
    unsafe impl Target for NoKernel {
        fn stack_of(&self, _: u32, _: StackAddress) -> Option<StackBounds> {
            None
        }

        fn text(&self) -> CodeRange {
            CodeRange {
                start: CodeAddress(0),
                end: CodeAddress(0),
            }
        }

        fn rule(&self, _: CodeAddress) -> Rule {
            Rule::FramePointer
        }

        fn is_called_by_stub(&self, _: CodeAddress) -> bool {
            false
        }
    }
}
