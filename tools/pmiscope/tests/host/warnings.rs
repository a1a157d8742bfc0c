//! What makes a profile misleading is said, beside the report and in it.

use profiler::address::{CodeAddress, CodeRange};
use profiler::format::{ChainEnd, ChainEntry, Description, State, Text};
use serde_json::Value;

use crate::command::{pmiscope, stderr, stdout, text};
use crate::fixture::{
    Kernel, Seen, bare_kernel, description, file, kernel, profile, profile_of, profile_of_cores,
    two_events,
};

const NO_FRAMES: &str = "the kernel's ELF has no call-frame information";
const NO_DEBUG_INFO: &str = "the kernel's ELF has no debug information: ";
const MOVED: &str = "of the samples are in the kernel's text but not in the ELF's";
const STUCK: &str = "of the samples are at one instruction of their core";

fn one_core() -> Description {
    Description {
        cores: 1,
        ..description()
    }
}

/// So many samples at each of these places.
fn samples(places: &[(CodeAddress, usize)]) -> Vec<Seen> {
    let places = places.iter();
    let places = places.flat_map(|&(pc, count)| std::iter::repeat_n(pc, count));
    (0..)
        .zip(places)
        .map(|(sequence, pc)| Seen::new(sequence, pc, &[]))
        .collect()
}

/// The warnings of a report, that with `more` arguments ends with this status.
#[track_caller]
fn warnings(name: &str, profile: &[u8], more: &[&str], status: i32) -> Vec<String> {
    let path = file(name, profile);
    let arguments = [&["report", text(&path), "--format", "json"], more].concat();
    let json = pmiscope(&arguments).code(status);
    let said = stderr(&json);
    let json: Value = serde_json::from_str(&stdout(&json)).unwrap();
    let shown = json.get("warnings").map(|list| list.as_array().unwrap());
    let shown: Vec<_> = shown
        .into_iter()
        .flatten()
        .map(|it| it.as_str().unwrap())
        .collect();
    let lines: Vec<_> = said.lines().map(str::to_owned).collect();
    let expected: Vec<_> = shown
        .iter()
        .map(|it| format!("pmiscope: warning: {it}"))
        .collect();
    assert_eq!(lines, expected, "the same beside the report as in it");
    let report = stdout(&pmiscope(&[&["report", text(&path)], more].concat()).code(status));
    assert_eq!(
        report.matches("\nwarning     ").count(),
        lines.len(),
        "{report}"
    );
    lines
}

/// It is no result that an event has no sample, since others' interrupts come before its own.
#[test]
fn sampled_ops_that_never_come_are_a_failure() {
    let mut description = Description {
        cores: 1,
        ..two_events()
    };
    description.event_table[1].name = Text::new("ibs_op");
    let hash = kernel().at("in_hash").0;
    for (samples, of_ops, status) in [(100, 0, 3), (99, 0, 0), (101, 1, 0)] {
        let sample = |sequence: u32| Seen {
            event: u8::from(sequence < of_ops),
            ..Seen::new(sequence, CodeAddress(hash + u64::from(sequence % 4)), &[])
        };
        let seen: Vec<_> = (0..samples).map(sample).collect();
        let said = warnings("starved.pmi", &profile_of(&description, &seen), &[], status);
        let says = "ibs_op has no sample, and other events have 100: ";
        let is_said = said.iter().any(|line| line.contains(says));
        assert_eq!(is_said, status != 0, "{samples}, {of_ops}: {said:?}");
    }
}

#[test]
fn a_profile_without_fault_has_no_warning() {
    assert_eq!(warnings("calm.pmi", &profile(), &[], 0), [""; 0]);
}

#[test]
fn a_kernel_without_call_frames_is_said() {
    let bare = text(&bare_kernel().path);
    // Two samples and what they interrupted are in `stub`, which nothing calls, and which
    // does not return; a caller of three is known from the instructions, and is no text.
    let said = warnings("bare.pmi", &profile(), &["--elf", bare, "--force"], 3);
    // It was compiled with -g0.
    assert!(said.len() == 2 && said[0].contains(NO_FRAMES), "{said:?}");
    assert!(said[1].contains(NO_DEBUG_INFO), "{said:?}");
    assert!(
        said[0].contains("warning: 5 samples (83.33%) may lack a caller"),
        "{said:?}"
    );
    let path = file("bare-2.pmi", &profile());
    let arguments = ["report", text(&path), "--elf", bare, "--force"];
    let report = stdout(&pmiscope(&arguments).code(3));
    for line in [
        "callers     by decoding instructions: the kernel's ELF has no call-frame information\n",
        "    83.33%            5  (caller doubtful)\n",
    ] {
        assert!(report.contains(line), "`{line}` is not in {report}");
    }
    let json = stdout(&pmiscope(&[&arguments[..], &["--format", "json"]].concat()).code(3));
    let json: Value = serde_json::from_str(&json).unwrap();
    assert_eq!(json["callers_undecided"], 5);
    assert_eq!(json["call_frames"], false);
    let path = file(
        "decided.pmi",
        &profile_of(&one_core(), &[decided(bare_kernel())]),
    );
    let arguments = ["report", text(&path), "--elf", bare, "--force"];
    let shown = pmiscope(&arguments).code(0);
    let said = stderr(&shown);
    assert_eq!(said.lines().count(), 1, "{said}");
    assert!(said.contains(NO_DEBUG_INFO), "{said}");
    assert!(stdout(&shown).contains("100.00%            1  (caller from the top of the stack)\n"));
}

/// A sample whose caller the instructions tell.
fn decided(kernel: &Kernel) -> Seen {
    Seen {
        stack_top: [kernel.at("in_idle").0 + 1, 0],
        ..Seen::new(0, kernel.at("in_hash"), &[])
    }
}

#[test]
fn a_kernel_that_ran_elsewhere_is_said_and_fails_if_no_name_is_left() {
    const SLIDE: u64 = 0x2000_0000;
    let slid = |address: CodeAddress| CodeAddress(address.0 + SLIDE);
    let CodeRange { start, end } = description().text;
    let run = Description {
        text: CodeRange {
            start: slid(start),
            end: slid(end),
        },
        ..one_core()
    };
    let here = kernel().at("in_hash");
    let all = profile_of(&run, &samples(&[(slid(here), 3)]));
    let said = warnings("slid.pmi", &all, &[], 3);
    let part = format!("100.00% {MOVED}");
    assert!(said.len() == 1 && said[0].contains(&part), "{said:?}");
    for arguments in [["flamegraph", "--by=core"], ["export", "--format=folded"]] {
        let path = file("slid-2.pmi", &all);
        let shown = pmiscope(&[&arguments[..], &[text(&path), "-o", "-"]].concat()).code(3);
        assert!(stderr(&shown).contains(&part), "{}", stderr(&shown));
    }
    let some = profile_of(&run, &samples(&[(slid(here), 3), (here, 1)]));
    let said = warnings("slid-some.pmi", &some, &[], 3);
    assert!(said[0].contains(&format!("75.00% {MOVED}")), "{said:?}");
    // Code that is not the kernel's own is no sign of that.
    let other = profile_of(&run, &samples(&[(CodeAddress(7), 3)]));
    assert_eq!(warnings("other.pmi", &other, &[], 0), [""; 0]);
    // Nor is a range that is said to be larger than the ELF's.
    let wide = Description {
        text: CodeRange {
            start: CodeAddress(0),
            end: CodeAddress(u64::MAX),
        },
        ..one_core()
    };
    let wide = profile_of(&wide, &samples(&[(CodeAddress(7), 3), (here, 1)]));
    assert_eq!(warnings("wide.pmi", &wide, &[], 0), [""; 0]);
}

#[test]
fn chains_that_do_not_come_to_the_root_are_said_and_fail_if_they_lack_callers() {
    let here = kernel().at("in_middle");
    let other = kernel().at("in_hash");
    let callers = [kernel().at("in_root"), other].map(ChainEntry::Return);
    for (end, callers, says, status) in [
        (ChainEnd::UnknownStack, &[][..], "let Target::stack_of", 3),
        (ChainEnd::FrameBelow, &callers, "with frame pointers", 3),
        (ChainEnd::FrameAbove, &[], "with frame pointers", 3),
        (ChainEnd::FrameNull, &callers, "or a RULE ROOT", 0),
        (ChainEnd::ReturnOutsideText, &callers, "or a RULE ROOT", 0),
        // Nothing but what is on top of the stack.
        (ChainEnd::FrameNull, &callers[..1], "with frame pointers", 3),
        (ChainEnd::ReturnOutsideText, &[], "with frame pointers", 3),
    ] {
        let of = |broken: usize, all: usize| {
            let mut seen = samples(&[(here, all / 2), (other, all - all / 2)]);
            for seen in &mut seen[..broken] {
                seen.end = end;
                seen.chain = callers.to_vec();
            }
            profile_of(&one_core(), &seen)
        };
        let said = warnings("broken.pmi", &of(90, 100), &[], status);
        let part = format!(
            "90.00% of the chains end before the root of their stack, most of them with `{}`",
            end.name()
        );
        assert!(said.len() == 1 && said[0].contains(&part), "{said:?}");
        assert!(said[0].contains(says), "{said:?}");
        assert_eq!(warnings("some.pmi", &of(89, 100), &[], 0), [""; 0]);
        assert_eq!(warnings("few.pmi", &of(99, 99), &[], 0), [""; 0]);
    }
    // They are cut, and have all their callers but the outermost.
    let mut deep = samples(&[(here, 100), (other, 100)]);
    deep.iter_mut()
        .for_each(|seen| seen.end = ChainEnd::DepthLimit);
    let deep = profile_of(&one_core(), &deep);
    assert_eq!(warnings("deep.pmi", &deep, &[], 0), [""; 0]);
}

#[test]
fn samples_that_are_all_at_one_instruction_are_said() {
    let [one, other] = ["in_hash", "in_middle"].map(|label| kernel().at(label));
    let of =
        |name: &str, samples: &[Seen]| warnings(name, &profile_of(&one_core(), samples), &[], 0);
    let said = of("stuck.pmi", &samples(&[(one, 95), (other, 5)]));
    let part = format!("95.00% {STUCK}, {:#x}:", one.0);
    assert!(said.len() == 1 && said[0].contains(&part), "{said:?}");
    let spread = samples(&[(one, 89), (other, 11)]);
    assert_eq!(of("spread.pmi", &spread), [""; 0]);
    assert_eq!(of("few.pmi", &samples(&[(one, 99)])), [""; 0]);
    // Each core may stand elsewhere.
    let [first, second] = [(one, 95), (other, 95)].map(|place| samples(&[place]));
    let both = profile_of_cores(&description(), &[&first, &second]);
    let said = warnings("stuck-both.pmi", &both, &[], 0);
    let part = format!("100.00% {STUCK}, ");
    assert!(said.len() == 1 && said[0].contains(&part), "{said:?}");
    // A core that is halted is at one instruction all the time.
    let mut halted = samples(&[(one, 2000), (one, 60), (other, 60)]);
    for seen in &mut halted[..2000] {
        seen.state |= State::IDLE;
    }
    assert_eq!(of("halted.pmi", &halted), [""; 0]);
}
