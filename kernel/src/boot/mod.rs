//! What a boot loader has to say, as one value; nothing else sees Limine.
//!
//! The answers lie in memory that the map calls bootloader-reclaimable. The
//! kernel leaves it alone: [`BootInfo`] points into it, and the other cores wait
//! in it until they are started. It is a few MiB at most.

pub mod entry;
mod firmware;
mod framebuffer;
mod modules;
mod requests;

use core::fmt;

use kernel_core::screen::Unusable;
use kernel_core::words::Words;
use limine::memmap;
use limine::mp::MpInfo;
use limine::request::MpResponse;
use spin::Once;
use x86_64::{PhysAddr, VirtAddr};

pub use firmware::Firmware;
pub use framebuffer::Screen;
pub use modules::Module;

/// What lies in a region of physical memory.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum RegionKind {
    /// Free for the kernel.
    Usable,
    /// The boot loader's answers, page tables and stacks.
    Bootloader,
    /// The kernel and what was loaded with it.
    Image,
    /// ACPI tables.
    Acpi,
    /// Nothing to be touched: reserved, bad, device or frame buffer memory.
    Other,
}

/// A region of physical memory.
#[derive(Clone, Copy, Debug)]
pub struct Region {
    /// The first address.
    pub start: PhysAddr,
    /// The first address past it.
    pub end: PhysAddr,
    /// What lies there.
    pub kind: RegionKind,
}

/// What the boot loader told.
pub struct BootInfo {
    /// The boot loader's name.
    pub bootloader: &'static str,
    /// The boot loader's version.
    pub bootloader_version: &'static str,
    /// The words that the kernel was started with.
    pub command_line: &'static str,
    /// Where the image begins in physical memory; it is contiguous there.
    pub image_physical: PhysAddr,
    /// Where the image begins in virtual memory.
    pub image_virtual: VirtAddr,
    /// Physical address zero in the direct map. The kernel's own page tables
    /// keep the offset, so that what is read here stays readable.
    pub direct_map: VirtAddr,
    /// What firmware says.
    pub firmware: Firmware,
    /// The first framebuffer.
    pub screen: Result<Screen, Unusable>,
    memory_map: &'static [&'static memmap::Entry],
    cores: &'static MpResponse,
}

/// Collects the boot loader's answers.
///
/// # Panics
///
/// If it does not know the base revision, or left a needed request unanswered.
pub fn info() -> &'static BootInfo {
    static INFO: Once<BootInfo> = Once::new();
    INFO.call_once(collect)
}

fn collect() -> BootInfo {
    assert!(
        requests::BASE_REVISION.is_supported(),
        "the boot loader does not know base revision 2 of the Limine protocol"
    );
    let bootloader = requests::BOOTLOADER.response();
    let file = requests::EXECUTABLE_FILE.response();
    let file = file.map(|response| response.executable_file());
    let command_line = match requests::COMMAND_LINE.response() {
        Some(response) => response.cmdline(),
        None => file.map_or("", |file| file.cmdline()),
    };
    let address = requests::EXECUTABLE_ADDRESS.response();
    let address = address.expect("the boot loader does not say where the kernel lies");
    let direct_map = requests::DIRECT_MAP.response();
    let direct_map = direct_map.expect("the boot loader does not say where the direct map is");
    let direct_map = VirtAddr::new(direct_map.offset);
    let memory_map = requests::MEMORY_MAP.response();
    let memory_map = memory_map.expect("the boot loader gives no memory map");
    let cores = requests::CORES.response();
    let cores = cores.expect("the boot loader does not say which cores there are");
    let memory_map = memory_map.entries();
    // What is not understood of them is said later.
    let words = Words::parse(command_line).unwrap_or_default();
    let tables = firmware::Tables::new(direct_map, memory_map);
    BootInfo {
        bootloader: bootloader.map_or("unknown", |response| response.name()),
        bootloader_version: bootloader.map_or("", |response| response.version()),
        command_line,
        image_physical: PhysAddr::new(address.physical_base),
        image_virtual: VirtAddr::new(address.virtual_base),
        direct_map,
        firmware: Firmware::find(direct_map, &tables, &words),
        screen: framebuffer::find(direct_map, &tables),
        memory_map,
        cores,
    }
}

impl BootInfo {
    /// The boot loader's name and version.
    pub fn loader(&self) -> impl fmt::Display {
        let (name, version) = (self.bootloader, self.bootloader_version);
        fmt::from_fn(move |f| write!(f, "{name} {version}"))
    }

    /// The memory map, in ascending order. Usable regions begin and end on pages
    /// and overlap with nothing; others need not.
    pub fn regions(&self) -> impl Iterator<Item = Region> + Clone {
        regions(self.memory_map)
    }

    /// Files that the boot loader has brought beside the kernel.
    pub fn modules(&self) -> impl Iterator<Item = Module> {
        modules::all()
    }

    /// The APIC ids of all cores, that of the first core (on which the boot
    /// loader entered the kernel) first.
    pub fn apic_ids(&self) -> impl Iterator<Item = u32> {
        let first = self.cores.bsp_lapic_id;
        let all = self.cores.cpus().iter().map(|core| core.lapic_id);
        core::iter::once(first).chain(all.filter(move |&id| id != first))
    }

    fn core(&self, apic_id: u32) -> Option<&'static MpInfo> {
        let cores = self.cores.cpus();
        cores.iter().find(|core| core.lapic_id == apic_id).copied()
    }
}

fn regions(memory_map: &'static [&'static memmap::Entry]) -> impl Iterator<Item = Region> + Clone {
    memory_map.iter().map(|entry| Region {
        start: PhysAddr::new(entry.base),
        end: PhysAddr::new(entry.base + entry.length),
        kind: match entry.type_ {
            memmap::MEMMAP_USABLE => RegionKind::Usable,
            memmap::MEMMAP_BOOTLOADER_RECLAIMABLE => RegionKind::Bootloader,
            memmap::MEMMAP_EXECUTABLE_AND_MODULES => RegionKind::Image,
            memmap::MEMMAP_ACPI_RECLAIMABLE | memmap::MEMMAP_ACPI_NVS => RegionKind::Acpi,
            _ => RegionKind::Other,
        },
    })
}
