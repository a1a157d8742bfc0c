//! The kernel with cooperative tasks on stacks that nobody knows the ends of
//! (`tools/adopters/rust-tasks`): what it says of its stacks is where all of them lie.

use serde_json::{Value, json};

use super::kernel::Kernel;
use super::round::{Round, assert_exact};
use super::verified;

/// One part in so many of all is executed by switches and between them, at most.
const OF_SWITCHES: u64 = 300;

/// Rounds of each task in its turn.
const ROUNDS: [u64; 4] = [1, 2, 3, 4];

fn kernel() -> Kernel {
    Kernel::rust("rust-tasks")
}

#[test]
fn shares_and_tasks_are_what_was_executed() {
    for (cores, period) in [(1, 1000), (4, 100), (16, 1000)] {
        // Whole turns of all tasks, but for what the switches take.
        let samples = 7573 * ROUNDS.iter().sum::<u64>() / 5;
        let arguments = format!(
            "--source apic-timer --smp {cores} --period {period} --samples {samples} --ring 16M"
        );
        let run = kernel().profile(&arguments);
        let (report, round) = (run.report(), Round::of_log(&run.said()));
        assert_exact(&report, &arguments, samples, period);
        let differences = round.differences(&report, OF_SWITCHES);
        assert!(differences.is_empty(), "{arguments}: {differences:#?}");
        let tasks = report["tasks"].as_array().unwrap();
        for (number, rounds) in (0..).zip(ROUNDS) {
            let name = format!("task {number}");
            let task = tasks.iter().find(|task| task["name"] == name);
            let shown = task.map_or(0, |task| task["samples"].as_u64().unwrap());
            let off = (shown * 10).abs_diff(rounds * samples);
            assert!(off * 100 < samples * 10, "{arguments}: {name}: {shown}");
        }
        // Ends are said: only the switch has no frame pointer.
        let ends = &report["chain_ends"];
        let complete = ends["complete"].as_u64().unwrap();
        let null = ends["frame pointer null"].as_u64().unwrap_or(0);
        assert_eq!(complete + null, samples, "{arguments}: {ends}");
        assert!(null * OF_SWITCHES < samples, "{arguments}: {ends}");
    }
}

#[test]
fn chains_are_true_as_far_as_they_go_at_each_instruction() {
    // Two turns of all tasks.
    let verified = verified::verify(&kernel(), 1, 160_000, "32M");
    let differences = verified["differences"].as_array().unwrap();
    let [incomplete] = &differences[..] else {
        panic!("{verified:#}");
    };
    let kind = "true as far as it goes, and said to be incomplete";
    assert_eq!(incomplete["kind"], kind, "{verified:#}");
    // A switch is some instructions without a frame pointer; a task that begins, two.
    let switches = 9 * 8;
    let count = incomplete["count"].as_u64().unwrap();
    assert!((switches..switches + 20).contains(&count), "{verified:#}");
    for function in incomplete["functions"].as_array().unwrap() {
        let name = function[0].as_str().unwrap();
        let is_known = ["rust_tasks::tasks::switch", "rust_tasks::work"].contains(&name);
        assert!(is_known, "{verified:#}");
    }
    assert_eq!(incomplete["examples"][0]["end"], "frame pointer null");
    let assumed = &verified["assumed"];
    let of = |what: &str| assumed[what].clone();
    let expected: [Value; 3] = [json!(1), json!(4), json!(4)];
    assert_eq!(
        ["starts", "stacks", "roots"].map(of),
        expected,
        "{assumed:#}"
    );
}
