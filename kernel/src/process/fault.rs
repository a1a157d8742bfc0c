//! Exceptions in user mode: a page that is made when it is first used, or the end of the process.

use core::fmt;
use core::sync::atomic::{AtomicU32, Ordering};

use kernel_core::exceptions::{ErrorCode, Flags};
use kernel_core::process::call::FAULTED;
use profiler::address::{CodeRange, StackAddress, UserAddress};
use profiler::format::ChainEntry;
use profiler::format::sample::Chain;
use profiler::linked;
use profiler::unwind::user::UserMemory;
use profiler::unwind::{self, StackBounds, Start};
use x86_64::registers::control::Cr2;

use super::isolation;
use super::memory::memory_of_task;
use super::thread::Thread;
use crate::cpu;
use crate::task;
use crate::trap::{TrapFrame, registers_of, vector};

/// An exception in user mode.
pub(super) fn on_exception(frame: &mut TrapFrame) {
    let cr2 = Cr2::read_raw();
    let thread = Thread::of(frame);
    let vector = frame.vector.to_le_bytes()[0];
    let error = ErrorCode {
        vector,
        code: frame.error_code,
    };
    if vector == vector::PAGE_FAULT {
        match thread.process.space.on_fault(cr2, frame.error_code) {
            Ok(()) => isolation::assert_users_root(frame.error_code),
            Err(fault) => end(thread, frame, vector, format_args!(": {fault}")),
        }
    } else if vector == vector::DEVICE_NOT_AVAILABLE {
        // On the way back they are loaded.
        if !thread.registers.begin() {
            let reason = format_args!(": no memory for its vector registers");
            end(thread, frame, vector, reason);
        }
    } else if error.has_meaning() {
        end(thread, frame, vector, format_args!(": {error}"));
    } else {
        end(thread, frame, vector, format_args!(""));
    }
}

/// It would go on at `address`, where no instruction of a program's can be.
pub(super) fn end_at_no_address(thread: &Thread, frame: &TrapFrame, address: u64) {
    let reason = format_args!(": it would go on at {address:#x}, no address of its own");
    end(thread, frame, vector::GENERAL_PROTECTION, reason);
}

/// Ends the process of a thread, and says why, and where it was.
pub(super) fn end(thread: &Thread, frame: &TrapFrame, vector: u8, reason: fmt::Arguments<'_>) {
    /// The faults that are shown; a program can make thousands.
    const MOST_SHOWN: u32 = 100;
    static SHOWN: AtomicU32 = AtomicU32::new(0);
    let process = &thread.process;
    process.end(FAULTED | u64::from(vector));
    match SHOWN.fetch_add(1, Ordering::Relaxed) {
        MOST_SHOWN => log::warn!("further faults of processes are not shown"),
        shown if shown > MOST_SHOWN => return,
        _ => {}
    }
    log::warn!(
        "{process} has ended: {} (vector {vector}) at {:#x}{reason}\n{frame}\n  rflags {}\n{}{}",
        vector::name(vector),
        frame.rip,
        Flags(frame.rflags),
        Mapped(thread, frame),
        Callers(frame),
    );
}

/// What is mapped where the code and the stack are.
struct Mapped<'a>(&'a Thread, &'a TrapFrame);

impl fmt::Display for Mapped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(thread, frame) = self;
        let space = &thread.process.space;
        for (what, address) in [("code", frame.rip), ("stack", frame.rsp)] {
            match space.mapping_at(address) {
                Some(mapping) => writeln!(f, "  {what}: in {mapping}")?,
                None => writeln!(f, "  {what}: nothing is mapped at {address:#x}")?,
            }
        }
        Ok(())
    }
}

/// The callers of the code that has failed, as far as they are on its stack: by their addresses, as
/// the kernel has no names of a program's.
struct Callers<'a>(&'a TrapFrame);

/// The memory of the running thread's process, as a walk sees it.
struct Memory(UserMemory);

// SAFETY: the memory is that of the direct map, which stays; there are no stacks of the kernel's.
unsafe impl unwind::Target for Memory {
    fn text(&self) -> CodeRange {
        linked::text()
    }

    fn stack_of(&self, _: StackAddress) -> Option<StackBounds> {
        None
    }

    fn user_memory(&self, _: Option<StackAddress>) -> Option<UserMemory> {
        Some(self.0)
    }
}

impl fmt::Display for Callers<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(frame) = self;
        let task = task::running_on(cpu::current());
        let Some(memory) = task.and_then(memory_of_task) else {
            return Ok(());
        };
        let start = Start {
            is_user: true,
            ..registers_of(frame).into()
        };
        let mut chain = Chain::new();
        let end = unwind::walk_from(start, &Memory(memory), &mut chain);
        writeln!(f, "#00 [<{:#018x}>]", frame.rip)?;
        for (number, entry) in (1..).zip(chain.entries()) {
            let code = match entry {
                ChainEntry::Return(code) => UserAddress::of(code),
                ChainEntry::Crossing { .. } | ChainEntry::Border { .. } => None,
            };
            if let Some(code) = code {
                writeln!(f, "#{number:02} [<{:#018x}>]", code.address)?;
            }
        }
        write!(f, "-- chain: {} --", end.name())
    }
}
