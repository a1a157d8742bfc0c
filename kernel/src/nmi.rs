//! What an NMI means in this kernel.

use crate::cpu::CoreBlock;
use crate::trap::{self, TrapFrame};
use crate::{sampling, smp};

/// The handler of NMIs, which [`trap::nmi`]'s entry calls by its name.
#[unsafe(no_mangle)]
#[unsafe(link_section = ".text.trap_calls")]
extern "C" fn kernel_nmi(frame: &mut TrapFrame, core: &'static CoreBlock, entry_tsc: u64) {
    // Another core ends the run, and asks everyone to stop by NMI.
    smp::stop_if_asked();
    sampling::overflow::nmi(frame, core, entry_tsc);
    trap::end_of_trap_call();
}
