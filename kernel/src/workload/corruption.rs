//! Corruption: a stack whose saved frame pointers and return addresses are wrong
//! for some hundred instructions at a time.
//!
//! It is what a profiler meets in a kernel that has just gone wrong. A unit calls
//! [`outer`], which calls [`middle`], which calls [`innermost`], once for each
//! [`Job`]: a kind of wrong value, in a place, in one word of it or in both. The
//! innermost one overwrites, computes, and puts back what was there, interrupts
//! off. While it computes, the chain is right up to the overwritten word and ends
//! there with the reason that is told in [`Bad`](super::corruption_jobs::Bad); everywhere else it is complete.
//! So some 40 % of the chains are cut.
//!
//! The mix leaves it out: its chains are complete.

use core::arch::asm;
use core::hint::black_box;

use x86_64::instructions::interrupts;

use super::corruption_jobs::{Job, Place, Surroundings, Words, jobs};
use super::scratch::{Scratch, scramble};
use crate::cpu;
use crate::memory::stacks::{self, SLOT, StackKind};

/// Turns of the loop of ten instructions that runs while something is wrong.
const TURNS: u64 = 16;

/// A unit of work.
pub fn unit(scratch: &mut Scratch) {
    for job in jobs(scratch.seed()) {
        black_box(outer(&job));
    }
}

#[inline(never)]
fn outer(job: &Job) -> u64 {
    black_box(middle(job)).rotate_left(1)
}

#[inline(never)]
fn middle(job: &Job) -> u64 {
    black_box(innermost(job)).rotate_left(2)
}

#[inline(never)]
fn innermost(job: &Job) -> u64 {
    let stack = look_around();
    compute_with(job, &stack)
}

/// The lowest address of the stack that `sp` is on, and the first one past it.
fn bounds_of(sp: u64) -> (u64, u64) {
    let stack = stacks::of_task_at(sp).expect("workloads run on the stacks of tasks");
    (stack.low, stack.high)
}

/// What is around [`innermost`], which this is inlined into.
#[inline(always)]
fn look_around() -> Surroundings {
    let (sp, fp): (u64, u64);
    // SAFETY: two registers are read.
    unsafe {
        asm!("mov {}, rsp", "mov {}, rbp", out(reg) sp, out(reg) fp,
            options(nomem, nostack, preserves_flags));
    };
    let (low, high) = bounds_of(sp);
    let mut frames = [fp; 3];
    let mut next = fp;
    for frame in &mut frames {
        *frame = next;
        let is_frame = next >= sp && next < high - 16 && next.is_multiple_of(8);
        assert!(is_frame, "no frame pointer: {next:#x}");
        // SAFETY: aligned and on the stack that we are on, as was just asserted.
        next = unsafe { (next as *const u64).read_volatile() };
    }
    let cores = cpu::cores();
    let other = (cpu::current_index() as usize + 1) % cores.len();
    Surroundings {
        low,
        high,
        sp,
        frames,
        outside: next,
        elsewhere: cores[other].stack(StackKind::Kernel).high.as_u64(),
        next: high + SLOT,
        device: DEVICE,
    }
}

/// A frame's words with those overwritten that the job is for.
#[inline(always)]
fn overwritten(job: &Job, bad: u64, [fp, ret]: [u64; 2]) -> [u64; 2] {
    match (job.place, job.words) {
        (Place::Register, _) => [fp, ret],
        (Place::Frame(_), Words::Frame) => [bad, ret],
        (Place::Frame(_), Words::Return) => [fp, bad],
        (Place::Frame(_), Words::Both) => [bad, bad],
    }
}

/// Some arithmetic with the job's words overwritten.
#[inline(always)]
fn compute_with(job: &Job, stack: &Surroundings) -> u64 {
    let bad = job.bad.value(job.place, stack, job.seed);
    let (frame, register) = match job.place {
        Place::Register => (0, bad),
        Place::Frame(number) => (number, stack.frames[0]),
    };
    let pair = stack.frames[frame] as *const [u64; 2];
    // SAFETY: on this stack, with a word more above, as `look_around` asserted.
    let [fp, ret] = unsafe { pair.read_volatile() };
    let [bad_fp, bad_ret] = overwritten(job, bad, [fp, ret]);
    let mut state = scramble(job.seed);
    // So that nothing but an NMI comes between, which does not use our frames.
    interrupts::disable();
    // SAFETY: the words are the frame pointer and the return address that the
    // compiler's code has saved in a frame, of this function or of one of its
    // callers, none of which continues before this block of assembly has ended;
    // and with it they, and the register, are as they were. In between nothing
    // uses them. The block does not: its operands are in other registers, and it
    // neither pushes nor returns. Interrupts are off. What comes all the same,
    // an NMI or a trap that ends the run, uses its own stack; it saves the frame
    // pointer and restores it, and it reads our frames by the walk alone, which
    // takes them for allegations. If it does not come back, nothing uses the
    // frames any more: this stack is not gone on with.
    unsafe {
        asm!(
            // The return address first, and last: a walk comes to it first, so there
            // is no instruction with both at which it meets the frame pointer only.
            "mov [{pair} + 8], {bad_ret}",
            "mov [{pair}], {bad_fp}",
            "xchg rbp, {register}",
            "2:",
            "mov {scratch}, {state}",
            "shl {scratch}, 13",
            "xor {state}, {scratch}",
            "mov {scratch}, {state}",
            "shr {scratch}, 7",
            "xor {state}, {scratch}",
            "lea {state}, [{state} + 4*{state} + 1]",
            "rol {state}, 3",
            "dec {turns}",
            "jnz 2b",
            "xchg rbp, {register}",
            "mov [{pair}], {fp}",
            "mov [{pair} + 8], {ret}",
            pair = in(reg) pair,
            bad_fp = in(reg) bad_fp,
            bad_ret = in(reg) bad_ret,
            fp = in(reg) fp,
            ret = in(reg) ret,
            register = inout(reg) register => _,
            state = inout(reg) state,
            turns = inout(reg) TURNS => _,
            scratch = out(reg) _,
            options(nostack),
        );
    }
    interrupts::enable();
    state
}

/// Where the kernel maps the registers of devices.
const DEVICE: u64 = 0xffff_fd00_0000_0000;
