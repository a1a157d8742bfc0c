//! What a tick is on this machine.
//!
//! The time stamp counter is the clock of all that sampling measures. On an
//! emulator that counts instructions it advances by exactly one an instruction,
//! and then everything is exact and repeats; anywhere else it is time. No word
//! on the command line says which: code of known length is run, and the counter
//! has advanced by that length, each time, or not.

use core::arch::asm;
use core::fmt;

use crate::format::Clock;
use crate::hw::control;
use crate::hw::hpet::{Hpet, Register};
use crate::hw::pit;
use crate::hw::tsc::{self, Deadline};

/// How long to compare two clocks, in nanoseconds.
const COMPARISON_NANOSECONDS: u64 = 20_000_000;
/// The same, in ticks of the PIT.
const COMPARISON_PIT_TICKS: u16 = 23_863;
/// More ticks of the time stamp counter than a comparison takes.
const COMPARISON_TIMEOUT_TICKS: u64 = COMPARISON_NANOSECONDS * MOST_TICKS_PER_NANOSECOND;
/// More than any time stamp counter makes.
const MOST_TICKS_PER_NANOSECOND: u64 = 64;
const FEMTOSECONDS_PER_NANOSECOND: u64 = 1_000_000;

/// The machine's clock, and how its ticks become the run's.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RunClock {
    /// What a tick of the run is.
    pub clock: Clock,
    /// Ticks of the run per tick of the time stamp counter.
    scale: Ratio,
}

/// Nothing says how fast the time stamp counter runs: what the machine has to measure it by
/// does not count.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum NoReference {
    /// The kernel gives no HPET, and there is no PIT.
    NoPit,
    /// There is no PIT, and the HPET does not count, or not where the kernel says that it is.
    HpetStandsStill,
}

impl fmt::Display for NoReference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NoPit => {
                "nothing to measure the time stamp counter by: there is no PIT, and no HPET was given"
            }
            Self::HpetStandsStill => {
                "nothing to measure the time stamp counter by: there is no PIT, and the HPET stands still"
            }
        })
    }
}

impl core::error::Error for NoReference {}

impl RunClock {
    /// Finds out which clock this machine has. Takes 20 to 60 ms where it is time.
    ///
    /// # Errors
    ///
    /// The counter is time, and nothing says how fast it runs.
    pub(crate) fn detect(hpet: Option<Hpet>) -> Result<Self, NoReference> {
        // A kernel's own timer would be in what is measured.
        let were_enabled = control::interrupts_are_enabled();
        control::disable_interrupts();
        let clock = Self::measure(hpet);
        if were_enabled {
            control::enable_interrupts();
        }
        clock
    }

    fn measure(hpet: Option<Hpet>) -> Result<Self, NoReference> {
        if counts_instructions() {
            return Ok(Self {
                clock: Clock::Instructions,
                scale: Ratio::ONE,
            });
        }
        let (nanoseconds, ticks) = match hpet {
            Some(hpet) => by_hpet(hpet)
                .or_else(by_pit)
                .ok_or(NoReference::HpetStandsStill)?,
            None => by_pit().ok_or(NoReference::NoPit)?,
        };
        Ok(Self {
            clock: Clock::Time,
            scale: Ratio::new(nanoseconds, ticks),
        })
    }

    /// A difference of the time stamp counter in ticks of the run.
    #[must_use]
    #[inline]
    pub(crate) fn ticks(&self, difference: u64) -> u64 {
        self.scale.of(difference)
    }

    /// Lets `nanoseconds` go by, or code that takes about as many instructions where
    /// those are counted.
    pub(crate) fn pass(&self, nanoseconds: u64) {
        const NANOSECONDS_PER_ROUND: u64 = 10_000;
        match self.clock {
            Clock::Instructions => {
                (0..nanoseconds / NANOSECONDS_PER_ROUND).for_each(|_| core::hint::black_box(()));
            }
            Clock::Time => {
                let start = tsc::ticks();
                while self.ticks(tsc::ticks().wrapping_sub(start)) < nanoseconds {
                    core::hint::spin_loop();
                }
            }
        }
    }
}

/// A number as a fixed-point number with 32 bits behind the point.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Ratio(u64);

impl Ratio {
    pub(crate) const ONE: Self = Self(1 << 32);

    /// `numerator / denominator`; the largest there is where that is too large.
    pub(crate) fn new(numerator: u64, denominator: u64) -> Self {
        let ratio = (u128::from(numerator) << 32) / u128::from(denominator.max(1));
        Self(u64::try_from(ratio).unwrap_or(u64::MAX))
    }

    /// `value` times this number, rounded down.
    #[inline]
    #[allow(clippy::cast_possible_truncation)] // periods and times fit 64 bits
    pub(crate) fn of(self, value: u64) -> u64 {
        ((u128::from(value) * u128::from(self.0)) >> 32) as u64
    }
}

/// The nanoseconds that go by on the HPET, and how far the time stamp counter advances
/// meanwhile; `None` if the HPET stands still.
fn by_hpet(hpet: Hpet) -> Option<(u64, u64)> {
    hpet.count();
    let period = hpet.period_femtoseconds();
    let start = hpet.read(Register::MainCounter);
    let start_tsc = tsc::ticks();
    let deadline = Deadline::after(COMPARISON_TIMEOUT_TICKS);
    while !deadline.is_over() {
        let counted = hpet.read(Register::MainCounter).wrapping_sub(start);
        let ticks = tsc::ticks().wrapping_sub(start_tsc);
        let elapsed = counted.saturating_mul(period) / FEMTOSECONDS_PER_NANOSECOND;
        if elapsed >= COMPARISON_NANOSECONDS {
            return Some((elapsed, ticks));
        }
        core::hint::spin_loop();
    }
    None
}

/// The same by the PIT, which kernels do not have to map: the tightest of some comparisons,
/// as whatever the firmware or a hypervisor does at its end is in one.
fn by_pit() -> Option<(u64, u64)> {
    const COMPARISONS: u32 = 3;
    let one = |_| pit::measure(COMPARISON_PIT_TICKS, COMPARISON_TIMEOUT_TICKS);
    let all = (0..COMPARISONS).map_while(one);
    all.min_by_key(|&(_, ticks)| ticks)
}

/// Returns true if the counter advances by one an instruction: three pieces of code of
/// different lengths take exactly that much longer than each other, four times
/// in a row. A processor that executes several instructions in a cycle, or is
/// interrupted, does not do that.
fn counts_instructions() -> bool {
    (0..4).all(|_| {
        let [short, middle, long] = [sled::<16>(), sled::<128>(), sled::<1024>()];
        middle.wrapping_sub(short) == 112 && long.wrapping_sub(middle) == 896
    })
}

/// How far the counter advances over `N` instructions that do nothing.
#[inline(always)]
fn sled<const N: u32>() -> u64 {
    let (before, after): (u64, u64);
    // SAFETY: reads the counter twice, and does nothing between.
    unsafe {
        asm!(
            "rdtsc",
            "mov {before:e}, eax",
            ".rept {n}",
            "nop",
            ".endr",
            "rdtsc",
            n = const N,
            before = out(reg) before,
            out("rax") after,
            out("rdx") _,
            options(nomem, nostack, preserves_flags),
        );
    };
    // The low halves: the counter does not go round meanwhile.
    after.wrapping_sub(before) & u64::from(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::Ratio;

    #[test]
    fn a_ratio_of_one_changes_nothing() {
        assert_eq!(Ratio::new(24, 24), Ratio::ONE);
        for value in [0, 1, 1000, u64::MAX] {
            assert_eq!(Ratio::ONE.of(value), value);
        }
    }

    #[test]
    fn a_ratio_is_exact_where_it_fits_and_else_rounds_down() {
        let half = Ratio::new(20_000_000, 40_000_000);
        assert_eq!([0, 1, 2, 7].map(|it| half.of(it)), [0, 0, 1, 3]);
        let four_thirds = Ratio::new(4, 3);
        // By less than 2^-32 of the value.
        assert_eq!(
            [1, 2, 3, 3_000_000].map(|it| four_thirds.of(it)),
            [1, 2, 3, 3_999_999]
        );
        assert_eq!(Ratio::new(7, 2).of(4), 14);
    }

    #[test]
    fn ratios_that_there_are_not_are_the_nearest() {
        assert_eq!(Ratio::new(3, 0), Ratio::new(3, 1));
        assert_eq!(Ratio::new(0, 5).of(u64::MAX), 0);
        assert_eq!(Ratio::new(u64::MAX, 1), Ratio(u64::MAX));
        // The largest below that.
        assert_eq!(
            Ratio::new(u64::from(u32::MAX), 1),
            Ratio(u64::from(u32::MAX) << 32)
        );
    }
}
