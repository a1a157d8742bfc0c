//! The bytes of a kernel's code.

use std::sync::Arc;

use gimli::LittleEndian;
use object::{Object as _, ObjectSection as _, ObjectSegment as _};

use super::Bytes;
use super::elf::{Elf, is_code};
use super::slide::LinkAddress;

/// The code of an ELF file.
#[derive(Clone, Debug, Default)]
pub(crate) struct Code(Vec<(LinkAddress, Bytes)>);

impl Code {
    /// That of an ELF file with these bytes, which it has in common with the file.
    pub(super) fn new(elf: &Elf<'_>, file: &Arc<[u8]>) -> Self {
        let shared = |(offset, size): (u64, u64), address| {
            let start = usize::try_from(offset).ok()?;
            let end = start.checked_add(usize::try_from(size).ok()?)?;
            let is_there = start < end && end <= file.len();
            let bytes = is_there.then(|| Bytes::new(Arc::clone(file), LittleEndian))?;
            Some((LinkAddress(address), bytes.range(start..end)))
        };
        if elf.sections().next().is_none() {
            // What was taken out of the file with the table of sections.
            let segments = elf.segments();
            let segments = segments.filter(|segment| segment.permissions().executable());
            let parts = segments.filter_map(|it| shared(it.file_range(), it.address()));
            return Self(parts.collect());
        }
        let sections = elf.sections().filter(is_code);
        let parts = sections.filter_map(|it| shared(it.file_range()?, it.address()));
        Self(parts.collect())
    }

    /// The code that these bytes are, from `start` on.
    #[cfg(test)]
    pub(crate) fn of_bytes(start: LinkAddress, bytes: Vec<u8>) -> Self {
        Self(vec![(start, super::dwarf::bytes(&bytes))])
    }

    /// The code from `address` to the end of its section, if there is any.
    pub(crate) fn at(&self, address: LinkAddress) -> Option<&[u8]> {
        self.0.iter().find_map(|(start, bytes)| {
            let offset = usize::try_from(address.0.checked_sub(start.0)?).ok()?;
            bytes.bytes().get(offset..).filter(|rest| !rest.is_empty())
        })
    }

    /// The sections: where each starts, and its bytes.
    pub(super) fn sections(&self) -> impl Iterator<Item = (LinkAddress, &[u8])> {
        self.0.iter().map(|(start, bytes)| (*start, bytes.bytes()))
    }
}
