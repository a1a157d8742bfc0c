//! The serial port that firmware uses: the table SPCR (Serial Port Console Redirection Table).

use super::{Error, PhysicalMemory, find_table, number};
use crate::place::Place;
use crate::uart::Registers;

/// The serial port that SPCR names, from the RSDP at `rsdp`.
///
/// # Errors
///
/// There is no such table, it names no 16550, or a table on the way to it is damaged.
pub fn console(memory: &impl PhysicalMemory, rsdp: u64) -> Result<Registers, Error> {
    /// Interfaces that are a 16550: full, its subset of DBGP, and with the address's parameters.
    const KINDS: [u8; 3] = [0, 1, 0x12];
    let table = find_table(memory, rsdp, "SPCR")?;
    let fields = table.get(36..52).ok_or(Error::NoConsole)?;
    let is_known = KINDS.contains(&fields[0]);
    let [space, width, _, access] = [fields[4], fields[5], fields[6], fields[7]];
    let address = number(&fields[8..16]);
    // By the access size; tables that have none say it by the width. Linux does the same.
    let bytes = match (access, width) {
        (3, _) | (0, 32) => 4,
        // Which nothing here reads: it is none of ours.
        (2, _) | (0, 16) => 2,
        _ => 1,
    };
    let registers = match space {
        0 => Registers::new(Place::Memory(address), bytes),
        1 => u16::try_from(address)
            .ok()
            .and_then(|port| Registers::new(Place::Port(port), 1)),
        _ => None,
    };
    registers.filter(|_| is_known).ok_or(Error::NoConsole)
}
