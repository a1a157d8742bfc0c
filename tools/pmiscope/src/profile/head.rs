//! A record's first word as profiles have it, which is not as rings do: 16 bits for its length, in
//! words, and the fields behind that as much higher.

use profiler::format::RecordHead;

/// What is behind length and kind, and where it is.
const FIELDS: u64 = 0xffff_ff00;
const TASK: u64 = 0xffff << 48;
/// The length, in a profile.
const WORDS: u64 = 0xffff;

/// Turns the first words of whole records into those of a profile.
pub(super) fn to_profile(records: &mut [u64]) {
    let words = |head| RecordHead::from_word(head).words();
    let convert = |head| {
        let fields = head & (FIELDS | 0xff << 32);
        head & TASK | fields << 8 | words(head) as u64
    };
    each_head(records, words, convert);
}

/// Turns the first words of a profile's records into those that the ring's reader makes. Where
/// something is no record, or too long for one, no record begins.
pub(super) fn from_profile(records: &mut [u64]) {
    // Of more than 127 words a byte does not hold the units.
    let words = |head: u64| {
        let words = usize::try_from(head & WORDS).ok();
        words.filter(|&words| words < 128).unwrap_or(0)
    };
    let convert = |head| {
        let fields = head >> 8 & (FIELDS | 0xff << 32);
        head & TASK | fields | (head & WORDS) << 1
    };
    each_head(records, words, convert);
}

fn each_head(records: &mut [u64], words: impl Fn(u64) -> usize, convert: impl Fn(u64) -> u64) {
    let mut rest = records;
    while let Some(&mut head) = rest.first_mut() {
        let words = words(head);
        if words == 0 || words > rest.len() {
            rest[0] = 0;
            return;
        }
        rest[0] = convert(head);
        rest = &mut rest[words..];
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_head_is_in_a_profile_what_it_always_was() {
        // A sample of 3 words, an event record of one; then half a record.
        let ring = [0x1234_00ab_cdef_0106, 7, 9, 0x0003_0302, 0x0108];
        let mut records = ring;
        to_profile(&mut records);
        let profile = [0x1234_abcd_ef01_0003, 7, 9, 0x0303_0001, 0];
        assert_eq!(records, profile);
        from_profile(&mut records);
        assert_eq!(records[..4], ring[..4]);
        assert_eq!(records[4], 0);
    }

    #[test]
    fn a_record_longer_than_any_is_none() {
        for (words, is_one) in [
            (1, true),
            (127, true),
            (128, false),
            (256, false),
            (257, false),
        ] {
            let mut records = vec![0; 300];
            records[0] = words;
            from_profile(&mut records);
            assert_eq!(records[0] != 0, is_one, "{words}");
        }
    }
}
