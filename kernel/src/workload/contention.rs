//! Lock contention: one spin lock, which every core wants most of the time.
//!
//! On one core a profile shows the work alone: `prepare` outside of the lock
//! has 55 %, `audit` and `transfer` inside 36 %, [`acquire`] 4 %. With four
//! cores `acquire` has half of all samples, with sixteen more than 80 %. Where
//! cores take turns that is a lock convoy: a holder whose turn ends inside lets
//! each other core spin through the whole of its own.
//!
//! A holder may have stopped for good, so [`acquire`] gives up in the end; the
//! ledger is whole whenever the lock is free.

use core::hint::{self, black_box};

use spin::mutex::{SpinMutex, SpinMutexGuard};

use super::scratch::{Scratch, scramble};

const ACCOUNTS: usize = 32;

/// How often [`acquire`] looks at the lock before it gives up: some ten thousand
/// instructions, in which a holder that lives has had several turns.
const MAX_TRIES: u32 = 2000;

/// Accounts that money is moved between; its sum never changes.
pub struct Ledger {
    accounts: [u64; ACCOUNTS],
    transfers: u64,
}

impl Ledger {
    /// What each account begins with.
    const OPENING: u64 = 1_000_000;

    /// A fresh ledger.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            accounts: [Self::OPENING; ACCOUNTS],
            transfers: 0,
        }
    }
}

impl Default for Ledger {
    fn default() -> Self {
        Self::new()
    }
}

static LEDGER: SpinMutex<Ledger> = SpinMutex::new(Ledger::new());

/// A unit of work. It ends early if the lock is not to be had.
pub fn unit(scratch: &mut Scratch) {
    let mut state = scratch.seed();
    for _ in 0..40 {
        state = prepare(state);
        let Some(mut ledger) = acquire(&LEDGER) else {
            return;
        };
        transfer(&mut ledger, state);
        black_box(audit(&ledger));
    }
}

/// The work outside of the lock: makes up the next transfer. It takes longer or
/// shorter: steps that are all alike would fall into step with the sampler.
#[inline(never)]
fn prepare(state: u64) -> u64 {
    (0..5 + state % 16).fold(state, |state, _| black_box(scramble(state)))
}

/// Takes the lock, unless it stays taken for too long.
#[inline(never)]
pub fn acquire(ledger: &SpinMutex<Ledger>) -> Option<SpinMutexGuard<'_, Ledger>> {
    for _ in 0..MAX_TRIES {
        // Reads until it looks free: only then a write, for which the cache line would
        // have to move.
        if !ledger.is_locked()
            && let Some(guard) = ledger.try_lock()
        {
            return Some(guard);
        }
        hint::spin_loop();
    }
    None
}

/// In the lock: moves money, twice, as `order` says.
#[inline(never)]
fn transfer(ledger: &mut Ledger, order: u64) {
    for [from, to, amount, _] in order.to_le_bytes().as_chunks().0 {
        let account = |byte: &u8| usize::from(*byte) % ACCOUNTS;
        let amount = u64::from(*amount).min(ledger.accounts[account(from)]);
        ledger.accounts[account(from)] -= amount;
        ledger.accounts[account(to)] += amount;
        ledger.transfers += 1;
    }
}

/// In the lock: adds up all accounts.
#[inline(never)]
fn audit(ledger: &Ledger) -> u64 {
    let accounts = ledger.accounts.iter();
    accounts.fold(0, |sum, account| black_box(sum + account))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::thread;

    #[test]
    fn money_is_moved_and_never_made() {
        let ledger = SpinMutex::new(Ledger::new());
        let done: u64 = thread::scope(|scope| {
            let core = |seed: u64| {
                let ledger = &ledger;
                scope.spawn(move || {
                    (0..500_u64)
                        .filter_map(|order| {
                            let mut guard = acquire(ledger)?;
                            transfer(&mut guard, scramble(seed << 32 | order));
                            Some(2)
                        })
                        .sum::<u64>()
                })
            };
            let cores: Vec<_> = (0..4).map(core).collect();
            cores.into_iter().map(|core| core.join().unwrap()).sum()
        });
        let ledger = ledger.into_inner();
        assert_eq!(audit(&ledger), Ledger::OPENING * ACCOUNTS as u64);
        assert_eq!(ledger.transfers, done);
        assert_ne!(ledger.accounts, Ledger::new().accounts);
    }

    #[test]
    fn a_lock_whose_holder_is_gone_is_given_up() {
        let ledger = SpinMutex::new(Ledger::new());
        let gone = ledger.lock();
        assert!(acquire(&ledger).is_none());
        drop(gone);
        assert!(acquire(&ledger).is_some());
    }
}
