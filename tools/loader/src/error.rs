//! Why a kernel is not started: one line each, which says what to do.

use x86_64::VirtAddr;

use crate::modules::MAX_MODULES;
use crate::relocation;
use crate::requests::{Id, NEWEST_BASE_REVISION};
use crate::text::Text;

/// What the loader's steps return.
pub type Result<T> = core::result::Result<T, Error>;

/// Why a kernel is not started.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Error {
    /// The structure at the loader's entry is not PVH's.
    #[error("not entered by PVH: use qemu-system-x86_64 -kernel loader")]
    NotPvh,
    /// There is no kernel.
    #[error("no kernel: give it to QEMU as -initrd KERNEL")]
    NoModule,
    /// A module is not where the loader can read it.
    #[error("a module does not begin on a page below 4 GiB: load it by QEMU's -initrd")]
    ModuleMisplaced,
    /// The kernel is no ELF file of 64 bits.
    #[error("the kernel (-initrd) is no 64-bit ELF file: build it again")]
    NotElf,
    /// The kernel is for another machine.
    #[error("the kernel is not for x86-64: build it for this machine")]
    NotX86_64,
    /// The kernel is an object file or a core dump.
    #[error("the kernel is an object file or a core dump: link it as an executable")]
    NotExecutable,
    /// The kernel needs a shared library.
    #[error("the kernel needs a shared library: link it by -static or -static-pie")]
    SharedLibrary,
    /// The kernel is to be moved, and was linked for a fixed address.
    #[error(
        "the kernel is linked for a fixed address and cannot be moved: link it as PIE, or leave out --kaslr"
    )]
    NotRelocatable,
    /// The kernel is to be moved, and fills the top 2 GiB.
    #[error("the kernel leaves no room in the top 2 GiB to be moved: leave out --kaslr")]
    NoRoomToMove,
    /// The kernel has a relocation that only a linker can apply.
    #[error(
        "the kernel has a relocation of type {0}, and only R_X86_64_RELATIVE can be applied: link it by -static-pie, without symbols that others may define (-fvisibility=hidden)"
    )]
    RelocationType(relocation::Type),
    /// The kernel's relocations make no sense.
    #[error("the kernel's relocations are damaged: link it again")]
    RelocationTable,
    /// The kernel's file ends before what its headers say.
    #[error("the kernel's file is cut short or damaged: build it again")]
    CutShort,
    /// Nothing of the kernel is to be loaded.
    #[error("the kernel has nothing to load: its linker script needs PT_LOAD segments")]
    NoSegments,
    /// The kernel has more segments than the loader has room for.
    #[error("the kernel has too many PT_LOAD segments: merge some in its linker script")]
    TooManySegments,
    /// A segment does not lie in the top 2 GiB, or in its last page.
    #[error(
        "the kernel's segment at {0:#x} is not in the top 2 GiB: link it at 0xffffffff80000000"
    )]
    SegmentOutside(u64),
    /// Two segments meet in the page at this address.
    #[error("two of the kernel's segments overlap in the page at {0:#x}: align them to 4 KiB")]
    SegmentsOverlap(VirtAddr),
    /// The kernel asks for the same thing twice.
    #[error("the kernel has the request {:#018x} {:#018x} twice: remove one", .0[0], .0[1])]
    DuplicateRequest(Id),
    /// The kernel names its base revision twice.
    #[error("the kernel has two base revision tags: remove one")]
    DuplicateBaseRevision,
    /// The kernel asks for a base revision that is newer than the loader.
    #[error("the kernel asks for base revision {0} of the Limine protocol, and this loader knows 0 to {newest}: ask for {newest}, or boot it from an image with a newer Limine (--disc)", newest = NEWEST_BASE_REVISION)]
    BaseRevision(u64),
    /// The kernel's own list of its requests leads out of its image.
    #[error(
        "the kernel's section .limine_reqs lists a request that is not in its image: end it with a zero, or leave it out"
    )]
    RequestList,
    /// A file that the kernel cannot do without was not given.
    #[error(
        "the kernel requires the module {0}: give it by --module FILE, with a FILE of that name"
    )]
    ModuleMissing(Text),
    /// The kernel wants the loader to decompress a file.
    #[error(
        "the kernel wants the module {0} decompressed, which Limine dropped: decompress it in the kernel"
    )]
    ModuleCompressed(Text),
    /// There are more files than the loader has room for.
    #[error("more than {} modules: put some of them into one file", MAX_MODULES)]
    TooManyModules,
    /// The kernel's list of modules leads out of its image.
    #[error(
        "the kernel's list of internal modules leads out of its image: check its module request"
    )]
    ModuleList,
    /// QEMU's configuration device does not give what it says that it has.
    #[error(
        "QEMU's device fw_cfg does not give its files: use a machine that has one, such as q35"
    )]
    FwCfg,
    /// The seed for KASLR is no number.
    #[error("the seed for KASLR (fw_cfg, opt/pmiscope/kaslr) is no number: give decimal digits")]
    Seed,
    /// The kernel has more requests than Limine takes.
    #[error("the kernel has too many requests: remove some")]
    TooManyRequests,
    /// The kernel insists on paging of 5 levels.
    #[error("the kernel wants 5-level paging, which this loader lacks: use stock Limine")]
    PagingMode,
    /// No free block of so many bytes.
    #[error("no free block of {} KiB below 4 GiB: give QEMU more memory (--memory)", .0 / 1024)]
    OutOfMemory(u64),
    /// The memory map has more regions than the loader has room for.
    #[error("the firmware's memory map has too many regions")]
    MemoryMapTooLong,
}
