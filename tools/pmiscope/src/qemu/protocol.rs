//! By which boot protocol a kernel can be started: its ELF file says so.

use object::elf::{NoteType, PT_NOTE};
use object::read::elf::{ElfFile64, FileHeader as _, ProgramHeader as _};
use object::{LittleEndian, Object as _, ObjectSegment as _};

type Elf<'data> = ElfFile64<'data, LittleEndian>;

/// A boot protocol.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Protocol {
    /// Limine's, which the loader speaks; or one that is not known here.
    Limine,
    /// PVH, which QEMU itself speaks.
    Pvh,
}

/// The note that says where to enter by PVH: `XEN_ELFNOTE_PHYS32_ENTRY`
/// (xen/include/public/elfnote.h).
const XEN: &[u8] = b"Xen";
const PHYS32_ENTRY: NoteType = NoteType(18);

/// What every request of the Limine protocol begins with.
const LIMINE_COMMON: [u64; 2] = [0xc7b1_dd30_df4c_8b88, 0x0a82_e883_a194_f07b];

impl Protocol {
    /// The protocol that a kernel is for: Limine's, if it has requests of that, whatever
    /// else it has.
    pub(crate) fn of(kernel: &[u8]) -> Self {
        let Ok(elf) = Elf::parse(kernel) else {
            return Self::Limine;
        };
        if has_pvh_note(&elf, kernel) && !has_limine_requests(&elf) {
            Self::Pvh
        } else {
            Self::Limine
        }
    }
}

impl Protocol {
    /// Returns true if a kernel has what either protocol looks for.
    pub(crate) fn is_known(kernel: &[u8]) -> bool {
        Elf::parse(kernel).is_ok_and(|elf| has_pvh_note(&elf, kernel) || has_limine_requests(&elf))
    }
}

fn has_pvh_note(elf: &Elf<'_>, kernel: &[u8]) -> bool {
    let headers = elf.elf_header().program_headers(LittleEndian, kernel);
    let notes = headers.into_iter().flatten();
    let notes = notes.filter(|header| header.p_type(LittleEndian) == PT_NOTE);
    let notes = notes.filter_map(|header| header.notes(LittleEndian, kernel).ok()?);
    // What is behind one that cannot be read is none.
    let notes = notes.flat_map(|notes| notes.map_while(Result::ok));
    let mut kinds = notes.map(|note| (note.name() == XEN, note.n_type(LittleEndian)));
    kinds.any(|kind| kind == (true, PHYS32_ENTRY))
}

fn has_limine_requests(elf: &Elf<'_>) -> bool {
    let magic: Vec<u8> = LIMINE_COMMON
        .iter()
        .flat_map(|word| word.to_le_bytes())
        .collect();
    let segments = elf.segments().filter_map(|segment| segment.data().ok());
    segments
        .flat_map(|data| data.chunks_exact(8).zip(data.chunks_exact(8).skip(1)))
        .any(|(first, second)| first == &magic[..8] && second == &magic[8..])
}

#[cfg(test)]
mod tests {
    use object::elf::PT_LOAD;

    use super::*;

    /// An ELF file with these segments: type and content.
    fn elf(segments: &[(u32, &[u8])]) -> Vec<u8> {
        const HEADER: u8 = 64;
        const ENTRY: u8 = 56;
        let mut file = Vec::new();
        file.extend(b"\x7fELF\x02\x01\x01");
        file.resize(16, 0);
        file.extend([2, 0, 62, 0, 1, 0, 0, 0]); // executable, x86-64, version
        file.extend([0; 8]); // entry
        file.extend(u64::from(HEADER).to_le_bytes());
        file.extend([0; 12]); // sections, flags
        file.extend([HEADER, 0, ENTRY, 0]);
        file.extend(u16::try_from(segments.len()).unwrap().to_le_bytes());
        file.resize(HEADER.into(), 0);
        let mut at = u64::from(HEADER) + u64::from(ENTRY) * segments.len() as u64;
        for (kind, content) in segments {
            file.extend(kind.to_le_bytes());
            file.extend(6_u32.to_le_bytes());
            let size = content.len() as u64;
            for word in [at, 0, 0, size, size, 8] {
                file.extend(word.to_le_bytes());
            }
            at += size;
        }
        segments
            .iter()
            .for_each(|(_, content)| file.extend(*content));
        file
    }

    fn note(name: &[u8; 4], kind: u32) -> Vec<u8> {
        let words = [4_u32, 8, kind].map(u32::to_le_bytes).concat();
        [&words, &name[..], &[0; 8]].concat()
    }

    const LOAD: u32 = PT_LOAD.0;
    const NOTE: u32 = PT_NOTE.0;

    #[test]
    fn a_kernel_with_the_note_alone_is_started_by_qemu() {
        let other = note(b"GNU\0", 3);
        let pvh = note(b"Xen\0", 18);
        let both = [other.clone(), pvh.clone()].concat();
        let request = [&[0; 8], &LIMINE_COMMON.map(u64::to_le_bytes).concat()[..]].concat();
        for (segments, expected) in [
            (&[][..], Protocol::Limine),
            (&[(NOTE, &other[..])], Protocol::Limine),
            (&[(NOTE, &note(b"Xen\0", 17)[..])], Protocol::Limine),
            (&[(NOTE, &note(b"GNU\0", 18)[..])], Protocol::Limine),
            (&[(NOTE, &pvh[..])], Protocol::Pvh),
            (&[(LOAD, &[1; 64][..]), (NOTE, &both)], Protocol::Pvh),
            // What QEMU does not look at.
            (&[(LOAD, &pvh[..])], Protocol::Limine),
            (&[(LOAD, &request[..]), (NOTE, &pvh)], Protocol::Limine),
        ] {
            assert_eq!(Protocol::of(&elf(segments)), expected, "{segments:x?}");
        }
    }

    #[test]
    fn what_is_no_elf_file_is_the_loaders_to_refuse() {
        let whole = elf(&[(NOTE, &note(b"Xen\0", 18))]);
        for len in 0..whole.len() {
            assert_eq!(Protocol::of(&whole[..len]), Protocol::Limine, "{len}");
        }
    }
}
