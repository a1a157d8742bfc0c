//! What reads bytes that somebody else has made, and what must hold whatever they are.
//!
//! Each target is a function of bytes that panics where a promise is broken: that nothing
//! panics, loops or allocates without a bound is the least of them. `tools/fuzz/fuzz` runs
//! them under libFuzzer, which looks for bytes that reach new code (`make fuzz`); the tests
//! of this package run them on the corpus, where everything that was ever found stays.
//!
//! | target | what reads | what must hold |
//! |---|---|---|
//! | [`record`] | samples, counts, new events, the run's description | what is read is written as it was |
//! | [`settings`] | the kernel's command line, events, requests | what is displayed is parsed to the same |
//! | [`capabilities`] | the lines of `pmiscope list` | the same; the list and its JSON can be made |
//! | [`ring`] | the records of a ring | what is read is read again when it is written to another |
//! | [`region`] | the rings in a guest's memory | as many records in the profile as were taken |
//! | [`wire`] | the same as it leaves by a serial line, and there damaged | what arrives is what is read there |
//! | [`profile`] | a profile that was damaged | it is as it was, or said to be incomplete |
//! | [`crafted`] | a profile whose checksums are right, whatever it has | it is read or refused |
//! | [`elf`] | ELF, DWARF and call-frame information | every address has a frame, every name is whole |
//! | [`code`] | instructions without call-frame information | the same |
//! | [`program`] | ELF files as the kernel loads processes from them | they are refused, or in order |
//! | [`dead`] | the memory of a dead kernel: its root, page tables, cores, tasks, stacks, log | what is told of it has an end, and is text |
//! | [`monitor`] | what is typed at the prompt of the kernel's monitor | every line fits, every problem is one, `^C` leads out |

mod capabilities;
mod code;
mod crafted;
mod dead;
mod elf;
mod input;
mod monitor;
mod profile;
mod program;
mod record;
mod region;
mod ring;
mod run;
mod settings;
mod wire;

pub use capabilities::capabilities;
pub use code::code;
pub use crafted::crafted;
pub use dead::dead;
pub use elf::elf;
pub use monitor::monitor;
pub use profile::profile;
pub use program::program;
pub use record::record;
pub use region::region;
pub use ring::ring;
pub use settings::settings;
pub use wire::wire;

/// A target and its name, which is that of its folder in the corpus.
pub type Target = (&'static str, fn(&[u8]));

/// All targets.
pub const TARGETS: [Target; 13] = [
    ("record", record),
    ("settings", settings),
    ("capabilities", capabilities),
    ("ring", ring),
    ("region", region),
    ("wire", wire),
    ("profile", profile),
    ("crafted", crafted),
    ("elf", elf),
    ("code", code),
    ("monitor", monitor),
    ("program", program),
    ("dead", dead),
];
