//! A storm of system calls that do nothing: most of its samples are in the kernel's entry and exit.

#![no_std]
#![no_main]

programs::program!(main);

fn main(_: u64) -> u64 {
    let mut refused = 0;
    for _ in 0..300 {
        refused += programs::nothing();
    }
    refused
}
