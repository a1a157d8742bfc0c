//! Messages between two processes: each waits for the other's, so that every one is a switch of page
//! tables.

#![no_std]
#![no_main]

use programs::{mix, pid, receive, send, spawn, wait};

programs::program!(main);

const ROUNDS: u64 = 24;
/// What ends the child.
const END: u64 = u32::MAX as u64;

/// The argument is the parent's number, and 0 of the parent.
fn main(parent: u64) -> u64 {
    if parent != 0 {
        return pong(parent);
    }
    let Ok(child) = spawn("process-ping-pong", pid()) else {
        return 1;
    };
    let mut failed = 0;
    for round in 0..ROUNDS {
        failed += u64::from(send(child, round).is_err());
        failed += u64::from(receive() != Ok(answer(round)));
    }
    failed += u64::from(send(child, END).is_err());
    failed + u64::from(wait(child) != Ok(ROUNDS))
}

/// Answers each message. Returns how many there were.
fn pong(parent: u64) -> u64 {
    let mut answered = 0;
    while let Ok(question) = receive() {
        if question == END || send(parent, answer(question)).is_err() {
            break;
        }
        answered += 1;
    }
    answered
}

#[inline(never)]
fn answer(question: u64) -> u64 {
    mix(question, 10) >> 1
}
