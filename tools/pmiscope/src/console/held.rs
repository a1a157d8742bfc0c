//! What is typed before a guest has its prompt. Its kernel drops what comes while it boots.

use std::time::{Duration, Instant};

/// A guest that has written something and is silent for this long has another prompt, or none.
const SILENCE: Duration = Duration::from_secs(2);

/// Waits for a prompt in what a guest writes.
pub(super) struct Held {
    prompt: &'static str,
    /// The end of what it has written, which may be the begin of the prompt.
    end: Vec<u8>,
}

impl Held {
    pub(super) const fn until(prompt: &'static str) -> Self {
        Self {
            prompt,
            end: Vec::new(),
        }
    }

    /// Looks at what the guest has written; `active` is when that was. Returns true if it is to get what was
    /// typed.
    pub(super) fn is_over(&mut self, written: &[u8], active: Instant) -> bool {
        let prompt = self.prompt.as_bytes();
        self.end.extend(written);
        let has_prompt = self.end.windows(prompt.len()).any(|it| it == prompt);
        let is_silent = !self.end.is_empty() && active.elapsed() >= SILENCE;
        let kept = self.end.len().min(prompt.len() - 1);
        self.end.drain(..self.end.len() - kept);
        has_prompt || is_silent
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prompt_is_seen_in_pieces_and_silence_is_taken_for_another_one() {
        let now = Instant::now();
        let mut held = Held::until("ok> ");
        for (written, expected) in [("", false), ("booting\r\nok", false), ("> ", true)] {
            assert_eq!(held.is_over(written.as_bytes(), now), expected, "{written}");
        }
        let mut held = Held::until("ok> ");
        let Some(long_ago) = now.checked_sub(SILENCE) else {
            return;
        };
        // It has not begun yet.
        assert!(!held.is_over(b"", long_ago));
        assert!(!held.is_over(b"login: ", now));
        assert!(held.is_over(b"", long_ago));
    }
}
