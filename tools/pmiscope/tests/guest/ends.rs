//! Ends other than the good one, before sampling begins: each with its status, and a message that says
//! what happened, on which core.

use pmiscope::profile::Outcome::{
    BadCommandLine, Exception, Finished, LoaderFailed, Panic, Reset, SamplingUnavailable,
};

use crate::fixture::{Guest, kernel, run};

/// A test for each of the kernel's self-tests, with what it must end and what the log must say.
macro_rules! self_tests {
    ($($name:ident: $outcome:ident, [$($says:literal),* $(,)?];)*) => {
        mod self_test {
            use super::*;

            $(#[test]
            fn $name() {
                let test = stringify!($name).replace('_', "-");
                Guest::boot(3, 64, &format!("test={test}")).ended_with($outcome, &[$($says),*]);
            })*
        }
    };
}

self_tests! {
    nothing: Finished, ["self-test: nothing"];
    panic: Panic, ["[ERROR core0] panicked at kernel/src/selftest.rs:", "this panic was asked for"];
    panic_in_panic: Panic, ["\npanic while ending the run\n"];
    trap_in_panic: Exception, ["\ntrap while ending the run\n"];
    trap_in_log: Exception, ["[ERROR core0] page fault (vector 14)"];
    nmi_keeps_cr2: Finished, ["self-test: nmi-keeps-cr2"];
    nmi_anywhere: Finished, ["self-test: nmi-anywhere"];
    control_registers: Finished, ["self-test: control-registers"];
    nmi_on_landing: Exception, [
        "[ERROR core0] invalid opcode (vector 6)",
        "an NMI came while NMIs were blocked",
        "stack pointer: core 0's NMI stack",
    ];
    stuck_log: Finished, ["[INFO core0] said all the same"];
    page_fault: Exception, [
        "[ERROR core0] page fault (vector 14)",
        "cr2 00000000dead0000 (reading, not mapped)",
        "stack pointer: core 0's kernel stack",
    ];
    write_text: Exception, ["cr2 ffffffff80000000 (writing, not allowed)"];
    execute_data: Exception, ["(executing, not allowed)"];
    stack_overflow: Exception, [
        "[ERROR core0] double fault (vector 8)",
        ": guard page of core 0's kernel stack",
    ];
    overflow_kernel: Exception, [
        "[ERROR core0] double fault (vector 8)",
        ": guard page of core 0's kernel stack",
    ];
    overflow_nmi: Exception, [
        "[ERROR core0] double fault (vector 8)",
        ": guard page of core 0's NMI stack",
    ];
    overflow_nmi_handler: Exception, [
        "[ERROR core0] double fault (vector 8)",
        ": guard page of core 0's NMI handler stack",
    ];
    overflow_debug: Exception, [
        "[ERROR core0] double fault (vector 8)",
        ": guard page of core 0's debug stack",
    ];
    overflow_machine_check: Exception, [
        "[ERROR core0] double fault (vector 8)",
        ": guard page of core 0's machine check stack",
    ];
    // A double fault begins at the top of this stack again, so it can be reported.
    overflow_double_fault: Exception, [
        "[ERROR core0] double fault (vector 8)",
        ": guard page of core 0's double fault stack",
    ];
    overflow_elsewhere: Exception, [
        "[ERROR core2] double fault (vector 8)",
        ": guard page of core 2's NMI handler stack",
    ];
    canary: Panic, ["the canary of core 0's debug stack is overwritten"];
    double_fault: Exception, [
        "[ERROR core0] double fault (vector 8)",
        "stack pointer: on no stack of the kernel",
    ];
    // Nobody is left to say anything: that the machine was reset is all there is.
    triple_fault: Reset, ["self-test: triple-fault"];
    breakpoint: Exception, ["[ERROR core0] breakpoint (vector 3)"];
    breakpoint_elsewhere: Exception, [
        "[ERROR core2] breakpoint (vector 3)",
        "stack pointer: core 2's kernel stack",
    ];
    leisure: BadCommandLine, ["`test=leisure`: no such test; there are:", " double-fault, "];
}

#[test]
fn a_word_that_is_not_known_ends_the_run() {
    for (line, says) in [
        (
            "frequency=3",
            "`frequency=3`: no such setting; there are source=, delivery=, period=, event=, take=, \
             jitter=, seed=, workload=, samples=, units=, per=, ring=, keep=, table=, send=, aim=, test=, \
             serial=, at-end=, kept=, monitor=, log=, watchdog=, accounting=, locks=, lines=, kpti=",
        ),
        ("period=0", "`period=0`: must be a number from 1"),
        ("source=rdtsc", "`source=rdtsc`: must be one of auto, pmu"),
        ("samples=5 samples=5", "`samples=5`: set before"),
        ("workload=leisure", "`workload=leisure`: must be one of mix"),
    ] {
        let says = format!("[ERROR core0] command line: {says}");
        Guest::boot(1, 64, line).ended_with(BadCommandLine, &[&says]);
    }
}

#[test]
fn too_little_memory_is_said() {
    let line = "samples=100 ring=67108864";
    let says = "no 64 MiB of memory in a row for the rings";
    Guest::boot(1, 64, line).ended_with(SamplingUnavailable, &[says]);
    let says = "loader: no free block of";
    // The kernel's file has nearly all, behind the loader and before QEMU's tables.
    let least = (0x18_0000 + kernel().len() as u64 + 0x2_8000).div_ceil(1 << 20);
    Guest::boot(1, least, line).ended_with(LoaderFailed, &[says]);
    // QEMU would put the kernel's file over the loader.
    // At 9 MiB over its end alone.
    for memory in [6, 9] {
        let says = format!("--memory {memory} MiB: the kernel's file alone has");
        run(&format!("--memory {memory}M"))
            .ended_with(1)
            .saying(&[&says]);
    }
    run("--memory 65M --samples 100").ended_with(0);
    run("--memory 65537K")
        .ended_with(1)
        .saying(&["in steps of 8 KiB"]);
}

#[test]
fn the_command_says_what_the_kernel_refused() {
    run("--workload leisure").ended_with(5).saying(&[
        "the kernel refused its command line",
        "`workload=leisure`: must be one of mix, arithmetic",
        "no profile was written",
    ]);
}

#[test]
fn a_kernel_that_panics_says_where() {
    let run = run("--self-test panic").ended_with(4).saying(&[
        "the kernel panicked: panicked at kernel/src/selftest.rs:",
        ": this panic was asked for\n",
    ]);
    assert!(!run.profile.exists(), "a profile of nothing");
}

#[test]
fn a_machine_that_is_reset_is_a_failure() {
    let run = run("--self-test triple-fault").ended_with(4).saying(&[
        "the guest reset or switched off the machine",
        "self-test: triple-fault",
    ]);
    assert!(!run.profile.exists(), "a profile of nothing");
}

#[test]
fn a_kernel_that_hangs_is_ended() {
    run("--self-test hang --timeout 5").ended_with(6).saying(&[
        "the kernel has not sampled and was ended: no sample and no line of the log for 5 s",
        "it contains the sampler and has not started it",
        "self-test: hang",
    ]);
}
