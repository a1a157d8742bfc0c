//! The line that is being typed, on a terminal of which nothing is believed but that it is one:
//! bytes in, and out what shows them, by carriage returns and two of VT100's sequences.
//!
//! | key | |
//! |---|---|
//! | printable | goes in before the cursor |
//! | backspace, DEL, `Delete` | takes the character before, or under, the cursor |
//! | arrows, `Home`, `End`, `^A` `^E` `^B` `^F` | move it; up and down, `^P` `^N`: the lines before |
//! | `^K`, `^U`, `^W` | take what is behind it, before it, the word before it |
//! | Tab | completes the word before it |
//! | `^L` | clears the terminal |
//! | `^C` | gives the line up |
//! | `^D` | takes the character under the cursor; on an empty line: no more lines |
//!
//! Whatever else comes is dropped, sequences of other keys as a whole.

use core::fmt::{self, Write};

use super::history::History;
use super::line::Line;

/// Columns that a line has on the terminal behind the prompt: of a longer one a part is shown.
const COLUMNS: usize = 66;

/// What a byte has led to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Edit {
    /// More is to come.
    Pending,
    /// The line is whole: [`Editor::line`].
    Line,
    /// It was given up.
    Cancelled,
    /// There are no more lines.
    End,
}

/// What a word can be completed to.
pub trait Completions {
    /// Calls `each` with all words that may stand behind `before`, the line up to the word.
    fn each(&self, before: &str, each: &mut dyn FnMut(&str));
}

/// Where in a key's sequence the input is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Keys {
    Plain,
    /// Behind an escape.
    Escape,
    /// Behind `ESC [`, with the number so far.
    Sequence(u8),
    /// Behind `ESC O`.
    Single,
}

/// A line that is being typed, and the lines before it.
#[derive(Debug)]
pub struct Editor {
    prompt: &'static str,
    line: Line,
    /// Characters before the cursor.
    cursor: usize,
    history: History,
    keys: Keys,
    /// A line feed ends no line then.
    is_behind_return: bool,
    /// The first character that is shown.
    first_shown: usize,
}

impl Editor {
    /// An empty line behind this prompt.
    #[must_use]
    pub const fn new(prompt: &'static str) -> Self {
        Self {
            prompt,
            line: Line::new(),
            cursor: 0,
            history: History::new(),
            keys: Keys::Plain,
            is_behind_return: false,
            first_shown: 0,
        }
    }

    /// Begins an empty line, and shows the prompt.
    ///
    /// # Errors
    ///
    /// `out` fails.
    pub fn begin(&mut self, out: &mut dyn Write) -> fmt::Result {
        self.line = Line::new();
        self.cursor = 0;
        self.first_shown = 0;
        self.keys = Keys::Plain;
        self.history.begin();
        out.write_str(self.prompt)
    }

    /// The line.
    #[must_use]
    pub fn line(&self) -> &str {
        self.line.as_str()
    }

    /// Takes a byte of the input, and shows what it does.
    ///
    /// # Errors
    ///
    /// `out` fails.
    pub fn byte(
        &mut self,
        byte: u8,
        completions: &dyn Completions,
        out: &mut dyn Write,
    ) -> Result<Edit, fmt::Error> {
        let is_behind_return = core::mem::replace(&mut self.is_behind_return, byte == b'\r');
        if byte == b'\n' && is_behind_return {
            return Ok(Edit::Pending);
        }
        // No sequence has control characters: what was begun is given up.
        if self.keys != Keys::Plain && !byte.is_ascii_control() {
            return self.in_sequence(byte, out).map(|()| Edit::Pending);
        }
        self.keys = Keys::Plain;
        match byte {
            b'\r' | b'\n' => return self.finish(out),
            CONTROL_C => {
                out.write_str("^C\n")?;
                return Ok(Edit::Cancelled);
            }
            CONTROL_D if self.line.is_empty() => {
                out.write_str("^D\n")?;
                return Ok(Edit::End);
            }
            ESCAPE => self.keys = Keys::Escape,
            b'\t' => self.complete(completions, out)?,
            b' '..=b'~' => self.insert(byte, out)?,
            _ => self.control(byte, out)?,
        }
        Ok(Edit::Pending)
    }

    fn finish(&mut self, out: &mut dyn Write) -> Result<Edit, fmt::Error> {
        out.write_str("\n")?;
        self.history.push(&self.line);
        Ok(Edit::Line)
    }

    fn control(&mut self, byte: u8, out: &mut dyn Write) -> fmt::Result {
        let cursor = self.cursor;
        match byte {
            BACKSPACE | DELETE => self.take(cursor.saturating_sub(1)..cursor),
            CONTROL_D => self.take(cursor..cursor + 1),
            CONTROL_A => self.cursor = 0,
            CONTROL_B => self.cursor = cursor.saturating_sub(1),
            CONTROL_E => self.cursor = self.line.len(),
            CONTROL_F => self.cursor = (cursor + 1).min(self.line.len()),
            CONTROL_K => self.take(cursor..self.line.len()),
            CONTROL_N => self.recall(false),
            CONTROL_P => self.recall(true),
            CONTROL_U => self.take(0..cursor),
            CONTROL_W => self.take(self.line.word_before(cursor)..cursor),
            CONTROL_L => out.write_str("\x1b[2J\x1b[H")?,
            _ => return Ok(()),
        }
        self.redraw(out)
    }

    fn in_sequence(&mut self, byte: u8, out: &mut dyn Write) -> fmt::Result {
        let number = match (self.keys, byte) {
            (Keys::Escape, b'[') => {
                self.keys = Keys::Sequence(0);
                return Ok(());
            }
            (Keys::Escape, b'O') => {
                self.keys = Keys::Single;
                return Ok(());
            }
            (Keys::Sequence(number), b'0'..=b'9') => {
                let number = number.saturating_mul(10).saturating_add(byte - b'0');
                self.keys = Keys::Sequence(number);
                return Ok(());
            }
            // Parameters and intermediate bytes (ECMA-48, 5.4): of keys that are not known here.
            (Keys::Sequence(_), b' '..=b'?') => {
                self.keys = Keys::Sequence(u8::MAX);
                return Ok(());
            }
            (Keys::Sequence(number), _) => number,
            (Keys::Single, _) => 0,
            (Keys::Escape | Keys::Plain, _) => u8::MAX,
        };
        self.keys = Keys::Plain;
        let control = match (byte, number) {
            (b'A', 0) => CONTROL_P,
            (b'B', 0) => CONTROL_N,
            (b'C', 0) => CONTROL_F,
            (b'D', 0) => CONTROL_B,
            (b'H', 0) | (b'~', 1 | 7) => CONTROL_A,
            (b'F', 0) | (b'~', 4 | 8) => CONTROL_E,
            (b'~', 3) => CONTROL_D,
            _ => return Ok(()),
        };
        self.control(control, out)
    }

    fn insert(&mut self, byte: u8, out: &mut dyn Write) -> fmt::Result {
        if !self.line.insert(self.cursor, byte) {
            return out.write_str("\x07");
        }
        self.cursor += 1;
        let is_at_end = self.cursor == self.line.len();
        if is_at_end && self.cursor - self.first_shown < COLUMNS {
            return out.write_char(byte.into());
        }
        self.redraw(out)
    }

    fn take(&mut self, range: core::ops::Range<usize>) {
        let start = range.start;
        if self.line.remove(range) {
            self.cursor = start;
        }
    }

    fn recall(&mut self, is_older: bool) {
        if let Some(line) = self.history.recall(is_older, &self.line) {
            self.cursor = line.len();
            self.line = line;
        }
    }

    /// Completes the word before the cursor as far as all that fit agree, and shows these if
    /// that is no further.
    fn complete(&mut self, completions: &dyn Completions, out: &mut dyn Write) -> fmt::Result {
        let (before, _) = self.line.split(self.cursor);
        let start = before.rfind(' ').map_or(0, |space| space + 1);
        let (others, word) = before.split_at(start);
        let mut common = Common::new(word);
        completions.each(others, &mut |candidate| common.add(candidate));
        let Common { text, count, .. } = common;
        if count == 0 {
            return out.write_str("\x07");
        }
        let added = text.as_str().len() - word.len();
        if added == 0 && count > 1 {
            let (others, word) = (Line::of(others), Line::of(word));
            out.write_str("\n")?;
            let mut shown = Shown {
                out,
                count: 0,
                result: Ok(()),
            };
            completions.each(others.as_str(), &mut |candidate| {
                shown.add(candidate, word.as_str());
            });
            shown.result?;
            out.write_str(if count > MOST_SHOWN { "...\n" } else { "\n" })?;
            return self.redraw(out);
        }
        let at = word.len();
        let rest = Line::of(text.as_str().get(at..).unwrap_or_default());
        rest.as_str()
            .bytes()
            .try_for_each(|byte| self.insert(byte, out))?;
        let is_at_end = self.cursor == self.line.len();
        if count == 1 && is_at_end {
            self.insert(b' ', out)?;
        }
        Ok(())
    }

    /// Shows the line anew, or the part of it around the cursor, and puts the cursor where it is.
    fn redraw(&mut self, out: &mut dyn Write) -> fmt::Result {
        if self.cursor < self.first_shown || self.line.len() < COLUMNS {
            self.first_shown = 0;
        }
        if self.cursor - self.first_shown >= COLUMNS {
            self.first_shown = self.cursor + 1 - COLUMNS;
        }
        let last = self.line.len().min(self.first_shown + COLUMNS);
        let (shown, _) = self.line.split(last);
        let shown = shown.get(self.first_shown..).unwrap_or_default();
        write!(out, "\r{}{shown}\x1b[K", self.prompt)?;
        match last - self.cursor {
            0 => Ok(()),
            back => write!(out, "\x1b[{back}D"),
        }
    }
}

/// What all that fit a word begin with.
struct Common {
    word: Line,
    text: Line,
    count: usize,
}

impl Common {
    fn new(word: &str) -> Self {
        Self {
            word: Line::of(word),
            text: Line::of(word),
            count: 0,
        }
    }

    fn add(&mut self, candidate: &str) {
        // No line could hold others.
        if !candidate.starts_with(self.word.as_str()) || !Line::can_be(candidate) {
            return;
        }
        self.count += 1;
        if self.count == 1 {
            self.text = Line::of(candidate);
            return;
        }
        let same = self.text.as_str().bytes().zip(candidate.bytes());
        let agreed = same.take_while(|(a, b)| a == b).count();
        self.text = Line::of(candidate.get(..agreed).unwrap_or_default());
    }
}

/// The most words that are shown.
const MOST_SHOWN: usize = 64;

/// Words that fit are shown here.
struct Shown<'a> {
    out: &'a mut dyn Write,
    count: usize,
    result: fmt::Result,
}

impl Shown<'_> {
    fn add(&mut self, candidate: &str, word: &str) {
        if !candidate.starts_with(word) || !Line::can_be(candidate) {
            return;
        }
        self.count += 1;
        if self.result.is_ok() && self.count <= MOST_SHOWN {
            self.result = write!(self.out, "{candidate}  ");
        }
    }
}

const CONTROL_A: u8 = 0x01;
const CONTROL_B: u8 = 0x02;
/// What gives a line up, and on a machine that runs, asks for the monitor.
pub const CONTROL_C: u8 = 0x03;
const CONTROL_D: u8 = 0x04;
const CONTROL_E: u8 = 0x05;
const CONTROL_F: u8 = 0x06;
const BACKSPACE: u8 = 0x08;
const CONTROL_K: u8 = 0x0b;
const CONTROL_L: u8 = 0x0c;
const CONTROL_N: u8 = 0x0e;
const CONTROL_P: u8 = 0x10;
const CONTROL_U: u8 = 0x15;
const CONTROL_W: u8 = 0x17;
const ESCAPE: u8 = 0x1b;
const DELETE: u8 = 0x7f;

#[cfg(test)]
mod tests;
