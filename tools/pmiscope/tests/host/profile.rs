//! Profiles: whole, cut at every byte, and damaged anywhere.

use pmiscope::internals::{Profile, ProfileError};
use proptest::prelude::*;
use std::io::{Read as _, Write as _};

use std::time::{Duration, Instant};

use crate::fixture::{
    another_profile, description, host, kernel, profile, run_end, samples, unfinished,
};

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

/// Where the chunks of a profile begin.
fn marks(profile: &[u8]) -> Vec<usize> {
    let starts = 0..profile.len();
    starts
        .filter(|&at| profile[at..].starts_with(b"\x93PMI"))
        .collect()
}

/// The profile as an older version of the format has it: with a shorter description, and in
/// version 3 with chunks that do not say which run they are of, with one checksum.
fn in_version(version: u8, profile: &[u8]) -> Vec<u8> {
    let sum_of = |parts: &[&[u8]]| {
        let mut sum = crc32fast::Hasher::new();
        parts.iter().for_each(|part| sum.update(part));
        sum.finalize().to_le_bytes()
    };
    let mut old = profile[..24].to_vec();
    old[16] = version;
    let mut marks = marks(profile);
    marks.push(profile.len());
    let chunks = marks.windows(2).map(|ends| &profile[ends[0]..ends[1]]);
    for (number, chunk) in chunks.enumerate() {
        let (header, payload) = chunk.split_at(40);
        let whole = u32::from_le_bytes(header[16..20].try_into().unwrap());
        let (payload, whole) = match number {
            0 => (with_old_description(payload), whole - ADDED),
            _ => (payload.to_vec(), whole),
        };
        let length = u32::try_from(payload.len()).unwrap().to_le_bytes();
        let whole = whole.to_le_bytes();
        let header = [&header[..16], &whole, &length, &header[24..32]].concat();
        if version == 3 {
            old.extend_from_slice(&header[..24]);
            old.extend(sum_of(&[&header[4..24], &payload]));
        } else {
            old.extend_from_slice(&header);
            old.extend(sum_of(&[&header[4..]]));
            let so_far = old.len() - 32;
            old.extend(sum_of(&[&old[so_far..], &payload]));
        }
        old.extend(payload);
    }
    old
}

/// Bytes of a description before version 5, and what was added since.
const OLD_DESCRIPTION: usize = 3776;
const ADDED: u32 = 16;

/// The head with a description as it was before version 5.
fn with_old_description(payload: &[u8]) -> Vec<u8> {
    let mut head = Vec::new();
    flate2::read::DeflateDecoder::new(payload)
        .read_to_end(&mut head)
        .unwrap();
    head.drain(OLD_DESCRIPTION..OLD_DESCRIPTION + ADDED as usize);
    let mut packed = flate2::write::DeflateEncoder::new(Vec::new(), flate2::Compression::fast());
    packed.write_all(&head).unwrap();
    packed.finish().unwrap()
}

#[test]
fn profiles_of_older_versions_are_read() {
    for version in [3, 4] {
        let profile = Profile::read(in_version(version, &profile())).unwrap();
        assert_eq!(records(&profile), written());
        assert_eq!(profile.description, description());
        assert_eq!(profile.incomplete(), None);
        assert_eq!(profile.end, Some(run_end()));
    }
}

/// Profiles in which something of another run is: what they are, their bytes, and what is
/// said of them. Each has all samples of the first run.
fn mixed(first: &[u8], second: &[u8], version: u32) -> Vec<(&'static str, Vec<u8>, &'static str)> {
    let (ours, theirs) = (marks(first), marks(second));
    let insert = |at: usize, what: &[u8]| [&first[..at], what, &first[at..]].concat();
    let another = "another profile begins at byte ";
    let mut mixed = vec![
        ("behind it", [first, second].concat(), another),
        ("the same twice", [first, first].concat(), another),
        (
            "behind it and junk",
            [first, b"junk", second].concat(),
            another,
        ),
        (
            "behind it, its header damaged",
            [first, b"junk", &second[24..]].concat(),
            if version == 3 {
                another
            } else {
                "9 parts of another run left out"
            },
        ),
        (
            "its samples alone behind it",
            [first, &second[theirs[2]..]].concat(),
            if version == 3 {
                "is out of order: it and all behind it may be another run's"
            } else {
                "7 parts of another run left out"
            },
        ),
    ];
    if version > 3 {
        mixed.push((
            "whole in the middle",
            insert(ours[4], second),
            "another profile begins at byte ",
        ));
        mixed.push((
            "a piece in the middle",
            insert(ours[4], &second[theirs[4]..theirs[7]]),
            "3 parts of another run left out, the first at byte ",
        ));
    }
    mixed
}

#[test]
fn samples_of_another_run_are_left_out_and_it_is_said() {
    let (first, second) = (profile(), another_profile());
    let old = [&first, &second].map(|profile| in_version(3, profile));
    let of_both = [(mixed(&first, &second, 4)), (mixed(&old[0], &old[1], 3))];
    for (what, bytes, says) in of_both.into_iter().flatten() {
        let profile = Profile::read(bytes).unwrap();
        assert_eq!(records(&profile), written(), "{what}");
        assert_eq!(profile.end, Some(run_end()), "{what}");
        let said = profile.incomplete().unwrap_or_default();
        assert!(said.contains(says), "{what}: {said}");
    }
}

#[test]
fn of_a_profile_that_was_cut_the_one_behind_it_is_left_out() {
    let (first, second) = (profile(), another_profile());
    let old = [&first, &second].map(|profile| in_version(3, profile));
    for (first, second) in [(&first, &second), (&old[0], &old[1])] {
        let kernel_ends = marks(first)[2];
        for cut in kernel_ends..first.len() {
            let bytes = [&first[..cut], second].concat();
            let profile = Profile::read(bytes).unwrap();
            let alone = Profile::read(first[..cut].to_vec()).unwrap();
            assert_eq!(records(&profile), records(&alone), "cut at {cut}");
            assert_eq!(profile.end, None, "cut at {cut}");
            let said = profile.incomplete().unwrap();
            assert!(said.contains("another profile begins at byte"), "{said}");
        }
    }
}

/// A chunk's marker and fields, with this length and nothing behind.
fn header(length: u32, version: u32) -> Vec<u8> {
    let mut header = b"\x93PMI".to_vec();
    for field in [3, 9, 0, 64, length] {
        header.extend(u32::to_le_bytes(field));
    }
    if version > 3 {
        header.extend([1; 8]);
        let sum = crc32fast::hash(&header[4..]);
        header.extend(sum.to_le_bytes());
    }
    header.extend([0; 4]);
    header
}

#[test]
fn markers_by_the_million_are_looked_at_once() {
    const MARKERS: usize = 2_000_000;
    let written_count = 6;
    for (version, whole) in [(5, profile()), (3, in_version(3, &profile()))] {
        // Each claims half of what there is.
        let header = header(30 << 20, version);
        let bytes = [whole, header.repeat(MARKERS)].concat();
        let started = Instant::now();
        let profile = Profile::read(bytes).unwrap();
        // It is a second without optimization; each with its whole payload, it is a day.
        assert!(started.elapsed() < Duration::from_secs(20));
        assert_eq!(profile.records(), written_count);
        let said = profile.incomplete().unwrap();
        assert!(
            said.contains("too many parts are damaged: some were not looked at"),
            "{said}"
        );
    }
}

#[test]
fn damaged_parts_by_the_hundred_thousand_are_counted() {
    let whole = profile();
    let last = *marks(&whole).last().unwrap();
    let sample = marks(&whole)[2]..marks(&whole)[3];
    let junk = [&whole[sample], b"x"].concat().repeat(100_000);
    let bytes = [&whole[..last], &junk, &whole[last..]].concat();
    let profile = Profile::read(bytes).unwrap();
    assert_eq!(records(&profile), written());
    let said = profile.incomplete().unwrap();
    assert!(said.contains("and 199,996 more"), "{said}");
    assert!(said.len() < 300, "{said}");
}

#[test]
fn a_part_that_is_not_whole_records_is_left_out_and_it_is_said() {
    let sample = samples()[0][0].record();
    let cut = &sample[..sample.len() - 1];
    let with_more = [&sample[..], &[0]].concat();
    for words in [&[0][..], cut, &with_more] {
        let mut writer = unfinished();
        writer.samples(0, words).unwrap();
        let mut end = run_end();
        end.cores.iter_mut().for_each(|core| core.stored = 0);
        let profile = Profile::read(writer.finish(&end).unwrap()).unwrap();
        assert_eq!(profile.records(), 0, "{words:x?}");
        let incomplete = profile.incomplete().expect("it is said");
        assert!(incomplete.ends_with("makes no sense"), "{incomplete}");
    }
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
