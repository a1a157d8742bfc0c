//! Model-specific registers.
//!
//! Those that may not be there, whatever CPUID says, are accessed by `try_read` and
//! `try_write`: the processor's refusal (#GP) is an answer. There is one `rdmsr` and
//! one `wrmsr` for that; the kernel's handler of #GP asks [`recover`], which lets it go
//! on behind them (SDM vol. 2, RDMSR and WRMSR: #GP if the register is reserved or not
//! there, or the value has reserved bits). So it is with `rdpmc`, which reads counters
//! without their registers' numbers.

use core::arch::asm;
use core::fmt;

use crate::assembly;

/// `IA32_APIC_BASE`: where the local APIC's registers are, and its mode.
pub const IA32_APIC_BASE: u32 = 0x1b;

/// Reads a register.
///
/// # Safety
///
/// The register is there, and reading it changes nothing.
#[must_use]
#[inline]
pub unsafe fn read(register: u32) -> u64 {
    let (low, high): (u32, u32);
    // SAFETY: as the caller's condition.
    unsafe {
        asm!("rdmsr", in("ecx") register, out("eax") low, out("edx") high, options(nostack, preserves_flags));
    };
    u64::from(high) << 32 | u64::from(low)
}

/// Reads a register. Returns its low and its high half.
///
/// # Safety
///
/// As for [`read`].
#[must_use]
#[inline]
pub(crate) unsafe fn read_halves(register: u32) -> [u32; 2] {
    let (low, high): (u32, u32);
    // SAFETY: as the caller's condition.
    unsafe {
        asm!("rdmsr", in("ecx") register, out("eax") low, out("edx") high, options(nostack, preserves_flags));
    };
    [low, high]
}

/// Writes a register, by its halves.
///
/// # Safety
///
/// As for [`write`].
#[inline]
pub(crate) unsafe fn write_halves(register: u32, low: u32, high: u32) {
    // SAFETY: as the caller's condition.
    unsafe {
        asm!("wrmsr", in("ecx") register, in("eax") low, in("edx") high, options(nostack, preserves_flags));
    };
}

/// Writes a register.
///
/// # Safety
///
/// The register is there, takes the value, and what comes of it keeps memory and control
/// flow as the program expects them.
#[inline]
pub unsafe fn write(register: u32, value: u64) {
    let [low, high] = [value & 0xffff_ffff, value >> 32];
    // SAFETY: as the caller's condition.
    unsafe {
        asm!("wrmsr", in("ecx") register, in("rax") low, in("rdx") high, options(nostack, preserves_flags));
    };
}

/// Reads a performance counter, by `rdpmc`.
///
/// # Safety
///
/// The counter is there, and this is the kernel.
#[must_use]
#[inline]
pub unsafe fn read_counter(number: u32) -> u64 {
    let (low, high): (u32, u32);
    // SAFETY: as the caller's condition.
    unsafe {
        asm!("rdpmc", in("ecx") number, out("eax") low, out("edx") high, options(nostack, preserves_flags));
    };
    u64::from(high) << 32 | u64::from(low)
}

/// The processor refused an access: #GP.
///
/// ```no_run
/// use profiler::hw::msr;
///
/// // SAFETY: a reserved number, which no processor has.
/// let answer = unsafe { msr::try_read(0x4000_0000) };
/// assert_eq!(answer, Err(msr::Refused));
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Refused;

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the processor refuses the register")
    }
}

impl core::error::Error for Refused {}

/// What the assembly returns: RAX and RDX.
#[repr(C)]
struct Answer {
    value: u64,
    is_given: u64,
}

unsafe extern "C" {
    fn pmiscope_try_rdmsr(register: u32) -> Answer;
    fn pmiscope_try_wrmsr(register: u32, value: u64) -> Answer;
    fn pmiscope_try_rdpmc(counter: u32) -> Answer;
    static pmiscope_rdmsr_access: u8;
    static pmiscope_wrmsr_access: u8;
    static pmiscope_rdpmc_access: u8;
    static pmiscope_msr_refused: u8;
}

assembly!(
    r#"
    .balign 16
    .global pmiscope_try_rdmsr
    .type pmiscope_try_rdmsr, @function
pmiscope_try_rdmsr:
    .cfi_startproc
    RULE FRAME
    mov ecx, edi
    .global pmiscope_rdmsr_access
pmiscope_rdmsr_access:
    rdmsr
    shl rdx, 32
    or rax, rdx
    mov edx, 1
    ret
    .cfi_endproc
    .size pmiscope_try_rdmsr, . - pmiscope_try_rdmsr

    .global pmiscope_try_rdpmc
    .type pmiscope_try_rdpmc, @function
pmiscope_try_rdpmc:
    .cfi_startproc
    mov ecx, edi
    .global pmiscope_rdpmc_access
pmiscope_rdpmc_access:
    rdpmc
    shl rdx, 32
    or rax, rdx
    mov edx, 1
    ret
    .cfi_endproc
    .size pmiscope_try_rdpmc, . - pmiscope_try_rdpmc

    .global pmiscope_try_wrmsr
    .type pmiscope_try_wrmsr, @function
pmiscope_try_wrmsr:
    .cfi_startproc
    mov ecx, edi
    mov rax, rsi
    mov rdx, rsi
    shr rdx, 32
    .global pmiscope_wrmsr_access
pmiscope_wrmsr_access:
    wrmsr
    mov edx, 1
    ret
    # Where the handler of the refusal lets either go on.
    .global pmiscope_msr_refused
pmiscope_msr_refused:
    xor eax, eax
    xor edx, edx
    ret
    .cfi_endproc
    .size pmiscope_try_wrmsr, . - pmiscope_try_wrmsr
    "#,
);

impl Answer {
    const fn given(self) -> Result<u64, Refused> {
        if self.is_given == 0 {
            Err(Refused)
        } else {
            Ok(self.value)
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
/// If the register is there, reading it changes nothing.
pub unsafe fn try_read(register: u32) -> Result<u64, Refused> {
    // SAFETY: as the caller's condition; a refusal is taken care of.
    unsafe { pmiscope_try_rdmsr(register) }.given()
}

/// Writes a register, if it is there and takes the value.
///
/// # Errors
///
/// The processor refuses it.
///
/// # Safety
///
/// If the register takes the value, neither memory nor control flow is changed.
pub unsafe fn try_write(register: u32, value: u64) -> Result<(), Refused> {
    // SAFETY: as the caller's condition; a refusal is taken care of.
    unsafe { pmiscope_try_wrmsr(register, value) }
        .given()
        .map(drop)
}

/// Reads a performance counter by `rdpmc`, if it is there.
///
/// # Errors
///
/// The processor refuses it.
pub(crate) fn try_read_counter(number: u32) -> Result<u64, Refused> {
    // SAFETY: reading a counter changes nothing; a refusal is taken care of.
    unsafe { pmiscope_try_rdpmc(number) }.given()
}

/// For the kernel's handler of #GP: where the code that was interrupted at `pc` goes on,
/// if it is one of the accesses here. Any other #GP is not ours: `None`.
#[must_use]
pub fn recover(pc: u64) -> Option<u64> {
    let accesses = [
        &raw const pmiscope_rdmsr_access,
        &raw const pmiscope_wrmsr_access,
        &raw const pmiscope_rdpmc_access,
    ];
    let is_ours = accesses.iter().any(|access| access.addr() as u64 == pc);
    is_ours.then(|| (&raw const pmiscope_msr_refused).addr() as u64)
}
