//! The wire by functions of the caller.

use core::cell::UnsafeCell;
use core::sync::atomic::{AtomicBool, Ordering};

use profiler::format::wire::{self, Sender, Sent};

use crate::kernel::SAMPLER;
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
struct Senders(UnsafeCell<Sender>);

// SAFETY: one core at a time uses it, by `IS_SENDING`.
unsafe impl Sync for Senders {}

static SENDER: Senders = Senders(UnsafeCell::new(Sender::new()));
static IS_SENDING: AtomicBool = AtomicBool::new(false);

/// Sends the region of the run. `None` if there is none, or if it is being sent.
pub fn send(port: &mut CPort) -> Option<Sent> {
    let region = SAMPLER.region()?;
    if IS_SENDING.swap(true, Ordering::Acquire) {
        return None;
    }
    // SAFETY: nobody else has set the flag.
    let sender = unsafe { &mut *SENDER.0.get() };
    let sent = sender.send(&region, port);
    IS_SENDING.store(false, Ordering::Release);
    Some(sent)
}
