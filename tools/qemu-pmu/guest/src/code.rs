//! Code of known length, in assembly, so that every instruction is counted here
//! and not by a compiler.

use core::arch::global_asm;
use core::sync::atomic::AtomicU64;

unsafe extern "C" {
    /// Writes `value` to `msr`, executes `2 * turns + 1` instructions, and reads
    /// counter `counter` by RDPMC.
    pub unsafe fn start_then_count(msr: u32, value: u64, counter: u32, turns: u64) -> u64;
    /// Writes `on` to `msr`, executes `2 * turns + 3` instructions and the WRMSR
    /// of `off`.
    pub unsafe fn start_then_stop(msr: u32, on: u64, off: u64, turns: u64);
    /// Writes `value` to `msr` and executes a loop of three instructions, `turns`
    /// times: [`sampled_position`] says where an interrupt came.
    pub unsafe fn start_then_loop(msr: u32, value: u64, turns: u64);
    /// Goes to user mode, where `program` runs with `argument` in `r9`, until it
    /// executes `int 0x80`; returns what it leaves in `r8`. `kernel_stack` is the
    /// place of the task state segment's rsp0.
    pub unsafe fn enter_user(
        program: unsafe extern "C" fn(),
        stack: u64,
        kernel_stack: *mut u64,
        argument: u64,
    ) -> u64;
    /// As [`enter_user`], with counters `first` and `second` read by RDPMC as the
    /// last thing before and the first thing after: [`AROUND_USER`] is what
    /// they see of the kernel.
    pub unsafe fn count_user(user: &UserRun, first: u32, second: u32, counts: &mut [u64; 2]);
    /// A user program: the loop of [`start_then_loop`], `r9` times.
    pub unsafe fn user_loop();
    /// A user program: RDPMC of counter 0. 1 in `r8` if that is #GP.
    pub unsafe fn user_rdpmc();
    /// Writes `value` to `msr`; 1 if that is #GP.
    pub unsafe fn try_wrmsr(msr: u32, value: u64) -> u64;
    /// Reads `msr`; 1 in the second word if that is #GP.
    pub unsafe fn try_rdmsr(msr: u32, result: &mut [u64; 2]);
    /// RDPMC of `counter`; 1 in the second word if that is #GP.
    pub unsafe fn try_rdpmc(counter: u32, result: &mut [u64; 2]);
    /// What counter `counter` counts while a load from `address`, which has to be
    /// #GP, is met in the middle of other code: [`AROUND_FAULT`], if the load is
    /// not counted.
    pub unsafe fn count_fault(counter: u32, address: u64) -> u64;
    /// What counter `counter` counts while `n` bytes at `to` are filled by REP
    /// STOSB, from behind the first RDPMC to the second.
    pub unsafe fn count_repeated(counter: u32, to: &mut [u8; 64], n: u64) -> u64;
    /// Writes `value` to `msr`, then halts with interrupts on until one comes.
    pub unsafe fn start_then_halt(msr: u32, value: u64);

    /// Writes `value` to `msr`, then adds one to `turns` for ever: two
    /// instructions a turn.
    pub unsafe fn start_then_spin(msr: u32, value: u64, turns: *const AtomicU64) -> !;

    /// Entry of the NMI and of a performance interrupt with a vector.
    pub unsafe fn overflow_entry();
    /// Entry of a timer interrupt that only has to be there.
    pub unsafe fn wake_entry();
    pub unsafe fn user_exit_entry();
    pub unsafe fn protection_entry();
    pub unsafe fn unexpected_entry();

    /// Behind the WRMSR that stops, in [`start_then_stop`].
    pub unsafe fn stopped();

    static real_mode: u8;
    static real_mode_end: u8;

    unsafe fn loop_first();
    unsafe fn loop_second();
    unsafe fn loop_third();
    unsafe fn user_loop_first();
    unsafe fn user_loop_second();
    unsafe fn user_loop_third();
}

/// What [`count_user`] runs.
#[repr(C)]
pub struct UserRun {
    pub program: unsafe extern "C" fn(),
    pub stack: u64,
    pub kernel_stack: *mut u64,
    pub argument: u64,
}

/// What [`count_user`] executes in the kernel between the two readings of the
/// first counter: 14 instructions from the first reading to IRETQ, 3 after the
/// return; for the second counter 8 and 9.
pub const AROUND_USER: u64 = 17;
/// RDPMC, 6 instructions to the load, 6 of [`protection_entry`], one behind it.
pub const AROUND_FAULT: u64 = 14;
/// Instructions of [`user_loop`] beside three for each turn: two before the
/// loop, and `int 0x80`.
pub const USER_LOOP_EXTRA: u64 = 3;
/// Those of them that are before the loop.
pub const USER_LOOP_LEAD: u64 = 2;
/// Instructions of [`overflow_entry`] behind its WRMSR, IRETQ being the last.
pub const OVERFLOW_EXIT: u64 = 16;
/// Instructions that [`start_then_halt`] executes behind its WRMSR up to HLT.
pub const TO_HALT: u64 = 2;

/// How many instructions of a loop had been executed at an interrupt, from the
/// first of its first turn, if it came in the loop.
pub fn sampled_position(rip: u64, turns_begun: u64) -> Option<u64> {
    let at = |symbol: unsafe extern "C" fn()| symbol as *const () as u64 == rip;
    if at(loop_first) || at(user_loop_first) {
        Some(3 * turns_begun)
    } else if at(loop_second) || at(user_loop_second) {
        Some(3 * (turns_begun - 1) + 1)
    } else if at(loop_third) || at(user_loop_third) {
        Some(3 * (turns_begun - 1) + 2)
    } else {
        None
    }
}

/// The instruction of the loop in the kernel by which so many are executed before it, as
/// [`sampled_position`] counts.
pub fn address_at(position: u64) -> u64 {
    let symbol = match position % 3 {
        0 => loop_first,
        1 => loop_second,
        _ => loop_third,
    };
    symbol as *const () as u64
}

/// What a core executes in real mode after INIT and SIPI, from the beginning of a
/// page: reads the MSR in [`REAL_MODE_MSR`] twice, with one instruction between,
/// and that in [`REAL_MODE_OTHER_MSR`] once, and leaves the low halves and a one
/// from [`REAL_MODE_RESULT`] on.
pub fn real_mode_code() -> &'static [u8] {
    let start = &raw const real_mode;
    let length = (&raw const real_mode_end) as usize - start as usize;
    // SAFETY: the assembly below, from one symbol to the other.
    unsafe { core::slice::from_raw_parts(start, length) }
}

/// Offsets in the page, of words of 32 bits.
pub const REAL_MODE_MSR: usize = 0x100;
pub const REAL_MODE_OTHER_MSR: usize = 0x104;
pub const REAL_MODE_RESULT: usize = 0x110;
/// Instructions before the first reading, and from it to the second.
pub const REAL_MODE_LEAD: u64 = 1;
pub const REAL_MODE_BETWEEN: u32 = 2;

global_asm!(
    r#"
    .macro WRITE_MSR value
    mov rax, \value
    mov rdx, \value
    shr rdx, 32
    wrmsr
    .endm

    .global start_then_count
start_then_count:
    mov r8d, edx
    mov r9, rcx
    mov ecx, edi
    WRITE_MSR rsi
2:  dec r9
    jnz 2b
    mov ecx, r8d
    rdpmc
    shl rdx, 32
    or rax, rdx
    ret

    .global start_then_stop, stopped
start_then_stop:
    mov r8, rdx
    mov r9, rcx
    mov ecx, edi
    WRITE_MSR rsi
2:  dec r9
    jnz 2b
    WRITE_MSR r8
stopped:
    ret

    .global start_then_loop, loop_first, loop_second, loop_third
start_then_loop:
    xor r8d, r8d
    mov r9, rdx
    mov ecx, edi
    WRITE_MSR rsi
loop_first:
    inc r8
loop_second:
    dec r9
loop_third:
    jnz loop_first
    ret

    .global start_then_spin
start_then_spin:
    mov r8, rdx
    mov ecx, edi
    WRITE_MSR rsi
2:  inc qword ptr [r8]
    jmp 2b

    .global real_mode, real_mode_end
real_mode:
    .code16
    mov ecx, dword ptr cs:[{real_mode_msr}]
    rdmsr
    mov ebx, eax
    rdmsr
    mov dword ptr cs:[{real_mode_result}], ebx
    mov dword ptr cs:[{real_mode_result} + 4], eax
    mov ecx, dword ptr cs:[{real_mode_other_msr}]
    rdmsr
    mov dword ptr cs:[{real_mode_result} + 8], eax
    mov dword ptr cs:[{real_mode_result} + 12], 1
2:  hlt
    jmp 2b
    .code64
real_mode_end:

    .global start_then_halt
start_then_halt:
    mov ecx, edi
    WRITE_MSR rsi
    sti
    hlt
    cli
    ret

    .global count_repeated
count_repeated:
    mov r9, rdi
    mov rdi, rsi
    mov r8, rdx
    mov ecx, r9d
    rdpmc
    mov esi, eax            # 1
    mov rcx, r8             # 2
    rep stosb
    mov ecx, r9d            # 3
    rdpmc
    sub eax, esi
    sub eax, 4              # these three, and the first RDPMC
    ret

    # A #GP comes back at r11, if r10 has this number, with 1 in r8.
    .set EXPECTED, 0x5afe6b
    .macro EXPECT_PROTECTION resume
    xor r8d, r8d
    mov r10d, EXPECTED
    lea r11, [rip + \resume]
    .endm

    .global try_wrmsr
try_wrmsr:
    EXPECT_PROTECTION 2f
    mov ecx, edi
    WRITE_MSR rsi
2:  xor r10d, r10d
    mov rax, r8
    ret

    .global try_rdmsr
try_rdmsr:
    EXPECT_PROTECTION 2f
    mov ecx, edi
    rdmsr
2:  jmp result

    .global try_rdpmc
try_rdpmc:
    EXPECT_PROTECTION 2f
    mov ecx, edi
    rdpmc
2:
result:
    xor r10d, r10d
    shl rdx, 32
    or rax, rdx
    mov [rsi], rax
    mov [rsi + 8], r8
    ret

    .global count_fault
count_fault:
    mov r9d, edi
    mov ecx, edi
    rdpmc
    shl rdx, 32
    or rax, rdx
    mov rdi, rax
    EXPECT_PROTECTION 2f
    mov rdx, [rsi]
    nop                     # not reached, but translated with the load
    nop
2:  mov ecx, r9d
    rdpmc
    xor r10d, r10d
    shl rdx, 32
    or rax, rdx
    sub rax, rdi
    ret

    .global protection_entry
protection_entry:
    cmp r10d, EXPECTED
    jne unexpected_entry
    add rsp, 8
    mov [rsp], r11
    mov r8d, 1
    iretq

    .global unexpected_entry
unexpected_entry:
    mov rdi, [rsp]
    mov rsi, [rsp + 8]
    and rsp, -16
    call unexpected_exception
    ud2

    # rdi, rsi: program and stack; r9: its argument. Leaves by IRETQ: 6 more.
    .macro TO_USER
    push {user_data}
    push rsi
    push 2
    push {user_code}
    push rdi
    iretq
    .endm
    .macro SAVE
    push rbx
    push rbp
    push r12
    push r13
    push r14
    push r15
    sub rsp, 8              # an interrupt from user mode starts at a multiple of 16
    .endm
    .macro RESTORE
    add rsp, 8
    pop r15
    pop r14
    pop r13
    pop r12
    pop rbp
    pop rbx
    .endm

    .global enter_user
enter_user:
    SAVE
    mov r9, rcx
    mov [rdx], rsp
    lea r12, [rip + 2f]
    TO_USER
2:  RESTORE
    mov rax, r8
    ret

    # Where to go on is in r12, which user programs leave alone.
    .global user_exit_entry
user_exit_entry:
    add rsp, 40
    jmp r12

    .global count_user
count_user:
    SAVE
    mov rbx, rcx
    mov r14d, esi
    mov r15d, edx
    mov rsi, [rdi + 8]
    mov r8, [rdi + 16]
    mov r9, [rdi + 24]
    mov rdi, [rdi]
    mov [r8], rsp
    lea r12, [rip + 2f]
    mov ecx, r14d
    rdpmc                   # the first counter's reading
    mov r13d, eax           # + 6: to the second RDPMC
    mov ebp, edx
    shl rbp, 32
    or r13, rbp
    mov ecx, r15d
    rdpmc                   # the second counter's reading
    mov ebp, eax
    TO_USER
2:  mov ecx, r14d
    rdpmc
    shl rdx, 32
    or rax, rdx
    sub rax, r13
    mov [rbx], rax
    mov ecx, r15d
    rdpmc
    sub eax, ebp
    mov [rbx + 8], rax
    RESTORE
    ret

    .global user_loop, user_loop_first, user_loop_second, user_loop_third
user_loop:
    xor r8d, r8d
    nop
user_loop_first:
    inc r8
user_loop_second:
    dec r9
user_loop_third:
    jnz user_loop_first
    int 0x80

    .global user_rdpmc
user_rdpmc:
    EXPECT_PROTECTION 2f
    xor ecx, ecx
    rdpmc
2:  xor r10d, r10d
    int 0x80

    .global wake_entry
wake_entry:
    push rax
    push rcx
    push rdx
    push rsi
    push rdi
    push r8
    push r9
    push r10
    push r11
    call wake
    pop r11
    pop r10
    pop r9
    pop r8
    pop rdi
    pop rsi
    pop rdx
    pop rcx
    pop rax
    iretq

    # The handler leaves an MSR and its value above the registers; writing it is
    # what lets the counter run again.
    .global overflow_entry
overflow_entry:
    push rax
    push rbx
    push rcx
    push rdx
    push rsi
    push rdi
    push rbp
    push r8
    push r9
    push r10
    push r11
    push r12
    push r13
    push r14
    push r15
    mov rdi, rsp
    mov rbp, rsp
    sub rsp, 16
    mov rsi, rsp
    and rsp, -16
    sub rsp, 16
    mov [rsp], rsi
    call overflow
    mov rsp, [rsp]
    pop rcx
    pop rax
    mov rdx, rax
    shr rdx, 32
    wrmsr
    pop r15                 # OVERFLOW_EXIT begins
    pop r14
    pop r13
    pop r12
    pop r11
    pop r10
    pop r9
    pop r8
    pop rbp
    pop rdi
    pop rsi
    pop rdx
    pop rcx
    pop rbx
    pop rax
    iretq
    "#,
    user_code = const crate::machine::USER_CODE,
    user_data = const crate::machine::USER_DATA,
    real_mode_msr = const REAL_MODE_MSR,
    real_mode_other_msr = const REAL_MODE_OTHER_MSR,
    real_mode_result = const REAL_MODE_RESULT,
);
