//! Upcalls: a function of the program that it is interrupted for on its way back to user mode, as by a
//! signal. What it was about to do then lies on its stack, to be gone back to.

use kernel_core::process::USER;
use profiler::hw::control;

use super::thread::Thread;
use crate::cpu;
use crate::memory::space;
use crate::trap::TrapFrame;

/// The words of what an upcall interrupts: the first two as a function's frame has them, so that a chain
/// goes on behind them.
const WORDS: usize = 18;

/// Which of them says where it goes on.
const ADDRESS: usize = 1;

const BYTES: usize = WORDS * 8;

/// Bytes below the stack pointer that compiled code may use (System V ABI, 3.2.2).
const RED_ZONE: u64 = 128;

/// The flags that a program may have as it likes: all that it can set itself.
const OWN_FLAGS: u64 = 0x0024_4dd5;

/// The registers of a frame, in the order of the words.
fn registers(frame: &mut TrapFrame) -> [&mut u64; WORDS] {
    let TrapFrame {
        rbp,
        rax,
        rbx,
        rcx,
        rdx,
        rsi,
        rdi,
        r8,
        r9,
        r10,
        r11,
        r12,
        r13,
        r14,
        r15,
        rip,
        rflags,
        rsp,
        ..
    } = frame;
    [
        rbp, rip, rsp, rflags, rax, rbx, rcx, rdx, rsi, rdi, r8, r9, r10, r11, r12, r13, r14, r15,
    ]
}

/// Interrupts the program for its function at `handler`, which gets the message.
pub(super) fn begin(
    thread: &Thread,
    frame: &TrapFrame,
    (handler, message): (u64, u64),
) -> Result<(), space::Fault> {
    let mut frame = *frame;
    let place = frame.rsp.wrapping_sub(RED_ZONE + BYTES as u64) & !15;
    let mut bytes = [0; BYTES];
    let words = bytes.as_chunks_mut().0.iter_mut();
    for (bytes, register) in words.zip(registers(&mut frame)) {
        *bytes = register.to_le_bytes();
    }
    thread.process.space.write(place, &bytes)?;
    (frame.rip, frame.rsp, frame.rbp) = (handler, place, place);
    (frame.rdi, frame.rsi) = (message, place);
    // As where a thread begins: where the kernel is stepped, the program is.
    frame.rflags = cpu::user::INITIAL_FLAGS | frame.rflags & control::TRAP_FLAG;
    thread.go_on_with(frame);
    Ok(())
}

/// Why a thread does not go back to what an upcall has interrupted.
pub(super) enum NotResumed {
    /// It cannot be read.
    Memory,
    /// It is at this address, where no program is.
    At(u64),
}

/// Goes back to what lies where the call's argument says. Whatever the program has made of it: segments are
/// not there, nor is a flag that is not its own, and `iretq` never gets an address that is none.
pub(super) fn end(thread: &Thread, frame: &TrapFrame) -> Result<(), NotResumed> {
    let mut frame = *frame;
    let place = frame.rdi;
    let mut bytes = [0; BYTES];
    let read = thread.process.space.read(place, &mut bytes);
    read.map_err(|_| NotResumed::Memory)?;
    thread.set_in_upcall(false);
    let words = bytes.as_chunks().0;
    let address = u64::from_le_bytes(words[ADDRESS]);
    if address >= USER.end {
        return Err(NotResumed::At(address));
    }
    for (bytes, register) in words.iter().zip(registers(&mut frame)) {
        *register = u64::from_le_bytes(*bytes);
    }
    frame.rflags = frame.rflags & OWN_FLAGS | cpu::user::INITIAL_FLAGS;
    thread.go_on_with(frame);
    Ok(())
}
