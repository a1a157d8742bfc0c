//! How far a perf.data goes, by its headers. The library takes a stream that is cut off, as `perf record -o -`
//! writes one (a short header, then records), for one that ends there; and it believes the header of a file.

use std::io::{self, ErrorKind, Read, Seek, SeekFrom};

/// The bytes of the header, which says how many they are.
const HEADER: u64 = 16;
/// And those of a record's.
const RECORD: u64 = 8;
/// What is behind these records is not among their bytes (`PERF_RECORD_HEADER_TRACING_DATA`,
/// `PERF_RECORD_AUXTRACE`).
const WITH_MORE: [u32; 2] = [66, 71];

/// Whether it is one.
pub(super) fn is_stream<R: Read + Seek>(file: &mut R) -> io::Result<bool> {
    let mut header = Vec::new();
    file.take(HEADER).read_to_end(&mut header)?;
    file.seek(SeekFrom::Start(0))?;
    let is_perf = header.starts_with(b"PERFILE2");
    Ok(is_perf && header[8..] == HEADER.to_le_bytes())
}

/// Whether its last record is there as far as it goes.
pub(super) fn is_whole<R: Read + Seek>(file: &mut R) -> io::Result<bool> {
    let end = file.seek(SeekFrom::End(0))?;
    let mut at = HEADER;
    let mut is_whole = true;
    while at < end {
        file.seek(SeekFrom::Start(at))?;
        let mut record = [0; 8];
        match file.read_exact(&mut record) {
            Err(error) if error.kind() == ErrorKind::UnexpectedEof => {
                is_whole = false;
                break;
            }
            read => read?,
        }
        let [k0, k1, k2, k3, .., s0, s1] = record;
        let size = u64::from(u16::from_le_bytes([s0, s1]));
        if WITH_MORE.contains(&u32::from_le_bytes([k0, k1, k2, k3])) {
            break;
        }
        at += size;
        if size < RECORD || at > end {
            is_whole = false;
            break;
        }
    }
    file.seek(SeekFrom::Start(0))?;
    Ok(is_whole)
}

/// Whether all that the header of a file points to is within the file: attributes, records, and what a bit
/// each of `features` says to be behind these.
pub(super) fn is_within<R: Read + Seek>(file: &mut R) -> io::Result<bool> {
    const WORDS: usize = 13;
    let end = file.seek(SeekFrom::End(0))?;
    file.seek(SeekFrom::Start(0))?;
    let mut header = Vec::new();
    file.take(8 * WORDS as u64).read_to_end(&mut header)?;
    file.seek(SeekFrom::Start(0))?;
    // The library knows what else there is.
    if !header.starts_with(b"PERFILE2") || header.len() < 8 * WORDS {
        return Ok(true);
    }
    let is_here = |[start, length]: [u64; 2]| start.checked_add(length).filter(|&it| it <= end);
    let words = words(&header);
    let mut is_within = true;
    for section in [3, 5, 7] {
        is_within &= is_here([words[section], words[section + 1]]).is_some();
    }
    let (Some(table), true) = (is_here([words[5], words[6]]), is_within) else {
        return Ok(false);
    };
    let sections: u32 = words[9..].iter().map(|bits| bits.count_ones()).sum();
    let mut bytes = Vec::new();
    file.seek(SeekFrom::Start(table))?;
    file.take(16 * u64::from(sections))
        .read_to_end(&mut bytes)?;
    file.seek(SeekFrom::Start(0))?;
    let found = self::words(&bytes);
    let mut found = found.chunks_exact(2);
    let is_whole = bytes.len() == 16 * sections as usize;
    Ok(is_whole && found.all(|it| is_here([it[0], it[1]]).is_some()))
}

fn words(bytes: &[u8]) -> Vec<u64> {
    let words = bytes.chunks_exact(8);
    words
        .map(|word| u64::from_le_bytes(core::array::from_fn(|at| word[at])))
        .collect()
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use super::*;

    fn stream(records: &[(u32, u16)]) -> Vec<u8> {
        let mut all = b"PERFILE2".to_vec();
        all.extend(HEADER.to_le_bytes());
        for &(kind, size) in records {
            all.extend(kind.to_le_bytes());
            all.extend([0, size].map(u16::to_le_bytes).concat());
            all.resize(all.len() + usize::from(size.saturating_sub(8)), 0);
        }
        all
    }

    #[test]
    fn a_stream_ends_with_a_whole_record() {
        let is_whole = |bytes: &[u8]| super::is_whole(&mut Cursor::new(bytes)).unwrap();
        let bytes = stream(&[(9, 40), (68, 8)]);
        assert!(is_stream(&mut Cursor::new(&bytes)).unwrap());
        let [header, first, all] = [16, 56, 64];
        assert_eq!(bytes.len(), all);
        for length in header..=all {
            let expected = [header, first, all].contains(&length);
            assert_eq!(is_whole(&bytes[..length]), expected, "{length}");
        }
        // A record without a size leads nowhere.
        assert!(!is_whole(&stream(&[(9, 0)])));
        assert!(is_whole(&stream(&[(71, 48)])[..60]));
        assert!(!is_stream(&mut Cursor::new(b"PERFILE2")).unwrap());
        assert!(!is_stream(&mut Cursor::new(&[0; 40])).unwrap());
    }

    #[test]
    fn what_a_header_points_to_is_within_the_file() {
        // Attributes, records and one feature; two words of it are behind its place.
        let good = [
            104,
            16,
            104,
            8,
            112,
            8,
            0,
            0,
            1 << 6,
            0,
            0,
            0,
            0,
            0,
            136,
            16,
            1,
            2,
        ];
        let is_within = |words: &[u64]| {
            let words = words.iter().flat_map(|it| it.to_le_bytes());
            let bytes: Vec<_> = b"PERFILE2".iter().copied().chain(words).collect();
            super::is_within(&mut Cursor::new(bytes)).unwrap()
        };
        assert!(is_within(&good));
        // A place, and what cannot stand there.
        for (at, wrong) in [
            (2, u64::MAX),
            (3, 1000),
            (4, u64::MAX),
            (4, 1 << 63),
            (5, 1000),
            (6, 1000),
            (9, 3),
            (14, 1000),
            (15, u64::MAX),
        ] {
            let mut words = good;
            words[at] = wrong;
            assert!(!is_within(&words), "{at}");
        }
        assert!(!is_within(&good[..15]));
    }
}
