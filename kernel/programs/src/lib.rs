//! Programs that the kernel runs in user mode, and what they have in common: how one begins, and
//! how it asks the kernel for something.
//!
//! A program is a file in `src/bin/`. It names its first function by [`program!`] and ends by
//! returning its status.

#![no_std]

#[path = "../../core/src/process/call.rs"]
pub mod call;
mod memory;
mod message;
mod random;
mod thread;
mod work;

use core::arch::asm;
use core::fmt;
use core::panic::PanicInfo;

pub use memory::{map, unmap};
pub use message::{Context, on_message, receive, send};
pub use random::RANDOM;
pub use thread::{Futex, start_thread};
pub use work::{descend, mix};

use call::{Call, Refusal};

/// Says which function a program begins with: a `fn(u64) -> u64`, which gets the argument that the
/// process was started with and returns its status.
///
/// A stack begins there with a null frame pointer, by which a chain of callers is complete.
#[macro_export]
macro_rules! program {
    ($main:path) => {
        ::core::arch::global_asm!(
            r#"
    .section .text.program_entry, "ax", @progbits
    .global program_entry
    .type program_entry, @function
program_entry:
    .cfi_startproc
    .cfi_undefined rip
    xor ebp, ebp
    call {main}
    ud2
    .cfi_endproc
    .size program_entry, . - program_entry
    .text
            "#,
            main = sym program_main,
        );

        extern "C" fn program_main(argument: u64) -> ! {
            $crate::exit($main(argument))
        }
    };
}

/// Makes a call. Returns what it does, or why it was refused.
#[inline(always)]
fn call(call: Call, arguments: [u64; 3]) -> Result<u64, Refused> {
    let mut result = call as u64;
    let [first, second, third] = arguments;
    // SAFETY: calls write to memory only where the caller says; the two registers are the
    // processor's.
    unsafe {
        asm!(
            "syscall",
            inout("rax") result,
            in("rdi") first,
            in("rsi") second,
            in("rdx") third,
            out("rcx") _,
            out("r11") _,
            options(nostack),
        );
    };
    if result < Refusal::FIRST {
        Ok(result)
    } else {
        Err(Refused(result))
    }
}

/// A call was refused: the number of a [`Refusal`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Refused(pub u64);

/// Ends the process.
pub fn exit(status: u64) -> ! {
    let _ = call(Call::Exit, [status, 0, 0]);
    unreachable!("a process that has ended goes on")
}

/// Does nothing, in the kernel.
#[inline(never)]
pub fn nothing() -> u64 {
    call(Call::Nothing, [0; 3]).unwrap_or(u64::MAX)
}

/// Lets the other threads of the core run.
#[inline(never)]
pub fn yield_now() {
    let _ = call(Call::Yield, [0; 3]);
}

/// The same by a software interrupt.
#[inline(never)]
pub fn yield_by_interrupt() {
    let number = Call::Yield as u64;
    // SAFETY: it comes back with all registers but `rax` as they were.
    unsafe { asm!("int 0x80", inout("rax") number => _, options(nostack)) };
}

/// Waits for so many ticks of the time stamp counter.
pub fn sleep(ticks: u64) {
    let _ = call(Call::Sleep, [ticks, 0, 0]);
}

/// The time stamp counter, as the kernel reads it.
#[must_use]
pub fn clock() -> u64 {
    call(Call::Clock, [0; 3]).unwrap_or(0)
}

/// Continues on another core.
///
/// # Errors
///
/// If there is no such core.
pub fn move_to(core: u32) -> Result<(), Refused> {
    call(Call::MoveTo, [core.into(), 0, 0]).map(|_| ())
}

/// Writes a text to the log.
pub fn log(text: &str) {
    let _ = call(
        Call::Log,
        [text.as_ptr().addr() as u64, text.len() as u64, 0],
    );
}

/// Starts a process by the program with this name, with an argument. Returns its number.
///
/// # Errors
///
/// If there is no such program, no memory, or there are too many children that were not waited for.
pub fn spawn(program: &str, argument: u64) -> Result<u64, Refused> {
    let name = program.as_ptr().addr() as u64;
    call(Call::Spawn, [name, program.len() as u64, argument])
}

/// Writes what is at an address, as many bytes as said, to the log, whatever that is.
///
/// # Errors
///
/// If the program may not read it, or it is no text.
pub fn log_at(address: u64, length: u64) -> Result<u64, Refused> {
    call(Call::Log, [address, length, 0])
}

/// Waits until a child process has ended. Returns its status, to one thread alone.
///
/// # Errors
///
/// If there is no such child, or another thread has its status.
pub fn wait(process: u64) -> Result<u64, Refused> {
    call(Call::Wait, [process, 0, 0])
}

/// Becomes the program with this name, with an argument. Returns only if that is refused.
///
/// # Errors
///
/// If there is no such program, no memory, or the process has other threads.
pub fn exec(program: &str, argument: u64) -> Result<(), Refused> {
    let name = program.as_ptr().addr() as u64;
    call(Call::Exec, [name, program.len() as u64, argument]).map(|_| ())
}

/// Ends a child process.
///
/// # Errors
///
/// If there is no such child, or it has ended.
pub fn kill(process: u64) -> Result<(), Refused> {
    call(Call::Kill, [process, 0, 0]).map(|_| ())
}

/// The number of the process.
#[must_use]
pub fn pid() -> u64 {
    call(Call::Pid, [0; 3]).unwrap_or(0)
}

/// A line of the log, made in a buffer on the stack; what does not fit is left out.
pub struct Line {
    bytes: [u8; 120],
    length: usize,
}

impl Line {
    /// Writes a formatted line to the log.
    pub fn log(text: fmt::Arguments<'_>) {
        let mut line = Self {
            bytes: [0; 120],
            length: 0,
        };
        let _ = fmt::Write::write_fmt(&mut line, text);
        if let Ok(text) = core::str::from_utf8(&line.bytes[..line.length]) {
            log(text);
        }
    }
}

impl fmt::Write for Line {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let room = &mut self.bytes[self.length..];
        let fits = text.len().min(room.len());
        room[..fits].copy_from_slice(&text.as_bytes()[..fits]);
        self.length += fits;
        Ok(())
    }
}

#[panic_handler]
fn panic(info: &PanicInfo<'_>) -> ! {
    Line::log(format_args!("{info}"));
    exit(101)
}
