//! Channel 2 of the PC's interval timer (Intel 8254 data sheet), which counts
//! 1,193,182 Hz on every PC. It interrupts nobody: it is the loudspeaker's, whose gate and
//! output are bits of port 61h. So it can be used as a stopwatch in any kernel.
//!
//! # When the output rises
//!
//! In mode 0 a count of N that is written while the gate is high is loaded by the next pulse of
//! the clock, which does not count it down, and the output rises N + 1 pulses after the write; of
//! one that is written while the gate is low, N pulses after the gate has risen, if it was loaded
//! by then ("Mode 0: interrupt on terminal count"). Emulators go by the write alone, wherever the
//! gate is, and count N. So the gate is high before, as in Linux's `pit_calibrate_tsc`, the write
//! of the count's second byte is the start, and the end is N + 1 clocks later, give or take one:
//!
//! | | clocks from the write to the rise |
//! |---|---|
//! | an 8254; where in a clock the write comes is not known | N + 1/2 to N + 3/2 |
//! | emulators | N |

use core::arch::asm;

use super::tsc;

/// Mode and command (8254, "control word").
const COMMAND: u16 = 0x43;
/// The count of channel 2.
const CHANNEL_2: u16 = 0x42;
/// Channel 2, low byte then high byte, mode 0 ("interrupt on terminal count"), binary.
const ONE_SHOT: u8 = 0b1011_0000;

/// Port 61h, "NMI status and control".
const GATE_PORT: u16 = 0x61;
/// Channel 2 counts.
const GATE: u8 = 1 << 0;
/// Its output goes to the loudspeaker.
const SPEAKER: u8 = 1 << 1;
/// Its output (read only): set when it has counted down.
const OUTPUT: u8 = 1 << 5;

/// What can be written to port 61h of it: the other bits are status.
const WRITABLE: u8 = 0x0f;

/// Its ticks a second.
const HERTZ: u64 = 1_193_182;
const NANOSECONDS_PER_SECOND: u64 = 1_000_000_000;

/// No wait for the timer reads its output more often: each reading takes a microsecond or so.
const MOST_READS: u32 = 2_000_000;

/// What channel 2 was seen to count.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Counted {
    /// What it takes.
    pub nanoseconds: u64,
    /// How far the time stamp counter advanced meanwhile,
    pub ticks: u64,
    /// give or take so many.
    pub width: u64,
}

/// Lets channel 2 count `count` of its ticks. Returns what was seen of that; `None` if it has
/// not counted down after `timeout_ticks` of the time stamp counter, or there is no such timer.
///
/// Whatever else uses the channel (it makes sounds) is disturbed.
#[must_use]
pub fn measure(count: u16, timeout_ticks: u64) -> Option<Counted> {
    measure_on(&Machine, count, timeout_ticks)
}

/// The ports, and the time stamp counter.
pub(crate) trait Ports {
    fn read(&self, port: u16) -> u8;

    fn write(&self, port: u16, value: u8);

    /// Reads the time stamp counter, in program order.
    fn tsc(&self) -> u64;
}

/// [`measure`], on a machine.
pub(crate) fn measure_on(ports: &impl Ports, count: u16, timeout_ticks: u64) -> Option<Counted> {
    let before = ports.read(GATE_PORT) & WRITABLE;
    ports.write(GATE_PORT, before & !SPEAKER | GATE);
    ports.write(COMMAND, ONE_SHOT);
    let [low, high] = count.to_le_bytes();
    ports.write(CHANNEL_2, low);
    let start = Between::of(ports, || ports.write(CHANNEL_2, high)).0;
    let rise = rise(ports, start, timeout_ticks);
    ports.write(GATE_PORT, before);
    let rise = rise?;

    let counts = u64::from(count) + 1;
    let ticks = rise.middle().wrapping_sub(start.middle());
    let counted = Counted {
        nanoseconds: counts * NANOSECONDS_PER_SECOND / HERTZ,
        ticks,
        width: start.width() + rise.width(),
    };
    Some(counted.within_a_clock(count))
}

impl Counted {
    /// An emulator takes one clock less than a chip, and a nanosecond was cut off.
    fn within_a_clock(mut self, count: u16) -> Self {
        let a_clock = self.ticks.div_ceil(u64::from(count).max(1));
        let a_nanosecond = self.ticks.div_ceil(self.nanoseconds.max(1));
        self.width += a_clock + a_nanosecond;
        self
    }
}

/// When the output rises: between a reading of it before that, and one behind. `None` if it is not
/// low first, as where there is no timer ports read as all ones.
fn rise(ports: &impl Ports, start: Between, timeout_ticks: u64) -> Option<Between> {
    let look = || Between::of(ports, || ports.read(GATE_PORT) & OUTPUT != 0);
    let (mut last_low, is_high) = look();
    if is_high {
        return None;
    }
    for _ in 0..MOST_READS {
        let (looked, is_high) = look();
        if is_high {
            return Some(Between {
                after: looked.after,
                ..last_low
            });
        }
        if looked.after.wrapping_sub(start.after) > timeout_ticks {
            return None;
        }
        last_low = looked;
    }
    None
}

/// Something happened between two readings of the time stamp counter.
#[derive(Clone, Copy)]
struct Between {
    before: u64,
    after: u64,
}

impl Between {
    fn of<R>(ports: &impl Ports, what: impl FnOnce() -> R) -> (Self, R) {
        let before = ports.tsc();
        let result = what();
        let after = ports.tsc();
        (Self { before, after }, result)
    }

    const fn middle(self) -> u64 {
        self.before
            .wrapping_add(self.after.wrapping_sub(self.before) / 2)
    }

    /// How far from [`Self::middle`] it may have been.
    const fn width(self) -> u64 {
        self.after.wrapping_sub(self.before).div_ceil(2)
    }
}

/// The running core's.
struct Machine;

impl Ports for Machine {
    fn read(&self, port: u16) -> u8 {
        let value;
        // SAFETY: reading one of the ports above has no effect.
        unsafe {
            asm!("in al, dx", in("dx") port, out("al") value, options(nomem, nostack, preserves_flags));
        };
        value
    }

    fn write(&self, port: u16, value: u8) {
        // SAFETY: one of the ports above: it starts or stops channel 2, which interrupts nobody.
        unsafe {
            asm!("out dx, al", in("dx") port, in("al") value, options(nomem, nostack, preserves_flags));
        };
    }

    fn tsc(&self) -> u64 {
        tsc::ordered_ticks()
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use std::cell::{Cell, RefCell};

    use super::*;

    /// When a count starts to be counted.
    #[derive(Clone, Copy, PartialEq, Eq, Debug)]
    pub(crate) enum Kind {
        /// As the data sheet says.
        Chip,
        /// At its write, whatever the gate is.
        Emulated,
        /// Nothing answers.
        Absent,
        /// The output never rises.
        Stuck,
    }

    /// By the number of an access.
    type ByAccess = fn(u64) -> u64;

    /// A machine whose time stamp counter has 3 GHz: its ticks are thirds of nanoseconds.
    pub(crate) struct Model {
        kind: Kind,
        /// What is left of the timer's clock when a count is written, in thousandths.
        phase: u64,
        /// What each access of a port takes, by its number.
        cost: ByAccess,
        /// How much of that goes by before the port is accessed, in hundredths.
        before: ByAccess,
        now: Cell<u64>,
        accesses: Cell<u64>,
        gate: Cell<u8>,
        written: RefCell<Vec<u8>>,
        /// The ticks at which the output rises.
        rises: Cell<Option<u64>>,
    }

    const TICKS_PER_SECOND: u64 = 3_000_000_000;

    impl Model {
        pub(crate) fn new(kind: Kind, phase: u64, cost: ByAccess) -> Self {
            Self {
                kind,
                phase,
                cost,
                before: |_| 50,
                now: Cell::new(1 << 40),
                accesses: Cell::new(0),
                gate: Cell::new(0b1100),
                written: RefCell::default(),
                rises: Cell::new(None),
            }
        }

        /// The ticks in these thousandths of the timer's clocks.
        fn clocks(thousandths: u64) -> u64 {
            let ticks = u128::from(thousandths) * u128::from(TICKS_PER_SECOND);
            u64::try_from(ticks / u128::from(1000 * HERTZ)).unwrap()
        }

        /// Returns when a port is accessed.
        fn access(&self) -> u64 {
            let number = self.accesses.replace(self.accesses.get() + 1);
            let cost = (self.cost)(number);
            let now = self.now.replace(self.now.get() + cost);
            now + cost * (self.before)(number) / 100
        }

        fn load(&self, at: u64, count: u16) {
            let thousandths = 1000 * u64::from(count);
            let is_gated = self.gate.get() & GATE != 0;
            let rises = match self.kind {
                // The rest of this clock, half a clock to the edge at which it counts, the one
                // that loads.
                Kind::Chip => at + Self::clocks(500 + self.phase + thousandths),
                Kind::Emulated => at + Self::clocks(thousandths),
                Kind::Absent | Kind::Stuck => u64::MAX,
            };
            assert!(is_gated, "the count is loaded at an unknown time");
            self.rises.set(Some(rises));
        }
    }

    impl Ports for Model {
        fn read(&self, port: u16) -> u8 {
            let at = self.access();
            assert_eq!(port, GATE_PORT);
            let is_high = match self.kind {
                Kind::Absent => return 0xff,
                _ => self.rises.get().is_none_or(|rises| rises <= at),
            };
            0xc0 | self.gate.get() | if is_high { OUTPUT } else { 0 }
        }

        fn write(&self, port: u16, value: u8) {
            let at = self.access();
            match port {
                GATE_PORT => self.gate.set(value),
                COMMAND => {
                    assert_eq!(value, ONE_SHOT);
                    self.written.borrow_mut().clear();
                    self.rises.set(Some(u64::MAX));
                }
                _ => self.written.borrow_mut().push(value),
            }
            if let [low, high] = self.written.borrow()[..]
                && port == CHANNEL_2
            {
                self.load(at, u16::from_le_bytes([low, high]));
            }
        }

        fn tsc(&self) -> u64 {
            self.now.set(self.now.get() + 30);
            self.now.get()
        }
    }

    const COUNT: u16 = 23_863;
    const TIMEOUT: u64 = 200_000_000;

    /// The rate that was seen is 3 ticks a nanosecond, give or take what is said.
    #[track_caller]
    pub(crate) fn assert_right(seen: (u64, u64, u64), most_width: u64) {
        let (nanoseconds, ticks, width) = seen;
        let off = ticks.abs_diff(3 * nanoseconds);
        assert!(off <= width, "{off}: {seen:?}");
        assert!(width <= most_width, "{seen:?}");
    }

    /// Wherever in a clock the write comes, and whatever an access takes: a microsecond; hardly
    /// anything, as of an emulator; much more at the start or in the midst of the wait.
    #[test]
    fn what_is_said_of_the_rate_is_so() {
        const A_CLOCK: u64 = 2514;
        let costs: [(ByAccess, u64); 4] = [
            (|_| 3000, 6200),
            (|_| 60, 300),
            (|access| if access == 4 { 300_000 } else { 3000 }, 170_000),
            (|access| if access > 50 { 9000 } else { 3000 }, 12_000),
        ];
        // The access that starts it is the fifth.
        let places: [ByAccess; 3] = [
            |_| 50,
            |access| if access > 4 { 100 } else { 0 },
            |access| if access > 4 { 0 } else { 100 },
        ];
        for kind in [Kind::Chip, Kind::Emulated] {
            for phase in [0, 1, 250, 500, 999] {
                let each = costs
                    .iter()
                    .flat_map(|it| places.map(|before| (*it, before)));
                for ((cost, most), before) in each {
                    let mut model = Model::new(kind, phase, cost);
                    model.before = before;
                    let seen = measure_on(&model, COUNT, TIMEOUT).expect("a count");
                    let Counted {
                        nanoseconds,
                        ticks,
                        width,
                    } = seen;
                    assert_right((nanoseconds, ticks, width), most + A_CLOCK + 4);
                    // As it was: neither counting nor heard.
                    assert_eq!(model.gate.get(), 0b1100);
                }
            }
        }
    }

    /// Where no access takes any time, and the counter has any rate: an emulator counts a clock
    /// less than is said.
    #[test]
    fn an_emulators_clock_is_within_what_is_said() {
        let hertz = (1..8_000).map(|it| it * 622_003).chain([845_925_926]);
        for hertz in hertz {
            let counts = u64::from(COUNT) + 1;
            let counted = Counted {
                nanoseconds: counts * NANOSECONDS_PER_SECOND / HERTZ,
                ticks: u64::from(COUNT) * hertz / HERTZ,
                width: 0,
            };
            let Counted {
                nanoseconds,
                ticks,
                width,
            } = counted.within_a_clock(COUNT);
            // In thousandths of a millionth of a tick.
            let [said, truth] = [(ticks, NANOSECONDS_PER_SECOND), (nanoseconds, hertz)]
                .map(|(a, b)| u128::from(a) * u128::from(b));
            let most = u128::from(width) * u128::from(NANOSECONDS_PER_SECOND);
            assert!(said.abs_diff(truth) <= most, "{hertz} Hz: {counted:?}");
        }
    }

    #[test]
    fn what_does_not_count_is_no_timer() {
        for kind in [Kind::Absent, Kind::Stuck] {
            let model = Model::new(kind, 0, |_| 3000);
            let start = model.now.get();
            assert_eq!(measure_on(&model, COUNT, TIMEOUT), None, "{kind:?}");
            assert!(model.now.get() - start < 2 * TIMEOUT, "{kind:?}");
        }
        // Nothing but the number of readings ends it.
        let mut model = Model::new(Kind::Stuck, 0, |_| 0);
        model.cost = |access| {
            assert!(access < 3_000_000, "read for ever");
            0
        };
        assert_eq!(measure_on(&model, COUNT, u64::MAX / 2), None);
    }
}
