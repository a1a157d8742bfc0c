//! The hash by which two runs are compared.

use profiler::format::record_words;
use sha2::{Digest, Sha256};

use crate::profile::Profile;
use crate::units::hex;

/// SHA-256 over, for each core in order, its number, the count of its records (each 8 bytes, little-endian) and
/// the records' words (likewise), of which the first 16 bytes are returned, in
/// hexadecimal.
#[must_use]
pub fn sample_hash(profile: &Profile) -> String {
    let mut hash = Sha256::new();
    for core in 0..profile.cores() {
        hash.update(u64::from(core).to_le_bytes());
        hash.update(profile.records_of_core(core).to_le_bytes());
        let mut bytes = Vec::new();
        profile.for_each_record(core, |record| {
            debug_assert_eq!(record_words(record[0]), record.len());
            bytes.clear();
            bytes.extend(record.iter().flat_map(|word| word.to_le_bytes()));
            hash.update(&bytes);
        });
    }
    hex(&hash.finalize()[..16])
}
