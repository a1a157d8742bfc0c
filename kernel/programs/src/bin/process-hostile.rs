//! A program that does whatever a program must not: it executes random bytes, makes random calls with
//! random arguments, and aims stack and frame pointers everywhere. Each child does that on a core of its
//! own until it has ended by itself or its parent ends it, which stays on the first core.

#![no_std]
#![no_main]

use core::arch::asm;

use programs::call::Call;
use programs::{
    RANDOM, clock, exit, kill, map, mix, move_to, nothing, sleep, spawn, wait, yield_now,
};

programs::program!(main);

const ROUNDS: u64 = 4;
/// How long a child may do as it likes, in ticks of the time stamp counter.
const PATIENCE: u64 = 2_000_000;
const MOST_CORES: u32 = 64;
/// Children of a core at a time: the second one runs if the first waits, or has ended.
const PER_CORE: u32 = 2;

/// The argument is 0 of the parent; of a child its core, and above 16 bits where its random numbers begin.
fn main(argument: u64) -> u64 {
    if argument == 0 {
        return supervise();
    }
    let core = u32::try_from(argument & 0xffff).unwrap_or(0);
    if move_to(core).is_err() {
        return 1;
    }
    misbehave(argument >> 16)
}

fn supervise() -> u64 {
    let cores = count_cores();
    let mut failed = u64::from(move_to(0).is_err());
    for _ in 0..ROUNDS {
        let mut children = [None; (MOST_CORES * PER_CORE) as usize];
        let places = (1..cores).cycle().take((PER_CORE * (cores - 1)) as usize);
        for (core, child) in places.zip(&mut children) {
            let seed = clock() & 0xffff_ffff;
            *child = spawn("process-hostile", u64::from(core) | (seed << 16)).ok();
            // It goes to its core.
            yield_now();
        }
        sleep(PATIENCE);
        for child in children.into_iter().flatten() {
            // It may have ended.
            let _ = kill(child);
            failed += u64::from(wait(child).is_err());
        }
    }
    failed
}

/// How many cores there are: the parent has been on all of them, where no child is yet.
fn count_cores() -> u32 {
    (1..MOST_CORES)
        .find(|core| move_to(*core).is_err())
        .unwrap_or(MOST_CORES)
}

/// Random numbers.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = mix(self.0.wrapping_add(0x9e37_79b9), 3);
        self.0
    }

    fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }

    /// An address: the program's, the kernel's, or none.
    fn address(&mut self) -> u64 {
        let low = self.next();
        match self.below(8) {
            0 => 0x40_0000 + low % 0x8000,
            1 => low % (1 << 47),
            2 => 0xffff_ffff_8000_0000 + low % (1 << 21),
            3 => 0xffff_8000_0000_0000 + low % (1 << 28),
            4 => 0xffff_fe00_0000_0000 + low % (1 << 22),
            5 => stack_pointer().wrapping_add(low % 8192).wrapping_sub(4096),
            6 => 0x7fff_ffff_f000 + low % 8192,
            _ => low,
        }
    }
}

fn misbehave(seed: u64) -> u64 {
    let mut random = Random(seed | 1);
    // What there is to be broken.
    let _ = map(3 * 4096);
    loop {
        match random.below(256) {
            0 => execute(&mut random),
            1..60 => with_pointers(random.address(), random.address()),
            60..220 => with_frame(random.address(), random.below(400)),
            220 => exit_or_go_on(&mut random),
            _ => call(&mut random),
        }
    }
}

fn exit_or_go_on(random: &mut Random) {
    if random.below(50) == 0 {
        exit(random.next());
    }
    let _ = nothing();
}

/// Makes a call with arguments that mean something or nothing.
#[inline(never)]
fn call(random: &mut Random) {
    let number = match random.below(10) {
        0 => random.next(),
        _ => random.below(24),
    };
    let is = |calls: &[Call]| calls.iter().any(|call| *call as u64 == number);
    // It stays where its parent can end it, and ends itself seldom.
    let ends = [
        Call::Exit,
        Call::EndThread,
        Call::StartThread,
        Call::Resume,
        Call::Receive,
    ];
    if is(&[Call::MoveTo]) || is(&ends) && random.below(16) != 0 {
        return;
    }
    let [first, second, third] = [0; 3].map(|_: u64| match random.below(3) {
        0 => random.below(64),
        1 => random.below(1 << 20),
        _ => random.address(),
    });
    // SAFETY: none: what becomes of the program is to harm nothing else.
    unsafe {
        asm!("syscall", inout("rax") number => _, in("rdi") first, in("rsi") second, in("rdx") third,
            out("rcx") _, out("r11") _);
    };
}

/// Executes random bytes, from some place in them.
#[inline(never)]
fn execute(random: &mut Random) {
    let start = RANDOM.as_ptr().addr() as u64 + random.below(RANDOM.len() as u64);
    let [first, second] = [random.address(), random.next()];
    // SAFETY: none, as above.
    unsafe {
        asm!("call {start}", start = in(reg) start, inout("rax") second => _, inout("rdi") first => _,
            clobber_abi("C"));
    };
}

/// Works for a while with a stack and a frame that are none.
#[inline(never)]
fn with_pointers(sp: u64, fp: u64) {
    // SAFETY: nothing is pushed, and both are as they were behind it.
    unsafe {
        asm!(
            "mov r8, rsp",
            "mov r9, rbp",
            "mov rsp, {sp}",
            "mov rbp, {fp}",
            "mov eax, {nothing}",
            "syscall",
            "mov eax, {nothing}",
            "int 0x80",
            "mov ecx, 300",
            "2: dec ecx",
            "jnz 2b",
            "mov rsp, r8",
            "mov rbp, r9",
            sp = in(reg) sp,
            fp = in(reg) fp,
            nothing = const Call::Nothing as u32,
            out("rax") _, out("rcx") _, out("r8") _, out("r9") _, out("r11") _,
        );
    };
}

/// Works for a while with frames that lead elsewhere than where they are from.
#[inline(never)]
fn with_frame(fp: u64, rounds: u64) {
    // SAFETY: the frame pointer is as it was behind it.
    unsafe {
        asm!(
            "push rbp",
            "push {fp}",
            "push {fp}",
            "mov rbp, rsp",
            "2: dec {rounds}",
            "jg 2b",
            "mov eax, {nothing}",
            "syscall",
            "add rsp, 16",
            "pop rbp",
            fp = in(reg) fp,
            rounds = inout(reg) rounds => _,
            nothing = const Call::Nothing as u32,
            out("rax") _, out("rcx") _, out("r11") _,
        );
    };
}

fn stack_pointer() -> u64 {
    let sp;
    // SAFETY: it changes nothing.
    unsafe { asm!("mov {}, rsp", out(reg) sp, options(nomem, nostack, preserves_flags)) };
    sp
}
