//! A Linux program of known length, for perf to count and to sample.
//!
//! Static, without a C library: from its first instruction to its exit every
//! instruction that it executes in user mode is in [`length`], if it is called
//! with two numbers.
//!
//! ```text
//! linux-loop ITERATIONS CALLS        the code of known length; both in 8 hexadecimal digits
//! linux-loop length ITERATIONS CALLS prints how long that is
//! linux-loop time WORKLOAD UNITS     does units of a workload of the kernel's, or of a program's;
//!                                    prints by how much the time-stamp counter has moved
//! ```

#![cfg_attr(target_os = "none", no_std, no_main)]

#[cfg(target_os = "none")]
mod length;
#[cfg(target_os = "none")]
mod linux;
#[cfg(target_os = "none")]
mod program;
#[cfg(target_os = "none")]
mod workload;

#[cfg(target_os = "none")]
use linux::{Arguments, exit, print};

/// What is done if it is not the code of known length.
#[cfg(target_os = "none")]
fn other(arguments: &Arguments) -> Option<()> {
    match arguments.get(1)? {
        "length" => {
            let number = |index| u64::from_str_radix(arguments.get(index)?, 16).ok();
            let length = length::of(number(2)?, number(3)?);
            print(format_args!(
                "{} {} {}\n",
                length.all, length.deepest, length.left
            ));
        }
        "time" => {
            let unit = workload::find(arguments.get(2)?)?;
            let units: u64 = arguments.get(3)?.parse().ok()?;
            let mut scratch = workload::scratch::Scratch::new(0);
            let before = linux::time();
            for _ in 0..units {
                unit(&mut scratch);
                scratch.round += 1;
            }
            print(format_args!("{}\n", linux::time() - before));
        }
        _ => return None,
    }
    Some(())
}

/// Where the assembly goes if there are not two numbers.
#[cfg(target_os = "none")]
extern "C" fn start(stack: *const usize) -> ! {
    // SAFETY: the assembly passes the stack pointer as Linux has set it.
    let arguments = unsafe { Arguments::new(stack) };
    exit(i32::from(other(&arguments).is_none()))
}

#[cfg(not(target_os = "none"))]
fn main() {}
