//! Names as frames of folded stacks.
//!
//! The form is `outermost;…;innermost COUNT`, and has no escapes: what reads it splits at
//! semicolons and at the last blank (inferno, flamegraph.pl and speedscope), strips blanks at
//! the ends, takes a second number at the end for that of another profile, an ending such
//! as `_[k]` for a kind of code, and what begins with `#` for a comment. What would be lost so
//! is written as `\u{…}`, the character's number in hexadecimal, as is what a terminal would
//! obey. A name that is empty is `\u{}`; a backslash is escaped only before `u{`. So a name has
//! one spelling, and [`unescape`] gives it back.

use std::borrow::Cow;

use super::terminal::{is_unsafe, push_code};

/// Where the name is on its line.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// Anywhere: it may be followed by the count.
    Frame,
    /// Never last: a number at its end stays. `core 0` is one.
    Root,
}

/// The name, as a frame.
#[must_use]
pub fn escape(name: &str, place: Place) -> Cow<'_, str> {
    if name.is_empty() {
        return Cow::Borrowed("\\u{}");
    }
    let trimmed = name.trim();
    // The blanks at both ends; all of a name that has nothing else.
    let start = name.len() - name.trim_start().len();
    let end = start + trimmed.len();
    let number = match place {
        Place::Frame => blank_before_number(name),
        Place::Root => None,
    };
    let kind = bracket_of_kind(name);
    let is_escaped = |at: usize, c: char| {
        c == ';'
            || is_unsafe(c)
            || at < start
            || at >= end
            || Some(at) == number
            || Some(at) == kind
            || (at == 0 && c == '#')
            || (c == '\\' && name[at..].starts_with("\\u{"))
    };
    if !name.char_indices().any(|(at, c)| is_escaped(at, c)) {
        return Cow::Borrowed(name);
    }
    let mut frame = String::with_capacity(name.len() + 8);
    for (at, c) in name.char_indices() {
        if is_escaped(at, c) {
            push_code(&mut frame, c);
        } else {
            frame.push(c);
        }
    }
    Cow::Owned(frame)
}

/// The name of a frame.
#[must_use]
pub fn unescape(frame: &str) -> String {
    let mut name = String::with_capacity(frame.len());
    let mut rest = frame;
    while let Some((before, behind)) = rest.split_once("\\u{") {
        name += before;
        let Some((code, behind)) = behind.split_once('}') else {
            // Nothing that `escape` has written.
            name += "\\u{";
            rest = behind;
            continue;
        };
        let code = u32::from_str_radix(code, 16).ok();
        name.extend(code.and_then(char::from_u32));
        rest = behind;
    }
    name + rest
}

/// Where the blank is that a number at the end is behind.
fn blank_before_number(name: &str) -> Option<usize> {
    let before = name.trim_end_matches(|c: char| c.is_ascii_digit() || c == '.');
    let (at, c) = before.char_indices().next_back()?;
    (before.len() < name.len() && c.is_whitespace()).then_some(at)
}

/// Where the last bracket of an ending such as `_[k]` is.
fn bracket_of_kind(name: &str) -> Option<usize> {
    let inside = name.strip_suffix(']')?;
    let (at, _) = inside.char_indices().next_back()?;
    inside[..at].ends_with("_[").then_some(inside.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_reader_would_lose_is_escaped() {
        for (name, frame) in [
            ("kernel::run", "kernel::run"),
            ("<[u8; 4] as Hash>::hash", "<[u8\\u{3b} 4] as Hash>::hash"),
            ("operator new", "operator new"),
            ("name 12", "name\\u{20}12"),
            ("name 1.5", "name\\u{20}1.5"),
            ("name\u{a0}12", "name\\u{a0}12"),
            ("name12", "name12"),
            ("12", "12"),
            ("name (12)", "name (12)"),
            ("name 12 ", "name 12\\u{20}"),
            (" name", "\\u{20}name"),
            ("\u{3000}", "\\u{3000}"),
            ("", "\\u{}"),
            ("f_[k]", "f_[k\\u{5d}"),
            ("f[k]", "f[k]"),
            ("# f", "\\u{23} f"),
            ("f#", "f#"),
            ("two\nlines\tand\x1b[m", "two\\u{a}lines\\u{9}and\\u{1b}[m"),
            ("C:\\usr", "C:\\usr"),
            ("\\u{3b}", "\\u{5c}u{3b}"),
            ("\\\\u{}", "\\\\u{5c}u{}"),
        ] {
            assert_eq!(escape(name, Place::Frame), frame);
            assert_eq!(unescape(frame), name);
        }
        assert_eq!(escape("core 0", Place::Root), "core 0");
    }

    #[test]
    fn what_was_not_escaped_stays() {
        assert_eq!(unescape("a\\u{zz}b\\u{3b"), "ab\\u{3b");
    }
}
