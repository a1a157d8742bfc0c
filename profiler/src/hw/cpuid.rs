//! CPUID of the running core (SDM vol. 2, CPUID).

use core::arch::x86_64::__cpuid_count;

/// EAX, EBX, ECX, EDX.
pub type Leaf = [u32; 4];

/// What CPUID has in a leaf. Above the maximum leaf that means nothing.
#[must_use]
pub fn leaf(leaf: u32, subleaf: u32) -> Leaf {
    let answer = __cpuid_count(leaf, subleaf);
    [answer.eax, answer.ebx, answer.ecx, answer.edx]
}

/// The twelve letters in three registers, by which makers and hypervisors call themselves.
#[must_use]
pub fn signature(registers: [u32; 3]) -> [u8; 12] {
    let mut letters = [0; 12];
    for (bytes, register) in letters.as_chunks_mut().0.iter_mut().zip(registers) {
        *bytes = register.to_le_bytes();
    }
    letters
}

/// The first extended leaf, whose EAX is the last one.
const EXTENDED: u32 = 0x8000_0000;

fn extended(number: u32) -> Option<Leaf> {
    let [last, ..] = leaf(EXTENDED, 0);
    (EXTENDED + number <= last).then(|| leaf(EXTENDED + number, 0))
}

/// Returns true if the time stamp counter runs at a constant rate.
#[must_use]
pub fn has_invariant_tsc() -> bool {
    extended(7).is_some_and(|[.., edx]| edx & 1 << 8 != 0)
}

/// Returns true if the processor is emulated by QEMU (TCG), which says so in the first of
/// the leaves that are a hypervisor's. A processor without a hypervisor repeats another leaf
/// there, which never reads like that.
#[must_use]
pub fn is_tcg() -> bool {
    let [_, ebx, ecx, edx] = leaf(0x4000_0000, 0);
    signature([ebx, ecx, edx]) == *b"TCGTCGTCGTCG"
}

/// What the processor calls itself, written to `bytes`.
#[must_use]
pub fn brand(bytes: &mut [u8; 48]) -> &str {
    let leaves = [2, 3, 4].map(|number| extended(number).unwrap_or_default());
    for (bytes, register) in bytes
        .as_chunks_mut()
        .0
        .iter_mut()
        .zip(leaves.as_flattened())
    {
        *bytes = register.to_le_bytes();
    }
    let end = bytes.iter().position(|&byte| byte == 0);
    let text = core::str::from_utf8(&bytes[..end.unwrap_or(bytes.len())]);
    text.unwrap_or_default().trim()
}
