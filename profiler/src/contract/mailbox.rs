//! Requests from the host to the kernel while it runs, and the answers: some words of
//! the header page.
//!
//! One request is under way at a time. The host writes the request, then its number; the
//! kernel writes the answer, then the same number. Neither side waits by a lock for one
//! that may have died: the host has a timeout, and the kernel takes the newest request
//! only.

use core::fmt::{self, Write as _};
use core::sync::atomic::Ordering;

use crate::contract::settings::Settings;
use crate::format::Text;
pub use crate::format::region::MailboxText;
use crate::format::region::MailboxWords;
use crate::pmu::event::EventList;

/// What the host asks of a kernel that samples.
///
/// ```
/// use profiler::contract::mailbox::Request;
/// use profiler::pmu::event::EventList;
///
/// let request = Request::Events(EventList::parse("cycles:k,instructions").unwrap());
/// assert_ne!(request, Request::Stop);
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[allow(clippy::large_enum_variant)] // without an allocator there is no box
pub enum Request {
    /// Resume sampling.
    Start,
    /// Sample and count nothing until [`Self::Start`].
    Stop,
    /// Sample every N events, where an event has no period of its own.
    Period(u64),
    /// Count and sample these events from now on.
    Events(EventList),
}

/// What the kernel answers.
///
/// ```
/// use profiler::contract::mailbox::Answer;
///
/// fn report(answer: Option<Answer>) -> String {
///     match answer {
///         None => "no answer yet".to_owned(),
///         Some(Answer::Done) => "done".to_owned(),
///         Some(Answer::Refused(reason)) => format!("refused: {}", reason.as_str()),
///     }
/// }
/// # assert_eq!(report(Some(Answer::Done)), "done");
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[allow(clippy::large_enum_variant)] // without an allocator there is no box
pub enum Answer {
    /// It did what was asked.
    Done,
    /// It did not, for this reason.
    Refused(MailboxText),
}

/// Words that are no request.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum RequestError {
    /// There is no such command.
    Command(u32),
    /// The period is none of [`Settings::PERIODS`].
    Period(u64),
    /// The text is no list of events.
    Events,
}

impl fmt::Display for RequestError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Command(number) => write!(f, "there is no command {number}"),
            Self::Period(period) => write!(f, "{period} is no period"),
            Self::Events => f.write_str("the list of events cannot be read"),
        }
    }
}

impl core::error::Error for RequestError {}

/// The mailbox of a region.
///
/// ```
/// use profiler::contract::mailbox::{Answer, Mailbox, Request};
/// use profiler::format::region::MailboxWords;
///
/// let words = MailboxWords::default(); // or those of a region: `Region::mailbox`
/// let (host, kernel) = (Mailbox::new(&words), Mailbox::new(&words));
///
/// let number = host.request(&Request::Period(500)).unwrap();
/// assert_eq!(host.answer(number), None);
///
/// let (taken, request) = kernel.take().unwrap();
/// assert_eq!((taken, request), (number, Ok(Request::Period(500))));
/// kernel.reply(taken, Ok(()));
/// assert_eq!(host.answer(number), Some(Answer::Done));
/// ```
#[derive(Clone, Copy)]
pub struct Mailbox<'region> {
    words: &'region MailboxWords,
}

/// The answer to every request after [`Mailbox::close`].
const CLOSED: &str = "the core that takes requests has its last sample: the run is ending";

mod command {
    pub(super) const START: u32 = 1;
    pub(super) const STOP: u32 = 2;
    pub(super) const PERIOD: u32 = 3;
    pub(super) const EVENTS: u32 = 4;
}

impl<'region> Mailbox<'region> {
    /// The mailbox in these words, as [`Region::mailbox`] returns them.
    ///
    /// [`Region::mailbox`]: crate::format::region::Region::mailbox
    #[must_use]
    pub const fn new(words: &'region MailboxWords) -> Self {
        Self { words }
    }

    /// Host: writes a request. Returns its number.
    ///
    /// # Errors
    ///
    /// The list of events is too long for the words, as text.
    pub fn request(&self, request: &Request) -> Result<u32, fmt::Error> {
        let number = self
            .words
            .requested
            .load(Ordering::Relaxed)
            .wrapping_add(1)
            .max(1);
        let command = match request {
            Request::Start => command::START,
            Request::Stop => command::STOP,
            Request::Period(period) => {
                self.words.period.store(*period, Ordering::Relaxed);
                command::PERIOD
            }
            Request::Events(events) => {
                self.words.set_text(&whole(events)?);
                command::EVENTS
            }
        };
        self.words.command.store(command, Ordering::Relaxed);
        self.words.requested.store(number, Ordering::Release);
        Ok(number)
    }

    /// Host: the answer to the request with this number, if it is there.
    #[must_use]
    pub fn answer(&self, number: u32) -> Option<Answer> {
        // First: what was answered before stays answered.
        let is_closed = self.words.closed.load(Ordering::Acquire) != 0;
        if self.words.answered.load(Ordering::Acquire) != number {
            return is_closed.then(|| Answer::Refused(Text::new(CLOSED)));
        }
        Some(match self.words.refused.load(Ordering::Relaxed) {
            0 => Answer::Done,
            _ => Answer::Refused(self.words.text()),
        })
    }

    /// Kernel: returns true if there is a request without an answer.
    #[must_use]
    #[inline]
    pub fn has_request(&self) -> bool {
        let requested = self.words.requested.load(Ordering::Relaxed);
        requested != self.words.answered.load(Ordering::Relaxed)
    }

    /// Kernel: the number of the newest request and the request, if it has no answer yet.
    #[must_use]
    pub fn take(&self) -> Option<(u32, Result<Request, RequestError>)> {
        let number = self.words.requested.load(Ordering::Acquire);
        (number != self.words.answered.load(Ordering::Relaxed)).then(|| (number, self.read()))
    }

    fn read(&self) -> Result<Request, RequestError> {
        match self.words.command.load(Ordering::Relaxed) {
            command::START => Ok(Request::Start),
            command::STOP => Ok(Request::Stop),
            command::PERIOD => {
                let period = self.words.period.load(Ordering::Relaxed);
                let is_one = Settings::PERIODS.contains(&period);
                is_one
                    .then_some(Request::Period(period))
                    .ok_or(RequestError::Period(period))
            }
            command::EVENTS => {
                let text = self.words.text();
                let events = EventList::parse(text.as_str());
                events
                    .map(Request::Events)
                    .map_err(|_| RequestError::Events)
            }
            other => Err(RequestError::Command(other)),
        }
    }

    /// Kernel: answers the request with this number.
    pub fn reply(&self, number: u32, outcome: Result<(), &MailboxText>) {
        if let Err(reason) = outcome {
            self.words.set_text(reason);
        }
        self.words
            .refused
            .store(u32::from(outcome.is_err()), Ordering::Relaxed);
        self.words.answered.store(number, Ordering::Release);
    }

    /// Kernel: refuses all requests from now on. May be called in an NMI's handler.
    pub fn close(&self) {
        self.words.closed.store(1, Ordering::Release);
    }
}

/// A list of events as text, if all of it fits.
fn whole(events: &EventList) -> Result<MailboxText, fmt::Error> {
    let mut text = MailboxText::EMPTY;
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
    use crate::format::region::MAILBOX_TEXT_BYTES as TEXT_BYTES;
    use proptest::prelude::*;

    fn refusal(answer: Option<Answer>) -> MailboxText {
        match answer {
            Some(Answer::Refused(reason)) => reason,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn each_request_is_taken_once_and_answered() {
        let words = MailboxWords::default();
        let mailbox = Mailbox::new(&words);
        assert!(!mailbox.has_request());
        assert_eq!(mailbox.take(), None);
        let events = EventList::parse("cycles:k,cpu/event=0xc4,umask=0x20,period=500/u").unwrap();
        for request in [
            Request::Start,
            Request::Stop,
            Request::Period(123),
            Request::Events(events),
        ] {
            let number = mailbox.request(&request).unwrap();
            assert!(mailbox.has_request());
            assert_eq!(mailbox.answer(number), None);
            assert_eq!(mailbox.take(), Some((number, Ok(request))));
            mailbox.reply(number, Ok(()));
            assert_eq!(mailbox.take(), None);
            assert!(!mailbox.has_request());
            assert_eq!(mailbox.answer(number), Some(Answer::Done));
        }
    }

    #[test]
    fn a_refusal_has_its_reason() {
        let words = MailboxWords::default();
        let mailbox = Mailbox::new(&words);
        let number = mailbox.request(&Request::Stop).unwrap();
        mailbox.reply(number, Err(&Text::new("no such thing")));
        let reason = refusal(mailbox.answer(number));
        assert_eq!(reason.as_str(), "no such thing");
    }

    #[test]
    fn what_comes_after_the_end_is_refused_and_what_was_answered_before_is_not() {
        let words = MailboxWords::default();
        let mailbox = Mailbox::new(&words);
        let stop = mailbox.request(&Request::Stop).unwrap();
        mailbox.reply(stop, Ok(()));
        let start = mailbox.request(&Request::Start).unwrap();
        assert_eq!(mailbox.answer(start), None);
        mailbox.close();
        assert_eq!(mailbox.answer(stop), Some(Answer::Done));
        let events = Request::Events(EventList::parse("cycles").unwrap());
        for late in [start, mailbox.request(&events).unwrap()] {
            let reason = refusal(mailbox.answer(late));
            assert_eq!(reason.as_str(), CLOSED);
        }
        words.clear();
        assert_eq!(mailbox.answer(start), None);
    }

    #[test]
    fn words_that_are_no_request_are_refused() {
        let words = MailboxWords::default();
        let mailbox = Mailbox::new(&words);
        mailbox.request(&Request::Period(0)).unwrap();
        assert_eq!(mailbox.take().unwrap().1, Err(RequestError::Period(0)));
        words.command.store(9, Ordering::Relaxed);
        assert_eq!(mailbox.take().unwrap().1, Err(RequestError::Command(9)));
        words.command.store(command::EVENTS, Ordering::Relaxed);
        assert_eq!(mailbox.take().unwrap().1, Err(RequestError::Events));
    }

    #[test]
    fn a_list_that_does_not_fit_is_not_sent() {
        let one = "cpu/event=0x1c4,umask=0x20,edge,inv,cmask=255,period=1000000000/u";
        let long = EventList::parse(&[one; 8].join(",")).unwrap();
        let words = MailboxWords::default();
        let mailbox = Mailbox::new(&words);
        assert!(mailbox.request(&Request::Events(long)).is_err());
        assert!(!mailbox.has_request());
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
            let words = MailboxWords::default();
        let mailbox = Mailbox::new(&words);
            words.command.store(command, Ordering::Relaxed);
            words.period.store(period, Ordering::Relaxed);
            let mut bytes = [0; TEXT_BYTES];
            bytes[..text.len()].copy_from_slice(&text);
            for (word, bytes) in words.text.iter().zip(bytes.as_chunks().0) {
                word.store(u64::from_le_bytes(*bytes), Ordering::Relaxed);
            }
            words.requested.store(1, Ordering::Relaxed);
            let (number, taken) = mailbox.take().unwrap();
            prop_assert_eq!(number, 1);
            // What was taken can be asked for, and is the same then. A list as it is
            // written anew may be too long.
            if let Ok(request) = taken {
                let words = MailboxWords::default();
                let again = Mailbox::new(&words);
                match again.request(&request) {
                    Ok(number) => prop_assert_eq!(again.take(), Some((number, Ok(request)))),
                    Err(_) => prop_assert!(matches!(request, Request::Events(_))),
                }
            }
        }
    }
}
