//! How far the run is, on the screen. The first core draws it between two units of its
//! workload, where it is sampled as all else is: no handler waits for it, and no sample is lost
//! for it. Without a screen there is nothing of it.

use core::sync::atomic::{AtomicU64, Ordering};

use profiler::hw::tsc;

use crate::{profiling, screen, workload};

/// Ticks between two times that it is shown: some tenths of a second, a second where instructions
/// are counted.
const INTERVAL_TICKS: u64 = 1 << 30;

/// When it was shown last.
static SHOWN: AtomicU64 = AtomicU64::new(0);

/// Shows it from now on, if there is a screen. Before the workload begins.
pub fn start() {
    if screen::is_on() {
        workload::set_between(show_if_due);
    }
}

fn show_if_due() {
    let now = tsc::ticks();
    if now.wrapping_sub(SHOWN.load(Ordering::Relaxed)) >= INTERVAL_TICKS {
        SHOWN.store(now, Ordering::Relaxed);
        show();
    }
}

/// Shows it as it is now.
pub fn show() {
    if let Some(progress) = profiling::progress() {
        screen::write_status(format_args!("{progress}"));
    }
}
