//! Stacks of the sampler's own, for what takes more than a kernel's stacks may have left.
//!
//! | | takes | in a kernel without optimization |
//! |---|---|---|
//! | the first core: planning a run, or a change of it | 40 KiB | more |
//! | each other core: probing its counters | 13 KiB | as much |

use core::cell::UnsafeCell;
use core::ffi::c_void;
use core::ptr::NonNull;

use crate::address::StackAddress;
use crate::assembly;
use crate::unwind::StackBounds;

/// The bytes of the first core's stack.
pub(crate) const OWN_STACK_BYTES: usize = 192 << 10;

/// The bytes of another core's.
const CORE_STACK_BYTES: usize = 24 << 10;

/// The memory of another core's stack.
#[repr(C, align(16))]
pub(crate) struct CoreStack(UnsafeCell<[u8; CORE_STACK_BYTES]>);

// SAFETY: it is only used as a stack, by one core at a time.
unsafe impl Sync for CoreStack {}

impl CoreStack {
    pub(crate) fn get(&'static self) -> OwnStack {
        let low = NonNull::from(&self.0).cast();
        OwnStack {
            low,
            bytes: CORE_STACK_BYTES,
        }
    }
}

unsafe extern "C" {
    /// Calls `function` with `argument` on the stack that ends at `top`, a multiple of 16.
    fn pmiscope_call_on_stack(
        argument: *mut c_void,
        function: unsafe extern "C" fn(*mut c_void),
        top: *mut u8,
    );
}

assembly!(
    r#"
    .balign 16
    .global pmiscope_call_on_stack
    .type pmiscope_call_on_stack, @function
pmiscope_call_on_stack:
    .cfi_startproc
    RULE FRAME
    push rbp
    .cfi_def_cfa_offset 16
    .cfi_offset rbp, -16
    mov rbp, rsp
    .cfi_def_cfa_register rbp
    mov rsp, rdx
    call rsi
    leave
    .cfi_def_cfa rsp, 8
    ret
    .cfi_endproc
    .size pmiscope_call_on_stack, . - pmiscope_call_on_stack
    "#,
);

/// A stack. That of the first core is used by whoever has the right to change the run.
#[derive(Clone, Copy, Debug)]
pub(crate) struct OwnStack {
    low: NonNull<u8>,
    bytes: usize,
}

// SAFETY: one user at a time, on whatever core: condition 2 of `run`.
unsafe impl Send for OwnStack {}
// SAFETY: likewise.
unsafe impl Sync for OwnStack {}

/// What is to be done, and then what has come of it.
enum Call<W, R> {
    Work(W),
    Running,
    Done(R),
}

impl OwnStack {
    /// The stack that begins at `low`, a multiple of 16, with [`OWN_STACK_BYTES`].
    ///
    /// # Safety
    ///
    /// They are valid for reads and writes for ever, and nothing else uses them.
    pub(crate) const unsafe fn new(low: NonNull<u8>) -> Self {
        Self {
            low,
            bytes: OWN_STACK_BYTES,
        }
    }

    /// Does `work` on this stack, interrupts as they are.
    ///
    /// # Safety
    ///
    /// 1. `work` does not unwind.
    /// 2. No other code is on this stack meanwhile.
    pub(crate) unsafe fn run<R>(self, work: impl FnOnce() -> R) -> R {
        let mut call = Call::Work(work);
        let function = function_of(&call);
        // SAFETY: within the stack, or right behind it.
        let top = unsafe { self.low.as_ptr().add(self.bytes) };
        // SAFETY: the stack is free, and its end a multiple of 16; the function is that of the
        // argument, which lives until it returns.
        unsafe { pmiscope_call_on_stack((&raw mut call).cast(), function, top) };
        match call {
            Call::Done(result) => result,
            Call::Work(_) | Call::Running => unreachable!("the call has returned"),
        }
    }

    /// Where it is.
    pub(crate) fn bounds(self) -> StackBounds {
        let low = self.low.addr().get() as u64;
        StackBounds {
            low,
            high: low + self.bytes as u64,
        }
    }

    /// The bounds, if the stack pointer `sp` is on this stack.
    pub(crate) fn bounds_at(self, sp: StackAddress) -> Option<StackBounds> {
        let StackBounds { low, high } = self.bounds();
        // An empty stack's pointer is its end.
        (low < sp.0 && sp.0 <= high).then_some(self.bounds())
    }
}

/// The function that executes a call like this one.
fn function_of<W: FnOnce() -> R, R>(_: &Call<W, R>) -> unsafe extern "C" fn(*mut c_void) {
    unsafe extern "C" fn execute<W: FnOnce() -> R, R>(call: *mut c_void) {
        // SAFETY: `OwnStack::run` gives the call that this is the function of, which nobody
        // else has meanwhile.
        let call = unsafe { &mut *call.cast::<Call<W, R>>() };
        if let Call::Work(work) = core::mem::replace(call, Call::Running) {
            *call = Call::Done(work());
        }
    }
    execute::<W, R>
}

#[cfg(test)]
mod tests {
    use super::*;

    #[repr(C, align(4096))]
    struct Bytes([u8; OWN_STACK_BYTES]);

    fn stack() -> OwnStack {
        let bytes = Box::leak(vec![Bytes([0; OWN_STACK_BYTES])].into_boxed_slice());
        // SAFETY: leaked.
        unsafe { OwnStack::new(NonNull::from(bytes).cast()) }
    }

    #[test]
    fn work_is_done_on_the_stack_and_its_result_comes_back() {
        let stack = stack();
        let text = String::from("given");
        // SAFETY: it does not panic, and this test alone has the stack.
        let (answer, address) = unsafe {
            stack.run(|| {
                let local = 7_u64;
                let address = (&raw const local).addr() as u64;
                (
                    format!("{text} and {}", core::hint::black_box(local)),
                    address,
                )
            })
        };
        assert_eq!(answer, "given and 7");
        let StackBounds { low, high } = stack.bounds();
        assert!(
            low < address && address < high,
            "{low:#x} {address:#x} {high:#x}"
        );
        let here = (&raw const answer).addr() as u64;
        assert!(here < low || high <= here);
    }

    #[test]
    fn a_stack_pointer_is_on_it_from_its_first_byte_on_to_its_end() {
        let stack = stack();
        let StackBounds { low, high } = stack.bounds();
        for (sp, is_on) in [
            (low, false),
            (low + 8, true),
            (high, true),
            (high + 8, false),
        ] {
            let bounds = stack.bounds_at(StackAddress(sp));
            assert_eq!(bounds.is_some(), is_on, "{:#x}", sp - low);
        }
    }
}
