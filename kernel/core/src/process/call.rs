//! What a program can ask the kernel for: the numbers, the same in the kernel and in programs.
//!
//! A call has its number in `rax`, arguments in `rdi`, `rsi`, `rdx`, and its result in `rax`. It is
//! made by `syscall`, which changes `rcx` and `r11` as well, or by `int 0x80`, which does not. The
//! results from [`Refusal::FIRST`] on are refusals.

/// What can be asked for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u64)]
pub enum Call {
    /// Ends the process with this status.
    Exit = 0,
    /// Ends the thread; the process as well, with status 0, if it is the last one.
    EndThread = 1,
    /// Starts a thread at this address, with this stack pointer and this argument, on the core that
    /// the caller is on. Returns its number.
    StartThread = 2,
    /// Starts a process by the program whose name is at this address and has this length, with this
    /// argument. Returns the process's number.
    Spawn = 3,
    /// Waits until the child process with this number has ended. Returns its status.
    Wait = 4,
    /// Lets the other threads of the core run.
    Yield = 5,
    /// Waits for this many ticks of the time stamp counter.
    Sleep = 6,
    /// Waits to be woken if the 32-bit word at this address has this value.
    FutexWait = 7,
    /// Wakes as many threads as this that wait at this address. Returns how many.
    FutexWake = 8,
    /// Writes a text at this address, of this length, to the log.
    Log = 9,
    /// Maps so many bytes that can be written to. Returns where.
    Map = 10,
    /// Unmaps so many bytes from this address on.
    Unmap = 11,
    /// Returns the time stamp counter.
    Clock = 12,
    /// Continues on the core with this index.
    MoveTo = 13,
    /// Does nothing. Returns 0.
    Nothing = 14,
    /// Becomes the program whose name is at this address and has this length, with this argument: the
    /// process, whose only thread it is, stays. Returns only if it is refused.
    Exec = 15,
    /// Sends a message, a number below [`Refusal::FIRST`], to the process with this number.
    Send = 16,
    /// Waits for the next message to the process, and returns it.
    Receive = 17,
    /// Has a thread of the process interrupted for each message to it: a function at this address is
    /// called, with the message, and behind it the address to [`Self::Resume`] from. 0: not any more.
    Handle = 18,
    /// Continues with what was interrupted and lies at this address. Returns what that had in `rax`.
    Resume = 19,
    /// Ends the child process with this number, with the status [`KILLED`].
    Kill = 20,
    /// Returns the number of the process.
    Pid = 21,
}

impl Call {
    /// All of them, by their numbers.
    const ALL: [Self; 22] = [
        Self::Exit,
        Self::EndThread,
        Self::StartThread,
        Self::Spawn,
        Self::Wait,
        Self::Yield,
        Self::Sleep,
        Self::FutexWait,
        Self::FutexWake,
        Self::Log,
        Self::Map,
        Self::Unmap,
        Self::Clock,
        Self::MoveTo,
        Self::Nothing,
        Self::Exec,
        Self::Send,
        Self::Receive,
        Self::Handle,
        Self::Resume,
        Self::Kill,
        Self::Pid,
    ];

    /// The call with this number.
    #[must_use]
    pub fn of(number: u64) -> Option<Self> {
        Self::ALL.get(usize::try_from(number).ok()?).copied()
    }
}

/// Why a call was refused.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u64)]
pub enum Refusal {
    /// There is no such call.
    NoSuchCall = u64::MAX,
    /// An address that is none of the process's, or none that can be used so.
    BadAddress = u64::MAX - 1,
    /// An argument that makes no sense.
    BadArgument = u64::MAX - 2,
    /// There is no memory.
    NoMemory = u64::MAX - 3,
    /// There is no such program, process or core.
    NotFound = u64::MAX - 4,
    /// What was waited for is not so any more.
    Changed = u64::MAX - 5,
    /// There are too many already.
    TooMany = u64::MAX - 6,
}

impl Refusal {
    /// Results from here on are refusals.
    pub const FIRST: u64 = u64::MAX - 4095;
}

/// The status of a process that a fault has ended: this, and the vector in the lower bits.
pub const FAULTED: u64 = 1 << 32;

/// The status of a process that its parent has ended.
pub const KILLED: u64 = 1 << 33;
