//! Hand-made tables, whole and damaged, and captured ones.

use super::*;
use crate::place::Place;

/// Pieces of memory, each at its address.
#[derive(Clone, Default)]
struct Memory(Vec<(u64, Vec<u8>)>);

impl PhysicalMemory for Memory {
    fn bytes(&self, address: u64, length: usize) -> Option<&[u8]> {
        self.0.iter().find_map(|(start, bytes)| {
            let from = usize::try_from(address.checked_sub(*start)?).ok()?;
            bytes.get(from..from.checked_add(length)?)
        })
    }
}

impl Memory {
    fn piece(&mut self, address: u64) -> &mut Vec<u8> {
        let piece = self.0.iter_mut().find(|(start, _)| *start == address);
        &mut piece.unwrap().1
    }
}

/// Makes `bytes` sum to zero by the one at `at`.
fn fix(bytes: &mut [u8], at: usize) {
    bytes[at] = 0;
    bytes[at] = 0_u8.wrapping_sub(sum(bytes));
}

fn sdt(name: &str, body: &[u8]) -> Vec<u8> {
    let mut table = vec![0; HEADER];
    table[..4].copy_from_slice(name.as_bytes());
    table.extend(body);
    let length = u32::try_from(table.len()).unwrap();
    table[4..8].copy_from_slice(&length.to_le_bytes());
    fix(&mut table, 9);
    table
}

fn hpet(space: u8, address: u64) -> Vec<u8> {
    let mut body = vec![0x01, 0xa2, 0x86, 0x80, space, 64, 0, 0];
    body.extend(address.to_le_bytes());
    body.extend([0; 4]);
    sdt("HPET", &body)
}

/// A FADT of so many bytes with a timer at port 608h, of 24 bits, then changed.
fn fadt(length: usize, change: impl Fn(&mut [u8])) -> Vec<u8> {
    let mut table = sdt("FACP", &vec![0; length - HEADER]);
    table[76..80].copy_from_slice(&0x608_u32.to_le_bytes());
    table[91] = 4;
    change(&mut table);
    fix(&mut table, 9);
    table
}

const RSDP: u64 = 0xf_59e0;
const ROOT: u64 = 0x7fe_2000;
const FADT: u64 = 0x7fe_3000;
const TABLE: u64 = 0x7fe_4000;
const REGISTERS: u64 = 0xfed0_0000;

fn rsdp(revision: u8, rsdt: u64, xsdt: u64) -> Vec<u8> {
    let mut rsdp = b"RSD PTR \0BOCHS \0".to_vec();
    rsdp[15] = revision;
    rsdp.extend(u32::try_from(rsdt).unwrap().to_le_bytes());
    fix(&mut rsdp, 8);
    rsdp.extend(36_u32.to_le_bytes());
    rsdp.extend(xsdt.to_le_bytes());
    rsdp.extend([0; 4]);
    fix(&mut rsdp, 32);
    rsdp
}

/// A machine with an RSDT (revision 0) or an XSDT (revision 2).
fn machine(revision: u8) -> Memory {
    let root = if revision < 2 {
        let entries = [FADT, TABLE].map(|entry| u32::try_from(entry).unwrap());
        sdt("RSDT", &entries.map(u32::to_le_bytes).concat())
    } else {
        sdt("XSDT", &[FADT, TABLE].map(u64::to_le_bytes).concat())
    };
    let (rsdt, xsdt) = if revision < 2 { (ROOT, 0) } else { (0, ROOT) };
    Memory(vec![
        (RSDP, rsdp(revision, rsdt, xsdt)),
        (ROOT, root),
        (FADT, fadt(116, |_| {})),
        (TABLE, hpet(0, REGISTERS)),
    ])
}

#[test]
fn the_hpet_is_found_through_either_root() {
    for revision in [0, 2] {
        assert_eq!(hpet_address(&machine(revision), RSDP), Ok(REGISTERS));
    }
}

#[test]
fn a_revision_2_pointer_without_an_xsdt_leads_to_the_rsdt() {
    let mut memory = machine(0);
    *memory.piece(RSDP) = rsdp(2, ROOT, 0);
    assert_eq!(hpet_address(&memory, RSDP), Ok(REGISTERS));
}

#[test]
fn the_first_byte_that_is_wrong_is_what_is_reported() {
    let broken = |change: &dyn Fn(&mut Memory)| {
        let mut memory = machine(2);
        change(&mut memory);
        hpet_address(&memory, RSDP).unwrap_err()
    };
    let flip = |at, byte: usize| broken(&|memory| memory.piece(at)[byte] ^= 1);
    assert_eq!(flip(RSDP, 0), Error::Signature(RSDP, "RSD PTR "));
    assert_eq!(flip(RSDP, 9), Error::Checksum(RSDP));
    assert_eq!(flip(RSDP, 33), Error::Checksum(RSDP));
    assert_eq!(flip(ROOT, 0), Error::Signature(ROOT, "XSDT"));
    assert_eq!(flip(ROOT, 20), Error::Checksum(ROOT));
    assert_eq!(flip(TABLE, 0), Error::NoTable("HPET"));
    assert_eq!(flip(TABLE, 50), Error::Checksum(TABLE));
}

#[test]
fn impossible_lengths_are_refused() {
    for length in [0, 35, u32::MAX] {
        let mut memory = machine(2);
        let table = memory.piece(TABLE);
        table[4..8].copy_from_slice(&length.to_le_bytes());
        fix(table, 9);
        assert_eq!(hpet_address(&memory, RSDP), Err(Error::Length(TABLE)));
    }
}

#[test]
fn a_table_that_ends_early_has_no_registers() {
    let mut memory = machine(0);
    *memory.piece(TABLE) = sdt("HPET", &[0; 15]);
    assert_eq!(hpet_address(&memory, RSDP), Err(Error::NoRegisters));
}

#[test]
fn registers_must_be_in_memory() {
    for table in [hpet(1, REGISTERS), hpet(0, 0)] {
        let mut memory = machine(0);
        *memory.piece(TABLE) = table;
        assert_eq!(hpet_address(&memory, RSDP), Err(Error::NoRegisters));
    }
}

#[test]
fn without_the_table_it_says_so() {
    let mut memory = machine(0);
    *memory.piece(TABLE) = sdt("APIC", &[0; 60]);
    assert_eq!(hpet_address(&memory, RSDP), Err(Error::NoTable("HPET")));
}

/// What a FADT of the longer kind, changed, says.
fn timer(length: usize, change: impl Fn(&mut [u8])) -> Result<PmTimer, Error> {
    let mut memory = machine(2);
    *memory.piece(FADT) = fadt(length, change);
    pm_timer(&memory, RSDP)
}

/// Writes a generic address structure where the newer field is.
fn newer(table: &mut [u8], space: u8, address: u64) {
    table[208..212].copy_from_slice(&[space, 32, 0, 3]);
    table[212..220].copy_from_slice(&address.to_le_bytes());
}

#[test]
fn the_power_management_timer_is_found_through_either_root() {
    for revision in [0, 2] {
        let found = pm_timer(&machine(revision), RSDP);
        assert_eq!(found, Ok(PmTimer::Port(0x608)));
    }
}

#[test]
fn the_newer_field_of_the_timer_counts_if_it_names_a_place() {
    let place = |space, address| {
        let found = timer(244, |table| newer(table, space, address));
        found.unwrap()
    };
    assert_eq!(place(1, 0x1808), PmTimer::Port(0x1808));
    assert_eq!(place(0, 0xfed8_0808), PmTimer::Memory(0xfed8_0808));
    for (space, address) in [(0, 0), (1, 0), (1, 0x1_0000), (0, 0xfed8_0809), (7, 8)] {
        assert_eq!(
            place(space, address),
            PmTimer::Port(0x608),
            "{space} {address:#x}"
        );
    }
}

#[test]
fn without_a_power_management_timer_it_says_so() {
    for (what, found) in [
        ("hardware-reduced", timer(244, |table| table[114] = 1 << 4)),
        ("no port", timer(244, |table| table[76..80].fill(0))),
        ("a port too far", timer(244, |table| table[78] = 1)),
        ("a length of 0", timer(244, |table| table[91] = 0)),
        ("a table without flags", timer(115, |_| {})),
    ] {
        assert_eq!(found, Err(Error::NoPmTimer), "{what}");
    }
    let mut memory = machine(2);
    memory.piece(FADT)[3] = b'X';
    assert_eq!(pm_timer(&memory, RSDP), Err(Error::NoTable("FACP")));
    let mut memory = machine(2);
    memory.piece(FADT)[80] ^= 1;
    assert_eq!(pm_timer(&memory, RSDP), Err(Error::Checksum(FADT)));
}

#[test]
fn a_pointer_of_revision_0_has_its_own_checksum() {
    let mut memory = machine(0);
    memory.piece(RSDP)[9] ^= 1;
    assert_eq!(hpet_address(&memory, RSDP), Err(Error::Checksum(RSDP)));
}

#[test]
fn an_xsdt_points_above_4_gib() {
    const HIGH: u64 = TABLE + (1 << 32);
    let mut memory = machine(2);
    *memory.piece(ROOT) = sdt("XSDT", &HIGH.to_le_bytes());
    memory.0.push((HIGH, hpet(0, REGISTERS + 0x1000)));
    assert_eq!(hpet_address(&memory, RSDP), Ok(REGISTERS + 0x1000));
}

/// Whatever is missing from memory or cut short: an error, and never a panic.
#[test]
fn memory_that_is_not_there_is_an_error() {
    for revision in [0, 2] {
        let whole = machine(revision);
        for (at, bytes) in &whole.0 {
            let needed = if *at == FADT { 0 } else { bytes.len() };
            for length in 0..needed {
                // The pointer of revision 0 is only 20 bytes long.
                let suffices = *at == RSDP && revision == 0 && length >= 20;
                let mut memory = whole.clone();
                memory.piece(*at).truncate(length);
                assert_eq!(hpet_address(&memory, RSDP).is_ok(), suffices);
            }
        }
    }
}

/// What SeaBIOS left in the memory of a QEMU q35 machine.
mod captured {
    pub(super) const RSDP: &[u8] = b"RSD PTR \x58BOCHS \0\xcb\x22\xfe\x0f";

    pub(super) const RSDT: &[u8] = b"RSDT\x38\0\0\0\x01\x94BOCHS BXPC    \
        \x01\0\0\0BXPC\x01\0\0\0\
        \xbb\x20\xfe\x0f\xaf\x21\xfe\x0f\x2f\x22\xfe\x0f\x67\x22\xfe\x0f\xa3\x22\xfe\x0f";

    pub(super) const HPET: &[u8] = b"HPET\x38\0\0\0\x01\xb4BOCHS BXPC    \
        \x01\0\0\0BXPC\x01\0\0\0\
        \x01\xa2\x86\x80\0\0\0\0\0\0\xd0\xfe\0\0\0\0\0\0\0\0";
}

#[test]
fn captured_tables_are_understood() {
    // The other tables, at the addresses before the HPET's, were not captured.
    let memory = Memory(vec![
        (0xf_59e0, captured::RSDP.to_vec()),
        (0xffe_22cb, captured::RSDT.to_vec()),
        (0xffe_222f, captured::HPET.to_vec()),
    ]);
    assert_eq!(hpet_address(&memory, 0xf_59e0), Ok(REGISTERS));
}

const DSDT: u64 = 0x7fe_5000;

/// A definition of `_S5_`, as compilers make it, with these bytes for its elements.
fn s5(count: u8, elements: &[u8]) -> Vec<u8> {
    let length = u8::try_from(2 + elements.len()).unwrap();
    [b"\x08_S5_\x12", &[length, count][..], elements].concat()
}

/// What switches off a machine whose DSDT has this body, and whose FADT is changed.
fn off(body: &[u8], change: impl Fn(&mut [u8])) -> Result<PowerOff, Error> {
    let mut memory = machine(2);
    *memory.piece(FADT) = fadt(244, |table| {
        table[40..44].copy_from_slice(&u32::try_from(DSDT).unwrap().to_le_bytes());
        table[64..68].copy_from_slice(&0x604_u32.to_le_bytes());
        change(table);
    });
    memory.0.push((DSDT, sdt("DSDT", body)));
    power_off(&memory, RSDP)
}

fn switch(control: (u16, u8), second: Option<(u16, u8)>) -> Result<PowerOff, Error> {
    Ok(PowerOff {
        control,
        second,
        enable: None,
    })
}

#[test]
fn the_types_of_soft_off_are_those_of_the_package() {
    let types = |body: &[u8]| {
        let found = off(body, |table| table[68..70].copy_from_slice(&[0x14, 0x06]));
        found.map(|off| [off.control.1, off.second.unwrap().1])
    };
    assert_eq!(types(&s5(4, &[0, 0, 0, 0])), Ok([0, 0]));
    assert_eq!(types(&s5(4, &[0x0a, 7, 1, 0, 0])), Ok([7, 1]));
    assert_eq!(types(&s5(2, &[0x0b, 5, 0, 0x0c, 6, 0, 0, 0])), Ok([5, 6]));
    // One element is for both.
    assert_eq!(types(&s5(1, &[0x0a, 5])), Ok([5, 5]));
    // In the root, by a longer form of the length, behind what only looks like it.
    let rooted = b"\x10\x20_S5_\x12_S5_\x08_S5_\x11\x08\\_S5_\x12\x46\x00\x02\x0a\x03\x01";
    assert_eq!(types(rooted), Ok([3, 1]));
}

#[test]
fn a_package_that_is_damaged_switches_nothing_off() {
    let whole = s5(2, &[0x0a, 5, 0x0a, 6]);
    for length in 0..whole.len() {
        let found = off(&whole[..length], |_| {});
        assert_eq!(found, Err(Error::NoPowerOff), "{length} bytes");
    }
    for (what, body) in [
        ("no elements", s5(0, &[0x0a, 5, 0x0a, 6])),
        ("four bits", s5(2, &[0x0a, 8, 0])),
        ("a name", s5(2, b"ABCD\0")),
        ("an argument", s5(2, &[0x68, 0])),
        ("a reference", [b"\x5b_S5_\x12", &whole[6..]].concat()),
        (
            "a length that goes on beyond the table",
            b"\x08_S5_\x12\xff".to_vec(),
        ),
    ] {
        assert_eq!(off(&body, |_| {}), Err(Error::NoPowerOff), "{what}");
    }
}

#[test]
fn the_switch_is_where_the_newer_fields_say() {
    let body = s5(2, &[5, 6].map(|value| [0x0a, value]).concat());
    assert_eq!(off(&body, |_| {}), switch((0x604, 5), None));
    let newer = |at: usize, port: u8| {
        move |table: &mut [u8]| {
            table[at..at + 12].copy_from_slice(&[1, 16, 0, 2, port, 0x18, 0, 0, 0, 0, 0, 0])
        }
    };
    assert_eq!(off(&body, newer(172, 4)), switch((0x1804, 5), None));
    let both = |table: &mut [u8]| {
        newer(172, 4)(table);
        newer(184, 8)(table);
    };
    assert_eq!(off(&body, both), switch((0x1804, 5), Some((0x1808, 6))));
    // In memory: not understood, and the older one counts.
    let in_memory = |table: &mut [u8]| {
        newer(172, 4)(table);
        table[172] = 0;
    };
    assert_eq!(off(&body, in_memory), switch((0x604, 5), None));
    let enabled = off(&body, |table| {
        table[48] = 0xb2;
        table[52] = 0xa0;
    });
    assert_eq!(enabled.unwrap().enable, Some((0xb2, 0xa0)));
}

#[test]
fn without_a_switch_it_says_so() {
    let body = s5(2, &[0, 0]);
    for (what, found) in [
        ("hardware-reduced", off(&body, |table| table[114] = 1 << 4)),
        ("no port", off(&body, |table| table[64..68].fill(0))),
        ("a port too far", off(&body, |table| table[66] = 1)),
    ] {
        assert_eq!(found, Err(Error::NoPowerOff), "{what}");
    }
    let elsewhere = off(&body, |table| table[41] ^= 0x40);
    assert_eq!(elsewhere, Err(Error::NotReadable(DSDT ^ 0x4000)));
    let newer = off(&body, |table| table[140] = 0x10);
    assert_eq!(newer, Err(Error::NotReadable(0x10)));
    let mut memory = machine(2);
    *memory.piece(FADT) = fadt(115, |_| {});
    assert_eq!(power_off(&memory, RSDP), Err(Error::NoPowerOff));
}

#[test]
fn the_dsdt_may_be_longer_than_other_tables_and_has_a_checksum() {
    let mut body = vec![0xa5; 300 << 10];
    body.extend(s5(2, &[1, 1]));
    assert_eq!(off(&body, |_| {}), switch((0x604, 1), None));
    let mut memory = machine(2);
    *memory.piece(FADT) = fadt(244, |table| {
        table[140..148].copy_from_slice(&DSDT.to_le_bytes());
        table[64..66].copy_from_slice(&[0x04, 0x06]);
    });
    memory.0.push((DSDT, sdt("DSDT", &body)));
    memory.piece(DSDT)[100] ^= 1;
    assert_eq!(power_off(&memory, RSDP), Err(Error::Checksum(DSDT)));
}

#[test]
fn the_reset_register_is_a_port_or_in_memory() {
    let reset = |space: u8, address: u64, has_it: bool| {
        let mut memory = machine(2);
        *memory.piece(FADT) = fadt(244, |table| {
            table[113] = u8::from(has_it) << 2;
            table[116..120].copy_from_slice(&[space, 8, 0, 1]);
            table[120..128].copy_from_slice(&address.to_le_bytes());
            table[128] = 0x0f;
        });
        super::reset(&memory, RSDP)
    };
    let written = |place| Ok(Reset { place, value: 0x0f });
    assert_eq!(reset(1, 0xcf9, true), written(Place::Port(0xcf9)));
    assert_eq!(
        reset(0, 0xfed8_0000, true),
        written(Place::Memory(0xfed8_0000))
    );
    for (space, address, has_it) in [
        (1, 0xcf9, false),
        (1, 0, true),
        (0, 0, true),
        (1, 0x1_0000, true),
        (2, 0x1f_0000, true), // PCI's configuration space
    ] {
        assert_eq!(
            reset(space, address, has_it),
            Err(Error::NoReset),
            "{space} {address:#x}"
        );
    }
    let mut memory = machine(2);
    *memory.piece(FADT) = fadt(128, |table| table[113] = 1 << 2);
    assert_eq!(super::reset(&memory, RSDP), Err(Error::NoReset));
}

mod spcr {
    use super::*;
    use crate::uart::Registers;

    /// What a table with these bytes of a generic address structure, and this address, names.
    fn console(kind: u8, structure: [u8; 4], address: u64) -> Result<Registers, Error> {
        let mut body = vec![kind, 0, 0, 0];
        body.extend(structure);
        body.extend(address.to_le_bytes());
        body.extend([0; 28]);
        let mut memory = machine(2);
        *memory.piece(TABLE) = sdt("SPCR", &body);
        super::super::console(&memory, RSDP)
    }

    #[test]
    fn a_port_or_registers_in_memory_are_named() {
        let found = |place, bytes| Ok(Registers { place, bytes });
        let port = Place::Port(0x3f8);
        assert_eq!(console(0, [1, 8, 0, 1], 0x3f8), found(port, 1));
        assert_eq!(console(1, [1, 8, 0, 0], 0x3f8), found(port, 1));
        let memory = Place::Memory(0xfe03_0000);
        assert_eq!(console(0x12, [0, 8, 0, 1], 0xfe03_0000), found(memory, 1));
        assert_eq!(console(0x12, [0, 32, 0, 3], 0xfe03_0000), found(memory, 4));
        assert_eq!(console(0, [0, 32, 0, 0], 0xfe03_0000), found(memory, 4));
        assert_eq!(console(0, [0, 32, 0, 1], 0xfe03_0000), found(memory, 1));
    }

    #[test]
    fn what_is_no_16550_is_refused() {
        for (kind, structure, address) in [
            (3, [0, 32, 0, 3], 0x900_0000), // Arm's PL011
            (0, [1, 8, 0, 1], 0),           // switched off
            (0, [1, 8, 0, 1], 0x1_0000),
            (0, [0, 32, 0, 3], 0xfe03_0002),
            (0, [0, 8, 0, 1], 0xfe03_0ffc), // over a page's end
            (0, [2, 8, 0, 1], 0x3f8),
            (0, [0, 32, 0, 2], 0xfe03_0000), // registers of 16 bits
            (0, [0, 16, 0, 0], 0xfe03_0000),
        ] {
            let found = console(kind, structure, address);
            assert_eq!(
                found,
                Err(Error::NoConsole),
                "{kind} {structure:?} {address:#x}"
            );
        }
        let none = super::super::console(&machine(2), RSDP);
        assert_eq!(none, Err(Error::NoTable("SPCR")));
        let mut memory = machine(2);
        *memory.piece(TABLE) = sdt("SPCR", &[0; 15]);
        assert_eq!(super::super::console(&memory, RSDP), Err(Error::NoConsole));
    }
}

/// A MADT of these structures, where the HPET's table is in other tests.
fn with_structures(structures: &[&[u8]]) -> Memory {
    let mut body = vec![0; 8];
    body.extend(structures.concat());
    let mut memory = machine(2);
    *memory.piece(TABLE) = sdt("APIC", &body);
    memory
}

/// An I/O APIC's structure.
fn io_apic(address: u32, first: u32) -> Vec<u8> {
    let mut structure = vec![1, 12, 0, 0];
    structure.extend(address.to_le_bytes());
    structure.extend(first.to_le_bytes());
    structure
}

#[test]
fn an_interrupt_arrives_where_the_madt_says() {
    const LOCAL: &[u8] = &[0, 8, 0, 0, 1, 0, 0, 0];
    let (low, high) = (io_apic(0xfec0_0000, 0), io_apic(0xfec1_0000, 24));
    let override_of =
        |source: u8, input: u8, flags: u8| [2, 10, 0, source, input, 0, 0, 0, flags, 0];
    let pin = |structures: &[&[u8]], irq| {
        let found = pin_of(&with_structures(structures), RSDP, irq);
        found.map(|it| (it.io_apic, it.input, it.is_active_low))
    };
    assert_eq!(pin(&[LOCAL, &low], 4), Ok((0xfec0_0000, 4, false)));
    // As QEMU has it: of others.
    let timer = override_of(0, 2, 0);
    assert_eq!(pin(&[LOCAL, &low, &timer], 4), Ok((0xfec0_0000, 4, false)));
    assert_eq!(pin(&[LOCAL, &low, &timer], 0), Ok((0xfec0_0000, 2, false)));
    let moved = override_of(4, 30, 0b1111);
    assert_eq!(pin(&[&high, &low, &moved], 4), Ok((0xfec1_0000, 6, true)));
    assert_eq!(pin(&[&moved, &low, &high], 4), Ok((0xfec1_0000, 6, true)));
    assert_eq!(pin(&[LOCAL], 4), Err(Error::NoPin));
    assert_eq!(pin(&[&high], 4), Err(Error::NoPin));
    assert_eq!(pin_of(&machine(2), RSDP, 4), Err(Error::NoTable("APIC")));
    // Structures without a length, longer than the table, or shorter than theirs.
    assert_eq!(pin(&[&[9, 0], &low], 4), Err(Error::NoPin));
    assert_eq!(pin(&[&[9, 200], &low], 4), Err(Error::NoPin));
    assert_eq!(pin(&[&[1, 3, 0], &low], 4), Ok((0xfec0_0000, 4, false)));
}
