//! A process that becomes another program, and that one another again: its number and its parent stay, its
//! memory and its registers are new.

#![no_std]
#![no_main]

use programs::{exec, map, mix, pid, spawn, wait};

programs::program!(main);

/// Programs behind each other in a process.
const TIMES: u64 = 3;

/// The argument is how often the process is to become this program again, and above 8 bits its number; 0
/// of the parent.
fn main(argument: u64) -> u64 {
    if argument != 0 {
        return become_next(argument & 0xff, argument >> 8);
    }
    let mut failed = 0;
    for _ in 0..2 {
        let child = spawn("process-exec", TIMES);
        failed += u64::from(child.and_then(wait) != Ok(7));
    }
    // What is not there is refused, and the process stays what it is.
    failed + u64::from(exec("process-none", 0).is_ok())
}

fn become_next(left: u64, number: u64) -> u64 {
    let me = pid();
    if number != 0 && number != me {
        return 1;
    }
    // Memory that is not there behind it.
    if let Ok(page) = map(4096) {
        // SAFETY: it is mapped, and can be written to.
        unsafe { page.write_volatile(1) };
    }
    let _ = mix(left, 100);
    let problem = match left {
        1 => exec("process-exit", 7),
        _ => exec("process-exec", (left - 1) | (me << 8)),
    };
    // Only a refusal comes back.
    problem.map_or(2, |()| 3)
}
