//! IA32_PAT: what the bits of a page's entry that choose a memory type stand for.

use x86_64::registers::model_specific::Msr;

const PAT: Msr = Msr::new(0x277);

/// Returns true if this entry, 0 to 7, is write-combining (SDM vol. 3, 13.12.2).
#[must_use]
pub fn is_write_combining(entry: usize) -> bool {
    const WRITE_COMBINING: u8 = 1;
    // SAFETY: every processor with long mode has it.
    let entries = unsafe { PAT.read() };
    entries.to_le_bytes()[entry] == WRITE_COMBINING
}
