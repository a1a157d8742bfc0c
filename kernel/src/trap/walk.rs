//! What a walk over the stack asks of traps: the registers that were interrupted, and how code keeps
//! its caller.

use kernel_core::postmortem::Code;
use kernel_core::stub;
use profiler::address::{CodeAddress, StackAddress};
use profiler::entry::TrapFrame;
use profiler::unwind::{Registers, Rule, assembly};
use x86_64::VirtAddr;

unsafe extern "C" {
    static trap_stubs: u8;
    // Those of what may come from user mode.
    static user_stubs: u8;
    // And where programs are isolated.
    static isolated_user_stubs: u8;
}

/// Where the entry stubs begin ([`super::stub`]).
pub(super) fn stubs() -> VirtAddr {
    VirtAddr::from_ptr(&raw const trap_stubs)
}

/// Where those begin of what may come from user mode ([`super::user`]).
pub(super) fn user_stubs_start() -> VirtAddr {
    VirtAddr::from_ptr(&raw const user_stubs)
}

/// The same where programs are isolated ([`super::isolation`]).
pub(super) fn isolated_stubs_start() -> VirtAddr {
    VirtAddr::from_ptr(&raw const isolated_user_stubs)
}

/// Where the tool finds in a dead kernel's memory what its walk over stacks asks for.
#[must_use]
pub fn places() -> Code {
    let [assembly, calls, rules] = assembly::places();
    Code {
        assembly_start: assembly.start.0,
        assembly_end: assembly.end.0,
        calls_start: calls.start.0,
        calls_end: calls.end.0,
        rules_start: rules.start.0,
        rules_end: rules.end.0,
        stubs: stubs().as_u64(),
    }
}

/// The registers of what a trap has interrupted.
#[must_use]
pub fn registers_of(frame: &TrapFrame) -> Registers {
    Registers {
        pc: CodeAddress(frame.rip),
        sp: StackAddress(frame.rsp),
        fp: StackAddress(frame.rbp),
    }
}

/// How code keeps its caller while the instruction at `address` has not been executed.
#[must_use]
#[inline]
pub fn rule(address: CodeAddress) -> Rule {
    if assembly::contains(address) {
        rule_of_assembly(address)
    } else {
        Rule::FramePointer
    }
}

fn rule_of_assembly(address: CodeAddress) -> Rule {
    if let Some(rule) = rule_of_stub(address) {
        return rule;
    }
    assembly::rule_of_assembly(address)
}

/// How the stubs keep what they interrupt.
fn rule_of_stub(address: CodeAddress) -> Option<Rule> {
    let all = [
        &raw const trap_stubs,
        &raw const user_stubs,
        &raw const isolated_user_stubs,
    ];
    let mut all = all.into_iter();
    all.find_map(|first| stub::rule(address.0.checked_sub(first.addr() as u64)?))
}
