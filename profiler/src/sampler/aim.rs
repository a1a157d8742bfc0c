//! Aimed overflows: one N instructions after each time that a certain
//! instruction is about to be executed, beside those of the period.
//!
//! A debug register stops the core before that instruction (SDM vol. 3, 19.2). The
//! handler of the debug exception arms the source so that it fires when N
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
//! there would lead to one more, each time. Those are ignored, up to the next
//! overflow that interrupts no handler.

use core::sync::atomic::Ordering::Relaxed;

use super::per_core::Core;
use super::per_core::aim::Aimed;
use super::source::Source;
use crate::address::CodeAddress;
use crate::assembly;
use crate::contract::settings::Aim;
use crate::hw::debug;

/// Measures the way to `aim` on the running core, by a trial in code that does
/// nothing. `None` if no overflow arrived in time.
pub(crate) fn calibrate(aim: Aim, source: &Source, core: &Core) -> Option<Aimed> {
    let sled = (pmiscope_sled as *const ()).addr() as u64;
    core.trial.set_rearm_count((SLED_INSTRUCTIONS / 2).into());
    core.trial.interrupted_at.store(0, Relaxed);
    debug::set_breakpoint(CodeAddress(sled));
    pmiscope_sled();
    debug::clear_breakpoint();
    source.disarm(core);
    core.aim.cancel();
    core.overflow.set_aiming(|| core.aim.matters());
    let found = core.trial.interrupted_at.load(Relaxed).checked_sub(sled)?;
    // An instruction of the sled is a byte.
    let late = u32::try_from(found).ok();
    let late = late.filter(|&late| late < SLED_INSTRUCTIONS)?;
    let arm_latency = (SLED_INSTRUCTIONS / 2).checked_sub(late)?;
    Some(Aimed { aim, arm_latency })
}

/// Instructions that a trial may be off by.
const SLED_INSTRUCTIONS: u32 = 1024;

unsafe extern "C" {
    /// Does nothing, in [`SLED_INSTRUCTIONS`] instructions.
    safe fn pmiscope_sled();
}

assembly!(
    r#"
    .balign 16
    .global pmiscope_sled
    .type pmiscope_sled, @function
pmiscope_sled:
    .cfi_startproc
    RULE FRAME
    .rept {sled}
    nop
    .endr
    ret
    .cfi_endproc
    .size pmiscope_sled, . - pmiscope_sled
    "#,
    sled = const SLED_INSTRUCTIONS,
);
