//! What a tick is on this machine, found out by looking.
//!
//! The time stamp counter is the clock of all that sampling measures. On an
//! emulator that counts instructions it advances by exactly one an instruction,
//! and then everything is exact and repeats; anywhere else it is time. No word
//! on the command line says which: code of known length is run, and the counter
//! has advanced by that length, each time, or not.

use core::arch::asm;

use profiler::format::Clock;

use crate::cpu::hpet::{self, Register};
use crate::time;

/// How long to compare two clocks, in nanoseconds.
const COMPARISON: u64 = 20_000_000;
const FEMTOSECONDS_PER_NANOSECOND: u64 = 1_000_000;

/// The machine's clock, and how its ticks become the run's.
#[derive(Clone, Copy, Debug)]
pub struct RunClock {
    /// What a tick of the run is.
    pub clock: Clock,
    /// Ticks of the run per tick of the time stamp counter, as a fixed-point
    /// number with 32 bits behind the point.
    scale: u64,
}

/// Why there is no clock.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct NoReference;

impl core::fmt::Display for NoReference {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("there is no HPET to measure the time stamp counter by")
    }
}

impl RunClock {
    /// Looks which clock this machine has. Takes about 20 ms where it is time.
    ///
    /// # Errors
    ///
    /// The counter is time, and nothing says how fast it runs.
    pub fn detect() -> Result<Self, NoReference> {
        if counts_instructions() {
            return Ok(Self {
                clock: Clock::Instructions,
                scale: 1 << 32,
            });
        }
        let before = time::ticks();
        let elapsed = wait(COMPARISON)?;
        let ticks = time::ticks() - before;
        Ok(Self {
            clock: Clock::Time,
            scale: ratio(elapsed, ticks),
        })
    }

    /// A difference of the time stamp counter in ticks of the run.
    #[must_use]
    #[inline]
    pub fn ticks(&self, difference: u64) -> u64 {
        scaled(difference, self.scale)
    }
}

/// `numerator / denominator` as a fixed-point number with 32 bits behind the
/// point.
pub fn ratio(numerator: u64, denominator: u64) -> u64 {
    let ratio = (u128::from(numerator) << 32) / u128::from(denominator.max(1));
    u64::try_from(ratio).unwrap_or(u64::MAX)
}

/// `value` times such a number.
#[inline]
#[allow(clippy::cast_possible_truncation)] // periods and times fit 64 bits
pub fn scaled(value: u64, ratio: u64) -> u64 {
    ((u128::from(value) * u128::from(ratio)) >> 32) as u64
}

/// Waits for `nanoseconds` by the HPET; gives how long it was.
///
/// # Errors
///
/// There is no HPET.
pub fn wait(nanoseconds: u64) -> Result<u64, NoReference> {
    let hpet = hpet::get().ok_or(NoReference)?;
    let period = hpet.period_femtoseconds();
    hpet.count();
    let start = hpet.read(Register::MainCounter);
    loop {
        let ticks = hpet.read(Register::MainCounter).wrapping_sub(start);
        let elapsed = ticks.saturating_mul(period) / FEMTOSECONDS_PER_NANOSECOND;
        if elapsed >= nanoseconds {
            return Ok(elapsed);
        }
        core::hint::spin_loop();
    }
}

/// Whether the counter advances by one an instruction: three pieces of code of
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
