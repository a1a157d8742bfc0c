use core::fmt;

/// Why a program is not loaded: one line, which says what to do.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Error {
    /// It is no ELF file.
    NotElf,
    /// It is for another machine.
    NotX86_64,
    /// It is an object file or a core dump.
    NotExecutable,
    /// Its file ends before what its headers say.
    CutShort,
    /// Nothing of it is to be loaded.
    NoSegments,
    /// It has more segments than there is room for.
    TooManySegments,
    /// It takes too much memory.
    TooLarge,
    /// The segment at this address is not where processes are.
    Outside(u64),
    /// Two segments meet in the page at this address.
    Overlap(u64),
    /// The segment at this address is both written and executed.
    WrittenAndExecuted(u64),
    /// A segment has this alignment.
    Alignment(u64),
    /// This address, where it begins, is in no segment that is executed.
    Entry(u64),
    /// It wants to be loaded by a dynamic linker.
    Interpreter,
    /// It needs a shared library.
    SharedLibrary,
    /// It has variables of which each thread has its own.
    ThreadLocal,
    /// It wants stacks that are executed.
    ExecutableStack,
    /// It has a relocation of this type.
    RelocationType(u32),
    /// Its relocations are in the compact form.
    CompactRelocations,
    /// Its relocations are not in its file, or of a length that they cannot have.
    RelocationTable,
    /// A relocation changes the word at this address, which is in no segment.
    RelocationOutside(u64),
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::NotElf => f.write_str("no ELF file: give a program"),
            Self::NotX86_64 => f.write_str("not for x86-64: build it for this machine"),
            Self::NotExecutable => {
                f.write_str("an object file or a core dump: link it as an executable")
            }
            Self::CutShort => f.write_str("the file is cut short or damaged: build it again"),
            Self::NoSegments => f.write_str("nothing to load: it needs PT_LOAD segments"),
            Self::TooManySegments => f.write_str("too many PT_LOAD segments: merge some"),
            Self::TooLarge => write!(
                f,
                "it takes more than {} MiB of memory: make its variables smaller",
                super::MOST_BYTES >> 20
            ),
            Self::Outside(at) => write!(
                f,
                "the segment at {at:#x} is not between {:#x} and {:#x}: link it there",
                super::USER.start,
                super::USER.end
            ),
            Self::Overlap(at) => write!(
                f,
                "two segments overlap in the page at {at:#x}: align them to 4 KiB"
            ),
            Self::WrittenAndExecuted(at) => write!(
                f,
                "the segment at {at:#x} is both written and executed: link code and data apart"
            ),
            Self::Alignment(align) => write!(
                f,
                "a segment is aligned to {align:#x}: link it with a power of two up to {:#x}",
                super::MOST_ALIGN
            ),
            Self::Entry(at) => write!(f, "the entry {at:#x} is not code: give it one when linking"),
            Self::Interpreter => {
                f.write_str("it wants a dynamic linker: link it by -static or -static-pie")
            }
            Self::SharedLibrary => {
                f.write_str("it needs a shared library: link it by -static or -static-pie")
            }
            Self::ThreadLocal => {
                f.write_str("it has thread-local variables, which there are not: do without")
            }
            Self::ExecutableStack => {
                f.write_str("it wants an executable stack: link it by -z noexecstack")
            }
            Self::RelocationType(kind) => write!(
                f,
                "a relocation of type {kind}, and only R_X86_64_RELATIVE can be applied: link it by -static-pie"
            ),
            Self::CompactRelocations => f.write_str(
                "its relocations are in the form RELR: link it without -z pack-relative-relocs",
            ),
            Self::RelocationTable => f.write_str("its relocations are damaged: link it again"),
            Self::RelocationOutside(at) => write!(
                f,
                "a relocation changes the word at {at:#x}, which is in no segment: link it again"
            ),
        }
    }
}

impl core::error::Error for Error {}
