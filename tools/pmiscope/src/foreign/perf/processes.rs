//! Processes: the numbers that addresses have of them, and what each runs.

use hashbrown::HashMap;

use crate::profile::ProcessEnd;

/// The last number of a process. Those behind it have one together, and programs the numbers behind that.
const LAST: u16 = 1 << 15;

/// The processes that were met: one that executes another program has another number from there on.
#[derive(Default)]
pub(super) struct Processes {
    /// By their pids.
    numbers: HashMap<i32, u16>,
    /// Those that have ended, or run another program: number, pid, and what they were called.
    ended: Vec<(u16, i32, String)>,
}

impl Processes {
    /// The number of a process.
    pub(super) fn number(&mut self, pid: i32) -> u16 {
        let next = self.numbers.len() + self.ended.len() + 1;
        let next = u16::try_from(next).unwrap_or(LAST);
        *self.numbers.entry(pid).or_insert(next.min(LAST))
    }

    /// What comes is of another program than what the process with this pid has run, or of another process.
    pub(super) fn end(&mut self, pid: i32, threads: &HashMap<i32, String>) {
        if let Some(number) = self.numbers.remove(&pid) {
            self.ended.push((number, pid, name(pid, threads)));
        }
    }

    /// The programs with their numbers, and which process runs which: it is called as its first thread is.
    pub(super) fn finish(
        self,
        threads: &HashMap<i32, String>,
    ) -> (Vec<(u16, String)>, Vec<ProcessEnd>) {
        let last = self.numbers.into_iter();
        let mut met: Vec<_> = last
            .map(|(pid, number)| (number, pid, name(pid, threads)))
            .chain(self.ended)
            .collect();
        met.sort_unstable();
        let (mut programs, mut processes) = (Vec::new(), Vec::new());
        let mut by_name: HashMap<String, u16> = HashMap::new();
        for (number, pid, name) in met {
            if number == LAST {
                programs.push((LAST, "(other processes)".to_owned()));
                break;
            }
            // There are fewer than processes.
            let next = u16::try_from(by_name.len()).map_or(u16::MAX, |it| LAST + 1 + it);
            let program = *by_name.entry(name.clone()).or_insert(next);
            if program == next {
                programs.push((program, name));
            }
            // One that has ended has -1.
            if let Ok(pid) = u32::try_from(pid) {
                processes.push(ProcessEnd {
                    number,
                    program,
                    pid,
                });
            } else {
                programs.push((number, format!(":{pid}")));
            }
        }
        (programs, processes)
    }
}

/// What a process is called.
fn name(pid: i32, threads: &HashMap<i32, String>) -> String {
    let name = threads.get(&pid).cloned();
    name.unwrap_or_else(|| format!(":{pid}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn called(pid: i32) -> (i32, String) {
        (pid, format!("program {}", pid % 2))
    }

    #[test]
    fn processes_of_one_name_run_one_program() {
        let mut all = Processes::default();
        assert_eq!([7, 9, 7, 8, 5].map(|pid| all.number(pid)), [1, 2, 1, 3, 4]);
        let threads = [7, 9, 8].into_iter().map(called).collect();
        let (programs, processes) = all.finish(&threads);
        let [odd, even, unnamed] = [LAST + 1, LAST + 2, LAST + 3];
        let expected = [(odd, "program 1"), (even, "program 0"), (unnamed, ":5")];
        let expected = expected.map(|(number, name)| (number, name.to_owned()));
        assert_eq!(programs, expected);
        let runs = processes.iter().map(|it| (it.number, it.program, it.pid));
        let expected = [(1, odd, 7), (2, odd, 9), (3, even, 8), (4, unnamed, 5)];
        assert_eq!(runs.collect::<Vec<_>>(), expected);
    }

    #[test]
    fn processes_that_have_no_number_are_one() {
        let mut all = Processes::default();
        for pid in 1..40_000 {
            all.number(pid);
        }
        assert_eq!(all.number(i32::from(LAST) - 1), LAST - 1);
        assert_eq!([50_000, 39_999].map(|pid| all.number(pid)), [LAST, LAST]);
        let (programs, processes) = all.finish(&(1..40_000).map(called).collect());
        assert_eq!(processes.len(), usize::from(LAST) - 1);
        let others = programs.iter().filter(|(number, _)| *number == LAST);
        assert_eq!(others.count(), 1);
        assert_eq!(programs.len(), 3);
    }
}
