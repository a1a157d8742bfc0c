//! JSON.

use std::io;

use serde::Serialize;
use serde_json::Serializer;
use serde_json::ser::{CompactFormatter, Formatter, PrettyFormatter};

use super::terminal::is_unsafe;

/// A value as JSON, with an end of line. JSON need not escape all that a terminal obeys; this
/// does, and no reader sees a difference.
///
/// # Errors
///
/// Those of the value.
pub(crate) fn json(value: &impl Serialize) -> serde_json::Result<String> {
    let mut bytes = Vec::new();
    let formatter = Escaping(PrettyFormatter::default());
    let mut serializer = Serializer::with_formatter(&mut bytes, formatter);
    value.serialize(&mut serializer)?;
    bytes.push(b'\n');
    String::from_utf8(bytes).map_err(|error| serde::ser::Error::custom(error.utf8_error()))
}

/// The same on one line, and without an end of it, as a part of a larger text.
///
/// # Errors
///
/// Those of the value and of `out`.
pub(crate) fn compact_json(out: impl io::Write, value: &impl Serialize) -> serde_json::Result<()> {
    value.serialize(&mut Serializer::with_formatter(
        out,
        Escaping(CompactFormatter),
    ))
}

/// What is unsafe as `\u` and its UTF-16 code; all else as the formatter inside has it.
struct Escaping<F>(F);

/// Hands methods on to the formatter inside.
macro_rules! as_inside {
    ($($name:ident($($argument:ident: $type:ty)?);)*) => {
        $(fn $name<W: ?Sized + io::Write>(&mut self, out: &mut W $(, $argument: $type)?) -> io::Result<()> {
            self.0.$name(out $(, $argument)?)
        })*
    };
}

impl<F: Formatter> Formatter for Escaping<F> {
    as_inside! {
        begin_array();
        end_array();
        begin_array_value(first: bool);
        end_array_value();
        begin_object();
        end_object();
        begin_object_key(first: bool);
        begin_object_value();
        end_object_value();
    }

    fn write_string_fragment<W: ?Sized + io::Write>(
        &mut self,
        out: &mut W,
        fragment: &str,
    ) -> io::Result<()> {
        let mut rest = fragment;
        while let Some(at) = rest.find(is_unsafe) {
            let (safe, behind) = rest.split_at(at);
            out.write_all(safe.as_bytes())?;
            let mut behind = behind.chars();
            let unsafe_one = behind.next().unwrap_or_default();
            for code in unsafe_one.encode_utf16(&mut [0; 2]) {
                write!(out, "\\u{code:04x}")?;
            }
            rest = behind.as_str();
        }
        out.write_all(rest.as_bytes())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    #[test]
    fn no_reader_sees_a_difference() {
        let value = json!({
            "plain": "é 名 \"quoted\" \\",
            "esc\x1b": ["\0\n\t\x7f", "\u{9b}31m", "\u{202e}", "\u{e0001}\u{ffff}"],
            "empty": [{}, [], null, 1.5],
        });
        let text = super::json(&value).unwrap();
        assert_eq!(serde_json::from_str::<Value>(&text).unwrap(), value);
        assert!(text.contains(r#""\u009b31m""#), "{text}");
        assert!(text.contains(r#""\udb40\udc01\uffff""#), "{text}");
        let is_unsafe = |c: char| super::is_unsafe(c) && c != '\n';
        assert!(!text.contains(is_unsafe), "{text:?}");
        // What is safe is as serde_json has it.
        let safe = json!({"a": [1, {"b": "é"}], "c": "\\"});
        let expected = serde_json::to_string_pretty(&safe).unwrap() + "\n";
        assert_eq!(super::json(&safe).unwrap(), expected);
    }
}
