//! Which process a core serves, for who says why the run ends.

use core::fmt;
use core::ptr;
use core::sync::atomic::{AtomicPtr, Ordering};

use kernel_core::process::call::Call;
use x86_64::VirtAddr;

use super::one::Process;
use crate::cpu::{self, CoreBlock};
use crate::memory::stacks;
use crate::task::{self, MAX_TASKS};
use crate::trap::user;
use crate::trap::{TrapFrame, vector};

/// The process that each task is a thread of, by the numbers of tasks.
static PROCESSES: [AtomicPtr<Process>; MAX_TASKS] =
    [const { AtomicPtr::new(ptr::null_mut()) }; MAX_TASKS];

/// The running task is a thread of this process from now on; or of none.
pub(super) fn set(process: Option<&Process>) {
    let process = process.map_or(ptr::null_mut(), |it| ptr::from_ref(it).cast_mut());
    if let Some(number) = task::running_on(cpu::current()) {
        PROCESSES[usize::from(number)].store(process, Ordering::Release);
    }
}

/// Says which process a core serves, and for what, in a line; nothing if it serves none. The core is the
/// running one, or stands still.
pub(super) fn show(core: &CoreBlock, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    let number = task::running_on(core);
    let process = number.and_then(|number| PROCESSES.get(usize::from(number)));
    // SAFETY: null, or a process that is there until its thread, whose task the core runs, has set another.
    let process = process.and_then(|it| unsafe { it.load(Ordering::Acquire).as_ref() });
    let Some((number, process)) = number.zip(process) else {
        return Ok(());
    };
    write!(f, "  serves {process}")?;
    // Where the frame is that the core has come with from user mode.
    let end = core.descriptors.user_entry_sp();
    let has_come = VirtAddr::try_new(end).is_ok_and(|end| {
        stacks::task_with_sp(profiler::address::StackAddress(end.as_u64())) == Some(number)
    });
    if has_come {
        let frame = end - size_of::<TrapFrame>() as u64;
        let frame: *const TrapFrame = VirtAddr::new(frame).as_ptr();
        // SAFETY: right below where entries begin, on a task's stack, which is mapped for ever.
        write!(f, ", {}", Reason(unsafe { &*frame }))?;
    }
    writeln!(f)
}

/// What a program has come into the kernel for.
struct Reason<'a>(&'a TrapFrame);

impl fmt::Display for Reason<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(frame) = self;
        let place = frame.rip;
        match u8::try_from(frame.vector) {
            Ok(vector) if vector != user::CALL_VECTOR => {
                write!(f, "by {} (vector {vector})", vector::name(vector))?;
            }
            _ => match Call::of(frame.rax) {
                Some(call) => write!(f, "in the call {call:?}")?,
                None => write!(f, "in a call")?,
            },
        }
        write!(f, " from {place:#x}")
    }
}
