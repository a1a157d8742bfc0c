//! A kernel whose stacks are wrong for some hundred instructions at a time: each
//! chain is told up to where it is right, with the reason for its end, and the
//! profiler goes on as if nothing were.

use std::collections::BTreeSet;

use profiler::format::ChainEnd::{
    self, Complete, FrameAbove, FrameBelow, FrameMisaligned, FrameNull, ReturnOutsideText,
};

use crate::fixture::{Samples, Seen, run};

const NAME: &str = "corruption";

/// The values that the workload overwrites frame pointers by, in its order: how a
/// chain ends that gets there.
const VALUES: [(&str, &[ChainEnd]); 14] = [
    ("null", &[FrameNull]),
    ("odd", &[FrameMisaligned]),
    ("not canonical", &[FrameBelow]),
    ("guard", &[FrameBelow]),
    ("another core's stack", &[FrameBelow]),
    ("the next stack", &[FrameAbove]),
    ("the top", &[FrameAbove]),
    ("the last word", &[FrameAbove]),
    ("below the stack pointer", &[FrameBelow]),
    ("a cycle", &[FrameBelow]),
    ("itself", &[FrameBelow]),
    ("user half", &[FrameBelow]),
    ("device", &[FrameBelow]),
    ("random", &[FrameMisaligned, FrameBelow, FrameAbove]),
];

/// What a chain must be while something is overwritten: why it ends, and how many of
/// its entries are left.
struct Expected {
    what: String,
    ends: &'static [ChainEnd],
    entries: usize,
}

/// A unit of the workload: each value in the register, then in each of three frames
/// as the frame pointer, as the return address, and as both.
fn expected() -> Vec<Expected> {
    let mut unit = vec![];
    for (value, ends) in VALUES {
        let mut push = |what: String, ends, entries| {
            let what = format!("{value} in {what}");
            unit.push(Expected {
                what,
                ends,
                entries,
            });
        };
        push("the register".into(), ends, 0);
        for frame in 0..3 {
            // The frame's return address is right, what it returns to has no frame.
            push(format!("frame pointer {frame}"), ends, frame + 1);
            let outside: &[_] = &[ReturnOutsideText];
            push(format!("return address {frame}"), outside, frame);
            push(format!("both words of frame {frame}"), outside, frame);
        }
    }
    unit
}

/// Asserts that each core has, in order, gone through at least one unit, and that its
/// chains were what they had to be. At a period of 1 nothing lies between.
#[track_caller]
fn assert_told_as_far_as_right(samples: &Samples, every_instruction: bool) {
    let unit = expected();
    for core in 0..samples.cores.len() {
        // Before the first unit lies the start of the task, whose root calls functions
        // that have no frame yet in their first instructions.
        let is_start = |seen: &Seen| samples.task(seen) != NAME || seen.chain.len() < 4;
        let seen: Vec<Seen> = samples.of(core).skip_while(is_start).collect();
        let is_cut = |seen: &Seen| seen.end != Complete;
        let runs: Vec<_> = seen
            .chunk_by(|a, b| is_cut(a) == is_cut(b))
            .map(<[_]>::to_vec)
            .collect();
        let cut_runs = || runs.iter().filter(|run| is_cut(&run[0])).count();
        assert!(
            cut_runs() > unit.len(),
            "{}: core {core}: {} times cut",
            samples.what,
            cut_runs()
        );
        assert!(!is_cut(&runs[0][0]), "{:x?}", runs[0][0]);
        let cuts = runs.windows(2).filter(|pair| is_cut(&pair[1][0]));
        for ((number, expected), pair) in (0..).zip(unit.iter().cycle()).zip(cuts) {
            let [before, cut] = pair else { unreachable!() };
            // The innermost function, while all is right.
            let whole = &before[before.len() - 1].chain;
            let what = format!(
                "{}: core {core}: number {number}, {}",
                samples.what, expected.what
            );
            assert!(whole.len() > 3, "{what}: the chain before: {whole:x?}");
            for seen in cut {
                assert!(expected.ends.contains(&seen.end), "{what}: {seen:x?}");
                let right = &whole[..expected.entries];
                assert_eq!(seen.chain, right, "{what}: {seen:x?}");
            }
        }
        if every_instruction {
            // What was put back is whole at once.
            for three in runs.windows(3).filter(|three| is_cut(&three[1][0])) {
                let (before, after) = (&three[0][three[0].len() - 1], &three[2][0]);
                assert_eq!(before.chain, after.chain, "before and after a cut");
            }
        }
    }
}

/// Two runs of the workload on two cores: whole, exact, the same.
#[track_caller]
fn twice(period: u64, samples: u64) -> Samples {
    let arguments = format!("--workload corruption --smp 2 --period {period} --samples {samples}");
    let [first, second] = [(), ()].map(|()| run(&arguments).ended_with(0));
    assert_eq!(
        first.report()["sample_hash"],
        second.report()["sample_hash"],
        "sample_hash of two times {arguments}"
    );
    let [first, second] = [first, second].map(|run| run.samples());
    first.assert_whole(2, samples);
    first.assert_exact(period);
    first.assert_same(&second);
    first
}

#[test]
fn chains_over_overwritten_frames_are_told_as_far_as_they_are_right() {
    let samples = twice(7, 40_000);
    assert_told_as_far_as_right(&samples, false);
    let ends: BTreeSet<_> = samples.all().map(|seen| seen.end as u8).collect();
    let all = [
        Complete,
        FrameNull,
        FrameMisaligned,
        FrameBelow,
        FrameAbove,
        ReturnOutsideText,
    ];
    assert_eq!(ends, all.into_iter().map(|end| end as u8).collect());
}

#[test]
fn at_each_instruction_they_are_cut_or_whole_and_nothing_between() {
    let samples = twice(1, 160_000);
    assert_told_as_far_as_right(&samples, true);
}
