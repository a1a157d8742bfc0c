//! What an entry of a page table says (SDM vol. 3, 5.5.4): for the kernel, which follows its own, and
//! for the tool, which follows those of a dead one.

/// The levels of page tables.
pub const LEVELS: usize = 4;

const PRESENT: u64 = 1 << 0;
const LARGE: u64 = 1 << 7;
/// Bits of an entry that are an address.
const ADDRESS: u64 = 0x000f_ffff_ffff_f000;

/// Bytes of an entry.
const ENTRY_BYTES: u64 = 8;

/// Returns true if the upper bits of an address are as those of any that can be used.
#[must_use]
pub const fn is_canonical(address: u64) -> bool {
    (address.cast_signed() << 16 >> 16).cast_unsigned() == address
}

/// How far below an address's bits those are that choose an entry at this level; the root's is 0.
const fn shift(level: usize) -> usize {
    12 + 9 * (LEVELS - 1 - level)
}

/// How far behind the start of a table of this level the entry for an address is; the root's is 0.
#[must_use]
pub const fn offset_of_entry(address: u64, level: usize) -> u64 {
    (address >> shift(level) & 0x1ff) * ENTRY_BYTES
}

/// What an entry leads to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Entry {
    /// Nothing.
    Absent,
    /// The table of the next level, at this physical address.
    Table(u64),
    /// A page of so many bytes, from this physical address on.
    Page {
        /// Where it begins.
        start: u64,
        /// How long it is.
        bytes: u64,
    },
}

impl Entry {
    /// What an entry of a table of this level says; the root's is 0.
    #[must_use]
    pub const fn new(entry: u64, level: usize) -> Self {
        let bytes = 1 << shift(level);
        let is_last = level == LEVELS - 1;
        if entry & PRESENT == 0 {
            Self::Absent
        } else if is_last || (level > 0 && entry & LARGE != 0) {
            let start = entry & ADDRESS & !(bytes - 1);
            Self::Page { start, bytes }
        } else {
            Self::Table(entry & ADDRESS)
        }
    }
}

/// The physical address of a root of page tables, by CR3.
#[must_use]
pub const fn root(cr3: u64) -> u64 {
    cr3 & ADDRESS
}

#[cfg(test)]
mod tests {
    use super::*;
    use Entry::{Absent, Page, Table};

    #[test]
    fn an_entry_says_what_it_leads_to() {
        let page = |start, bytes| Page { start, bytes };
        for (entry, level, leads_to) in [
            (0, 0, Absent),
            // Whatever else it has.
            (!PRESENT, 3, Absent),
            (0x5007, 0, Table(0x5000)),
            // The bit is none of a large page in the root, nor in the last table.
            (0x5087, 0, Table(0x5000)),
            (0x5087, 3, page(0x5000, 1 << 12)),
            (0x5007, 1, Table(0x5000)),
            (0x5007, 2, Table(0x5000)),
            // The bit above the flags is the page attribute table's.
            (0x8000_0001_4000_1083, 1, page(0x1_4000_0000, 1 << 30)),
            (0xfff0_0000_0060_1083, 2, page(0x60_0000, 1 << 21)),
        ] {
            assert_eq!(Entry::new(entry, level), leads_to, "{entry:#x}, {level}");
        }
    }

    #[test]
    fn an_address_chooses_an_entry_at_each_level() {
        let address = 0xffff_8000_0000_0000 | 1 << 39 | 2 << 30 | 3 << 21 | 4 << 12 | 5;
        let offsets = [0, 1, 2, 3].map(|level| offset_of_entry(address, level));
        assert_eq!(offsets, [0x101 * 8, 2 * 8, 3 * 8, 4 * 8]);
        assert_eq!(root(0x8000_0000_0123_4fff), 0x0123_4000);
        for (address, is_usable) in [
            (0, true),
            (0x7fff_ffff_ffff, true),
            (0x8000_0000_0000, false),
            (0xffff_7fff_ffff_ffff, false),
            (0xffff_8000_0000_0000, true),
            (u64::MAX, true),
        ] {
            assert_eq!(is_canonical(address), is_usable, "{address:#x}");
        }
    }
}
