//! What is known of samples, from whoever takes them.

use profiler::format::account::Account;
use profiler::format::description::MAX_TASKS;
use spin::Once;

use crate::cpu::CoreBlock;

/// What whoever samples tells.
pub struct Sampling {
    /// The interrupts by which a core was sampled so far.
    pub interrupts: fn(&CoreBlock) -> u64,
    /// A difference of the time stamp counter in ticks of accounts, if those leave out what samples
    /// take.
    pub account_ticks: fn(u64) -> Option<u64>,
    /// In how many samples that are in memory each lock was held, if samples say it. It may take long.
    pub lock_samples: fn() -> Option<LockSamples>,
    /// Leaves the accounts of a core to the host.
    pub leave_accounts: fn(&CoreBlock, &mut dyn Iterator<Item = Account>),
}

/// In how many samples each lock was held.
#[derive(Clone, Copy)]
pub struct LockSamples {
    /// By the numbers of locks.
    pub by_lock: [u64; MAX_TASKS],
    /// The number of all samples; not 0.
    pub all: u64,
}

impl LockSamples {
    /// The share of the lock with this number, in hundredths of a percent.
    #[must_use]
    pub fn share(&self, lock: usize) -> u64 {
        let samples = self.by_lock.get(lock).copied().unwrap_or_default();
        samples.saturating_mul(10_000) / self.all
    }
}

static SAMPLING: Once<Sampling> = Once::new();

/// Registers who samples.
pub fn set_sampling(sampling: Sampling) {
    SAMPLING.call_once(|| sampling);
}

/// Who samples, once that is registered.
pub(super) fn sampling() -> Option<&'static Sampling> {
    SAMPLING.get()
}
