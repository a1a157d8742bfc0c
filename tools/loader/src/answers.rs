//! The answers to the kernel's requests, as rows of 64-bit words: every structure
//! of the protocol is one, where two 32-bit members share a word, the first in
//! its low half. Pointers are into the direct map.

use arrayvec::ArrayVec;
use x86_64::{PhysAddr, VirtAddr};

use crate::memory_map::{MemoryMap, Region};
use crate::pvh::Block;
use crate::requests::{Id, Requests};
use crate::{DIRECT_MAP, Error, Result, direct_map};

/// What can be asked for, by the names of the protocol's section titles.
pub mod id {
    use crate::requests::Id;

    /// Who loaded the kernel.
    pub const BOOTLOADER_INFO: Id = [0xf550_38d8_e2a1_202f, 0x2794_26fc_f5f5_9740];
    /// The command line, from Limine 8 on.
    pub const EXECUTABLE_CMDLINE: Id = [0x4b16_1536_e598_651e, 0xb390_ad4a_2f1f_303a];
    /// BIOS or UEFI.
    pub const FIRMWARE_TYPE: Id = [0x8c2f_75d9_0bef_28a8, 0x7045_a468_8eac_00c3];
    /// At least how large stacks are to be.
    pub const STACK_SIZE: Id = [0x224e_f046_0a8e_8926, 0xe1cb_0fc2_5f46_ea3d];
    /// Where the direct map is.
    pub const HHDM: Id = [0x48dc_f1cb_8ad2_b852, 0x6398_4e95_9a98_244b];
    /// How many levels page tables are to have.
    pub const PAGING_MODE: Id = [0x95c1_a0ed_ab09_44cb, 0xa4e5_cb38_42f7_488a];
    /// Which cores there are; without it, they are not started.
    pub const MP: Id = [0x95a6_7b81_9a1b_857e, 0xa0b6_1b72_3b6a_73e0];
    /// What lies where in memory.
    pub const MEMORY_MAP: Id = [0x67cf_3d9d_378a_806f, 0xe304_acdf_c50c_3c62];
    /// Where to enter the kernel.
    pub const ENTRY_POINT: Id = [0x13d8_6c03_5a1c_d3e1, 0x2b0c_aa89_d8f3_026a];
    /// The kernel's file.
    pub const EXECUTABLE_FILE: Id = [0xad97_e90e_83f1_ed67, 0x31eb_5d1c_5ff2_3b69];
    /// Files that were loaded besides.
    pub const MODULES: Id = [0x3e7e_2797_02be_32af, 0xca1c_4f3b_d128_0cee];
    /// ACPI's root pointer.
    pub const RSDP: Id = [0xc5e7_7b6b_397e_7b43, 0x2763_7845_accd_cf3c];
    /// Where the kernel's image lies.
    pub const EXECUTABLE_ADDRESS: Id = [0x71ba_7686_3cc5_5f63, 0xb264_4a48_c516_a487];
}

/// More than QEMU can be told to load.
pub const MAX_MODULES: usize = 16;

/// The stack size that applies without a request, in bytes.
const STACK_SIZE: u64 = 64 * 1024;

/// A file that QEMU loaded.
#[derive(Clone, Copy)]
pub struct File<'a> {
    /// Where it is.
    pub content: Block,
    /// Its command line, without a zero at the end.
    pub command_line: &'a [u8],
}

/// The cores that wait to be started, and the first.
#[derive(Clone, Copy)]
pub struct Cores<'a> {
    /// Whether the local APICs are in x2APIC mode.
    pub x2apic: bool,
    /// The first core's APIC id.
    pub first: u32,
    /// Where each core's structure is, the first core's included.
    pub places: &'a [PhysAddr],
}

/// What the answers tell.
pub struct Facts<'a> {
    /// The kernel's file; its command line is the kernel's.
    pub executable: File<'a>,
    /// Where the kernel's image begins.
    pub image: (PhysAddr, VirtAddr),
    /// The other files.
    pub modules: &'a [File<'a>],
    /// ACPI's root pointer, if there is one.
    pub rsdp: Option<PhysAddr>,
    /// The cores, if they can be known.
    pub cores: Option<Cores<'a>>,
}

impl Facts<'_> {
    /// At least as many bytes as the answers take: fixed ones and a full memory
    /// map, files and strings, a pointer to each core.
    #[must_use]
    pub fn room(&self) -> u64 {
        let strings = |file: &File<'_>| file.command_line.len() + 256;
        let files = strings(&self.executable) + self.modules.iter().map(strings).sum::<usize>();
        let cores = self.cores.map_or(0, |cores| cores.places.len());
        (16 * 1024 + 2 * files + 8 * cores) as u64
    }
}

/// Memory that is filled from its beginning.
struct Arena<'a> {
    free: &'a mut [u8],
    next: VirtAddr,
}

impl Arena<'_> {
    fn place(&mut self, words: impl IntoIterator<Item = u64>) -> VirtAddr {
        let start = self.next;
        for word in words {
            self.push(&word.to_le_bytes());
        }
        start
    }

    /// Adds a zero, and keeps what follows on a boundary of 8.
    fn place_string(&mut self, string: &[u8]) -> VirtAddr {
        let start = self.next;
        self.push(string);
        let zeros = 8 - string.len() % 8;
        self.push(&[0; 8][..zeros]);
        start
    }

    fn push(&mut self, bytes: &[u8]) {
        let (place, free) = core::mem::take(&mut self.free).split_at_mut(bytes.len());
        place.copy_from_slice(bytes);
        self.free = free;
        self.next += bytes.len() as u64;
    }

    /// `limine_file`.
    fn place_file(&mut self, file: &File<'_>, path: &str) -> VirtAddr {
        let path = self.place_string(path.as_bytes()).as_u64();
        let command_line = self.place_string(file.command_line).as_u64();
        let address = direct_map(file.content.start).as_u64();
        let words = [0, address, file.content.size as u64, path, command_line];
        // Medium (generic), TFTP address and port, partition, disk; three UUIDs.
        self.place(words.into_iter().chain([0; 9]))
    }

    /// A pointer to an array of pointers.
    fn place_pointers(&mut self, pointers: impl IntoIterator<Item = VirtAddr>) -> u64 {
        self.place(pointers.into_iter().map(VirtAddr::as_u64))
            .as_u64()
    }
}

/// How large stacks are to be, in bytes.
#[must_use]
pub fn stack_size(requests: &Requests<'_>) -> u64 {
    requests
        .member(id::STACK_SIZE, 0)
        .unwrap_or(0)
        .max(STACK_SIZE)
}

/// Whether the kernel can do with page tables of 4 levels.
///
/// # Errors
///
/// [`Error::PagingMode`] if it cannot.
pub fn check_paging_mode(requests: &Requests<'_>) -> Result<()> {
    // Revision 1 added the largest and the smallest acceptable mode; 0 is 4 levels.
    let smallest = requests.member(id::PAGING_MODE, 2).unwrap_or(0);
    if requests.revision(id::PAGING_MODE).unwrap_or(0) >= 1 && smallest > 0 {
        return Err(Error::PagingMode);
    }
    Ok(())
}

/// Answers the kernel's requests; the answers go to `memory`, which begins at
/// `start`. The memory map has to be final.
///
/// # Panics
///
/// If `memory` is smaller than the facts' [room](Facts::room).
pub fn write(
    requests: &mut Requests<'_>,
    facts: &Facts<'_>,
    map: &MemoryMap,
    memory: &mut [u8],
    start: PhysAddr,
) {
    let arena = Arena {
        free: memory,
        next: direct_map(start),
    };
    let mut answers = Answers { requests, arena };

    answers.give(id::BOOTLOADER_INFO, |arena| {
        let name = arena.place_string(b"pmiscope-loader");
        let version = arena.place_string(env!("CARGO_PKG_VERSION").as_bytes());
        [name.as_u64(), version.as_u64()]
    });
    answers.give(id::EXECUTABLE_CMDLINE, |arena| {
        [arena.place_string(facts.executable.command_line).as_u64()]
    });
    answers.give(id::FIRMWARE_TYPE, |_| [0]); // BIOS: QEMU runs SeaBIOS before
    answers.give(id::STACK_SIZE, |_| []);
    answers.give(id::ENTRY_POINT, |_| []);
    answers.give(id::HHDM, |_| [DIRECT_MAP.as_u64()]);
    answers.give(id::PAGING_MODE, |_| [0]); // 4 levels
    answers.give(id::EXECUTABLE_ADDRESS, |_| {
        let (physical, virtual_) = facts.image;
        [physical.as_u64(), virtual_.as_u64()]
    });
    answers.give(id::EXECUTABLE_FILE, |arena| {
        [arena.place_file(&facts.executable, "/kernel").as_u64()]
    });
    // Without modules Limine leaves this unanswered. Revision 0 of the answer says
    // that modules which the kernel itself names were not looked for.
    if !facts.modules.is_empty() {
        answers.give(id::MODULES, |arena| {
            let files: ArrayVec<_, MAX_MODULES> = facts
                .modules
                .iter()
                .map(|file| arena.place_file(file, "/module"))
                .collect();
            [files.len() as u64, arena.place_pointers(files)]
        });
    }
    if let Some(rsdp) = facts.rsdp {
        answers.give(id::RSDP, |_| [direct_map(rsdp).as_u64()]);
    }
    if let Some(cores) = facts.cores {
        answers.give(id::MP, |arena| {
            let flags = u64::from(cores.x2apic) | u64::from(cores.first) << 32;
            let pointers = cores.places.iter().map(|&place| direct_map(place));
            [
                flags,
                cores.places.len() as u64,
                arena.place_pointers(pointers),
            ]
        });
    }
    answers.give(id::MEMORY_MAP, |arena| {
        let regions = map.regions();
        let words = |region: &Region| {
            [
                region.start.as_u64(),
                region.end - region.start,
                region.kind as u64,
            ]
        };
        let first = arena.place(regions.iter().flat_map(words));
        let pointers = (0..regions.len() as u64).map(|n| first + n * REGION_SIZE);
        [regions.len() as u64, arena.place_pointers(pointers)]
    });
}

/// `limine_memmap_entry`, in bytes.
const REGION_SIZE: u64 = 24;

struct Answers<'a, 'image, 'memory> {
    requests: &'a mut Requests<'image>,
    arena: Arena<'memory>,
}

impl Answers<'_, '_, '_> {
    /// Gives an answer of revision 0 with these members, if it was asked for.
    fn give<const N: usize>(&mut self, id: Id, members: impl FnOnce(&mut Arena<'_>) -> [u64; N]) {
        if self.requests.revision(id).is_some() {
            let members = members(&mut self.arena);
            let response = self.arena.place([0].into_iter().chain(members));
            self.requests.answer(id, response);
        }
    }
}

#[cfg(test)]
mod tests;
