//! Aimed overflows: one so many instructions after each time that a certain
//! instruction is about to be executed, beside those of the period.
//!
//! A debug register stops the core before that instruction (SDM vol. 3, 19.2). The
//! handler of the debug exception arms the source so that it fires when so many
//! more instructions were executed. That is the same number each time, so it works
//! where instructions are counted.
//!
//! Not on the NMI's landing, which the next NMI would overwrite. Elsewhere it
//! reaches what no period can. The `iret` of the debug exception lets NMIs in:
//! an aim inside the NMI handler lets the next one come at any instruction of the
//! handler itself, as an exception there would.
//!
//! While an aimed overflow is under way, the same instruction may come again, and
//! the handler of one that came in a handler has that instruction as well: an aim
//! there would lead to one more, each time. Those are let go by, up to the next
//! overflow that interrupts no handler.

use core::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering::Relaxed};

use profiler::address::CodeAddress;
use profiler::settings::Aim;
use x86_64::registers::debug::{DebugAddressRegister, Dr0, Dr6, Dr6Flags, Dr7};

use super::source::Source;
use crate::assembly;
use crate::cpu::CoreBlock;

/// What a core knows of its aim.
#[derive(Default)]
pub struct CoreAim {
    /// How many times the instruction came.
    times: AtomicU32,
    /// An aimed overflow is under way.
    under_way: AtomicBool,
    /// The last one came in a handler, and none since that did not.
    in_handler: AtomicBool,
    /// Where the code that the last overflow of a calibration interrupted was.
    pub(super) found_at: AtomicU64,
}

/// An aim, and what is known of the way to it.
#[derive(Clone, Copy, Debug)]
pub struct Aimed {
    aim: Aim,
    /// Counts of the source that go by from its arming to the aim's instruction.
    lead: u32,
}

impl Aimed {
    /// The instruction.
    #[must_use]
    pub fn address(&self) -> CodeAddress {
        self.aim.address
    }
}

/// DR7: the breakpoint of DR0 is on, at the execution of an instruction. Bit 10 is
/// always set.
const BREAK_ON_DR0: u64 = 1 << 10 | 0b10;
/// DR7 without a breakpoint.
const BREAK_NEVER: u64 = 1 << 10;

/// Instructions that a trial of the lead may be off by.
const SLED: u32 = 1024;

unsafe extern "C" {
    /// Does nothing, in [`SLED`] instructions.
    safe fn aim_sled();
}

assembly!(
    r#"
    .balign 16
    .global aim_sled
    .type aim_sled, @function
aim_sled:
    .cfi_startproc
    RULE FRAME
    .rept {sled}
    nop
    .endr
    ret
    .cfi_endproc
    .size aim_sled, . - aim_sled
    "#,
    sled = const SLED,
);

/// Stops the running core before the instruction, from now on.
pub fn enable(address: CodeAddress) {
    Dr0::write(address.0);
    Dr7::write_raw(BREAK_ON_DR0);
}

/// Takes that back.
pub fn disable() {
    Dr7::write_raw(BREAK_NEVER);
}

/// Whether the debug exception that is being handled is an aim's. Forgets it.
#[must_use]
pub(super) fn is_hit() -> bool {
    let hit = Dr6::read().contains(Dr6Flags::TRAP0);
    if hit {
        clear_status();
    }
    hit
}

/// The processor sets bits of DR6 and never clears one.
fn clear_status() {
    // SAFETY: says that no breakpoint was hit (SDM vol. 3, 19.2.3).
    unsafe {
        core::arch::asm!("mov dr6, {}", in(reg) 0xffff_0ff0_u64, options(nomem, nostack, preserves_flags))
    };
}

/// The count to arm the source with, at an aim that is to be taken; else the
/// interrupted code goes on.
pub(super) fn hit(core: &CoreBlock, aimed: &Aimed) -> Option<u32> {
    let state = &core.sampling.aim;
    if state.in_handler.load(Relaxed) || state.under_way.load(Relaxed) {
        return None;
    }
    let Aim { first, end, .. } = aimed.aim;
    let times = state.times.fetch_add(1, Relaxed);
    Some(aimed.lead + first + times % (end - first))
}

/// An aimed overflow is under way: the source is about to be armed for it.
#[inline]
pub(super) fn begin(core: &CoreBlock) {
    core.sampling.aim.under_way.store(true, Relaxed);
}

/// Returns true if an aimed overflow is under way.
#[inline]
pub(super) fn is_under_way(core: &CoreBlock) -> bool {
    core.sampling.aim.under_way.load(Relaxed)
}

/// No aimed overflow is under way any more: the source is not armed for it.
#[inline]
pub(super) fn forget(core: &CoreBlock) {
    core.sampling.aim.under_way.store(false, Relaxed);
}

/// Whether the overflow that is being handled was aimed; `in_handler` says that it
/// interrupts the handler of another one.
#[inline]
pub(super) fn take(core: &CoreBlock, in_handler: bool) -> bool {
    let state = &core.sampling.aim;
    let is_aimed = state.under_way.load(Relaxed);
    if is_aimed {
        state.under_way.store(false, Relaxed);
    }
    if is_aimed || !in_handler {
        state.in_handler.store(in_handler, Relaxed);
    }
    is_aimed
}

/// Calibrates the way to an aim on the running core, by a trial in code that does
/// nothing. None if no overflow came where it was waited for.
pub(super) fn calibrate(aim: Aim, source: &Source, core: &CoreBlock) -> Option<Aimed> {
    let sled = (aim_sled as *const ()).addr() as u64;
    core.sampling.quota.store((SLED / 2).into(), Relaxed);
    core.sampling.aim.found_at.store(0, Relaxed);
    enable(CodeAddress(sled));
    aim_sled();
    disable();
    source.disarm(core);
    forget(core);
    let found = core.sampling.aim.found_at.load(Relaxed).checked_sub(sled)?;
    // An instruction of the sled is a byte.
    let late = u32::try_from(found).ok().filter(|&late| late < SLED)?;
    let lead = (SLED / 2).checked_sub(late)?;
    Some(Aimed { aim, lead })
}
