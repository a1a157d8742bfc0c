//! More than one core: starting them, proving that they answer, giving them
//! work, stopping them.

use core::sync::atomic::{AtomicBool, AtomicPtr, AtomicU32, AtomicU64, Ordering};
use core::{mem, ptr};

use kernel_core::rest::CoreState;
use profiler::unwind::Registers;
use spin::Once;
use x86_64::instructions::interrupts;

use crate::boot::{self, BootInfo};
use crate::cpu::apic::{self, Destination, Message};
use crate::cpu::per_core::per_core;
use crate::cpu::stop::{self, Request};
use crate::cpu::{self, CoreBlock};
use crate::exit;
use crate::memory::paging;
use crate::memory::space::shootdown;
use crate::trap::{self, TrapFrame, leftovers};
use profiler::hw::tsc::Deadline;

/// How long nothing may happen while cores start or answer, in ticks of the time
/// stamp counter: some seconds. An emulator runs 255 cores in turns.
pub(crate) const TIMEOUT_TICKS: u64 = 10_000_000_000;

/// The vector by which another core wants attention.
const CALL_VECTOR: u8 = 0x40;

/// The first core.
const FIRST: u32 = 0;

/// What a core knows of the pings it got.
struct Ping {
    /// How many calls from the first core asked for an answer.
    received: AtomicU64,
    /// What the core that received the last one is, by its own APIC.
    apic_id: AtomicU32,
    /// The next call is a ping.
    asked: AtomicBool,
}

impl Ping {
    /// None so far.
    const fn new() -> Self {
        Self {
            received: AtomicU64::new(0),
            apic_id: AtomicU32::new(u32::MAX),
            asked: AtomicBool::new(false),
        }
    }
}

per_core! {
    /// What each core knows of the pings that it got.
    static PING: Ping = Ping::new();
}

per_core! {
    /// What others left for each core to do.
    static MAILBOX: Mailbox = Mailbox::new();
}

/// Answers that the first core got.
static ANSWERS: AtomicU64 = AtomicU64::new(0);

/// Registers the handler of calls, and that the end of the run stops all cores.
pub fn start() {
    trap::register(CALL_VECTOR, on_call);
    trap::register(shootdown::VECTOR, |_| shootdown::on_interrupt());
    exit::on_claim(stop_at_end);
}

/// Starts all other cores, which continue in `main`, and waits until each is
/// [`online`].
///
/// # Panics
///
/// If one does not come up in time: the message names it.
pub fn start_others(boot: &BootInfo, main: boot::entry::CoreMain) {
    let others = &cpu::cores()[1..];
    for core in others {
        boot::entry::start_core(boot, core, paging::root(), main);
    }
    for core in others {
        let came = Deadline::after(TIMEOUT_TICKS).wait_for(|| core.online.load(Ordering::Acquire));
        assert!(
            came,
            "core {} (APIC id {}) did not start",
            core.index, core.apic_id
        );
    }
}

/// The running core is ready for interrupts from others: switches them on, and lets in what
/// was pending before.
pub fn online() {
    leftovers::let_in();
    cpu::current().online.store(true, Ordering::Release);
}

/// Calls each other core in turn and waits for its call back: interrupts work
/// in both directions, and the core that answers is the one that was called.
///
/// # Panics
///
/// If one does not answer in time, or another does: the message names it.
pub fn ping_others() {
    for (before, core) in (0..).zip(&cpu::cores()[1..]) {
        PING.get(core).asked.store(true, Ordering::Release);
        call(core);
        let answered =
            Deadline::after(TIMEOUT_TICKS).wait_for(|| ANSWERS.load(Ordering::Acquire) > before);
        let (index, id) = (core.index, core.apic_id);
        assert!(
            answered,
            "core {index} (APIC id {id}) did not answer a ping"
        );
        let received = PING.get(core).received.load(Ordering::Acquire);
        let answers = ANSWERS.load(Ordering::Acquire);
        let by = PING.get(core).apic_id.load(Ordering::Acquire);
        assert!(
            (received, answers, by) == (1, before + 1, id),
            "core {index} (APIC id {id}): 1 ping arrived {received} times, \
             last at APIC id {by}; {answers} answers to {} pings",
            before + 1,
        );
    }
}

/// Interrupts another core so that it looks for what was left for it.
pub fn call(core: &CoreBlock) {
    // SAFETY: `start` registered the vector before any core was started.
    unsafe { apic::registers().send(Message::Fixed(CALL_VECTOR), Destination::Core(core.apic_id)) };
}

/// What the vector of [`call`] does. Work in the mailbox needs nothing: the idle
/// loop looks there once the interrupt has ended its halt.
fn on_call(_: &mut TrapFrame) {
    let core = cpu::current();
    let registers = apic::registers();
    registers.end_of_interrupt();
    if core.index == FIRST {
        ANSWERS.fetch_add(1, Ordering::AcqRel);
    } else if PING.get(core).asked.swap(false, Ordering::AcqRel) {
        PING.get(core)
            .apic_id
            .store(registers.id(), Ordering::Release);
        PING.get(core).received.fetch_add(1, Ordering::AcqRel);
        call(cpu::core(FIRST));
    }
}

/// What a core does on another's behalf, on its own stack, interrupts on.
pub type Work = fn();

/// Where work for a core is left: one piece at a time.
struct Mailbox(AtomicPtr<()>);

impl Mailbox {
    /// No work.
    const fn new() -> Self {
        Self(AtomicPtr::new(ptr::null_mut()))
    }

    fn put(&self, work: Work) -> bool {
        let work = work as *mut ();
        let empty = ptr::null_mut();
        let put = self
            .0
            .compare_exchange(empty, work, Ordering::AcqRel, Ordering::Relaxed);
        put.is_ok()
    }

    fn take(&self) -> Option<Work> {
        let work = self.0.swap(ptr::null_mut(), Ordering::AcqRel);
        // SAFETY: null, which is `None`, or what `put` stored.
        unsafe { mem::transmute::<*mut (), Option<Work>>(work) }
    }
}

impl Default for Mailbox {
    fn default() -> Self {
        Self::new()
    }
}

/// Lets another core run `work` as soon as it is idle.
///
/// # Panics
///
/// If it has not begun the work that it was given last.
pub fn give(core: &CoreBlock, work: Work) {
    assert!(
        MAILBOX.get(core).put(work),
        "core {} has not begun its last work",
        core.index
    );
    call(core);
}

/// Lets every core but the first run `work`.
///
/// # Panics
///
/// As [`give`].
pub fn give_others(work: Work) {
    cpu::cores()[1..].iter().for_each(|core| give(core, work));
}

/// Runs what others give to this core, and halts between. Interrupts are on.
pub fn idle() -> ! {
    let mailbox = MAILBOX.current();
    loop {
        // Off, so that a call after the look does not end a halt that has not begun.
        interrupts::disable();
        match mailbox.take() {
            Some(work) => {
                interrupts::enable();
                work();
            }
            None => interrupts::enable_and_hlt(),
        }
    }
}

/// A failure holds the other cores, which may go on then: it does not stop them for good.
static FAILURES_HOLD: AtomicBool = AtomicBool::new(false);

/// From now on a failure does not stop the other cores for good: see [`release_others`].
pub fn hold_on_failure() {
    FAILURES_HOLD.store(true, Ordering::Relaxed);
}

/// Wakes cores that wait in handlers of NMIs, where no NMI reaches them.
static WAKE: Once<fn()> = Once::new();

/// Registers what wakes cores that wait in handlers of NMIs. Those call [`rest_if_asked`] then.
pub fn set_wake(wake: fn()) {
    WAKE.call_once(|| wake);
}

/// The one core that ends the run has all others stop.
fn stop_at_end() {
    if FAILURES_HOLD.load(Ordering::Relaxed) && stop::is_failing() {
        stop::ask(Request::Hold);
        ask_others();
    } else {
        stop_others();
    }
}

/// Stops all other cores for good, by NMI so that interrupts may be off there. Returns
/// when all have stopped, or when one has not for too long.
pub fn stop_others() {
    stop::ask(Request::Stop);
    ask_others();
}

/// The same, but they may go on: see [`release_others`]. Returns false if another core asks for
/// something already.
#[must_use]
pub fn hold_others() -> bool {
    let is_mine = stop::ask_to_hold();
    if is_mine {
        ask_others();
    }
    is_mine
}

/// Lets all cores go on that are held. Returns when they do.
pub fn release_others() {
    if stop::release() {
        let deadline = Deadline::after(TIMEOUT_TICKS / 4);
        for core in others() {
            let _ = deadline.wait_for(|| stop::state_of(core) != CoreState::Held);
        }
    }
}

/// All cores but the running one that have a gate for NMIs: the others wait in the boot loader.
fn others() -> impl Iterator<Item = &'static CoreBlock> {
    let me = cpu::current_index();
    let all = cpu::cores().iter().copied();
    all.filter(move |core| core.index != me && core.online.load(Ordering::Acquire))
}

/// How long a core may take to answer before it is asked again, in ticks of the time stamp counter:
/// some milliseconds. An NMI that comes with an overflow's is one with it, which its fast handler
/// takes for that alone.
const ASK_AGAIN_TICKS: u64 = 10_000_000;

/// The most NMIs that a core can have before it: one whose handler it is in, and one behind it. More
/// are one with that.
const MOST_BEFORE: u32 = 2;

per_core! {
    /// NMIs that others have sent to each core so that it looks what it is asked for, and that it has
    /// not taken yet.
    static SENT: AtomicU32 = AtomicU32::new(0);
}

/// Takes an NMI of `core`, the running one, that has no other reason. Returns true if it may be one by
/// which another core lets it look what it is asked for: such a one comes late where the core was in a
/// handler of NMIs, and nothing is asked for any more.
pub fn take_sent(core: &CoreBlock) -> bool {
    let sent = SENT.get(core);
    sent.load(Ordering::Acquire) != 0 && {
        let taken = |sent: u32| sent.checked_sub(1);
        sent.fetch_update(Ordering::AcqRel, Ordering::Relaxed, taken)
            .is_ok()
    }
}

/// Sends an NMI to a core that is online, so that it looks what it is asked for.
fn send_nmi(core: &CoreBlock) {
    let more = |sent: u32| (sent < MOST_BEFORE).then_some(sent + 1);
    let _ = SENT
        .get(core)
        .fetch_update(Ordering::AcqRel, Ordering::Relaxed, more);
    // SAFETY: a core that is online has a gate for NMIs, on a stack of its own.
    unsafe { apic::registers().send(Message::Nmi, Destination::Core(core.apic_id)) };
}

/// Lets all others look what they are asked for. Returns when they are at rest.
fn ask_others() {
    if apic::find_registers().is_none() {
        return;
    }
    // One deadline for all: who hangs with NMIs blocked is left as it is.
    let all = Deadline::after(TIMEOUT_TICKS / 4);
    loop {
        let awaited = || others().filter(|core| !is_where_asked(core));
        if awaited().next().is_none() {
            return;
        }
        for core in awaited() {
            send_nmi(core);
        }
        if let Some(wake) = WAKE.get() {
            wake();
        }
        let again = Deadline::after(ASK_AGAIN_TICKS);
        for core in awaited() {
            if all.is_over() {
                return;
            }
            let _ = again.wait_for(|| is_where_asked(core));
        }
    }
}

/// Returns true if `core` has done what it is asked for.
fn is_where_asked(core: &CoreBlock) -> bool {
    match stop::request() {
        Request::Stop => stop::state_of(core) == CoreState::Stopped,
        Request::Hold => stop::is_at_rest(core),
        Request::None => true,
    }
}

/// Does what another core asks for, if it does: for handlers of NMIs, which have interrupted
/// what is in `frame`, first of all. Does not return if the run ends. Returns on the core that
/// asks, and on one that is about to say why it fails and stops by itself; true if it was held.
/// Before it does anything long it calls `stand_still`.
#[inline]
pub fn stop_if_asked(frame: &TrapFrame, stand_still: impl FnOnce()) -> bool {
    stop::request() != Request::None && rest_by_nmi(frame, stand_still)
}

#[cold]
fn rest_by_nmi(frame: &TrapFrame, stand_still: impl FnOnce()) -> bool {
    stand_still();
    let was_held = rest_unless_failing(trap::registers_of(frame), Some(frame));
    if was_held {
        take_sent(cpu::current());
    }
    was_held
}

/// The same for code that waits in a handler of an NMI, where it is.
pub fn rest_if_asked() {
    if stop::request() != Request::None {
        rest_unless_failing(stop::here(), None);
    }
}

#[cold]
fn rest_unless_failing(at: Registers, frame: Option<&TrapFrame>) -> bool {
    !exit::is_ending_here() && !stop::is_failing() && stop::rest(at, frame)
}
