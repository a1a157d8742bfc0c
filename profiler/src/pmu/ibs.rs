//! AMD's Instruction-Based Sampling of ops: a trigger of an event's counter that knows the
//! address of the op that it came for (APM vol. 2, 13.3; PPR for family 19h).
//!
//! The processor counts cycles or ops up to a maximum and *tags* the next op. When that
//! retires it leaves the op's address in a register and interrupts, by an entry of the local
//! vector table's extension, which firmware has chosen. Nothing is counted from then on
//! until the control register is written.
//!
//! Its own count shows nothing of the way into the handler, as it stands still by then. So the
//! event is counted by a counter too, which has the same event: where
//! the code is, what an interrupt costs, and how long a period was, all that is that
//! counter's, as for every other event. What Instruction-Based Sampling adds is when the
//! interrupt comes, and the address.
//!
//! The maximum is a multiple of 16, 144 or more (PPR, IbsOpMaxCnt). The count can be started
//! above zero, so a period need be neither.
//!
//! What it counts need not be what the counter counts: ops on wrong paths are dispatched and do
//! not retire. So a sample is due if its op was tagged after all that was left, wherever the
//! counter is by then; the next one's distance makes up for that.
//!
//! # Where an op is tagged
//!
//! | | |
//! |---|---|
//! | where the sample is due | at the earliest |
//! | and up to [`SPREAD`] events behind that, at random | else a loop of as many ops as a period is a multiple of would have all samples on one of them; the manual wants it done by software (13.3.3). Where samples are due stays, so the mean period does |
//! | never on the way out of the handler that starts it | so it is started with more than an interrupt's overhead |
//! | not on the way into that of another event | a sample that is found there is none unless its own interrupt is due as well |
//!
//! # What does not come
//!
//! An op that does not retire makes no sample: another one is tagged, a whole maximum later
//! (13.3.3). And a core that was in a deep sleep may come back with a sample that it forgot to
//! interrupt for (erratum 1215 of family 17h). So the event's counter interrupts as well, some
//! periods behind the sample, and starts it anew.

use core::fmt;
use core::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering::Relaxed};

use super::detect::Capabilities;
use super::event::IbsCount;
use super::registers::amd::ibs::{
    ADDRESS_INVALID, CONTROL, COUNT_OPS, ENABLE, LVT_NUMBER, LVT_VALID, OP_ADDRESS, OP_CONTROL,
    OP_DATA, VALID,
};
use super::registers::{MsrFault, Registers};
use crate::hw::apic::{ExtendedEntry, PerformanceEntry};

/// What maxima are multiples of.
const STEP: u64 = 16;
/// By up to so many events an op is tagged later, at random: six bits. A period is at least
/// four times that, else it is less.
const SPREAD: u64 = 63;
/// How many periods behind the sample the event's counter interrupts.
const BACKSTOP_PERIODS: u64 = 4;
/// Where counts start at least. Below is one that has begun anew, once an op was tagged: its
/// seven low bits are then random.
const FIRST: u64 = 128;
/// So near to its end a count may get there while it is being stopped.
const NEAR: u64 = 128;

/// Bits of CPUID leaf 0x8000001b.
mod feature {
    /// The other bits mean something.
    pub const VALID: u32 = 1 << 0;
    pub const OP_SAMPLING: u32 = 1 << 2;
    /// The count can be read and written.
    pub const COUNT_WRITABLE: u32 = 1 << 3;
    /// It can be one of ops.
    pub const COUNTS_OPS: u32 = 1 << 4;
    /// The maximum has 27 bits, else 20.
    pub const LONG_MAXIMUM: u32 = 1 << 6;
    /// It says when it has no address.
    pub const ADDRESS_CHECK: u32 = 1 << 7;
    /// What this driver cannot do without.
    pub const NEEDED: u32 = VALID | OP_SAMPLING | COUNT_WRITABLE | COUNTS_OPS;
}

/// Why ops cannot be sampled on a core.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum NoIbs {
    /// CPUID does not announce it, or not all that is needed.
    NotHere,
    /// The firmware has given it no entry of the local vector table.
    NoEntry,
    /// It samples, and was asked to count.
    CountsNothing,
    /// It is in use: by firmware, a hypervisor or an earlier kernel.
    InUse,
    /// The processor is of family 10h, whose interrupts may not end (erratum 420).
    Erratum420,
    /// It refuses a register that CPUID announces: a hypervisor's bug.
    Refused(MsrFault),
    /// It does not keep what is written to its control register.
    Forgets,
}

impl From<MsrFault> for NoIbs {
    fn from(fault: MsrFault) -> Self {
        Self::Refused(fault)
    }
}

impl fmt::Display for NoIbs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NotHere => {
                "this processor does not sample ops (IBS with a writable count), or its firmware \
                 has switched that off"
            }
            Self::NoEntry => {
                "the firmware has given IBS no entry of the APIC's extended local vector table"
            }
            Self::CountsNothing => {
                "it samples (`pmiscope run`), and counts nothing: count cycles or r0c1, retired ops"
            }
            Self::InUse => "IBS is in use by firmware or a hypervisor",
            Self::Erratum420 => {
                "IBS of family 10h may interrupt without end (erratum 420); sample cycles"
            }
            Self::Refused(fault) => return write!(f, "{fault}, which CPUID announces"),
            Self::Forgets => {
                "IBS does not keep the count that is written to it: a hypervisor's, perhaps"
            }
        })
    }
}

/// What a core has to sample ops by.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Ibs {
    entry: ExtendedEntry,
    /// The most that it can count.
    pub max_count: u64,
    checks_address: bool,
}

impl Ibs {
    /// Looks what the running core has, and leaves it as it is.
    ///
    /// # Errors
    ///
    /// There is none that can be used.
    pub fn probe<R: Registers>(registers: &R, capabilities: &Capabilities) -> Result<Self, NoIbs> {
        let has = |bits: u32| capabilities.ibs & bits == bits;
        if capabilities.ibs != 0 && capabilities.family == 0x10 {
            return Err(NoIbs::Erratum420);
        }
        if !has(feature::NEEDED) {
            return Err(NoIbs::NotHere);
        }
        let control = registers.try_read(CONTROL)?;
        let [number, ..] = (control & LVT_NUMBER).to_le_bytes();
        let is_valid = control & LVT_VALID != 0;
        let found = ExtendedEntry::new(number)
            .filter(|_| is_valid)
            .filter(|&entry| registers.read_extended_lvt(entry).is_some());
        let entry = found.ok_or(NoIbs::NoEntry)?;
        let before = registers.try_read(OP_CONTROL)?;
        if before & ENABLE != 0 {
            return Err(NoIbs::InUse);
        }
        registers.try_read(OP_ADDRESS)?;
        registers.try_read(OP_DATA)?;
        let bits = if has(feature::LONG_MAXIMUM) { 27 } else { 20 };
        let found = Self {
            entry,
            max_count: (1 << bits) - STEP - FIRST,
            checks_address: has(feature::ADDRESS_CHECK),
        };
        found.try_control(registers, before)?;
        Ok(found)
    }

    /// Makes sure that the control register keeps what will be written to it. It counts
    /// meanwhile, too far from a sample to come to one, and is as `before` afterwards.
    fn try_control<R: Registers>(self, registers: &R, before: u64) -> Result<(), NoIbs> {
        for count in [IbsCount::Cycles, IbsCount::Ops] {
            let sampling = Sampling {
                ibs: self,
                count,
                event: 0,
                spread: 0,
            };
            let written = sampling.control(self.max_count);
            registers.try_write(OP_CONTROL, written)?;
            let kept = registers.try_read(OP_CONTROL);
            registers.try_write(OP_CONTROL, before)?;
            let kept = kept?;
            // It has gone on from what was written.
            let has_count = count_of(kept) >= count_of(written);
            if flags_of(kept) != flags_of(written) || !has_count {
                return Err(NoIbs::Forgets);
            }
        }
        Ok(())
    }
}

/// The count in what the control register holds.
const fn count_of(control: u64) -> u64 {
    control >> 32 & 0x7ff_ffff
}

/// All else in it.
const fn flags_of(control: u64) -> u64 {
    control & 0xffff_ffff
}

/// The maximum in it.
const fn max_of(control: u64) -> u64 {
    (control & 0xffff) << 4 | control & 0x7f0_0000
}

/// The event select of the counter that counts what is sampled: PMCx076, cycles, or
/// PMCx0C1, ops that retire.
pub const fn select_of(count: IbsCount) -> u64 {
    match count {
        IbsCount::Cycles => 0x76,
        IbsCount::Ops => 0xc1,
    }
}

/// How ops are sampled on a core.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Sampling {
    /// What by.
    pub ibs: Ibs,
    /// What is counted.
    pub count: IbsCount,
    /// The place of the event in the plan's list.
    pub event: usize,
    /// By up to so many events an op is tagged later, at random.
    pub spread: u64,
}

impl Sampling {
    /// Lets ops be tagged at random, of an event that has this period.
    pub fn spread_over(&mut self, period: u64) {
        self.spread = SPREAD.min(period / 4);
    }

    /// How many events after the sample the event's counter is to interrupt.
    #[inline]
    pub const fn backstop(period: u64) -> u64 {
        period.saturating_mul(BACKSTOP_PERIODS)
    }

    /// What the control register takes, so that an op is tagged after `events`: from one to
    /// [`Ibs::max_count`].
    #[inline]
    const fn control(&self, events: u64) -> u64 {
        let max = (FIRST + events).next_multiple_of(STEP);
        let flags = match self.count {
            IbsCount::Cycles => ENABLE,
            IbsCount::Ops => ENABLE | COUNT_OPS,
        };
        // Bits 4 to 19 of the maximum stand at 0, those above at their own place.
        max >> 4 & 0xffff | max & 0x7f0_0000 | flags | (max - events) << 32
    }
}

/// Instruction-Based Sampling at work, on its core alone.
#[derive(Default, Debug)]
pub struct IbsState {
    /// Registers before the start.
    control: AtomicU64,
    entry: AtomicU32,
    /// An op is tagged after so many events, once it is started.
    events: AtomicU64,
    /// That is all that was left to where the sample is due.
    is_all: AtomicBool,
    /// The position of the event at which its interrupt is expected.
    expected: AtomicU64,
    /// The last sample is one of the interrupted code's, where it was due.
    is_due: AtomicBool,
    /// A sample since the last due one was doubted: see [`Self::doubts`].
    is_doubted: AtomicBool,
    /// It was stopped when an op may have been tagged, which may interrupt yet.
    is_late: AtomicBool,
    /// The address of the last sample.
    address: AtomicU64,
    has_address: AtomicBool,
}

/// What there was when it was stopped.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Stopped {
    /// A sample: its interrupt has come, or comes.
    Sample,
    /// Perhaps an op that was tagged and had not retired: its interrupt may come.
    Tagged,
    /// Nothing.
    Nothing,
}

impl IbsState {
    /// Saves the registers.
    pub fn save<R: Registers>(&self, registers: &R, sampling: &Sampling) -> Result<(), MsrFault> {
        let control = registers.try_read(OP_CONTROL)?;
        self.control.store(control, Relaxed);
        let entry = registers.read_extended_lvt(sampling.ibs.entry);
        self.entry.store(entry.unwrap_or(0), Relaxed);
        Ok(())
    }

    /// Stops it, without an address.
    pub fn program<R: Registers>(
        &self,
        registers: &R,
        sampling: &Sampling,
    ) -> Result<(), MsrFault> {
        self.has_address.store(false, Relaxed);
        self.is_due.store(false, Relaxed);
        self.is_late.store(false, Relaxed);
        self.is_doubted.store(false, Relaxed);
        registers.write_extended_lvt(sampling.ibs.entry, PerformanceEntry::NMI.masked());
        registers.try_write(OP_CONTROL, 0)
    }

    /// Restores what [`Self::save`] has saved.
    pub fn restore<R: Registers>(&self, registers: &R, sampling: &Sampling) {
        // A value that the register held cannot be refused; nothing could be done if it were.
        let _ = registers.try_write(OP_CONTROL, self.control.load(Relaxed));
        let entry = PerformanceEntry::as_left(self.entry.load(Relaxed));
        registers.write_extended_lvt(sampling.ibs.entry, entry);
    }

    /// Stops it, and takes the sample if there is one.
    #[inline]
    pub fn stop<R: Registers>(&self, registers: &R, sampling: &Sampling) -> Stopped {
        let control = registers.read(OP_CONTROL);
        if control & VALID == 0 {
            registers.write(OP_CONTROL, 0);
            if control & ENABLE == 0 {
                return Stopped::Nothing;
            }
            let count = count_of(control);
            let is_late = count < FIRST || count + NEAR >= max_of(control);
            self.is_late.store(is_late, Relaxed);
            return if is_late {
                Stopped::Tagged
            } else {
                Stopped::Nothing
            };
        }
        // The address is valid as long as the sample is (APM vol. 2, 13.3.4).
        let is_invalid =
            sampling.ibs.checks_address && registers.read(OP_DATA) & ADDRESS_INVALID != 0;
        self.has_address.store(!is_invalid, Relaxed);
        self.address.store(registers.read(OP_ADDRESS), Relaxed);
        registers.write(OP_CONTROL, 0);
        self.is_late.store(false, Relaxed);
        Stopped::Sample
    }

    /// Sets after how many events an op is tagged: as many as can be counted of `events`,
    /// which are all that are left to where the sample is due; and the position at which its
    /// interrupt is `expected` then.
    #[inline]
    pub fn set_distance(&self, sampling: &Sampling, events: u64, expected: u64) {
        let most = sampling.ibs.max_count;
        self.events.store(events.min(most), Relaxed);
        self.is_all.store(events <= most, Relaxed);
        self.expected.store(expected, Relaxed);
    }

    /// Lets an op be tagged so many events later.
    pub fn put_off(&self, sampling: &Sampling, events: u64) {
        let was_all = self.is_all.load(Relaxed);
        let expected = self.expected.load(Relaxed) + events;
        self.set_distance(sampling, self.distance() + events, expected);
        let is_all = self.is_all.load(Relaxed);
        self.is_all.store(was_all && is_all, Relaxed);
    }

    /// After how many events an op is tagged.
    #[inline]
    pub fn distance(&self) -> u64 {
        self.events.load(Relaxed)
    }

    /// Lets an op be tagged after [`Self::distance`], and interrupt by `entry`.
    #[inline]
    pub fn start<R: Registers>(&self, registers: &R, sampling: &Sampling, entry: PerformanceEntry) {
        registers.write_extended_lvt(sampling.ibs.entry, entry);
        registers.write(OP_CONTROL, sampling.control(self.distance()));
    }

    /// Judges the sample that was taken at `position`. An interrupt `is_own` if nothing else
    /// is known that it can have come for. At another's, the op may be one of the way into the
    /// handler: if it is the interrupted code's, its own interrupt would have come by now.
    #[inline]
    pub fn judge(&self, is_own: bool, position: u64) {
        let is_own = is_own || position >= self.expected.load(Relaxed);
        let is_due = is_own && self.is_all.load(Relaxed);
        self.is_due.store(is_due, Relaxed);
        if is_due {
            self.is_doubted.store(false, Relaxed);
        }
    }

    /// Doubts that an interrupt, which can have come for something else, is the sample's. Returns
    /// false if one before was doubted and no sample was due since: interrupts that are thought to
    /// be outstanding, and never come, must not make it wait for ever.
    #[cold]
    pub fn doubts(&self) -> bool {
        !self.is_doubted.swap(true, Relaxed)
    }

    /// Returns true if the op of the last sample was tagged where that was due, in the
    /// interrupted code.
    #[inline]
    pub fn is_due(&self) -> bool {
        self.is_due.load(Relaxed)
    }

    /// Notes that an interrupt may come although it is stopped for good.
    pub fn note_late(&self) {
        self.is_late.store(true, Relaxed);
    }

    /// Returns true if an interrupt may be a stopped one's: of one it is.
    pub fn takes_late(&self) -> bool {
        self.is_late.swap(false, Relaxed)
    }

    /// The address of the op of the last sample, if it has one.
    #[inline]
    pub fn address(&self) -> Option<u64> {
        let has_address = self.has_address.load(Relaxed);
        has_address.then(|| self.address.load(Relaxed))
    }
}
