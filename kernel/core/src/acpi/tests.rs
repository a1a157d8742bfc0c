//! Hand-made tables, whole and damaged, and captured ones.

use super::*;

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
