//! The kernel's workloads, as far as they are pure logic: their own tests, on the host.
//! The code stays with the kernel, whose profile should show it by its name there.

#![allow(dead_code, reason = "the kernel runs them")]

extern crate alloc;

#[path = "../../src/workload/arithmetic.rs"]
mod arithmetic;
#[path = "../../src/workload/contention.rs"]
mod contention;
#[path = "../../src/workload/copy.rs"]
mod copy;
#[path = "../../src/workload/corruption_jobs.rs"]
mod corruption_jobs;
#[path = "../../src/workload/hash.rs"]
mod hash;
#[path = "../../src/workload/heap.rs"]
mod heap;
#[path = "../../src/workload/recursion.rs"]
mod recursion;
#[path = "../../src/workload/scratch.rs"]
mod scratch;
