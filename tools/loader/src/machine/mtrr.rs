//! Memory type range registers: which caching the firmware chose for which part
//! of memory. All cores must have the same (SDM vol. 3, 12.11.5), and INIT clears
//! them in emulators, whatever the manual says.

use core::arch::asm;

use arrayvec::ArrayVec;
use x86_64::instructions::tlb;
use x86_64::registers::control::{Cr0, Cr0Flags};
use x86_64::registers::model_specific::Msr;

const CAPABILITIES: u32 = 0xfe;
const DEFAULT_TYPE: u32 = 0x2ff;
/// In the default type's register.
const ENABLE: u64 = 1 << 11;
/// The first of pairs of registers.
const VARIABLE: u32 = 0x200;
const FIXED: [u32; 11] = [
    0x250, 0x258, 0x259, 0x268, 0x269, 0x26a, 0x26b, 0x26c, 0x26d, 0x26e, 0x26f,
];

/// The registers of a core that has them.
pub struct MemoryTypes {
    ranges: ArrayVec<(u32, u64), 75>,
    default: u64,
}

impl MemoryTypes {
    /// Reads those of the core that this runs on.
    ///
    /// # Safety
    ///
    /// 1. The processor has such registers, as CPUID says.
    pub unsafe fn read() -> Self {
        // SAFETY: by this function's condition.
        let read = |register| unsafe { Msr::new(register).read() };
        let capabilities = read(CAPABILITIES);
        let fixed = if capabilities & 1 << 8 != 0 {
            FIXED.as_slice()
        } else {
            &[]
        };
        // An architectural limit of 32 pairs fits the field that the count has room in.
        let pairs = u32::from(capabilities.to_le_bytes()[0]).min(32);
        let numbers = fixed.iter().copied().chain(VARIABLE..VARIABLE + 2 * pairs);
        let ranges = numbers.map(|number| (number, read(number))).collect();
        Self {
            ranges,
            default: read(DEFAULT_TYPE),
        }
    }

    /// Writes them to the core that this runs on, by the steps of the SDM (vol. 3,
    /// 12.11.7.2): no caching and empty caches while they change.
    ///
    /// # Safety
    ///
    /// 1. They were read from a core of the same machine.
    pub unsafe fn write(&self) {
        let cr0 = Cr0::read();
        Self::write_cr0_and_empty_caches(cr0 | Cr0Flags::CACHE_DISABLE);
        // SAFETY: by this function's condition the registers exist and take this.
        let write = |register, value| unsafe { Msr::new(register).write(value) };
        write(DEFAULT_TYPE, self.default & !ENABLE);
        for &(register, value) in &self.ranges {
            write(register, value);
        }
        write(DEFAULT_TYPE, self.default);
        Self::write_cr0_and_empty_caches(cr0);
    }

    fn write_cr0_and_empty_caches(cr0: Cr0Flags) {
        // SAFETY: its callers change no flag but the one that disables caching.
        unsafe { Cr0::write(cr0) };
        // SAFETY: caches are written back before they are emptied.
        unsafe { asm!("wbinvd", options(nostack, preserves_flags)) };
        tlb::flush_all();
    }
}
