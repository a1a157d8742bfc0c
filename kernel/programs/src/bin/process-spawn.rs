//! A storm of processes: each is made, runs a few instructions, and ends.

#![no_std]
#![no_main]

programs::program!(main);

/// The child's program.
const CHILD: &str = "process-exit";

fn main(_: u64) -> u64 {
    let mut failed = 0;
    for _ in 0..4 {
        let status = programs::spawn(CHILD, 3).and_then(programs::wait);
        failed += u64::from(status != Ok(3));
    }
    failed
}
