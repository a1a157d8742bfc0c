//! The fast path of an interrupt: a handler that is tried first, with few registers saved.
//!
//! An entry ([`super::nmi`], [`super::overflow`]) calls the fast handler of the core before its
//! own. That one either does all that there is to do, or says that the interrupt is unusual; then
//! the entry saves the other registers, and calls the handler that can do everything.
//!
//! The registers of the calls, and the words of the frame ([`super::TrapFrame`]):
//!
//! | | |
//! |---|---|
//! | to the fast handler | `rdi` the [`FastPath`], `rsi` the frame, `rdx` the time stamp counter at the entry |
//! | in the frame then | all registers that a call may change, `rbp`, the vector, and what the processor has pushed |
//! | from it, `rax` above 0 | done: what to arm the source with; `rdx` is the [`FastPath`] |
//! | from it, otherwise | unusual: [`Unusual`]; `rdx` is the time stamp counter at the entry |
//! | in the frame, for the other handler | in the error code's place, that and [`DEFERS`] |
//!
//! # The last step
//!
//! From the arming of the source to the `iret` there are to be the same instructions, whichever
//! handler it was: they are calibrated. So both leave the arming to the entry, whose last step is
//! a piece of assembly for the source.

use core::ptr;
use core::sync::atomic::{AtomicPtr, AtomicU64, Ordering::Relaxed};

use crate::address::CodeAddress;
use crate::assembly;
use crate::linked::code_between;

/// In the frame of an interrupt, in the place of the error code: its entry arms the source as its
/// last step, with what the handler leaves in [`FastPath`].
pub const DEFERS: u64 = 1 << 62;

/// Beside that: the fast handler has claimed the overflow, whose number is in the lower half.
pub const CLAIMED: u64 = 1 << 63;

/// In what is left for the entry: it is to arm the source.
const ARM: u64 = 1 << 32;

/// Why a fast handler was none.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Unusual {
    /// It has changed nothing.
    Untouched,
    /// It has claimed the overflow with this number.
    Claimed(u32),
}

impl Unusual {
    /// As the fast handler returns it.
    #[inline(always)]
    pub(crate) const fn bits(self) -> u64 {
        match self {
            Self::Untouched => 0,
            Self::Claimed(number) => CLAIMED | number as u64,
        }
    }
}

/// What an entry's place of an error code says.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct Handover {
    /// The entry arms the source.
    pub defers: bool,
    /// The number of the overflow that was claimed.
    pub claimed: Option<u32>,
}

impl Handover {
    /// Error codes of the processor have 32 bits.
    #[inline]
    #[allow(clippy::cast_possible_truncation)] // the lower half
    pub(crate) fn of(error_code: u64) -> Self {
        Self {
            defers: error_code & DEFERS != 0,
            claimed: (error_code & CLAIMED != 0).then_some(error_code as u32),
        }
    }
}

/// What the entries know of a core. It lies at the start of what the sampler keeps for it.
#[derive(Debug)]
#[repr(C)]
pub struct FastPath {
    /// What entries call first.
    handler: AtomicPtr<()>,
    /// Their last step, if a source is to be armed.
    leave: AtomicPtr<()>,
    /// The same where there must be no breakpoint: of an NMI over a debug exception.
    leave_aside: AtomicPtr<()>,
    /// Left by the handler that is not fast: [`ARM`] and what to arm the source with; or 0.
    rearm: AtomicU64,
    /// [`DEFERS`], or 0 if there is no last step.
    defers: AtomicU64,
}

/// Where the entries find what.
pub const LEAVE: usize = core::mem::offset_of!(FastPath, leave);
/// See above.
pub const LEAVE_ASIDE: usize = core::mem::offset_of!(FastPath, leave_aside);
/// See above.
pub const REARM: usize = core::mem::offset_of!(FastPath, rearm);
/// See above.
pub const DEFERRAL: usize = core::mem::offset_of!(FastPath, defers);

impl FastPath {
    /// No fast handler, and no last step.
    const fn new() -> Self {
        Self {
            handler: AtomicPtr::new((pmiscope_unusual as *const ()).cast_mut()),
            leave: AtomicPtr::new(ptr::null_mut()),
            leave_aside: AtomicPtr::new(ptr::null_mut()),
            rearm: AtomicU64::new(0),
            defers: AtomicU64::new(0),
        }
    }

    /// Lets entries call `handler` first; `None`: none.
    pub(crate) fn set_handler(&self, handler: Option<*mut ()>) {
        let handler = handler.unwrap_or((pmiscope_unusual as *const ()).cast_mut());
        self.handler.store(handler, Relaxed);
    }

    /// Returns true if there is a fast handler.
    pub(crate) fn has_handler(&self) -> bool {
        self.handler.load(Relaxed).addr() != (pmiscope_unusual as *const ()).addr()
    }

    /// Lets entries arm the source by a last step; `None`: handlers do it.
    pub(crate) fn set_leave(&self, leave: Option<Leave>) {
        let address = |code: unsafe extern "C" fn()| (code as *const ()).cast_mut();
        let [nmi, aside] = leave.map_or([ptr::null_mut(); 2], |it| {
            [address(it.way), address(it.aside)]
        });
        self.leave.store(nmi, Relaxed);
        self.leave_aside.store(aside, Relaxed);
        self.defers
            .store(if leave.is_some() { DEFERS } else { 0 }, Relaxed);
    }

    /// The entry is to arm the source with `count`.
    #[inline]
    pub(crate) fn arm_at_exit(&self, count: u32) {
        self.rearm.store(ARM | u64::from(count), Relaxed);
    }
}

/// A last step of entries.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Leave {
    /// Of NMIs, or of maskable interrupts.
    pub way: unsafe extern "C" fn(),
    /// Where there must be no breakpoint.
    pub aside: unsafe extern "C" fn(),
}

/// That of cores which have none of their own.
#[doc(hidden)]
pub static NONE: FastPath = FastPath::new();

/// The most cores, and the APIC ids below, that can have one.
pub const MOST_CORES: usize = 256;

/// A word of a core's block, from which the entry of NMIs has its [`FastPath`].
///
/// ```no_run
/// use profiler::entry::fast::FastWord;
///
/// #[repr(C)]
/// struct Block {
///     fast: FastWord,
///     // …
/// }
///
/// static BLOCK: Block = Block { fast: FastWord::new() };
/// // Before the core takes an NMI.
/// BLOCK.fast.set_up(0);
/// ```
#[derive(Debug)]
#[repr(transparent)]
pub struct FastWord(AtomicPtr<FastPath>);

impl FastWord {
    /// One that is not set up.
    #[must_use]
    pub const fn new() -> Self {
        Self(AtomicPtr::new(ptr::null_mut()))
    }

    /// Sets it up for the core with this index, before that takes an NMI.
    pub fn set_up(&'static self, core: u32) {
        self.0.store(ptr::from_ref(&NONE).cast_mut(), Relaxed);
        if let Some(place) = WORDS.get(core as usize) {
            place.store(ptr::from_ref(self).cast_mut(), Relaxed);
        }
    }
}

impl Default for FastWord {
    fn default() -> Self {
        Self::new()
    }
}

/// The word of each core, by index.
static WORDS: [AtomicPtr<FastWord>; MOST_CORES] =
    [const { AtomicPtr::new(ptr::null_mut()) }; MOST_CORES];

/// The path of each core, by APIC id: null, or for ever valid.
pub static BY_APIC_ID: [AtomicPtr<FastPath>; MOST_CORES] =
    [const { AtomicPtr::new(ptr::null_mut()) }; MOST_CORES];

/// Lets the entries of the core with this index and APIC id use `path`.
pub(crate) fn connect(core: u32, apic_id: u32, path: &'static FastPath) {
    path.set_handler(None);
    let path = ptr::from_ref(path).cast_mut();
    if let Some(word) = WORDS.get(core as usize) {
        // SAFETY: null, or a static's: `FastWord::set_up`.
        if let Some(word) = unsafe { word.load(Relaxed).as_ref() } {
            word.0.store(path, Relaxed);
        }
    }
    if let Some(place) = BY_APIC_ID.get(apic_id as usize) {
        place.store(path, Relaxed);
    }
}

unsafe extern "C" {
    /// The fast handler that finds everything unusual.
    fn pmiscope_unusual();
    // Around the last steps where there must be no breakpoint.
    static pmiscope_leave_aside_start: u8;
    static pmiscope_leave_aside_end: u8;
}

/// Returns true if the instruction is of a last step where there must be no breakpoint.
pub(crate) fn is_aside(address: CodeAddress) -> bool {
    code_between(
        &raw const pmiscope_leave_aside_start,
        &raw const pmiscope_leave_aside_end,
    )
    .contains(address)
}

assembly!(
    r#"
    .balign 16
    .global pmiscope_unusual
    .type pmiscope_unusual, @function
pmiscope_unusual:
    .cfi_startproc
    # As where it returns to.
    RULE TRAP_FRAME
    xor eax, eax
    ret
    .cfi_endproc
    .size pmiscope_unusual, . - pmiscope_unusual
    "#,
);
