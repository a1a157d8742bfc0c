//! The progress of a run: a bar on a terminal, else a line every few seconds.

use std::io::{self, IsTerminal as _};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};

use crate::output::say;
use crate::units::grouped;

/// Between two lines where there is no terminal.
const INTERVAL: Duration = Duration::from_secs(5);

pub(super) struct Progress {
    bar: Option<ProgressBar>,
    /// Nothing is shown: the terminal is somebody else's.
    is_hidden: bool,
    started: Instant,
    said: Instant,
}

impl Progress {
    /// Shows it, or, if it `is_hidden`, does not.
    pub(super) fn new(is_hidden: bool) -> Self {
        let has_bar = !is_hidden && io::stderr().is_terminal();
        let bar = has_bar.then(|| {
            let bar = ProgressBar::new_spinner().with_message("booting");
            bar.enable_steady_tick(Duration::from_millis(100));
            bar
        });
        let now = Instant::now();
        Self {
            bar,
            is_hidden,
            started: now,
            said: now,
        }
    }

    /// Sampling begins, with `total` samples to take.
    pub(super) fn begin(&mut self, total: u64) {
        self.started = Instant::now();
        if let Some(bar) = &self.bar {
            if total == 0 {
                // A run that counts writes its counts at its end.
                bar.set_message("counting");
                return;
            }
            let style =
                ProgressStyle::with_template("sampling {bar:32} {human_pos} of {human_len}, {msg}");
            bar.set_style(style.expect("the template is a constant"));
            bar.set_length(total);
        }
    }

    pub(super) fn update(&mut self, samples: u64, total: u64, lost: u64) {
        if total == 0 || self.is_hidden {
            return;
        }
        let message = || {
            let milliseconds = self.started.elapsed().as_millis().max(1);
            let rate = u128::from(samples) * 1000 / milliseconds;
            let rate = u64::try_from(rate).unwrap_or(u64::MAX);
            format!("{} a second, {} lost", grouped(rate), grouped(lost))
        };
        match &self.bar {
            Some(bar) => {
                bar.set_position(samples);
                bar.set_message(message());
            }
            None if self.said.elapsed() >= INTERVAL => {
                self.said = Instant::now();
                say!(
                    "pmiscope: {} of {} samples, {}",
                    grouped(samples),
                    grouped(total),
                    message()
                );
            }
            None => {}
        }
    }

    /// Prints a line without tearing the bar.
    pub(super) fn line(&self, text: &str) {
        match &self.bar {
            _ if self.is_hidden => {}
            Some(bar) => bar.suspend(|| say!("{text}")),
            None => say!("{text}"),
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}
