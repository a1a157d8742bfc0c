//! What happens on a core, and by which numbers event selects name it.

use super::kinds::{Kind, Model};

/// What can be counted.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Event {
    /// A cycle, not halted.
    Cycles,
    /// Cycles at a constant rate, as event selects have it.
    ReferenceCycles,
    /// Cycles at the rate of the TSC, as Intel's fixed counter 2 has it.
    TscCycles,
    /// An instruction retired.
    Instructions,
    /// A reference to the last level's cache.
    CacheReferences,
    /// One that missed.
    CacheMisses,
    /// A branch retired.
    Branches,
    /// One mispredicted.
    BranchMisses,
    /// A slot for a micro-operation.
    Slots,
    /// Another: the bits of an event select that name it.
    Raw(u64),
}

/// Those that have names.
const NAMED: [Event; 9] = [
    Event::Cycles,
    Event::ReferenceCycles,
    Event::TscCycles,
    Event::Instructions,
    Event::CacheReferences,
    Event::CacheMisses,
    Event::Branches,
    Event::BranchMisses,
    Event::Slots,
];

/// The privilege level that code runs at.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Privilege {
    /// 0.
    Kernel,
    /// 1 to 3.
    User,
}

/// What happens in one cycle.
#[derive(Clone, Copy, Debug)]
pub struct Cycle<'a> {
    /// The privilege level.
    pub privilege: Privilege,
    /// True if maskable interrupts are on.
    pub interrupts: bool,
    /// How often which event occurs. The cycle itself is one, if it is named.
    pub events: &'a [(Event, u32)],
}

impl Cycle<'_> {
    /// How often `event` occurs.
    pub(super) fn occurrences(&self, event: Event) -> u32 {
        let of_event = self.events.iter().filter(|(other, _)| *other == event);
        of_event.map(|(_, count)| count).sum()
    }
}

/// Bits of an event select that name an event.
fn name_bits(model: &Model) -> u64 {
    match &model.kind {
        // The unit mask and, where there is one, the second.
        Kind::Intel(intel) if intel.unit_mask_2 => 0xff00_0000_ffff,
        Kind::Intel(_) => 0xffff,
        // Bits 11:8 of the event's number are bits 35:32.
        Kind::Amd(_) => 0xf_0000_ffff,
    }
}

impl Model {
    /// The bits of an event select that name `event`; `None` if no event select can.
    #[must_use]
    pub fn code(&self, event: Event) -> Option<u64> {
        if let Event::Raw(code) = event {
            return Some(code);
        }
        match &self.kind {
            Kind::Intel(intel) => {
                // SDM vol. 3, "Pre-defined Architectural Performance Events": bit in
                // leaf 0xa, unit mask and number.
                let (bit, code) = match event {
                    Event::Cycles => (0, 0x003c),
                    Event::Instructions => (1, 0x00c0),
                    Event::ReferenceCycles => (2, 0x013c),
                    Event::CacheReferences => (3, 0x4f2e),
                    Event::CacheMisses => (4, 0x412e),
                    Event::Branches => (5, 0x00c4),
                    Event::BranchMisses => (6, 0x00c5),
                    Event::Slots => (7, 0x01a4),
                    Event::TscCycles | Event::Raw(_) => return None,
                };
                let available = bit < intel.event_bits && intel.absent_events >> bit & 1 == 0;
                available.then_some(code)
            }
            // PPR for family 19h; before family 17h the BKDGs.
            Kind::Amd(_) => Some(match event {
                Event::Cycles => 0x0076,
                Event::Instructions => 0x00c0,
                Event::CacheReferences if self.family < 0x17 => 0x077d,
                Event::CacheMisses if self.family < 0x17 => 0x077e,
                Event::CacheReferences => 0xff60,
                Event::CacheMisses => 0x0964,
                Event::Branches => 0x00c2,
                Event::BranchMisses => 0x00c3,
                // Event 0x120, "cycles not in halt at the P0 frequency".
                Event::ReferenceCycles if self.family >= 0x19 => 0x1_0000_0120,
                _ => return None,
            }),
        }
    }

    /// What an event select names.
    pub(super) fn selected(&self, select: u64) -> Event {
        let code = select & name_bits(self);
        let named = NAMED.into_iter();
        let mut matching = named.filter(|event| self.code(*event) == Some(code));
        matching.next().unwrap_or(Event::Raw(code))
    }

    /// What a fixed counter counts (SDM vol. 3, "Association of Fixed-Function
    /// Performance Counters with Architectural Performance Events").
    pub(super) const fn fixed_event(number: u8) -> Event {
        match number {
            0 => Event::Instructions,
            1 => Event::Cycles,
            2 => Event::TscCycles,
            3 => Event::Slots,
            // Of topdown's first level: bad speculation, frontend bound, retiring.
            4 => Event::Raw(0x0073),
            5 => Event::Raw(0x019c),
            _ => Event::Raw(0x02c2),
        }
    }
}
