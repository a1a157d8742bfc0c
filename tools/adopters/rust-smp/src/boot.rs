//! What the boot loader is asked for.

use core::fmt;

use limine::memmap::MEMMAP_USABLE;
use limine::mp::{MpGotoFunction, MpRespData};
use limine::request::{
    ExecutableAddressRequest, ExecutableFileRequest, HhdmRequest, MemmapRequest, MpRequest,
};
use limine::{BaseRevision, RequestsEndMarker, RequestsStartMarker};

use crate::cpu;

#[used]
#[unsafe(link_section = ".requests_start_marker")]
static START: RequestsStartMarker = RequestsStartMarker::new();

/// The last one whose direct map has the devices, too: of the first 4 GiB.
#[used]
#[unsafe(link_section = ".requests")]
static BASE_REVISION: BaseRevision = BaseRevision::with_revision(2);

/// With its command line. (The request for that alone is newer than Limine 8.2.)
#[used]
#[unsafe(link_section = ".requests")]
static FILE: ExecutableFileRequest = ExecutableFileRequest::new();

#[used]
#[unsafe(link_section = ".requests")]
static DIRECT_MAP: HhdmRequest = HhdmRequest::new();

#[used]
#[unsafe(link_section = ".requests")]
static MEMORY_MAP: MemmapRequest = MemmapRequest::new();

#[used]
#[unsafe(link_section = ".requests")]
static KERNEL_ADDRESS: ExecutableAddressRequest = ExecutableAddressRequest::new();

#[used]
#[unsafe(link_section = ".requests")]
static CORES: MpRequest = MpRequest::new(0);

#[used]
#[unsafe(link_section = ".requests_end_marker")]
static END: RequestsEndMarker = RequestsEndMarker::new();

/// The loader's answers.
pub struct Boot {
    /// The kernel's command line.
    pub command_line: &'static str,
    /// Where physical memory is mapped.
    pub direct_map: u64,
    mp: &'static MpRespData,
}

impl Boot {
    /// Reads them.
    pub fn get() -> Self {
        assert!(BASE_REVISION.is_supported(), "base revision 2 is needed");
        Self {
            command_line: FILE
                .response()
                .map_or("", |it| it.executable_file().cmdline()),
            direct_map: DIRECT_MAP.response().expect("a direct map").offset,
            mp: CORES.response().expect("the list of cores"),
        }
    }

    /// The number of cores that this kernel uses.
    pub fn cores(&self) -> usize {
        self.mp.cpus().len().min(cpu::MAX_CORES)
    }

    /// The local APIC ids of those cores, the first core's first.
    pub fn apic_ids(&self) -> [u32; cpu::MAX_CORES] {
        let first = self.mp.bsp_lapic_id;
        let others = self.mp.cpus().iter().map(|it| it.lapic_id);
        let mut ids = core::iter::once(first).chain(others.filter(|&id| id != first));
        [(); cpu::MAX_CORES].map(|()| ids.next().unwrap_or(0))
    }

    /// Lets all cores but this one enter the kernel at `entry`, on the loader's stacks. Each
    /// has its index as the extra argument; the first core's is 0.
    pub fn start_others(&self, entry: MpGotoFunction) {
        let first = self.mp.bsp_lapic_id;
        let others = self.mp.cpus().iter().filter(|it| it.lapic_id != first);
        for (index, core) in (1..self.cores()).zip(others) {
            core.bootstrap(entry, index as u64);
        }
    }
}

impl fmt::Display for Boot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let entries = MEMORY_MAP.response().map_or(&[][..], |it| it.entries());
        let usable = entries.iter().filter(|it| it.type_ == MEMMAP_USABLE);
        let bytes: u64 = usable.map(|it| it.length).sum();
        let physical = KERNEL_ADDRESS.response().map_or(0, |it| it.physical_base);
        write!(
            f,
            "command line `{}`; {} cores; {} MiB of memory; kernel at {physical:#x}",
            self.command_line,
            self.cores(),
            bytes >> 20,
        )
    }
}
