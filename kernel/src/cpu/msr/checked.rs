//! Access to registers that may not be there, whatever CPUID says: the processor's
//! refusal (#GP) is an answer.
//!
//! There is one `rdmsr` and one `wrmsr` for that. The handler of #GP knows both, and
//! returns behind them (SDM vol. 2, RDMSR and WRMSR: #GP if the register is reserved
//! or not there, or the value has reserved bits).

use core::fmt;

use crate::assembly;
use crate::cpu::frame::TrapFrame;

/// The processor refused an access to a register, by #GP.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Fault;

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the processor refused the access")
    }
}

impl core::error::Error for Fault {}

/// What the assembly gives: RAX and RDX.
#[repr(C)]
struct Answer {
    value: u64,
    is_given: u64,
}

unsafe extern "C" {
    fn checked_read(register: u32) -> Answer;
    fn checked_write(register: u32, value: u64) -> Answer;
    static checked_read_access: u8;
    static checked_write_access: u8;
    static checked_refused: u8;
}

assembly!(
    r#"
    .balign 16
    .global checked_read
    .type checked_read, @function
checked_read:
    .cfi_startproc
    RULE FRAME
    mov ecx, edi
    .global checked_read_access
checked_read_access:
    rdmsr
    shl rdx, 32
    or rax, rdx
    mov edx, 1
    ret
    .cfi_endproc
    .size checked_read, . - checked_read

    .global checked_write
    .type checked_write, @function
checked_write:
    .cfi_startproc
    mov ecx, edi
    mov rax, rsi
    mov rdx, rsi
    shr rdx, 32
    .global checked_write_access
checked_write_access:
    wrmsr
    mov edx, 1
    ret
    # Where the handler of the fault returns to.
    .global checked_refused
checked_refused:
    xor eax, eax
    xor edx, edx
    ret
    .cfi_endproc
    .size checked_write, . - checked_write
    "#,
);

impl Answer {
    const fn given(self) -> Result<u64, Fault> {
        match self.is_given {
            0 => Err(Fault),
            _ => Ok(self.value),
        }
    }
}

/// Reads a register, if it is there.
///
/// # Errors
///
/// The processor refuses it.
///
/// # Safety
///
/// 1. If the register is there, reading it changes nothing.
pub unsafe fn read(register: u32) -> Result<u64, Fault> {
    // SAFETY: as the caller's condition; a refusal is taken care of.
    unsafe { checked_read(register) }.given()
}

/// Writes a register, if it is there and takes the value.
///
/// # Errors
///
/// The processor refuses it.
///
/// # Safety
///
/// 1. If the register takes the value, neither memory nor control flow is changed.
pub unsafe fn write(register: u32, value: u64) -> Result<(), Fault> {
    // SAFETY: as the caller's condition; a refusal is taken care of.
    unsafe { checked_write(register, value) }.given().map(drop)
}

/// Makes the handler of a fault of one of these accesses return to the caller with the
/// error. Returns false if the fault is of other code.
pub fn is_answer(frame: &mut TrapFrame) -> bool {
    let accesses = [
        &raw const checked_read_access,
        &raw const checked_write_access,
    ];
    let is_ours = accesses
        .iter()
        .any(|access| access.addr() as u64 == frame.rip);
    if is_ours {
        frame.rip = (&raw const checked_refused).addr() as u64;
    }
    is_ours
}
