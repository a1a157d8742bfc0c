//! The source `hpet`: a timer of the HPET for each core, which writes its
//! interrupt as a message to that core's APIC (IA-PC HPET specification 2.3.9.2.3,
//! "FSB interrupt delivery").
//!
//! A message says by itself how it is to be delivered, so an NMI is as good as
//! anything. The comparators are set by hand, one shot at a time: main counter
//! plus period. They are 10 ns or coarser, so short periods come out a little
//! uneven; the report shows by how much.

use profiler::format::Delivery;

use super::Unavailable;
use crate::cpu::hpet::{self, Hpet, Register};
use crate::cpu::{self, CoreBlock, apic};
use crate::sampling::clock;
use crate::sampling::vector;

use core::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// In a timer's configuration: it interrupts.
const INTERRUPT: u64 = 1 << 2;
/// It starts itself again.
const PERIODIC: u64 = 1 << 3;
/// It compares 32 bits only.
const FORCE_32_BITS: u64 = 1 << 8;
/// It interrupts by a message.
const MESSAGE: u64 = 1 << 14;
/// It can.
const MESSAGE_CAPABLE: u64 = 1 << 15;
/// Level-triggered, which a message is not.
const LEVEL: u64 = 1 << 1;

/// Where messages to local APICs are written (SDM vol. 3, 12.11.1); the core's
/// id stands in bits 12 to 19.
const MESSAGE_ADDRESS: u64 = 0xfee0_0000;

/// A timer for each core.
#[derive(Clone, Copy, Debug)]
pub struct HpetTimers {
    hpet: Hpet,
    delivery: Delivery,
    /// Counts per nanosecond; see [`clock::ratio`].
    rate: u64,
}

/// How many timers, from the first on, can interrupt by messages.
#[must_use]
pub fn message_timers(hpet: Hpet) -> u32 {
    let capable = (0..hpet.timers())
        .take_while(|&timer| hpet.read(Register::TimerConfiguration(timer)) & MESSAGE_CAPABLE != 0);
    u32::try_from(capable.count()).unwrap_or(0)
}

/// By core: when its timer is due, by the main counter.
static DUE: [AtomicU64; 32] = [const { AtomicU64::new(0) }; 32];

impl HpetTimers {
    /// Looks whether there is a timer for each core that can send messages.
    ///
    /// # Errors
    ///
    /// There is none, or too few can.
    pub fn probe(delivery: Delivery) -> Result<Self, Unavailable> {
        let hpet = hpet::get().ok_or(Unavailable::NoHpet)?;
        let served = message_timers(hpet);
        if served == 0 {
            return Err(Unavailable::HpetWithoutMessages);
        }
        let cores = u32::try_from(cpu::cores().len()).unwrap_or(u32::MAX);
        if served < cores {
            return Err(Unavailable::TooManyCores { served, cores });
        }
        let period = hpet.period_femtoseconds();
        let timers = Self {
            hpet,
            delivery,
            rate: clock::ratio(1_000_000, period),
        };
        hpet.count();
        timers.enable(cpu::current());
        Ok(timers)
    }

    /// Prepares the timer of `core`.
    pub fn enable(&self, core: &CoreBlock) {
        let timer = Self::timer(core);
        let configuration = Register::TimerConfiguration(timer);
        let quiet = self.hpet.read(configuration) & !(INTERRUPT | PERIODIC | FORCE_32_BITS | LEVEL);
        // SAFETY: reserved bits as they were; it does not interrupt.
        unsafe { self.hpet.write(configuration, quiet) };
        let data = match self.delivery {
            Delivery::Nmi => apic::DELIVER_NMI,
            Delivery::Irq => u32::from(vector::SAMPLING),
        };
        let address = MESSAGE_ADDRESS | u64::from(core.apic_id) << 12;
        // SAFETY: a message to that core's APIC, which has a handler for it.
        unsafe {
            self.hpet.write(
                Register::TimerMessage(timer),
                address << 32 | u64::from(data),
            )
        };
        // Out of reach, both halves: it resets to all ones, of which an emulator
        // compares the lower half.
        // SAFETY: any comparator may be written.
        unsafe {
            self.hpet
                .write(Register::TimerComparator(timer), u64::MAX >> 1)
        };
        // SAFETY: the message is set up.
        unsafe { self.hpet.write(configuration, quiet | MESSAGE | INTERRUPT) };
    }

    /// Lets the timer of `core` interrupt once, `count` counts from now.
    #[inline]
    pub fn arm(&self, core: &CoreBlock, count: u32) {
        let due = self
            .hpet
            .read(Register::MainCounter)
            .wrapping_add(count.into());
        DUE[usize::from(Self::timer(core))].store(due, Relaxed);
        // SAFETY: any comparator may be written; `enable` said what it delivers.
        unsafe {
            self.hpet
                .write(Register::TimerComparator(Self::timer(core)), due)
        };
    }

    /// Puts the comparator of `core` out of reach.
    pub fn disarm(&self, core: &CoreBlock) {
        // SAFETY: any comparator may be written.
        unsafe {
            self.hpet
                .write(Register::TimerComparator(Self::timer(core)), u64::MAX >> 1)
        };
    }

    /// Whether the main counter has passed the comparator of `core`.
    #[inline]
    #[must_use]
    pub fn has_fired(&self, core: &CoreBlock) -> bool {
        let due = DUE[usize::from(Self::timer(core))].load(Relaxed);
        self.hpet.read(Register::MainCounter) >= due
    }

    /// Counts in so many nanoseconds, or instructions where those are counted:
    /// the emulated HPET then takes an instruction for a nanosecond.
    #[must_use]
    pub fn counts(&self, ticks: u64) -> u64 {
        clock::scaled(ticks, self.rate)
    }

    /// The timer of `core`: `probe` has seen that there is one.
    #[inline]
    fn timer(core: &CoreBlock) -> u8 {
        core.index.to_le_bytes()[0] % 32
    }
}
