//! The watchdog: cores watch each other, and one that has had interrupts off for too long says where
//! it is, which lock it waits for, and who has that.
//!
//! Each core watches the next one that is online, and those behind it as long as that one hangs
//! ([`kernel_core::hang`]). It looks whenever it is sampled, or its own timer ends a halt, and pings
//! by a maskable interrupt. A core that has taken its last sample is in a handler, and not watched.
//!
//! What a hung core has to say it says itself, in the handler of the NMI that asks for it.

use core::fmt;
use core::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};

use kernel_core::hang::{Action, Seen, Watched};
use profiler::hw::tsc;
use spin::Once;

use super::locks::Since;
use crate::cpu::apic::{self, Destination, Message};
use crate::cpu::per_core::per_core;
use crate::cpu::{self, CoreBlock, stop};
use crate::exit;
use crate::sync::{self, Awaited};
use crate::trap::{self, Backtrace, TrapFrame, registers_of};

/// The vector of pings.
const VECTOR: u8 = 0x46;

/// Of `rflags`: interrupts are on.
const INTERRUPTS_ON: u64 = 1 << 9;

/// How often a core looks: this many times within the limit.
const LOOKS: u64 = 16;

const NANOSECONDS_PER_MILLISECOND: u64 = 1_000_000;

/// Ticks of the time stamp counter that say how fast it runs.
const RATE_TICKS: u64 = 1 << 20;

/// What the watchdog asks whoever samples.
pub struct Facts {
    /// A difference of the time stamp counter in nanoseconds, once that is known.
    pub nanoseconds: fn(u64) -> Option<u64>,
    /// Returns true if this core takes part no more.
    pub has_finished: fn(u32) -> bool,
}

/// What the watchdog was started with.
struct Plan {
    milliseconds: u32,
    facts: Facts,
}

static PLAN: Once<Plan> = Once::new();

static IS_ON: AtomicBool = AtomicBool::new(false);

/// The limit in ticks of the time stamp counter; 0: not known yet.
static LIMIT_TICKS: AtomicU64 = AtomicU64::new(0);

/// What is known of a core. Written by the core that watches it, unless a field says otherwise.
struct State {
    /// A core looks at it.
    is_looked_at: AtomicBool,
    /// A [`Watched`].
    watched: AtomicU64,
    pings: AtomicU32,
    pinged_tsc: AtomicU64,
    /// How often all cores had been held then.
    holds: AtomicU32,
    /// The last ping that it has answered. Written by the core itself.
    answered: AtomicU32,
    /// It is to say where it is; cleared by the core itself.
    is_asked: AtomicBool,
    /// It has said so, and not yet that it goes on. Its own.
    has_reported: AtomicBool,
    /// When it looks at others again. Its own.
    looks_tsc: AtomicU64,
}

per_core! {
    /// What is known of each core.
    static STATE: State = State {
        is_looked_at: AtomicBool::new(false),
        watched: AtomicU64::new(0),
        pings: AtomicU32::new(0),
        pinged_tsc: AtomicU64::new(0),
        holds: AtomicU32::new(0),
        answered: AtomicU32::new(0),
        is_asked: AtomicBool::new(false),
        has_reported: AtomicBool::new(false),
        looks_tsc: AtomicU64::new(0),
    };
}

/// Lets cores watch each other from now on, until the run ends.
pub fn start(milliseconds: u32, facts: Facts) {
    sync::measure_holds();
    trap::register(VECTOR, on_ping);
    exit::on_begin(|| IS_ON.store(false, Ordering::Relaxed));
    PLAN.call_once(|| Plan {
        milliseconds,
        facts,
    });
    IS_ON.store(true, Ordering::Release);
}

/// Returns true if cores watch each other.
#[inline]
#[must_use]
pub fn is_on() -> bool {
    IS_ON.load(Ordering::Relaxed)
}

/// Lets the running core look at the next ones, if it is time. In any handler.
pub fn look() {
    look_on(cpu::current());
}

/// The same; `me` is the running core, whose GS base may be a program's.
pub fn look_on(me: &'static CoreBlock) {
    // First: this core may be held at any time from here on.
    let holds = stop::holds();
    // Cores that are held answer nothing, and do not hang.
    let is_looking = is_on() && stop::request() == stop::Request::None;
    let Some(plan) = PLAN.get().filter(|_| is_looking) else {
        return;
    };
    let limit = match LIMIT_TICKS.load(Ordering::Relaxed) {
        0 => plan.limit(),
        limit => limit,
    };
    let now = tsc::ticks();
    let looks = &STATE.get(me).looks_tsc;
    if limit == 0 || now < looks.load(Ordering::Relaxed) {
        return;
    }
    looks.store(now + limit / LOOKS, Ordering::Relaxed);
    let (before, from_me) = cpu::cores().split_at(me.index as usize);
    for core in from_me[1..].iter().chain(before) {
        let is_there = core.online.load(Ordering::Acquire);
        if !is_there || (plan.facts.has_finished)(core.index) {
            continue;
        }
        let seen = Sight { now, holds };
        if !hangs(core, &seen, limit) {
            return;
        }
    }
}

impl Plan {
    /// The limit in ticks; 0 while it is not known how fast they are.
    #[cold]
    fn limit(&self) -> u64 {
        let rate = (self.facts.nanoseconds)(RATE_TICKS).filter(|&rate| rate != 0);
        let limit = rate.map_or(0, |rate| {
            let limit = u64::from(self.milliseconds) * NANOSECONDS_PER_MILLISECOND;
            let ticks = u128::from(limit) * u128::from(RATE_TICKS) / u128::from(rate);
            u64::try_from(ticks).unwrap_or(u64::MAX)
        });
        LIMIT_TICKS.store(limit, Ordering::Relaxed);
        limit
    }
}

/// When a core looks: by the time stamp counter, and how often all cores had been held.
struct Sight {
    now: u64,
    holds: u32,
}

/// Looks at a core, and does what is to be done. Returns true if it hangs.
fn hangs(core: &CoreBlock, sight: &Sight, limit: u64) -> bool {
    let state = STATE.get(core);
    if state.is_looked_at.swap(true, Ordering::Acquire) {
        // Another one does, or this one did before it was interrupted.
        return false;
    }
    let before = Watched::from_bits(state.watched.load(Ordering::Relaxed));
    let seen = Seen {
        now: sight.now,
        has_answered: state.has_answered(),
        has_reported: !state.is_asked.load(Ordering::Acquire),
        was_held: state.holds.load(Ordering::Relaxed) != sight.holds,
    };
    let (after, action) = before.next(seen, limit);
    state.watched.store(after.to_bits(), Ordering::Relaxed);
    if let Watched::Pinged { since } = after {
        state.pinged_tsc.store(since, Ordering::Relaxed);
        state.holds.store(sight.holds, Ordering::Relaxed);
    }
    match action {
        Action::None => {}
        Action::Ping => {
            state.pings.fetch_add(1, Ordering::AcqRel);
            send(Message::Fixed(VECTOR), core);
        }
        Action::Interrupt => {
            state.is_asked.store(true, Ordering::Release);
            send(Message::Nmi, core);
        }
    }
    state.is_looked_at.store(false, Ordering::Release);
    matches!(after, Watched::Hung { .. })
}

fn send(message: Message, core: &CoreBlock) {
    // SAFETY: `start` has registered the vector's handler; a core that is online has a gate for
    // NMIs, on a stack of its own.
    unsafe { apic::registers().send(message, Destination::Core(core.apic_id)) };
}

impl State {
    fn has_answered(&self) -> bool {
        self.answered.load(Ordering::Acquire) == self.pings.load(Ordering::Acquire)
    }
}

/// Interrupts are on here.
fn on_ping(_: &mut TrapFrame) {
    apic::registers().end_of_interrupt();
    let state = STATE.current();
    let since = state.pinged_tsc.load(Ordering::Relaxed);
    state
        .answered
        .store(state.pings.load(Ordering::Acquire), Ordering::Release);
    if state.has_reported.swap(false, Ordering::Relaxed) {
        log::warn!(
            "watchdog: core {} goes on after {} with interrupts off",
            cpu::current_index(),
            Duration::since(since)
        );
    }
}

/// For the handler of NMIs: returns true, once, if the running core is to say where it is.
#[inline]
#[must_use]
pub fn is_asked(core: &CoreBlock) -> bool {
    is_on() && STATE.get(core).is_asked.swap(false, Ordering::AcqRel)
}

/// Says where the running core is, whose NMI has interrupted what is in `frame`: once for each hang.
#[cold]
pub fn report(core: &CoreBlock, frame: &TrapFrame) {
    let state = STATE.get(core);
    if state.has_answered() || frame.rflags & INTERRUPTS_ON != 0 {
        // It goes on already. If it is about to, the ping is next.
        return;
    }
    if state.has_reported.swap(true, Ordering::Relaxed) {
        return;
    }
    let at = registers_of(frame);
    let index = core.index;
    log::warn!(
        "watchdog: core {index} has had interrupts off for {}\n{}{}",
        Duration::since(state.pinged_tsc.load(Ordering::Relaxed)),
        Locks(core),
        Backtrace { core: index, at },
    );
}

/// How long something has lasted.
struct Duration(u64);

impl Duration {
    fn since(tsc: u64) -> Self {
        Self(super::locks::ticks_since(tsc))
    }
}

impl fmt::Display for Duration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match PLAN.get().and_then(|plan| (plan.facts.nanoseconds)(self.0)) {
            Some(time) => write!(f, "{} ms", time / NANOSECONDS_PER_MILLISECOND),
            None => write!(f, "{} ticks", self.0),
        }
    }
}

/// What a core waits for and holds.
struct Locks<'a>(&'a CoreBlock);

impl fmt::Display for Locks<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(awaited) = sync::awaited_by(self.0) {
            awaited_lock(&awaited, f)?;
        }
        for held in sync::held_by(self.0) {
            let since = Since(held);
            writeln!(f, "  it holds the lock `{}`, {since}", held.class().name())?;
        }
        Ok(())
    }
}

fn awaited_lock(awaited: &Awaited, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    let (name, waited) = (awaited.class().name(), Duration::since(awaited.since_tsc));
    write!(f, "  it has waited for the lock `{name}` for {waited}, ")?;
    let mut holders = cpu::cores().iter().flat_map(|core| {
        let held = sync::held_by(core).filter(|held| awaited.is(held));
        held.map(|held| (core.index, held))
    });
    match holders.next() {
        Some((core, held)) => writeln!(f, "which core {core} holds, {}", Since(held)),
        None => writeln!(f, "which nobody holds now"),
    }
}
