//! What a kernel and the host tool agree on beside the records: the command line, what a
//! machine can sample by, and the requests to a running kernel.
//!
//! * [`settings`]: the command line that describes a run.
//! * [`capabilities`]: the log lines that list a machine's sources and events.
//! * [`mailbox`]: requests to a kernel that samples, and its answers.
//! * [`task_number`]: a task and the lock that it holds, in one number.

pub mod capabilities;
pub mod mailbox;
pub mod settings;
pub mod task_number;
