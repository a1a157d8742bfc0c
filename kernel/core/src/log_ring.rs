//! The last messages of the log, in memory of a fixed size, from which the tool takes them while
//! the kernel runs or when it is dead.
//!
//! A message is written as *parts*, each into the next of [`SLOTS`] slots. A slot is taken by one
//! addition to [`LogRing`]'s counter, so nobody waits for anybody: not an NMI's handler for what
//! it interrupted, and no core for one that was stopped while it wrote.
//!
//! | a reader finds | and knows |
//! |---|---|
//! | a stamp that is odd | the writer has not ended, or died |
//! | a checksum that is wrong | two have written: one was stopped for a whole round of the ring |
//! | no last part, or a number left out | the message is *torn* |
//! | no first part | later messages have overwritten it |

use alloc::collections::BTreeMap;
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;
use core::sync::atomic::{AtomicU64, Ordering, fence};

/// Parts that are kept.
pub const SLOTS: usize = 512;
/// Words of a slot.
const WORDS: usize = 16;
/// Words before the text.
const HEAD_WORDS: usize = 5;
/// Bytes of text in a part.
const TEXT_BYTES: usize = (WORDS - HEAD_WORDS) * 8;
/// Bytes of the counter, and of what keeps slots on cache lines of their own.
const COUNTER_BYTES: usize = 128;
/// Bytes of a [`LogRing`].
pub const RING_BYTES: usize = COUNTER_BYTES + SLOTS * WORDS * 8;

/// How important a message is, or what else it is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum Level {
    /// Text without a level: it belongs to no line of the log.
    Raw,
    /// As the crate `log` has them.
    Error,
    /// The same.
    Warn,
    /// The same.
    Info,
    /// The same.
    Debug,
    /// The same.
    Trace,
    /// Why the run ends.
    LastWords,
}

impl Level {
    const ALL: [Self; 7] = [
        Self::Raw,
        Self::Error,
        Self::Warn,
        Self::Info,
        Self::Debug,
        Self::Trace,
        Self::LastWords,
    ];

    /// As lines of the log begin.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Raw => "",
            Self::Error | Self::LastWords => "ERROR",
            Self::Warn => "WARN",
            Self::Info => "INFO",
            Self::Debug => "DEBUG",
            Self::Trace => "TRACE",
        }
    }
}

/// A part of a message.
///
/// Its words: a *stamp*, twice the part's number and one while it is written, twice the number
/// and two when it is whole; the number of the message's first part; the time; what
/// [`Head::word`] has; a checksum; text.
#[repr(C)]
struct Slot([AtomicU64; WORDS]);

/// The last messages.
#[repr(C, align(128))]
pub struct LogRing {
    /// Parts so far.
    parts: AtomicU64,
    _rest: [u64; COUNTER_BYTES / 8 - 1],
    slots: [Slot; SLOTS],
}

const _: () = assert!(size_of::<LogRing>() == RING_BYTES);

/// What a part says of itself and its message.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Head {
    core: u16,
    level: u8,
    /// Bytes of text.
    bytes: u8,
    /// The part's place in the message.
    place: u16,
    is_last: bool,
}

impl Head {
    fn word(self) -> u64 {
        u64::from(self.core)
            | u64::from(self.level) << 16
            | u64::from(self.bytes) << 24
            | u64::from(self.place) << 32
            | u64::from(self.is_last) << 48
    }

    #[allow(clippy::cast_possible_truncation)] // the fields are cut out
    fn of_word(word: u64) -> Self {
        Self {
            core: word as u16,
            level: (word >> 16) as u8,
            bytes: (word >> 24) as u8,
            place: (word >> 32) as u16,
            is_last: word >> 48 & 1 != 0,
        }
    }
}

/// A hash of a slot's words but the checksum: whatever single word is another's, it differs.
fn checksum(words: &[u64; WORDS]) -> u64 {
    let mut hash = 0xcbf2_9ce4_8422_2325_u64;
    for (place, word) in words.iter().enumerate() {
        if place != CHECK {
            hash = (hash ^ word)
                .wrapping_mul(0x0000_0100_0000_01b3)
                .rotate_left(23);
        }
    }
    hash
}

const STAMP: usize = 0;
const MESSAGE: usize = 1;
const TIME: usize = 2;
const HEAD: usize = 3;
const CHECK: usize = 4;

impl LogRing {
    /// A ring without a message.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            parts: AtomicU64::new(0),
            _rest: [0; COUNTER_BYTES / 8 - 1],
            slots: [const { Slot([const { AtomicU64::new(0) }; WORDS]) }; SLOTS],
        }
    }

    /// Begins a message of core `core`, at this time, by a clock of the kernel's choice.
    #[must_use]
    pub fn begin(&self, core: u32, level: Level, time: u64) -> Writer<'_> {
        Writer {
            ring: self,
            core: u16::try_from(core).unwrap_or(u16::MAX),
            level,
            time,
            first: None,
            place: 0,
            text: [0; TEXT_BYTES],
            used: 0,
        }
    }

    /// Writes a part. Returns its number.
    fn write(&self, first: Option<u64>, time: u64, head: Head, text: &[u8; TEXT_BYTES]) -> u64 {
        let number = self.parts.fetch_add(1, Ordering::Relaxed);
        let Slot(slot) = &self.slots[slot_of(number)];
        slot[STAMP].store(number << 1 | 1, Ordering::Relaxed);
        fence(Ordering::Release);
        let mut words = [0; WORDS];
        words[STAMP] = (number + 1) << 1;
        words[MESSAGE] = first.unwrap_or(number);
        words[TIME] = time;
        words[HEAD] = head.word();
        for (word, bytes) in words[HEAD_WORDS..].iter_mut().zip(text.chunks_exact(8)) {
            *word = bytes.try_into().map_or(0, u64::from_le_bytes);
        }
        words[CHECK] = checksum(&words);
        for (to, word) in slot.iter().zip(words).skip(1) {
            to.store(word, Ordering::Relaxed);
        }
        slot[STAMP].store(words[STAMP], Ordering::Release);
        number
    }
}

impl Default for LogRing {
    fn default() -> Self {
        Self::new()
    }
}

#[allow(clippy::cast_possible_truncation)] // a remainder
const fn slot_of(number: u64) -> usize {
    (number % SLOTS as u64) as usize
}

/// A message that is being written: torn until [`Writer::finish`].
pub struct Writer<'a> {
    ring: &'a LogRing,
    core: u16,
    level: Level,
    time: u64,
    /// The number of its first part.
    first: Option<u64>,
    place: u16,
    text: [u8; TEXT_BYTES],
    used: usize,
}

impl Writer<'_> {
    fn flush(&mut self, is_last: bool) {
        let head = Head {
            core: self.core,
            level: self.level as u8,
            bytes: u8::try_from(self.used).unwrap_or(0),
            place: self.place,
            is_last,
        };
        self.text[self.used..].fill(0);
        let number = self.ring.write(self.first, self.time, head, &self.text);
        self.first.get_or_insert(number);
        self.place = self.place.saturating_add(1);
        self.used = 0;
    }

    /// Ends the message, which is whole then.
    pub fn finish(mut self) {
        self.flush(true);
    }
}

impl fmt::Write for Writer<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for &byte in text.as_bytes() {
            if self.used == TEXT_BYTES {
                self.flush(false);
            }
            self.text[self.used] = byte;
            self.used += 1;
        }
        Ok(())
    }
}

/// Whether all of a message is there.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Extent {
    /// All is.
    Whole,
    /// Later messages have overwritten its beginning.
    NoStart,
    /// Its writer has not ended it, or a part of it is lost.
    Torn,
}

/// A message, or what is left of one.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Message {
    /// Whose.
    pub core: u16,
    /// What it is.
    pub level: Level,
    /// By the kernel's clock.
    pub time: u64,
    /// As much of it as there is.
    pub text: String,
    /// How much that is.
    pub extent: Extent,
}

/// What a ring has.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Messages {
    /// In the order in which they were begun.
    pub messages: Vec<Message>,
    /// Parts that later ones have overwritten.
    pub overwritten: u64,
    /// Slots that cannot be read: their writers have died, or write, or they are damaged.
    pub torn: usize,
    /// The bytes end before the ring does.
    pub is_cut: bool,
}

/// A part that was read.
struct Part {
    head: Head,
    time: u64,
    text: [u8; TEXT_BYTES],
}

/// Reads a ring from a copy of its bytes, or of as many of them as there are.
#[must_use]
pub fn read(bytes: &[u8]) -> Messages {
    let mut parts = BTreeMap::new();
    let mut read = Messages {
        is_cut: bytes.len() < RING_BYTES,
        ..Messages::default()
    };
    let words = |bytes: &[u8]| {
        let mut words = [0; WORDS];
        for (word, bytes) in words.iter_mut().zip(bytes.chunks_exact(8)) {
            *word = bytes.try_into().map_or(0, u64::from_le_bytes);
        }
        words
    };
    let slots = bytes.get(COUNTER_BYTES..).unwrap_or_default();
    for (place, slot) in slots.chunks_exact(WORDS * 8).take(SLOTS).enumerate() {
        let words = words(slot);
        if words == [0; WORDS] {
            continue;
        }
        match part(place, &words) {
            Some((key, part)) => _ = parts.insert(key, part),
            None => read.torn += 1,
        }
    }
    let oldest = parts.keys().map(|&(_, number)| number).min();
    read.overwritten = oldest.unwrap_or_default();
    let mut rest: Vec<_> = parts.into_iter().collect();
    while let Some(((first, _), _)) = rest.first() {
        let first = *first;
        let own = rest.partition_point(|((message, _), _)| *message == first);
        let own: Vec<_> = rest.drain(..own).map(|(_, part)| part).collect();
        read.messages.extend(message(&own));
    }
    read
}

/// A slot's part, if it is whole: the number of its message, and its own.
fn part(place: usize, words: &[u64; WORDS]) -> Option<((u64, u64), Part)> {
    let number = (words[STAMP] >> 1).checked_sub(1)?;
    let is_whole = words[STAMP] & 1 == 0 && words[CHECK] == checksum(words);
    let head = Head::of_word(words[HEAD]);
    let is_possible = slot_of(number) == place
        && words[MESSAGE] <= number
        && usize::from(head.bytes) <= TEXT_BYTES
        && usize::from(head.level) < Level::ALL.len();
    if !is_whole || !is_possible {
        return None;
    }
    let mut text = [0; TEXT_BYTES];
    for (to, word) in text.chunks_exact_mut(8).zip(&words[HEAD_WORDS..]) {
        to.copy_from_slice(&word.to_le_bytes());
    }
    let time = words[TIME];
    Some(((words[MESSAGE], number), Part { head, time, text }))
}

/// The message of which these parts are left, in their order.
fn message(parts: &[Part]) -> Option<Message> {
    let (start, end) = (parts.first()?, parts.last()?);
    let follow = parts
        .windows(2)
        .all(|two| two[0].head.place.checked_add(1) == Some(two[1].head.place));
    let extent = match (start.head.place, follow && end.head.is_last) {
        (_, false) => Extent::Torn,
        (0, true) => Extent::Whole,
        (_, true) => Extent::NoStart,
    };
    let bytes: Vec<u8> = parts
        .iter()
        .flat_map(|part| &part.text[..usize::from(part.head.bytes)])
        .copied()
        .collect();
    Some(Message {
        core: start.head.core,
        level: Level::ALL[usize::from(start.head.level)],
        time: start.time,
        text: String::from_utf8_lossy(&bytes).into_owned(),
        extent,
    })
}

#[cfg(test)]
mod tests {
    use core::fmt::Write as _;

    use super::*;

    /// The ring's bytes, as a dump of memory has them.
    fn bytes(ring: &LogRing) -> Vec<u8> {
        let counter = ring.parts.load(Ordering::Relaxed).to_le_bytes();
        let rest = [0; COUNTER_BYTES - 8];
        let words = ring.slots.iter().flat_map(|Slot(words)| words);
        let words = words.flat_map(|word| word.load(Ordering::Relaxed).to_le_bytes());
        counter.into_iter().chain(rest).chain(words).collect()
    }

    fn say(ring: &LogRing, core: u32, text: &str) {
        let mut writer = ring.begin(core, Level::Info, 7);
        writer.write_str(text).unwrap();
        writer.finish();
    }

    fn texts(read: &Messages) -> Vec<(&str, Extent)> {
        let texts = read.messages.iter();
        texts.map(|it| (it.text.as_str(), it.extent)).collect()
    }

    #[test]
    fn messages_come_back_in_order_and_whole() {
        let ring = Box::new(LogRing::new());
        assert_eq!(read(&bytes(&ring)), Messages::default());
        let long = "long, ".repeat(100);
        // Begun first, ended last: its parts lie between others.
        let mut slow = ring.begin(3, Level::LastWords, 5);
        slow.write_str(&long[..200]).unwrap();
        say(&ring, 0, "one");
        say(&ring, 1, "");
        slow.write_str(&long[200..]).unwrap();
        say(&ring, 2, "éèà");
        slow.finish();
        let read = read(&bytes(&ring));
        let whole = |text| (text, Extent::Whole);
        assert_eq!(
            texts(&read),
            [whole(&*long), whole("one"), whole(""), whole("éèà")]
        );
        let first = &read.messages[0];
        assert_eq!(
            (first.core, first.level, first.time),
            (3, Level::LastWords, 5)
        );
        assert_eq!((read.overwritten, read.torn, read.is_cut), (0, 0, false));
    }

    #[test]
    fn of_more_messages_than_there_is_room_for_the_last_stay() {
        let ring = Box::new(LogRing::new());
        say(&ring, 0, &"x".repeat(TEXT_BYTES * 2));
        for number in 0..SLOTS - 1 {
            say(&ring, 0, &format!("{number}"));
        }
        let read = read(&bytes(&ring));
        assert_eq!(read.overwritten, 1);
        let rest = "x".repeat(TEXT_BYTES);
        assert_eq!(
            texts(&read)[..2],
            [(&*rest, Extent::NoStart), ("0", Extent::Whole)]
        );
        assert_eq!(texts(&read).last(), Some(&("510", Extent::Whole)));
        assert_eq!(read.messages.len(), SLOTS);
    }

    #[test]
    fn a_writer_that_dies_leaves_a_torn_message() {
        let ring = Box::new(LogRing::new());
        say(&ring, 0, "before");
        let mut dies = ring.begin(1, Level::Info, 0);
        dies.write_str(&"y".repeat(TEXT_BYTES + 1)).unwrap();
        // It is not finished.
        say(&ring, 0, "after");
        let read_all = read(&bytes(&ring));
        let written = "y".repeat(TEXT_BYTES);
        assert_eq!(
            texts(&read_all),
            [
                ("before", Extent::Whole),
                (&*written, Extent::Torn),
                ("after", Extent::Whole)
            ]
        );
        // In the middle of a part: all that is known is that there was one.
        let Slot(slot) = &ring.slots[2];
        slot[STAMP].store(2 << 1 | 1, Ordering::Relaxed);
        let read = read(&bytes(&ring));
        assert_eq!(texts(&read).len(), 2);
        assert_eq!(read.torn, 1);
    }

    #[test]
    fn no_byte_can_change_unseen() {
        let ring = Box::new(LogRing::new());
        say(&ring, 0, &"z".repeat(TEXT_BYTES * 2));
        say(&ring, 1, "other");
        let whole = bytes(&ring);
        let expected = read(&whole);
        for at in COUNTER_BYTES..COUNTER_BYTES + 3 * WORDS * 8 {
            let mut changed = whole.clone();
            changed[at] ^= 0x10;
            let read = read(&changed);
            assert_eq!(read.torn, 1, "byte {at}");
            let is_as_it_was = |message| expected.messages.contains(message);
            let mut whole = read.messages.iter().filter(|it| it.extent == Extent::Whole);
            assert!(whole.all(is_as_it_was), "byte {at}: {read:?}");
        }
    }

    #[test]
    fn a_copy_that_is_cut_has_what_it_has() {
        let ring = Box::new(LogRing::new());
        (0..3).for_each(|number| say(&ring, 0, &format!("{number}")));
        let all = bytes(&ring);
        for length in 0..COUNTER_BYTES + 5 * WORDS * 8 {
            let read = read(&all[..length]);
            let whole = length.saturating_sub(COUNTER_BYTES) / (WORDS * 8);
            assert_eq!(read.messages.len(), whole.min(3), "{length} bytes");
            assert!(read.is_cut);
        }
    }

    #[test]
    fn many_write_at_once_and_each_message_is_whole_or_seen_to_be_torn() {
        let ring = Box::new(LogRing::new());
        std::thread::scope(|scope| {
            for core in 0..4 {
                let ring = &ring;
                scope.spawn(move || {
                    for number in 0..200 {
                        say(ring, core, &format!("{core}:{number}:").repeat(20));
                    }
                });
            }
        });
        let read = read(&bytes(&ring));
        for message in read.messages.iter().filter(|it| it.extent == Extent::Whole) {
            let (unit, _) = message.text.split_at(message.text.len() / 20);
            assert_eq!(message.text, unit.repeat(20));
            assert!(unit.starts_with(&format!("{}:", message.core)));
        }
    }
}
