//! Workloads of pmiscope's kernel, from its own source, so that the same code is
//! sampled here by perf as there by the kernel; and what its programs do.

#[path = "../../../../kernel/src/workload/arithmetic.rs"]
pub mod arithmetic;
#[path = "../../../../kernel/src/workload/recursion.rs"]
pub mod recursion;
#[path = "../../../../kernel/src/workload/scratch.rs"]
#[allow(dead_code, reason = "the kernel's other workloads need the rest")]
pub mod scratch;

use crate::program;
use scratch::Scratch;

/// The unit of work of a workload.
pub fn find(name: &str) -> Option<fn(&mut Scratch)> {
    match name {
        "arithmetic" => Some(arithmetic::unit),
        "recursion" => Some(recursion::unit),
        "process-arithmetic" => Some(program::arithmetic),
        "process-recursion" => Some(program::recursion),
        "process-calls" => Some(program::calls),
        _ => None,
    }
}
