//! What each core spends its time on: the tasks by their names, in user mode and in the kernel;
//! interrupts by their vectors; halts. Off until somebody starts it with a clock.
//!
//! A core's time is always of one *account*. Whoever begins something else changes it, and the time
//! since the last change is the last account's: so the accounts add up to the whole.

use core::sync::atomic::{AtomicBool, AtomicU16, AtomicU64, Ordering::Relaxed};

use profiler::hw::tsc;
use spin::Once;
use x86_64::instructions::interrupts;

use super::per_core::per_core;
use super::{CoreBlock, stop};

/// What time is spent on, as a number.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Account(u16);

/// The most names of tasks.
const NAMES: u16 = 64;
/// The number of vectors.
const VECTORS: u16 = 256;
/// The first of tasks in user mode.
const USER: u16 = NAMES + VECTORS;
const IDLE: u16 = USER + NAMES;
/// The number of accounts.
const ACCOUNTS: usize = IDLE as usize + 1;

/// What an account is of.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Use {
    /// Tasks whose name has this number, in the kernel.
    Task(u16),
    /// The same in user mode.
    User(u16),
    /// Handling interrupts of this vector.
    Interrupt(u8),
    /// Halts.
    Idle,
}

impl Account {
    /// The core is halted.
    pub const IDLE: Self = Self(IDLE);

    /// Of tasks whose name has this number; all those from the 64th on are one.
    #[must_use]
    pub const fn of_task(name: u16) -> Self {
        Self(if name < NAMES { name } else { NAMES - 1 })
    }

    /// Of interrupts.
    #[must_use]
    pub const fn of_vector(vector: u8) -> Self {
        Self(NAMES + vector as u16)
    }

    /// Of the same task in user mode; of what is no task's the same.
    #[must_use]
    pub const fn in_user_mode(self) -> Self {
        Self(if self.0 < NAMES {
            USER + self.0
        } else {
            self.0
        })
    }

    /// Of the same task in the kernel; of what is no task's in user mode the same.
    #[must_use]
    pub const fn in_kernel(self) -> Self {
        let is_users = self.0 >= USER && self.0 < IDLE;
        Self(if is_users { self.0 - USER } else { self.0 })
    }

    /// What it is of.
    #[must_use]
    #[allow(clippy::cast_possible_truncation)] // below the number of vectors
    pub const fn used_for(self) -> Use {
        match self.0 {
            name if name < NAMES => Use::Task(name),
            IDLE => Use::Idle,
            user if user >= USER => Use::User(user - USER),
            vector => Use::Interrupt((vector - NAMES) as u8),
        }
    }

    /// As a number, for an atomic.
    #[must_use]
    pub const fn to_bits(self) -> u16 {
        self.0
    }

    /// What [`Self::to_bits`] made a number of.
    #[must_use]
    pub const fn from_bits(bits: u16) -> Self {
        Self(if bits <= IDLE { bits } else { IDLE })
    }

    const fn place(self) -> usize {
        self.0 as usize
    }
}

/// The accounts of a core, which that core alone writes.
struct Accounts {
    current: AtomicU16,
    /// When the clock was looked at last; 0: never.
    since: AtomicU64,
    ticks: [AtomicU64; ACCOUNTS],
    /// When accounting began on the core, by the time stamp counter.
    began_tsc: AtomicU64,
    /// When the accounts were settled last.
    settled_tsc: AtomicU64,
}

per_core! {
    /// The accounts of each core.
    static BOOKS: Accounts = Accounts {
        current: AtomicU16::new(0),
        since: AtomicU64::new(0),
        ticks: [const { AtomicU64::new(0) }; ACCOUNTS],
        began_tsc: AtomicU64::new(0),
        settled_tsc: AtomicU64::new(0),
    };
}

/// What the running core, `core`, has spent so far, in ticks of some clock; `None` if that does not
/// count yet.
pub type Clock = fn(&CoreBlock) -> Option<u64>;

static CLOCK: Once<Clock> = Once::new();

static IS_ON: AtomicBool = AtomicBool::new(false);

/// Accounts for the time of all cores from now on, by this clock.
pub fn start(clock: Clock) {
    CLOCK.call_once(|| clock);
    IS_ON.store(true, Relaxed);
}

/// Returns true if time is accounted for.
#[inline(always)]
#[must_use]
pub fn is_on() -> bool {
    IS_ON.load(Relaxed)
}

/// What the running core does from now on. Returns what it did.
#[inline]
pub fn change(to: Account) -> Account {
    if is_on() { change_now(to) } else { to }
}

/// What the running core does.
#[inline]
#[must_use]
pub fn current() -> Account {
    Account::from_bits(BOOKS.current().current.load(Relaxed))
}

#[cold]
#[inline(never)]
fn change_now(to: Account) -> Account {
    interrupts::without_interrupts(|| {
        let core = super::current();
        let books = BOOKS.get(core);
        settle(core, books);
        Account::from_bits(books.current.swap(to.to_bits(), Relaxed))
    })
}

/// Adds the time since the last change to the account that it is of.
fn settle(core: &CoreBlock, books: &Accounts) {
    let Some(now) = CLOCK.get().and_then(|clock| clock(core)) else {
        return;
    };
    let since = books.since.load(Relaxed);
    let tsc = tsc::ticks();
    books.since.store(now, Relaxed);
    books.settled_tsc.store(tsc, Relaxed);
    if since == 0 {
        books.began_tsc.store(tsc, Relaxed);
        return;
    }
    let account = Account::from_bits(books.current.load(Relaxed));
    books.ticks[account.place()].fetch_add(now.saturating_sub(since), Relaxed);
}

/// Settles the accounts of the running core, so that they are of now.
pub fn settle_own() {
    if is_on() {
        interrupts::without_interrupts(|| {
            let core = super::current();
            settle(core, BOOKS.get(core));
        });
    }
}

/// The accounts of `core` that any time was spent on, as the core has settled them last.
pub fn of_core(core: &CoreBlock) -> impl Iterator<Item = (Use, u64)> + use<> {
    let books = BOOKS.get(core);
    let all = (0..=IDLE).zip(&books.ticks);
    let all = all.map(|(number, ticks)| (Account(number).used_for(), ticks.load(Relaxed)));
    all.filter(|&(_, ticks)| ticks != 0)
}

/// From the start of accounting on `core` to the last time that its accounts were settled, in ticks of
/// the time stamp counter, without the time for which it has stood still.
#[must_use]
pub fn span(core: &CoreBlock) -> u64 {
    let books = BOOKS.get(core);
    let began = books.began_tsc.load(Relaxed);
    let span = books.settled_tsc.load(Relaxed).saturating_sub(began);
    span.saturating_sub(stop::ticks_stood_still(core))
}
