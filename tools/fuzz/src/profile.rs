//! Profiles that were damaged on their way.

use memchr::memmem;
use pmiscope::internals::flame::Stacks;
use pmiscope::internals::report::{Options, Report, Selection, SortBy, Tally, json, text};
use pmiscope::internals::{Profile, ProfileError};
use pmiscope::profile::OverheadEnd;
use pmiscope::symbols::Symbols;
use profiler::format::region::Overhead;
use profiler::format::{Sample, record_words};

use crate::input::{Input, words};
use crate::run::{CORES, description_of_events, end, writer};

/// The kernel in the profile: what it is does not matter here.
const KERNEL: &[u8] = b"not an ELF file, but every byte of it is to be there";

/// A profile with the records in `data`, then damaged as `data` says.
///
/// # Panics
///
/// What is read is not what was written, and nothing says so.
pub fn profile(data: &[u8]) {
    let mut input = Input(data);
    let (whole, written) = written(&mut input);
    let mut file = whole.clone();
    while !input.is_empty() {
        damage(&mut file, &mut input);
    }
    let is_damaged = file != whole;
    let profile = match Profile::read(file) {
        Ok(profile) => profile,
        Err(ProfileError::Magic | ProfileError::Version(_) | ProfileError::NoHead) => {
            assert!(is_damaged, "a whole profile is refused");
            return;
        }
    };
    let read = (0..CORES).map(|core| records(&profile, core));
    let is_all = read.eq(written.iter().cloned()) && profile.kernel.as_deref() == Some(KERNEL);
    let incomplete = profile.incomplete();
    let hash = profile.sample_hash().expect("what is whole can be read");
    assert!(
        incomplete.is_some() || hash == hash_of(&whole),
        "another hash"
    );
    assert!(is_damaged || incomplete.is_none(), "{incomplete:?}");
    assert!(incomplete.is_some() || is_all, "something is missing");
    show(&profile);
}

/// A whole profile, and the records of each core in it: its samples, and the others.
pub(crate) fn written(input: &mut Input<'_>) -> (Vec<u8>, Vec<Vec<Vec<u64>>>) {
    let mut profile = writer(&description_of_events(), KERNEL);
    let mut written = vec![Vec::new(); CORES as usize];
    for _ in 0..input.below(6) {
        let core = usize::from(input.u8()) % written.len();
        let length = input.below(400);
        let mut words = words(input.bytes(length));
        canonical(&mut words);
        let mut rest = &words[..];
        while let Some(&first) = rest.first()
            && record_words(first) > 0
            && let Some((record, behind)) = rest.split_at_checked(record_words(first))
        {
            let number = u32::try_from(core).expect("a few cores");
            let appended = profile.record(number, record);
            appended.expect("a vector takes everything");
            written[core].push(record.to_vec());
            rest = behind;
        }
        profile.flush().expect("a vector takes everything");
    }
    let stored = written.iter().map(|records| records.len() as u64);
    let cores: Vec<_> = stored.map(|stored| (stored, overheads(input))).collect();
    let file = profile
        .finish(&end(cores))
        .expect("a vector takes everything");
    for records in &mut written {
        records.sort_by_key(|record| Sample::decode(record).is_err());
    }
    (file, written)
}

/// Takes from the records' heads what no record has: half a word, and the byte without a field.
fn canonical(records: &mut [u64]) {
    let mut rest = records;
    while let Some(head) = rest.first_mut() {
        *head &= !(0xff << 40 | 1);
        let words = record_words(*head).clamp(1, rest.len());
        rest = &mut rest[words..];
    }
}

/// What interrupts of a core cost, in any numbers.
fn overheads(input: &mut Input<'_>) -> Vec<OverheadEnd> {
    let mut row = || {
        let mut number = || input.u64();
        OverheadEnd(Overhead {
            rest: number(),
            busy: number(),
            spread: number(),
            since: number(),
            checks: number(),
            sum: number(),
            min: number(),
            max: number(),
        })
    };
    vec![row(), row()]
}

/// Changes a byte, cuts or doubles a piece, or puts it elsewhere.
fn damage(file: &mut Vec<u8>, input: &mut Input<'_>) {
    let kind = input.u8();
    let at = input.below(file.len() + 1);
    let length = input.below(file.len() - at + 1);
    let value = input.u8();
    match kind % 5 {
        0 => file
            .iter_mut()
            .skip(at)
            .take(1)
            .for_each(|byte| *byte ^= value),
        1 => drop(file.drain(at..at + length)),
        2 if file.len() < 1 << 16 => {
            let piece = file[at..at + length].to_vec();
            let to = input.below(file.len() + 1);
            file.splice(to..to, piece);
        }
        3 => file.truncate(at),
        _ => file[at..at + length].fill(value),
    }
}

fn records(profile: &Profile, core: u32) -> Vec<Vec<u64>> {
    let mut records = Vec::new();
    let all = profile.for_each_record(core, |record| records.push(record.to_vec()));
    all.expect("what is whole can be read");
    records
}

/// The hash of a whole profile's samples, made of those that are read: of one that lacks its
/// end alone.
fn hash_of(whole: &[u8]) -> String {
    let end = memmem::rfind(whole, b"\x93PMI").expect("a profile has an end");
    let cut = Profile::read(whole[..end].to_vec()).expect("a profile");
    assert!(cut.end.is_none());
    cut.sample_hash().expect("what is whole can be read")
}

/// Everything that is shown of a profile can be made.
fn show(profile: &Profile) {
    let mut symbols = Symbols::without_elf();
    let tally = Tally::new(profile, symbols.callers(), Selection::default());
    let tally = tally.expect("what is whole can be read");
    let options = Options {
        sort: SortBy::default(),
        top: None,
    };
    let report = Report::new(profile, &tally, &mut symbols, options);
    let report = report.expect("what is whole can be read");
    assert!(!text(&report, SortBy::default()).is_empty());
    json(&report).expect("JSON");
    let stacks = Stacks::new(profile, &tally, &mut symbols, None);
    let stacks = stacks.expect("what is whole can be read");
    assert_eq!(stacks.is_empty(), tally.samples() == 0);
    let is_line = |line: &String| !line.contains(char::is_control);
    assert!(stacks.lines().iter().all(is_line));
}
