//! The wire by functions of the caller.

use core::ptr::NonNull;
use core::sync::atomic::{AtomicBool, Ordering};

use profiler::format::region::{PAGE, Region};
use profiler::format::wire::{self, Sender, Sent};

use crate::types::Port;

/// A port of the caller's.
pub struct CPort {
    send: unsafe extern "C" fn(*const u8, usize),
    receive: Option<unsafe extern "C" fn() -> i32>,
}

impl CPort {
    /// `None` if it cannot send.
    pub fn new(port: &Port) -> Option<Self> {
        Some(Self {
            send: port.send?,
            receive: port.receive,
        })
    }
}

impl wire::Port for CPort {
    fn send(&mut self, bytes: &[u8]) {
        // SAFETY: the function is the caller's, the bytes live as long as the call.
        unsafe { (self.send)(bytes.as_ptr(), bytes.len()) };
    }

    fn receive(&mut self) -> Option<u8> {
        // SAFETY: the function is the caller's.
        let byte = unsafe { self.receive?() };
        u8::try_from(byte).ok()
    }
}

/// The memory that sending takes, of whoever has set [`IS_SENDING`].
struct Senders(core::cell::UnsafeCell<Sender>);

// SAFETY: one core at a time uses it, by `IS_SENDING`.
unsafe impl Sync for Senders {}

static SENDER: Senders = Senders(core::cell::UnsafeCell::new(Sender::new()));
static IS_SENDING: AtomicBool = AtomicBool::new(false);

/// Sends the region in this memory. `None` if there is none, or if it is being sent.
///
/// # Safety
///
/// The memory is valid, and what is in it is used through the library alone.
pub unsafe fn send(memory: NonNull<[u8]>, port: &mut CPort) -> Option<Sent> {
    if memory.cast::<u8>().addr().get() % PAGE != 0 {
        return None;
    }
    // SAFETY: of the caller.
    let (region, _) = unsafe { Region::open(memory) }.ok()?;
    if IS_SENDING.swap(true, Ordering::Acquire) {
        return None;
    }
    // SAFETY: nobody else has set the flag.
    let sender = unsafe { &mut *SENDER.0.get() };
    let sent = sender.send(&region, port);
    IS_SENDING.store(false, Ordering::Release);
    Some(sent)
}
