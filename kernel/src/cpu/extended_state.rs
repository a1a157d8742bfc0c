//! The floating-point and vector registers: the processor's *extended state* (SDM vol. 1, 13.1). The
//! kernel has no use for it, so that it is always that of a thread in user mode, or nobody's.
//!
//! Where the processor has XSAVE, all of x87, SSE, AVX and AVX-512 is kept that it has; else x87 and
//! SSE, by FXSAVE.

use alloc::boxed::Box;
use alloc::vec::Vec;
use core::arch::asm;

use raw_cpuid::CpuId;
use spin::Once;
use x86_64::registers::control::{Cr0, Cr0Flags, Cr4, Cr4Flags};
use x86_64::registers::xcontrol::{XCr0, XCr0Flags};

/// What XSAVE wants its memory aligned to.
#[derive(Clone, Copy)]
#[repr(C, align(64))]
struct Line([u8; 64]);

const LINE: usize = size_of::<Line>();

/// Of the memory of FXSAVE, and of XSAVE's header behind it.
const LEGACY_BYTES: usize = 512;
const HEADER_BYTES: usize = 64;

/// Where in it the control words are, and what the processor begins with (SDM vol. 1, 8.1.5, 10.2.3):
/// no exception traps.
const CONTROL: (usize, [u8; 2]) = (0, 0x037f_u16.to_le_bytes());
const MXCSR: (usize, [u8; 4]) = (24, 0x1f80_u32.to_le_bytes());

/// How it is kept.
#[derive(Clone, Copy, Debug)]
enum Kept {
    /// The parts of these bits of XCR0, in so many bytes.
    ByXsave {
        parts: u64,
        bytes: usize,
    },
    ByFxsave,
}

static KEPT: Once<Kept> = Once::new();

/// Lets code on the running core use the registers, once it is [allowed](allow): it is not yet.
pub(super) fn enable() {
    let has_xsave = CpuId::new()
        .get_feature_info()
        .is_some_and(|info| info.has_xsave());
    let mut wanted = Cr4Flags::OSFXSR | Cr4Flags::OSXMMEXCPT_ENABLE;
    wanted.set(Cr4Flags::OSXSAVE, has_xsave);
    // SAFETY: every x86-64 processor has the first two; of the third CPUID has said it.
    unsafe { Cr4::update(|flags| flags.insert(wanted)) };
    forbid();
    let parts = has_xsave.then(set_parts);
    KEPT.call_once(|| parts.map_or(Kept::ByFxsave, by_xsave));
}

/// The parts that are kept, where there are such: all that programs have used for long.
const PARTS: XCr0Flags = XCr0Flags::X87
    .union(XCr0Flags::SSE)
    .union(XCr0Flags::AVX)
    .union(AVX_512);

const AVX_512: XCr0Flags = XCr0Flags::OPMASK
    .union(XCr0Flags::ZMM_HI256)
    .union(XCr0Flags::HI16_ZMM);

/// Switches on those that the processor has.
fn set_parts() -> u64 {
    // Leaf 0Dh, of which the crate has no reader of whole words.
    let supported = core::arch::x86_64::__cpuid_count(0xd, 0);
    let supported = u64::from(supported.eax) | u64::from(supported.edx) << 32;
    let mut parts = PARTS.intersection(XCr0Flags::from_bits_truncate(supported));
    parts.insert(XCr0Flags::X87 | XCr0Flags::SSE);
    // The three go together, and with AVX (SDM vol. 1, 13.3).
    if !parts.contains(AVX_512.union(XCr0Flags::AVX)) {
        parts.remove(AVX_512);
    }
    // SAFETY: the processor has all of these, and each has those that it depends on.
    unsafe { XCr0::write(parts) };
    parts.bits()
}

fn by_xsave(parts: u64) -> Kept {
    // The size of what XCR0 has set.
    let bytes = core::arch::x86_64::__cpuid_count(0xd, 0).ebx;
    let bytes = usize::try_from(bytes).unwrap_or(0);
    Kept::ByXsave {
        parts,
        bytes: bytes.max(LEGACY_BYTES + HEADER_BYTES),
    }
}

/// The next instruction that uses the registers traps (#NM), on the running core.
pub fn forbid() {
    // SAFETY: the kernel has no such instruction.
    unsafe { Cr0::update(|flags| flags.insert(Cr0Flags::TASK_SWITCHED)) };
}

/// Instructions may use the registers, on the running core.
fn allow() {
    // SAFETY: they may be used from now on.
    unsafe { asm!("clts", options(nomem, nostack, preserves_flags)) };
}

/// The registers of a thread, while they are not in the processor's.
pub struct ExtendedState(Box<[Line]>);

impl ExtendedState {
    /// What a program begins with: zeros, and control words by which nothing traps. `None` if there is no
    /// memory for it, or [`enable`] was not called.
    #[must_use]
    pub fn new() -> Option<Self> {
        let bytes = match *KEPT.get()? {
            Kept::ByXsave { bytes, .. } => bytes,
            Kept::ByFxsave => LEGACY_BYTES,
        };
        let count = bytes.div_ceil(LINE);
        let mut lines = Vec::new();
        lines.try_reserve_exact(count).ok()?;
        lines.resize(count, Line([0; LINE]));
        // Of the others XSAVE's header says that they are as they begin.
        let Line(first) = &mut lines[0];
        first[CONTROL.0..][..CONTROL.1.len()].copy_from_slice(&CONTROL.1);
        first[MXCSR.0..][..MXCSR.1.len()].copy_from_slice(&MXCSR.1);
        Some(Self(lines.into_boxed_slice()))
    }

    /// Loads the running core's registers, and allows their use.
    pub fn load(&self) {
        allow();
        let from = self.0.as_ptr();
        match KEPT.get() {
            // SAFETY: `new` or `save` has written what lies there, in as many bytes as these parts
            // have; nobody else's registers are in use.
            Some(&Kept::ByXsave { parts, .. }) => unsafe {
                asm!("xrstor64 [{}]", in(reg) from, in("eax") low(parts), in("edx") high(parts),
                    options(nostack, preserves_flags, readonly));
            },
            // SAFETY: likewise, of 512 bytes.
            _ => unsafe {
                asm!("fxrstor64 [{}]", in(reg) from, options(nostack, preserves_flags, readonly));
            },
        }
    }

    /// Saves the running core's registers, and forbids their use.
    pub fn save(&mut self) {
        let to = self.0.as_mut_ptr();
        match KEPT.get() {
            // SAFETY: there is room for these parts.
            Some(&Kept::ByXsave { parts, .. }) => unsafe {
                asm!("xsave64 [{}]", in(reg) to, in("eax") low(parts), in("edx") high(parts),
                    options(nostack, preserves_flags));
            },
            // SAFETY: likewise.
            _ => unsafe {
                asm!("fxsave64 [{}]", in(reg) to, options(nostack, preserves_flags));
            },
        }
        forbid();
    }
}

#[allow(clippy::cast_possible_truncation)] // a half each
const fn low(parts: u64) -> u32 {
    parts as u32
}

#[allow(clippy::cast_possible_truncation)]
const fn high(parts: u64) -> u32 {
    (parts >> 32) as u32
}
