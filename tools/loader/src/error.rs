//! Why a kernel is not started: one line each, which says what to do.

use core::fmt;

use x86_64::VirtAddr;

use crate::requests::Id;

/// What the loader's steps return.
pub type Result<T> = core::result::Result<T, Error>;

/// Why a kernel is not started.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
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
    /// The kernel is a shared object, an object file or a core dump.
    NotExecutable,
    /// The kernel's file ends before what its headers say.
    CutShort,
    /// Nothing of the kernel is to be loaded.
    NoSegments,
    /// The kernel has more segments than the loader has room for.
    TooManySegments,
    /// A segment does not lie in the top 2 GiB, or in its last page.
    SegmentOutside(VirtAddr),
    /// Two segments meet in the page at this address.
    SegmentsOverlap(VirtAddr),
    /// The kernel asks for the same thing twice.
    DuplicateRequest(Id),
    /// The kernel names its base revision twice.
    DuplicateBaseRevision,
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
                "the kernel is no static executable: link it with -Crelocation-model=static"
            ),
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
                "the kernel's segment at {:#x} is not in the top 2 GiB: link it at 0xffffffff80000000",
                address.as_u64()
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
            Self::TooManyRequests => write!(f, "the kernel has too many requests: remove some"),
            Self::PagingMode => write!(
                f,
                "the kernel wants 5-level paging, which this loader lacks: use stock Limine"
            ),
            Self::OutOfMemory(size) => {
                write!(
                    f,
                    "no free block of {} KiB below 4 GiB: give QEMU more memory (-m)",
                    size / 1024
                )
            }
            Self::MemoryMapTooLong => write!(f, "the firmware's memory map has too many regions"),
        }
    }
}
