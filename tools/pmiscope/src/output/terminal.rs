//! Text for a terminal.

use std::borrow::Cow;
use std::fmt::{self, Write as _};
use std::io::{self, Write as _};

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
    let mut line = one_line(&message.to_string()).into_owned();
    line.push('\n');
    let _ = io::stderr().lock().write_all(line.as_bytes());
}

/// `text` as a part of one line: what could end the line, reprogram the terminal or change
/// the order of what is read is shown as its code.
pub(crate) fn one_line(text: &str) -> Cow<'_, str> {
    if !text.contains(is_unsafe) {
        return Cow::Borrowed(text);
    }
    let mut line = String::with_capacity(text.len() + 8);
    for c in text.chars() {
        match c {
            '\n' => line.push_str("\\n"),
            c if is_unsafe(c) => {
                let _ = write!(line, "\\u{{{:x}}}", u32::from(c));
            }
            c => line.push(c),
        }
    }
    Cow::Owned(line)
}

/// Returns true for control characters other than the tab, and for the characters of Unicode
/// that end a line or change the direction of writing (UAX 9, 2.1 to 2.7).
fn is_unsafe(c: char) -> bool {
    let is_control = c.is_control() && c != '\t';
    let is_hidden = matches!(
        c,
        '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{61c}'
    );
    is_control || is_hidden
}

#[cfg(test)]
mod tests {
    use super::one_line;

    #[test]
    fn what_a_terminal_would_obey_is_shown_as_its_code() {
        for (text, shown) in [
            ("plain é \t k::run<int>", "plain é \t k::run<int>"),
            ("esc\x1b[31mname", "esc\\u{1b}[31mname"),
            ("two\nlines\r", "two\\nlines\\u{d}"),
            (
                "\u{9b}1m\u{202e}txt\u{2028}",
                "\\u{9b}1m\\u{202e}txt\\u{2028}",
            ),
            ("\0\x7f", "\\u{0}\\u{7f}"),
        ] {
            assert_eq!(one_line(text), shown);
        }
    }
}
