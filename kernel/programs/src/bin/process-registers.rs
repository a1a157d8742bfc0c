//! Flags and stack pointers that would harm a kernel that believes them: each is kept over calls and
//! page faults, and over whatever interrupts in between.

#![no_std]
#![no_main]

use core::arch::asm;

use programs::{Line, call::Call, map, unmap};

programs::program!(main);

/// Names of flags, and their bits: those that a program may change, and the trap flag.
const FLAGS: [(&str, u64, bool); 6] = [
    ("direction", 1 << 10, true),
    ("nested task", 1 << 14, true),
    ("alignment check", 1 << 18, true),
    ("identification", 1 << 21, true),
    (
        "direction, nested task, alignment check",
        1 << 10 | 1 << 14 | 1 << 18,
        true,
    ),
    ("trap", 1 << 8, false),
];

/// Addresses at which the kernel has stacks, or nothing, or that are none: of the first core's
/// stacks, the highest word of each that traps switch to and what is some way below.
const STACKS: [u64; 14] = [
    0,
    8,
    0x40_0000,
    0x7fff_ffff_ffff,
    0x8000_0000_0000,
    0x8000_0000_0000_0000,
    u64::MAX - 7,
    // The landing of NMIs, and the stack of their handlers.
    0xffff_fe00_0003_fff0,
    0xffff_fe00_0003_ffc8,
    0xffff_fe00_0005_fff0,
    0xffff_fe00_0005_e000,
    // Those of #DF, #DB and #MC.
    0xffff_fe00_0007_fff0,
    0xffff_fe00_0009_ff00,
    0xffff_fe00_000b_f800,
];

fn main(_: u64) -> u64 {
    let mut failed = 0;
    for (name, bits, is_kept) in FLAGS {
        let Ok(page) = map(4096) else { return 1 };
        let after = with_flags(bits, page);
        if is_kept && after & bits != bits {
            Line::log(format_args!("{name}: {bits:#x} is {after:#x} behind calls"));
            failed += 1;
        }
        // SAFETY: nothing refers to it.
        failed += u64::from(unsafe { unmap(page, 4096) }.is_err());
    }
    for sp in STACKS {
        failed += u64::from(with_stack(sp) != 0);
    }
    failed
}

/// Sets flags, makes calls in both ways, and writes to a page that is not there yet. Returns the
/// flags behind that.
fn with_flags(bits: u64, page: *mut u8) -> u64 {
    let after: u64;
    // SAFETY: the calls change no memory; flags are as compiled code wants them when it is over.
    unsafe {
        asm!(
            "pushfq",
            "or [rsp], {bits}",
            "popfq",
            "mov eax, {nothing}",
            "syscall",
            "mov eax, {nothing}",
            "int 0x80",
            "mov qword ptr [{page}], 1",
            "mov eax, {nothing}",
            "syscall",
            "pushfq",
            "mov {after}, [rsp]",
            "push 0x202",
            "popfq",
            "add rsp, 8",
            bits = in(reg) bits,
            page = in(reg) page,
            after = lateout(reg) after,
            nothing = const Call::Nothing as u32,
            out("rax") _,
            out("rcx") _,
            out("r11") _,
        );
    };
    after
}

/// Makes calls with a stack pointer. Returns what the last of them returns.
fn with_stack(sp: u64) -> u64 {
    let result: u64;
    // SAFETY: the calls change no memory, and nothing is pushed meanwhile.
    unsafe {
        asm!(
            "mov {saved}, rsp",
            "mov rsp, {sp}",
            "mov eax, {nothing}",
            "syscall",
            "mov eax, {nothing}",
            "int 0x80",
            "mov eax, {nothing}",
            "syscall",
            "mov rsp, {saved}",
            saved = out(reg) _,
            sp = in(reg) sp,
            nothing = const Call::Nothing as u32,
            out("rax") result,
            out("rcx") _,
            out("r11") _,
        );
    };
    result
}
