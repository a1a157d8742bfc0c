//! A program whose work is in C (`c/process-c.c`): all that is of Rust is how it begins and ends.

#![no_std]
#![no_main]

programs::program!(main);

unsafe extern "C" {
    safe fn c_main(argument: u64) -> u64;
}

fn main(argument: u64) -> u64 {
    c_main(argument)
}
