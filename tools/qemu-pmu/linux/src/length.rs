//! The code of known length.

use core::arch::global_asm;

/// What is known of it, in instructions since the program's start.
pub struct Length {
    /// Until its end: the system call is the last.
    pub all: u64,
    /// Until all calls are made, and the last one has its frame.
    pub deepest: u64,
    /// Until the last one is about to take its frame down.
    pub left: u64,
}

/// How long the code is that makes `calls` calls of `descend` in each other, at
/// least one, and in the last goes round `iterations` times in `turn`, at least
/// once.
pub const fn of(iterations: u64, calls: u64) -> Length {
    // As the right column of the assembly says.
    let number = 2 + 8 * 11 + 1;
    let deepest = 12 + 2 * number + 5 * calls + 2;
    let left = deepest + 4 * iterations;
    Length {
        all: left + 2 + 2 * calls + 3,
        deepest,
        left,
    }
}

global_asm!(
    ".global _start, number, descend, turn",
    ".type _start, @function",
    ".type number, @function",
    ".type descend, @function",
    ".type turn, @function",
    // Linux has put the arguments' number here, above it their addresses.
    "_start:",
    "   mov rdi, [rsp]",            // 1
    "   cmp rdi, 3",                // 1
    "   jne 5f",                    // 1
    "   mov rsi, [rsp + 16]",       // 1
    "   call number",               // 1, and what it has
    "   mov r12, rax",              // 1
    "   mov rsi, [rsp + 24]",       // 1
    "   call number",               // 1, and what it has
    "   mov rdi, rax",              // 1
    "   mov rsi, r12",              // 1
    "   xor ebp, ebp",              // 1: here the chain of callers ends
    "   call descend",              // 1, and what it has
    "   xor edi, edi",              // 1
    "   mov eax, 231",              // 1
    "   syscall",                   // 1: exit_group
    "5: xor ebp, ebp",
    "   mov rdi, rsp",
    "   and rsp, -16",
    "   call {start}",
    "   ud2",
    ".size _start, . - _start",
    // The number in the 8 hexadecimal digits at rsi, whatever they are in the
    // same number of instructions.
    "number:",
    "   xor eax, eax",              // 1
    "   mov ecx, 8",                // 1
    "2: movzx edx, byte ptr [rsi]", // 8 times: 1
    "   mov r8d, edx",              // 1
    "   shr r8d, 6",                // 1: whether it is a letter
    "   and edx, 15",               // 1
    "   lea edx, [rdx + r8 * 8]",   // 1
    "   add edx, r8d",              // 1
    "   shl rax, 4",                // 1
    "   or rax, rdx",               // 1
    "   inc rsi",                   // 1
    "   dec ecx",                   // 1
    "   jnz 2b",                    // 1
    "   ret",                       // 1
    ".size number, . - number",
    // rdi calls in each other, then rsi iterations.
    "descend:",
    "   push rbp",                  // 1
    "   mov rbp, rsp",              // 1
    "   dec rdi",                   // 1
    "   jz 3f",                     // 1
    "   call descend",              // 1 in all but the last
    "   pop rbp",                   // 1
    "   ret",                       // 1
    "3: call turn",                 // 1 in the last
    "   pop rbp",                   // 1 instead of the above
    "   ret",                       // 1 instead of the above
    ".size descend, . - descend",
    "turn:",
    "   push rbp",                  // 1
    "   mov rbp, rsp",              // 1
    "4: add rax, rsi",              // each time: 1
    "   rol rax, 5",                // 1
    "   dec rsi",                   // 1
    "   jnz 4b",                    // 1
    "   pop rbp",                   // 1
    "   ret",                       // 1
    ".size turn, . - turn",
    start = sym super::start,
);
