//! The whole path: the kernel boots in QEMU, samples itself, and the command
//! shows where its time went.
//!
//! They need the kernel and its loader where `make build` puts them, beside this
//! test's own build, and fail without.

mod adopter;
mod apic;
mod attach;
mod awkward;
mod by_code;
mod chains;
mod clocks;
mod corruption;
mod ctl;
mod disc;
mod doctor;
mod elsewhere;
mod ends;
mod exact;
mod fast;
mod fixture;
#[path = "../folder.rs"]
mod folder;
mod ibs;
mod kept;
mod last_words;
mod loader;
mod machines;
mod midway;
mod monitor;
mod names;
mod nested;
mod operations;
mod over_debug;
mod pass_on;
mod pmu;
mod postmortem;
mod processes;
mod profile;
mod real;
#[path = "../records.rs"]
mod records;
mod report;
mod ring;
mod screen;
mod serve;
mod sizes;
mod sources;
mod space;
mod strangers;
mod stress;
mod stress_boot;
mod tasks;
mod truth;
mod verify;
mod watch;
mod wire;
