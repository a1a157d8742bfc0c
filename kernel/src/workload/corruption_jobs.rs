//! What the workload `corruption` overwrites, where, and with what.

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

/// What the innermost function does once.
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

    /// No value is one from which a walk could continue.
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
