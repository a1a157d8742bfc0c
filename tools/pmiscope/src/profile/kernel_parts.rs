//! The kernel's ELF file, where it is in several chunks.

/// The parts of a kernel's ELF file that come before its last.
#[derive(Debug, Default)]
pub(super) struct KernelParts {
    bytes: Vec<u8>,
    /// The number of them; one that is missing is the last that counts.
    count: u32,
}

impl KernelParts {
    /// Adds the part with this number.
    pub(super) fn add(&mut self, number: u32, part: &[u8]) {
        if number == self.count {
            self.bytes.extend(part);
            self.count += 1;
        }
    }

    /// The file, with its last part; `None` if one is missing.
    pub(super) fn take_last(&mut self, number: u32, last: Vec<u8>) -> Option<Vec<u8>> {
        if number != self.count {
            return None;
        }
        let mut bytes = std::mem::take(&mut self.bytes);
        if bytes.is_empty() {
            return Some(last);
        }
        bytes.extend(last);
        Some(bytes)
    }
}
