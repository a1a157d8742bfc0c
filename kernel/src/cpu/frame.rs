//! What an entry stub leaves on the stack: the interrupted registers.

use core::fmt;

/// The interrupted code's registers, as the stubs in `trap::entry` push them.
///
/// `rbp` comes first: while a handler runs, the frame pointer points here, so
/// what looks like a saved frame pointer is the interrupted code's own.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct TrapFrame {
    pub rbp: u64,
    pub rax: u64,
    pub rbx: u64,
    pub rcx: u64,
    pub rdx: u64,
    pub rsi: u64,
    pub rdi: u64,
    pub r8: u64,
    pub r9: u64,
    pub r10: u64,
    pub r11: u64,
    pub r12: u64,
    pub r13: u64,
    pub r14: u64,
    pub r15: u64,
    /// Which gate was taken.
    pub vector: u64,
    /// What the processor pushed, or 0 for vectors that have none.
    pub error_code: u64,
    pub rip: u64,
    pub cs: u64,
    pub rflags: u64,
    pub rsp: u64,
    pub ss: u64,
}

impl fmt::Display for TrapFrame {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let rows = [
            [("rip", self.rip), ("rsp", self.rsp), ("rbp", self.rbp)],
            [("rax", self.rax), ("rbx", self.rbx), ("rcx", self.rcx)],
            [("rdx", self.rdx), ("rsi", self.rsi), ("rdi", self.rdi)],
            [("r8 ", self.r8), ("r9 ", self.r9), ("r10", self.r10)],
            [("r11", self.r11), ("r12", self.r12), ("r13", self.r13)],
            [("r14", self.r14), ("r15", self.r15), ("rfl", self.rflags)],
        ];
        for row in rows {
            for (name, value) in row {
                write!(f, "  {name} {value:016x}")?;
            }
            f.write_str("\n")?;
        }
        let Self {
            cs, ss, error_code, ..
        } = self;
        write!(f, "  cs {cs:#x}  ss {ss:#x}  error code {error_code:#x}")
    }
}
