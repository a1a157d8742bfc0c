//! The little of ACPI that tells which cores and IO APICs there are: the root
//! pointer, the root table, the MADT (ACPI specification 6.5, chapter 5.2).

use x86_64::PhysAddr;

use crate::bytes::{u32_at, u64_at};

/// A header that all tables share: signature, length, and more.
const HEADER: usize = 36;

/// A core that can be started, or runs already.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Core {
    /// ACPI's number for it.
    pub processor_id: u32,
    /// Its local APIC's.
    pub apic_id: u32,
}

/// Finds the MADT ("APIC"), given the root pointer and a way to read memory.
pub fn madt<'a>(rsdp: PhysAddr, read: impl Fn(PhysAddr, usize) -> &'a [u8]) -> Option<&'a [u8]> {
    let pointer = read(rsdp, HEADER);
    (pointer.get(..8)? == b"RSD PTR ").then_some(())?;
    // The second edition added a root table of 64-bit addresses.
    let wide = if *pointer.get(15)? >= 2 {
        u64_at(pointer, 24)?
    } else {
        0
    };
    let (root, width) = if wide != 0 {
        (wide, 8)
    } else {
        (u64::from(u32_at(pointer, 16)?), 4)
    };
    let table = |address: u64| {
        let address = PhysAddr::try_new(address).ok()?;
        let length = u32_at(read(address, HEADER), 4)?;
        Some(read(address, usize::try_from(length).ok()?))
    };
    table(root)?
        .get(HEADER..)?
        .chunks_exact(width)
        .find_map(|entry| {
            let address = u64_at(entry, 0).or_else(|| u32_at(entry, 0).map(u64::from))?;
            table(address).filter(|table| table.starts_with(b"APIC"))
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
    fn find(pointer: &[u8], tables: &[Vec<u8>]) -> Option<Vec<u8>> {
        let mut memory = vec![0; 0x1000];
        memory[..pointer.len()].copy_from_slice(pointer);
        for (table, place) in tables.iter().zip((0x100..).step_by(0x100)) {
            memory[place..place + table.len()].copy_from_slice(table);
        }
        let read = |address: PhysAddr, size: usize| {
            &memory[usize::try_from(address.as_u64()).unwrap()..][..size]
        };
        madt(PhysAddr::zero(), read).map(<[u8]>::to_vec)
    }

    fn pointer(revision: u8, root: u32, wide: u64) -> Vec<u8> {
        let mut pointer = [&b"RSD PTR "[..], &[0; 7], &[revision], &root.to_le_bytes()].concat();
        pointer.extend([0; 4]);
        pointer.extend(wide.to_le_bytes());
        pointer
    }

    #[test]
    fn the_madt_is_found_by_either_root() {
        let other = table(b"FACP", &[1]);
        let madt = table(b"APIC", &[2, 3]);
        let narrow = table(b"RSDT", &[0, 2, 0, 0, 0, 3, 0, 0]);
        let wide = table(b"XSDT", &[0, 2, 0, 0, 0, 0, 0, 0, 0, 3, 0, 0, 0, 0, 0, 0]);
        let found = |pointer: Vec<u8>, root: &Vec<u8>| {
            find(&pointer, &[root.clone(), other.clone(), madt.clone()])
        };
        assert_eq!(found(pointer(0, 0x100, 0), &narrow).as_ref(), Some(&madt));
        assert_eq!(found(pointer(2, 0, 0x100), &wide).as_ref(), Some(&madt));
        assert_eq!(found(pointer(2, 0x100, 0), &narrow).as_ref(), Some(&madt));
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
