//! What a tick is on this machine.
//!
//! The time stamp counter is the clock of all that sampling measures. On an
//! emulator that counts instructions it advances by exactly one an instruction,
//! and then everything is exact and repeats; anywhere else it is time. No word
//! on the command line says which: code of known length is run, and the counter
//! has advanced by that length, each time, or not.
//!
//! # How fast it runs
//!
//! The first of these that there is says so, the most trustworthy first:
//!
//! | | reference | why there |
//! |---|---|---|
//! | 1 | the hypervisor: CPUID 40000010h (VMware, KVM), Hyper-V's MSR | it is what makes the guest's counter, scaled or not, and no timer of the guest is as exact as its own |
//! | 2 | CPUID 15h: a crystal and a ratio, the crystal given or known by the model; not under a hypervisor, which may scale the counter and leave the leaf as it is | the counter *is* that many of the crystal's oscillations, so it is as exact as a crystal |
//! | 3 | the HPET | 10 to 70 ns a count: 20 ms are compared to some parts in a million |
//! | 4 | ACPI's power management timer | 279 ns a count, and on nearly every PC |
//! | 5 | the PIT's channel 2, which needs nobody to say where it is | its end is waited for, not read: some microseconds |
//! | 6 | CPUID 16h, or 15h under a hypervisor | nominal: rounded to a MHz, and not measured |
//! | 7 | none | a tick is one of the time stamp counter ([`Clock::Ticks`]), and whoever reads the profile is told so |
//!
//! What is compared (3 to 5) is bounded: a reference that is not there, stands still or goes
//! backwards is passed over. To within what the two were compared is said with it; how right the
//! reference is comes on top: the HPET may be off by 500 parts in a million (its specification,
//! 1.0a, 2.2). And a counter that is not invariant may run at another rate later, which is told.

mod compare;
mod declared;
mod offset;
mod rate;
mod ratio;

use core::arch::asm;

use crate::format::{Clock, ClockReference, Text};
use crate::hw::{control, cpuid, tsc};
pub(crate) use compare::{Clocks, Span, parts_per_million};
pub(crate) use offset::{ClockExchange, Differences};
use rate::Why;
pub(crate) use rate::{Timers, find_rate};
pub(crate) use ratio::Ratio;

/// The machine's clock, and how its ticks become the run's.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RunClock {
    /// What a tick of the run is.
    pub clock: Clock,
    /// What says how long one takes,
    pub reference: ClockReference,
    /// to within how many parts of a million, if it was measured.
    pub within: u32,
    /// Where nothing does, why.
    pub why: Why,
    /// By how much the counters of cores differ.
    pub differences: Differences,
    /// The time stamp counter's rate may be another one later.
    may_vary: bool,
    /// Ticks of the run per tick of the time stamp counter.
    scale: Ratio,
    /// Ticks of the time stamp counter per tick of the run.
    rate: Ratio,
}

impl RunClock {
    /// Finds out which clock this machine has. Takes 20 to 60 ms where it is time and nothing
    /// but a comparison says how fast.
    pub(crate) fn detect(timers: Timers) -> Self {
        // A kernel's own timer would be in what is measured.
        let were_enabled = control::interrupts_are_enabled();
        control::disable_interrupts();
        let clock = Self::measure(timers);
        if were_enabled {
            control::enable_interrupts();
        }
        clock
    }

    fn measure(timers: Timers) -> Self {
        if counts_instructions() {
            return Self::of_ticks(Clock::Instructions, Why::EMPTY);
        }
        match find_rate(timers) {
            Ok(rate) => Self {
                reference: rate.reference,
                within: rate.within,
                // An emulator's is the host's, of which the guest's CPUID says nothing.
                may_vary: !cpuid::has_invariant_tsc() && !cpuid::is_tcg(),
                scale: Ratio::new(rate.nanoseconds, rate.ticks),
                rate: Ratio::new(rate.ticks, rate.nanoseconds),
                ..Self::of_ticks(Clock::Time, Why::EMPTY)
            },
            Err(why) => Self::of_ticks(Clock::Ticks, why),
        }
    }

    /// A tick of the time stamp counter is one of the run.
    pub(crate) const fn of_ticks(clock: Clock, why: Why) -> Self {
        Self {
            clock,
            reference: ClockReference::None,
            within: 0,
            why,
            differences: Differences::NONE,
            may_vary: false,
            scale: Ratio::ONE,
            rate: Ratio::ONE,
        }
    }

    /// A difference of the time stamp counter in ticks of the run.
    #[must_use]
    #[inline]
    pub(crate) fn ticks(&self, difference: u64) -> u64 {
        self.scale.of(difference)
    }

    /// Returns true if a tick of the run is one of the time stamp counter.
    pub(crate) fn is_the_counter(&self) -> bool {
        self.scale == Ratio::ONE
    }

    /// Ticks of the time stamp counter per tick of the run.
    pub(crate) const fn rate(&self) -> Ratio {
        self.rate
    }

    /// Tells what a reader of the profile cannot know from its numbers.
    pub(crate) fn tell(&self, story: &mut Text<512>) {
        if self.clock == Clock::Ticks {
            let why = self.why.as_str();
            story.append_item("; ", format_args!("times in ticks: {why}"));
        }
        if self.may_vary {
            let note = format_args!("the time stamp counter's rate may vary");
            story.append_item("; ", note);
        }
        match self.differences.unknown {
            0 => {}
            1 => story.append_item("; ", format_args!("a core's clock could not be compared")),
            n => story.append_item(
                "; ",
                format_args!("{n} cores' clocks could not be compared"),
            ),
        }
    }

    /// Lets `nanoseconds` go by, or code that takes about as many instructions where
    /// those are counted; ticks of the time stamp counter where nothing says how long one is.
    pub(crate) fn pass(&self, nanoseconds: u64) {
        const NANOSECONDS_PER_ROUND: u64 = 10_000;
        match self.clock {
            Clock::Instructions => {
                (0..nanoseconds / NANOSECONDS_PER_ROUND).for_each(|_| core::hint::black_box(()));
            }
            Clock::Time | Clock::Ticks => {
                let start = tsc::ticks();
                while self.ticks(tsc::ticks().wrapping_sub(start)) < nanoseconds {
                    core::hint::spin_loop();
                }
            }
        }
    }
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
    use super::*;

    #[test]
    fn what_numbers_do_not_say_is_told() {
        let time = RunClock::of_ticks(Clock::Time, Why::EMPTY);
        let one_unknown = Differences {
            unknown: 1,
            ..Differences::NONE
        };
        for (clock, expected) in [
            (time, ""),
            (
                RunClock {
                    may_vary: true,
                    differences: one_unknown,
                    ..time
                },
                "the time stamp counter's rate may vary; a core's clock could not be compared",
            ),
            (
                RunClock::of_ticks(Clock::Ticks, Why::new("no HPET")),
                "times in ticks: no HPET",
            ),
        ] {
            let mut story = Text::EMPTY;
            clock.tell(&mut story);
            assert_eq!(story.as_str(), expected);
        }
    }
}
