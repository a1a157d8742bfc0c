//! Ends in all ways in which a program should not: it starts itself again for each, and looks
//! whether each child has ended by the right exception, and nothing else has.

#![no_std]
#![no_main]

use core::arch::asm;
use core::hint::black_box;
use core::sync::atomic::AtomicU32;

use programs::call::{Call, FAULTED, Refusal};
use programs::{
    Context, Futex, Line, Refused, log_at, on_message, pid, spawn, start_thread, wait, yield_now,
};

programs::program!(main);

/// Instructions that do not come back.
macro_rules! instruction {
    ($($code:literal),*) => {
        // SAFETY: the process ends there, which is the test.
        unsafe { asm!($($code),*, out("rax") _, out("rcx") _, out("rdx") _) }
    };
}
/// A way to go wrong, and the vectors of the exceptions by which it may end.
struct Wrong {
    name: &'static str,
    vectors: &'static [u64],
    act: fn(),
}

const fn wrong(name: &'static str, vectors: &'static [u64], act: fn()) -> Wrong {
    Wrong { name, vectors, act }
}

const WRONG: &[Wrong] = &[
    wrong("a null pointer", &[14], || read(0)),
    wrong("a write to code", &[14], || write(0x40_0000)),
    wrong("data as code", &[14], execute_stack),
    wrong("the kernel's memory", &[14], || read(0xffff_ffff_8000_0000)),
    wrong("a jump into the kernel", &[14], || {
        jump(0xffff_ffff_8000_0000)
    }),
    wrong("an address that is none", &[13], || {
        read(0x8000_0000_0000_1000)
    }),
    wrong("a jump to no address", &[13, 14], || {
        jump(0x8000_0000_0000_1000)
    }),
    wrong("hlt", &[13], || instruction!("hlt")),
    wrong("cli", &[13], || instruction!("cli")),
    wrong("a port", &[13], || instruction!("out 0x80, al")),
    wrong("CR3", &[13], || instruction!("mov rax, cr3")),
    wrong("an MSR", &[13], || instruction!("rdmsr")),
    wrong("swapgs", &[13], || instruction!("swapgs")),
    wrong("sysret", &[13], || instruction!("sysretq")),
    wrong("a gate of the kernel's", &[13], || instruction!("int 0x21")),
    wrong("NMI's gate", &[13], || instruction!("int 2")),
    // QEMU 10 finds no memory at a selector of the kernel's.
    wrong("a return to the kernel", &[13, 14], return_to_ring_0),
    wrong("a breakpoint", &[3], || instruction!("int3")),
    wrong("no instruction", &[6], || instruction!("ud2")),
    wrong("a division by zero", &[0], || {
        instruction!("xor ecx, ecx", "div ecx")
    }),
    wrong("no end of a stack", &[14], || {
        black_box(without_end(0));
    }),
    wrong("a way back to no address", &[13], || {
        go_back(0x8000_0000_0000_1000, 0x202)
    }),
    wrong("a way back to the kernel", &[13], || {
        go_back(0xffff_ffff_8000_0000, 0x202)
    }),
    wrong("a way back with the kernel's flags", &[13], || {
        // With IOPL 3 it may; if they are taken as they are, the program survives.
        go_back((allowed_by_flags as *const ()).addr() as u64, 0x3002)
    }),
    wrong("an upcall without a stack", &[14], || {
        on_message(never);
        with_no_stack(pid());
    }),
    wrong("GS", &[14], || instruction!("mov rax, gs:[0]")),
    wrong(
        "a thread beside one that waits",
        &[14],
        beside_one_that_waits,
    ),
];

fn main(argument: u64) -> u64 {
    match usize::try_from(argument)
        .ok()
        .and_then(|it| it.checked_sub(1))
    {
        None => all(),
        Some(place) => {
            if let Some(wrong) = WRONG.get(place) {
                (wrong.act)();
            }
            // It has survived.
            1
        }
    }
}

/// Returns how many children have not ended as they should.
fn all() -> u64 {
    let mut failed = u64::from(log_at(0xffff_ffff_8000_0000, 8) != refused(Refusal::BadAddress));
    failed += u64::from(log_at(0x40_0000, u64::MAX) != refused(Refusal::BadArgument));
    failed += u64::from(wait(1) != refused(Refusal::NotFound));
    for (argument, wrong) in (1..).zip(WRONG) {
        let status = spawn("process-faults", argument).and_then(wait);
        let is_right = |vector: &u64| status == Ok(FAULTED | vector);
        if !wrong.vectors.iter().any(is_right) {
            Line::log(format_args!("{}: {status:x?}", wrong.name));
            failed += 1;
        }
    }
    failed
}

fn refused(refusal: Refusal) -> Result<u64, Refused> {
    Err(Refused(refusal as u64))
}

fn read(address: usize) {
    let at: *const u64 = core::ptr::without_provenance(address);
    // SAFETY: not safe at all, which is the test.
    black_box(unsafe { at.read_volatile() });
}

fn write(address: usize) {
    let at: *mut u64 = core::ptr::without_provenance_mut(address);
    // SAFETY: not safe at all, which is the test.
    unsafe { at.write_volatile(0) };
}

fn jump(address: u64) {
    // SAFETY: not safe at all, which is the test.
    unsafe { asm!("jmp {}", in(reg) address, options(noreturn)) };
}

fn execute_stack() {
    let code = black_box([0xc3_u8; 16]);
    // SAFETY: not safe at all, which is the test.
    unsafe { asm!("call {}", in(reg) code.as_ptr(), clobber_abi("C")) };
}

/// `iretq` with the kernel's segments.
fn return_to_ring_0() {
    // SAFETY: not safe at all, which is the test.
    unsafe {
        asm!(
            "push 0x10",
            "push rsp",
            "pushfq",
            "push 0x08",
            "push 0x400000",
            "iretq",
            options(noreturn)
        )
    };
}

/// Goes back from an upcall that there was not, to an address.
fn go_back(address: u64, flags: u64) {
    let mut context = Context::default();
    context.0[1] = address;
    context.0[2] = core::ptr::from_ref(&context).addr() as u64;
    context.0[3] = flags;
    let _ = context.resume();
}

/// What a program may not.
extern "C" fn allowed_by_flags() -> ! {
    instruction!("cli");
    programs::exit(1)
}

extern "C" fn never(_: u64) {}

/// Sends a message to a process where the stack has no room.
fn with_no_stack(process: u64) {
    // SAFETY: the process ends there, which is the test.
    unsafe {
        asm!(
            "mov rsp, 64",
            "syscall",
            "ud2",
            in("rax") Call::Send as u64,
            in("rdi") process,
            in("rsi") 1,
            options(noreturn),
        );
    };
}

#[expect(unconditional_recursion, reason = "it is the test")]
fn without_end(depth: u64) -> u64 {
    let frame = black_box([depth; 16]);
    without_end(depth + 1) + frame[0]
}

/// The other thread waits for what never comes, and ends all the same.
fn beside_one_that_waits() {
    static NEVER: Futex = Futex(AtomicU32::new(0));
    extern "C" fn wait_for_ever(_: u64) {
        loop {
            NEVER.wait(0);
        }
    }
    if start_thread(wait_for_ever, 0).is_ok() {
        yield_now();
        read(0);
    }
}
