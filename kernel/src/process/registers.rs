//! Floating-point and vector registers of threads: none until a thread uses them for the first time. From
//! then on they are loaded on its way to user mode, and saved when its task gives the core up.

use core::cell::UnsafeCell;
use core::ptr;
use core::sync::atomic::{AtomicPtr, Ordering};

use x86_64::instructions::interrupts;

use crate::cpu::extended_state::{self, ExtendedState};
use crate::cpu::per_core::per_core;

per_core! {
    /// Those that are in the core's registers: of the thread whose task runs. Null: none.
    static LOADED: AtomicPtr<Registers> = AtomicPtr::new(ptr::null_mut());
}

/// The registers of a thread.
pub(super) struct Registers(UnsafeCell<Option<ExtendedState>>);

// SAFETY: the thread's own task alone reads and writes them, on the core that it runs on, with
// interrupts off.
unsafe impl Sync for Registers {}

impl Registers {
    /// Those of a thread that has used none.
    pub(super) const fn new() -> Self {
        Self(UnsafeCell::new(None))
    }

    /// The running thread, whose these are, uses registers for the first time. Returns false if there is
    /// no memory for them.
    pub(super) fn begin(&self) -> bool {
        // SAFETY: see above.
        let state = unsafe { &mut *self.0.get() };
        if state.is_none() {
            *state = ExtendedState::new();
        }
        state.is_some()
    }

    /// Loads them, if the running thread, whose these are, has any. Interrupts are off.
    pub(super) fn load(&self) {
        // SAFETY: see above.
        let Some(state) = (unsafe { &*self.0.get() }) else {
            return;
        };
        let me = ptr::from_ref(self).cast_mut();
        if LOADED.current().swap(me, Ordering::Relaxed) != me {
            state.load();
        }
    }

    /// The running thread, whose these are, is not going to use them again.
    pub(super) fn forget(&self) {
        let me = ptr::from_ref(self).cast_mut();
        interrupts::without_interrupts(|| {
            if LOADED.current().swap(ptr::null_mut(), Ordering::Relaxed) == me {
                extended_state::forbid();
            }
        });
    }
}

/// The running task is about to give the core up: its registers are saved. Interrupts are off.
pub(super) fn save() {
    let loaded = LOADED.current().swap(ptr::null_mut(), Ordering::Relaxed);
    // SAFETY: null, or those of the running task's thread, which calls `forget` before it is gone.
    if let Some(registers) = unsafe { loaded.as_ref() } {
        // SAFETY: see above.
        if let Some(state) = unsafe { &mut *registers.0.get() } {
            state.save();
        }
    }
}
