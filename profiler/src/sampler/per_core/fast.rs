//! What the fast handler of a core needs at hand: what it would else have to look for.

use core::sync::atomic::{AtomicBool, AtomicPtr, AtomicU64, Ordering::Relaxed};

use super::Output;
use crate::address::{CodeAddress, CodeRange};
use crate::unwind::fast::CompiledCode;

/// What the fast handler of a core needs at hand. It is set before the source is armed.
pub(crate) struct FastState {
    /// What the core's time stamp counter read when the run's time was 0.
    pub origin: AtomicU64,
    /// See [`CompiledCode`].
    pub text_start: AtomicU64,
    pub compiled_len: AtomicU64,
    pub text_len: AtomicU64,
    /// What the source is armed with.
    pub count: AtomicU64,
    /// The ticks of an entry and an exit.
    pub overhead: AtomicU64,
    /// The core has to wait for its turn after each sample.
    pub has_turns: AtomicBool,
    /// The kernel.
    pub target: AtomicPtr<()>,
    pub engine: AtomicPtr<()>,
    pub output: AtomicPtr<Output>,
}

impl FastState {
    /// The kernel's code.
    #[inline(always)]
    pub(crate) fn code(&self) -> CompiledCode {
        CompiledCode {
            start: CodeAddress(self.text_start.load(Relaxed)),
            len: self.compiled_len.load(Relaxed),
        }
    }

    /// Sets it.
    pub(crate) fn set_code(&self, text: CodeRange, compiled: CodeRange) {
        let len = |range: CodeRange| range.end.0.saturating_sub(range.start.0);
        let is_at_start = compiled.start == text.start;
        self.text_start.store(text.start.0, Relaxed);
        self.text_len.store(len(text), Relaxed);
        let compiled = if is_at_start { len(compiled) } else { 0 };
        self.compiled_len.store(compiled, Relaxed);
    }

    /// Where the core writes to.
    ///
    /// # Safety
    ///
    /// It was set.
    #[inline(always)]
    pub(crate) unsafe fn output(&self) -> &'static Output {
        // SAFETY: set (the caller's condition), and never moved.
        unsafe { &*self.output.load(Relaxed) }
    }
}
