//! What the kernel watches of itself while it is sampled: each asks the sampler for what it needs.

use kernel_core::words::Words;

use crate::cpu::{self, accounts, stop};
use crate::profiling::sampler;
use crate::watch::{self, Sampling, watchdog};
use crate::{live, sync, task, workload};

/// Says what commands and accounts ask of the sampler.
pub fn set_up() {
    watch::set_sampling(Sampling {
        interrupts: |core| sampler().interrupts(core.index),
        account_ticks: |ticks| sampler().executed(0).and(sampler().run_ticks(ticks)),
        lock_samples: live::lock_samples,
        leave_accounts: |core, accounts| sampler().set_accounts(core.index, accounts),
    });
}

/// Starts what the command line wants.
pub fn start(words: &Words<'_>, workload: &str) {
    if let Some(milliseconds) = words.watchdog {
        let facts = watchdog::Facts {
            nanoseconds: |ticks| sampler().run_ticks(ticks),
            has_finished: |core| sampler().has_finished(core),
        };
        watchdog::start(milliseconds.get(), facts);
    }
    if words.accounting {
        // Without what samples take: in ticks of the run where it is known what that is, else of
        // the time stamp counter. A core that is held spends nothing.
        accounts::start(|core| {
            sampler().source()?;
            let executed = sampler().executed(core.index);
            executed.or_else(|| Some(stop::ticks_in_motion(core)))
        });
    }
    if words.locks {
        workload::name_locks(workload);
        sync::tag_samples(sync::Tags {
            set: |lock| {
                let number = task::current_name(cpu::current());
                task::swap_name(workload::number_with_lock(number, lock))
            },
            restore: |number| {
                task::swap_name(number);
            },
        });
    }
}
