//! What a guest says of its machine.

use pmiscope::internals::capabilities::{Capabilities, Document, text};
use profiler::contract::capabilities::Line;

/// Lines of a guest's log.
///
/// # Panics
///
/// What is displayed is not parsed to the same, or the JSON is none.
pub fn capabilities(data: &[u8]) {
    let log = String::from_utf8_lossy(data);
    let mut capabilities = Capabilities::default();
    for line in log.lines() {
        if let Some(parsed) = Line::parse(line) {
            let shown = parsed.to_string();
            assert_eq!(Line::parse(&shown), Some(parsed), "{shown}");
        }
        capabilities.read(&format!("[INFO core0] {line}"));
    }
    let list = text(&capabilities);
    assert!(
        !list.contains(|c: char| c.is_control() && c != '\n'),
        "{list:?}"
    );
    let document = Document::from(&capabilities);
    assert_eq!(document.incomplete, capabilities.incomplete());
}
