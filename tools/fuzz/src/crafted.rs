//! Profiles that were made by somebody else: every checksum is right, and what they are of is
//! anything.

use pmiscope::internals::Profile;
use pmiscope::internals::flame::{Root, Stacks};
use pmiscope::internals::report::{Options, Report, Selection, Tally};
use pmiscope::symbols::Symbols;

use crate::input::Input;
use crate::profile::written;

/// Bytes of a profile before its first chunk, and of a chunk before its payload.
const FILE_HEADER: usize = 24;
const HEADER: usize = 40;

/// A profile in whose chunks bytes are changed. It is read or refused, whatever it has.
pub fn crafted(data: &[u8]) {
    let mut input = Input(data);
    let (mut file, _) = written(&mut input);
    let mut chunks = Vec::new();
    let mut at = FILE_HEADER;
    while at < file.len() {
        let length = u32::from_le_bytes(std::array::from_fn(|i| file[at + 20 + i]));
        let end = at + HEADER + length as usize;
        chunks.push(at..end);
        at = end;
    }
    while !input.is_empty() {
        let chunk = chunks[input.below(chunks.len())].clone();
        let place = input.below(chunk.len());
        // What frames it stays: damage is another target.
        let is_framing = place < 4 || (20..24).contains(&place) || (32..HEADER).contains(&place);
        if !is_framing {
            file[chunk.start + place] ^= input.u8();
            sign(&mut file[chunk]);
        }
    }
    let Ok(profile) = Profile::read(file) else {
        return;
    };
    for core in 0..profile.cores().min(16) {
        let _ = profile.for_each_record(core, |record| assert!(!record.is_empty()));
    }
    let _ = profile.sample_hash();
    let mut symbols = Symbols::without_elf();
    if let Ok(tally) = Tally::new(&profile, symbols.callers(), Selection::default()) {
        let _ = Report::new(&profile, &tally, &mut symbols, Options::default());
        for root in [None, Some(Root::Core), Some(Root::Task)] {
            let stacks = Stacks::new(&profile, &tally, &mut symbols, root);
            assert!(stacks.is_ok_and(|stacks| stacks.is_empty() == (tally.samples() == 0)));
        }
    }
}

/// Makes a chunk's checksums right.
fn sign(chunk: &mut [u8]) {
    let sum = crc32fast::hash(&chunk[4..32]);
    chunk[32..36].copy_from_slice(&sum.to_le_bytes());
    let mut sum = crc32fast::Hasher::new();
    sum.update(&chunk[4..36]);
    sum.update(&chunk[HEADER..]);
    chunk[36..HEADER].copy_from_slice(&sum.finalize().to_le_bytes());
}
