//! The local APIC's entry for performance counters, and what the core does with the
//! interrupts that come of it.
//!
//! SDM vol. 3: "Local Vector Table", "Valid Interrupt Vectors", "Handling Multiple
//! NMIs"; APM vol. 2, 8.2.3.

use super::truth::Deliveries;

/// An interrupt that the core takes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Delivered {
    /// An NMI. What it came of only the test can know.
    Nmi {
        /// The counters whose overflows it stands for, by their bits in the global
        /// status; of overflows that a test made up, their bits.
        overflows: u64,
        /// The NMIs by others that it stands for.
        foreign: u32,
    },
    /// One by a vector.
    Vector {
        /// The vector.
        vector: u8,
        /// As above.
        overflows: u64,
    },
}

impl Delivered {
    /// The overflows that it stands for.
    #[must_use]
    pub const fn overflows(self) -> u64 {
        match self {
            Self::Nmi { overflows, .. } | Self::Vector { overflows, .. } => overflows,
        }
    }
}

/// What LVTPC's bits mean.
mod lvtpc {
    pub const MODE: u32 = 0b111 << 8;
    pub const FIXED: u32 = 0b000 << 8;
    pub const NMI: u32 = 0b100 << 8;
    /// Delivery status, read-only. Nothing is ever seen on its way.
    pub const STATUS: u32 = 1 << 12;
    pub const MASKED: u32 = 1 << 16;
    /// All that there are.
    pub const BITS: u32 = 0xff | MODE | STATUS | MASKED;
}

/// Says what is wrong with an entry, if something is.
fn check_entry(entry: u32) -> Result<(), &'static str> {
    if entry & !lvtpc::BITS != 0 {
        return Err("reserved bits of LVTPC");
    }
    match entry & lvtpc::MODE {
        // Vectors 0 to 15 are illegal, masked or not. Entries have one at reset.
        lvtpc::FIXED if entry & 0xf0 == 0 => Err("LVTPC with an illegal vector"),
        lvtpc::FIXED | lvtpc::NMI => Ok(()),
        _ => Err("LVTPC with a delivery mode that is neither fixed nor NMI"),
    }
}

/// The interrupts of a core.
#[derive(Clone, Debug)]
pub(super) struct Apic {
    lvtpc: u32,
    /// The entries of the extended local vector table.
    pub extended: [u32; 4],
    /// The NMI that is pending. There is one latch: what comes while it is set adds
    /// nothing.
    nmi: Option<Delivered>,
    /// An NMI was taken and no IRET was executed since.
    nmi_blocked: bool,
    /// The vector that is pending (in the IRR).
    vector: Option<Delivered>,
    /// The vector in service (in the ISR).
    in_service: Option<u8>,
}

impl Apic {
    /// As after a reset.
    pub(super) const fn reset() -> Self {
        Self {
            lvtpc: lvtpc::MASKED,
            extended: [lvtpc::MASKED; 4],
            nmi: None,
            nmi_blocked: false,
            vector: None,
            in_service: None,
        }
    }

    pub(super) const fn lvtpc(&self) -> u32 {
        self.lvtpc
    }

    pub(super) const fn is_masked(&self) -> bool {
        self.lvtpc & lvtpc::MASKED != 0
    }

    /// Writes LVTPC, or says what is wrong with that.
    pub(super) fn write_lvtpc(&mut self, entry: u32) -> Result<(), &'static str> {
        check_entry(entry)?;
        self.lvtpc = entry & !lvtpc::STATUS;
        Ok(())
    }

    /// Writes an entry of the extended local vector table, or says what is wrong with that.
    pub(super) fn write_extended(&mut self, number: u8, entry: u32) -> Result<(), &'static str> {
        check_entry(entry)?;
        self.extended[usize::from(number)] = entry & !lvtpc::STATUS;
        Ok(())
    }

    /// What has that entry of the extended local vector table interrupts. AMD's entries are
    /// not masked by that.
    pub(super) fn raise_extended(&mut self, number: u8, overflows: u64, counts: &mut Deliveries) {
        let Some(&entry) = self.extended.get(usize::from(number)) else {
            counts.undelivered += 1;
            return;
        };
        let lvtpc = core::mem::replace(&mut self.lvtpc, entry);
        self.raise(overflows, false, counts);
        self.lvtpc = lvtpc;
    }

    /// A counter interrupts; the counters are named by their bits.
    pub(super) fn raise(&mut self, overflows: u64, masks: bool, counts: &mut Deliveries) {
        if self.is_masked() {
            counts.masked += 1;
            return;
        }
        let is_nmi = self.lvtpc & lvtpc::MODE == lvtpc::NMI;
        let pending = if is_nmi {
            &mut self.nmi
        } else {
            &mut self.vector
        };
        match pending {
            Some(
                Delivered::Nmi { overflows: all, .. } | Delivered::Vector { overflows: all, .. },
            ) => {
                *all |= overflows;
                counts.merged += 1;
            }
            None => {
                *pending = Some(if is_nmi {
                    let foreign = 0;
                    Delivered::Nmi { overflows, foreign }
                } else {
                    let vector = self.lvtpc.to_le_bytes()[0];
                    Delivered::Vector { vector, overflows }
                });
                counts.latched += 1;
            }
        }
        if masks {
            self.lvtpc |= lvtpc::MASKED;
        }
    }

    /// Somebody else's NMI.
    pub(super) fn send_nmi(&mut self, counts: &mut Deliveries) {
        counts.foreign += 1;
        match &mut self.nmi {
            Some(Delivered::Nmi { foreign, .. }) => *foreign += 1,
            _ => {
                self.nmi = Some(Delivered::Nmi {
                    overflows: 0,
                    foreign: 1,
                });
            }
        }
    }

    /// What the core takes next, if interrupts are on or off.
    pub(super) fn pending(&self, interrupts: bool) -> Option<Delivered> {
        let nmi = self.nmi.filter(|_| !self.nmi_blocked);
        let takes_vector = interrupts && self.in_service.is_none();
        nmi.or(self.vector.filter(|_| takes_vector))
    }

    /// The core takes it.
    pub(super) fn take(&mut self, interrupts: bool, counts: &mut Deliveries) -> Option<Delivered> {
        let taken = self.pending(interrupts)?;
        match taken {
            Delivered::Nmi { .. } => {
                self.nmi = None;
                self.nmi_blocked = true;
                counts.nmis += 1;
            }
            Delivered::Vector { vector, .. } => {
                self.vector = None;
                self.in_service = Some(vector);
                counts.interrupts += 1;
            }
        }
        Some(taken)
    }

    /// The end of an interrupt is written to the APIC.
    pub(super) fn end_of_interrupt(&mut self) {
        self.in_service = None;
    }

    /// IRET: NMIs are no longer blocked, whatever it returned from.
    pub(super) fn iret(&mut self) {
        self.nmi_blocked = false;
    }
}
