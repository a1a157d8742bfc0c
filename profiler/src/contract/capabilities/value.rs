//! The words of a line, and the values in them.

use core::fmt;
use core::str::Split;

use super::Reason;
use crate::format::{Clock, ClockReference, Delivery, Source, Text};
use crate::pmu::counters::Counters;
use crate::pmu::detect::Interface;
use crate::pmu::event::Named;

/// A field whose value cannot be read.
pub(super) struct BadValue;

/// The words of a line that are still to be read, and its text.
#[derive(Clone)]
pub(super) struct Fields<'line> {
    words: Split<'line, char>,
    text: Option<&'line str>,
}

impl<'line> Fields<'line> {
    /// Of what follows the prefix.
    pub(super) fn new(line: &'line str) -> Self {
        // No word has a colon before a space.
        let (words, text) = match line.split_once(": ") {
            Some((words, text)) => (words, Some(text)),
            None => (line, None),
        };
        Self {
            words: words.split(' '),
            text,
        }
    }

    /// The next word.
    pub(super) fn word(&mut self) -> Option<&'line str> {
        self.words.next()
    }

    /// Reads the next word if it is this one. Returns true if it was.
    pub(super) fn flag(&mut self, word: &str) -> bool {
        let mut ahead = self.words.clone();
        let is_there = ahead.next() == Some(word);
        if is_there {
            self.words = ahead;
        }
        is_there
    }

    /// The value of the next word, which must have this key.
    pub(super) fn get<V: Value>(&mut self, key: &str) -> Option<V> {
        let value = self.word()?.strip_prefix(key)?.strip_prefix('=')?;
        V::parse(value)
    }

    /// The value of the next word if it has this key, and `None` if another word is there.
    ///
    /// # Errors
    ///
    /// The key is there, and its value cannot be read.
    pub(super) fn get_optional<V: Value>(&mut self, key: &str) -> Result<Option<V>, BadValue> {
        let mut words = self.words.clone();
        let next = words.next().and_then(|word| word.strip_prefix(key));
        match next.and_then(|rest| rest.strip_prefix('=')) {
            None => Ok(None),
            Some(_) => self.get(key).map(Some).ok_or(BadValue),
        }
    }

    /// Returns true if the value of the next word, which must have this key, is the second
    /// of two.
    pub(super) fn one_of(&mut self, key: &str, values: [&str; 2]) -> Option<bool> {
        let value = self.word()?.strip_prefix(key)?.strip_prefix('=')?;
        let index = values.iter().position(|&known| known == value)?;
        Some(index == 1)
    }

    /// Reads the reason, if the next word is `none`; the line ends with that.
    pub(super) fn none(&mut self) -> Option<Reason> {
        let mut ahead = self.clone();
        let why = ahead.flag("none").then(|| ahead.text()).flatten()?;
        *self = ahead;
        Some(why)
    }

    /// Reads the text behind the words, if it is one that could have been written.
    pub(super) fn text<const N: usize>(&mut self) -> Option<Text<N>> {
        let Some(text) = self.text.take() else {
            return Some(Text::EMPTY);
        };
        let read = Text::new(text);
        (!text.is_empty() && read.as_str() == text).then_some(read)
    }

    /// Returns true if nothing is left.
    pub(super) fn have_ended(&mut self) -> bool {
        self.words.next().is_none() && self.text.is_none()
    }
}

/// Writes what there is nothing of, and why.
pub(super) fn none(
    f: &mut fmt::Formatter<'_>,
    what: fmt::Arguments<'_>,
    why: &Reason,
) -> fmt::Result {
    write!(f, "{what} none")?;
    text(f, why.as_str())
}

/// Writes a text behind the words, if there is any.
pub(super) fn text(f: &mut fmt::Formatter<'_>, text: &str) -> fmt::Result {
    match text {
        "" => Ok(()),
        text => write!(f, ": {text}"),
    }
}

/// What stands behind a key.
pub(super) trait Value: Sized {
    /// The value that `text` is, and no other text is.
    fn parse(text: &str) -> Option<Self>;

    /// Writes it.
    fn write(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result;
}

/// A value, to be displayed.
pub(super) struct Show<'value, V>(&'value V);

/// The value as it stands in a line.
pub(super) const fn show<V: Value>(value: &V) -> Show<'_, V> {
    Show(value)
}

impl<V: Value> fmt::Display for Show<'_, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.write(f)
    }
}

/// A number, as it is displayed and no other way.
fn decimal<N: core::str::FromStr>(text: &str) -> Option<N> {
    let is_plain = text == "0" || !text.starts_with(['0', '+', '-']);
    text.parse().ok().filter(|_| is_plain)
}

fn by_name<V: core::str::FromStr>(name: &str) -> Option<V> {
    name.parse().ok()
}

/// Values that are displayed by themselves, and read by a function.
macro_rules! displayed {
    ($($type:ty: $parse:expr;)+) => {
        $(impl Value for $type {
            fn parse(text: &str) -> Option<Self> {
                $parse(text)
            }

            fn write(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        })+
    };
}

displayed! {
    u8: decimal;
    u32: decimal;
    u64: decimal;
    Clock: by_name;
    ClockReference: by_name;
    Delivery: by_name;
    Source: by_name;
}

impl Value for Named {
    fn parse(text: &str) -> Option<Self> {
        // Not by its other names.
        Self::from_name(text).filter(|event| event.name() == text)
    }

    fn write(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A number in hexadecimal, after `0x`.
pub(super) struct Hex(u64);

impl Hex {
    /// The number behind this key.
    pub(super) fn get(fields: &mut Fields<'_>, key: &str) -> Option<u64> {
        fields.get::<Self>(key).map(|Self(number)| number)
    }
}

impl Value for Hex {
    fn parse(text: &str) -> Option<Self> {
        let digits = text.strip_prefix("0x")?;
        let is_digit = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
        let is_plain = digits.bytes().all(is_digit) && (digits == "0" || !digits.starts_with('0'));
        let number = u64::from_str_radix(digits, 16).ok();
        number.filter(|_| is_plain).map(Self)
    }

    fn write(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#x}", self.0)
    }
}

impl Value for (u8, u8) {
    fn parse(text: &str) -> Option<Self> {
        let (first, second) = text.split_once('+')?;
        Some((decimal(first)?, decimal(second)?))
    }

    fn write(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}+{}", self.0, self.1)
    }
}

impl Value for Counters {
    fn parse(text: &str) -> Option<Self> {
        let (general, fixed) = text.split_once('+')?;
        let bits = |text: &str| u32::try_from(Hex::parse(text)?.0).ok();
        Some(Self {
            general: bits(general)?,
            fixed: bits(fixed)?,
        })
    }

    fn write(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#x}+{:#x}", self.general, self.fixed)
    }
}

impl Value for Interface {
    fn parse(text: &str) -> Option<Self> {
        match text {
            "amd-legacy" => Some(Self::AmdLegacy),
            "amd-core" => Some(Self::AmdCore),
            "amd-v2" => Some(Self::AmdV2),
            _ => decimal(text.strip_prefix("intel-")?).map(Self::Intel),
        }
    }

    fn write(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Intel(version) => write!(f, "intel-{version}"),
            Self::AmdLegacy => f.write_str("amd-legacy"),
            Self::AmdCore => f.write_str("amd-core"),
            Self::AmdV2 => f.write_str("amd-v2"),
        }
    }
}

/// A name of CPUID's.
impl Value for [u8; 12] {
    fn parse(text: &str) -> Option<Self> {
        let mut name = [0; 12];
        let mut length = 0;
        let mut rest = text.bytes();
        while let Some(byte) = rest.next() {
            let byte = match byte {
                b'%' => {
                    let digit = |byte: u8| match byte {
                        b'0'..=b'9' => Some(byte - b'0'),
                        b'a'..=b'f' => Some(byte - b'a' + 10),
                        _ => None,
                    };
                    let byte = digit(rest.next()?)? << 4 | digit(rest.next()?)?;
                    (!is_plain(byte)).then_some(byte)?
                }
                byte => is_plain(byte).then_some(byte)?,
            };
            *name.get_mut(length)? = byte;
            length += 1;
        }
        // Its zeros at the end are left out.
        let ends_well = length == 0 || name[length - 1] != 0;
        ends_well.then_some(name)
    }

    fn write(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let length = self
            .iter()
            .rposition(|&byte| byte != 0)
            .map_or(0, |n| n + 1);
        for &byte in &self[..length] {
            if is_plain(byte) {
                write!(f, "{}", char::from(byte))?;
            } else {
                write!(f, "%{byte:02x}")?;
            }
        }
        Ok(())
    }
}

/// Returns true if a byte of a name is written as it is. A colon is not: it begins the
/// line's text.
const fn is_plain(byte: u8) -> bool {
    byte.is_ascii_graphic() && byte != b'%' && byte != b':'
}
