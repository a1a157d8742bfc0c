//! Corruption: a stack whose saved frame pointers and return addresses are wrong
//! for some hundred instructions at a time.
//!
//! It is what a profiler meets in a kernel that has just gone wrong. A unit calls
//! [`outer`], which calls [`middle`], which calls [`innermost`], once for each
//! [`Job`]: a kind of wrong value, in a place, in one word of it or in both. The
//! innermost one overwrites, computes, and puts back what was there, interrupts
//! off. While it computes, the chain is right up to the overwritten word and ends
//! there with the reason that is told in [`Bad`]; everywhere else it is complete.
//! So some 40 % of the chains are cut.
//!
//! The mix leaves it out: its chains are complete.

use super::scratch::scramble;

/// A wrong value. How the walk ends if a frame pointer has it stands with each; a
/// return address that has it always lies outside the text.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Bad {
    /// Null.
    Null,
    /// What was there, plus 1 to 7: misaligned.
    Odd,
    /// No address at all, neither of the lower nor of the upper half: below.
    NotCanonical,
    /// In the guard of this stack, where nothing is mapped: below.
    Guard,
    /// On a stack of another core: below, as those of tasks lie above all of cores.
    OtherCore,
    /// In the slot of the next stack: above.
    NextStack,
    /// The first address past this stack: above.
    Top,
    /// This stack's last word, of which the pair's second word is past the top:
    /// above.
    LastWord,
    /// Below the stack pointer: below.
    BelowPointer,
    /// The frame before, which leads back here: below.
    Cycle,
    /// The address of the word itself: below.
    Itself,
    /// In the lower half, where a user's stack would be: below.
    UserHalf,
    /// A device's registers, which must not be read: below.
    Device,
    /// Anything: most often misaligned.
    Random,
}

impl Bad {
    /// All of them.
    pub const ALL: [Self; 14] = [
        Self::Null,
        Self::Odd,
        Self::NotCanonical,
        Self::Guard,
        Self::OtherCore,
        Self::NextStack,
        Self::Top,
        Self::LastWord,
        Self::BelowPointer,
        Self::Cycle,
        Self::Itself,
        Self::UserHalf,
        Self::Device,
        Self::Random,
    ];

    /// The value, for the frame pointer that `place` has in `stack`.
    #[must_use]
    pub fn value(self, place: Place, stack: &Surroundings, seed: u64) -> u64 {
        // Of a random word among 64.
        let some_word = 8 * (seed % 64);
        match self {
            Self::Null => 0,
            Self::Odd => stack.good(place) + 1 + seed % 7,
            Self::NotCanonical => 0x8000_0000_0000_0000 | some_word,
            Self::Guard => stack.low - 8 - some_word,
            Self::OtherCore => stack.elsewhere - 16 - some_word,
            Self::NextStack => stack.next - 16 - some_word,
            Self::Top => stack.high,
            Self::LastWord => stack.high - 8,
            Self::BelowPointer => stack.sp - 8 - some_word,
            Self::Cycle => match place {
                Place::Register => stack.sp - 16,
                Place::Frame(0) => stack.frames[0],
                Place::Frame(number) => stack.frames[number - 1],
            },
            Self::Itself => match place {
                // A register has no address. Any that is below will do.
                Place::Register => stack.sp - 8,
                Place::Frame(number) => stack.frames[number],
            },
            Self::UserHalf => 0x7fff_ffff_e000 + some_word,
            Self::Device => stack.device + some_word,
            Self::Random => scramble(seed),
        }
    }
}

/// Where a frame pointer is that is overwritten.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Place {
    /// In the register.
    Register,
    /// In this of the three frames, from the innermost.
    Frame(usize),
}

/// Which words of a place are overwritten.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Words {
    /// The frame pointer.
    Frame,
    /// The return address, that of a frame.
    Return,
    /// Both.
    Both,
}

/// What [`innermost`] does once.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Job {
    /// The value.
    pub bad: Bad,
    /// Where.
    pub place: Place,
    /// In which words there.
    pub words: Words,
    /// For what is random in the value.
    pub seed: u64,
}

/// The jobs of a unit, in order: each value in each place.
pub fn jobs(seed: u64) -> impl Iterator<Item = Job> {
    const PLACES: [(Place, &[Words]); 4] = {
        const ALL: &[Words] = &[Words::Frame, Words::Return, Words::Both];
        [
            (Place::Register, &[Words::Frame]),
            (Place::Frame(0), ALL),
            (Place::Frame(1), ALL),
            (Place::Frame(2), ALL),
        ]
    };
    let places = PLACES
        .iter()
        .flat_map(|(place, words)| words.iter().map(|words| (*place, *words)));
    let pairs = Bad::ALL
        .iter()
        .flat_map(move |bad| places.clone().map(|place| (*bad, place)));
    (0..)
        .zip(pairs)
        .map(move |(number, (bad, (place, words)))| Job {
            bad,
            place,
            words,
            seed: scramble(seed ^ number),
        })
}

/// Addresses around the frames.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Surroundings {
    /// The stack's lowest address.
    pub low: u64,
    /// The first address past it.
    pub high: u64,
    /// The stack pointer.
    pub sp: u64,
    /// The pairs of the three frames, innermost first.
    pub frames: [u64; 3],
    /// The frame pointer that is saved in the third.
    pub outside: u64,
    /// The upper end of another core's stack.
    pub elsewhere: u64,
    /// The upper end of the slot behind this stack's.
    pub next: u64,
    /// A device's registers.
    pub device: u64,
}

impl Surroundings {
    /// The frame pointer that a place has while nothing is wrong.
    fn good(&self, place: Place) -> u64 {
        match place {
            Place::Register => self.frames[0],
            Place::Frame(number) => *self.frames.get(number + 1).unwrap_or(&self.outside),
        }
    }
}

#[cfg(target_os = "none")]
pub use hardware::unit;

#[cfg(target_os = "none")]
mod hardware {
    use core::arch::asm;
    use core::hint::black_box;

    use x86_64::instructions::interrupts;

    use super::{Job, Place, Surroundings, Words, jobs};
    use crate::cpu;
    use crate::memory::stacks::{self, SLOT, StackKind};
    use crate::workload::scratch::{Scratch, scramble};

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
        (stack.low.as_u64(), stack.high.as_u64())
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

    /// Some arithmetic with the job's words overwritten.
    #[inline(always)]
    fn compute_with(job: &Job, stack: &Surroundings) -> u64 {
        let bad = job.bad.value(job.place, stack, job.seed);
        let (pair, register) = match job.place {
            Place::Register => (stack.frames[0], bad),
            Place::Frame(number) => (stack.frames[number], stack.frames[0]),
        };
        let pair = pair as *const [u64; 2];
        // SAFETY: `look_around` asserted that it lies on this stack, with a word
        // more above.
        let [fp, ret] = unsafe { pair.read_volatile() };
        let (mut bad_fp, mut bad_ret) = (fp, ret);
        if job.place != Place::Register {
            if job.words != Words::Return {
                bad_fp = bad;
            }
            if job.words != Words::Frame {
                bad_ret = bad;
            }
        }
        let mut state = scramble(job.seed);
        // So that nothing but an NMI comes between, which does not use our frames.
        interrupts::disable();
        // SAFETY: the words are the frame pointer and the return address that the
        // compiler's code has saved in a frame, of this function or of one of its
        // callers, none of which goes on before this block of assembly has ended;
        // and with it they, and the register, are as they were. In between nothing
        // uses them. The block does not: its operands are in other registers, and it
        // neither pushes nor returns. Interrupts are off. What comes all the same,
        // an NMI or a trap that ends the run, uses its own stack; it saves the frame
        // pointer and restores it, and it reads our frames by the walk alone, which
        // takes them for allegations. If it does not come back, nobody uses the
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
}

#[cfg(test)]
mod tests {
    use super::*;

    const STACK: Surroundings = Surroundings {
        low: 0xffff_fe01_0001_0000,
        high: 0xffff_fe01_0002_0000,
        sp: 0xffff_fe01_0001_f000,
        frames: [
            0xffff_fe01_0001_f080,
            0xffff_fe01_0001_f0b0,
            0xffff_fe01_0001_f0e0,
        ],
        outside: 0xffff_fe01_0001_f120,
        elsewhere: 0xffff_fe00_0012_0000,
        next: 0xffff_fe01_0004_0000,
        device: 0xffff_fd00_0000_0000,
    };

    #[test]
    fn a_unit_has_each_value_in_each_place() {
        let jobs: Vec<_> = jobs(1).collect();
        assert_eq!(jobs.len(), Bad::ALL.len() * (1 + 3 * 3));
        for bad in Bad::ALL {
            for number in 0..3 {
                for words in [Words::Frame, Words::Return, Words::Both] {
                    let is_it = |job: &&Job| {
                        (job.bad, job.place, job.words) == (bad, Place::Frame(number), words)
                    };
                    assert_eq!(jobs.iter().filter(is_it).count(), 1);
                }
            }
        }
    }

    /// No value is one that a walk could go on from.
    #[test]
    fn every_value_is_wrong() {
        for job in (0..200).flat_map(jobs) {
            let value = job.bad.value(job.place, &STACK, job.seed);
            let least = match job.place {
                Place::Register => STACK.sp,
                Place::Frame(number) => STACK.frames[number] + 16,
            };
            let is_pair = value.is_multiple_of(8) && (least..=STACK.high - 16).contains(&value);
            assert!(!is_pair, "{job:?}: {value:#x}");
            // That they are what they are called.
            let is_right = match job.bad {
                Bad::Null => value == 0,
                Bad::Odd => value & !7 == STACK.good(job.place),
                Bad::NotCanonical => value >> 47 == 1 << 16,
                Bad::Guard => value < STACK.low,
                Bad::OtherCore => value < STACK.elsewhere,
                Bad::NextStack | Bad::Top => value >= STACK.high,
                Bad::LastWord => value == STACK.high - 8,
                Bad::BelowPointer => (STACK.low..STACK.sp).contains(&value),
                Bad::Cycle | Bad::Itself => (STACK.low..least).contains(&value),
                Bad::UserHalf => value < 1 << 47,
                Bad::Device => (STACK.device..STACK.device + 0x1000).contains(&value),
                Bad::Random => value == scramble(job.seed),
            };
            assert!(is_right, "{job:?}: {value:#x}");
        }
    }
}
