//! Floating-point and vector registers: each of three threads, and a child, has its own, whatever the
//! others do between its calls, on whatever core it goes on. They begin as zeros.
//!
//! Programs are compiled without such registers, so all of them are this file's.

#![no_std]
#![no_main]

use core::arch::global_asm;
use core::arch::x86_64::{__cpuid, __cpuid_count};
use core::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use programs::{
    Futex, Line, map, mix, move_to, sleep, spawn, start_thread, unmap, wait, yield_by_interrupt,
    yield_now,
};

programs::program!(main);

const THREADS: u32 = 3;
const ROUNDS: u64 = 12;

/// The registers of vectors, and the words that say how floating point rounds.
#[derive(Clone, PartialEq, Eq)]
#[repr(C, align(32))]
struct Registers {
    vectors: [[u64; 4]; 16],
    mxcsr: u32,
    control: u16,
    unused: u16,
}

/// As they begin.
const FIRST: Registers = Registers {
    vectors: [[0; 4]; 16],
    mxcsr: 0x1f80,
    control: 0x037f,
    unused: 0,
};

unsafe extern "C" {
    fn load_sse(from: *const Registers);
    fn store_sse(to: *mut Registers);
    fn load_avx(from: *const Registers);
    fn store_avx(to: *mut Registers);
}

macro_rules! for_each_register {
    ($name:literal, $instruction:literal, $last:literal) => {
        global_asm!(
            concat!(".global ", $name),
            concat!(".type ", $name, ", @function"),
            concat!($name, ":"),
            ".cfi_startproc",
            ".irp n, 0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15",
            $instruction,
            ".endr",
            $last,
            "ret",
            ".cfi_endproc",
            concat!(".size ", $name, ", . - ", $name),
        );
    };
}

for_each_register! { "load_sse", r"movdqu xmm\n, [rdi + 32 * \n]", "ldmxcsr [rdi + 512]; fldcw [rdi + 516]" }
for_each_register! { "store_sse", r"movdqu [rdi + 32 * \n], xmm\n", "stmxcsr [rdi + 512]; fnstcw [rdi + 516]" }
for_each_register! { "load_avx", r"vmovdqu ymm\n, [rdi + 32 * \n]", "ldmxcsr [rdi + 512]; fldcw [rdi + 516]" }
for_each_register! { "store_avx", r"vmovdqu [rdi + 32 * \n], ymm\n", "stmxcsr [rdi + 512]; fnstcw [rdi + 516]" }

/// Returns true if the processor has AVX, and the kernel keeps it.
fn has_avx() -> bool {
    const OSXSAVE_AND_AVX: u32 = 1 << 27 | 1 << 28;
    let is_there = __cpuid(1).ecx & OSXSAVE_AND_AVX == OSXSAVE_AND_AVX;
    // The size of what is kept: beyond the legacy area and the header.
    is_there && __cpuid_count(0xd, 0).ebx >= 832
}

impl Registers {
    fn load(&self) {
        let load = if has_avx() { load_avx } else { load_sse };
        // SAFETY: compiled code uses none of these registers.
        unsafe { load(self) };
    }

    fn stored() -> Self {
        let mut stored = FIRST;
        let store = if has_avx() { store_avx } else { store_sse };
        // SAFETY: there is room for all of them.
        unsafe { store(&raw mut stored) };
        stored
    }

    /// What nobody else has.
    fn of(seed: u64) -> Self {
        let mut value = seed;
        let mut own = FIRST;
        for word in own.vectors.as_flattened_mut() {
            value = mix(value, 2);
            *word = value;
        }
        if !has_avx() {
            own.vectors.iter_mut().for_each(|it| it[2..].fill(0));
        }
        // How numbers are rounded: four ways.
        own.mxcsr |= u32::try_from(seed % 4).unwrap_or(0) << 13;
        own.control |= u16::try_from(seed % 4).unwrap_or(0) << 10;
        own
    }
}

static FAILED: AtomicU64 = AtomicU64::new(0);
static ENDED: Futex = Futex(AtomicU32::new(0));

fn check(is_right: bool, what: &str, who: u64) {
    if !is_right {
        Line::log(format_args!("thread {who}: {what}"));
        FAILED.fetch_add(1, Ordering::Relaxed);
    }
}

/// The argument of a child: it only looks at what it begins with.
const CHILD: u64 = 1;

fn main(argument: u64) -> u64 {
    if argument == CHILD {
        return u64::from(Registers::stored() != FIRST);
    }
    for thread in 1..THREADS {
        check(
            start_thread(other, thread.into()).is_ok(),
            "starts",
            thread.into(),
        );
    }
    keep(0);
    loop {
        let ended = ENDED.0.load(Ordering::Acquire);
        if ended == THREADS - 1 {
            break;
        }
        ENDED.wait(ended);
    }
    FAILED.load(Ordering::Relaxed)
}

extern "C" fn other(who: u64) {
    keep(who);
    ENDED.0.fetch_add(1, Ordering::AcqRel);
    ENDED.wake(1);
}

/// Has values in all registers over whatever a kernel may forget them in.
fn keep(who: u64) {
    check(
        Registers::stored() == FIRST,
        "begins with others' registers",
        who,
    );
    for round in 0..ROUNDS {
        let own = Registers::of(16 * round + who + 1);
        own.load();
        let what = match round % 6 {
            0 => {
                yield_now();
                "yield by syscall"
            }
            1 => {
                yield_by_interrupt();
                "yield by int 0x80"
            }
            2 => {
                sleep(1000);
                "sleep"
            }
            3 => {
                // There may be no such core.
                let _ = move_to(u32::try_from((round + who) % 3).unwrap_or(0));
                "another core"
            }
            4 => {
                touch();
                "a page fault"
            }
            _ => {
                let child = spawn("process-vectors", CHILD).and_then(wait);
                check(child == Ok(0), "a child begins with others' registers", who);
                "a child"
            }
        };
        check(Registers::stored() == own, what, who);
    }
    let _ = move_to(0);
}

fn touch() {
    if let Ok(page) = map(4096) {
        // SAFETY: it was mapped, and can be written to.
        unsafe { page.write_volatile(1) };
        // SAFETY: nothing refers to it.
        let _ = unsafe { unmap(page, 4096) };
    }
}
