//! Profiles: whole, cut at every byte, and damaged anywhere.

use pmiscope::internals::{Profile, ProfileError};
use proptest::prelude::*;

use crate::fixture::{description, host, kernel, profile, run_end, samples, unfinished};

/// Every record of every core.
fn records(profile: &Profile) -> Vec<Vec<Vec<u64>>> {
    let of_core = |core| {
        let mut records = Vec::new();
        profile.for_each_record(core, |record| records.push(record.to_vec()));
        records
    };
    (0..profile.cores()).map(of_core).collect()
}

fn written() -> Vec<Vec<Vec<u64>>> {
    samples()
        .iter()
        .map(|core| core.iter().map(|seen| seen.record()).collect())
        .collect()
}

/// That all records of a damaged profile were written, in that order.
fn assert_only_written(profile: &Profile) {
    for (read, written) in records(profile).iter().zip(written()) {
        let mut written = written.iter();
        for record in read {
            assert!(
                written.any(|other| other == record),
                "a record that was not written"
            );
        }
    }
}

#[test]
fn what_was_written_is_read() {
    let profile = Profile::read(profile()).unwrap();
    assert_eq!(profile.description, description());
    assert_eq!(profile.host, host());
    assert_eq!(profile.kernel.as_ref(), Some(&kernel().elf));
    assert_eq!(profile.end, Some(run_end()));
    assert_eq!(profile.incomplete(), None);
    assert_eq!(records(&profile), written());
}

#[test]
fn a_profile_cut_at_any_byte_gives_what_is_whole() {
    let whole = profile();
    let mut most = 0;
    for length in 0..whole.len() {
        match Profile::read(whole[..length].to_vec()) {
            Err(ProfileError::Magic) => assert_eq!(length, 0),
            Err(other) => {
                assert_eq!(other, ProfileError::NoHead);
                assert_eq!(most, 0, "less to read in a longer file");
            }
            Ok(profile) => {
                assert!(profile.incomplete().is_some(), "cut at {length}");
                assert_only_written(&profile);
                let count = records(&profile).iter().map(Vec::len).sum();
                assert!(count >= most, "less to read in a longer file");
                most = count;
            }
        }
    }
    assert_eq!(most, 6, "the samples are whole before the end is");
}

#[test]
fn a_tool_that_was_killed_leaves_what_it_had_written() {
    let mut writer = unfinished();
    let [first, _] = samples();
    writer.samples(0, &first[0].record()).unwrap();
    // What `finish` would append is cut off.
    let length = {
        let mut same = unfinished();
        same.samples(0, &first[0].record()).unwrap();
        let whole = same.finish(&run_end()).unwrap();
        let marker = whole.windows(4).rposition(|window| window == b"\x93PMI");
        marker.unwrap()
    };
    let mut bytes = writer.finish(&run_end()).unwrap();
    bytes.truncate(length);
    let profile = Profile::read(bytes).unwrap();
    assert_eq!(records(&profile)[0], [first[0].record()]);
    assert_eq!(
        profile.incomplete().as_deref(),
        Some("the end is missing, and with it the final counters")
    );
}

#[test]
fn a_missing_part_in_the_middle_is_said() {
    let mut bytes = profile();
    let marks: Vec<_> = (0..bytes.len())
        .filter(|&at| bytes[at..].starts_with(b"\x93PMI"))
        .collect();
    // Head, kernel, six samples, end. The third sample is core 0's second.
    assert_eq!(marks.len(), 9);
    bytes.drain(marks[4]..marks[5]);
    let profile = Profile::read(bytes).unwrap();
    let mut expected = written();
    expected[0].remove(1);
    assert_eq!(records(&profile), expected);
    let said = profile.incomplete().unwrap();
    assert!(said.contains("1 part missing"), "{said}");
    assert!(said.contains("1 sample of the run missing"), "{said}");
}

#[test]
fn parts_that_stand_twice_count_once() {
    let mut bytes = profile();
    let marks: Vec<_> = (0..bytes.len())
        .filter(|&at| bytes[at..].starts_with(b"\x93PMI"))
        .collect();
    let twice = bytes[marks[2]..marks[4]].to_vec();
    bytes.splice(marks[4]..marks[4], twice);
    let profile = Profile::read(bytes).unwrap();
    assert_eq!(records(&profile), written());
    assert!(profile.incomplete().unwrap().contains("out of order"));
}

#[test]
fn other_files_are_no_profiles() {
    let read = |bytes: &[u8]| Profile::read(bytes.to_vec()).unwrap_err();
    assert_eq!(read(b""), ProfileError::Magic);
    assert_eq!(read(b"#!/bin/sh\n"), ProfileError::Magic);
    assert_eq!(read(&kernel().elf), ProfileError::Magic);
    let mut newer = profile();
    newer[16] = 9;
    assert_eq!(read(&newer), ProfileError::Version(9));
}

proptest! {
    #[test]
    fn damage_never_makes_a_sample(
        damage in prop::collection::vec((any::<prop::sample::Index>(), 1..=255_u8), 1..8),
        cut in prop::option::of(any::<prop::sample::Index>()),
    ) {
        let mut bytes = profile();
        for (at, bits) in damage {
            let at = at.index(bytes.len());
            bytes[at] ^= bits;
        }
        if let Some(cut) = cut {
            bytes.truncate(cut.index(bytes.len()));
        }
        if let Ok(read) = Profile::read(bytes.clone()) {
            assert_only_written(&read);
            let untouched = bytes == profile();
            let unused = 20..24; // four bytes of the file's header say nothing
            let harmless = bytes.len() == profile().len()
                && bytes.iter().zip(profile()).enumerate()
                    .all(|(at, (&a, b))| a == b || unused.contains(&at));
            prop_assert_eq!(read.incomplete().is_none(), untouched || harmless);
        }
    }

    #[test]
    fn any_bytes_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..2000)) {
        let _ = Profile::read(bytes);
    }
}
