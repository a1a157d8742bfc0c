//! How fast the time stamp counter runs, by the first reference that says so: the order is in
//! [`super`].

use super::compare::{Clocks, Comparison, Counter, MOST_TICKS_PER_NANOSECOND, Problem, compare};
use super::declared::{self, Frequency};
use crate::format::{ClockReference, Text};
use crate::hw::cpuid::{self, Leaf};
use crate::hw::hpet::{self, Hpet};
use crate::hw::pit::Counted;
use crate::hw::pm_timer::{self, PmTimer};
use crate::hw::{msr, pit, tsc};

/// How often things happen that a kernel knows where to find.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Timers {
    /// Its capabilities are those of one, and its timers do not interrupt; else what is wrong.
    pub hpet: Option<Result<Hpet, hpet::Problem>>,
    pub pm_timer: Option<PmTimer>,
}

/// Why nothing says how fast the time stamp counter runs.
pub(crate) type Why = Text<160>;

/// How fast the time stamp counter runs, and what says so.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rate {
    pub nanoseconds: u64,
    /// Of the time stamp counter, in that time.
    pub ticks: u64,
    pub reference: ClockReference,
    /// To within how many parts of a million.
    pub within: u32,
}

impl Rate {
    const fn declared(reference: ClockReference, declared: Frequency) -> Self {
        Self {
            nanoseconds: declared.nanoseconds,
            ticks: declared.ticks,
            reference,
            within: 0,
        }
    }

    fn measured(reference: ClockReference, measured: Comparison) -> Self {
        Self {
            nanoseconds: measured.nanoseconds,
            ticks: measured.ticks,
            reference,
            within: measured.parts_per_million().max(1),
        }
    }
}

/// How fast the time stamp counter runs, by the first reference that says so; else what is
/// wrong with each.
pub(crate) fn find_rate(timers: Timers) -> Result<Rate, Why> {
    use ClockReference::{Crystal, Hpet, HyperV, Hypervisor, Pit, PmTimer};
    // SAFETY: reading a register of a frequency changes nothing.
    let read_msr = |register| unsafe { msr::try_read(register) }.ok();
    let declared = [
        (Hypervisor, declared::by_hypervisor(cpuid::leaf)),
        (HyperV, by_hyper_v(cpuid::leaf, read_msr)),
        (Crystal, declared::by_crystal(cpuid::leaf)),
    ];
    for (reference, frequency) in declared {
        if let Some(frequency) = frequency {
            return Ok(Rate::declared(reference, frequency));
        }
    }
    let measured: [(ClockReference, Compare); 3] =
        [(Hpet, by_hpet), (PmTimer, by_pm_timer), (Pit, by_pit)];
    let mut why = Why::EMPTY;
    for (reference, compare) in measured {
        match compare(timers) {
            Ok(measured) => return Ok(Rate::measured(reference, measured)),
            Err(Problem::NoHpet(problem)) => why.append_item(", ", format_args!("{problem}")),
            Err(problem) => why.append_item(", ", format_args!("{reference} {problem}")),
        }
    }
    declared::nominal(cpuid::leaf)
        .map(|(reference, frequency)| Rate::declared(reference, frequency))
        .ok_or(why)
}

type Compare = fn(Timers) -> Result<Comparison, Problem>;

/// What Hyper-V says, in Hz, where it lets its guest ask.
fn by_hyper_v(
    cpuid: impl Fn(u32, u32) -> Leaf,
    read_msr: impl FnOnce(u32) -> Option<u64>,
) -> Option<Frequency> {
    /// `HV_X64_MSR_TSC_FREQUENCY` (Hypervisor Top Level Functional Specification).
    const TSC_FREQUENCY: u32 = 0x4000_0022;
    if declared::has_hyper_v_frequency(cpuid) {
        Frequency::of_hertz(read_msr(TSC_FREQUENCY)?)
    } else {
        None
    }
}

fn by_hpet(timers: Timers) -> Result<Comparison, Problem> {
    let hpet = timers.hpet.ok_or(Problem::Absent)?;
    let hpet = hpet.map_err(Problem::NoHpet)?;
    hpet.count();
    let counter = Counter {
        bits: hpet.bits(),
        femtoseconds: hpet.period_femtoseconds(),
    };
    compare(&By(|| hpet.read(hpet::Register::MainCounter)), counter)
}

fn by_pm_timer(timers: Timers) -> Result<Comparison, Problem> {
    const FEMTOSECONDS_PER_SECOND: u64 = 1_000_000_000_000_000;
    let timer = timers.pm_timer.ok_or(Problem::Absent)?;
    let counter = Counter {
        bits: pm_timer::BITS,
        femtoseconds: FEMTOSECONDS_PER_SECOND / pm_timer::HERTZ,
    };
    // SAFETY: as `Config::pm_timer` says.
    compare(&By(|| unsafe { timer.read() }.into()), counter)
}

fn by_pit(_: Timers) -> Result<Comparison, Problem> {
    tightest_of_pit(pit::measure)
}

/// The tightest of some comparisons, as whatever the firmware or a hypervisor does at an end of
/// one is in it.
fn tightest_of_pit(measure: impl Fn(u16, u64) -> Option<Counted>) -> Result<Comparison, Problem> {
    const COMPARISONS: u32 = 3;
    /// What the PIT counts in 20 ms.
    const COUNT: u16 = 23_863;
    /// More ticks of the time stamp counter than that takes.
    const TIMEOUT_TICKS: u64 = 20_000_000 * MOST_TICKS_PER_NANOSECOND;
    let all = (0..COMPARISONS).filter_map(|_| measure(COUNT, TIMEOUT_TICKS));
    let tightest = all.min_by_key(|counted| counted.width);
    let tightest = tightest.ok_or(Problem::Absent)?;
    Ok(Comparison {
        nanoseconds: tightest.nanoseconds,
        ticks: tightest.ticks,
        width: tightest.width,
    })
}

/// The time stamp counter, and how what it is compared with is read.
struct By<R>(R);

impl<R: Fn() -> u64> Clocks for By<R> {
    fn tsc(&self) -> u64 {
        tsc::ordered_ticks()
    }

    fn count(&self) -> u64 {
        (self.0)()
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;
    use crate::hw::pit::measure_on;
    use crate::hw::pit::tests::{Kind, Model, assert_right};

    /// Of three comparisons two are held up, one at its start, and one for all of its time.
    #[test]
    fn of_the_pits_comparisons_the_tightest_counts() {
        let tries = Cell::new(0_u64);
        let costs: [fn(u64) -> u64; 3] = [
            |access| if access == 4 { 900_000 } else { 3000 },
            |access| if access == 5 { 90_000_000 } else { 3000 },
            |_| 3000,
        ];
        let measure = |count, timeout| {
            let number = tries.replace(tries.get() + 1);
            let cost = costs[usize::try_from(number).unwrap()];
            measure_on(&Model::new(Kind::Chip, 100 * number, cost), count, timeout)
        };
        let found = tightest_of_pit(measure).unwrap();
        assert_eq!(tries.get(), 3);
        // 23,864 counts.
        assert_eq!(found.nanoseconds, 20_000_301);
        assert_right((found.nanoseconds, found.ticks, found.width), 9000);
        assert!(found.parts_per_million() <= 150, "{found:?}");
    }

    #[test]
    fn without_a_pit_there_is_no_comparison() {
        for kind in [Kind::Absent, Kind::Stuck] {
            let measure =
                |count, timeout| measure_on(&Model::new(kind, 0, |_| 3000), count, timeout);
            assert_eq!(tightest_of_pit(measure), Err(Problem::Absent), "{kind:?}");
        }
    }

    #[test]
    fn hyper_v_says_its_rate_where_it_may_be_asked() {
        const HV: u32 = 0x3123_7648;
        let cpuid = |features| {
            move |leaf, _| match leaf {
                0 => [1, 0, 0, 0],
                1 => [0, 0, 1 << 31, 0],
                0x4000_0000 => [0x4000_000b, 0x7263_694d, 0x666f_736f, 0x7648_2074],
                0x4000_0001 => [HV, 0, 0, 0],
                0x4000_0003 => [1 << 11, 0, 0, features],
                _ => [0; 4],
            }
        };
        let may = 1 << 8;
        let says = |hertz| {
            by_hyper_v(cpuid(may), move |register| {
                assert_eq!(register, 0x4000_0022);
                hertz
            })
        };
        let rate = says(Some(2_394_230_000)).unwrap();
        assert_eq!(
            (rate.nanoseconds, rate.ticks),
            (1_000_000_000, 2_394_230_000)
        );
        // The register faults; reads as what is no rate.
        assert_eq!(says(None), None);
        assert_eq!(says(Some(0)), None);
        let not_asked = by_hyper_v(cpuid(0), |_| panic!("it may not be read"));
        assert_eq!(not_asked, None);
    }
}
