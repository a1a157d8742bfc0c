//! Messages between processes, and functions that are called for them.

use core::arch::global_asm;
use core::sync::atomic::{AtomicPtr, Ordering};

use crate::call::Call;
use crate::{Refused, call};

/// Sends a message to a process.
///
/// # Errors
///
/// There is no such process, or too many messages wait for it.
pub fn send(process: u64, message: u64) -> Result<(), Refused> {
    call(Call::Send, [process, message, 0]).map(|_| ())
}

/// Waits for the next message.
///
/// # Errors
///
/// None, but for what the kernel says.
pub fn receive() -> Result<u64, Refused> {
    call(Call::Receive, [0; 3])
}

/// What is called for each message.
static HANDLER: AtomicPtr<()> = AtomicPtr::new(core::ptr::null_mut());

/// Has a function called for each message, whatever a thread of the process is doing: as an upcall.
pub fn on_message(handler: extern "C" fn(u64)) {
    HANDLER.store(handler as *mut (), Ordering::Relaxed);
    let entry = (upcall_entry as *const ()).addr() as u64;
    let _ = call(Call::Handle, [entry, 0, 0]);
}

/// What an upcall has interrupted: rbp, rip, rsp, flags, and the other registers.
#[derive(Default)]
pub struct Context(pub [u64; 18]);

impl Context {
    /// Continues there.
    ///
    /// # Errors
    ///
    /// If the kernel cannot read it.
    pub fn resume(&self) -> Result<(), Refused> {
        let place = core::ptr::from_ref(self).addr() as u64;
        call(Call::Resume, [place, 0, 0]).map(|_| ())
    }
}

unsafe extern "C" {
    /// Where an upcall begins.
    fn upcall_entry();
}

// On top of the stack, and where rbp leads to, is what was interrupted: its rbp, and where it goes on.
global_asm!(
    r#"
    .global upcall_entry
    .type upcall_entry, @function
upcall_entry:
    .cfi_startproc simple
    .cfi_signal_frame
    .cfi_def_cfa rbp, 16
    .cfi_offset rbp, -16
    .cfi_offset rip, -8
    call [rip + {handler}]
    mov rdi, rsp
    mov eax, {resume}
    syscall
    ud2
    .cfi_endproc
    .size upcall_entry, . - upcall_entry
    "#,
    handler = sym HANDLER,
    resume = const Call::Resume as u32,
);
