//! What a walk over the stack asks of traps: the registers that were interrupted, and how code keeps
//! its caller.

use profiler::address::{CodeAddress, StackAddress};
use profiler::entry::TrapFrame;
use profiler::unwind::{Registers, Rule, assembly};
use x86_64::VirtAddr;

/// The bytes of an entry stub.
pub(super) const STUB_BYTES: u64 = 16;

/// Bytes of `pushq $0`.
const PUSH_ZERO_BYTES: u64 = 2;

unsafe extern "C" {
    static trap_stubs: u8;
}

/// Where the entry stubs begin ([`super::stub`]).
pub(super) fn stubs() -> VirtAddr {
    VirtAddr::from_ptr(&raw const trap_stubs)
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

/// How the stubs keep what they interrupt, by which instruction of a stub it is:
/// the stubs are alike, so a table would say the same 256 times.
fn rule_of_stub(address: CodeAddress) -> Option<Rule> {
    let offset = address
        .0
        .checked_sub((&raw const trap_stubs).addr() as u64)?;
    let vector = u8::try_from(offset / STUB_BYTES).ok()?;
    let first = u64::from(has_error_code(vector));
    let words = match offset % STUB_BYTES {
        0 => first,
        PUSH_ZERO_BYTES if first == 0 => 1,
        _ => 2,
    };
    let vector = Some(vector);
    Some(Rule::Interrupted { words, vector })
}

/// Exceptions that push an error code (SDM vol. 3, table 7-1; 28 to 30 are AMD's).
const fn has_error_code(vector: u8) -> bool {
    matches!(vector, 8 | 10..=14 | 17 | 21 | 29 | 30)
}
