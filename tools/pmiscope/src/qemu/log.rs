//! The guest's log, read while it is written.

use std::collections::VecDeque;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;

use super::ending::Said;

/// Lines that are kept for the end.
const KEPT: usize = 12;

/// Lines that are kept of a kernel's last words: what it says behind an error, up to the end. The
/// core that failed comes first there, and then maybe hundreds of others.
const LAST_WORDS_KEPT: usize = 60;

/// Columns of a line that are kept: a guest that prints without end of line is
/// not to fill the memory.
const LINE_LIMIT: usize = 1000;

/// What the loader's lines begin with.
const LOADER: &str = "loader: ";
/// How the loader begins the list of what it does not answer.
const UNANSWERED: &str = "not answered: ";

/// What Limine's menu says while it waits, where it has the serial port.
const COUNTDOWN: &str = "Booting automatically in ";

/// Who has written to a log.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Heard {
    /// Nobody but the loader.
    Nothing,
    /// A boot menu that still waits.
    Menu,
    /// The kernel, as far as is known.
    Kernel,
}

/// A log that grows.
pub struct Log {
    file: File,
    position: u64,
    /// The bytes behind the last end of line.
    unfinished: Vec<u8>,
    tail: VecDeque<String>,
    last_words: LastWords,
    error: Message,
    panic: Message,
    is_of_kernel: bool,
    unanswered: Option<String>,
}

impl Log {
    pub fn new(file: File) -> Self {
        Self {
            file,
            position: 0,
            unfinished: Vec::new(),
            tail: VecDeque::new(),
            last_words: LastWords::default(),
            error: Message::default(),
            panic: Message::default(),
            is_of_kernel: false,
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
        let line = plain(&String::from_utf8_lossy(&self.unfinished));
        self.unfinished.clear();
        self.note(&line);
        self.last_words.note(&line);
        self.tail.push_back(line.clone());
        if self.tail.len() > KEPT {
            self.tail.pop_front();
        }
        line
    }

    fn note(&mut self, line: &str) {
        self.is_of_kernel |= !line.trim().is_empty() && !line.starts_with(LOADER);
        let said = line.strip_prefix(LOADER);
        if let Some(list) = said.and_then(|said| said.strip_prefix(UNANSWERED)) {
            self.unanswered = Some(list.to_owned());
        }
        let is_error = line.starts_with("[ERROR ");
        let error = is_error.then(|| line.split_once("] ").unwrap_or_default().1);
        self.error.note(line, error);
        self.panic.note(line, panic_in(line));
    }

    /// What the kernel asked the loader for and did not get.
    pub fn unanswered(&self) -> Option<&str> {
        self.unanswered.as_deref()
    }

    /// The first error that the kernel logged.
    pub fn error(&self) -> Option<&str> {
        self.error.text.as_deref()
    }

    /// The first panic that it logged.
    pub fn panic(&self) -> Option<&str> {
        self.panic.text.as_deref()
    }

    /// The first error, without the word that says what was refused: the outcome does.
    pub fn refusal(&self) -> Option<&str> {
        let error = self.error()?;
        match error.split_once(": ") {
            Some(("sampling" | "counting", reason)) => Some(reason),
            _ => Some(error),
        }
    }

    /// What the loader failed of, if that was the last line.
    pub fn loader_error(&self) -> Option<&str> {
        let said = self.tail().last()?.strip_prefix(LOADER)?;
        (!said.starts_with(UNANSWERED)).then_some(said)
    }

    /// Who has written to it.
    pub fn heard(&self) -> Heard {
        let is_menu = self.last().is_some_and(|line| line.contains(COUNTDOWN));
        match (is_menu, self.is_of_kernel) {
            (true, _) => Heard::Menu,
            (false, true) => Heard::Kernel,
            (false, false) => Heard::Nothing,
        }
    }

    /// The last line that is not blank.
    fn last(&self) -> Option<&str> {
        self.tail().rfind(|line| !line.trim().is_empty())
    }

    /// What of it says why the guest ends.
    pub(super) fn said(&self) -> Said<'_> {
        Said {
            error: self.error(),
            panic: self.panic(),
            refusal: self.refusal(),
            loader: self.loader_error(),
            last: self.last(),
        }
    }

    /// The lines that say most of how it ended: the last ones, or a kernel's last words.
    pub fn ending(&self) -> Vec<String> {
        let LastWords { lines, left_out } = &self.last_words;
        if lines.len() <= KEPT {
            return self.tail().map(str::to_owned).collect();
        }
        let left_out = (*left_out > 0).then(|| format!("… and {left_out} lines more"));
        lines.iter().cloned().chain(left_out).collect()
    }

    pub fn tail(&self) -> impl DoubleEndedIterator<Item = &str> {
        self.tail.iter().map(String::as_str)
    }
}

/// What a kernel says of its failure: an error, and what follows that is no other line of a log.
#[derive(Default)]
struct LastWords {
    lines: Vec<String>,
    left_out: usize,
}

impl LastWords {
    fn note(&mut self, line: &str) {
        let is_error = line.starts_with("[ERROR ");
        if self.lines.is_empty() && !is_error {
            return;
        }
        if line.starts_with('[') && !is_error {
            *self = Self::default();
        } else if self.lines.len() < LAST_WORDS_KEPT {
            self.lines.push(line.to_owned());
        } else {
            self.left_out += 1;
        }
    }
}

/// A message that the log has, the first of its kind.
#[derive(Default)]
struct Message {
    text: Option<String>,
    /// Whether the next line may continue it.
    is_open: bool,
}

impl Message {
    /// Reads a line, which `begins` such a message or does not.
    fn note(&mut self, line: &str, begins: Option<&str>) {
        match (&mut self.text, begins) {
            (None, Some(text)) => {
                self.text = Some(text.to_owned());
                self.is_open = true;
            }
            // A panic's message comes on the line after its place.
            (Some(text), _) if self.is_open && text.ends_with(':') && !line.starts_with('[') => {
                *text += " ";
                *text += line.trim();
                self.is_open = false;
            }
            _ => self.is_open = false,
        }
    }
}

/// What a line says of a panic: as Rust says it, or as kernels in C do.
fn panic_in(line: &str) -> Option<&str> {
    let at = line.find("panicked at ");
    let small = line.to_ascii_lowercase();
    let is_panic = || {
        let said = small.trim_start();
        small.contains("kernel panic") || said.starts_with("panic:") || said == "panic"
    };
    at.map(|at| &line[at..])
        .or_else(|| is_panic().then(|| line.trim()))
}

/// A line without what could reprogram the terminal that shows it: control characters, and
/// the sequences that colour a text (ECMA-48, 5.4).
pub(super) fn plain(line: &str) -> String {
    let mut parts = line.split("\x1b[");
    let first = parts.next().unwrap_or_default();
    let behind_sequences = parts.map(|part| {
        let end = part.find(|c| matches!(c, '@'..='~'));
        end.map_or("", |end| &part[end + 1..])
    });
    let text = std::iter::once(first).chain(behind_sequences);
    text.flat_map(str::chars)
        .filter(|c| !c.is_control() || *c == '\t')
        .collect()
}

#[cfg(test)]
mod tests {
    use super::{Heard, Log, panic_in, plain};
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
        assert_eq!(log.loader_error(), Some("no kernel"));
        assert_eq!(log.heard(), Heard::Nothing);
        file.write_all(b"ne\n\x1b[31m[ERROR core1] x\n").unwrap();
        assert_eq!(log.poll().unwrap(), ["[INFO core0] one", "[ERROR core1] x"]);
        assert_eq!(log.error(), Some("x"));
        file.write_all(b"[ERROR core2] panicked at a.rs:1:2:\nno ] reason\nmore")
            .unwrap();
        assert_eq!(log.poll().unwrap().len(), 2);
        assert_eq!(log.finish().as_deref(), Some("more"));
        assert_eq!(log.finish(), None);
        assert_eq!(log.loader_error(), None, "others have written since");
        assert_eq!(log.heard(), Heard::Kernel);
        assert_eq!(log.tail().last(), Some("more"));
        assert_eq!(log.unanswered(), None);
        file.write_all(b"\nloader: not answered: EFI system table; x2APIC\n")
            .unwrap();
        log.poll().unwrap();
        assert_eq!(log.unanswered(), Some("EFI system table; x2APIC"));
        assert_eq!(log.loader_error(), None, "this is none");
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

    #[test]
    fn what_a_kernel_says_of_its_failure_is_kept_from_its_start() {
        let mut file = tempfile::tempfile().unwrap();
        let mut log = Log::new(file.try_clone().unwrap());
        let lines = |of: &str, count: usize| -> Vec<String> {
            (0..count).map(|number| format!("{of} {number}")).collect()
        };
        let mut write = |lines: &[String]| {
            file.write_all((lines.join("\n") + "\n").as_bytes())
                .unwrap();
            log.poll().unwrap();
            log.ending()
        };
        // An error that the kernel has survived.
        let survived = [lines("[ERROR core0]", 1), lines("register", 20)].concat();
        assert_eq!(write(&survived), survived);
        let goes_on = lines("[INFO core0]", 20);
        assert_eq!(write(&goes_on), goes_on[20 - super::KEPT..]);
        let short = [lines("[ERROR core0]", 1), lines("register", 3)].concat();
        let expected = [&goes_on[20 - 8..], &short].concat();
        assert_eq!(write(&short), expected);
        let frames = lines("#00", super::LAST_WORDS_KEPT - 4);
        let expected = [short, frames.clone()].concat();
        assert_eq!(write(&frames), expected);
        let more = [lines("[ERROR core0]", 1), lines("core", 2)].concat();
        let expected = [expected, vec!["… and 3 lines more".to_owned()]].concat();
        assert_eq!(write(&more), expected);
    }

    #[test]
    fn the_message_of_a_panic_comes_on_the_next_line() {
        let mut file = tempfile::tempfile().unwrap();
        let mut log = Log::new(file.try_clone().unwrap());
        file.write_all(b"[ERROR core2] panicked at a.rs:1:2:\nno ] reason\n")
            .unwrap();
        log.poll().unwrap();
        assert_eq!(log.error(), Some("panicked at a.rs:1:2: no ] reason"));
        assert_eq!(log.panic(), Some("panicked at a.rs:1:2: no ] reason"));
    }

    #[test]
    fn panics_are_found_as_kernels_write_them() {
        for (line, says) in [
            (
                "my-kernel: panicked at a.rs:1:2:",
                Some("panicked at a.rs:1:2:"),
            ),
            (
                "*** KERNEL PANIC: out of luck",
                Some("*** KERNEL PANIC: out of luck"),
            ),
            (" panic: out of luck", Some("panic: out of luck")),
            ("do not panic", None),
            ("[ERROR core0] out of luck", None),
        ] {
            assert_eq!(panic_in(line), says, "{line}");
        }
    }

    #[test]
    fn a_menu_that_waits_is_heard() {
        let mut file = tempfile::tempfile().unwrap();
        let mut log = Log::new(file.try_clone().unwrap());
        // Limine 8.2, with `serial: yes`.
        file.write_all(b"\x1b[2J\x1b[H\n\x1b[24;1H\x1b[2K\x1b[32mBooting automatically in \x1b[92m3\x1b[32m, press any key\x1b[0m")
            .unwrap();
        log.poll().unwrap();
        log.finish();
        assert_eq!(log.heard(), Heard::Menu);
        let shown = "Booting automatically in 3, press any key";
        assert_eq!(log.tail().last(), Some(shown));
        file.write_all(b"\nhello\n").unwrap();
        log.poll().unwrap();
        assert_eq!(log.heard(), Heard::Kernel);
    }

    #[test]
    fn a_line_is_shown_without_its_colours() {
        for (line, shown) in [
            ("plain [text]", "plain [text]"),
            ("\x1b[1;31mred\x1b[0m\ttab\x07", "red\ttab"),
            ("cut \x1b[31", "cut "),
            ("\x1b[", ""),
        ] {
            assert_eq!(plain(line), shown, "{line:?}");
        }
    }
}
