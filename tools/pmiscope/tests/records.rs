//! What a profile holds, for comparing.

use std::fs;
use std::path::Path;

use pmiscope::internals::Profile;

/// Those of the profile in a file.
pub fn in_file(profile: &Path) -> Vec<Vec<Vec<u64>>> {
    of(&Profile::read(fs::read(profile).unwrap()).unwrap())
}

/// All records of a profile, by core.
pub fn of(profile: &Profile) -> Vec<Vec<Vec<u64>>> {
    let of_core = |core| {
        let mut records = Vec::new();
        let keep = |record: &[u64]| records.push(record.to_vec());
        profile.for_each_record(core, keep).unwrap();
        records
    };
    (0..profile.cores()).map(of_core).collect()
}
