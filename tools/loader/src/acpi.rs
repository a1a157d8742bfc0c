//! The little of ACPI that tells which cores and IO APICs there are, and where its tables
//! lie: the root pointer, the root tables, the MADT, the FADT (ACPI specification 6.5,
//! chapter 5.2).

use arrayvec::ArrayVec;
use x86_64::PhysAddr;

use crate::bytes::{u16_at, u32_at, u64_at};
use crate::pvh::Block;

/// A header that all tables share: signature, length, and more.
const HEADER: usize = 36;

/// More tables than a machine has.
pub const MAX_BLOCKS: usize = 64;

/// A core that can be started, or runs already.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Core {
    /// ACPI's number for it.
    pub processor_id: u32,
    /// Its local APIC's.
    pub apic_id: u32,
}

/// The tables, given the root pointer and a way to read memory, which gives less than
/// was asked for where there is none.
pub struct Tables<R> {
    pointer: PhysAddr,
    read: R,
}

impl<'a, R: Fn(PhysAddr, usize) -> &'a [u8]> Tables<R> {
    /// Looks for the root pointer where the firmware says that it is.
    pub fn new(pointer: PhysAddr, read: R) -> Option<Self> {
        let is_there = read(pointer, 8) == b"RSD PTR ";
        is_there.then_some(Self { pointer, read })
    }

    /// The first table with this signature.
    pub fn find(&self, signature: &[u8; 4]) -> Option<&'a [u8]> {
        self.listed()
            .filter_map(|address| self.table(address))
            .find(|table| table.starts_with(signature))
    }

    /// Where everything lies: the root pointer, the root tables, the tables that these
    /// list, and those that the FADT names.
    pub fn blocks(&self) -> ArrayVec<Block, MAX_BLOCKS> {
        let pointer = (self.read)(self.pointer, HEADER);
        let wide = u32_at(pointer, 20).filter(|_| self.is_wide());
        let pointer = Block {
            start: self.pointer,
            size: wide.map_or(20, |size| size as usize),
        };
        let named = self.find(b"FACP").into_iter().flat_map(|fadt| {
            // FACS and DSDT, by 32 bits and by 64.
            let narrow = [36, 40].map(|offset| u32_at(fadt, offset).map(u64::from));
            let wide = [132, 140].map(|offset| u64_at(fadt, offset));
            narrow.into_iter().chain(wide).flatten()
        });
        let root = [self.narrow_root(), self.wide_root()].into_iter().flatten();
        let addresses = root.chain(self.listed()).chain(named);
        let block = |address: u64| {
            let start = PhysAddr::try_new(address).ok()?;
            let size = self.table(address)?.len();
            Some(Block { start, size })
        };
        let tables = addresses.filter_map(block);
        [pointer]
            .into_iter()
            .chain(tables)
            .take(MAX_BLOCKS)
            .collect()
    }

    /// The addresses that the root tables list.
    fn listed(&self) -> impl Iterator<Item = u64> {
        let entries = |root: Option<u64>| {
            let table = root.and_then(|root| self.table(root)).unwrap_or_default();
            table.get(HEADER..).unwrap_or_default()
        };
        let wide = entries(self.wide_root()).chunks_exact(8);
        let narrow = entries(self.narrow_root()).chunks_exact(4);
        let wide = wide.filter_map(|entry| u64_at(entry, 0));
        let narrow = narrow.filter_map(|entry| u32_at(entry, 0).map(u64::from));
        wide.chain(narrow)
    }

    /// The second edition added a root table of 64-bit addresses.
    fn is_wide(&self) -> bool {
        let pointer = (self.read)(self.pointer, HEADER);
        pointer.get(15).is_some_and(|&revision| revision >= 2)
    }

    fn wide_root(&self) -> Option<u64> {
        let root = u64_at((self.read)(self.pointer, HEADER), 24);
        root.filter(|&root| root != 0 && self.is_wide())
    }

    fn narrow_root(&self) -> Option<u64> {
        let root = u32_at((self.read)(self.pointer, HEADER), 16);
        root.filter(|&root| root != 0).map(u64::from)
    }

    /// The table at an address, if all of it can be read.
    fn table(&self, address: u64) -> Option<&'a [u8]> {
        let address = PhysAddr::try_new(address).ok().filter(|it| !it.is_null())?;
        let size = u32_at((self.read)(address, HEADER), 4)?;
        let size = usize::try_from(size).ok()?;
        let table = (self.read)(address, size);
        (table.len() == size && size >= HEADER).then_some(table)
    }
}

/// What ACPI's timer counts in a second.
pub const TIMER_FREQUENCY: u64 = 3_579_545;

/// The port of the timer that a FADT names.
pub fn timer_port(fadt: &[u8]) -> Option<u16> {
    let port = u32_at(fadt, 76)?;
    u16::try_from(port).ok().filter(|&port| port != 0)
}

/// Whether firmware asks not to use x2APIC mode, given its DMAR table (Intel VT-d
/// specification, "DMA Remapping Reporting Structure"): `X2APIC_OPT_OUT`, which is valid only
/// beside `INTR_REMAP`.
pub fn opts_out_of_x2apic(dmar: &[u8]) -> bool {
    const INTR_REMAP: u8 = 1 << 0;
    const X2APIC_OPT_OUT: u8 = 1 << 1;
    // The width of addresses comes first.
    let flags = dmar.get(HEADER + 1).copied().unwrap_or(0);
    flags & INTR_REMAP != 0 && flags & X2APIC_OPT_OUT != 0
}

/// Which pin of a local APIC the machine's NMI comes in at, and how.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct NmiPin {
    /// LINT0 or LINT1, by its number.
    pub pin: u8,
    /// Whether it is active when low.
    pub is_low: bool,
    /// Whether it is a level that counts, and not an edge.
    pub is_level: bool,
}

/// The pins for NMIs of a core, given ACPI's number for it.
pub fn nmi_pins(madt: &[u8], processor_id: u32) -> impl Iterator<Item = NmiPin> {
    let narrow = entries(madt, 4).filter_map(move |entry| {
        let id = *entry.get(2)?;
        let is_meant = id == u8::MAX || u32::from(id) == processor_id;
        let pin = (u16_at(entry, 3)?, *entry.get(5)?);
        is_meant.then_some(pin)
    });
    let wide = entries(madt, 10).filter_map(move |entry| {
        let id = u32_at(entry, 4)?;
        let pin = (u16_at(entry, 2)?, *entry.get(8)?);
        (id == u32::MAX || id == processor_id).then_some(pin)
    });
    // "MPS INTI flags": polarity in bits 0 and 1, trigger in bits 2 and 3; both low
    // and level by 3, and what the bus does by 0, of which the default is high, edge.
    narrow.chain(wide).map(|(flags, pin)| NmiPin {
        pin,
        is_low: flags & 0b11 == 0b11,
        is_level: flags >> 2 & 0b11 == 0b11,
    })
}

/// The entries of an MADT that have the given type.
fn entries(madt: &[u8], kind: u8) -> impl Iterator<Item = &[u8]> {
    // A local APIC address and flags come first.
    let mut rest = madt.get(HEADER + 8..).unwrap_or_default();
    core::iter::from_fn(move || {
        let length = usize::from(*rest.get(1)?);
        let (entry, after) = rest.split_at_checked(length.max(2))?;
        rest = after;
        Some(entry)
    })
    .filter(move |entry| entry[0] == kind)
}

/// The cores that an MADT names, those with ids beyond 8 bits only if `x2apic`.
pub fn cores(madt: &[u8], x2apic: bool) -> impl Iterator<Item = Core> {
    let narrow = entries(madt, 0).filter_map(|entry| {
        let &[_, _, processor_id, apic_id, ..] = entry else {
            return None;
        };
        let core = Core {
            processor_id: processor_id.into(),
            apic_id: apic_id.into(),
        };
        startable(u32_at(entry, 4)?).then_some(core)
    });
    let wide = entries(madt, 9)
        .filter(move |_| x2apic)
        .filter_map(|entry| {
            let core = Core {
                processor_id: u32_at(entry, 12)?,
                apic_id: u32_at(entry, 4)?,
            };
            startable(u32_at(entry, 8)?).then_some(core)
        });
    narrow.chain(wide)
}

/// Whether a core is enabled (bit 0) or can be (bit 1); never both.
fn startable(flags: u32) -> bool {
    matches!(flags & 0b11, 0b01 | 0b10)
}

/// The registers' addresses of the IO APICs that an MADT names.
pub fn io_apics(madt: &[u8]) -> impl Iterator<Item = PhysAddr> {
    entries(madt, 1).filter_map(|entry| PhysAddr::try_new(u32_at(entry, 4)?.into()).ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(signature: &[u8; 4], content: &[u8]) -> Vec<u8> {
        let length = u32::try_from(HEADER + content.len()).unwrap();
        let mut table = [&signature[..], &length.to_le_bytes(), &[0; HEADER - 8]].concat();
        table.extend(content);
        table
    }

    /// Memory in which the tables lie at 0x100, 0x200, ...
    fn memory(pointer: &[u8], tables: &[Vec<u8>]) -> Vec<u8> {
        let mut memory = vec![0; 0x1000];
        memory[..pointer.len()].copy_from_slice(pointer);
        for (table, place) in tables.iter().zip((0x100..).step_by(0x100)) {
            memory[place..place + table.len()].copy_from_slice(table);
        }
        memory
    }

    fn tables<'a>(memory: &'a [u8]) -> Option<Tables<impl Fn(PhysAddr, usize) -> &'a [u8]>> {
        Tables::new(PhysAddr::zero(), |address, size| {
            let start = usize::try_from(address.as_u64()).unwrap().min(memory.len());
            &memory[start..(start + size).min(memory.len())]
        })
    }

    fn find(pointer: &[u8], listed: &[Vec<u8>]) -> Option<Vec<u8>> {
        let memory = memory(pointer, listed);
        tables(&memory)?.find(b"APIC").map(<[u8]>::to_vec)
    }

    fn pointer(revision: u8, root: u32, wide: u64) -> Vec<u8> {
        let mut pointer = [&b"RSD PTR "[..], &[0; 7], &[revision], &root.to_le_bytes()].concat();
        pointer.extend(36_u32.to_le_bytes());
        pointer.extend(wide.to_le_bytes());
        pointer
    }

    #[test]
    fn the_madt_is_found_by_either_root() {
        let other = table(b"SSDT", &[1]);
        let madt = table(b"APIC", &[2, 3]);
        let narrow = table(b"RSDT", &[0, 2, 0, 0, 0, 3, 0, 0]);
        let wide = table(b"XSDT", &[0, 2, 0, 0, 0, 0, 0, 0, 0, 3, 0, 0, 0, 0, 0, 0]);
        let found = |pointer: Vec<u8>, root: &Vec<u8>| {
            find(&pointer, &[root.clone(), other.clone(), madt.clone()])
        };
        assert_eq!(found(pointer(0, 0x100, 0), &narrow).as_ref(), Some(&madt));
        assert_eq!(found(pointer(2, 0, 0x100), &wide).as_ref(), Some(&madt));
        assert_eq!(found(pointer(2, 0x100, 0), &narrow).as_ref(), Some(&madt));
        // Before the second edition there are no 64-bit addresses.
        assert_eq!(found(pointer(0, 0, 0x100), &wide), None);
        assert_eq!(found(b"RSD PTR?".to_vec(), &narrow), None);
        assert_eq!(
            find(
                &pointer(0, 0x100, 0),
                &[narrow, other.clone(), other.clone()]
            ),
            None
        );
    }

    #[test]
    fn every_table_has_its_place() {
        let mut fadt = vec![0; 148 - HEADER];
        let mut put = |offset: usize, address: u32| {
            fadt[offset - HEADER..][..4].copy_from_slice(&address.to_le_bytes());
        };
        put(36, 0x400); // FACS
        put(40, 0x500); // DSDT
        put(132, 0x600); // X_FACS
        put(140, 0x700); // X_DSDT
        // The third one is outside of memory.
        let root = table(b"RSDT", &[0, 2, 0, 0, 0, 3, 0, 0, 0, 0, 0xff, 0]);
        let listed = [
            root,
            table(b"FACP", &fadt),
            table(b"HPET", &[1, 2]),
            table(b"FACS", &[0; 28]),
            table(b"DSDT", &[3]),
            table(b"FACS", &[0; 29]),
            table(b"DSDT", &[4, 5]),
        ];
        let places = |revision| {
            let memory = memory(&pointer(revision, 0x100, 0), &listed);
            let blocks = tables(&memory).unwrap().blocks();
            let block = |block: &Block| (block.start.as_u64(), block.size);
            blocks.iter().map(block).collect::<Vec<_>>()
        };
        let expected = [
            (0, 36),
            (0x100, 48),
            (0x200, 148),
            (0x300, 38),
            (0x400, 64),
            (0x500, 37),
            (0x600, 65),
            (0x700, 38),
        ];
        assert_eq!(places(2), expected);
        assert_eq!(places(0)[0], (0, 20), "the first edition's pointer");
        assert_eq!(places(0)[1..], expected[1..]);
    }

    #[test]
    fn the_timers_port_is_known() {
        let mut fadt = table(b"FACP", &[0; 100]);
        assert_eq!(timer_port(&fadt), None, "none");
        fadt[76..80].copy_from_slice(&0x608_u32.to_le_bytes());
        assert_eq!(timer_port(&fadt), Some(0x608));
        fadt[78] = 1;
        assert_eq!(timer_port(&fadt), None, "no port");
        assert_eq!(timer_port(&fadt[..76]), None);
    }

    #[test]
    fn x2apic_is_opted_out_of_by_two_flags() {
        let opts_out = |flags| opts_out_of_x2apic(&table(b"DMAR", &[39, flags, 0, 0]));
        assert_eq!(
            [0, 1, 2, 3, 7].map(opts_out),
            [false, false, false, true, true]
        );
        assert!(!opts_out_of_x2apic(&table(b"DMAR", &[39])), "cut short");
    }

    #[test]
    fn nmi_pins_are_a_cores_or_everybodys() {
        let madt = table(
            b"APIC",
            &[
                &[0; 8][..],
                &[4, 6, 7, 0b1111, 0, 0],
                &[4, 6, 0xff, 0b0101, 0, 1],
                &[4, 6, 8, 0, 0, 1],
                &[10, 12, 0b11, 0, 7, 0, 0, 0, 1, 0, 0, 0],
                &[10, 12, 0b1100, 0, 0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0],
                &[4, 5, 7, 0, 0], // too short
            ]
            .concat(),
        );
        let pins = |core| {
            let plain = |it: NmiPin| (it.pin, it.is_low, it.is_level);
            nmi_pins(&madt, core).map(plain).collect::<Vec<_>>()
        };
        let all = [(1, false, false), (0, false, true)];
        assert_eq!(pins(9), all);
        assert_eq!(pins(7), [(0, true, true), all[0], (1, true, false), all[1]]);
    }

    #[test]
    fn cores_and_io_apics_are_listed() {
        let madt = table(
            b"APIC",
            &[
                &[0; 8][..],
                &[0, 8, 10, 0, 1, 0, 0, 0],
                &[1, 12, 0, 0, 0, 0, 0xc0, 0xfe, 0, 0, 0, 0],
                &[0, 8, 11, 1, 0, 0, 0, 0], // disabled
                &[0, 8, 12, 2, 2, 0, 0, 0], // can be enabled
                &[0, 8, 13, 3, 3, 0, 0, 0], // makes no sense
                &[9, 16, 0, 0, 0, 1, 0, 0, 1, 0, 0, 0, 14, 0, 0, 0],
                &[2, 10, 0], // cut off
            ]
            .concat(),
        );
        let list = |x2apic| -> Vec<_> {
            cores(&madt, x2apic)
                .map(|core| (core.processor_id, core.apic_id))
                .collect()
        };
        assert_eq!(list(false), [(10, 0), (12, 2)]);
        assert_eq!(list(true), [(10, 0), (12, 2), (14, 256)]);
        let apics: Vec<_> = io_apics(&madt).collect();
        assert_eq!(apics, [PhysAddr::new(0xfec0_0000)]);
    }

    #[test]
    fn an_entry_without_length_ends_nowhere() {
        let madt = table(b"APIC", &[0; 64]);
        assert_eq!(cores(&madt, true).count(), 0);
    }
}
