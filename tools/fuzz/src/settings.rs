//! What people and the host write for a kernel.

use kernel_core::log_filter::LogFilter;
use profiler::contract::mailbox::{Mailbox, Request};
use profiler::contract::settings::Settings;
use profiler::format::region::MailboxWords;
use profiler::pmu::event::EventList;

/// A command line, a list of events, a filter of the log, and what `pmiscope ctl` sends.
///
/// # Panics
///
/// What is displayed is not parsed to the same, or a module makes messages that no part of the filter
/// lets through.
pub fn settings(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    match Settings::parse(text) {
        Ok(settings) => {
            let shown = settings.to_string();
            assert_eq!(Settings::parse(&shown).as_ref(), Ok(&settings), "{shown}");
        }
        Err(bad) => {
            assert!(text.contains(bad.word), "{bad}");
            assert!(!bad.to_string().is_empty());
        }
    }
    match EventList::parse(text) {
        Ok(events) => {
            let shown = events.to_string();
            assert_eq!(EventList::parse(&shown).as_ref(), Ok(&events), "{shown}");
            posted(&Request::Events(events));
        }
        Err(bad) => assert!(bad.at <= text.len(), "{bad}"),
    }
    match LogFilter::parse(text) {
        Ok(filter) => {
            for name in text.split([',', '=']) {
                let of_module = filter.of_module(&format!("kernel::{name}::inner"));
                assert!(of_module <= filter.least(), "{name}");
            }
        }
        Err(problem) => assert!(!problem.is_empty()),
    }
    if let Ok(period) = text.parse()
        && Settings::PERIODS.contains(&period)
    {
        posted(&Request::Period(period));
    }
}

/// What the host asks for is what the kernel takes.
fn posted(request: &Request) {
    let words = MailboxWords::default();
    let mailbox = Mailbox::new(&words);
    // A list may be too long for the words.
    if let Ok(number) = mailbox.request(request) {
        assert_eq!(mailbox.take(), Some((number, Ok(*request))));
    }
}
