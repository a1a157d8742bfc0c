//! The kernel's files, where one is in several chunks.

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
