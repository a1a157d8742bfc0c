//! Threads of a program, and waiting for each other.

use core::arch::global_asm;
use core::sync::atomic::{AtomicU32, Ordering};

use crate::call::Call;
use crate::{Refused, call, map};

/// The bytes of a thread's stack.
const STACK: u32 = 64 << 10;

/// Starts a thread that calls `main(argument)` on a stack of its own, and ends with it.
///
/// # Errors
///
/// If there is no memory, or there are too many threads.
pub fn start_thread(main: extern "C" fn(u64), argument: u64) -> Result<u64, Refused> {
    let low = map(STACK.into())?;
    let top = low.wrapping_add(STACK as usize - 16).cast::<u64>();
    // SAFETY: the stack's two highest words, which nothing else has.
    unsafe { top.write((main as *const ()).addr() as u64) };
    let entry = (thread_entry as *const ()).addr() as u64;
    call(Call::StartThread, [entry, top.addr() as u64, argument])
}

unsafe extern "C" {
    /// Where a thread begins: on top of the stack is what it calls.
    fn thread_entry();
}

global_asm!(
    r#"
    .global thread_entry
    .type thread_entry, @function
thread_entry:
    .cfi_startproc
    .cfi_undefined rip
    xor ebp, ebp
    call [rsp]
    mov eax, {end}
    syscall
    ud2
    .cfi_endproc
    .size thread_entry, . - thread_entry
    "#,
    end = const Call::EndThread as u32,
);

/// A word that threads wait at.
#[derive(Debug, Default)]
pub struct Futex(pub AtomicU32);

impl Futex {
    /// Waits to be woken, if the word is `value`. It may come back without.
    pub fn wait(&self, value: u32) {
        let _ = call(Call::FutexWait, [self.address(), value.into(), 0]);
    }

    /// Changes the word, and wakes who waits for that: as many as `most`.
    pub fn set_and_wake(&self, value: u32, most: u64) {
        self.0.store(value, Ordering::Release);
        self.wake(most);
    }

    /// Wakes who waits for a change of the word that was made: as many as `most`.
    pub fn wake(&self, most: u64) {
        let _ = call(Call::FutexWake, [self.address(), most, 0]);
    }

    fn address(&self) -> u64 {
        core::ptr::from_ref(&self.0).addr() as u64
    }
}
