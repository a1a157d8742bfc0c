//! Judges the properties that make devices as strict as the manuals: what they do if
//! they are on, and that nothing is different if they are not.
//!
//! The command line says which one: `strict=apic on=yes`.

mod apic;
mod arat;
mod cores;
mod entries;
mod hpet;
mod msr;
mod window;

use core::sync::atomic::{AtomicBool, Ordering};

use crate::machine;
use crate::report::say;

/// What the command line says.
pub struct Words<'a>(&'a str);

impl Words<'_> {
    /// The value of `name=value`.
    fn value(&self, name: &str) -> Option<&str> {
        self.0
            .split_whitespace()
            .filter_map(|word| word.split_once('='))
            .find_map(|(key, value)| (key == name).then_some(value))
    }

    fn number(&self, name: &str) -> u64 {
        let value = self.value(name).expect("the number on the command line");
        value.parse().expect("a number")
    }

    /// Whether the property that is judged is on.
    fn is_on(&self) -> bool {
        self.value("on") == Some("yes")
    }
}

/// The others wait until the first core has loaded entries, and take part.
static STARTED: AtomicBool = AtomicBool::new(false);
static TAKES_ALL: AtomicBool = AtomicBool::new(false);

/// Runs the tests that `words` name; returns false if they name none.
pub fn first_core(words: &str) -> bool {
    let words = &Words(words);
    let Some(what) = words.value("strict") else {
        STARTED.store(true, Ordering::Release);
        return false;
    };
    let mode = if machine::is_x2apic() {
        "x2APIC"
    } else {
        "xAPIC"
    };
    let on = if words.is_on() { "on" } else { "off" };
    say(format_args!("# {what} {on}, {mode}"));
    entries::load();
    match what {
        "apic" => apic::judge(words),
        "thermal" => apic::judge_thermal(words),
        "arat" => arat::judge(words),
        "pending" | "skew" | "hybrid" => {
            TAKES_ALL.store(true, Ordering::Relaxed);
            STARTED.store(true, Ordering::Release);
            if what == "hybrid" {
                cores::judge_hybrid(words);
            } else {
                cores::judge(words, what == "skew");
            }
        }
        "delay" => hpet::judge_delay(words),
        "32-bit" => hpet::judge_32_bit(words),
        "absent" => hpet::judge_absent(words),
        "msr" => msr::judge(words),
        "window" => window::judge(words),
        _ => panic!("strict={what} is nothing that can be judged"),
    }
    true
}

/// The others' part, if there is one.
pub fn other_core() {
    while !STARTED.load(Ordering::Acquire) {
        core::hint::spin_loop();
    }
    if TAKES_ALL.load(Ordering::Relaxed) {
        entries::load();
        cores::other_core();
    }
}
