//! A round of the kernels in C. Nearly all that a function executes is a loop of known length;
//! the few instructions around it are the compiler's, and counted in the ELF. So a period of a
//! prime number of instructions sees each instruction of a round once in as many samples as a
//! round has instructions.

use std::collections::BTreeMap;

use iced_x86::{Decoder, DecoderOptions, FlowControl, Instruction};
use object::{Object as _, ObjectSection as _, ObjectSymbol as _};

use serde_json::Value;

use super::kernel::Kernel;
use super::round::{Round, TOLERANCE, shown};

/// Instructions from one sample to the next: primes, which have no divisor in common with a
/// round, which is not a multiple of them.
pub const PERIODS: [u64; 2] = [1009, 101];

/// Numbers of cores, each with a period.
pub const MACHINES: [(u64, u64); 3] = [(1, PERIODS[0]), (4, PERIODS[1]), (16, PERIODS[0])];

/// Functions of a round, how often each is called in it, and the steps of its loop.
const LOOPS: [(&str, u64, u64); 4] = [
    ("hash", 1, 700),
    ("inner", 2, 450),
    ("outer", 1, 300),
    ("masked", 1, 250),
];

/// The functions of a kernel's round, each with its own instructions in it.
fn functions_of_round(kernel: &Kernel) -> BTreeMap<&'static str, u64> {
    let file = kernel.file();
    let file = object::File::parse(&*file).unwrap();
    let own = |&(name, calls, steps)| {
        let code = instructions(&file, name);
        (name, calls * executed(&code, steps))
    };
    LOOPS.iter().map(own).collect()
}

/// The instructions of a function.
fn instructions(file: &object::File<'_>, name: &str) -> Vec<Instruction> {
    let symbol = file.symbol_by_name(name).expect("the function is there");
    let text = file.section_by_name(".text").expect("a text");
    let code = text.data_range(symbol.address(), symbol.size()).unwrap();
    let code = code.expect("the function is in the text");
    let options = DecoderOptions::NONE;
    Decoder::with_ip(64, code, symbol.address(), options)
        .into_iter()
        .collect()
}

/// The instructions that a function executes whose only branch closes a loop.
fn executed(code: &[Instruction], steps: u64) -> u64 {
    let is_branch = |it: &&Instruction| it.flow_control() == FlowControl::ConditionalBranch;
    let branches: Vec<_> = code.iter().filter(is_branch).collect();
    let [branch] = branches[..] else {
        panic!("one branch, not {}", branches.len());
    };
    let looped = branch.near_branch_target()..=branch.ip();
    let looped = code.iter().filter(|it| looped.contains(&it.ip())).count() as u64;
    code.len() as u64 + looped * (steps - 1)
}

#[test]
fn a_loop_of_known_length_is_counted() {
    // mov ecx, 3; 1: dec ecx; jnz 1b; ret
    let code = [0xb9, 3, 0, 0, 0, 0xff, 0xc9, 0x75, 0xfc, 0xc3];
    let code: Vec<_> = Decoder::with_ip(64, &code, 0x1000, DecoderOptions::NONE)
        .into_iter()
        .collect();
    assert_eq!(executed(&code, 3), 1 + 3 * 2 + 1);
}

/// The number that the kernel says behind these words.
#[track_caller]
pub fn told(log: &str, words: &str) -> u64 {
    let line = log.lines().find_map(|line| line.strip_prefix(words));
    let number = line.unwrap_or_else(|| panic!("no `{words}` in {log}"));
    number.trim().parse().expect("a number")
}

/// The samples that each function is to have in itself, and with what it calls.
pub fn expected(kernel: &Kernel, cores: u64, round: u64) -> BTreeMap<String, (u64, u64)> {
    let own = functions_of_round(kernel);
    let rest = round - own.values().sum::<u64>();
    // Three calls with their arguments, a count and a branch.
    assert!((8..=12).contains(&rest), "{rest} instructions of the loop");
    let mut shares: BTreeMap<String, (u64, u64)> = own
        .iter()
        .map(|(&name, &own)| (name.to_owned(), (cores * own, cores * own)))
        .collect();
    shares.get_mut("outer").unwrap().1 += cores * own["inner"];
    shares.insert("rounds".into(), (cores * rest, cores * round));
    shares.insert("workload_run".into(), (0, cores * round));
    shares
}

/// Asserts that a report has these samples of each function: to the last one, but for a few
/// before the first round where the period is short.
#[track_caller]
pub fn assert_is(report: &Value, expected: &BTreeMap<String, (u64, u64)>, period: u64, what: &str) {
    if period == PERIODS[0] {
        assert_eq!(&shown(report), expected, "{what}");
        return;
    }
    let samples = report["samples"].as_u64().unwrap();
    let round = Round {
        functions: expected.clone(),
        instructions: samples,
        measured: samples,
    };
    let differences = round.differences(report, TOLERANCE);
    assert!(differences.is_empty(), "{what}: {differences:#?}");
}
