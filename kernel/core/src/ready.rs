//! The tasks of a core that are ready to run, and those that sleep.

use alloc::collections::VecDeque;
use alloc::vec::Vec;

/// A core's tasks, by their numbers. It never allocates where room was made before.
#[derive(Default)]
pub struct Ready {
    queue: VecDeque<u16>,
    /// With the time at which they are ready, as the time stamp counter says.
    sleepers: Vec<(u16, u64)>,
}

impl Ready {
    /// No task, and room for none.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            queue: VecDeque::new(),
            sleepers: Vec::new(),
        }
    }

    /// Makes room for `tasks` tasks.
    pub fn reserve(&mut self, tasks: usize) {
        self.queue.reserve_exact(tasks);
        self.sleepers.reserve_exact(tasks);
    }

    /// The task is ready: after those that were before it.
    pub fn push(&mut self, task: u16) {
        self.queue.push_back(task);
    }

    /// The task is ready at `wake_at`.
    pub fn sleep(&mut self, task: u16, wake_at: u64) {
        self.sleepers.push((task, wake_at));
    }

    /// Takes the task whose turn it is. Sleepers whose time has come by `now` stand
    /// behind those that are ready already, the longest asleep first.
    pub fn next(&mut self, now: u64) -> Option<u16> {
        let queue = &mut self.queue;
        self.sleepers.retain(|&(task, wake_at)| {
            let sleeps = wake_at > now;
            if !sleeps {
                queue.push_back(task);
            }
            sleeps
        });
        queue.pop_front()
    }

    /// Returns true if any task sleeps.
    #[must_use]
    pub fn has_sleepers(&self) -> bool {
        !self.sleepers.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with_room(tasks: usize) -> Ready {
        let mut ready = Ready::new();
        ready.reserve(tasks);
        ready
    }

    #[test]
    fn tasks_run_in_the_order_in_which_they_became_ready() {
        let mut ready = with_room(4);
        assert_eq!(ready.next(0), None);
        ready.push(1);
        ready.push(2);
        assert_eq!(ready.next(0), Some(1));
        ready.push(1);
        assert_eq!([ready.next(0), ready.next(0)], [Some(2), Some(1)]);
        assert_eq!(ready.next(u64::MAX), None);
    }

    #[test]
    fn a_sleeper_is_ready_when_its_time_has_come_and_not_before() {
        let mut ready = with_room(4);
        ready.sleep(7, 100);
        ready.sleep(8, 50);
        ready.push(1);
        assert_eq!(ready.next(49), Some(1));
        assert_eq!(ready.next(49), None);
        assert!(ready.has_sleepers());
        assert_eq!(ready.next(50), Some(8));
        assert_eq!(ready.next(99), None);
        ready.push(2);
        assert_eq!([ready.next(100), ready.next(100)], [Some(2), Some(7)]);
        assert!(!ready.has_sleepers());
    }

    #[test]
    fn what_was_made_room_for_is_not_allocated_again() {
        let mut ready = with_room(3);
        let room = (ready.queue.capacity(), ready.sleepers.capacity());
        for task in 0..3 {
            ready.sleep(task, 1);
        }
        while ready.next(1).is_some() {}
        assert_eq!((ready.queue.capacity(), ready.sleepers.capacity()), room);
    }
}
