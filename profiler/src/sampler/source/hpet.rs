//! The source `hpet`: a timer of the HPET for each core, which writes its
//! interrupt as a message to that core's APIC (IA-PC HPET specification 2.3.9.2.3,
//! "FSB interrupt delivery").
//!
//! A message says by itself how it is to be delivered, so an NMI is as good as
//! anything. The comparators are set by hand, one shot at a time: main counter
//! plus period. They are 10 ns or coarser, so short periods come out a little
//! uneven; the report shows by how much.

use core::sync::atomic::{AtomicU64, Ordering::Relaxed};

use super::SourceError;
use crate::format::Delivery;
use crate::hw::apic;
use crate::hw::hpet::{Hpet, Register};
use crate::sampler::clock::Ratio;
use crate::sampler::per_core::Core;
use crate::sampler::vector;

/// In a timer's configuration: it interrupts.
const INTERRUPT: u64 = 1 << 2;
/// It starts itself again.
const PERIODIC: u64 = 1 << 3;
/// It compares 32 bits only.
const FORCE_32_BITS: u64 = 1 << 8;
/// It interrupts by a message.
const MESSAGE: u64 = 1 << 14;
/// Level-triggered, which a message is not.
const LEVEL: u64 = 1 << 1;

/// Where messages to local APICs are written (SDM vol. 3, 12.11.1); the core's
/// id stands in bits 12 to 19.
const MESSAGE_ADDRESS: u64 = 0xfee0_0000;

/// A comparator that is out of reach, in both halves: it resets to all ones, of which an
/// emulator compares the lower half.
const OUT_OF_REACH: u64 = u64::MAX >> 1;

const FEMTOSECONDS_PER_NANOSECOND: u64 = 1_000_000;

/// A timer for each core.
#[derive(Clone, Copy, Debug)]
pub(crate) struct HpetTimers {
    hpet: Hpet,
    delivery: Delivery,
    /// Counts per nanosecond.
    rate: Ratio,
}

/// By core: when its timer is due, by the main counter.
static DUE: [AtomicU64; 32] = [const { AtomicU64::new(0) }; 32];

impl HpetTimers {
    /// Finds out whether there is a timer that can send messages for each of `cores`.
    ///
    /// # Errors
    ///
    /// There is none, or too few can.
    pub(crate) fn probe(
        hpet: Option<Hpet>,
        delivery: Delivery,
        cores: &[Core],
    ) -> Result<Self, SourceError> {
        let hpet = hpet.ok_or(SourceError::NoHpet)?;
        let served = hpet.message_timers();
        let cores = u32::try_from(cores.len()).unwrap_or(u32::MAX);
        if served == 0 {
            return Err(SourceError::HpetWithoutMessages);
        }
        if served < cores {
            return Err(SourceError::TooManyCores { served, cores });
        }
        hpet.count();
        Ok(Self {
            hpet,
            delivery,
            rate: Ratio::new(FEMTOSECONDS_PER_NANOSECOND, hpet.period_femtoseconds()),
        })
    }

    /// Prepares the timer of `core`.
    pub(crate) fn enable(&self, core: &Core) {
        let configuration = Register::TimerConfiguration(timer_of(core));
        let quiet = self.hpet.read(configuration) & !(INTERRUPT | PERIODIC | FORCE_32_BITS | LEVEL);
        // SAFETY: reserved bits as they were; it does not interrupt.
        unsafe { self.hpet.write(configuration, quiet) };
        let data = match self.delivery {
            Delivery::Nmi => apic::DELIVER_NMI,
            Delivery::Irq => u32::from(vector::OVERFLOW),
        };
        let address = MESSAGE_ADDRESS | u64::from(core.apic_id) << 12;
        let message = Register::TimerMessage(timer_of(core));
        // SAFETY: a message to that core's APIC, which has a handler for it.
        unsafe { self.hpet.write(message, address << 32 | u64::from(data)) };
        self.disarm(core);
        // SAFETY: the message is set up.
        unsafe { self.hpet.write(configuration, quiet | MESSAGE | INTERRUPT) };
    }

    /// Lets the timer of `core` interrupt once, `count` counts from now.
    #[inline]
    pub(crate) fn arm(&self, core: &Core, count: u32) {
        let now = self.hpet.read(Register::MainCounter);
        let due = now.wrapping_add(count.into());
        DUE[usize::from(timer_of(core))].store(due, Relaxed);
        self.set_comparator(core, due);
    }

    /// Puts the comparator of `core` out of reach.
    pub(crate) fn disarm(&self, core: &Core) {
        self.set_comparator(core, OUT_OF_REACH);
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
        let due = DUE[usize::from(timer_of(core))].load(Relaxed);
        self.hpet.read(Register::MainCounter) >= due
    }

    /// The counts in `ticks` nanoseconds, or instructions where those are counted:
    /// the emulated HPET then takes an instruction for a nanosecond.
    #[must_use]
    pub(crate) fn counts(&self, ticks: u64) -> u64 {
        self.rate.of(ticks)
    }
}

/// The timer of `core`: `probe` has seen that there is one.
#[inline]
fn timer_of(core: &Core) -> u8 {
    core.index.to_le_bytes()[0] % 32
}
