//! The kernel's files, where one is in several chunks.

/// The parts of a kernel's ELF file that come before its last. The first one has the number 0,
/// as has the last of a file that is in one piece.
#[derive(Debug, Default)]
pub(super) struct KernelParts {
    bytes: Vec<u8>,
    /// The number of them; one that is missing is the last that counts.
    count: u32,
}

impl KernelParts {
    /// Adds the part with this number.
    pub(super) fn add(&mut self, number: u32, part: &[u8]) {
        self.begin_at(number);
        if number == self.count {
            self.bytes.extend(part);
            self.count += 1;
        }
    }

    /// The file, with its last part; `None` if one is missing.
    pub(super) fn take_last(&mut self, number: u32, last: Vec<u8>) -> Option<Vec<u8>> {
        self.begin_at(number);
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

    /// Forgets a file whose last part is lost, where another one begins.
    fn begin_at(&mut self, number: u32) {
        if number == 0 {
            *self = Self::default();
        }
    }
}

/// The separate debug files of the kernel.
#[derive(Debug, Default)]
pub(super) struct DebugFiles {
    /// Those that are whole, with their names.
    pub all: Vec<(String, Vec<u8>)>,
    /// What there is of the next one.
    parts: KernelParts,
}

impl DebugFiles {
    /// Adds a part of the next file.
    pub(super) fn add(&mut self, number: u32, part: &[u8]) {
        self.parts.add(number, part);
    }

    /// Ends the next file. Returns `None` if a part is missing, or its name.
    pub(super) fn add_last(&mut self, number: u32, last: Vec<u8>) -> Option<()> {
        let mut named = std::mem::take(&mut self.parts).take_last(number, last)?;
        // The name ends with a zero, behind which is the file.
        let end = named.iter().position(|&byte| byte == 0)?;
        let file = named.split_off(end + 1);
        let name = String::from_utf8_lossy(&named[..end]).into_owned();
        self.all.push((name, file));
        Some(())
    }
}

#[cfg(test)]
mod tests {
    use super::DebugFiles;

    #[test]
    fn a_file_without_its_last_part_is_not_in_the_next_one() {
        let mut files = DebugFiles::default();
        files.add(0, b"lost\0a");
        files.add(1, b"b");
        // Its last part is missing. The next one has as many.
        files.add(0, b"kept\0A");
        files.add(1, b"B");
        assert_eq!(files.add_last(2, b"C".to_vec()), Some(()));
        files.add(0, b"lost, too\0d");
        // That of a file in one piece.
        assert_eq!(files.add_last(0, b"whole\0E".to_vec()), Some(()));
        let expected = [("kept", b"ABC".to_vec()), ("whole", b"E".to_vec())];
        assert_eq!(files.all, expected.map(|(name, file)| (name.into(), file)));
    }
}
