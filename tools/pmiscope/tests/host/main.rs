//! Tests of the host tool that need no guest: profiles are made by the library's
//! own writer, the kernel in them is a few lines of C.

mod attach;
mod by_code;
mod capabilities;
mod collect;
mod command;
mod compiled;
mod counts;
mod damaged;
mod diff;
mod embedded;
mod events;
mod everything;
mod exports;
mod files;
mod fixture;
#[path = "../folder.rs"]
mod folder;
mod foreign;
mod import;
mod installed;
mod memory;
mod misuse;
mod monitor;
mod moved;
mod names;
mod outside;
mod overwritten;
mod page;
mod perf_maps;
mod postmortem;
mod processes;
mod profile;
mod program_exports;
mod programs;
#[path = "../records.rs"]
mod records;
mod report;
mod selection;
mod separate;
mod symbols;
mod tally;
mod timeline;
mod verify;
mod views;
mod warnings;
