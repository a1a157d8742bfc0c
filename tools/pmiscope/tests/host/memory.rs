//! What reads a profile needs memory for its stacks, and not for its samples.

use std::path::Path;
use std::process::{Command, Stdio};

use pmiscope::profile::{Head, Writer};
use profiler::address::StackAddress;
use profiler::format::sample::Chain;
use profiler::format::{Sample, State};
use tempfile::TempDir;

use crate::fixture::{description, host, kernel, run_end, samples};

/// More than a block has, which is read at a time; and six times that.
const SOME: u32 = 70_000;
const MANY: u32 = 6 * SOME;

/// A command on a profile fits into this if it keeps 16 bytes of each sample no longer than it reads it.
const ROOM: u32 = 4 << 10;

/// Writes a profile of so many samples, of a few stacks.
fn write(samples_of: u32, path: &Path) {
    let (description, host) = (description(), host());
    let head = Head {
        description: &description,
        host: &host,
        kernel: &kernel().elf,
    };
    let mut writer = Writer::new(Vec::new(), &head).unwrap();
    let seen = samples().concat();
    let chains = seen.iter().map(|seen| {
        let mut chain = Chain::new();
        seen.chain
            .iter()
            .for_each(|&entry| chain.push(entry).unwrap());
        chain
    });
    let chains: Vec<_> = chains.collect();
    for sequence in 0..samples_of {
        // In no order that packs well.
        let stack = sequence.wrapping_mul(2_654_435_761) >> 16;
        let (seen, chain) = (
            &seen[stack as usize % seen.len()],
            &chains[stack as usize % seen.len()],
        );
        let sample = Sample {
            sequence,
            handler_cost: 300 + stack % 7,
            event: 0,
            task: seen.task,
            state: State(seen.state),
            time: u64::from(sequence) * 1_000,
            period: 100 + u64::from(stack % 5),
            sp: StackAddress(u64::from(stack % 11) * 8),
            stack_top: seen.stack_top,
            pc: seen.pc,
            exact: None,
            end: seen.end,
            chain_words: chain.words(),
        };
        writer.sample(0, &sample).unwrap();
    }
    let mut end = run_end();
    (end.cores[0].stored, end.cores[1].stored) = (samples_of.into(), 0);
    std::fs::write(path, writer.finish(&end).unwrap()).unwrap();
}

/// Returns true if a command on a profile gets by with so many KiB of data.
fn fits(words: &[&str], path: &Path, kibibytes: u32) -> bool {
    let mut shell = Command::new("sh");
    shell
        .arg("-c")
        .arg(format!("ulimit -c 0; ulimit -d {kibibytes}; exec \"$@\""))
        .args(["sh", env!("CARGO_BIN_EXE_pmiscope"), words[0]])
        .arg(path)
        .args(&words[1..])
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    shell.status().unwrap().success()
}

#[test]
fn memory_does_not_grow_with_samples() {
    let folder = TempDir::new().unwrap();
    let [some, many] = [SOME, MANY].map(|samples| {
        let path = folder.path().join(format!("{samples}.pmi"));
        write(samples, &path);
        path
    });
    let folded = folder.path().join("folded");
    let folded = folded.to_str().unwrap();
    for words in [
        &["report"][..],
        &["export", "--format", "folded", "--by", "core", "-o", folded],
    ] {
        // What it needs for some.
        let (mut too_few, mut enough) = (1 << 10, 64 << 10);
        assert!(fits(words, &some, enough), "{words:?}");
        while enough - too_few > ROOM / 8 {
            let middle = u32::midpoint(too_few, enough);
            if fits(words, &some, middle) {
                enough = middle;
            } else {
                too_few = middle;
            }
        }
        assert!(
            fits(words, &many, enough + ROOM),
            "{words:?} in {enough} KiB and {ROOM}"
        );
    }
}
