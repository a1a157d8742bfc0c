//! Chains of counters' interrupts against true ones: a profile of every instruction, which
//! `pmiscope verify` has found right, has one sample at the very instruction.
//!
//! Of workloads in which a core goes its own way, without interrupts or waiting for
//! others: at which instruction the emulator lets an interrupt in depends on where its
//! blocks end, and so on who samples. Nor of those that allocate: what an allocator does
//! depends on what was allocated before, and each source has done that otherwise.

use assert_cmd::Command;
use profiler::format::State;

use crate::fixture::{Run, Samples, Seen, run, sample};
use crate::pmu::is_skipped;

/// A profile of every instruction, verified.
pub struct EveryInstruction {
    samples: Samples,
}

/// Where an instruction is looked for, beside its place: a run by counters and one by the
/// timer begin at the same code, but for what each has to do at its start. What is before
/// the first instruction that was recorded is not looked for.
const OFFSETS: std::ops::Range<i64> = -500..5000;

/// Samples of a core at its start, where several cores make their tasks: how long one waits for
/// another differs.
const OF_START: usize = 50;

impl EveryInstruction {
    /// Verifies what has every instruction of its run.
    #[track_caller]
    pub fn of(run: &Run) -> Self {
        Command::new(env!("CARGO_BIN_EXE_pmiscope"))
            .arg("verify")
            .arg(&run.profile)
            .assert()
            .success();
        Self {
            samples: run.samples(),
        }
    }

    /// Samples at a period of `period` in the mean that every core's instructions have room
    /// for, all cores together.
    pub fn room_for(&self, period: u64) -> u64 {
        let shortest = self.samples.cores.iter().map(Vec::len).min().unwrap() as u64;
        // A start of another length, and the last one early or late.
        (shortest / period - 60) * self.samples.cores.len() as u64
    }

    /// Asserts that each of these samples, of the same workload, is what the sample of
    /// that very instruction is.
    #[track_caller]
    pub fn assert_chains(&self, counted: &Samples) {
        for core in 0..self.samples.cores.len() {
            // A count may begin before the first instruction that was recorded.
            let at = |position: u64, offset: i64| {
                let index = usize::try_from(position.cast_signed() + offset).ok()?;
                Some(self.samples.at(core, index))
            };
            // The first that differs, where the first sample is so far off.
            let differs = |offset: i64| {
                // Of each event, all of which count instructions.
                let mut positions = [0; 16];
                let are_several = self.samples.cores.len() > 1;
                counted.of(core).enumerate().find_map(|(number, seen)| {
                    let position = &mut positions[usize::from(seen.event)];
                    *position += seen.period;
                    if are_several && number < OF_START {
                        return None;
                    }
                    let there = at(*position, offset)?;
                    (place(&seen) != place(&there)).then_some((seen, there))
                })
            };
            // By how far it agrees; none differs where it is right.
            let mut farthest: Option<(Seen, Seen)> = None;
            let is_found = OFFSETS.map(differs).any(|differing| match differing {
                None => true,
                Some(pair) => {
                    let before = farthest.as_ref().map(|(seen, _)| seen.sequence);
                    if Some(pair.0.sequence) > before {
                        farthest = Some(pair);
                    }
                    false
                }
            });
            if is_found {
                continue;
            }
            let (seen, there) = farthest.expect("a place to look");
            panic!(
                "{}: core {core}: this sample, which is {seen:x?}, is of an instruction at which {} has {there:x?}",
                counted.what, self.samples.what
            );
        }
    }
}

/// The bytes from a stack to the next.
const STACK_SLOT: u64 = 128 << 10;

/// What of a sample does not depend on how it was taken. Which of the stacks a task has does: cores
/// that do not wait for each other make theirs in another order.
fn place(seen: &Seen) -> impl PartialEq + use<> {
    let interrupts = seen.state.has(State::INTERRUPTS_ON);
    (
        seen.pc,
        seen.sp.0 % STACK_SLOT,
        seen.chain.clone(),
        seen.end,
        seen.task,
        interrupts,
    )
}

#[test]
fn chains_are_those_of_the_same_instructions() {
    if is_skipped() {
        return;
    }
    const INSTRUCTIONS: u32 = 20_000;
    for (workload, model) in [
        ("recursion", "intel-v5"),
        ("hash", "amd-v2"),
        ("copy", "intel-v2"),
        ("interrupts-off", "amd-legacy"),
    ] {
        let machine = format!("--pmu {model} --workload {workload} --smp 1");
        let all = run(&format!(
            "{machine} --source apic-timer --period 1 --samples {INSTRUCTIONS} --ring 64M"
        ));
        let truth = EveryInstruction::of(&all.ended_with(0));
        // No divisor of what loops.
        let period = 61;
        let count = truth.room_for(period);
        let samples = sample(&format!(
            "{machine} --source pmu --event instructions --period {period} --samples {count}"
        ));
        samples.assert_whole(1, count);
        samples.assert_exact(period);
        truth.assert_chains(&samples);
    }
}
