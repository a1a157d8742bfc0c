//! `apic.x-no-arat`: the timer of a halted processor (SDM, volume 3, "APIC Timer"; CPUID
//! leaf 06H).

use super::{Words, entries, hpet};
use crate::machine::{self, read_apic};
use crate::report::{equal, test};

const CURRENT_COUNT: u32 = 0x390;
const MILLISECOND: u32 = 1_000_000;

pub fn judge(words: &Words<'_>) {
    let on = words.is_on();
    let announced = machine::cpuid(6)[0] & 1 << 2 != 0;
    equal(format_args!("ARAT in CPUID"), announced, !on);

    // Another timer wakes the core when a third of a millisecond has gone.
    hpet::start();
    let began = machine::time();
    machine::wake_in(MILLISECOND);
    hpet::interrupt_in(u64::from(MILLISECOND) / 30);
    machine::halt();
    machine::enable_interrupts(false);
    let woke = machine::time();
    let left = u64::from(read_apic(CURRENT_COUNT));
    let elapsed = woke - began;
    equal(
        format_args!("woken by the HPET"),
        entries::arrived(hpet::VECTOR),
        1,
    );
    test(elapsed > 300_000, format_args!("halted for {elapsed} ns"));
    let gone = u64::from(MILLISECOND) - left;
    if on {
        test(
            gone < 2000,
            format_args!("{gone} counts of the timer have gone"),
        );
    } else {
        test(
            gone.abs_diff(elapsed) < 2000,
            format_args!("{gone} counts of {elapsed} have gone"),
        );
    }

    // What was left is left.
    let resumed = machine::time();
    let mut came = 0;
    while came == 0 && machine::time() - resumed < 2 * u64::from(MILLISECOND) {
        came = entries::arrived(machine::WAKE_VECTOR);
    }
    let took = machine::time() - resumed;
    equal(format_args!("the timer's interrupts"), came, 1);
    test(
        took.abs_diff(left) < 5000,
        format_args!("took {took} ns of {left}"),
    );
}
