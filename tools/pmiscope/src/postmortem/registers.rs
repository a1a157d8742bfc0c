//! The registers of processors, as the notes of a core have them that QEMU has written
//! (`x86_64_elf_prstatus` in its `target/i386/arch_dump.c`, as Linux's `elf_prstatus`), or as its
//! monitor says them (`info registers -a`).

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

/// The processors that QEMU's monitor tells of, those of which it says all that is needed.
#[must_use]
pub fn processors_said(text: &str) -> Vec<Processor> {
    let each = text.split("CPU#").skip(1);
    each.filter_map(said).collect()
}

fn said(text: &str) -> Option<Processor> {
    let register = |name: &str| {
        let value = text
            .split_ascii_whitespace()
            .find_map(|word| word.strip_prefix(name));
        u64::from_str_radix(value?, 16).ok()
    };
    let gs = text.lines().find_map(|line| line.strip_prefix("GS ="))?;
    let gs_base = gs.split_ascii_whitespace().nth(1)?;
    Some(Processor {
        at: Registers {
            pc: CodeAddress(register("RIP=")?),
            sp: StackAddress(register("RSP=")?),
            fp: StackAddress(register("RBP=")?),
        },
        gs_base: u64::from_str_radix(gs_base, 16).ok()?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_monitor_says_registers_as_text() {
        // Of QEMU 7.2, shortened.
        let text = "\r\nCPU#0\r\nRAX=0000000000000001 RBX=0000000000000000 RCX=0000000000000002 RDX=00000000000003f8\r\n\
             RSI=0000000000000000 RDI=0000000000000000 RBP=fffffe000001fef0 RSP=fffffe000001fee0\r\n\
             R8 =0000000000000000 R9 =0000000000000000\r\n\
             RIP=ffffffff8004d763 RFL=00000002 [-------] CPL=0 II=0 A20=1 SMM=0 HLT=0\r\n\
             FS =0000 0000000000000000 00000000 00000000\r\n\
             GS =0000 ffff800007557000 00000000 00000000\r\n\r\n\
             CPU#1\r\nRIP=ffffffff80000000\r\n";
        let processor = Processor {
            at: Registers {
                pc: CodeAddress(0xffff_ffff_8004_d763),
                sp: StackAddress(0xffff_fe00_0001_fee0),
                fp: StackAddress(0xffff_fe00_0001_fef0),
            },
            gs_base: 0xffff_8000_0755_7000,
        };
        assert_eq!(processors_said(text), [processor]);
        for cut in 0..text.len() {
            assert!(processors_said(&text[..cut]).len() <= 1);
        }
    }
}
