//! The target of a kernel that has one stack.

use core::arch::asm;
use core::sync::atomic::{AtomicU64, Ordering};

use super::target::Target;
use crate::address::StackAddress;
use crate::unwind::StackBounds;

/// The bytes of the frame pointer and the return address that a function's frame ends with.
const PAIR_BYTES: u64 = 16;

/// The [`Target`] of a kernel of one core that runs on the stack on which its boot loader has
/// entered it, of which it knows no more than that.
///
/// ```
/// use profiler::sampler::{OneStack, Sampler};
///
/// // SAFETY: Limine's stacks have 64 KiB or more, and nothing else uses their memory. All of
/// // the kernel is compiled with frame pointers.
/// static SAMPLER: Sampler<OneStack> = Sampler::new(unsafe { OneStack::new(64 << 10) });
///
/// extern "C" fn kmain() -> ! {
///     SAMPLER.target().ends_here();
///     // …
/// #   unimplemented!()
/// }
/// ```
#[derive(Debug)]
pub struct OneStack {
    bytes: u64,
    /// The first address past it; 0 until that is known.
    high: AtomicU64,
}

impl OneStack {
    /// A stack of at least so many bytes.
    ///
    /// # Safety
    ///
    /// 1. The stack that [`Self::ends_here`] is called on has so many bytes, which are mapped
    ///    for ever and belong to nothing else.
    /// 2. The function that calls it was compiled with frame pointers, and is the first one on
    ///    that stack.
    /// 3. Before the sampler is started the core has a gate for each interrupt that the command
    ///    line asks for, and what [`super::Config`] says is mapped is: condition 3 of [`Target`].
    #[must_use]
    pub const unsafe fn new(bytes: u64) -> Self {
        Self {
            bytes,
            high: AtomicU64::new(0),
        }
    }

    /// The stack ends where the frame of the function that calls this does: the kernel's
    /// first one. It counts the first time.
    #[inline(always)]
    pub fn ends_here(&self) {
        let (sp, fp): (u64, u64);
        // SAFETY: reads two registers.
        unsafe {
            asm!("mov {}, rsp", "mov {}, rbp", out(reg) sp, out(reg) fp,
                options(nomem, nostack, preserves_flags));
        };
        self.set_end(StackAddress(sp), StackAddress(fp));
    }

    fn set_end(&self, sp: StackAddress, fp: StackAddress) {
        // Anything else is no frame pointer.
        if fp.0.wrapping_sub(sp.0) < self.bytes {
            let end = fp.0 + PAIR_BYTES;
            let unknown = self
                .high
                .compare_exchange(0, end, Ordering::Relaxed, Ordering::Relaxed);
            // Known already: it stays.
            let _ = unknown;
        }
    }
}

// SAFETY: what lies between a stack pointer of the kernel and its first frame is of the one
// stack that there is, by the conditions of `new`. Looking it up is arithmetic.
unsafe impl Target for OneStack {
    fn stack_of(&self, _core: u32, sp: StackAddress) -> Option<StackBounds> {
        let high = self.high.load(Ordering::Relaxed);
        let low = high.saturating_sub(self.bytes);
        (low..=high)
            .contains(&sp.0)
            .then_some(StackBounds { low: sp.0, high })
            .filter(|_| high != 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stack() -> OneStack {
        // SAFETY: nothing is read.
        unsafe { OneStack::new(0x1000) }
    }

    fn bounds(stack: &OneStack, sp: u64) -> Option<(u64, u64)> {
        let bounds = stack.stack_of(0, StackAddress(sp))?;
        Some((bounds.low, bounds.high))
    }

    #[test]
    fn nothing_is_known_before_the_end_is() {
        for sp in [0, 8, 0x5000] {
            assert_eq!(bounds(&stack(), sp), None);
        }
    }

    #[test]
    fn it_reaches_from_the_stack_pointer_to_the_first_frame() {
        let stack = stack();
        stack.set_end(StackAddress(0x4f00), StackAddress(0x4ff0));
        assert_eq!(bounds(&stack, 0x4800), Some((0x4800, 0x5000)));
        assert_eq!(bounds(&stack, 0x4000), Some((0x4000, 0x5000)));
        assert_eq!(bounds(&stack, 0x5000), Some((0x5000, 0x5000)));
        assert_eq!([0x3ff8, 0x5008, 0].map(|sp| bounds(&stack, sp)), [None; 3]);
    }

    #[test]
    fn what_is_no_frame_pointer_says_nothing() {
        let stack = stack();
        for fp in [0, 0x4ef8, 0x5f00, u64::MAX] {
            stack.set_end(StackAddress(0x4f00), StackAddress(fp));
            assert_eq!(bounds(&stack, 0x4f00), None, "{fp:#x}");
        }
    }
}
