//! What a file is that was given as a kernel and is none: said before a guest starts that would
//! fail without a word.

use object::elf::{
    DataEncoding, ELFCLASS32, ELFCLASS64, ELFDATA2LSB, ELFMAG, EM_386, EM_AARCH64, EM_RISCV,
    EM_X86_64, ET_CORE, ET_DYN, ET_EXEC, ET_REL, FileClass, FileHeader64, PT_INTERP, PT_LOAD,
    SHF_EXECINSTR, SHT_NOBITS,
};
use object::read::elf::{FileHeader as _, ProgramHeader as _, SectionHeader as _};
use object::{LittleEndian, endian::LittleEndian as Little};
use thiserror::Error;

/// Why a file is no kernel that can run.
#[derive(Clone, PartialEq, Eq, Debug, Error)]
pub(crate) enum NotAKernel {
    #[error("it is empty: give the kernel's ELF file")]
    Empty,
    #[error("it is no ELF file but {0}: {1}")]
    Another(&'static str, &'static str),
    #[error("it is no ELF file: give the kernel's, as the linker writes it")]
    NoElf,
    #[error(
        "it is a 32-bit ELF file, and what is sampled are 64-bit kernels: compile it for x86_64 (-m64)"
    )]
    Bits32,
    #[error(
        "it is an ELF file for {0}, and what is sampled are kernels for x86_64: compile it for that"
    )]
    Machine(String),
    #[error("it is an object file, which is not linked yet: link it")]
    Object,
    #[error(
        "it is a core dump and no kernel (`pmiscope attach --ram` reads dumps of guests): give the kernel's ELF file"
    )]
    Core,
    #[error("it is an ELF file of type {0}, and no executable: link it as one")]
    Type(u16),
    #[error("it is a shared library, which has no entry: link it as an executable")]
    Library,
    #[error("it is a program for Linux, which asks for {0}, and no kernel")]
    Program(String),
    #[error(
        "it is cut short: {what} ends at byte {end}, and the file has {size}: build it or copy it again"
    )]
    CutShort { what: String, end: u64, size: u64 },
    #[error("it has no segments to load: link it as an executable")]
    NoSegments,
    #[error(
        "it holds debug information only, its segments have no bytes (objcopy --only-keep-debug): give the kernel that it was split off, and this file by --debug-file"
    )]
    DebugOnly,
}

/// What other files begin with, what they are, and what to do.
const OTHERS: [(usize, &[u8], &str, &str); 9] = [
    (0x202, b"HdrS", "a Linux bzImage", "give its vmlinux"),
    (0, b"\x1f\x8b", "compressed (gzip)", "unpack it"),
    (0, b"\xfd7zXZ\0", "compressed (xz)", "unpack it"),
    (0, b"\x28\xb5\x2f\xfd", "compressed (zstd)", "unpack it"),
    (0, b"BZh", "compressed (bzip2)", "unpack it"),
    (0, b"!<arch>\n", "a static library", "link it"),
    (
        0,
        b"MZ",
        "a PE file (EFI, Windows)",
        "give the kernel's ELF file",
    ),
    (
        0x8001,
        b"CD001",
        "a disc image",
        "give it by --disc, and the kernel's ELF file",
    ),
    (
        0,
        b"\x93pmiscope/run",
        "a profile",
        "give the kernel's ELF file",
    ),
];

/// Checks that a file is an ELF file of the processor that is sampled, and whole.
pub(crate) fn check(file: &[u8]) -> Result<(), NotAKernel> {
    is_elf(file)?;
    let size = file.len() as u64;
    let cut = |what: &str, end| NotAKernel::CutShort {
        what: what.to_owned(),
        end,
        size,
    };
    let byte = |at: usize| file.get(at).copied();
    match byte(4).map(FileClass) {
        Some(ELFCLASS32) => return Err(NotAKernel::Bits32),
        Some(ELFCLASS64) => {}
        _ => return Err(NotAKernel::NoElf),
    }
    if byte(5)
        .map(DataEncoding)
        .is_some_and(|data| data != ELFDATA2LSB)
    {
        return Err(NotAKernel::Machine("a big-endian processor".to_owned()));
    }
    let header = FileHeader64::<LittleEndian>::parse(file);
    let header = header.map_err(|_| cut("its header", 64))?;
    match header.e_machine(Little) {
        EM_X86_64 => {}
        EM_386 => return Err(NotAKernel::Bits32),
        EM_AARCH64 => return Err(NotAKernel::Machine("aarch64".to_owned())),
        EM_RISCV => return Err(NotAKernel::Machine("riscv".to_owned())),
        other => return Err(NotAKernel::Machine(format!("machine {}", other.0))),
    }
    let tables = [
        (
            "its table of segments",
            header.e_phoff(Little),
            header.e_phentsize(Little),
            header.e_phnum(Little),
        ),
        (
            "its table of sections",
            header.e_shoff(Little),
            header.e_shentsize(Little),
            header.e_shnum(Little),
        ),
    ];
    for (what, start, entry, count) in tables {
        let end = start.saturating_add(u64::from(entry) * u64::from(count));
        if count > 0 && end > size {
            return Err(cut(what, end));
        }
    }
    Ok(())
}

/// Checks that a file is an ELF file, of whatever.
fn is_elf(file: &[u8]) -> Result<(), NotAKernel> {
    if file.is_empty() {
        return Err(NotAKernel::Empty);
    }
    if !file.starts_with(&ELFMAG) {
        let is = |at: usize, magic: &[u8]| file.get(at..).is_some_and(|it| it.starts_with(magic));
        let other = OTHERS.iter().find(|(at, magic, ..)| is(*at, magic));
        return Err(match other {
            Some(&(_, _, what, remedy)) => NotAKernel::Another(what, remedy),
            None if is_text(file) => NotAKernel::Another("text", "give the kernel's ELF file"),
            None => NotAKernel::NoElf,
        });
    }
    Ok(())
}

fn is_text(file: &[u8]) -> bool {
    let start = &file[..file.len().min(512)];
    start
        .iter()
        .all(|&byte| byte >= b' ' && byte != 0x7f || matches!(byte, b'\n' | b'\r' | b'\t'))
}

/// Checks that a file can be a kernel that runs: that it is linked, and has bytes to load. What
/// `enters` it otherwise than by the entry of its header is known to the caller.
pub(crate) fn check_kernel(file: &[u8], enters: bool) -> Result<(), NotAKernel> {
    check(file)?;
    let header = FileHeader64::<LittleEndian>::parse(file).map_err(|_| NotAKernel::NoElf)?;
    match header.e_type(Little) {
        ET_EXEC | ET_DYN => {}
        ET_REL => return Err(NotAKernel::Object),
        ET_CORE => return Err(NotAKernel::Core),
        other => return Err(NotAKernel::Type(other.0)),
    }
    let segments = header.program_headers(Little, file).unwrap_or_default();
    let loaded = || {
        let loaded = segments.iter().filter(|it| it.p_type(Little) == PT_LOAD);
        loaded.filter(|it| it.p_memsz(Little) > 0)
    };
    if loaded().next().is_none() {
        return Err(NotAKernel::NoSegments);
    }
    if is_debug_only(header, file, loaded().map(|it| it.p_filesz(Little))) {
        return Err(NotAKernel::DebugOnly);
    }
    for (number, segment) in segments.iter().enumerate() {
        let end = segment
            .p_offset(Little)
            .saturating_add(segment.p_filesz(Little));
        if segment.p_type(Little) == PT_LOAD && end > file.len() as u64 {
            return Err(NotAKernel::CutShort {
                what: format!("segment {number}"),
                end,
                size: file.len() as u64,
            });
        }
    }
    let mut interpreters = segments.iter().filter(|it| it.p_type(Little) == PT_INTERP);
    if let Some(path) = interpreters.find_map(|it| it.data(Little, file).ok())
        && path.starts_with(b"/lib")
    {
        let path = String::from_utf8_lossy(path);
        return Err(NotAKernel::Program(path.trim_end_matches('\0').to_owned()));
    }
    if header.e_type(Little) == ET_DYN && header.e_entry(Little) == 0 && !enters {
        return Err(NotAKernel::Library);
    }
    Ok(())
}

/// Returns true if code has addresses and no bytes. The segments of some debug files (eu-strip)
/// are as in the kernel, and their sections are not.
fn is_debug_only(
    header: &FileHeader64<LittleEndian>,
    file: &[u8],
    mut sizes: impl Iterator<Item = u64>,
) -> bool {
    let sections = header.sections(Little, file).ok();
    let sections = sections.iter().flat_map(|sections| sections.iter());
    let code = sections.filter(|it| it.sh_flags(Little).contains(SHF_EXECINSTR));
    let mut kinds = code.map(|it| it.sh_type(Little)).peekable();
    if kinds.peek().is_some() {
        return kinds.all(|kind| kind == SHT_NOBITS);
    }
    sizes.all(|size| size == 0)
}
