//! Where an interrupt of the old PC arrives: the table `APIC` (MADT; ACPI specification 5.2.12).

use super::{Error, PhysicalMemory, find_table, number};

/// Where an interrupt arrives.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Pin {
    /// The physical address of the I/O APIC's registers.
    pub io_apic: u64,
    /// The number of its input.
    pub input: u8,
    /// The line is active when it is low.
    pub is_active_low: bool,
}

/// Bytes before the first structure.
const FIRST: usize = 44;

/// The pin of the interrupt that PCs give this number, from the RSDP at `rsdp`.
///
/// # Errors
///
/// There is no such table, no I/O APIC has it, or a table on the way to it is damaged.
pub fn pin_of(memory: &impl PhysicalMemory, rsdp: u64, irq: u8) -> Result<Pin, Error> {
    let table = find_table(memory, rsdp, "APIC")?;
    let structures = || Structures(table.get(FIRST..).unwrap_or_default());
    // Without an override it is the input with its own number, active high.
    let mut found = (u64::from(irq), false);
    for structure in structures() {
        // Interrupt source override: bus 0, which is ISA; then source, input, flags.
        if let [2, _, 0, source, rest @ ..] = structure
            && *source == irq
            && rest.len() >= 6
        {
            found = (number(&rest[..4]), number(&rest[4..6]) & 0b11 == 0b11);
        }
    }
    let (input, is_active_low) = found;
    let mut best = None;
    for structure in structures() {
        // I/O APIC: id, reserved, address, first input.
        if let [1, _, _, _, rest @ ..] = structure
            && rest.len() >= 8
        {
            let (address, first) = (number(&rest[..4]), number(&rest[4..8]));
            let is_nearer = best.is_none_or(|(_, before)| first > before);
            if first <= input && is_nearer && address != 0 {
                best = Some((address, first));
            }
        }
    }
    let (io_apic, first) = best.ok_or(Error::NoPin)?;
    // As many as there are redirection entries at most.
    let input = u8::try_from(input - first)
        .ok()
        .filter(|&input| input < 240);
    Ok(Pin {
        io_apic,
        input: input.ok_or(Error::NoPin)?,
        is_active_low,
    })
}

/// The structures of the table, until one that is damaged.
struct Structures<'a>(&'a [u8]);

impl<'a> Iterator for Structures<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        let length = usize::from(*self.0.get(1)?);
        if length < 2 {
            return None;
        }
        let (structure, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(structure)
    }
}
