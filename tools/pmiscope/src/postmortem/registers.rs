//! The registers of processors, as the notes of a core have them that QEMU has written
//! (`x86_64_elf_prstatus` in its `target/i386/arch_dump.c`, as Linux's `elf_prstatus`).

use profiler::address::{CodeAddress, StackAddress};
use profiler::unwind::Registers;

/// Where the registers begin in a note, and their places there, in words.
const REGISTERS: usize = 112;
const RBP: usize = 4;
const RIP: usize = 16;
const RSP: usize = 19;
const GS_BASE: usize = 22;

/// A processor's registers.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Processor {
    pub at: Registers,
    /// In the kernel: the address of the core's block.
    pub gs_base: u64,
}

/// The processor of a note; `None` if it is too short.
pub fn processor(note: &[u8]) -> Option<Processor> {
    let word = |place: usize| {
        let at = REGISTERS + place * 8;
        let bytes = note.get(at..at + 8)?;
        Some(u64::from_le_bytes(bytes.try_into().ok()?))
    };
    Some(Processor {
        at: Registers {
            pc: CodeAddress(word(RIP)?),
            sp: StackAddress(word(RSP)?),
            fp: StackAddress(word(RBP)?),
        },
        gs_base: word(GS_BASE)?,
    })
}
