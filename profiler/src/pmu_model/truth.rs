//! What really happened, for a test to compare with what a driver believes.

use super::events::{Cycle, Event, Privilege};

/// A counter.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Id {
    /// A general one.
    General(u8),
    /// A fixed one.
    Fixed(u8),
}

impl Id {
    /// Its bit's number in the global registers.
    pub(super) const fn bit(self) -> u8 {
        match self {
            Self::General(number) => number,
            Self::Fixed(number) => 32 + number,
        }
    }

    /// The counter whose bit has that number.
    pub(super) const fn from_bit(bit: u8) -> Self {
        match bit {
            0..32 => Self::General(bit),
            _ => Self::Fixed(bit - 32),
        }
    }
}

/// Whose code executes.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Context {
    /// The code that is measured.
    Program,
    /// The driver's, when it was called: to start, stop or read.
    Driver,
    /// The handler of an interrupt, with its entry and exit.
    Handler,
    /// The firmware's, in system management mode.
    Firmware,
}

/// What became of the PMU's interrupts. Each of `raised` is in one of the four that
/// follow.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Deliveries {
    /// Raised at the APIC.
    pub raised: u64,
    /// Lost: there was no APIC.
    pub undelivered: u64,
    /// Lost: LVTPC was masked.
    pub masked: u64,
    /// One of the same kind was pending already.
    pub merged: u64,
    /// Latched.
    pub latched: u64,
    /// NMIs by others ([`super::Core::send_nmi`]), merged ones too.
    pub foreign: u64,
    /// NMIs taken, of whatever source.
    pub nmis: u64,
    /// Interrupts taken.
    pub interrupts: u64,
}

/// Accesses to registers, by instruction; those of the APIC apart, whichever it has.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Accesses {
    /// RDMSR.
    pub rdmsr: u64,
    /// WRMSR.
    pub wrmsr: u64,
    /// RDPMC.
    pub rdpmc: u64,
    /// Reads and writes of the local vector table.
    pub apic: u64,
}

impl Accesses {
    /// Counts one by its name.
    pub(super) fn count(&mut self, what: &str) {
        let place = match what {
            "rdmsr" => &mut self.rdmsr,
            "wrmsr" => &mut self.wrmsr,
            "rdpmc" => &mut self.rdpmc,
            _ => &mut self.apic,
        };
        *place += 1;
    }
}

impl core::ops::Sub for Accesses {
    type Output = Self;

    fn sub(self, before: Self) -> Self {
        Self {
            rdmsr: self.rdmsr - before.rdmsr,
            wrmsr: self.wrmsr - before.wrmsr,
            rdpmc: self.rdpmc - before.rdpmc,
            apic: self.apic - before.apic,
        }
    }
}

/// All of that.
#[derive(Clone, Default, Debug)]
pub(super) struct Truth {
    pub deliveries: Deliveries,
    /// Of each counter, by its bit.
    raised: Vec<(u8, u64)>,
    /// Few enough to be searched.
    events: Vec<((Event, Privilege, Context), u64)>,
}

impl Truth {
    /// `cycles` cycles like this one were executed.
    pub(super) fn executed(&mut self, cycle: &Cycle<'_>, cycles: u64, context: Context) {
        for (event, count) in cycle.events {
            let key = (*event, cycle.privilege, context);
            *entry(&mut self.events, key) += u64::from(*count) * cycles;
        }
    }

    pub(super) fn events(&self, event: Event, privilege: Privilege, context: Context) -> u64 {
        get(&self.events, (event, privilege, context))
    }

    pub(super) fn raised(&self, bit: u8) -> u64 {
        get(&self.raised, bit)
    }

    /// A counter raised an interrupt.
    pub(super) fn raised_by(&mut self, bit: u8) {
        *entry(&mut self.raised, bit) += 1;
    }
}

/// The count of `key`, made if it is not there.
fn entry<K: PartialEq>(counts: &mut Vec<(K, u64)>, key: K) -> &mut u64 {
    let at = counts.iter().position(|(other, _)| *other == key);
    let at = at.unwrap_or_else(|| {
        counts.push((key, 0));
        counts.len() - 1
    });
    &mut counts[at].1
}

/// The count of `key`.
fn get<K: PartialEq>(counts: &[(K, u64)], key: K) -> u64 {
    let mut matching = counts.iter().filter(|(other, _)| *other == key);
    matching.next().map_or(0, |(_, count)| *count)
}
