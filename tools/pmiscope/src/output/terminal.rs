//! Text for a terminal.

use std::borrow::Cow;
use std::fmt::{self, Write as _};
use std::io::{self, Write as _};

use unicode_width::UnicodeWidthChar as _;

/// Writes a line to the standard error, formatted as by `format!`: see [`to_stderr`].
macro_rules! say {
    ($($arguments:tt)*) => {
        $crate::output::to_stderr(format_args!($($arguments)*))
    };
}
pub(crate) use say;

/// Writes one line to the standard error. Whoever read it may be gone (`2>&1 | head -1`):
/// what nobody reads ends nothing.
pub(crate) fn to_stderr(message: fmt::Arguments<'_>) {
    let mut line = line_of_log(&message.to_string()).into_owned();
    line.push('\n');
    let _ = io::stderr().lock().write_all(line.as_bytes());
}

/// `text` as a part of one line: what could end the line, reprogram the terminal, change the
/// order of what is read, or not be seen, is shown as its code.
pub(crate) fn one_line(text: &str) -> Cow<'_, str> {
    escape(text, is_unsafe)
}

/// `text` as a line that has no columns: its tabs stay.
pub(crate) fn line_of_log(text: &str) -> Cow<'_, str> {
    escape(text, |c| is_unsafe(c) && c != '\t')
}

/// The columns that a text from [`one_line`] takes.
pub(crate) fn width(text: &str) -> usize {
    text.chars().map(width_of).sum()
}

/// The columns that a character of it takes.
pub(crate) fn width_of(c: char) -> usize {
    c.width().unwrap_or(0)
}

/// A text from [`one_line`], and blanks up to so many columns.
pub(crate) fn padded(text: &str, columns: usize) -> String {
    let blanks = columns.saturating_sub(width(text));
    format!("{text}{:blanks$}", "")
}

fn escape(text: &str, is_escaped: impl Fn(char) -> bool) -> Cow<'_, str> {
    if !text.contains(&is_escaped) {
        return Cow::Borrowed(text);
    }
    let mut line = String::with_capacity(text.len() + 8);
    for c in text.chars() {
        match c {
            c if !is_escaped(c) => line.push(c),
            '\n' => line.push_str("\\n"),
            '\t' => line.push_str("\\t"),
            c => push_code(&mut line, c),
        }
    }
    Cow::Owned(line)
}

/// Appends a character as its code, such as `\u{1b}`.
pub(super) fn push_code(text: &mut String, c: char) {
    let _ = write!(text, "\\u{{{:x}}}", u32::from(c));
}

/// Returns true for control characters, for the characters of Unicode that end a line, change
/// the direction of writing (UAX 9, 2.1 to 2.7) or have no shape (its property
/// `Default_Ignorable_Code_Point`, and the blank of Braille), and for what is no character of
/// XML (1.0, 2.2).
pub(super) fn is_unsafe(c: char) -> bool {
    let is_hidden = matches!(
        c,
        '\u{ad}'
            | '\u{34f}'
            | '\u{61c}'
            | '\u{115f}'..='\u{1160}'
            | '\u{17b4}'..='\u{17b5}'
            | '\u{180b}'..='\u{180f}'
            | '\u{200b}'..='\u{200f}'
            | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}'
            | '\u{2800}'
            | '\u{3164}'
            | '\u{fe00}'..='\u{fe0f}'
            | '\u{feff}'
            | '\u{ffa0}'
            | '\u{fff0}'..='\u{fffb}'
            | '\u{fffe}'..='\u{ffff}'
            | '\u{1bca0}'..='\u{1bca3}'
            | '\u{1d173}'..='\u{1d17a}'
            | '\u{e0000}'..='\u{e0fff}'
    );
    c.is_control() || is_hidden
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_terminal_would_obey_is_shown_as_its_code() {
        for (text, shown) in [
            ("plain é 名 k::run<int>", "plain é 名 k::run<int>"),
            ("esc\x1b[31mname", "esc\\u{1b}[31mname"),
            ("two\nlines\r\tand a tab", "two\\nlines\\u{d}\\tand a tab"),
            (
                "\u{9b}1m\u{202e}txt\u{2028}",
                "\\u{9b}1m\\u{202e}txt\\u{2028}",
            ),
            ("\0\x7f\u{ffff}", "\\u{0}\\u{7f}\\u{ffff}"),
            ("zero\u{200b}width", "zero\\u{200b}width"),
            (
                "a\u{34f}\u{115f}\u{3164}\u{ffa0}\u{2800}b",
                "a\\u{34f}\\u{115f}\\u{3164}\\u{ffa0}\\u{2800}b",
            ),
            (
                "a\u{180b}\u{fe0f}\u{1d173}\u{e01ef}b",
                "a\\u{180b}\\u{fe0f}\\u{1d173}\\u{e01ef}b",
            ),
        ] {
            assert_eq!(one_line(text), shown);
            assert_eq!(one_line(shown), shown, "once is enough");
        }
        assert_eq!(line_of_log("a\tb\x1b"), "a\tb\\u{1b}");
    }

    #[test]
    fn columns_are_those_of_the_terminal() {
        for (text, columns) in [("abc", 3), ("名前", 4), ("e\u{301}", 1)] {
            assert_eq!(width(text), columns, "{text}");
            let padded = padded(text, 6);
            assert_eq!(padded.trim_end(), text);
            assert_eq!(width(&padded), 6, "{text}");
        }
        assert_eq!(padded("abcdefg", 6), "abcdefg");
    }
}
