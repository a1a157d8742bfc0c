//! The fast path of an interrupt: a handler that is tried first, with few registers saved.
//!
//! An entry ([`super::nmi`], [`super::overflow`]) calls the fast handler of the core before its
//! own. That one either does all that there is to do, or says that the interrupt is unusual; then
//! the entry saves the other registers, and calls the handler that can do everything.
//!
//! Entries jump to it, and it does not return: `rsp` and `rbp` are the frame ([`super::TrapFrame`]),
//! `rdi` the [`FastPath`], `rdx` the time stamp counter at the entry.
//!
//! | | |
//! |---|---|
//! | in the frame | `rax`, `rcx`, `rdx`, `rdi`, `r8`, `r9`, `rbp`, the vector, and what the processor has pushed |
//! | it is done | it arms the source as the last step does, below, and returns by `iret` |
//! | it is not | it jumps back into the entry, with the same `rdi` and `rdx`, `rax` being `Unusual`, the registers that are not in the frame as they were; places of those are free for it |
//! | in the frame, for the other handler | in the error code's place, that and [`DEFERS`] |
//!
//! A handler in Rust (`FastPath::set_rust`) is called, with more registers saved.
//!
//! # The last step
//!
//! From the arming of the source to the `iret` there are to be the same instructions, whichever
//! handler it was: they are calibrated. So both leave the arming to the entry, whose last step is
//! a piece of assembly for the source.

use core::mem::offset_of;
use core::ptr;
use core::sync::atomic::{AtomicPtr, AtomicU64, Ordering::Relaxed};

use crate::address::CodeAddress;
use crate::assembly;
use crate::format::Delivery;
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
#[doc(hidden)]
#[derive(Debug)]
#[repr(C)]
pub struct FastPath {
    /// Where entries go first: of NMIs, and of maskable overflows.
    handlers: [AtomicPtr<()>; 2],
    /// Their last step, if a source is to be armed.
    leave: AtomicPtr<()>,
    /// The same where there must be no breakpoint: of an NMI over a debug exception.
    leave_aside: AtomicPtr<()>,
    /// Left by the handler that is not fast: [`ARM`] and what to arm the source with; or 0.
    rearm: AtomicU64,
    /// [`DEFERS`], or 0 if there is no last step.
    defers: AtomicU64,
    /// The core's [`FastWord`], by which the entry of NMIs finds its block.
    word: AtomicPtr<FastWord>,
    /// A handler in Rust, if that is what is called.
    rust: AtomicPtr<()>,
    /// Where handlers go back into the entries: of NMIs, without and with a path, and of overflows.
    back: [AtomicPtr<()>; 3],
}

/// Where the entries find what.
pub const ON_NMI: usize = offset_of!(FastPath, handlers);
/// See above.
pub const ON_IRQ: usize = ON_NMI + 8;
/// See above.
pub const LEAVE: usize = offset_of!(FastPath, leave);
/// See above.
pub const LEAVE_ASIDE: usize = offset_of!(FastPath, leave_aside);
/// See above.
pub const REARM: usize = offset_of!(FastPath, rearm);
/// See above.
pub const DEFERRAL: usize = offset_of!(FastPath, defers);
/// See above.
pub const WORD: usize = offset_of!(FastPath, word);
pub(crate) const RUST: usize = offset_of!(FastPath, rust);
pub(crate) const BACK_WITHOUT_PATH: usize = offset_of!(FastPath, back);
pub(crate) const BACK_TO_NMI: usize = BACK_WITHOUT_PATH + 8;
pub(crate) const BACK_TO_IRQ: usize = BACK_WITHOUT_PATH + 16;

const fn pointer_to(code: unsafe extern "C" fn()) -> AtomicPtr<()> {
    AtomicPtr::new((code as *const ()).cast_mut())
}

/// The address of a label of the entries, which there are in a kernel alone.
macro_rules! in_entry {
    ($label:ident) => {
        if cfg!(target_os = "none") {
            AtomicPtr::new((&raw const $label).cast_mut().cast())
        } else {
            AtomicPtr::new(ptr::null_mut())
        }
    };
}

impl FastPath {
    /// No fast handler, and no last step.
    const fn new() -> Self {
        Self {
            handlers: [
                pointer_to(pmiscope_no_fast_nmi),
                pointer_to(pmiscope_no_fast_irq),
            ],
            leave: AtomicPtr::new(ptr::null_mut()),
            leave_aside: AtomicPtr::new(ptr::null_mut()),
            rearm: AtomicU64::new(0),
            defers: AtomicU64::new(0),
            word: AtomicPtr::new(ptr::null_mut()),
            rust: AtomicPtr::new(ptr::null_mut()),
            back: BACK,
        }
    }

    /// Lets entries of interrupts that come by `delivery` go to `handler` first.
    pub(crate) fn set_handler(&self, delivery: Delivery, handler: unsafe extern "C" fn()) {
        let handler = (handler as *const ()).cast_mut();
        self.handlers[usize::from(delivery == Delivery::Irq)].store(handler, Relaxed);
    }

    /// Lets entries of interrupts that come by `delivery` call `handler` first: an `extern "C" fn` of
    /// the path, the frame and the time stamp counter at the entry. It returns in `rax`, above 0,
    /// what to arm the source with and in `rdx` the path; or in `rax` that it is [`Unusual`], and in
    /// `rdx` the time stamp counter at the entry. It is in the section `.pmiscope.calls`.
    pub(crate) fn set_rust(&self, delivery: Delivery, handler: *mut ()) {
        self.rust.store(handler, Relaxed);
        self.set_handler(
            delivery,
            match delivery {
                Delivery::Nmi => pmiscope_fast_rust_nmi,
                Delivery::Irq => pmiscope_fast_rust_irq,
            },
        );
    }

    /// Makes the path one without fast handlers.
    pub(crate) fn set_up(&self) {
        self.set_handler(Delivery::Nmi, pmiscope_no_fast_nmi);
        self.set_handler(Delivery::Irq, pmiscope_no_fast_irq);
        for (place, back) in self.back.iter().zip(BACK) {
            place.store(back.into_inner(), Relaxed);
        }
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
    path.set_up();
    let word = WORDS.get(core as usize).map(|word| word.load(Relaxed));
    let path_at = ptr::from_ref(path).cast_mut();
    // SAFETY: null, or a static's: `FastWord::set_up`.
    if let Some(word) = word.and_then(|word| unsafe { word.as_ref() }) {
        path.word.store(ptr::from_ref(word).cast_mut(), Relaxed);
        word.0.store(path_at, Relaxed);
    }
    let path = path_at;
    if let Some(place) = BY_APIC_ID.get(apic_id as usize) {
        place.store(path, Relaxed);
    }
}

unsafe extern "C" {
    // Fast handlers that find everything unusual.
    fn pmiscope_no_fast_nmi();
    fn pmiscope_no_fast_irq();
    // Those that call one in Rust.
    fn pmiscope_fast_rust_nmi();
    fn pmiscope_fast_rust_irq();
    // Of the entries.
    static nmi_unusual: u8;
    static nmi_give_up: u8;
    static pmiscope_overflow_give_up: u8;
    // Around the last steps where there must be no breakpoint.
    static pmiscope_leave_aside_start: u8;
    static pmiscope_leave_aside_end: u8;
}

#[allow(clippy::declare_interior_mutable_const)] // to be copied
const BACK: [AtomicPtr<()>; 3] = [
    in_entry!(nmi_unusual),
    in_entry!(nmi_give_up),
    in_entry!(pmiscope_overflow_give_up),
];

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
    .global pmiscope_no_fast_nmi
    .type pmiscope_no_fast_nmi, @function
pmiscope_no_fast_nmi:
    TRAP_CFI 176
    FAST_CFI
    RULE TRAP_FRAME
    xorl %eax, %eax
    jmpq *{without_path}(%rdi)
    .size pmiscope_no_fast_nmi, . - pmiscope_no_fast_nmi

    .global pmiscope_no_fast_irq
    .type pmiscope_no_fast_irq, @function
pmiscope_no_fast_irq:
    xorl %eax, %eax
    jmpq *{to_irq}(%rdi)
    .size pmiscope_no_fast_irq, . - pmiscope_no_fast_irq

    .macro FAST_RUST name, back
    .global \name
    .type \name, @function
\name:
    movq %rsi, 40(%rsp)
    movq %r10, 72(%rsp)
    movq %r11, 80(%rsp)
    movq %rdi, 128(%rsp)
    movq %rsp, %rsi
    cld
    callq *{rust}(%rdi)
    movq 40(%rsp), %rsi
    movq 72(%rsp), %r10
    movq 80(%rsp), %r11
    testq %rax, %rax
    jle 2f
    jmpq *{leave}(%rdx)
2:
    movq 128(%rsp), %rdi
    jmpq *\back(%rdi)
    .size \name, . - \name
    .endm
    FAST_RUST pmiscope_fast_rust_nmi, {to_nmi}
    FAST_RUST pmiscope_fast_rust_irq, {to_irq}
    .cfi_endproc
    "#,
    rust = const RUST,
    leave = const LEAVE,
    without_path = const BACK_WITHOUT_PATH,
    to_nmi = const BACK_TO_NMI,
    to_irq = const BACK_TO_IRQ,
    options(att_syntax),
);
