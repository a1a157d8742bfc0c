//! Compares the names of all functions of some ELF files with those that binutils and LLVM give
//! them: `make names`. Each difference has to have a reason that is known.

mod function;
mod others;
mod reason;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use pmiscope::symbols::Symbols;
use profiler::address::CodeAddress;

use function::Functions;
use others::{Frames, Other};
use reason::{Difference, Reason};

/// So many differences without a reason are shown.
const SHOWN: usize = 20;

/// The files, one a line: a name, and the path.
const FILES: &str = "PMISCOPE_NAMES";

#[test]
#[ignore = "needs binutils, LLVM and large files: make names"]
fn every_function_is_called_as_others_call_it_or_for_a_reason_otherwise() {
    let files = std::env::var(FILES).expect("files: make names says which");
    let files = files.lines().filter_map(|line| line.split_once(' '));
    let mut unknown = 0;
    let mut compared = 0;
    for (name, path) in files {
        unknown += compare(name, &PathBuf::from(path));
        compared += 1;
    }
    assert!(compared > 0, "{FILES} names no file");
    assert_eq!(unknown, 0, "differences without a reason");
}

/// Compares the names in a file; returns how many differ for no reason that is known.
fn compare(name: &str, path: &Path) -> usize {
    let bytes = fs::read(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let functions = Functions::of(&bytes);
    let addresses = functions.addresses();
    let ours = our_frames(&bytes, &addresses);
    println!(
        "{name}: {} functions, {} addresses",
        functions.count(),
        addresses.len()
    );
    let mut unknown = 0;
    for other in Other::ALL {
        let read = other.frames(path, &addresses, true);
        let linked = other.frames(path, &addresses, false);
        let mut reasons: BTreeMap<Reason, usize> = BTreeMap::new();
        for (index, &address) in addresses.iter().enumerate() {
            if ours[index] == read[index] {
                continue;
            }
            let difference = Difference {
                address,
                ours: &ours[index],
                theirs: &linked[index],
                functions: &functions,
            };
            let reason = difference.reason();
            let count = reasons.entry(reason).or_default();
            *count += 1;
            if reason == Reason::Unknown && *count <= SHOWN {
                println!(
                    "  {address:#x}: {:?}\n    {other}: {:?} {:?}",
                    ours[index], read[index], linked[index]
                );
            }
        }
        let different: usize = reasons.values().sum();
        println!(
            "  {other}: {} the same, {different} not",
            addresses.len() - different
        );
        for (reason, count) in &reasons {
            println!("  {count:>9}  {}", reason.words());
        }
        unknown += reasons.get(&Reason::Unknown).copied().unwrap_or_default();
    }
    unknown
}

fn our_frames(elf: &[u8], addresses: &[u64]) -> Vec<Frames> {
    let mut symbols = Symbols::new(elf).expect("an ELF file");
    symbols.resolve(addresses.iter().map(|&address| CodeAddress(address)));
    let frames = |&address: &u64| {
        let frames = symbols.frames(CodeAddress(address)).iter();
        let names = frames.map(|frame| symbols.function(frame.function).name.clone());
        names.collect()
    };
    addresses.iter().map(frames).collect()
}
