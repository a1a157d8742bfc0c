//! What a kernel's log says of why nothing was sent.

/// Lines are looked at to here: what no log has is not kept.
const LONGEST: usize = 300;

/// The last line of a log that is an error, or of the wire.
#[derive(Default)]
pub(super) struct Said {
    line: Vec<u8>,
    last: Option<String>,
}

impl Said {
    /// Takes the next byte.
    pub(super) fn add(&mut self, byte: u8) {
        if byte != b'\n' {
            if self.line.len() < LONGEST {
                self.line.push(byte);
            }
            return;
        }
        let line = String::from_utf8_lossy(&self.line);
        let line = line.trim();
        if line.starts_with("[ERROR ") || (line.starts_with('[') && line.contains("] wire: ")) {
            self.last = Some(line.to_owned());
        }
        self.line.clear();
    }

    pub(super) fn last(&self) -> Option<&str> {
        self.last.as_deref()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn last(log: &[u8]) -> Option<String> {
        let mut said = Said::default();
        log.iter().for_each(|&byte| said.add(byte));
        said.last().map(str::to_owned)
    }

    #[test]
    fn the_last_error_is_kept() {
        let log = b"[INFO core0] a\r\n[ERROR core0] no PMU\r\n[INFO core0] wire\n[ERROR core1] cut";
        assert_eq!(last(log).as_deref(), Some("[ERROR core0] no PMU"));
        let log = b"[ERROR core0] a\n[INFO core0] wire: nothing is sent: b\n";
        let says = "[INFO core0] wire: nothing is sent: b";
        assert_eq!(last(log).as_deref(), Some(says));
        assert_eq!(last(b"booting\n"), None);
    }

    #[test]
    fn a_line_without_an_end_is_not_kept() {
        let mut said = Said::default();
        (0..100_000).for_each(|_| said.add(b'['));
        assert!(said.line.len() <= LONGEST);
    }
}
