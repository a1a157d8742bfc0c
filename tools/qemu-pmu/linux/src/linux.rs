//! What is asked of Linux: arguments, output, the end. And of the processor: the
//! time.

use core::arch::{asm, x86_64::_rdtsc};
use core::ffi::{CStr, c_char};
use core::fmt::{self, Write};
use core::panic::PanicInfo;

/// The program's arguments.
pub struct Arguments {
    count: usize,
    first: *const *const c_char,
}

impl Arguments {
    /// Those that a program is started with.
    ///
    /// # Safety
    ///
    /// `stack` is the stack pointer as Linux sets it for a program's first
    /// instruction, and what it points to is left alone.
    pub unsafe fn new(stack: *const usize) -> Self {
        Self {
            // SAFETY: there is their number.
            count: unsafe { *stack },
            first: stack.wrapping_add(1).cast(),
        }
    }

    /// The one of that index; the program's name is the first.
    pub fn get(&self, index: usize) -> Option<&str> {
        if index >= self.count {
            return None;
        }
        // SAFETY: behind their number there are so many addresses.
        let argument = unsafe { *self.first.wrapping_add(index) };
        // SAFETY: each is that of a string that ends with a zero.
        let argument = unsafe { CStr::from_ptr(argument) };
        argument.to_str().ok()
    }
}

/// A system call of up to three arguments.
///
/// # Safety
///
/// It does nothing to memory that Rust does not expect.
unsafe fn system_call(number: usize, a: usize, b: usize, c: usize) -> usize {
    let result;
    // SAFETY: Linux changes these registers alone; of memory the caller knows.
    unsafe {
        asm!("syscall", inlateout("rax") number => result, in("rdi") a, in("rsi") b, in("rdx") c,
            out("rcx") _, out("r11") _, options(nostack));
    }
    result
}

/// Makes a system call that does next to nothing: it gives the parent's number.
#[inline(never)]
pub fn nothing() -> u64 {
    // SAFETY: getppid has nothing to do with memory.
    unsafe { system_call(110, 0, 0, 0) as u64 }
}

/// Ends the program.
pub fn exit(status: i32) -> ! {
    loop {
        // SAFETY: exit_group has nothing to do with memory.
        unsafe { system_call(231, status.cast_unsigned() as usize, 0, 0) };
    }
}

struct Output;

impl Write for Output {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        // SAFETY: write reads the text, which is there.
        unsafe { system_call(1, 1, text.as_ptr() as usize, text.len()) };
        Ok(())
    }
}

/// Prints.
pub fn print(text: fmt::Arguments<'_>) {
    let _ = Output.write_fmt(text);
}

/// The time-stamp counter.
pub fn time() -> u64 {
    // SAFETY: Linux lets programs read it.
    unsafe { _rdtsc() }
}

#[panic_handler]
fn panic(info: &PanicInfo<'_>) -> ! {
    print(format_args!("{info}\n"));
    exit(101)
}
