//! Requests from the host to the kernel while it runs, and the answers: some words of
//! the header page.
//!
//! One request is under way at a time. The host writes what it asks for, then the
//! request's number; the kernel answers by writing what came of it, then the same number.
//! Either side that dies leaves nothing that the other waits for with a lock: the host
//! gives up after a while, and the kernel takes the newest request only.

use core::fmt::{self, Write as _};
use core::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use crate::format::Text;
use crate::pmu::event::EventList;
use crate::settings::Settings;

/// Bytes of the text of a request or an answer.
const TEXT_BYTES: usize = 240;

/// A text in the control words.
pub type ControlText = Text<TEXT_BYTES>;

/// What the host asks of a kernel that samples.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[allow(clippy::large_enum_variant)] // without an allocator there is no box
pub enum Request {
    /// Go on sampling.
    Start,
    /// Sample nothing until told otherwise, and count nothing.
    Stop,
    /// Sample every so many events, those that have no period of their own.
    Period(u64),
    /// Count and sample these events from now on.
    Events(EventList),
}

/// Words that are no request.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum NoRequest {
    /// There is no such command.
    Command(u32),
    /// The period is none of [`Settings::PERIODS`].
    Period(u64),
    /// The text is no list of events.
    Events,
}

impl fmt::Display for NoRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Command(number) => write!(f, "there is no command {number}"),
            Self::Period(period) => write!(f, "{period} is no period"),
            Self::Events => f.write_str("the list of events cannot be read"),
        }
    }
}

impl core::error::Error for NoRequest {}

/// The words. All zero: nothing was asked for.
#[derive(Default)]
#[repr(C)]
pub struct Control {
    /// The number of the newest request, written last; 0: there was none.
    requested: AtomicU32,
    /// The number of the newest request that was answered, written last.
    answered: AtomicU32,
    /// What is asked for.
    command: AtomicU32,
    /// Whether the answer is a refusal, and the text its reason.
    refused: AtomicU32,
    /// Nothing is answered any more.
    closed: AtomicU32,
    period: AtomicU64,
    text: [AtomicU64; TEXT_BYTES / 8],
}

/// Why a request has no answer once the kernel takes none any more.
const CLOSED: &str = "the core that takes requests has its last sample: the run is ending";

mod command {
    pub(super) const START: u32 = 1;
    pub(super) const STOP: u32 = 2;
    pub(super) const PERIOD: u32 = 3;
    pub(super) const EVENTS: u32 = 4;
}

impl Control {
    /// Kernel: forgets everything, before a reader comes.
    pub(super) fn clear(&self) {
        for word in [
            &self.requested,
            &self.answered,
            &self.command,
            &self.refused,
            &self.closed,
        ] {
            word.store(0, Ordering::Relaxed);
        }
        self.period.store(0, Ordering::Relaxed);
        self.set_text(&ControlText::EMPTY);
    }

    /// Host: asks for something. Gives the request's number.
    ///
    /// # Errors
    ///
    /// The list of events is too long for the words, as text.
    pub fn request(&self, request: &Request) -> Result<u32, fmt::Error> {
        let number = self
            .requested
            .load(Ordering::Relaxed)
            .wrapping_add(1)
            .max(1);
        let command = match request {
            Request::Start => command::START,
            Request::Stop => command::STOP,
            Request::Period(period) => {
                self.period.store(*period, Ordering::Relaxed);
                command::PERIOD
            }
            Request::Events(events) => {
                self.set_text(&whole(events)?);
                command::EVENTS
            }
        };
        self.command.store(command, Ordering::Relaxed);
        self.requested.store(number, Ordering::Release);
        Ok(number)
    }

    /// Host: the answer to the request with this number, if it is there.
    #[must_use]
    pub fn answer(&self, number: u32) -> Option<Result<(), ControlText>> {
        // First: what was answered before stays answered.
        let is_closed = self.closed.load(Ordering::Acquire) != 0;
        if self.answered.load(Ordering::Acquire) != number {
            return match is_closed {
                true => Some(Err(Text::new(CLOSED))),
                false => None,
            };
        }
        Some(match self.refused.load(Ordering::Relaxed) {
            0 => Ok(()),
            _ => Err(self.text()),
        })
    }

    /// Kernel: whether there is a request without an answer.
    #[must_use]
    #[inline]
    pub fn is_asked(&self) -> bool {
        let requested = self.requested.load(Ordering::Relaxed);
        requested != self.answered.load(Ordering::Relaxed)
    }

    /// Kernel: the newest request and its number, if it was not answered yet.
    #[must_use]
    pub fn take(&self) -> Option<(u32, Result<Request, NoRequest>)> {
        let number = self.requested.load(Ordering::Acquire);
        (number != self.answered.load(Ordering::Relaxed)).then(|| (number, self.read()))
    }

    fn read(&self) -> Result<Request, NoRequest> {
        match self.command.load(Ordering::Relaxed) {
            command::START => Ok(Request::Start),
            command::STOP => Ok(Request::Stop),
            command::PERIOD => {
                let period = self.period.load(Ordering::Relaxed);
                let is_one = Settings::PERIODS.contains(&period);
                is_one
                    .then_some(Request::Period(period))
                    .ok_or(NoRequest::Period(period))
            }
            command::EVENTS => {
                let text = self.text();
                let events = EventList::parse(text.as_str());
                events.map(Request::Events).map_err(|_| NoRequest::Events)
            }
            other => Err(NoRequest::Command(other)),
        }
    }

    /// Kernel: answers the request with this number.
    pub fn reply(&self, number: u32, outcome: Result<(), &ControlText>) {
        if let Err(reason) = outcome {
            self.set_text(reason);
        }
        self.refused
            .store(u32::from(outcome.is_err()), Ordering::Relaxed);
        self.answered.store(number, Ordering::Release);
    }

    /// Kernel: takes no request any more, from now on. May be called wherever an NMI
    /// comes.
    pub fn close(&self) {
        self.closed.store(1, Ordering::Release);
    }

    fn set_text(&self, text: &ControlText) {
        let mut bytes = [0; TEXT_BYTES];
        let text = text.as_str().as_bytes();
        bytes[..text.len()].copy_from_slice(text);
        for (word, bytes) in self.text.iter().zip(bytes.as_chunks().0) {
            word.store(u64::from_le_bytes(*bytes), Ordering::Relaxed);
        }
    }

    /// The text up to its first zero, if it is one: the other side may have written
    /// anything.
    fn text(&self) -> ControlText {
        let mut bytes = [0; TEXT_BYTES];
        for (word, bytes) in self.text.iter().zip(bytes.as_chunks_mut().0) {
            *bytes = word.load(Ordering::Relaxed).to_le_bytes();
        }
        let end = bytes.iter().position(|&byte| byte == 0);
        let text = core::str::from_utf8(&bytes[..end.unwrap_or(TEXT_BYTES)]);
        Text::new(text.unwrap_or_default())
    }
}

/// A list of events as text, if all of it fits.
fn whole(events: &EventList) -> Result<ControlText, fmt::Error> {
    let mut text = ControlText::EMPTY;
    write!(text, "{events}")?;
    // What does not fit was cut.
    match EventList::parse(text.as_str()) {
        Ok(read) if read == *events => Ok(text),
        _ => Err(fmt::Error),
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn each_request_is_taken_once_and_answered() {
        let control = Control::default();
        assert!(!control.is_asked());
        assert_eq!(control.take(), None);
        let events = EventList::parse("cycles:k,cpu/event=0xc4,umask=0x20,period=500/u").unwrap();
        for request in [
            Request::Start,
            Request::Stop,
            Request::Period(123),
            Request::Events(events),
        ] {
            let number = control.request(&request).unwrap();
            assert!(control.is_asked());
            assert_eq!(control.answer(number), None);
            assert_eq!(control.take(), Some((number, Ok(request))));
            control.reply(number, Ok(()));
            assert_eq!(control.take(), None);
            assert!(!control.is_asked());
            assert_eq!(control.answer(number), Some(Ok(())));
        }
    }

    #[test]
    fn a_refusal_has_its_reason() {
        let control = Control::default();
        let number = control.request(&Request::Stop).unwrap();
        control.reply(number, Err(&Text::new("no such thing")));
        let reason = control.answer(number).unwrap().unwrap_err();
        assert_eq!(reason.as_str(), "no such thing");
    }

    #[test]
    fn what_comes_after_the_end_is_refused_and_what_was_answered_before_is_not() {
        let control = Control::default();
        let stop = control.request(&Request::Stop).unwrap();
        control.reply(stop, Ok(()));
        let start = control.request(&Request::Start).unwrap();
        assert_eq!(control.answer(start), None);
        control.close();
        assert_eq!(control.answer(stop), Some(Ok(())));
        let events = Request::Events(EventList::parse("cycles").unwrap());
        for late in [start, control.request(&events).unwrap()] {
            let reason = control.answer(late).unwrap().unwrap_err();
            assert_eq!(reason.as_str(), CLOSED);
        }
        control.clear();
        assert_eq!(control.answer(start), None);
    }

    #[test]
    fn words_that_are_no_request_are_refused() {
        let control = Control::default();
        control.request(&Request::Period(0)).unwrap();
        assert_eq!(control.take().unwrap().1, Err(NoRequest::Period(0)));
        control.command.store(9, Ordering::Relaxed);
        assert_eq!(control.take().unwrap().1, Err(NoRequest::Command(9)));
        control.command.store(command::EVENTS, Ordering::Relaxed);
        assert_eq!(control.take().unwrap().1, Err(NoRequest::Events));
    }

    #[test]
    fn a_list_that_does_not_fit_is_not_sent() {
        let one = "cpu/event=0x1c4,umask=0x20,edge,inv,cmask=255,period=1000000000/u";
        let long = EventList::parse(&[one; 8].join(",")).unwrap();
        let control = Control::default();
        assert!(control.request(&Request::Events(long)).is_err());
        assert!(!control.is_asked());
    }

    proptest! {
        #[test]
        fn any_words_are_a_request_or_none(
            command in 0..6_u32,
            period in prop_oneof![any::<u64>(), Settings::PERIODS],
            text in prop_oneof![
                any::<[u64; TEXT_BYTES / 8]>().prop_map(|words| {
                    words.iter().flat_map(|word| word.to_le_bytes()).collect()
                }),
                // What is a list, or is one but for a byte.
                prop::sample::select(&[
                    "cycles",
                    "cycles:k,instructions:u",
                    "cpu/event=0xc4,umask=0x20,edge,inv,cmask=9,period=500/u,ref-cycles",
                    "rc0,branches/period=100,counters=0x3/k",
                ][..]).prop_map(|list| list.as_bytes().to_vec()),
                ("[a-z0-9:/=,]{0,12}", prop::bool::ANY).prop_map(|(more, is_first)| {
                    let list = if is_first { "cycles:u," } else { "branches/period=9" };
                    [list.as_bytes(), more.as_bytes()].concat()
                }),
            ],
        ) {
            let control = Control::default();
            control.command.store(command, Ordering::Relaxed);
            control.period.store(period, Ordering::Relaxed);
            let mut bytes = [0; TEXT_BYTES];
            bytes[..text.len()].copy_from_slice(&text);
            for (word, bytes) in control.text.iter().zip(bytes.as_chunks().0) {
                word.store(u64::from_le_bytes(*bytes), Ordering::Relaxed);
            }
            control.requested.store(1, Ordering::Relaxed);
            let (number, taken) = control.take().unwrap();
            prop_assert_eq!(number, 1);
            // What was taken can be asked for, and is the same then. A list as it is
            // written anew may be too long.
            if let Ok(request) = taken {
                let again = Control::default();
                match again.request(&request) {
                    Ok(number) => prop_assert_eq!(again.take(), Some((number, Ok(request)))),
                    Err(_) => prop_assert!(matches!(request, Request::Events(_))),
                }
            }
        }
    }
}
