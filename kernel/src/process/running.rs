//! Which process each core runs, for somebody who wants to know of every change.

use spin::Once;

use super::thread;
use crate::cpu::CoreBlock;
use crate::task;

/// Gets the number by which samples know the process that a core runs from now on; 0: none. Called on the
/// core, with interrupts off.
pub type OnChange = fn(&CoreBlock, u16);

static ON_CHANGE: Once<OnChange> = Once::new();

/// Has this called whenever a core begins to run another process, or none, in user mode or for it.
pub fn set_on_change(action: OnChange) {
    ON_CHANGE.call_once(|| action);
    task::set_on_switch(note);
}

/// The core runs the task with this number from now on, or none.
pub(super) fn note(core: &CoreBlock, task: Option<u16>) {
    if let Some(on_change) = ON_CHANGE.get() {
        let place = task.and_then(thread::place_of);
        on_change(core, place.map_or(0, |place| place.number));
    }
}
