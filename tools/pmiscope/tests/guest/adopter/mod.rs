//! Kernels that are not ours (`tools/adopters`), profiled by the library as anybody would: what
//! is shown is what they executed.
//!
//! How many instructions each function executes in a round is known by construction. A round is
//! a prime number of them, or the period is, so as many samples of a core as a round has
//! instructions see each of them once.

mod c_limine;
mod c_multiboot2;
mod cost;
mod kernel;
mod leftover;
mod limine;
mod realtime;
mod round;
mod round_c;
mod rust_irq;
mod rust_pvh;
mod rust_smp;
mod rust_tasks;
mod verified;

/// Machines that all is tried on.
const CORES: [u64; 3] = [1, 4, 16];
