//! The source `hpet`: a timer of the HPET for each core, which writes its
//! interrupt as a message to that core's APIC (IA-PC HPET specification 2.3.9.2.3,
//! "FSB interrupt delivery").
//!
//! A message says by itself how it is to be delivered, so an NMI is as good as
//! anything. The comparators are set by hand, one shot at a time: main counter
//! plus period. They are 10 ns or coarser, so short periods come out a little
//! uneven; the report shows by how much.

use core::sync::atomic::Ordering::Relaxed;

use super::SourceError;
use crate::format::Delivery;
use crate::hw::apic;
use crate::hw::hpet::timer::{FORCE_32_BITS, INTERRUPT, LEVEL, MESSAGE, PERIODIC, WIDE};
use crate::hw::hpet::{Hpet, Problem, Register};
use crate::hw::tsc::Deadline;
use crate::sampler::per_core::Core;
use crate::sampler::trial;
use crate::sampler::vector;

/// Where messages to local APICs are written (SDM vol. 3, 12.11.1); the core's
/// id stands in bits 12 to 19.
const MESSAGE_ADDRESS: u64 = 0xfee0_0000;

/// Where comparators match on equality alone, as the manual has them, one that is written too
/// late matches when the counter comes round: after minutes, or never. What is written is
/// compared some counts later. Linux (`HPET_MIN_CYCLES`) keeps as far away.
const EQUALITY_MARGIN: u64 = 128;
/// How often a comparator is moved on, twice as far each time, but for [`FARTHEST`].
const MOST_MOVES: u32 = 16;
/// In counts: where the counter has 32 bits, what is further away is behind it.
const FARTHEST: u64 = (u32::MAX >> 2) as u64;
/// An interrupt that is overdue comes at once; in so many ticks of the time stamp counter an
/// emulator's has.
const OVERDUE_TICKS: u64 = 40_000_000;

const FEMTOSECONDS_PER_NANOSECOND: u64 = 1_000_000;

/// A timer for each core.
#[derive(Clone, Copy, Debug)]
pub(crate) struct HpetTimers {
    hpet: Hpet,
    delivery: Delivery,
    /// Femtoseconds per count.
    femtoseconds: u64,
    /// The bits in which counter and comparators count.
    bits: u32,
}

impl HpetTimers {
    /// Finds out whether there is a timer that can send messages for each of `cores`.
    ///
    /// # Errors
    ///
    /// There is none, too few can, or a core cannot be reached by one.
    pub(crate) fn probe(
        hpet: Option<Result<Hpet, Problem>>,
        delivery: Delivery,
        cores: &[Core],
    ) -> Result<Self, SourceError> {
        let hpet = hpet.ok_or(SourceError::NoHpet)?;
        let hpet = hpet.map_err(SourceError::Hpet)?;
        let served = hpet.message_timers();
        let far = cores.iter().find(|core| core.apic_id > apic::LAST_XAPIC_ID);
        if let Some(&Core { index, apic_id, .. }) = far {
            return Err(SourceError::HpetCannotReach {
                core: index,
                apic_id,
            });
        }
        let cores = u32::try_from(cores.len()).unwrap_or(u32::MAX);
        if served == 0 {
            return Err(SourceError::HpetWithoutMessages);
        }
        if served < cores {
            return Err(SourceError::TooManyCores { served, cores });
        }
        hpet.check_counts().map_err(SourceError::Hpet)?;
        Ok(Self::of(hpet, delivery, cores))
    }

    /// The timers of so many cores, in as many bits as all of them have.
    fn of(hpet: Hpet, delivery: Delivery, cores: u32) -> Self {
        let timers = 0..u8::try_from(cores).unwrap_or(u8::MAX);
        let bits = timers.map(|timer| hpet.timer_bits(timer)).min();
        Self {
            hpet,
            delivery,
            bits: bits.unwrap_or(32),
            femtoseconds: hpet.period_femtoseconds().max(1),
        }
    }

    /// Finds out how comparators compare, by the timer of the first of `cores`, the running
    /// one: where one that is written behind the counter interrupts at once, as an emulator's
    /// does, none can be written too late.
    pub(crate) fn find_margin(&self, cores: &[Core]) {
        let Some(first) = cores.first() else {
            return;
        };
        let interrupts = || {
            let comes = trial::await_overflow_for(OVERDUE_TICKS, first, || {
                let passed = self.cut(self.hpet.read(Register::MainCounter).wrapping_sub(1));
                first.hpet.due.store(passed, Relaxed);
                self.set_comparator(first, passed);
            });
            self.disarm(first);
            comes
        };
        // Twice, and the careful answer: an NMI of somebody else's would be taken for one.
        let margin = if interrupts() && interrupts() {
            0
        } else {
            EQUALITY_MARGIN
        };
        for core in cores {
            core.hpet.margin.store(margin, Relaxed);
        }
    }

    /// The least count that [`Self::arm`] has not to move.
    pub(crate) fn least_count(&self, core: &Core) -> u64 {
        (2 * core.hpet.margin.load(Relaxed)).max(1)
    }

    /// The least period, in ticks of the run, that is no more than that count with what its
    /// arming takes beside it, `arm_latency`.
    pub(crate) fn least_period(&self, core: &Core, arm_latency: u64) -> u64 {
        if core.hpet.margin.load(Relaxed) == 0 {
            return 1;
        }
        let counts = self.least_count(core).saturating_sub(arm_latency);
        // From half a count below on, which is taken for a whole one.
        let least = counts.saturating_mul(self.femtoseconds);
        let least = least.saturating_sub(self.femtoseconds / 2);
        least.div_ceil(FEMTOSECONDS_PER_NANOSECOND).max(1)
    }

    /// Makes sure that no interrupt of the timer of `core` is on its way. A comparator that
    /// was moved on may have matched before, and again where it is now.
    pub(crate) fn quiet(&self, core: &Core) {
        let margin = core.hpet.margin.load(Relaxed);
        if margin == 0 {
            return;
        }
        self.disarm(core);
        let first = self.hpet.read(Register::MainCounter);
        let has_landed = || {
            let now = self.hpet.read(Register::MainCounter);
            distance(self.bits, first, self.cut(now)) >= margin.cast_signed()
        };
        let _ = Deadline::after(OVERDUE_TICKS).wait_for(has_landed);
    }

    /// Prepares the timer of `core`.
    pub(crate) fn enable(&self, core: &Core) {
        let configuration = Register::TimerConfiguration(timer_of(core));
        let left = self.hpet.read(configuration);
        let mut quiet = left & !(INTERRUPT | PERIODIC | FORCE_32_BITS | LEVEL);
        if self.bits == 32 && left & WIDE != 0 {
            // It would compare what no comparator of 32 bits is written with.
            quiet |= FORCE_32_BITS;
        }
        // SAFETY: reserved bits as they were; it does not interrupt.
        unsafe { self.hpet.write(configuration, quiet) };
        let data = match self.delivery {
            Delivery::Nmi => apic::DELIVER_NMI,
            Delivery::Irq => u32::from(vector::OVERFLOW),
        };
        let address = MESSAGE_ADDRESS | u64::from(core.apic_id) << 12;
        let message = Register::TimerMessage(timer_of(core));
        // SAFETY: a message to that core's APIC, which has a handler for it: `probe` has seen
        // that its id fits the 8 bits.
        unsafe { self.hpet.write(message, address << 32 | u64::from(data)) };
        self.disarm(core);
        // SAFETY: the message is set up.
        unsafe { self.hpet.write(configuration, quiet | MESSAGE | INTERRUPT) };
    }

    /// Lets the timer of `core` interrupt once, `count` counts from now; later, if the
    /// counter has come too near before the comparator was written. What the interrupted code
    /// gets by that is in its period.
    #[inline]
    pub(crate) fn arm(&self, core: &Core, count: u32) {
        let margin = core.hpet.margin.load(Relaxed);
        let mut ahead = u64::from(count).min(FARTHEST);
        for _ in 0..=MOST_MOVES {
            let now = self.hpet.read(Register::MainCounter);
            let due = self.cut(now.wrapping_add(ahead));
            core.hpet.due.store(due, Relaxed);
            self.set_comparator(core, due);
            if margin == 0 {
                return;
            }
            let now = self.hpet.read(Register::MainCounter);
            if distance(self.bits, now, due) >= margin.cast_signed() {
                return;
            }
            ahead = (2 * ahead.max(margin)).min(FARTHEST);
        }
    }

    /// The timer of `core` is not needed any more. A comparator out of reach would not do: with 32
    /// bits it matches once more, after minutes, and who owns the core then does not know it.
    pub(crate) fn stop(&self, core: &Core) {
        self.hpet.stop(timer_of(core));
    }

    /// Puts the comparator of `core` out of reach: as far as there is, which with 32 bits is
    /// minutes away. It can be armed again.
    pub(crate) fn disarm(&self, core: &Core) {
        let now = self.hpet.read(Register::MainCounter);
        self.set_comparator(core, self.cut(farthest(self.bits, now)));
    }

    /// `value` as comparators have it.
    #[inline]
    const fn cut(&self, value: u64) -> u64 {
        value & mask(self.bits)
    }

    #[inline]
    fn set_comparator(&self, core: &Core, value: u64) {
        let comparator = Register::TimerComparator(timer_of(core));
        // SAFETY: any comparator may be written; `enable` said what it delivers.
        unsafe { self.hpet.write(comparator, value) };
    }

    /// Returns true if the main counter has passed the comparator of `core`.
    #[inline]
    #[must_use]
    pub(crate) fn has_fired(&self, core: &Core) -> bool {
        let due = core.hpet.due.load(Relaxed);
        let now = self.hpet.read(Register::MainCounter);
        distance(self.bits, now, due) <= 0
    }

    /// The counts in `ticks` nanoseconds, to the nearest; or in so many instructions where those are
    /// counted: the emulated HPET then takes an instruction for a nanosecond.
    #[must_use]
    pub(crate) fn counts(&self, ticks: u64) -> u64 {
        let [ticks, nanosecond, count] =
            [ticks, FEMTOSECONDS_PER_NANOSECOND, self.femtoseconds].map(u128::from);
        let counts = (ticks * nanosecond + count / 2) / count;
        u64::try_from(counts).unwrap_or(u64::MAX)
    }
}

/// Where a comparator of so many bits matches last: one count behind the counter in all bits
/// that are compared. Of 64 not all are used, as an emulator's nanoseconds would not fit its
/// own: it is weeks away.
const fn farthest(bits: u32, now: u64) -> u64 {
    let far = if bits == 64 { 1 << 48 } else { 0 };
    now.wrapping_add(far).wrapping_sub(1)
}

const fn mask(bits: u32) -> u64 {
    u64::MAX >> (64 - bits)
}

/// The counts from `now` until `due`, of a counter of so many bits; less than none if it has
/// passed.
#[inline]
const fn distance(bits: u32, now: u64, due: u64) -> i64 {
    let unused = 64 - bits;
    (due.wrapping_sub(now) << unused).cast_signed() >> unused
}

/// The timer of `core`: `probe` has seen that there is one.
#[inline]
fn timer_of(core: &Core) -> u8 {
    core.index.to_le_bytes()[0] % 32
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hw::hpet::tests::Registers;
    use crate::sampler::per_core::tests::cores;

    #[test]
    fn what_is_due_is_told_across_the_end_of_a_counter() {
        assert_eq!(distance(32, 0xffff_ff00, 0x100), 0x200);
        assert_eq!(distance(32, 0x100, 0xffff_ff00), -0x200);
        assert_eq!(distance(32, 7, 7), 0);
        // What is above a counter's bits means nothing.
        assert_eq!(distance(32, 0xdead_0000_0010, 0x20), 0x10);
        assert_eq!(distance(64, 0xffff_ff00, 0x1_0000_0100), 0x200);
        assert_eq!(distance(64, u64::MAX, 9), 10);
        let [now, far] = [0x1234, farthest(32, 0x1234)];
        assert_eq!(far & mask(32), 0x1233);
        assert_eq!(mask(32), 0xffff_ffff);
        assert!(distance(64, now, farthest(64, now)) > 0);
    }

    impl HpetTimers {
        /// By registers of which none counts: what is armed is as far away as it was.
        pub(crate) fn of_test(registers: &Registers) -> Self {
            Self {
                hpet: registers.hpet(),
                delivery: Delivery::Nmi,
                femtoseconds: FEMTOSECONDS_PER_NANOSECOND,
                bits: 32,
            }
        }
    }

    fn timers() -> (Registers, HpetTimers) {
        let registers = Registers::new(2);
        let timers = HpetTimers::of_test(&registers);
        (registers, timers)
    }

    /// Whether the timer of a core may interrupt.
    fn is_enabled(registers: &Registers, timer: u8) -> bool {
        registers.get(Register::TimerConfiguration(timer)) & INTERRUPT != 0
    }

    #[test]
    fn a_timer_that_is_stopped_does_not_interrupt_when_the_counter_comes_round() {
        let (registers, timers) = timers();
        let cores = cores(&[0, 1]);
        cores.iter().for_each(|core| timers.enable(core));
        timers.stop(&cores[0]);
        let enabled = [0, 1].map(|timer| is_enabled(&registers, timer));
        assert_eq!(enabled, [false, true]);
        // It is what it was once it is enabled again.
        timers.enable(&cores[0]);
        let configuration = registers.get(Register::TimerConfiguration(0));
        assert_eq!(configuration, 1 << 15 | MESSAGE | INTERRUPT);
    }

    /// Intel's chipsets have a timer of 64 bits, and the others have 32.
    #[test]
    fn a_wide_timer_compares_no_more_bits_than_the_others() {
        let registers = Registers::new(2);
        let capabilities = registers.get(Register::Capabilities);
        registers.set(Register::Capabilities, capabilities | 1 << 13);
        let [timer, other] = [0, 1].map(Register::TimerConfiguration);
        // What firmware has left is not what is asked for.
        registers.set(timer, 0x8020);
        registers.set(other, 0x8000 | FORCE_32_BITS);
        let enabled = |count: u32| {
            let cores = cores(&[0, 1]);
            let hpet = registers.hpet();
            let timers = HpetTimers::of(hpet, Delivery::Nmi, count);
            cores[..count as usize]
                .iter()
                .for_each(|core| timers.enable(core));
            registers.set(Register::MainCounter, 0x1_ffff_fff0);
            timers.arm(&cores[0], 0x20);
            [
                registers.get(timer),
                registers.get(Register::TimerComparator(0)),
            ]
        };
        assert_eq!(enabled(2), [0xc124, 0x10]);
        assert_eq!(registers.get(other), 0xc004);
        // Alone, it has all of its bits.
        assert_eq!(enabled(1), [0xc024, 0x2_0000_0010]);
    }

    #[test]
    fn why_there_are_no_timers_is_said() {
        let probe = |hpet, ids: &[u32]| {
            let probed = HpetTimers::probe(hpet, Delivery::Nmi, cores(ids));
            probed.map(drop).unwrap_err()
        };
        let registers = Registers::new(2);
        let hpet = Some(Ok(registers.hpet()));
        assert_eq!(probe(None, &[0]), SourceError::NoHpet);
        let absent = Some(Err(Problem::Absent));
        assert_eq!(probe(absent, &[0]), SourceError::Hpet(Problem::Absent));
        // A message has 8 bits for the core that it is for.
        let far = SourceError::HpetCannotReach {
            core: 1,
            apic_id: 255,
        };
        assert_eq!(probe(hpet, &[254, 255]), far);
        let few = SourceError::TooManyCores {
            served: 2,
            cores: 3,
        };
        assert_eq!(probe(hpet, &[0, 1, 2]), few);
        // All that is wrong with this one.
        let still = SourceError::Hpet(Problem::StandsStill);
        assert_eq!(probe(hpet, &[0, 254]), still);
        registers.set(Register::TimerConfiguration(0), 0);
        assert_eq!(probe(hpet, &[0]), SourceError::HpetWithoutMessages);
    }

    #[test]
    fn counts_are_to_the_nearest() {
        let (_registers, mut timers) = timers();
        let mut counts = |femtoseconds, ticks: [u64; 4]| {
            timers.femtoseconds = femtoseconds;
            ticks.map(|ticks| timers.counts(ticks))
        };
        // An emulator's, whose rate is no binary fraction.
        assert_eq!(counts(10_000_000, [1000, 994, 995, 4]), [100, 99, 100, 0]);
        // 14.318179 MHz.
        assert_eq!(
            counts(69_841_279, [1000, 34, 35, 1_000_000_000]),
            [14, 0, 1, 14_318_180]
        );
        assert_eq!(
            counts(1, [0, 1, 2, u64::MAX]),
            [0, 1_000_000, 2_000_000, u64::MAX]
        );
    }

    #[test]
    fn a_period_is_no_shorter_than_what_is_armed_with() {
        let (_registers, mut timers) = timers();
        timers.femtoseconds = 10_000_000;
        let core = &cores(&[0])[0];
        assert_eq!(timers.least_period(core, 3), 1);
        core.hpet.margin.store(EQUALITY_MARGIN, Relaxed);
        for (arm_latency, counts) in [(0, 256), (3, 253)] {
            let least = timers.least_period(core, arm_latency);
            assert_eq!(least, 10 * counts - 5);
            assert_eq!(timers.counts(least), counts);
            assert!(timers.counts(least - 1) < counts, "{least}");
        }
        assert_eq!(timers.least_period(core, 1000), 1);
    }

    #[test]
    fn comparators_are_kept_away_from_the_counter() {
        let (registers, timers) = timers();
        let set_counter = |value| registers.set(Register::MainCounter, value);
        let comparator = || registers.get(Register::TimerComparator(0));
        set_counter(0xffff_ffc0);
        let core = &cores(&[0])[0];
        // None can be missed.
        timers.arm(core, 1);
        assert_eq!(comparator(), 0xffff_ffc1);
        assert_eq!(timers.least_count(core), 1);
        core.hpet.margin.store(EQUALITY_MARGIN, Relaxed);
        assert_eq!(timers.least_count(core), 256);
        for (count, ahead) in [(1, 256), (127, 256), (128, 128), (1000, 1000)] {
            timers.arm(core, count);
            let due = (0xffff_ffc0 + ahead) & 0xffff_ffff;
            assert_eq!(comparator(), due, "{count}");
            assert!(!timers.has_fired(core));
        }
        set_counter(0x0000_03a8);
        assert!(timers.has_fired(core));
        timers.disarm(core);
        assert_eq!(comparator(), 0x0000_03a7);
    }
}
