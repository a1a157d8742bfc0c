//! Ends at once, with the status that it is told: the child of `process-spawn`.

#![no_std]
#![no_main]

programs::program!(main);

fn main(status: u64) -> u64 {
    status
}
