//! How cores are stopped: to go on later, or for good; and what each leaves behind meanwhile: where
//! it was, and what it had to say. The core that has asked for it shows that, so that one core
//! alone writes.
//!
//! What is asked for is one word for all cores ([`Request`]); who asks sends an NMI, whose handler
//! calls [`rest`]. Where each core stands is a [`CoreState`], whose table says what may follow.

use core::arch::asm;
use core::fmt;
use core::mem::{self, offset_of};
use core::ptr;
use core::sync::atomic::{AtomicBool, AtomicPtr, AtomicU32, AtomicU64, Ordering};

use kernel_core::rest::{CoreState, CurrentState, Event};
use profiler::address::{CodeAddress, StackAddress};
use profiler::entry::TrapFrame;
use profiler::format::Text;
use profiler::hw::tsc;
use profiler::unwind::Registers;
use spin::Once;
use x86_64::instructions::{hlt, interrupts};

use super::block::CoreBlock;
use super::per_core::per_core;
use super::{GS_BASE_SET, cores, current_index};

/// Bytes of a message that are kept.
const MESSAGE_BYTES: usize = 256;

/// What all cores but one are asked for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum Request {
    /// Nothing.
    None,
    /// To wait where they are, and to go on when nothing is asked for any more.
    Hold,
    /// To stop for good: the run ends.
    Stop,
}

/// What is asked for, a [`Request`] in the lowest byte, and above it who asks.
pub static REQUEST: AtomicU32 = AtomicU32::new(0);

const fn word(request: Request, core: u32) -> u32 {
    match request {
        Request::None => 0,
        request => core << 8 | request as u32,
    }
}

/// What is asked for. One load: handlers of NMIs look first of all.
#[inline]
#[must_use]
pub fn request() -> Request {
    match REQUEST.load(Ordering::Acquire).to_le_bytes()[0] {
        0 => Request::None,
        1 => Request::Hold,
        _ => Request::Stop,
    }
}

/// The running core asks all others for this, from now on, whoever has asked before: it ends the
/// run.
pub fn ask(request: Request) {
    REQUEST.store(word(request, current_index()), Ordering::Release);
}

/// The running core asks all others to hold, if no core asks for anything. Returns true if so.
#[must_use]
pub fn ask_to_hold() -> bool {
    exchange(Request::None, Request::Hold)
}

/// How often all cores were held.
static HOLDS: AtomicU32 = AtomicU32::new(0);

/// How often all cores were held: it changes before they go on.
#[must_use]
pub fn holds() -> u32 {
    HOLDS.load(Ordering::Acquire)
}

/// The running core asks for nothing any more. Returns false if another one has asked since.
pub fn release() -> bool {
    HOLDS.fetch_add(1, Ordering::Release);
    exchange(Request::Hold, Request::None)
}

fn exchange(from: Request, to: Request) -> bool {
    let me = current_index();
    let (from, to) = (word(from, me), word(to, me));
    let exchanged = REQUEST.compare_exchange(from, to, Ordering::AcqRel, Ordering::Relaxed);
    exchanged.is_ok()
}

/// Returns true if the running core is the one that asks.
#[must_use]
pub fn is_asking() -> bool {
    let word = REQUEST.load(Ordering::Acquire);
    word != 0 && word >> 8 == current_index()
}

/// What a core is given to do while it is held.
pub type Work = fn();

/// What a core leaves behind. It writes that itself.
struct Left {
    state: CurrentState,
    /// It is about to say why it fails. NMIs let it.
    fails: AtomicBool,
    /// It has given up what it failed in, and does something else.
    has_recovered: AtomicBool,
    /// It has said why it failed, and the others have gone on since.
    has_told: AtomicBool,
    message: Once<Text<MESSAGE_BYTES>>,
    /// Program counter, stack pointer and frame pointer; a program counter of 0: none.
    registers: [AtomicU64; 3],
    /// All registers, on its stack; null: not known.
    frame: AtomicPtr<TrapFrame>,
    /// What another core has given it to do: a [`Work`], or null.
    work: AtomicPtr<()>,
}

per_core! {
    /// What each core leaves behind.
    static LEFT: Left = Left {
        state: CurrentState::new(),
        fails: AtomicBool::new(false),
        has_recovered: AtomicBool::new(false),
        has_told: AtomicBool::new(false),
        message: Once::new(),
        registers: [const { AtomicU64::new(0) }; 3],
        frame: AtomicPtr::new(ptr::null_mut()),
        work: AtomicPtr::new(ptr::null_mut()),
    };
}

/// How long a core has stood still for somebody else, by the time stamp counter.
struct StoodStill {
    /// Since when it does; 0: it does not.
    since_tsc: AtomicU64,
    /// How long it did before, in all.
    ticks: AtomicU64,
}

per_core! {
    /// How long each core has stood still.
    static STOOD_STILL: StoodStill = StoodStill {
        since_tsc: AtomicU64::new(0),
        ticks: AtomicU64::new(0),
    };
}

/// The time for which the running core stands still, as it is held or has the prompt: from its
/// creation until it is dropped, or until the one is around which it was created.
pub struct StandStill {
    is_outer: bool,
}

impl StandStill {
    /// It does from now on.
    #[must_use]
    pub fn begin() -> Self {
        let since = &STOOD_STILL.current().since_tsc;
        let is_outer = since.load(Ordering::Relaxed) == 0;
        if is_outer {
            since.store(tsc::ticks(), Ordering::Relaxed);
        }
        Self { is_outer }
    }
}

impl Drop for StandStill {
    fn drop(&mut self) {
        if self.is_outer {
            end_standing_still();
        }
    }
}

/// The running core goes on, if it stood still.
fn end_standing_still() {
    let own = STOOD_STILL.current();
    let since = own.since_tsc.load(Ordering::Relaxed);
    if since != 0 {
        let lasted = tsc::ticks().saturating_sub(since);
        own.ticks.fetch_add(lasted, Ordering::Relaxed);
        own.since_tsc.store(0, Ordering::Relaxed);
    }
}

/// The time stamp counter of `core`, the running one, without the time for which it has stood still.
#[must_use]
pub fn ticks_in_motion(core: &CoreBlock) -> u64 {
    let own = STOOD_STILL.get(core);
    let mut stood = own.ticks.load(Ordering::Relaxed);
    loop {
        let now = match own.since_tsc.load(Ordering::Relaxed) {
            0 => tsc::ticks(),
            since => since,
        };
        let before = mem::replace(&mut stood, own.ticks.load(Ordering::Relaxed));
        // Otherwise it was held meanwhile: it is not held again as soon.
        if before == stood {
            return now.saturating_sub(stood);
        }
    }
}

/// For how many ticks of the time stamp counter `core` has stood still, those of a hold that has not
/// ended left out.
#[must_use]
pub fn ticks_stood_still(core: &CoreBlock) -> u64 {
    STOOD_STILL.get(core).ticks.load(Ordering::Relaxed)
}

/// The running core's; `None` as long as it has no block.
fn own() -> Option<&'static Left> {
    GS_BASE_SET.load(Ordering::Relaxed).then(|| LEFT.current())
}

/// The running core fails, and is going to say why. Returns true if it has said so before: then
/// it has failed in that.
pub fn begin_failing() -> bool {
    own().is_some_and(|left| {
        if left.state.on(Event::Done) {
            // What it was given to do is not come back from.
            left.state.on(Event::Release);
        }
        left.has_told.store(false, Ordering::Relaxed);
        let has_recovered = left.has_recovered.swap(false, Ordering::Relaxed);
        left.fails.swap(true, Ordering::Relaxed) && !has_recovered
    })
}

/// The running core, which has failed, gives up what it failed in, and goes on with something
/// else.
pub fn recover() {
    leave_own(None);
    leave_frame(None);
    if let Some(left) = own() {
        end_standing_still();
        left.has_recovered.store(true, Ordering::Relaxed);
    }
}

/// The running core has said why it failed, and the others go on.
pub fn tell() {
    if let Some(left) = own() {
        left.has_told.store(true, Ordering::Relaxed);
    }
}

/// Returns true if `core` has failed and said why, and the others have gone on since.
#[must_use]
pub fn has_told(core: &CoreBlock) -> bool {
    LEFT.get(core).has_told.load(Ordering::Relaxed)
}

/// Returns true if the running core is about to say why it fails.
#[must_use]
pub fn is_failing() -> bool {
    own().is_some_and(|left| {
        left.fails.load(Ordering::Relaxed) && !left.has_recovered.load(Ordering::Relaxed)
    })
}

/// Returns true if the running core does something for another one, which waits for it.
#[must_use]
pub fn is_working() -> bool {
    own().is_some_and(|left| left.state.get() == CoreState::Working)
}

/// The registers of the running code.
#[inline(always)]
#[must_use]
pub fn here() -> Registers {
    let (pc, sp, fp): (u64, u64, u64);
    // SAFETY: registers are read.
    unsafe {
        asm!(
            "lea {}, [rip]", "mov {}, rsp", "mov {}, rbp",
            out(reg) pc, out(reg) sp, out(reg) fp,
            options(nomem, nostack, preserves_flags),
        );
    };
    Registers {
        pc: CodeAddress(pc),
        sp: StackAddress(sp),
        fp: StackAddress(fp),
    }
}

/// Stops this core for good, where these registers are of.
pub fn stop_at(at: Registers) -> ! {
    leave_registers(at);
    stop_here()
}

/// The same of a core that fails, with what it has to say.
pub fn stop_failed(at: Registers, message: fmt::Arguments<'_>) -> ! {
    leave_registers(at);
    if let Some(left) = own() {
        // It may fail in formatting, and comes to `stop_at` then.
        let message = Text::formatted(message);
        left.message.call_once(|| message);
    }
    stop_here()
}

fn stop_here() -> ! {
    interrupts::disable();
    if let Some(left) = own() {
        left.state.on(Event::Stop);
    }
    loop {
        hlt();
    }
}

/// Does what another core asks this one for, whose registers these are; returns at once if there
/// is nothing, and on the core that asks. Interrupts are off. Returns true if it has held.
pub fn rest(at: Registers, frame: Option<&TrapFrame>) -> bool {
    let Some(left) = own() else { return false };
    if is_asking() {
        return false;
    }
    if request() == Request::Hold && left.state.on(Event::Hold) {
        leave_frame(frame);
        set_registers(left, at);
        let standing = StandStill::begin();
        hold(left);
        drop(standing);
        left.state.on(Event::Release);
        left.frame.store(ptr::null_mut(), Ordering::Relaxed);
        left.registers[0].store(0, Ordering::Relaxed);
        return true;
    }
    if request() == Request::Stop {
        leave_frame(frame);
        stop_at(at);
    }
    false
}

/// Waits while all are to hold, and does what it is given meanwhile. NMIs may be blocked, so
/// there is no halt that they would end.
fn hold(left: &'static Left) {
    loop {
        match request() {
            Request::None => return,
            Request::Stop => stop_here(),
            Request::Hold => {}
        }
        let work = left.work.swap(ptr::null_mut(), Ordering::AcqRel);
        // SAFETY: null, which is `None`, or what `give` stored.
        if let Some(work) = unsafe { mem::transmute::<*mut (), Option<Work>>(work) } {
            left.state.on(Event::Begin);
            work();
            left.state.on(Event::Done);
        }
        core::hint::spin_loop();
    }
}

/// Gives a core that is held something to do. Returns false if it is not held, or has not begun
/// what it was given last. It is done once the core is held again and [`has_begun`].
#[must_use]
pub fn give(core: &CoreBlock, work: Work) -> bool {
    let left = LEFT.get(core);
    let (empty, work) = (ptr::null_mut(), work as *mut ());
    let is_held = left.state.get() == CoreState::Held;
    is_held
        && left
            .work
            .compare_exchange(empty, work, Ordering::AcqRel, Ordering::Relaxed)
            .is_ok()
}

/// Returns true if `core` has begun what it was given.
#[must_use]
pub fn has_begun(core: &CoreBlock) -> bool {
    LEFT.get(core).work.load(Ordering::Acquire).is_null()
}

/// Where the tool finds the registers that a core of a dead kernel has left, whether it fails, and its
/// state.
#[must_use]
pub fn places() -> [u64; 3] {
    let left = LEFT.in_template();
    let at = |offset: usize| left + offset as u64;
    let [registers, fails] = [offset_of!(Left, registers), offset_of!(Left, fails)];
    [registers, fails, offset_of!(Left, state)].map(at)
}

/// Leaves behind where this core has failed, or was stopped.
pub fn leave_registers(at: Registers) {
    let Some(left) = own() else { return };
    // What a core has failed of comes before what it fails of then.
    if left.registers[0].load(Ordering::Relaxed) == 0 {
        set_registers(left, at);
    }
}

fn set_registers(left: &Left, at: Registers) {
    // The program counter last: it says that they are there.
    for (to, from) in left.registers.iter().zip([at.pc.0, at.sp.0, at.fp.0]).rev() {
        to.store(from, Ordering::Release);
    }
}

/// The running core leaves all registers behind that are in this frame, on its stack, for as long
/// as it is at rest: for the core that asks as well.
pub fn leave_frame(frame: Option<&TrapFrame>) {
    if let Some(left) = own() {
        let frame = frame.map_or(ptr::null_mut(), |frame| ptr::from_ref(frame).cast_mut());
        left.frame.store(frame, Ordering::Release);
    }
}

/// The running core, which asks the others to hold, has been here; `None`: no more.
pub fn leave_own(at: Option<Registers>) {
    if let Some(left) = own() {
        match at {
            Some(at) => set_registers(left, at),
            None => left.registers[0].store(0, Ordering::Relaxed),
        }
    }
}

/// Where `core` stands.
#[must_use]
pub fn state_of(core: &CoreBlock) -> CoreState {
    LEFT.get(core).state.get()
}

/// Returns true if `core` has stopped or is held.
#[must_use]
pub fn is_at_rest(core: &CoreBlock) -> bool {
    state_of(core).is_at_rest()
}

/// Where `core` was stopped; `None` if that is not known. For a core that is at rest.
#[must_use]
pub fn registers_of(core: &CoreBlock) -> Option<Registers> {
    let registers = LEFT.get(core).registers.each_ref();
    let [pc, sp, fp] = registers.map(|register| register.load(Ordering::Acquire));
    (pc != 0).then_some(Registers {
        pc: CodeAddress(pc),
        sp: StackAddress(sp),
        fp: StackAddress(fp),
    })
}

/// All registers of `core`; `None` if they are not known. For a core that is at rest, or is the
/// running one.
#[must_use]
pub fn frame_of(core: &CoreBlock) -> Option<TrapFrame> {
    let frame = LEFT.get(core).frame.load(Ordering::Acquire);
    let is_still = is_at_rest(core) || core.index == current_index();
    // SAFETY: null, or a frame on a stack of the core, which stays mapped for ever; below it
    // the core waits, or is what runs here, so it stays as it is.
    unsafe { frame.as_ref() }.filter(|_| is_still).copied()
}

/// Returns true if `core` fails, or has failed.
#[must_use]
pub fn has_failed(core: &CoreBlock) -> bool {
    LEFT.get(core).fails.load(Ordering::Relaxed)
}

/// What `core` had to say.
#[must_use]
pub fn message_of(core: &CoreBlock) -> Option<&'static str> {
    LEFT.get(core).message.get().map(Text::as_str)
}

/// A core that fails, or has failed, if there is one.
#[must_use]
pub fn any_failed() -> Option<&'static CoreBlock> {
    cores().iter().copied().find(|core| has_failed(core))
}
