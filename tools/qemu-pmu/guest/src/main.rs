//! A bare-metal guest that judges an emulated performance-monitoring unit.
//!
//! It runs code whose length is known to the instruction and compares what the
//! counters say, and where their interrupts come, with that. What it should find
//! is on its command line: `model=intel-v4 skid=0 mask=on`. It writes a line for
//! each test to the first serial port, and ends QEMU with status 33 if all are
//! good, with 35 if not.

#![cfg_attr(target_os = "none", no_std, no_main)]

#[cfg(target_os = "none")]
mod code;
#[cfg(target_os = "none")]
mod cores;
#[cfg(target_os = "none")]
mod ibs;
#[cfg(target_os = "none")]
mod machine;
#[cfg(target_os = "none")]
mod model;
#[cfg(target_os = "none")]
mod report;
#[cfg(target_os = "none")]
mod sampling;
#[cfg(target_os = "none")]
mod start;
#[cfg(target_os = "none")]
mod strict;
#[cfg(target_os = "none")]
mod tests;

/// On the host there is nothing to judge.
#[cfg(not(target_os = "none"))]
fn main() {
    eprintln!(
        "pmu-guest: build it for the target x86_64-unknown-none; tools/qemu-pmu/test.sh does"
    );
}
