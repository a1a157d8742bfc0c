//! What `perf record -o -` writes into a pipe: a short header, then records to the end. The library takes
//! one that is cut off for one that ends there.

use std::io::{self, ErrorKind, Read, Seek, SeekFrom};

/// The bytes of the header, which says how many they are.
const HEADER: u64 = 16;
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
        let mut record = [0; RECORD as usize];
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
}
