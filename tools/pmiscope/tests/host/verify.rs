//! `pmiscope verify` of profiles that are a few instructions long.

use pmiscope::internals::Profile;
use profiler::format::{ChainEnd, ChainEntry, Clock, Delivery, Description, Source};
use serde_json::{Value, json};

use crate::command::{pmiscope, refused, stderr, stdout, text};
use crate::fixture::{
    Seen, bare_kernel, description, file, kernel, other_kernel, profile, profile_of,
};

/// A run on one core of which every instruction is a sample.
fn every_instruction() -> Description {
    Description {
        cores: 1,
        period: 1,
        ..description()
    }
}

/// The function `hash`, called by the root: three instructions, one after the other.
fn followed() -> [Seen; 3] {
    let ChainEntry::Return(to_root) = kernel().return_to("in_root") else {
        unreachable!("it gives a return address");
    };
    [(0, "in_innermost"), (1, "in_middle"), (2, "in_hash")].map(|(sequence, label)| Seen {
        stack_top: [to_root.0, 0],
        end: ChainEnd::FrameNull,
        ..Seen::new(sequence, kernel().at(label), &[])
    })
}

/// A profile of these samples, as a file's path.
fn written(name: &str, samples: &[Seen]) -> String {
    let path = file(name, &profile_of(&every_instruction(), samples));
    text(&path).to_owned()
}

#[test]
fn right_chains_are_found_right() {
    let path = written("right.pmi", &followed());
    let said = stdout(&pmiscope(&["verify", &path]).success());
    for line in [
        "assumed     1 caller at 1 start",
        "  100.0000%            3  exact\n",
        "    0.0000%            0  different\n",
    ] {
        assert!(said.contains(line), "`{line}` is not in:\n{said}");
    }
    let json = stdout(&pmiscope(&["verify", "--format", "json", &path]).success());
    let json: Value = serde_json::from_str(&json).unwrap();
    assert_eq!(json["exact"], 3);
    assert_eq!(json["differences"], json!([]));
}

#[test]
fn wrong_chains_are_shown_and_fail() {
    let mut samples = followed();
    samples[1].stack_top[0] = 0;
    samples[2].pc = kernel().at("in_root");
    samples[2].end = ChainEnd::Complete;
    let path = written("wrong.pmi", &samples);
    let assert = pmiscope(&["verify", &path]).code(1);
    assert_eq!(
        stderr(&assert),
        "pmiscope: 2 of 3 instructions have another chain than the true one\n"
    );
    let said = stdout(&assert);
    let to_root = kernel().at("in_root").0 + 1;
    for line in [
        "   33.3333%            1  exact\n".to_owned(),
        "   33.3333%            1  true as far as it goes, and said to be incomplete\n".to_owned(),
        "   33.3333%            1  not a successor of the instruction before\n".to_owned(),
        "1  in kernel::workload::hash::run\n".to_owned(),
        "  core 0, sample 1: ".to_owned(),
        format!("    expected  {to_root:#x} in root\n    reported  [frame pointer null]\n"),
        format!("  core 0, sample 2: {:#x} in root\n", to_root - 1),
    ] {
        assert!(said.contains(&line), "`{line}` is not in:\n{said}");
    }
    let without = pmiscope(&["verify", "--examples", "0", &path]).code(1);
    assert!(!stdout(&without).contains("sample 1"));
}

#[test]
fn profiles_that_leave_instructions_out_are_refused() {
    let every = every_instruction();
    for (name, run, why) in [
        (
            "period.pmi",
            Description {
                period: 2,
                ..every.clone()
            },
            "(its period is 2)",
        ),
        (
            "clock.pmi",
            Description {
                clock: Clock::Time,
                ..every.clone()
            },
            "(its clock does not count instructions)",
        ),
        (
            "delivery.pmi",
            Description {
                delivery: Delivery::Irq,
                ..every.clone()
            },
            "(code with interrupts off is left out)",
        ),
    ] {
        let path = file(name, &profile_of(&run, &followed()));
        let says = [
            name,
            "not every instruction",
            why,
            "`pmiscope run --period 1`",
        ];
        refused(pmiscope(&["verify", text(&path)]), 1, &says);
    }
    // The trap flag leaves none out, whatever a tick is.
    let stepped = Description {
        source: Source::Step,
        clock: Clock::Time,
        ..every.clone()
    };
    let path = file("stepped.pmi", &profile_of(&stepped, &followed()));
    pmiscope(&["verify", text(&path)]).success();
    let path = written("empty.pmi", &[]);
    refused(pmiscope(&["verify", &path]), 1, &["it has no samples"]);
}

#[test]
fn kernels_that_say_nothing_of_the_samples_are_refused() {
    let path = written("kernels.pmi", &followed());
    let other = text(&other_kernel().path);
    let refuse = |arguments: &[&str], says: &[&str]| {
        let mut words = vec!["verify", &path];
        words.extend(arguments);
        refused(pmiscope(&words), 1, says);
    };
    refuse(&["--elf", other], &["has build-id", "--force"]);
    refuse(&["--elf", "/no/kernel"], &["cannot read /no/kernel"]);
    let bare = text(&bare_kernel().path);
    let assert = pmiscope(&["verify", &path, "--elf", bare, "--force"]).code(1);
    assert!(
        stdout(&assert).contains(
            "\ncallers     by decoding instructions: there is no call-frame information\n"
        ),
        "{}",
        stdout(&assert)
    );
    pmiscope(&["verify", &path, "--elf", text(&kernel().path)]).success();
}

#[test]
fn a_profile_that_was_cut_is_verified_as_far_as_it_goes() {
    let whole = profile_of(&every_instruction(), &followed());
    let parts: Vec<_> = (0..whole.len())
        .filter(|&at| whole[at..].starts_with(b"\x93PMI"))
        .collect();
    // Behind the second of the three samples.
    let [.., third, _, _] = parts[..] else {
        unreachable!("each stack is a part, each sample, and the end")
    };
    let path = file("cut.pmi", &whole[..third]);
    assert_eq!(Profile::read(whole[..third].to_vec()).unwrap().records(), 2);
    let assert = pmiscope(&["verify", text(&path)]).code(3);
    assert!(stderr(&assert).contains("is incomplete"));
    assert!(stdout(&assert).contains("  100.0000%            2  exact\n"));
    // In the kernel.
    let path = file("cut.pmi", &whole[..parts[1] + 100]);
    refused(
        pmiscope(&["verify", text(&path)]),
        1,
        &["the kernel in it is missing"],
    );
    refused(
        pmiscope(&["verify", "/no/profile"]),
        1,
        &["cannot read /no/profile"],
    );
    let path = file("text.pmi", b"text");
    refused(
        pmiscope(&["verify", text(&path)]),
        1,
        &["not a pmiscope profile"],
    );
}

#[test]
fn what_is_sampled_otherwise_is_refused() {
    let path = file("otherwise.pmi", &profile());
    refused(
        pmiscope(&["verify", text(&path)]),
        1,
        &["its period is 100"],
    );
}

/// A profile of which the hash in its end is another.
fn with_another_hash(profile: &[u8]) -> Vec<u8> {
    let end = profile.windows(4).rposition(|it| it == b"\x93PMI").unwrap();
    let (before, chunk) = profile.split_at(end);
    let payload = zstd::bulk::decompress(&chunk[40..], 1 << 20).unwrap();
    let mut ending: Value = serde_json::from_slice(&payload).unwrap();
    ending["sample_hash"] = json!("0123456789abcdef0123456789abcdef");
    let payload = serde_json::to_vec(&ending).unwrap();
    let mut header = chunk[..40].to_vec();
    header[16..20].copy_from_slice(&u32::try_from(payload.len()).unwrap().to_le_bytes());
    let payload = zstd::bulk::compress(&payload, 3).unwrap();
    header[20..24].copy_from_slice(&u32::try_from(payload.len()).unwrap().to_le_bytes());
    let sum = crc32fast::hash(&header[4..32]).to_le_bytes();
    header[32..36].copy_from_slice(&sum);
    let sum = crc32fast::hash(&[&header[4..36], &payload].concat()).to_le_bytes();
    header[36..40].copy_from_slice(&sum);
    [before, &header, &payload].concat()
}

#[test]
fn samples_that_are_not_those_of_the_hash_are_refused() {
    let whole = profile_of(&every_instruction(), &followed());
    let path = file("another-hash.pmi", &with_another_hash(&whole));
    assert_eq!(
        Profile::read(std::fs::read(&path).unwrap())
            .unwrap()
            .incomplete(),
        None
    );
    refused(
        pmiscope(&["verify", text(&path)]),
        1,
        &[
            "its samples are not those of which its hash was made",
            "0123456789abcdef0123456789abcdef",
        ],
    );
}
