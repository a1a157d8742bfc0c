//! The lines that were typed before, the last ones of them, in fixed memory.

use super::line::Line;

/// How many there are.
const LINES: usize = 16;

/// The last lines, and which of them is looked at.
#[derive(Debug)]
pub struct History {
    lines: [Line; LINES],
    /// Lines that there are.
    count: usize,
    /// Where the next one goes.
    next: usize,
    /// How far back the one is that is looked at; 0: none.
    back: usize,
    /// What was being typed meanwhile.
    draft: Line,
}

impl History {
    /// None.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            lines: [Line::new(); LINES],
            count: 0,
            next: 0,
            back: 0,
            draft: Line::new(),
        }
    }

    /// No line is looked at.
    pub fn begin(&mut self) {
        self.back = 0;
    }

    /// Keeps a line, if it says something and is not the last one again.
    pub fn push(&mut self, line: &Line) {
        let is_again = self.count > 0 && self.nth(1) == line;
        if line.as_str().trim().is_empty() || is_again {
            return;
        }
        self.lines[self.next] = *line;
        self.next = (self.next + 1) % LINES;
        self.count = (self.count + 1).min(LINES);
    }

    /// The next older line, or the next newer one, behind which is what was being typed, `typed`
    /// when the first one is looked at. `None` if there is no such line.
    pub fn recall(&mut self, is_older: bool, typed: &Line) -> Option<Line> {
        if self.back == 0 {
            self.draft = *typed;
        }
        let back = if is_older {
            self.back + 1
        } else {
            self.back.checked_sub(1)?
        };
        if back > self.count {
            return None;
        }
        self.back = back;
        Some(if back == 0 {
            self.draft
        } else {
            *self.nth(back)
        })
    }

    /// The line this far back, from 1 on.
    fn nth(&self, back: usize) -> &Line {
        &self.lines[(self.next + LINES - back) % LINES]
    }
}

impl Default for History {
    fn default() -> Self {
        Self::new()
    }
}
