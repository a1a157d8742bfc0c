//! That something goes on, where it takes longer than a second: on a terminal alone.

use std::io::{self, IsTerminal as _};
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use indicatif::ProgressBar;

/// What is shorter is not worth a line that comes and goes.
const PATIENCE: Duration = Duration::from_secs(1);

/// Between two pictures.
const TICK: Duration = Duration::from_millis(100);

/// Work that goes on until this is dropped.
pub(crate) struct Working(Option<(Sender<()>, JoinHandle<()>)>);

impl Working {
    /// Says what it is, once it has taken a second.
    pub(crate) fn new(what: &'static str) -> Self {
        Self::shown_if(io::stderr().is_terminal(), what)
    }

    fn shown_if(has_terminal: bool, what: &'static str) -> Self {
        let (sender, receiver) = mpsc::channel();
        let begun = Instant::now();
        // Without a thread it is only not shown.
        let thread = has_terminal.then(|| {
            thread::Builder::new().spawn(move || {
                let mut bar = None;
                let mut wait = PATIENCE;
                while receiver.recv_timeout(wait) == Err(RecvTimeoutError::Timeout) {
                    wait = TICK;
                    let bar = bar.get_or_insert_with(ProgressBar::new_spinner);
                    bar.set_message(format!("{what} ({} s)", begun.elapsed().as_secs()));
                    bar.tick();
                }
                if let Some(bar) = bar {
                    bar.finish_and_clear();
                }
            })
        });
        Self(thread.and_then(Result::ok).map(|thread| (sender, thread)))
    }
}

impl Drop for Working {
    fn drop(&mut self) {
        if let Some((sender, thread)) = self.0.take() {
            drop(sender);
            // What comes next is not to be torn.
            let _ = thread.join();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_work_is_over_at_once_and_nothing_is_shown_without_a_terminal() {
        assert!(Working::shown_if(false, "work").0.is_none());
        let begun = Instant::now();
        drop(Working::shown_if(true, "work"));
        assert!(begun.elapsed() < PATIENCE, "it waits for its thread");
    }
}
