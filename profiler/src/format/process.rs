//! Processes of the user's, as a kernel announces them: the numbers by which records know them.

use core::sync::atomic::{AtomicU64, Ordering};

/// The most processes that a core announces.
pub const PROCESS_ROWS: usize = 86;

/// A process, by the number that is above the addresses of its code in records
/// ([`UserAddress::program`](crate::address::UserAddress::program)). A number of which nobody has
/// announced a process is that of a program.
///
/// ```
/// use profiler::format::process::{Process, ProcessWord};
///
/// let process = Process { number: 300, program: 2, pid: 41 };
/// let row = ProcessWord::default();
/// assert_eq!(row.load(), None);
/// row.store(process);
/// assert_eq!(row.load(), Some(process));
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Process {
    /// By which records know it: none of a program's.
    pub number: u16,
    /// Its program: the number of the boot module that it is from, from 1 on.
    pub program: u16,
    /// The number that its kernel knows it by.
    pub pid: u32,
}

/// A process in the page of a core's ring.
///
/// ```
/// use profiler::format::process::ProcessWord;
///
/// // None until the kernel stores one.
/// assert_eq!(ProcessWord::default().load(), None);
/// ```
#[derive(Default)]
#[repr(transparent)]
pub struct ProcessWord(AtomicU64);

impl ProcessWord {
    /// Writes a process.
    pub fn store(&self, process: Process) {
        let low = u64::from(process.number) | u64::from(process.program) << 16;
        self.0
            .store(low | u64::from(process.pid) << 32, Ordering::Relaxed);
    }

    /// The process; `None` if there is none.
    #[must_use]
    #[allow(clippy::cast_possible_truncation)] // each is shifted to where it is whole
    pub fn load(&self) -> Option<Process> {
        let word = self.0.load(Ordering::Relaxed);
        let process = Process {
            number: word as u16,
            program: (word >> 16) as u16,
            pid: (word >> 32) as u32,
        };
        (process.number != 0).then_some(process)
    }
}
