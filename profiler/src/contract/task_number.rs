//! A task and the lock that it holds, in the one number of a sample's task.
//!
//! A kernel may name its locks behind its tasks, each with [`LOCK`] before it, among the names that a
//! run's description has. A sample's number is then one of these:
//!
//! | number | |
//! |---|---|
//! | of a task's name | that task, which holds no lock |
//! | of a lock's name | that lock is held; the task is not known |
//! | [`MAX_TASKS`] + lock × tasks + task | that task holds that lock |
//!
//! with locks counted from the first one's name on.

use crate::format::description::MAX_TASKS;

/// What the name of a lock begins with.
pub const LOCK: &str = "lock: ";

/// The numbers that a kernel's samples have.
///
/// ```
/// use profiler::contract::task_number::TaskNumbers;
///
/// // Tasks 0, 1 and 2; the names of locks follow.
/// let numbers = TaskNumbers { tasks: 3 };
/// let number = numbers.with_lock(2, 1);
/// assert_eq!((numbers.task(number), numbers.lock(number)), (2, Some(1)));
/// assert_eq!((numbers.task(2), numbers.lock(2)), (2, None));
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct TaskNumbers {
    /// The names before the first of a lock.
    pub tasks: u16,
}

#[allow(clippy::cast_possible_truncation)] // there are some
const FIRST_OF_BOTH: u16 = MAX_TASKS as u16;

impl TaskNumbers {
    /// Those of a run with these names; `None` if it names no locks.
    #[must_use]
    pub fn of_names<'a>(names: impl IntoIterator<Item = &'a str>) -> Option<Self> {
        let mut names = (0..).zip(names);
        let (tasks, _) = names.find(|(_, name)| name.starts_with(LOCK))?;
        (tasks > 0).then_some(Self { tasks })
    }

    /// The number of the task of `number`, which takes a lock while it may hold another one.
    #[must_use]
    pub const fn with_lock(self, number: u16, lock: u16) -> u16 {
        FIRST_OF_BOTH + lock * self.tasks + self.task(number)
    }

    /// The number of the task's name; of a lock that is there alone, of its own.
    #[must_use]
    pub const fn task(self, number: u16) -> u16 {
        match number.checked_sub(FIRST_OF_BOTH) {
            Some(both) => both % self.tasks,
            None => number,
        }
    }

    /// The lock that is held, counted from the first one's name on.
    #[must_use]
    pub const fn lock(self, number: u16) -> Option<u16> {
        match number.checked_sub(FIRST_OF_BOTH) {
            Some(both) => Some(both / self.tasks),
            None => number.checked_sub(self.tasks),
        }
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn each_task_with_each_lock_has_a_number_of_its_own() {
        let numbers = TaskNumbers { tasks: 14 };
        let mut expected = FIRST_OF_BOTH;
        for lock in 0..9 {
            for task in 0..14 {
                let number = numbers.with_lock(task, lock);
                assert_eq!(number, expected);
                assert_eq!(numbers.task(number), task);
                assert_eq!(numbers.lock(number), Some(lock));
                // One that is taken within it.
                assert_eq!(numbers.with_lock(number, 3), numbers.with_lock(task, 3));
                expected += 1;
            }
        }
        for number in 0..FIRST_OF_BOTH {
            assert_eq!(numbers.task(number), number);
            assert_eq!(numbers.lock(number), number.checked_sub(14));
        }
    }

    #[test]
    fn names_say_whether_there_are_locks() {
        let of = |names: &[&'static str]| TaskNumbers::of_names(names.iter().copied());
        assert_eq!(
            of(&["kernel", "a", "lock: x", ""]),
            Some(TaskNumbers { tasks: 2 })
        );
        assert_eq!(of(&["kernel", "locksmith", "", ""]), None);
        assert_eq!(of(&["lock: x"]), None);
        assert_eq!(of(&[]), None);
    }
}
