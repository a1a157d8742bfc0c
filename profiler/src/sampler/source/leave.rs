//! The last step of an interrupt's entry: the source is armed, and the interrupted code resumes.
//!
//! Here, `rsp` is the frame, `rdx` the core's state and `eax` what to arm with
//! ([`crate::entry::fast`]). The core's handler is at work until the last step but one: what comes
//! before is no overflow. From there on the HPET's call has some accesses to its registers: an NMI
//! there, which is blocked unless an exception's return has let it in, finds the last overflow due.
//!
//! | the source | how it is armed |
//! |---|---|
//! | the APIC's timer | its register is written, which is memory or an MSR |
//! | the HPET | by a call |
//! | another core | not at all |
//! | counters that one register starts | it is written; a nested handler may have stopped them for good: then by a call |
//! | counters each of which has a register that starts it | these are written, likewise |
//! | other counters, samples of ops | by a call |
//!
//! What counters are armed with is a [`Stage`], and a bit that says that the time of it is to be
//! noted ([`after_sample`]).

use core::mem::offset_of;
use core::ptr;
use core::sync::atomic::Ordering::Relaxed;

use super::Source;
use crate::assembly;
use crate::entry::fast::Leave;
use crate::entry::{end_of_call, returns, vector};
use crate::format::Delivery;
use crate::hw::apic::{self, Register};
use crate::pmu::driver::{Stage, at};
use crate::pmu::fast_form::FastForm;
use crate::pmu::plan::Plan;
use crate::pmu::this_core::ThisCore;
use crate::sampler::per_core::pmu::CorePmu;
use crate::sampler::per_core::{Core, Timing};
use crate::sampler::vector::OVERFLOW;

/// The last step for what `source` is armed by; `None` if its handler arms it.
fn leave_of(source: &Source, delivery: Delivery) -> Option<Leave> {
    let steps = match source {
        Source::ApicTimer(_) if apic::REGISTERS.load(Relaxed) == apic::X2APIC => X2APIC,
        Source::ApicTimer(_) => XAPIC,
        Source::Hpet(_) => HPET,
        Source::Ipi(_) => IPI,
        // What the plan has may be better.
        Source::Pmu(_) => OTHERS,
        Source::Step => return None,
    };
    Some(steps.choose(delivery))
}

/// In what counters are armed with: the handler has sampled. Others have no time of their own.
const HAS_SAMPLED: u32 = 1 << 8;

/// What counters are armed with, at this stage, by a handler that has sampled.
#[inline(always)]
pub(crate) const fn after_sample(stage: Stage) -> u32 {
    stage as u32 | HAS_SAMPLED
}

/// Lets the entries of `core` start counters by `plan`.
pub(super) fn set_leave_of_plan(core: &Core, plan: &Plan, delivery: Delivery) {
    let steps = match plan.form {
        _ if plan.ibs.is_some() => OTHERS,
        _ if plan.global.is_some() => COUNTERS,
        Some(FastForm::One) => COUNTERS,
        Some(FastForm::Several) => SELECTS,
        Some(FastForm::Any) | None => OTHERS,
    };
    core.path.set_leave(Some(steps.choose(delivery)));
}

/// Lets the entries of `core` arm `source`, which is never moved.
pub(super) fn set_leave(core: &Core, source: &'static Source, delivery: Delivery) {
    core.armed_source
        .store(ptr::from_ref(source).cast_mut().cast(), Relaxed);
    core.path.set_leave(leave_of(source, delivery));
}

type Step = unsafe extern "C" fn();

/// The last steps for a source: of NMIs, of maskable interrupts, and where there must be no
/// breakpoint; those that end by `iretq`, and those by the kernel's way back.
struct Steps {
    own: [Step; 3],
    returned: [Step; 3],
}

impl Steps {
    fn choose(self, delivery: Delivery) -> Leave {
        let [by_nmi, by_irq, aside] = if returns::are_set() {
            self.returned
        } else {
            self.own
        };
        let way = match delivery {
            Delivery::Nmi => by_nmi,
            Delivery::Irq => by_irq,
        };
        Leave { way, aside }
    }
}

const XAPIC: Steps = Steps {
    own: [
        pmiscope_leave_xapic_nmi,
        pmiscope_leave_xapic_irq,
        pmiscope_leave_xapic_aside,
    ],
    returned: [
        pmiscope_leave_xapic_nmi_returned,
        pmiscope_leave_xapic_irq_returned,
        pmiscope_leave_xapic_aside_returned,
    ],
};
const X2APIC: Steps = Steps {
    own: [
        pmiscope_leave_x2apic_nmi,
        pmiscope_leave_x2apic_irq,
        pmiscope_leave_x2apic_aside,
    ],
    returned: [
        pmiscope_leave_x2apic_nmi_returned,
        pmiscope_leave_x2apic_irq_returned,
        pmiscope_leave_x2apic_aside_returned,
    ],
};
const HPET: Steps = Steps {
    own: [
        pmiscope_leave_hpet_nmi,
        pmiscope_leave_hpet_irq,
        pmiscope_leave_hpet_aside,
    ],
    returned: [
        pmiscope_leave_hpet_nmi_returned,
        pmiscope_leave_hpet_irq_returned,
        pmiscope_leave_hpet_aside_returned,
    ],
};
const IPI: Steps = Steps {
    own: [
        pmiscope_leave_ipi_nmi,
        pmiscope_leave_ipi_irq,
        pmiscope_leave_ipi_aside,
    ],
    returned: [
        pmiscope_leave_ipi_nmi_returned,
        pmiscope_leave_ipi_irq_returned,
        pmiscope_leave_ipi_aside_returned,
    ],
};
const COUNTERS: Steps = Steps {
    own: [
        pmiscope_leave_counters_nmi,
        pmiscope_leave_counters_irq,
        pmiscope_leave_counters_aside,
    ],
    returned: [
        pmiscope_leave_counters_nmi_returned,
        pmiscope_leave_counters_irq_returned,
        pmiscope_leave_counters_aside_returned,
    ],
};
const SELECTS: Steps = Steps {
    own: [
        pmiscope_leave_selects_nmi,
        pmiscope_leave_selects_irq,
        pmiscope_leave_selects_aside,
    ],
    returned: [
        pmiscope_leave_selects_nmi_returned,
        pmiscope_leave_selects_irq_returned,
        pmiscope_leave_selects_aside_returned,
    ],
};
const OTHERS: Steps = Steps {
    own: [
        pmiscope_leave_others_nmi,
        pmiscope_leave_others_irq,
        pmiscope_leave_others_aside,
    ],
    returned: [
        pmiscope_leave_others_nmi_returned,
        pmiscope_leave_others_irq_returned,
        pmiscope_leave_others_aside_returned,
    ],
};

unsafe extern "C" {
    fn pmiscope_leave_xapic_nmi();
    fn pmiscope_leave_xapic_irq();
    fn pmiscope_leave_xapic_aside();
    fn pmiscope_leave_xapic_nmi_returned();
    fn pmiscope_leave_xapic_irq_returned();
    fn pmiscope_leave_xapic_aside_returned();
    fn pmiscope_leave_x2apic_nmi();
    fn pmiscope_leave_x2apic_irq();
    fn pmiscope_leave_x2apic_aside();
    fn pmiscope_leave_x2apic_nmi_returned();
    fn pmiscope_leave_x2apic_irq_returned();
    fn pmiscope_leave_x2apic_aside_returned();
    fn pmiscope_leave_hpet_nmi();
    fn pmiscope_leave_hpet_irq();
    fn pmiscope_leave_hpet_aside();
    fn pmiscope_leave_hpet_nmi_returned();
    fn pmiscope_leave_hpet_irq_returned();
    fn pmiscope_leave_hpet_aside_returned();
    fn pmiscope_leave_ipi_nmi();
    fn pmiscope_leave_ipi_irq();
    fn pmiscope_leave_ipi_aside();
    fn pmiscope_leave_ipi_nmi_returned();
    fn pmiscope_leave_ipi_irq_returned();
    fn pmiscope_leave_ipi_aside_returned();
    fn pmiscope_leave_counters_nmi();
    fn pmiscope_leave_counters_irq();
    fn pmiscope_leave_counters_aside();
    fn pmiscope_leave_counters_nmi_returned();
    fn pmiscope_leave_counters_irq_returned();
    fn pmiscope_leave_counters_aside_returned();
    fn pmiscope_leave_selects_nmi();
    fn pmiscope_leave_selects_irq();
    fn pmiscope_leave_selects_aside();
    fn pmiscope_leave_selects_nmi_returned();
    fn pmiscope_leave_selects_irq_returned();
    fn pmiscope_leave_selects_aside_returned();
    fn pmiscope_leave_others_nmi();
    fn pmiscope_leave_others_irq();
    fn pmiscope_leave_others_aside();
    fn pmiscope_leave_others_nmi_returned();
    fn pmiscope_leave_others_irq_returned();
    fn pmiscope_leave_others_aside_returned();
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

/// Starts the core's counters, at this stage.
#[unsafe(link_section = ".pmiscope.calls")]
extern "C" fn start_counters(core: &'static Core, stage: u32) {
    if let Some(plan) = core.pmu.plan() {
        let stage = Stage::from_number(stage);
        core.pmu.driver.start_unmasked(&ThisCore, plan, stage);
    }
    end_of_call();
}

/// A nested handler has stopped the counters for good before they were started.
#[unsafe(link_section = ".pmiscope.calls")]
extern "C" fn stop_counters(core: &'static Core) {
    if let Some(plan) = core.pmu.plan() {
        core.pmu.driver.stop_again(&ThisCore, plan);
    }
    end_of_call();
}

/// Where the driver of a core's counters is.
const DRIVER: usize = offset_of!(Core, pmu) + CorePmu::DRIVER;
const STATE: usize = offset_of!(Core, overflow);
const ARMED_TSC: usize = offset_of!(Core, timing) + offset_of!(Timing, armed_tsc);

assembly!(
    r#"
    # Armed, and in no handler.
    .macro LEAVE_ARMED
    movl %eax, %r8d
    movq %rdx, %rdi
    rdtsc
    movl %eax, {armed_tsc}(%rdi)
    movl %edx, {armed_tsc}+4(%rdi)
    movw $1, {state}(%rdi)
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

    # Notes the time, if it is to be.
    .macro LEAVE_SAMPLED
    movl %eax, %r8d
    movq %rdx, %rdi
    testl ${has_sampled}, %eax
    je 1f
    rdtsc
    movl %eax, {armed_tsc}(%rdi)
    movl %edx, {armed_tsc}+4(%rdi)
    subl {entry_tsc}(%rdi), %eax
    movl %eax, {own_ticks}(%rdi)
1:
    .endm

    .macro LEAVE_ARM_counters
    LEAVE_SAMPLED
    movb %r8b, {stage}(%rdi)
    LEAVE_START
    .endm

    # Starts counters by one register.
    .macro LEAVE_START
    movl {gate}(%rdi), %ecx
    movl {started}(%rdi), %eax
    movl {started}+4(%rdi), %edx
    wrmsr
    cmpb $0, {running}(%rdi)
    jne 1f
    LEAVE_CALL {stop_counters}
1:
    .endm

    # Starts counters one after the other. The registers are in the frame.
    .macro LEAVE_ARM_selects
    LEAVE_SAMPLED
    movb %r8b, {stage}(%rdi)
    movq {begin}(%rdi), %r8
2:
    movl {event_gate}(%r8), %ecx
    movl {event_started}(%r8), %eax
    movl {event_started}+4(%r8), %edx
    wrmsr
    addq ${stride}, %r8
    cmpq {end}(%rdi), %r8
    jne 2b
    cmpb $0, {running}(%rdi)
    jne 1f
    LEAVE_CALL {stop_counters}
1:
    .endm

    .macro LEAVE_ARM_others
    LEAVE_SAMPLED
    movzbl %r8b, %eax
    LEAVE_CALL {start_counters}, movl %eax, %esi
    .endm

    .macro LEAVE_CALL function, argument:vararg
    movq %rsi, 40(%rsp)
    movq %r10, 72(%rsp)
    movq %r11, 80(%rsp)
    \argument
    call \function
    movq 40(%rsp), %rsi
    movq 72(%rsp), %r10
    movq 80(%rsp), %r11
    .endm

    .macro LEAVE source, way, vector, last:vararg
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
    \last
    .cfi_endproc
    .size pmiscope_leave_\source\()_\way, . - pmiscope_leave_\source\()_\way
    .endm

    .irp source, xapic, x2apic, hpet, ipi, counters, selects, others
    LEAVE \source, nmi, {nmi}, iretq
    LEAVE \source, irq, {irq}, iretq
    LEAVE \source, nmi_returned, {nmi}, jmpq *{ways}+{way_nmi}(%rip)
    LEAVE \source, irq_returned, {irq}, jmpq *{ways}+{way_irq}(%rip)
    .endr

    # From here to the end there must be no breakpoint.
    .global pmiscope_leave_aside_start
pmiscope_leave_aside_start:
    .irp source, xapic, x2apic, hpet, ipi, counters, selects, others
    LEAVE \source, aside, {nmi}, iretq
    LEAVE \source, aside_returned, {nmi}, jmpq *{ways}+{way_aside}(%rip)
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
    has_sampled = const HAS_SAMPLED,
    entry_tsc = const offset_of!(Core, timing) + offset_of!(Timing, entry_tsc),
    own_ticks = const offset_of!(Core, timing) + offset_of!(Timing, own_ticks),
    stage = const DRIVER + at::STAGE,
    gate = const DRIVER + at::GATE_REGISTER,
    started = const DRIVER + at::STARTED,
    running = const DRIVER + at::RUNNING,
    begin = const DRIVER + at::BEGIN,
    end = const DRIVER + at::END,
    stride = const at::STRIDE,
    event_gate = const at::EVENT_GATE_REGISTER,
    event_started = const at::EVENT_STARTED,
    start_counters = sym start_counters,
    stop_counters = sym stop_counters,
    ways = sym returns::WAYS,
    way_nmi = const returns::NMI,
    way_irq = const returns::OVERFLOWS,
    way_aside = const returns::ASIDE,
    nmi = const vector::NMI,
    irq = const OVERFLOW,
    options(att_syntax),
);
