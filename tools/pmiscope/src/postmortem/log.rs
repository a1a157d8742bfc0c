//! The last messages of a kernel's log, out of its memory.

use std::fmt::Write as _;

use kernel_core::log_ring::{self, Extent, Level, Message, Messages, RING_BYTES};
use kernel_core::postmortem::LOG_OFFSET;

use super::find::Dead;

/// Bytes that are read at a time.
const PAGE: usize = 4096;

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
