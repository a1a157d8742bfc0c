//! What a core has spent its time on, where the kernel accounts for that.

use core::sync::atomic::{AtomicU64, Ordering::Relaxed};

use super::named::named;

/// The most accounts of a core.
pub const ACCOUNT_ROWS: usize = 64;

named! {
    /// What an account is of.
    ///
    /// ```
    /// use profiler::format::account::AccountKind;
    ///
    /// assert_eq!(AccountKind::try_from(3), Ok(AccountKind::Idle));
    /// assert_eq!(AccountKind::Task.name(), "task");
    /// ```
    AccountKind {
        /// Tasks of a name, in the kernel: its number among those of the description.
        Task = 1, "task";
        /// Interrupts of a vector: its number.
        Interrupt = 2, "interrupt";
        /// Halts.
        Idle = 3, "idle";
        /// Samples, and what their handlers have waited for.
        Samples = 4, "samples";
        /// Tasks of a name in user mode: its number, as of those in the kernel.
        User = 5, "user";
    }
}

/// An account.
///
/// ```
/// use profiler::format::account::{Account, AccountCounters, AccountKind};
///
/// let account = Account { kind: AccountKind::Interrupt, number: 64, ticks: 1200 };
/// let row = AccountCounters::default();
/// assert_eq!(row.load(), None);
/// row.store(account);
/// assert_eq!(row.load(), Some(account));
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Account {
    /// What it is of.
    pub kind: AccountKind,
    /// Which of those.
    pub number: u16,
    /// The time, in ticks of the run.
    pub ticks: u64,
}

/// An account in the page of a core's ring.
///
/// ```
/// use profiler::format::account::AccountCounters;
///
/// // None until the kernel stores one.
/// assert_eq!(AccountCounters::default().load(), None);
/// ```
#[derive(Default)]
#[repr(C)]
pub struct AccountCounters {
    /// An [`AccountKind`], and behind 8 bits the number; 0: no account.
    pub(crate) used_for: AtomicU64,
    pub(crate) ticks: AtomicU64,
}

impl AccountCounters {
    /// Writes an account.
    pub fn store(&self, account: Account) {
        let number = u64::from(account.number) << 8;
        self.ticks.store(account.ticks, Relaxed);
        self.used_for.store(number | account.kind as u64, Relaxed);
    }

    /// The account; `None` if there is none, or none of a kind that is known.
    #[must_use]
    pub fn load(&self) -> Option<Account> {
        let [kind, low, high, ..] = self.used_for.load(Relaxed).to_le_bytes();
        Some(Account {
            kind: AccountKind::try_from(kind).ok()?,
            number: u16::from_le_bytes([low, high]),
            ticks: self.ticks.load(Relaxed),
        })
    }
}
