//! The last step of an interrupt's entry: the source is armed, and the interrupted code resumes.
//!
//! Here, `rsp` is the frame, `rdx` the core's state and `eax` what to arm with
//! ([`crate::entry::fast`]). Until the source is armed the core's handler is at work, so what comes
//! meanwhile is no overflow.
//!
//! | the source | how it is armed |
//! |---|---|
//! | the APIC's timer | its register is written, which is memory or an MSR |
//! | the HPET | by a call |
//! | another core | not at all |

use core::mem::offset_of;
use core::ptr;
use core::sync::atomic::Ordering::Relaxed;

use super::Source;
use crate::assembly;
use crate::entry::fast::Leave;
use crate::entry::{end_of_call, vector};
use crate::format::Delivery;
use crate::hw::apic::{self, Register};
use crate::sampler::per_core::{Core, Timing};
use crate::sampler::vector::OVERFLOW;

/// The last step for what `source` is armed by; `None` if its handler arms it.
fn leave_of(source: &Source, delivery: Delivery) -> Option<Leave> {
    let (by_nmi, by_irq, aside): (Step, Step, Step) = match source {
        Source::ApicTimer(_) if apic::REGISTERS.load(Relaxed) == apic::X2APIC => (
            pmiscope_leave_x2apic_nmi,
            pmiscope_leave_x2apic_irq,
            pmiscope_leave_x2apic_aside,
        ),
        Source::ApicTimer(_) => (
            pmiscope_leave_xapic_nmi,
            pmiscope_leave_xapic_irq,
            pmiscope_leave_xapic_aside,
        ),
        Source::Hpet(_) => (
            pmiscope_leave_hpet_nmi,
            pmiscope_leave_hpet_irq,
            pmiscope_leave_hpet_aside,
        ),
        Source::Ipi(_) => (
            pmiscope_leave_ipi_nmi,
            pmiscope_leave_ipi_irq,
            pmiscope_leave_ipi_aside,
        ),
        Source::Pmu(_) | Source::Step => return None,
    };
    let way = match delivery {
        Delivery::Nmi => by_nmi,
        Delivery::Irq => by_irq,
    };
    Some(Leave { way, aside })
}

/// Lets the entries of `core` arm `source`, which is never moved.
pub(super) fn set_leave(core: &Core, source: &'static Source, delivery: Delivery) {
    core.armed_source
        .store(ptr::from_ref(source).cast_mut().cast(), Relaxed);
    core.path.set_leave(leave_of(source, delivery));
}

type Step = unsafe extern "C" fn();

unsafe extern "C" {
    fn pmiscope_leave_xapic_nmi();
    fn pmiscope_leave_xapic_irq();
    fn pmiscope_leave_xapic_aside();
    fn pmiscope_leave_x2apic_nmi();
    fn pmiscope_leave_x2apic_irq();
    fn pmiscope_leave_x2apic_aside();
    fn pmiscope_leave_hpet_nmi();
    fn pmiscope_leave_hpet_irq();
    fn pmiscope_leave_hpet_aside();
    fn pmiscope_leave_ipi_nmi();
    fn pmiscope_leave_ipi_irq();
    fn pmiscope_leave_ipi_aside();
}

/// Arms the core's timer of the HPET.
#[unsafe(link_section = ".pmiscope.calls")]
extern "C" fn arm_hpet(core: &'static Core, count: u32) {
    let source: *mut Source = core.armed_source.load(Relaxed).cast();
    // SAFETY: null, or that of `set_leave`, which is never moved.
    if let Some(Source::Hpet(timers)) = unsafe { source.as_ref() } {
        timers.arm(core, count);
    }
    end_of_call();
}

const STATE: usize = offset_of!(Core, overflow);
const ARMED_TSC: usize = offset_of!(Core, timing) + offset_of!(Timing, armed_tsc);

assembly!(
    r#"
    # Armed, and in no handler.
    .macro LEAVE_ARMED
    movw $1, {state}(%rdx)
    movl %eax, %r8d
    movq %rdx, %rdi
    rdtsc
    movl %eax, {armed_tsc}(%rdi)
    movl %edx, {armed_tsc}+4(%rdi)
    .endm

    .macro LEAVE_ARM_xapic
    movq {registers}(%rip), %rcx
    LEAVE_ARMED
    movl %r8d, {count}(%rcx)
    .endm

    .macro LEAVE_ARM_x2apic
    LEAVE_ARMED
    movl ${count_msr}, %ecx
    movl %r8d, %eax
    xorl %edx, %edx
    wrmsr
    .endm

    # Registers that are in the frame here are changed by the call.
    .macro LEAVE_ARM_hpet
    movq %rsi, 40(%rsp)
    movq %r10, 72(%rsp)
    movq %r11, 80(%rsp)
    LEAVE_ARMED
    movl %r8d, %esi
    call {arm_hpet}
    movq 40(%rsp), %rsi
    movq 72(%rsp), %r10
    movq 80(%rsp), %r11
    .endm

    .macro LEAVE_ARM_ipi
    LEAVE_ARMED
    .endm

    .macro LEAVE source, way, vector:vararg
    .balign 16
    .global pmiscope_leave_\source\()_\way
    .type pmiscope_leave_\source\()_\way, @function
pmiscope_leave_\source\()_\way:
    TRAP_CFI 176
    FAST_CFI
    RULE TRAP_FRAME
    LEAVE_ARM_\source
    .global pmiscope_left_\source\()_\way
pmiscope_left_\source\()_\way:
    TRAP_RESTORE
    RULE INTERRUPTED, 0, \vector
    iretq
    .cfi_endproc
    .size pmiscope_leave_\source\()_\way, . - pmiscope_leave_\source\()_\way
    .endm

    .irp source, xapic, x2apic, hpet, ipi
    LEAVE \source, nmi, {nmi}
    LEAVE \source, irq, {irq}
    .endr

    # From here to the end there must be no breakpoint.
    .global pmiscope_leave_aside_start
pmiscope_leave_aside_start:
    .irp source, xapic, x2apic, hpet, ipi
    LEAVE \source, aside, {nmi}
    .endr
    .global pmiscope_leave_aside_end
pmiscope_leave_aside_end:
    "#,
    state = const STATE,
    armed_tsc = const ARMED_TSC,
    registers = sym apic::REGISTERS,
    count = const Register::TimerInitialCount as u16,
    count_msr = const apic::msr_of(Register::TimerInitialCount),
    arm_hpet = sym arm_hpet,
    nmi = const vector::NMI,
    irq = const OVERFLOW,
    options(att_syntax),
);
