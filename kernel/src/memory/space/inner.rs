//! What there is of a process's memory that other cores may refer to at any time: it lives for
//! ever, and serves the next process then.

use alloc::boxed::Box;
use alloc::vec::Vec;

use kernel_core::core_set::CoreSet;
use kernel_core::process::mappings::Mappings;

use super::tables::{NoMemory, Tables};
use crate::sync::{Lock, lock_class};

/// What a process has mapped.
pub(super) struct State {
    pub(super) tables: Tables,
    pub(super) mappings: Mappings,
}

/// The part of a [`Space`](super::Space) that lives for ever.
pub(super) struct Inner {
    state: Lock<Option<State>>,
    /// Cores that have its page tables, or are about to load or to leave them.
    pub(super) cores: CoreSet,
}

/// Those that no process uses, and how many there are.
struct Pool {
    free: Vec<&'static Inner>,
    made: usize,
}

static POOL: Lock<Pool> = Lock::new(
    lock_class!("spaces"),
    Pool {
        free: Vec::new(),
        made: 0,
    },
);

impl Pool {
    fn take(&mut self) -> Result<&'static Inner, NoMemory> {
        if let Some(inner) = self.free.pop() {
            return Ok(inner);
        }
        // So that all have room when they come back.
        let missing = self.made + 1 - self.free.len();
        self.free.try_reserve(missing).map_err(|_| NoMemory)?;
        self.made += 1;
        Ok(Box::leak(Box::new(Inner {
            state: Lock::new(lock_class!("space"), None),
            cores: CoreSet::new(),
        })))
    }
}

impl Inner {
    /// One for a process with these page tables.
    pub(super) fn take(tables: Tables) -> Result<&'static Self, NoMemory> {
        let inner = POOL.with(Pool::take)?;
        let mappings = Mappings::new();
        inner
            .state
            .with(|state| *state = Some(State { tables, mappings }));
        Ok(inner)
    }

    /// Runs `action` on what the process has mapped.
    pub(super) fn with<R>(&'static self, action: impl FnOnce(&mut State) -> R) -> R {
        self.state
            .with(|state| action(state.as_mut().expect("a space is used that has ended")))
    }

    /// The process has ended. Returns what it had mapped, which no core has any more.
    pub(super) fn give_back(&'static self) -> Option<State> {
        let state = self.state.with(Option::take);
        POOL.with(|pool| pool.free.push(self));
        state
    }
}
