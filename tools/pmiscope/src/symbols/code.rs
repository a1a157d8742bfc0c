//! The bytes of a kernel's code.

use object::{Object as _, ObjectSection as _, ObjectSegment as _};

use super::elf::{Elf, is_code};
use super::slide::LinkAddress;

/// The code of an ELF file.
#[derive(Clone, Debug, Default)]
pub(crate) struct Code(Vec<(LinkAddress, Vec<u8>)>);

impl Code {
    pub(super) fn new(elf: &Elf<'_>) -> Self {
        let section = |data: object::Result<&[u8]>, address| {
            let data = data.ok().filter(|data| !data.is_empty())?;
            Some((LinkAddress(address), data.to_vec()))
        };
        if elf.sections().next().is_none() {
            // What was taken out of the file with the table of sections.
            let segments = elf.segments();
            let segments = segments.filter(|segment| segment.permissions().executable());
            let parts = segments.filter_map(|it| section(it.data(), it.address()));
            return Self(parts.collect());
        }
        let sections = elf.sections().filter(is_code);
        let parts = sections.filter_map(|it| section(it.data(), it.address()));
        Self(parts.collect())
    }

    /// The code that these bytes are, from `start` on.
    #[cfg(test)]
    pub(crate) fn of_bytes(start: LinkAddress, bytes: Vec<u8>) -> Self {
        Self(vec![(start, bytes)])
    }

    /// The code from `address` to the end of its section, if there is any.
    pub(crate) fn at(&self, address: LinkAddress) -> Option<&[u8]> {
        self.0.iter().find_map(|(start, bytes)| {
            let offset = usize::try_from(address.0.checked_sub(start.0)?).ok()?;
            bytes.get(offset..).filter(|rest| !rest.is_empty())
        })
    }

    /// The sections: where each starts, and its bytes.
    pub(super) fn sections(&self) -> impl Iterator<Item = (LinkAddress, &[u8])> {
        self.0.iter().map(|(start, bytes)| (*start, &**bytes))
    }
}
