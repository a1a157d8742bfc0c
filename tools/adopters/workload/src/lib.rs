//! What the kernels do: rounds of the same functions, of which each executes a known number
//! of instructions. They are in assembly, so that this is known here and not by what a
//! compiler made of them.
//!
//! | function | instructions of its own in a round | |
//! |---|---|---|
//! | `rounds` | 3 | the loop: call, count, branch |
//! | `parts` | 10, and what makes the sum a prime | calls all others |
//! | `checksum` | 5 + 4 a step | short, between long ones |
//! | `fibonacci` | 17 a call, 7 without calls in it | recursive |
//! | `masked` | 8 + 4 a step | interrupts off; with the feature of that name |
//! | `outer`, `middle`, `inner` | 6 + 2 a step, 6, twice 4 + 1 a step | nested calls |
//! | `copy` | 7 + 4 a word | loads and stores |
//!
//! A round is a prime number of instructions. So whoever looks every so many instructions
//! (of any number but a multiple of that) sees each instruction of a round once in that many
//! looks: shares of samples are shares of instructions, and never in step with the loop.

#![no_std]

use core::arch::naked_asm;
use core::hint::black_box;

const CHECKSUM_STEPS: u64 = 72;
const FIBONACCI_OF: u64 = 11;
const MASKED_STEPS: u64 = 250;
const OUTER_STEPS: u64 = 300;
const INNER_STEPS: u64 = 900;
const COPIED_WORDS: u64 = 350;
/// Instructions in `parts` that do nothing.
const PADDING: u64 = if HAS_MASKED { 1 } else { 2 };

const HAS_MASKED: bool = cfg!(feature = "masked");

const CHECKSUM: u64 = 5 + 4 * CHECKSUM_STEPS;
const FIBONACCI: u64 = fibonacci_instructions(FIBONACCI_OF);
const MASKED: u64 = if HAS_MASKED { 8 + 4 * MASKED_STEPS } else { 0 };
const OUTER: u64 = 6 + 2 * OUTER_STEPS;
const MIDDLE: u64 = 6;
const INNER: u64 = 2 * (4 + INNER_STEPS);
const COPY: u64 = 7 + 4 * COPIED_WORDS;
const PARTS: u64 = 9 + if HAS_MASKED { 1 } else { 0 } + PADDING;
const ROUNDS: u64 = 3;

/// Each function, with the instructions of its own that it executes in a round.
const TRUTH: [(&str, u64); 9] = [
    ("rounds", ROUNDS),
    ("parts", PARTS),
    ("checksum", CHECKSUM),
    ("fibonacci", FIBONACCI),
    ("masked", MASKED),
    ("outer", OUTER),
    ("middle", MIDDLE),
    ("inner", INNER),
    ("copy", COPY),
];

/// Instructions in a round.
const ROUND: u64 = {
    let mut sum = 0;
    let mut index = 0;
    while index < TRUTH.len() {
        sum += TRUTH[index].1;
        index += 1;
    }
    sum
};

const _: () = assert!(is_prime(ROUND), "change PADDING");

const fn fibonacci_instructions(of: u64) -> u64 {
    if of < 2 {
        7
    } else {
        17 + fibonacci_instructions(of - 1) + fibonacci_instructions(of - 2)
    }
}

const fn is_prime(number: u64) -> bool {
    let mut divisor = 2;
    while divisor * divisor <= number {
        if number.is_multiple_of(divisor) {
            return false;
        }
        divisor += 1;
    }
    number > 1
}

/// Tells what each function executes in a round, all of a round, and what a round was
/// measured to be: that is the same where the time stamp counter counts instructions.
pub fn tell_truth(mut tell: impl FnMut(&str, u64)) {
    for (name, instructions) in TRUTH.into_iter().filter(|&(_, it)| it != 0) {
        tell(name, instructions);
    }
    tell("round", ROUND);
    // What the counter is read by cancels out.
    tell("measured", ticks_of(3).wrapping_sub(ticks_of(2)));
}

/// Does rounds for ever.
pub fn run() -> ! {
    loop {
        rounds(u64::MAX);
    }
}

#[inline(never)]
fn ticks_of(count: u64) -> u64 {
    // SAFETY: every processor of 64 bits has it.
    let before = unsafe { core::arch::x86_64::_rdtsc() };
    rounds(black_box(count));
    // SAFETY: likewise.
    let after = unsafe { core::arch::x86_64::_rdtsc() };
    after.wrapping_sub(before)
}

/// The stack is aligned at each call, as compilers have it: of a frame that is not, chains are
/// walked the slow way.
///
/// A function of these instructions, between those that make its frame and those that leave
/// it: two at each end, all of which the debugger's call-frame information describes.
macro_rules! function {
    ($name:ident($($argument:ident)?): $($instruction:literal),* ; $($operands:tt)*) => {
        #[unsafe(naked)]
        extern "C" fn $name($($argument: u64)?) {
            naked_asm!(
                ".cfi_startproc",
                "push rbp",
                ".cfi_def_cfa_offset 16",
                ".cfi_offset rbp, -16",
                "mov rbp, rsp",
                ".cfi_def_cfa_register rbp",
                $($instruction,)*
                "pop rbp",
                ".cfi_def_cfa rsp, 8",
                "ret",
                ".cfi_endproc",
                $($operands)*
            )
        }
    };
}

/// Does so many rounds.
pub fn do_rounds(count: u64) {
    rounds(count);
}

function!(rounds(_count):
    "push rbx",
    "push rbx",
    "mov rbx, rdi",
    "2:",
    "call {parts}",
    "dec rbx",
    "jnz 2b",
    "pop rbx",
    "pop rbx";
    parts = sym parts,
);

function!(parts():
    "call {checksum}",
    "mov edi, {of}",
    "call {fibonacci}",
    ".if {has_masked}",
    "call {masked}",
    ".endif",
    "call {outer}",
    "call {copy}",
    ".rept {padding}",
    "nop",
    ".endr";
    checksum = sym checksum,
    of = const FIBONACCI_OF,
    fibonacci = sym fibonacci,
    has_masked = const HAS_MASKED as u64,
    masked = sym masked,
    outer = sym outer,
    copy = sym copy,
    padding = const PADDING,
);

function!(checksum():
    "mov ecx, {steps}",
    "2:",
    "rol rax, 5",
    "xor rax, rcx",
    "dec ecx",
    "jnz 2b";
    steps = const CHECKSUM_STEPS,
);

// The number of calls in a call is 0 or 2; the result is in eax.
function!(fibonacci(_of):
    "mov eax, edi",
    "sub edi, 2",
    "jb 2f",
    "push rdi",
    "push rbx",
    "inc edi",
    "call {fibonacci}",
    "mov ebx, eax",
    "mov edi, [rsp + 8]",
    "call {fibonacci}",
    "add eax, ebx",
    "pop rbx",
    "pop rdi",
    "2:";
    fibonacci = sym fibonacci,
);

function!(masked():
    "pushfq",
    "cli",
    "mov ecx, {steps}",
    "2:",
    "imul rax, rax, 31",
    "add rax, rcx",
    "dec ecx",
    "jnz 2b",
    "popfq";
    steps = const MASKED_STEPS,
);

function!(outer():
    "call {middle}",
    "mov ecx, {steps}",
    "2:",
    "dec ecx",
    "jnz 2b";
    middle = sym middle,
    steps = const OUTER_STEPS,
);

function!(middle():
    "call {inner}",
    "call {inner}";
    inner = sym inner,
);

function!(inner():
    ".rept {steps}",
    "lea rax, [rax + 2 * rax + 1]",
    ".endr";
    steps = const INNER_STEPS,
);

// From one half of the room on its stack to the other.
function!(copy():
    "sub rsp, 16 * {words}",
    "mov ecx, {words}",
    "2:",
    "mov rax, [rsp + 8 * rcx - 8]",
    "mov [rsp + 8 * rcx + 8 * {words} - 8], rax",
    "dec ecx",
    "jnz 2b",
    "mov rsp, rbp";
    words = const COPIED_WORDS,
);
