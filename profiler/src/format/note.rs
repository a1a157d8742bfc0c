//! ELF notes: where the linker puts the build-id.
//!
//! A note is three 32-bit numbers (size of the name, size of the description,
//! type), the name and the description, each padded to four bytes.

const GNU_BUILD_ID: u32 = 3;

/// The build-id in a section of notes, if there is one.
#[must_use]
pub fn build_id(mut notes: &[u8]) -> Option<&[u8]> {
    loop {
        let name_size = number(notes, 0)?;
        let description_size = number(notes, 4)?;
        let kind = u32::try_from(number(notes, 8)?).ok()?;
        let name_end = 12_usize.checked_add(name_size)?;
        let start = name_end.checked_next_multiple_of(4)?;
        let end = start.checked_add(description_size)?;
        let name = notes.get(12..name_end)?;
        let description = notes.get(start..end)?;
        if kind == GNU_BUILD_ID && name == b"GNU\0" {
            return Some(description);
        }
        notes = notes.get(end.checked_next_multiple_of(4)?..)?;
    }
}

fn number(notes: &[u8], at: usize) -> Option<usize> {
    let bytes = notes.get(at..)?.first_chunk()?;
    usize::try_from(u32::from_le_bytes(*bytes)).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn note(name: &[u8], kind: u32, description: &[u8]) -> Vec<u8> {
        let size = |bytes: &[u8]| u32::try_from(bytes.len()).unwrap().to_le_bytes();
        let mut note = [size(name), size(description), kind.to_le_bytes()].concat();
        for part in [name, description] {
            note.extend(part);
            note.resize(note.len().next_multiple_of(4), 0);
        }
        note
    }

    #[test]
    fn the_build_id_is_found_behind_other_notes() {
        let id = [7; 20];
        let notes = [
            note(b"GNU\0", 1, &[1, 2, 3]),
            note(b"odd", 3, &[9; 5]),
            note(b"GNU\0", 3, &id),
        ]
        .concat();
        assert_eq!(build_id(&notes), Some(&id[..]));
    }

    #[test]
    fn without_one_there_is_none() {
        assert_eq!(build_id(&[]), None);
        assert_eq!(build_id(&note(b"GNU\0", 1, &[0; 16])), None);
        assert_eq!(build_id(&note(b"Go\0", 3, &[0; 16])), None);
    }

    #[test]
    fn a_note_that_is_cut_or_lies_about_its_size_is_none() {
        let whole = note(b"GNU\0", 3, &[7; 20]);
        for length in 0..whole.len() {
            assert_eq!(build_id(&whole[..length]), None, "{length} bytes");
        }
        for at in [0, 4] {
            let mut notes = whole.clone();
            notes[at..at + 4].fill(0xff);
            assert_eq!(build_id(&notes), None);
        }
    }
}
