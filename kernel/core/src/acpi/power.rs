//! How to start the machine again, and how to switch it off (ACPI specification 4.8.3.6,
//! 4.8.3.2 and 7.4.2).

use super::{Error, PhysicalMemory, find_table, number, table_within};
use crate::place::Place;

/// What starts the machine again, if it is written.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Reset {
    /// Where.
    pub place: Place,
    /// What.
    pub value: u8,
}

/// What switches the machine off.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct PowerOff {
    /// The ports of the control registers, and what their field for the type of sleep gets.
    pub control: (u16, u8),
    /// Those of the second one, where there are two.
    pub second: Option<(u16, u8)>,
    /// The port that firmware listens at, and what lets it hand these registers over.
    pub enable: Option<(u16, u8)>,
}

/// No DSDT comes near it; a length beyond is garbage.
const LONGEST_DSDT: usize = 4 << 20;

/// Of the flags: there is a reset register.
const RESET_REGISTER: u64 = 1 << 10;
/// There is no hardware of ACPI; the fields mean nothing.
const REDUCED: u64 = 1 << 20;

/// The reset register, from the RSDP at `rsdp`.
///
/// # Errors
///
/// There is none, or a table on the way to it is damaged.
pub fn reset(memory: &impl PhysicalMemory, rsdp: u64) -> Result<Reset, Error> {
    let fadt = find_table(memory, rsdp, "FACP")?;
    let fields = fadt.get(..129).ok_or(Error::NoReset)?;
    let has_it = number(&fields[112..116]) & RESET_REGISTER != 0;
    // Space, width, offset, access size, address.
    let address = number(&fields[120..128]);
    let place = match fields[116] {
        0 if address != 0 => Some(Place::Memory(address)),
        1 => u16::try_from(address)
            .ok()
            .filter(|&port| port != 0)
            .map(Place::Port),
        _ => None,
    };
    let place = place.filter(|_| has_it).ok_or(Error::NoReset)?;
    let value = fields[128];
    Ok(Reset { place, value })
}

/// What switches the machine off, from the RSDP at `rsdp`.
///
/// # Errors
///
/// There is nothing that does, or a table on the way to it is damaged.
pub fn power_off(memory: &impl PhysicalMemory, rsdp: u64) -> Result<PowerOff, Error> {
    let fadt = find_table(memory, rsdp, "FACP")?;
    let fields = fadt.get(..116).ok_or(Error::NoPowerOff)?;
    if number(&fields[112..116]) & REDUCED != 0 {
        return Err(Error::NoPowerOff);
    }
    let port = |at: usize| {
        let port = u16::try_from(number(&fields[at..at + 4])).ok();
        port.filter(|&port| port != 0)
    };
    // The newer field counts where there is one (`X_PM1a_CNT_BLK`).
    let newer = |at: usize| {
        let structure = fadt
            .get(at..at + 12)
            .filter(|structure| structure[0] == 1)?;
        let port = u16::try_from(number(&structure[4..12])).ok();
        port.filter(|&port| port != 0)
    };
    let first = newer(172).or_else(|| port(64)).ok_or(Error::NoPowerOff)?;
    let second = newer(184).or_else(|| port(68));
    let newer_dsdt = fadt
        .get(140..148)
        .map(number)
        .filter(|&address| address != 0);
    let dsdt = newer_dsdt.unwrap_or_else(|| number(&fields[40..44]));
    let dsdt = table_within(memory, dsdt, "DSDT", LONGEST_DSDT)?;
    let [type_a, type_b] = soft_off(dsdt).ok_or(Error::NoPowerOff)?;
    let enable = fields[52];
    Ok(PowerOff {
        control: (first, type_a),
        second: second.map(|port| (port, type_b)),
        enable: port(48).filter(|_| enable != 0).map(|port| (port, enable)),
    })
}

/// The types of sleep of soft off, for both registers: the first elements of the package `_S5_`.
///
/// There is no interpreter here. What is looked for is the definition by a name and a package of
/// constants, which is what compilers make of it; what only looks like it is passed over.
fn soft_off(dsdt: &[u8]) -> Option<[u8; 2]> {
    const NAME: &[u8] = b"_S5_";
    let places = dsdt.windows(NAME.len()).enumerate();
    let mut places = places.filter(|(_, bytes)| *bytes == NAME);
    places.find_map(|(at, _)| {
        /// Defines a name; `\` before it is that of the root.
        const NAME_OP: u8 = 0x08;
        let before = dsdt[..at].strip_suffix(b"\\").unwrap_or(&dsdt[..at]);
        let after = &dsdt[at + NAME.len()..];
        (before.last() == Some(&NAME_OP)).then(|| package(after))?
    })
}

/// The first two constants of a package, of which there may be one: then it is both.
fn package(bytes: &[u8]) -> Option<[u8; 2]> {
    const PACKAGE_OP: u8 = 0x12;
    let (&op, bytes) = bytes.split_first()?;
    // The two top bits of a length say how many bytes of it follow.
    let follow = usize::from(*bytes.first()? >> 6);
    let elements = bytes.get(1 + follow..).filter(|_| op == PACKAGE_OP)?;
    let (&count, elements) = elements.split_first()?;
    let (first, rest) = constant(elements)?;
    let second = match count {
        0 => return None,
        1 => first,
        _ => constant(rest)?.0,
    };
    Some([first, second])
}

/// A constant of three bits, as the field for it has, and what is behind it.
fn constant(bytes: &[u8]) -> Option<(u8, &[u8])> {
    let (&op, rest) = bytes.split_first()?;
    let length = match op {
        // Zero and one have codes of their own.
        0x00 | 0x01 => return Some((op, rest)),
        0x0a => 1,
        0x0b => 2,
        0x0c => 4,
        0x0e => 8,
        _ => return None,
    };
    let (value, rest) = rest.split_at_checked(length)?;
    let value = u8::try_from(number(value))
        .ok()
        .filter(|&value| value < 8)?;
    Some((value, rest))
}
