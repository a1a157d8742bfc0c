//! What an address leads to, by the page tables, without a lock: for whoever looks while all is at
//! rest, and may be wrong about where.

use core::fmt;

use kernel_core::page_tables::{self, Entry};
use x86_64::registers::control::Cr3;
use x86_64::{PhysAddr, VirtAddr};

use crate::boot::{self, RegionKind};
use crate::memory::direct;
pub use kernel_core::page_tables::LEVELS;

/// What the page tables say of an address.
#[derive(Clone, Copy, Debug)]
pub struct Mapping {
    /// The entry of each level, the root's first; those behind the last one are 0.
    pub entries: [u64; LEVELS],
    /// How many there are, to the one that maps it, or is not present.
    pub count: usize,
    /// Where it is in physical memory.
    pub physical: Option<PhysAddr>,
    /// The bytes of the page.
    pub page_bytes: u64,
}

/// Why an address is not to be read.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Unreadable {
    /// No address has such upper bits.
    NotCanonical(u64),
    /// Nothing is there.
    NotMapped(u64),
    /// What is there is no memory: reading may change it.
    Device(u64),
}

impl fmt::Display for Unreadable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotCanonical(at) => write!(f, "{at:#018x} is not canonical"),
            Self::NotMapped(at) => write!(f, "{at:#018x} is not mapped"),
            Self::Device(at) => write!(f, "{at:#018x} is device memory, which is not read"),
        }
    }
}

impl core::error::Error for Unreadable {}

/// Returns true if there is memory at a physical address, which the direct map has.
fn is_memory(address: PhysAddr) -> bool {
    let mut regions = boot::info().regions();
    regions.any(|it| it.kind != RegionKind::Other && (it.start..it.end).contains(&address))
}

/// What the page tables of the running core say of an address.
///
/// # Errors
///
/// It is not canonical.
pub fn look_up(address: u64) -> Result<Mapping, Unreadable> {
    let address = VirtAddr::try_new(address).map_err(|_| Unreadable::NotCanonical(address))?;
    let mut table = Cr3::read_raw().0.start_address();
    let mut mapping = Mapping {
        entries: [0; LEVELS],
        count: 0,
        physical: None,
        page_bytes: 0,
    };
    for (level, place) in mapping.entries.iter_mut().enumerate() {
        // Whatever an entry says: no more is believed of it.
        if !is_memory(table) {
            break;
        }
        let offset = page_tables::offset_of_entry(address.as_u64(), level);
        let entry: *const u64 = (direct::address_of(table) + offset).as_ptr();
        // SAFETY: in memory, all of which the direct map has.
        *place = unsafe { entry.read_volatile() };
        mapping.count = level + 1;
        match Entry::new(*place, level) {
            Entry::Absent => break,
            Entry::Table(next) => table = PhysAddr::new_truncate(next),
            Entry::Page { start, bytes } => {
                let within = address.as_u64() & (bytes - 1);
                mapping.physical = Some(PhysAddr::new_truncate(start + within));
                mapping.page_bytes = bytes;
                break;
            }
        }
    }
    Ok(mapping)
}

/// Makes sure that the byte at an address can be read.
///
/// # Errors
///
/// It cannot.
pub fn check_readable(address: u64) -> Result<(), Unreadable> {
    match look_up(address)?.physical {
        None => Err(Unreadable::NotMapped(address)),
        Some(at) if !is_memory(at) => Err(Unreadable::Device(address)),
        Some(_) => Ok(()),
    }
}

/// Reads memory at an address. Returns how many bytes: fewer where what follows cannot be read.
///
/// # Errors
///
/// The first byte cannot.
pub fn read(address: u64, bytes: &mut [u8]) -> Result<usize, Unreadable> {
    for (count, byte) in bytes.iter_mut().enumerate() {
        let Some(at) = address.checked_add(count as u64) else {
            return Ok(count);
        };
        // A page at a time.
        if count == 0 || at.is_multiple_of(4096) {
            match check_readable(at) {
                Err(problem) if count == 0 => return Err(problem),
                Err(_) => return Ok(count),
                Ok(()) => {}
            }
        }
        let place: *const u8 = VirtAddr::new_truncate(at).as_ptr();
        // SAFETY: its page is mapped to memory.
        *byte = unsafe { place.read_volatile() };
    }
    Ok(bytes.len())
}
