//! Why a kernel is not started: one line each, which says what to do.

use core::fmt;

use x86_64::VirtAddr;

use crate::modules::MAX_MODULES;
use crate::relocation;
use crate::requests::{Id, NEWEST_BASE_REVISION};
use crate::text::Text;

/// What the loader's steps return.
pub type Result<T> = core::result::Result<T, Error>;

/// Why a kernel is not started.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Error {
    /// The structure at the loader's entry is not PVH's.
    NotPvh,
    /// There is no kernel.
    NoModule,
    /// A module is not where the loader can read it.
    ModuleMisplaced,
    /// The kernel is no ELF file of 64 bits.
    NotElf,
    /// The kernel is for another machine.
    NotX86_64,
    /// The kernel is an object file or a core dump.
    NotExecutable,
    /// The kernel needs a shared library.
    SharedLibrary,
    /// The kernel is to be moved, and was linked for a fixed address.
    NotRelocatable,
    /// The kernel is to be moved, and fills the top 2 GiB.
    NoRoomToMove,
    /// The kernel has a relocation that only a linker can apply.
    RelocationType(relocation::Type),
    /// The kernel's relocations make no sense.
    RelocationTable,
    /// The kernel's file ends before what its headers say.
    CutShort,
    /// Nothing of the kernel is to be loaded.
    NoSegments,
    /// The kernel has more segments than the loader has room for.
    TooManySegments,
    /// A segment does not lie in the top 2 GiB, or in its last page.
    SegmentOutside(u64),
    /// Two segments meet in the page at this address.
    SegmentsOverlap(VirtAddr),
    /// The kernel asks for the same thing twice.
    DuplicateRequest(Id),
    /// The kernel names its base revision twice.
    DuplicateBaseRevision,
    /// The kernel asks for a base revision that is newer than the loader.
    BaseRevision(u64),
    /// The kernel's own list of its requests leads out of its image.
    RequestList,
    /// A file that the kernel cannot do without was not given.
    ModuleMissing(Text),
    /// The kernel wants the loader to decompress a file.
    ModuleCompressed(Text),
    /// There are more files than the loader has room for.
    TooManyModules,
    /// The kernel's list of modules leads out of its image.
    ModuleList,
    /// QEMU's configuration device does not give what it says that it has.
    FwCfg,
    /// The seed for KASLR is no number.
    Seed,
    /// The kernel has more requests than Limine takes.
    TooManyRequests,
    /// The kernel insists on paging of 5 levels.
    PagingMode,
    /// No free block of so many bytes.
    OutOfMemory(u64),
    /// The memory map has more regions than the loader has room for.
    MemoryMapTooLong,
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotPvh => write!(
                f,
                "not entered by PVH: use qemu-system-x86_64 -kernel loader"
            ),
            Self::NoModule => write!(f, "no kernel: give it to QEMU as -initrd KERNEL"),
            Self::ModuleMisplaced => write!(
                f,
                "a module does not begin on a page below 4 GiB: load it by QEMU's -initrd"
            ),
            Self::NotElf => write!(
                f,
                "the kernel (-initrd) is no 64-bit ELF file: build it again"
            ),
            Self::NotX86_64 => write!(f, "the kernel is not for x86-64: build it for this machine"),
            Self::NotExecutable => write!(
                f,
                "the kernel is an object file or a core dump: link it as an executable"
            ),
            Self::SharedLibrary => write!(
                f,
                "the kernel needs a shared library: link it by -static or -static-pie"
            ),
            Self::NotRelocatable => write!(
                f,
                "the kernel is linked for a fixed address and cannot be moved: link it as PIE, or leave out --kaslr"
            ),
            Self::NoRoomToMove => write!(
                f,
                "the kernel leaves no room in the top 2 GiB to be moved: leave out --kaslr"
            ),
            Self::RelocationType(kind) => write!(
                f,
                "the kernel has a relocation of type {kind}, and only R_X86_64_RELATIVE can be applied: link it by -static-pie, without symbols that others may define (-fvisibility=hidden)"
            ),
            Self::RelocationTable => {
                write!(f, "the kernel's relocations are damaged: link it again")
            }
            Self::CutShort => write!(
                f,
                "the kernel's file is cut short or damaged: build it again"
            ),
            Self::NoSegments => write!(
                f,
                "the kernel has nothing to load: its linker script needs PT_LOAD segments"
            ),
            Self::TooManySegments => write!(
                f,
                "the kernel has too many PT_LOAD segments: merge some in its linker script"
            ),
            Self::SegmentOutside(address) => write!(
                f,
                "the kernel's segment at {address:#x} is not in the top 2 GiB: link it at 0xffffffff80000000"
            ),
            Self::SegmentsOverlap(address) => write!(
                f,
                "two of the kernel's segments overlap in the page at {:#x}: align them to 4 KiB",
                address.as_u64()
            ),
            Self::DuplicateRequest([a, b]) => write!(
                f,
                "the kernel has the request {a:#018x} {b:#018x} twice: remove one"
            ),
            Self::DuplicateBaseRevision => {
                write!(f, "the kernel has two base revision tags: remove one")
            }
            Self::BaseRevision(asked) => write!(
                f,
                "the kernel asks for base revision {asked} of the Limine protocol, and this loader knows 0 to {NEWEST_BASE_REVISION}: ask for {NEWEST_BASE_REVISION}, or boot it from an image with a newer Limine (--disc)"
            ),
            Self::RequestList => write!(
                f,
                "the kernel's section .limine_reqs lists a request that is not in its image: end it with a zero, or leave it out"
            ),
            Self::ModuleMissing(path) => write!(
                f,
                "the kernel requires the module {path}: give it by --module FILE, with a FILE of that name"
            ),
            Self::ModuleCompressed(path) => write!(
                f,
                "the kernel wants the module {path} decompressed, which Limine dropped: decompress it in the kernel"
            ),
            Self::TooManyModules => write!(
                f,
                "more than {MAX_MODULES} modules: put some of them into one file"
            ),
            Self::ModuleList => write!(
                f,
                "the kernel's list of internal modules leads out of its image: check its module request"
            ),
            Self::FwCfg => write!(
                f,
                "QEMU's device fw_cfg does not give its files: use a machine that has one, such as q35"
            ),
            Self::Seed => write!(
                f,
                "the seed for KASLR (fw_cfg, opt/pmiscope/kaslr) is no number: give decimal digits"
            ),
            Self::TooManyRequests => write!(f, "the kernel has too many requests: remove some"),
            Self::PagingMode => write!(
                f,
                "the kernel wants 5-level paging, which this loader lacks: use stock Limine"
            ),
            Self::OutOfMemory(size) => {
                write!(
                    f,
                    "no free block of {} KiB below 4 GiB: give QEMU more memory (--memory)",
                    size / 1024
                )
            }
            Self::MemoryMapTooLong => write!(f, "the firmware's memory map has too many regions"),
        }
    }
}
