//! ACPI, as far as to find what time is measured by, the console, its interrupt, and the switch: RSDP, then
//! RSDT or XSDT, then the tables `HPET`, `FACP`, `SPCR`, `APIC` and `DSDT` (ACPI specification 5.2.5 to
//! 5.2.9; IA-PC HPET specification 3.2.4).
//!
//! Firmware wrote these tables, so nothing in them is believed: every length
//! is checked before it is used, every checksum before anything else is read,
//! and reading goes through [`PhysicalMemory`], which refuses what is not there.

mod console;
mod interrupts;
mod power;

pub use console::console;
pub use interrupts::{Pin, pin_of};
pub use power::{PowerOff, Reset, power_off, reset};

/// What of physical memory can be read.
pub trait PhysicalMemory {
    /// The `length` bytes at the physical address `address`, if all of them can
    /// be read.
    fn bytes(&self, address: u64, length: usize) -> Option<&[u8]>;
}

/// Why a table could not be found.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Error {
    /// The table at this address does not lie in readable memory.
    NotReadable(u64),
    /// What lies at this address does not begin with this signature.
    Signature(u64, &'static str),
    /// The bytes of the table at this address do not sum to zero.
    Checksum(u64),
    /// The table at this address is too short, or implausibly long.
    Length(u64),
    /// There is no table of this name.
    NoTable(&'static str),
    /// The HPET's registers are not in memory space, or at address zero.
    NoRegisters,
    /// The FADT names no power management timer that can be read.
    NoPmTimer,
    /// SPCR names no serial port that is a 16550.
    NoConsole,
    /// No I/O APIC has the interrupt.
    NoPin,
    /// The FADT names no reset register that can be written.
    NoReset,
    /// The FADT has no control register, or the DSDT no package `_S5_` of constants.
    NoPowerOff,
}

impl core::fmt::Display for Error {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::NotReadable(at) => write!(f, "the table at {at:#x} is not in memory"),
            Self::Signature(at, name) => write!(f, "no `{name}` at {at:#x}"),
            Self::Checksum(at) => write!(f, "wrong checksum of the table at {at:#x}"),
            Self::Length(at) => write!(f, "impossible length of the table at {at:#x}"),
            Self::NoTable(name) => write!(f, "there is no table `{name}`"),
            Self::NoRegisters => f.write_str("the HPET has no registers in memory"),
            Self::NoPmTimer => f.write_str("there is no power management timer"),
            Self::NoConsole => f.write_str("SPCR names no 16550"),
            Self::NoPin => f.write_str("no I/O APIC has its interrupt"),
            Self::NoReset => f.write_str("there is no reset register"),
            Self::NoPowerOff => f.write_str("ACPI has no soft off that is understood here"),
        }
    }
}

impl core::error::Error for Error {}

/// Signature, length, revision, checksum, and who made it.
const HEADER: usize = 36;
/// No table that this module reads comes near it; a length beyond is garbage.
const LONGEST: usize = 64 << 10;

/// The physical address of the HPET's registers, from the RSDP at `rsdp`.
///
/// # Errors
///
/// There is no such table, or one on the way to it is damaged.
pub fn hpet_address(memory: &impl PhysicalMemory, rsdp: u64) -> Result<u64, Error> {
    let table = find_table(memory, rsdp, "HPET")?;
    // A generic address structure at 40: space, width, offset, size, address.
    let structure = table.get(40..52).ok_or(Error::NoRegisters)?;
    let address = number(&structure[4..]);
    let in_memory = structure[0] == 0;
    (in_memory && address != 0)
        .then_some(address)
        .ok_or(Error::NoRegisters)
}

/// Where the power management timer is, as the FADT has it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum PmTimer {
    /// An I/O port.
    Port(u16),
    /// A physical address.
    Memory(u64),
}

impl core::fmt::Display for PmTimer {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::Port(port) => write!(f, "port {port:#x}"),
            Self::Memory(address) => write!(f, "{address:#x}"),
        }
    }
}

/// The power management timer, from the RSDP at `rsdp`.
///
/// # Errors
///
/// There is none, or a table on the way to it is damaged.
pub fn pm_timer(memory: &impl PhysicalMemory, rsdp: u64) -> Result<PmTimer, Error> {
    /// Of the flags: there is no hardware of ACPI (`HW_REDUCED_ACPI`); the fields mean nothing.
    const REDUCED: u64 = 1 << 20;
    let table = find_table(memory, rsdp, "FACP")?;
    let flags = number(table.get(112..116).ok_or(Error::NoPmTimer)?);
    if flags & REDUCED != 0 {
        return Err(Error::NoPmTimer);
    }
    // The newer field counts where there is one (`X_PM_TMR_BLK`).
    let newer = table.get(208..220).and_then(generic_address);
    let timer = newer.or_else(|| {
        let port = number(&table[76..80]);
        let length = table[91];
        port_at(port).filter(|_| length == 4)
    });
    timer.ok_or(Error::NoPmTimer)
}

/// The place that a generic address structure names, if it is one of these.
fn generic_address(structure: &[u8]) -> Option<PmTimer> {
    let address = number(&structure[4..12]);
    match structure[0] {
        0 if address != 0 && address.is_multiple_of(4) => Some(PmTimer::Memory(address)),
        1 => port_at(address),
        _ => None,
    }
}

fn port_at(number: u64) -> Option<PmTimer> {
    let port = u16::try_from(number).ok();
    port.filter(|&port| port != 0).map(PmTimer::Port)
}

/// The bytes of the first table that is called `name`.
fn find_table<'a>(
    memory: &'a impl PhysicalMemory,
    rsdp: u64,
    name: &'static str,
) -> Result<&'a [u8], Error> {
    let (root, entry_bytes) = root_table(memory, rsdp)?;
    for entry in root[HEADER..].chunks_exact(entry_bytes) {
        let address = number(entry);
        // Other tables may be damaged or absent: that is not our concern.
        let signature = memory.bytes(address, 4);
        if signature == Some(name.as_bytes()) {
            return table(memory, address, name);
        }
    }
    Err(Error::NoTable(name))
}

/// The root table, and how long an entry of it is.
fn root_table(memory: &impl PhysicalMemory, rsdp: u64) -> Result<(&[u8], usize), Error> {
    let not_readable = Error::NotReadable(rsdp);
    let first = memory.bytes(rsdp, 20).ok_or(not_readable)?;
    if !first.starts_with(b"RSD PTR ") {
        return Err(Error::Signature(rsdp, "RSD PTR "));
    }
    if sum(first) != 0 {
        return Err(Error::Checksum(rsdp));
    }
    let revision = first[15];
    if revision >= 2 {
        let whole = memory.bytes(rsdp, 36).ok_or(not_readable)?;
        if sum(whole) != 0 {
            return Err(Error::Checksum(rsdp));
        }
        let xsdt = number(&whole[24..32]);
        if xsdt != 0 {
            return Ok((table(memory, xsdt, "XSDT")?, 8));
        }
    }
    Ok((table(memory, number(&first[16..20]), "RSDT")?, 4))
}

/// The whole table at `address`, its signature and checksum verified.
fn table<'a>(
    memory: &'a impl PhysicalMemory,
    address: u64,
    name: &'static str,
) -> Result<&'a [u8], Error> {
    table_within(memory, address, name, LONGEST)
}

/// The same of one that may be as long as this.
fn table_within<'a>(
    memory: &'a impl PhysicalMemory,
    address: u64,
    name: &'static str,
    longest: usize,
) -> Result<&'a [u8], Error> {
    let not_readable = Error::NotReadable(address);
    let header = memory.bytes(address, HEADER).ok_or(not_readable)?;
    if !header.starts_with(name.as_bytes()) {
        return Err(Error::Signature(address, name));
    }
    let length = usize::try_from(number(&header[4..8])).ok();
    let length = length.filter(|length| (HEADER..=longest).contains(length));
    let length = length.ok_or(Error::Length(address))?;
    let whole = memory.bytes(address, length).ok_or(not_readable)?;
    if sum(whole) != 0 {
        return Err(Error::Checksum(address));
    }
    Ok(whole)
}

fn sum(bytes: &[u8]) -> u8 {
    bytes.iter().fold(0, |sum, byte| sum.wrapping_add(*byte))
}

/// Little-endian, of at most eight bytes; they need not be aligned.
fn number(bytes: &[u8]) -> u64 {
    bytes
        .iter()
        .rev()
        .fold(0, |value, &byte| value << 8 | u64::from(byte))
}

#[cfg(test)]
mod tests;
