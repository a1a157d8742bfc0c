//! What is known of samples, from whoever takes them.

use profiler::format::account::Account;
use spin::Once;

use crate::cpu::CoreBlock;

/// What whoever samples tells.
pub struct Sampling {
    /// The interrupts by which a core was sampled so far.
    pub interrupts: fn(&CoreBlock) -> u64,
    /// A difference of the time stamp counter in ticks of accounts, if those leave out what samples
    /// take.
    pub account_ticks: fn(u64) -> Option<u64>,
    /// Leaves the accounts of a core to the host.
    pub leave_accounts: fn(&CoreBlock, &mut dyn Iterator<Item = Account>),
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
