//! Profiles: whole, cut at every byte, and damaged anywhere.

use pmiscope::internals::report::{Selection, Tally};
use pmiscope::internals::{Profile, ProfileError};
use pmiscope::symbols::Symbols;
use proptest::prelude::*;
use std::io::ErrorKind;
use std::time::{Duration, Instant};

use profiler::address::{CodeAddress, StackAddress};
use profiler::format::sample::Chain;
use profiler::format::{ChainEnd, ChainEntry, Sample, State};

use crate::command::{pmiscope, refused};
use crate::fixture::{
    Seen, another_profile, description, host, kernel, profile, run_end, samples, unfinished,
};

/// Every record of every core.
fn records(profile: &Profile) -> Vec<Vec<Vec<u64>>> {
    let of_core = |core| {
        let mut records = Vec::new();
        let all = profile.for_each_record(core, |record| records.push(record.to_vec()));
        all.unwrap();
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
    assert_eq!(profile.kernel.as_deref(), Some(&*kernel().elf));
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
    writer.record(0, &first[0].record()).unwrap();
    writer.flush().unwrap();
    // What `finish` would append is cut off.
    let length = {
        let mut same = unfinished();
        same.record(0, &first[0].record()).unwrap();
        same.flush().unwrap();
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
    let third = blocks(&bytes)[2].clone();
    // The third sample is core 0's second, and has the stack of its first.
    bytes.drain(third);
    let profile = Profile::read(bytes).unwrap();
    let mut expected = written();
    expected[0].remove(1);
    assert_eq!(records(&profile), expected);
    let said = profile.incomplete().unwrap();
    assert!(said.contains("1 part missing"), "{said}");
    assert!(said.contains("1 sample of the run missing"), "{said}");
}

#[test]
fn samples_whose_stacks_are_missing_are_left_out_and_counted() {
    let whole = profile();
    // The first sample of core 0 and of core 1, and what comes before each: its stack.
    for (block, core, lost) in [(0, 0, 2), (1, 1, 1)] {
        let block = blocks(&whole)[block].clone();
        let marks = marks(&whole);
        let stacks = marks[marks.partition_point(|&at| at < block.start) - 1];
        for damaged in [true, false] {
            let mut bytes = whole.clone();
            if damaged {
                bytes[stacks + 50] ^= 1;
            } else {
                bytes.drain(stacks..block.start);
            }
            let read = Profile::read(bytes).unwrap();
            let said = read.incomplete().unwrap();
            // Chains and addresses that it was the first to have are in later stacks as well.
            let lost_in_all = 6 - read.records();
            assert!(lost_in_all >= lost, "{said}");
            let left_out = "left out, whose stacks were in a part that is missing";
            let counted = if lost_in_all == 1 {
                "1 sample"
            } else {
                "samples"
            };
            assert!(said.contains(&format!("{counted} {left_out}")), "{said}");
            let missing = format!("{lost_in_all} sample");
            assert!(said.contains(&missing), "{said}");
            assert_only_written(&read);
            assert!(
                !records(&read)[core].contains(&written()[core][0]),
                "{said}"
            );
            // What is there is hashed, as if there was no more.
            assert_eq!(read.sample_hash().unwrap(), hash_of(&records(&read)));
        }
    }
}

/// No later part shows that some are lost.
#[test]
fn samples_whose_stacks_are_missing_in_the_last_part_are_not_counted() {
    let symbols = Symbols::new(&kernel().elf).unwrap();
    let mut writer = unfinished();
    let parts = [&samples()[0][..2], &samples()[0][2..]];
    for part in parts {
        for seen in part {
            writer.record(0, &seen.record()).unwrap();
        }
        writer.flush().unwrap();
    }
    let mut bytes = writer.finish(&run_end()).unwrap();
    let last = blocks(&bytes).last().unwrap().start;
    let marks = marks(&bytes);
    let stacks = marks[marks.partition_point(|&at| at < last) - 1];
    bytes[stacks + 50] ^= 1;
    let read = Profile::read(bytes).unwrap();
    let tally = Tally::new(&read, symbols.callers(), Selection::default()).unwrap();
    assert_eq!((tally.samples(), read.records()), (2, 2));
}

/// The hash of a whole profile of these records.
fn hash_of(cores: &[Vec<Vec<u64>>]) -> String {
    let mut writer = unfinished();
    for (core, records) in (0..).zip(cores) {
        for record in records {
            writer.record(core, record).unwrap();
        }
    }
    let mut end = run_end();
    end.cores.iter_mut().for_each(|core| core.stored = 0);
    let profile = Profile::read(writer.finish(&end).unwrap()).unwrap();
    assert_eq!(profile.incomplete(), None);
    profile.sample_hash().unwrap()
}

#[test]
fn parts_that_stand_twice_count_once() {
    let mut bytes = profile();
    let marks = marks(&bytes);
    let twice = bytes[marks[2]..marks[4]].to_vec();
    bytes.splice(marks[4]..marks[4], twice);
    let profile = Profile::read(bytes).unwrap();
    assert_eq!(records(&profile), written());
    assert!(profile.incomplete().unwrap().contains("out of order"));
}

/// Where the blocks of samples of a profile are.
fn blocks(profile: &[u8]) -> Vec<std::ops::Range<usize>> {
    let mut marks = marks(profile);
    marks.push(profile.len());
    let chunks = marks.windows(2).map(|ends| ends[0]..ends[1]);
    chunks
        .filter(|chunk| profile[chunk.start + 4] == 3)
        .collect()
}

/// Where the chunks of a profile begin.
fn marks(profile: &[u8]) -> Vec<usize> {
    let starts = 0..profile.len();
    starts
        .filter(|&at| profile[at..].starts_with(b"\x93PMI"))
        .collect()
}

#[test]
fn profiles_of_older_versions_are_refused() {
    for version in [3, 4, 5] {
        let mut old = profile();
        old[16] = version;
        let error = Profile::read(old).unwrap_err();
        assert_eq!(error, ProfileError::Version(version.into()));
        let expected = format!(
            "a profile of format version {version}, and this is pmiscope 0.2.0, which reads versions 6 to 8: use pmiscope 0.1.0, which wrote it"
        );
        assert_eq!(error.to_string(), expected);
    }
}

#[test]
fn every_command_that_reads_a_profile_refuses_one_of_version_5() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("old.pmi");
    let mut old = profile();
    old[16] = 5;
    std::fs::write(&path, old).unwrap();
    let path = path.to_str().unwrap();
    let out = folder.path().join("out");
    let out = out.to_str().unwrap();
    for words in [
        &["report", path][..],
        &["report", path, "--format", "json"],
        &["flamegraph", path, "-o", out],
        &["export", path, "--format", "folded", "-o", out],
        &["verify", path],
    ] {
        let said = [path, "format version 5", "use pmiscope 0.1.0"];
        refused(pmiscope(words), 1, &said);
    }
}

/// Profiles in which something of another run is: what they are, their bytes, and what is
/// said of them. Each has all samples of the first run.
fn mixed(first: &[u8], second: &[u8]) -> Vec<(&'static str, Vec<u8>, String)> {
    let (ours, theirs) = (marks(first), marks(second));
    let insert = |at: usize, what: &[u8]| [&first[..at], what, &first[at..]].concat();
    let another = "another profile begins at byte ";
    let left_out = |parts: usize| format!("{parts} parts of another run left out");
    vec![
        ("behind it", [first, second].concat(), another.into()),
        ("the same twice", [first, first].concat(), another.into()),
        (
            "behind it and junk",
            [first, b"junk", second].concat(),
            another.into(),
        ),
        (
            "behind it, its header damaged",
            [first, b"junk", &second[24..]].concat(),
            left_out(theirs.len()),
        ),
        (
            "its samples alone behind it",
            [first, &second[theirs[2]..]].concat(),
            left_out(theirs.len() - 2),
        ),
        (
            "whole in the middle",
            insert(ours[4], second),
            another.into(),
        ),
        (
            "a piece in the middle",
            insert(ours[4], &second[theirs[4]..theirs[7]]),
            left_out(3) + ", the first at byte ",
        ),
    ]
}

#[test]
fn samples_of_another_run_are_left_out_and_it_is_said() {
    for (what, bytes, says) in mixed(&profile(), &another_profile()) {
        let profile = Profile::read(bytes).unwrap();
        assert_eq!(records(&profile), written(), "{what}");
        assert_eq!(profile.end, Some(run_end()), "{what}");
        let said = profile.incomplete().unwrap_or_default();
        assert!(said.contains(&says), "{what}: {said}");
    }
}

#[test]
fn of_a_profile_that_was_cut_the_one_behind_it_is_left_out() {
    let (first, second) = (profile(), another_profile());
    let kernel_ends = marks(&first)[2];
    for cut in kernel_ends..first.len() {
        let bytes = [&first[..cut], &second].concat();
        let profile = Profile::read(bytes).unwrap();
        let alone = Profile::read(first[..cut].to_vec()).unwrap();
        assert_eq!(records(&profile), records(&alone), "cut at {cut}");
        assert_eq!(profile.end, None, "cut at {cut}");
        let said = profile.incomplete().unwrap();
        assert!(said.contains("another profile begins at byte"), "{said}");
    }
}

/// A chunk's marker and fields, with this length and nothing behind.
fn header(length: u32) -> Vec<u8> {
    let mut header = b"\x93PMI".to_vec();
    for field in [3, 9, 0, 64, length] {
        header.extend(u32::to_le_bytes(field));
    }
    header.extend([1; 8]);
    let sum = crc32fast::hash(&header[4..]);
    header.extend(sum.to_le_bytes());
    header.extend([0; 4]);
    header
}

#[test]
fn markers_by_the_million_are_looked_at_once() {
    const MARKERS: usize = 2_000_000;
    // Each claims half of what there is.
    let header = header(40 << 20);
    let bytes = [profile(), header.repeat(MARKERS)].concat();
    let started = Instant::now();
    let profile = Profile::read(bytes).unwrap();
    // It is a second without optimization; each with its whole payload, it is a day.
    assert!(started.elapsed() < Duration::from_secs(20));
    assert_eq!(profile.records(), 6);
    let said = profile.incomplete().unwrap();
    assert!(
        said.contains("too many parts are damaged: some were not looked at"),
        "{said}"
    );
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
fn what_is_no_whole_record_of_the_run_is_not_written() {
    let sample = samples()[0][0].record();
    let cut = &sample[..sample.len() - 1];
    let with_more = [&sample[..], &[0]].concat();
    let refused = |core, words: &[u64]| unfinished().record(core, words).unwrap_err().kind();
    for words in [&[][..], &[0], cut, &with_more] {
        assert_eq!(refused(0, words), ErrorKind::InvalidInput, "{words:x?}");
    }
    for words in [&sample[..], &[0xfe02]] {
        assert_eq!(refused(2, words), ErrorKind::InvalidInput, "{words:x?}");
        unfinished().record(1, words).unwrap();
    }
}

/// A sample of any numbers, and its chain's words.
fn any_sample() -> impl Strategy<Value = (Sample<'static>, Vec<u64>)> {
    let text = description().text;
    // Few different ones, so that stacks repeat; in the text, and not.
    let word = prop_oneof![
        3 => (0..8_u64).prop_map(move |word| text.start.0 + word),
        1 => Just(0),
        1 => any::<u64>(),
    ];
    let crossing = (
        any::<u8>(),
        word.clone(),
        any::<bool>(),
        [word.clone(), word.clone()],
    );
    let entry = prop_oneof![
        3 => word.clone().prop_map(|address| ChainEntry::Return(CodeAddress(address))),
        1 => crossing.prop_map(|(vector, pc, caller_known, stack_top)| ChainEntry::Crossing {
            vector,
            pc: CodeAddress(pc),
            caller_known,
            stack_top,
        }),
    ];
    let numbers = (
        prop_oneof![Just(0_u64), any::<u64>(), 0..5000_u64],
        prop_oneof![Just(0_u64), any::<u64>(), 0..5000_u64],
        any::<[u32; 2]>(),
        (0..3_u16, any::<u8>(), prop_oneof![Just(0), any::<u8>()]),
    );
    let stack = (
        word.clone(),
        prop::option::of(word.clone()),
        [word.clone(), word],
        prop::sample::select(&ChainEnd::ALL[..]),
        prop::collection::vec(entry, 0..5),
        prop_oneof![Just(0x7fff_0000_u64), any::<u64>()],
    );
    (numbers, stack).prop_map(
        |(
            (time, period, [sequence, cost], (task, event, state)),
            (pc, exact, stack_top, end, entries, sp),
        )| {
            let mut chain = Chain::new();
            entries.iter().for_each(|&entry| chain.push(entry).unwrap());
            let mut state = state & !State::EXACT;
            if exact.is_some() {
                state |= State::EXACT;
            }
            let sample = Sample {
                sequence,
                handler_cost: cost,
                event,
                task,
                state: State(state),
                time,
                period,
                sp: StackAddress(sp),
                stack_top,
                pc: CodeAddress(pc),
                exact: exact.map(CodeAddress),
                end,
                chain_words: &[],
            };
            (sample, chain.words().to_vec())
        },
    )
}

/// Samples of cores in the order in which they arrive, and where they are flushed.
type Arrival = Vec<(u32, (Sample<'static>, Vec<u64>), bool)>;

fn profile_of_arrival(arrival: &Arrival) -> Profile {
    let mut writer = unfinished();
    for (core, (sample, chain), flush) in arrival {
        let sample = Sample {
            chain_words: chain,
            ..*sample
        };
        writer.sample(*core, &sample).unwrap();
        if *flush {
            writer.flush().unwrap();
        }
    }
    let mut end = run_end();
    end.cores.iter_mut().for_each(|core| core.stored = 0);
    Profile::read(writer.finish(&end).unwrap()).unwrap()
}

proptest! {
    #[test]
    fn any_samples_are_read_as_they_were_written(
        arrival in prop::collection::vec((0..2_u32, any_sample(), any::<bool>()), 0..40),
    ) {
        let profile = profile_of_arrival(&arrival);
        prop_assert_eq!(profile.incomplete(), None);
        for core in 0..2 {
            let mut expected = arrival.iter().filter(|(of, ..)| *of == core);
            let read = profile.for_each_sample(core, |read| {
                let (_, (sample, chain), _) = expected.next().expect("no more than were written");
                let written = Sample { chain_words: chain, ..*sample };
                assert_eq!(*read, written);
            });
            read.unwrap();
            prop_assert_eq!(expected.count(), 0);
        }
        // The hash is made of samples, however they arrive and are stored.
        let mut sorted = arrival.clone();
        sorted.sort_by_key(|&(core, ..)| core);
        sorted.iter_mut().for_each(|(.., flush)| *flush = !*flush);
        let hash = profile.sample_hash().unwrap();
        prop_assert_eq!(&profile_of_arrival(&sorted).sample_hash().unwrap(), &hash);
        prop_assert_eq!(hash_again(&profile_of_arrival(&arrival)), hash);
    }
}

/// The hash of the profile's samples, as one whose end is missing has it.
fn hash_again(profile: &Profile) -> String {
    let mut writer = unfinished();
    for (core, records) in (0..).zip(records(profile)) {
        for record in records {
            writer.record(core, &record).unwrap();
        }
    }
    let mut bytes = writer.finish(&run_end()).unwrap();
    bytes.truncate(*marks(&bytes).last().unwrap());
    let cut = Profile::read(bytes).unwrap();
    assert_eq!(cut.end, None);
    cut.sample_hash().unwrap()
}

#[test]
fn each_field_of_a_sample_makes_another_hash_but_what_is_no_code() {
    let [first, second] = samples();
    let text = description().text.start.0;
    let hash = |change: &dyn Fn(&mut Seen)| {
        let mut seen = first.clone();
        // The first of its stack.
        change(&mut seen[2]);
        let of = |seen: &[Seen]| seen.iter().map(Seen::record).collect();
        hash_of(&[of(&seen), of(&second)])
    };
    let crossing = |stack_top| {
        move |seen: &mut Seen| {
            seen.chain.push(ChainEntry::Crossing {
                vector: 3,
                pc: CodeAddress(text),
                caller_known: false,
                stack_top,
            });
        }
    };
    let same = hash(&|_| {});
    assert_eq!(
        hash(&|seen| seen.stack_top = [5, 6]),
        same,
        "words that are no code"
    );
    let crossed = hash(&crossing([0; 2]));
    assert_eq!(hash(&crossing([8, 9])), crossed, "likewise in a crossing");
    let mut all = vec![same, crossed];
    let changes: [&dyn Fn(&mut Seen); 15] = [
        &|seen| seen.sequence += 1,
        &|seen| seen.event += 1,
        &|seen| seen.task += 1,
        &|seen| seen.state ^= State::IDLE,
        &|seen| seen.period += 1,
        &|seen| seen.handler_cost += 1,
        &|seen| seen.stack_top[0] = text,
        &|seen| seen.stack_top[1] = text,
        &|seen| seen.pc.0 += 1,
        &|seen| seen.exact = Some(CodeAddress(text)),
        &|seen| seen.end = ChainEnd::FrameNull,
        &|seen| seen.chain.push(ChainEntry::Return(CodeAddress(text))),
        &|seen| seen.chain.clear(),
        &crossing([text, 0]),
        &crossing([0, text]),
    ];
    all.extend(changes.map(hash));
    let [of_first, of_second] = samples();
    let of = |seen: &[Seen]| seen.iter().map(Seen::record).collect::<Vec<_>>();
    let mut reversed = of(&of_first);
    reversed.reverse();
    all.push(hash_of(&[reversed, of(&of_second)]));
    all.push(hash_of(&[of(&of_second), of(&of_first)]));
    let count = all.len();
    all.sort();
    all.dedup();
    assert_eq!(all.len(), count, "two are the same");
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
    let said = read(&newer).to_string();
    assert!(
        said.ends_with("use the one that wrote it, which is newer"),
        "{said}"
    );
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
