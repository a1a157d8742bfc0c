//! The last messages of a kernel's log, out of its memory.

use std::fmt::Write as _;
use std::thread;
use std::time::Duration;

use kernel_core::log_ring::{self, Extent, Level, Message, Messages, RING_BYTES};
use kernel_core::postmortem::LOG_OFFSET;

use super::find::Dead;

/// Bytes that are read at a time.
const PAGE: usize = 4096;

/// How often the log of a kernel that runs is read, at most, and what lies between.
const LOOKS: usize = 5;
const PAUSE: Duration = Duration::from_millis(2);

/// The messages of a kernel that runs: what it is just writing is whole a moment later.
pub fn log_of_running(dead: &Dead<'_>) -> Messages {
    settled(|| log_of(dead))
}

/// The first look at which nothing is being written, or the last one.
fn settled(mut look: impl FnMut() -> Messages) -> Messages {
    let is_torn = |message: &Message| message.extent == Extent::Torn;
    let mut read = look();
    for _ in 1..LOOKS {
        if read.torn == 0 && !read.messages.iter().any(is_torn) {
            break;
        }
        thread::sleep(PAUSE);
        read = look();
    }
    read
}

/// The messages; as many as there are bytes of them.
pub fn log_of(dead: &Dead<'_>) -> Messages {
    let start = dead.root.image.block_physical.saturating_add(LOG_OFFSET);
    let mut bytes = vec![0; RING_BYTES];
    let mut read = 0;
    for (part, page) in bytes.chunks_mut(PAGE).zip(0_u64..) {
        let address = start.saturating_add(page * PAGE as u64);
        if !dead.memory.read(address, part) {
            break;
        }
        read += part.len();
    }
    log_ring::read(&bytes[..read])
}

/// A message as the port has it, and what it lacks.
pub(super) fn shown(message: &Message) -> String {
    let mut text = String::new();
    if message.level != Level::Raw {
        let _ = write!(text, "[{} core{}] ", message.level.name(), message.core);
    }
    if message.extent == Extent::NoStart {
        text.push_str("(its beginning is overwritten) …");
    }
    text.push_str(message.text.trim_end_matches('\n'));
    if message.extent == Extent::Torn {
        text.push_str("… (torn: its writer has not ended it)");
    }
    text
}

/// What cannot be read of a log, a line each.
pub(super) fn lacks(read: &Messages) -> Vec<String> {
    let mut lacks = Vec::new();
    if read.is_cut {
        lacks.push("the log is not all in the file".to_owned());
    }
    if read.torn > 0 {
        lacks.push(format!(
            "{} of the log cannot be read: written when the machine stopped, or damaged",
            parts(read.torn as u64)
        ));
    }
    lacks
}

/// The log, as the port has it, and what of it cannot be read.
#[must_use]
pub fn text(read: &Messages) -> (String, Vec<String>) {
    let mut text = String::new();
    if read.overwritten > 0 {
        let _ = writeln!(
            text,
            "({} before these were overwritten)",
            parts(read.overwritten)
        );
    }
    for message in &read.messages {
        for line in shown(message).lines() {
            let _ = writeln!(text, "{}", crate::output::line_of_log(line));
        }
    }
    (text, lacks(read))
}

fn parts(count: u64) -> String {
    let plural = if count == 1 { "" } else { "s" };
    format!("{count} part{plural}")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is read of a log of which this many looks find a message that is being written, and the
    /// number of looks.
    fn looks_at(torn: usize, in_slot: bool) -> (bool, usize) {
        let mut looks = 0;
        let read = settled(|| {
            looks += 1;
            let is_torn = looks <= torn;
            let extent = if is_torn && !in_slot {
                Extent::Torn
            } else {
                Extent::Whole
            };
            Messages {
                messages: vec![Message {
                    core: 0,
                    level: Level::Info,
                    time: 0,
                    text: String::new(),
                    extent,
                }],
                torn: usize::from(is_torn && in_slot),
                ..Messages::default()
            }
        });
        let is_whole = read.torn == 0 && read.messages[0].extent == Extent::Whole;
        (is_whole, looks)
    }

    #[test]
    fn a_log_that_is_being_written_is_looked_at_again() {
        for in_slot in [false, true] {
            for (torn, expected) in [(0, (true, 1)), (2, (true, 3)), (9, (false, LOOKS))] {
                assert_eq!(looks_at(torn, in_slot), expected, "{torn}, {in_slot}");
            }
        }
    }
}
