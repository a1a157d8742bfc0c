//! The answers to the kernel's requests, as rows of 64-bit words: every structure
//! of the protocol is one, where two 32-bit members share a word, the first in
//! its low half. Pointers are into the direct map.

use arrayvec::ArrayVec;
use x86_64::{PhysAddr, VirtAddr};

use crate::memory_map::{MemoryMap, Region};
use crate::modules::{MAX_MODULES, Modules, Named, without_lead};
use crate::pvh::Block;
use crate::requests::{Id, Requests};
use crate::smbios::Smbios;
use crate::{DIRECT_MAP, Error, Result, direct_map, framebuffer};

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
    /// A screen.
    pub const FRAMEBUFFER: Id = [0x9d58_27dc_d881_dd75, 0xa314_8604_f6fa_b11b];
    /// Not of the protocol: the kernel does without a screen ("pmiscopeoptional").
    pub const FRAMEBUFFER_IS_OPTIONAL: Id = [0x706d_6973_636f_7065, 0x6f70_7469_6f6e_616c];
    /// Not of the protocol: the kernel does without modules ("pmiscopemodules?").
    pub const MODULES_ARE_OPTIONAL: Id = [0x706d_6973_636f_7065, 0x6d6f_6475_6c65_733f];
    /// Where SMBIOS tables are.
    pub const SMBIOS: Id = [0x9e90_46f1_1e09_5391, 0xaa4a_520f_efbd_e5ee];
    /// What the clock says.
    pub const DATE_AT_BOOT: Id = [0x5027_46e1_84c0_88aa, 0xfbc5_ec83_e632_7893];
    /// How long booting took.
    pub const PERFORMANCE: Id = [0x6b50_ad9b_f36d_13ad, 0xdc4c_7e88_fc75_9e17];
    /// Not to switch off IOMMUs, which this loader never does.
    pub const KEEP_IOMMU: Id = [0x8eba_abe5_1f49_0179, 0x2aa8_6a59_ffb4_ab0f];
    /// UEFI's system table.
    pub const EFI_SYSTEM_TABLE: Id = [0x5ceb_a516_3eaa_f6d6, 0x0a69_8161_0cf6_5fcc];
    /// UEFI's memory map.
    pub const EFI_MEMORY_MAP: Id = [0x7df6_2a43_1d68_72d5, 0xa4fc_dfb3_e573_06c8];
    /// A description of the machine as other architectures have it.
    pub const DEVICE_TREE: Id = [0xb40d_db48_fb54_bac7, 0x5450_8149_3f81_ffb7];
    /// Which core of a RISC-V machine is the first.
    pub const RISCV_HART: Id = [0x1369_359f_0255_25f9, 0x2ff2_a561_7839_1bb6];
    /// What the boot loader's own terminal looks like.
    pub const FLANTERM: Id = [0x3259_399f_e7c5_f126, 0xe01c_1c8c_5db9_d1a9];
    /// The boot loader's own terminal, which Limine had until version 5.
    pub const TERMINAL: Id = [0xc8ac_5931_0c2b_0844, 0xa68d_0c72_65d3_8878];
    /// What became the paging mode.
    pub const FIVE_LEVELS: Id = [0x9446_9551_da9b_3192, 0xebe5_e86d_b738_2888];
}

/// The stack size that applies without a request, in bytes.
const STACK_SIZE: u64 = 64 * 1024;

/// A file that QEMU loaded.
#[derive(Clone, Copy)]
pub struct File<'a> {
    /// Where it is.
    pub content: Block,
    /// Its path, with a leading slash and without a zero at the end.
    pub path: &'a [u8],
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

/// What is known of the machine.
#[derive(Clone, Copy, Default)]
pub struct Machine {
    /// ACPI's root pointer, if there is one.
    pub rsdp: Option<PhysAddr>,
    /// The firmware's other tables.
    pub smbios: Smbios,
    /// Where the screen's memory is, if there is a screen.
    pub framebuffer: Option<PhysAddr>,
    /// Whether firmware asks not to use x2APIC mode.
    pub opts_out_of_x2apic: bool,
    /// The date, in seconds since 1970, if the clock knows it.
    pub date: Option<i64>,
    /// When the loader began, and now, in microseconds since the machine's reset.
    pub times: Option<[u64; 2]>,
}

/// What the answers tell.
pub struct Facts<'a> {
    /// The kernel's file; its command line is the kernel's.
    pub executable: File<'a>,
    /// Where the kernel's image begins.
    pub image: (PhysAddr, VirtAddr),
    /// The other files.
    pub files: &'a [File<'a>],
    /// Which of them are which modules.
    pub modules: &'a Modules,
    /// The cores, if they can be known.
    pub cores: Option<Cores<'a>>,
    /// The machine.
    pub machine: Machine,
}

impl Facts<'_> {
    /// At least as many bytes as the answers take: fixed ones and a full memory map,
    /// files and strings (those of modules that the kernel names are in its image), a
    /// pointer to each core.
    #[must_use]
    pub fn room(&self, requests: &Requests<'_>) -> u64 {
        let strings = |file: &File<'_>| file.command_line.len() + file.path.len() + 256;
        let files = strings(&self.executable) + self.files.iter().map(strings).sum::<usize>();
        let named = self
            .modules
            .named
            .iter()
            .flat_map(|it| [it.path, it.string]);
        let named = named.map(|address| requests.string(address).map_or(0, <[u8]>::len) + 256);
        let cores = self.cores.map_or(0, |cores| cores.places.len());
        (16 * 1024 + 2 * files + 8 * cores + named.sum::<usize>()) as u64
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

    fn place_string(&mut self, string: &[u8]) -> VirtAddr {
        self.place_joined(b"", string)
    }

    /// Adds a zero, and keeps what follows on a boundary of 8.
    fn place_joined(&mut self, head: &[u8], tail: &[u8]) -> VirtAddr {
        let start = self.next;
        self.push(head);
        self.push(tail);
        let zeros = 8 - (head.len() + tail.len()) % 8;
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
    fn place_file(&mut self, file: &File<'_>) -> VirtAddr {
        let path = self.place_string(file.path).as_u64();
        let command_line = self.place_string(file.command_line).as_u64();
        let address = direct_map(file.content.start).as_u64();
        let words = [0, address, file.content.size as u64, path, command_line];
        // Medium (generic), TFTP address and port, partition, disk; three UUIDs.
        self.place(words.into_iter().chain([0; 9]))
    }

    /// The `limine_file` of a module that the kernel names.
    fn place_named(
        &mut self,
        requests: &Requests<'_>,
        facts: &Facts<'_>,
        named: &Named,
    ) -> VirtAddr {
        let file = &facts.files[named.file];
        let string = |address| requests.string(address).unwrap_or_default();
        let path = without_lead(string(named.path));
        let place = self.place_joined(b"/", path).as_u64();
        let string = self.place_string(string(named.string)).as_u64();
        let address = direct_map(file.content.start).as_u64();
        let words = [0, address, file.content.size as u64, place, string];
        self.place(words.into_iter().chain([0; 9]))
    }

    /// `limine_framebuffer`, with the one mode that there is.
    fn place_framebuffer(&mut self, start: PhysAddr) -> VirtAddr {
        let format = framebuffer::pixel_format();
        let sizes = [framebuffer::PITCH, framebuffer::WIDTH, framebuffer::HEIGHT];
        let mode = self.place(sizes.into_iter().chain(format));
        let modes = self.place_pointers([mode]);
        let [pitch, width, height] = sizes;
        let address = direct_map(start).as_u64();
        let words = [address, width, height, pitch];
        let no_edid = [0, 0];
        self.place(
            words
                .into_iter()
                .chain(format)
                .chain(no_edid)
                .chain([1, modes]),
        )
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
    answers.give_the_kernels_own(facts);
    answers.give_the_machines(&facts.machine);
    answers.give_modules(facts);
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
    /// What does not depend on the machine.
    fn give_the_kernels_own(&mut self, facts: &Facts<'_>) {
        self.give(id::BOOTLOADER_INFO, |arena| {
            let name = arena.place_string(b"pmiscope-loader");
            let version = arena.place_string(env!("CARGO_PKG_VERSION").as_bytes());
            [name.as_u64(), version.as_u64()]
        });
        self.give(id::EXECUTABLE_CMDLINE, |arena| {
            [arena.place_string(facts.executable.command_line).as_u64()]
        });
        self.give(id::STACK_SIZE, |_| []);
        self.give(id::ENTRY_POINT, |_| []);
        self.give(id::KEEP_IOMMU, |_| []);
        self.give(id::HHDM, |_| [DIRECT_MAP.as_u64()]);
        self.give(id::PAGING_MODE, |_| [0]); // 4 levels
        self.give(id::EXECUTABLE_ADDRESS, |_| {
            let (physical, virtual_) = facts.image;
            [physical.as_u64(), virtual_.as_u64()]
        });
        self.give(id::EXECUTABLE_FILE, |arena| {
            [arena.place_file(&facts.executable).as_u64()]
        });
    }

    /// What is there on this machine. Where firmware tables are is said by addresses of
    /// the direct map, or physical ones:
    ///
    /// | base revision | 0 to 2 | 3 | 4 | 5, 6 |
    /// |---|---|---|---|---|
    /// | RSDP | direct map | physical | direct map | direct map |
    /// | SMBIOS | direct map | physical | physical | direct map |
    fn give_the_machines(&mut self, machine: &Machine) {
        let revision = self.requests.base_revision();
        let place = |address: PhysAddr, is_physical| {
            if is_physical {
                address.as_u64()
            } else {
                direct_map(address).as_u64()
            }
        };
        self.give(id::FIRMWARE_TYPE, |_| [0]); // BIOS: QEMU runs SeaBIOS before
        if let Some(rsdp) = machine.rsdp {
            self.give(id::RSDP, |_| [place(rsdp, revision == 3)]);
        }
        let smbios = [machine.smbios.narrow, machine.smbios.wide];
        if smbios.iter().any(Option::is_some) {
            let is_physical = matches!(revision, 3 | 4);
            self.give(id::SMBIOS, |_| {
                smbios.map(|entry| entry.map_or(0, |entry| place(entry.itself.start, is_physical)))
            });
        }
        if let Some(date) = machine.date {
            self.give(id::DATE_AT_BOOT, |_| [date.cast_unsigned()]);
        }
        if let Some([begun, now]) = machine.times {
            self.give(id::PERFORMANCE, |_| [0, begun, now]);
        }
        if let Some(start) = machine.framebuffer {
            self.give_revision(1, id::FRAMEBUFFER, |_, arena| {
                let framebuffer = arena.place_framebuffer(start);
                [1, arena.place_pointers([framebuffer])]
            });
        }
    }

    /// Modules, those first that the kernel names: revision 1 says that they were looked
    /// for. Where there are none Limine gives no answer.
    fn give_modules(&mut self, facts: &Facts<'_>) {
        let Facts { files, modules, .. } = facts;
        if modules.is_empty() {
            return;
        }
        self.give_revision(1, id::MODULES, |requests, arena| {
            let mut places = ArrayVec::<_, { 2 * MAX_MODULES }>::new();
            for named in &modules.named {
                places.push(arena.place_named(requests, facts, named));
            }
            for &file in &modules.others {
                places.push(arena.place_file(&files[file]));
            }
            [places.len() as u64, arena.place_pointers(places)]
        });
    }

    /// Gives an answer of revision 0 with these members, if it was asked for.
    fn give<const N: usize>(&mut self, id: Id, members: impl FnOnce(&mut Arena<'_>) -> [u64; N]) {
        self.give_revision(0, id, |_, arena| members(arena));
    }

    /// The same, of another revision, by what else the kernel asks.
    fn give_revision<const N: usize>(
        &mut self,
        revision: u64,
        id: Id,
        members: impl FnOnce(&Requests<'_>, &mut Arena<'_>) -> [u64; N],
    ) {
        if self.requests.revision(id).is_some() {
            let members = members(self.requests, &mut self.arena);
            let response = self.arena.place([revision].into_iter().chain(members));
            self.requests.answer(id, response);
        }
    }
}

#[cfg(test)]
mod tests;
