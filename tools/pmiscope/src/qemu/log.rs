//! The guest's log, read while it is written.

use std::collections::VecDeque;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;

/// Lines that are kept for the end.
const KEPT: usize = 12;

/// Columns of a line that are kept: a guest that prints without end of line is
/// not to fill the memory.
const LINE_LIMIT: usize = 1000;

/// A log that grows.
pub struct Log {
    file: File,
    position: u64,
    /// The bytes behind the last end of line.
    unfinished: Vec<u8>,
    tail: VecDeque<String>,
    error: Option<String>,
    /// Whether the next line may continue `error`.
    in_error: bool,
    loader_error: Option<String>,
    unanswered: Option<String>,
}

impl Log {
    pub fn new(file: File) -> Self {
        Self {
            file,
            position: 0,
            unfinished: Vec::new(),
            tail: VecDeque::new(),
            error: None,
            in_error: false,
            loader_error: None,
            unanswered: None,
        }
    }

    /// Reads what was appended, and returns the lines that it completes.
    pub fn poll(&mut self) -> io::Result<Vec<String>> {
        let mut lines = Vec::new();
        let mut buffer = [0; 4096];
        loop {
            let read = self.file.read_at(&mut buffer, self.position)?;
            if read == 0 {
                return Ok(lines);
            }
            self.position += read as u64;
            for &byte in &buffer[..read] {
                match byte {
                    b'\n' => lines.push(self.finish_line()),
                    b'\r' => {}
                    _ if self.unfinished.len() < LINE_LIMIT => self.unfinished.push(byte),
                    _ => {}
                }
            }
        }
    }

    /// Returns the last line if it has no end: nothing is appended any more.
    pub fn finish(&mut self) -> Option<String> {
        (!self.unfinished.is_empty()).then(|| self.finish_line())
    }

    fn finish_line(&mut self) -> String {
        // Control characters could reprogram the terminal that shows them.
        let line: String = String::from_utf8_lossy(&self.unfinished)
            .chars()
            .filter(|c| !c.is_control() || *c == '\t')
            .collect();
        self.unfinished.clear();
        self.note(&line);
        self.tail.push_back(line.clone());
        if self.tail.len() > KEPT {
            self.tail.pop_front();
        }
        line
    }

    fn note(&mut self, line: &str) {
        if let Some(message) = line.strip_prefix("loader: ") {
            self.note_of_loader(message);
        }
        let is_error = line.starts_with("[ERROR ");
        match &mut self.error {
            None if is_error => {
                let (_, message) = line.split_once("] ").unwrap_or_default();
                self.error = Some(message.to_owned());
                self.in_error = true;
            }
            // A panic's message comes on the line after its place.
            Some(error) if self.in_error && error.ends_with(':') && !line.starts_with('[') => {
                *error += " ";
                *error += line.trim();
                self.in_error = false;
            }
            _ => self.in_error = false,
        }
    }

    fn note_of_loader(&mut self, message: &str) {
        match message.strip_prefix("not answered: ") {
            Some(list) => self.unanswered = Some(list.to_owned()),
            None => self.loader_error = Some(message.to_owned()),
        }
    }

    /// What the kernel asked the loader for and did not get.
    pub fn unanswered(&self) -> Option<&str> {
        self.unanswered.as_deref()
    }

    /// The first error that the kernel logged.
    pub fn error(&self) -> Option<&str> {
        self.error.as_deref()
    }

    /// The first error, without the word that says what was refused: the outcome does.
    pub fn refusal(&self) -> Option<&str> {
        let error = self.error()?;
        match error.split_once(": ") {
            Some(("sampling" | "counting", reason)) => Some(reason),
            _ => Some(error),
        }
    }

    /// The last line that the loader wrote.
    pub fn loader_error(&self) -> Option<&str> {
        self.loader_error.as_deref()
    }

    pub fn tail(&self) -> impl Iterator<Item = &str> {
        self.tail.iter().map(String::as_str)
    }
}

/// The last line of what QEMU has printed that is not blank; empty if there is none.
pub fn last_line(messages: &File) -> String {
    let Ok(messages) = messages.try_clone() else {
        return String::new();
    };
    let mut log = Log::new(messages);
    // Messages that cannot be read are left out.
    let _ = log.poll();
    log.finish();
    let line = log.tail.iter().rfind(|line| !line.trim().is_empty());
    line.cloned().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::Log;
    use std::io::Write as _;

    #[test]
    fn lines_are_found_as_they_are_finished() {
        let mut file = tempfile::tempfile().unwrap();
        let reading = file.try_clone().unwrap();
        let mut log = Log::new(reading);
        assert_eq!(log.poll().unwrap(), [""; 0]);
        file.write_all(b"loader: no kernel\r\n[INFO core0] o")
            .unwrap();
        assert_eq!(log.poll().unwrap(), ["loader: no kernel"]);
        file.write_all(b"ne\n\x1b[31m[ERROR core1] x\n").unwrap();
        assert_eq!(
            log.poll().unwrap(),
            ["[INFO core0] one", "[31m[ERROR core1] x"]
        );
        assert_eq!(log.error(), None);
        file.write_all(b"[ERROR core2] panicked at a.rs:1:2:\nno ] reason\nmore")
            .unwrap();
        assert_eq!(log.poll().unwrap().len(), 2);
        assert_eq!(log.finish().as_deref(), Some("more"));
        assert_eq!(log.finish(), None);
        assert_eq!(log.error(), Some("panicked at a.rs:1:2: no ] reason"));
        assert_eq!(log.loader_error(), Some("no kernel"));
        assert_eq!(log.tail().last(), Some("more"));
        assert_eq!(log.unanswered(), None);
        file.write_all(b"\nloader: not answered: EFI system table; x2APIC\n")
            .unwrap();
        log.poll().unwrap();
        assert_eq!(log.unanswered(), Some("EFI system table; x2APIC"));
        assert_eq!(log.loader_error(), Some("no kernel"), "this is none");
    }

    #[test]
    fn a_guest_that_prints_without_end_is_bounded() {
        let mut file = tempfile::tempfile().unwrap();
        let reading = file.try_clone().unwrap();
        file.write_all(&vec![b'x'; 100_000]).unwrap();
        file.write_all("\nlast\n".repeat(50).as_bytes()).unwrap();
        let mut log = Log::new(reading);
        assert_eq!(log.poll().unwrap()[0].len(), super::LINE_LIMIT);
        assert_eq!(log.tail().count(), super::KEPT);
    }
}
