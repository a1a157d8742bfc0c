//! What programs ask the kernel for. Every argument is a program's, so none is believed.

use alloc::sync::Arc;

use kernel_core::process::call::{Call, Refusal};
use kernel_core::process::mappings::Kind;
use kernel_core::process::{PAGE, Rights, USER};
use profiler::hw::tsc;
use x86_64::instructions::interrupts;

use super::error::Error;
use super::pid::Pid;
use super::spawn::Wanted;
use super::thread::{self, Start, Thread};
use super::{fault, futex, messages, table, upcall};
use crate::cpu;
use crate::memory::space;
use crate::task;
use crate::trap::TrapFrame;

/// The most bytes of a text for the log, and of a program's name.
const MOST_TEXT: usize = 120;

/// The longest sleep, in ticks of the time stamp counter: about half a minute.
const LONGEST_SLEEP: u64 = 100_000_000_000;

/// The handler of calls.
pub(super) fn on_call(frame: &mut TrapFrame) {
    let thread = Thread::of(frame);
    let arguments = [frame.rdi, frame.rsi, frame.rdx];
    let result = match Call::of(frame.rax) {
        Some(Call::Resume) => resume(thread, frame),
        Some(call) => execute(thread, call, arguments),
        None => Err(Refusal::NoSuchCall),
    };
    frame.rax = result.unwrap_or_else(|refusal| refusal as u64);
}

fn execute(thread: &Thread, call: Call, arguments: [u64; 3]) -> Result<u64, Refusal> {
    let [first, second, third] = arguments;
    match call {
        Call::Exit => thread.process.end(first & u64::from(u32::MAX)),
        Call::EndThread => thread.end(),
        Call::StartThread => return start_thread(thread, first, second, third),
        Call::Spawn => return spawn(thread, first, second, third),
        Call::Wait => return wait(thread, first),
        Call::Yield => task::yield_now(),
        Call::Sleep if first > LONGEST_SLEEP => return Err(Refusal::BadArgument),
        Call::Sleep => sleep(thread, first),
        Call::FutexWait => return futex_wait(thread, first, second),
        Call::FutexWake => return Ok(futex::wake(thread, first, second)),
        Call::Log => return log(thread, first, second),
        Call::Map => return map(thread, first),
        Call::Unmap => return unmap(thread, first, second),
        Call::Clock => return Ok(tsc::ticks()),
        Call::MoveTo => return move_to(first),
        Call::Exec => return exec(thread, first, second, third),
        Call::Send => return send(first, second),
        Call::Receive => return Ok(messages::receive(thread).unwrap_or(0)),
        Call::Handle if first != 0 && !USER.contains(&first) => return Err(Refusal::BadAddress),
        Call::Handle => messages::set_handler(thread, first),
        Call::Kill => return kill(thread, first),
        Call::Pid => return Ok(thread.process.pid.0.into()),
        // Of the frame's: `on_call` has done it.
        Call::Resume | Call::Nothing => {}
    }
    Ok(0)
}

/// Goes back to what an upcall has interrupted.
fn resume(thread: &Thread, frame: &TrapFrame) -> Result<u64, Refusal> {
    match upcall::end(thread, frame) {
        Ok(()) => Ok(0),
        Err(upcall::NotResumed::Memory) => Err(Refusal::BadAddress),
        Err(upcall::NotResumed::At(address)) => {
            fault::end_at_no_address(thread, frame, address);
            Ok(0)
        }
    }
}

fn exec(thread: &Thread, address: u64, length: u64, argument: u64) -> Result<u64, Refusal> {
    let name = Words::read(thread, address, length)?;
    if table::has_several_threads(thread.process.pid) {
        return Err(Refusal::TooMany);
    }
    super::exec::exec(thread, name.text()?, argument).map_err(|error| refusal(&error))?;
    Ok(0)
}

fn send(pid: u64, message: u64) -> Result<u64, Refusal> {
    let pid = u32::try_from(pid).map_err(|_| Refusal::NotFound)?;
    if message >= Refusal::FIRST {
        return Err(Refusal::BadArgument);
    }
    messages::send(Pid(pid), message)?;
    Ok(0)
}

fn kill(thread: &Thread, pid: u64) -> Result<u64, Refusal> {
    let pid = u32::try_from(pid).map_err(|_| Refusal::NotFound)?;
    let is_there = table::kill(thread.process.pid, Pid(pid));
    is_there.then_some(0).ok_or(Refusal::NotFound)
}

/// After so many ticks a sleeper looks whether its process is to end.
const SLEEP_TICKS: u64 = 1_000_000;

fn sleep(thread: &Thread, ticks: u64) {
    let end = tsc::ticks().saturating_add(ticks);
    loop {
        let left = end.saturating_sub(tsc::ticks());
        if left == 0 || thread.process.is_ending() {
            return;
        }
        task::sleep(left.min(SLEEP_TICKS));
    }
}

fn start_thread(thread: &Thread, pc: u64, sp: u64, argument: u64) -> Result<u64, Refusal> {
    if !USER.contains(&pc) || !USER.contains(&sp) {
        return Err(Refusal::BadAddress);
    }
    let start = Start { pc, sp, argument };
    let process = Arc::clone(&thread.process);
    thread::start(process, start, cpu::current()).map_err(|error| refusal(&error))
}

fn refusal(error: &Error) -> Refusal {
    match error {
        Error::NotFound | Error::Program(_) => Refusal::NotFound,
        Error::Memory(_) => Refusal::NoMemory,
        Error::TooMany => Refusal::TooMany,
    }
}

/// A program's text, in a buffer.
struct Words([u8; MOST_TEXT], usize);

impl Words {
    fn read(thread: &Thread, address: u64, length: u64) -> Result<Self, Refusal> {
        let length = usize::try_from(length).map_err(|_| Refusal::BadArgument)?;
        let mut words = Self([0; MOST_TEXT], length);
        let bytes = words.0.get_mut(..length).ok_or(Refusal::BadArgument)?;
        let read = thread.process.space.read(address, bytes);
        read.map_err(|_| Refusal::BadAddress)?;
        Ok(words)
    }

    fn text(&self) -> Result<&str, Refusal> {
        core::str::from_utf8(&self.0[..self.1]).map_err(|_| Refusal::BadArgument)
    }
}

fn spawn(thread: &Thread, address: u64, length: u64, argument: u64) -> Result<u64, Refusal> {
    let name = Words::read(thread, address, length)?;
    let process = &thread.process;
    let wanted = Wanted {
        name: name.text()?,
        argument,
        task_name: process.task_name,
    };
    let pid = super::spawn::spawn(&wanted, process.pid, cpu::current());
    let Pid(pid) = pid.map_err(|error| refusal(&error))?;
    Ok(pid.into())
}

fn wait(thread: &Thread, pid: u64) -> Result<u64, Refusal> {
    let pid = u32::try_from(pid).map_err(|_| Refusal::NotFound)?;
    let process = &thread.process;
    let status = table::wait(process.pid, Pid(pid), || process.is_ending());
    status.ok_or(Refusal::NotFound)
}

fn futex_wait(thread: &Thread, address: u64, value: u64) -> Result<u64, Refusal> {
    let value = u32::try_from(value).map_err(|_| Refusal::BadArgument)?;
    let waited = futex::wait(thread, address, value);
    if waited.map_err(|_| Refusal::BadAddress)? {
        Ok(0)
    } else {
        Err(Refusal::Changed)
    }
}

fn log(thread: &Thread, address: u64, length: u64) -> Result<u64, Refusal> {
    let text = Words::read(thread, address, length)?;
    // One line, whatever the program writes.
    let line = text.text()?.escape_debug();
    log::info!("{}: {line}", thread.process);
    Ok(0)
}

fn map(thread: &Thread, bytes: u64) -> Result<u64, Refusal> {
    let mapped = thread
        .process
        .space
        .map(bytes, Rights::Write, Kind::Anonymous);
    let range = mapped.map_err(|error| match error {
        space::Error::NoMemory => Refusal::NoMemory,
        _ => Refusal::BadArgument,
    })?;
    Ok(range.start)
}

fn unmap(thread: &Thread, start: u64, bytes: u64) -> Result<u64, Refusal> {
    let end = start.checked_add(bytes).ok_or(Refusal::BadArgument)?;
    let end = end
        .checked_next_multiple_of(PAGE)
        .ok_or(Refusal::BadArgument)?;
    if start >= end {
        return Err(Refusal::BadArgument);
    }
    // It waits for other cores, which may wait for this one.
    interrupts::enable();
    let unmapped = thread.process.space.unmap(start..end);
    interrupts::disable();
    unmapped.map_err(|_| Refusal::BadAddress)?;
    Ok(0)
}

fn move_to(index: u64) -> Result<u64, Refusal> {
    let cores = cpu::cores();
    let core = usize::try_from(index)
        .ok()
        .and_then(|index| cores.get(index));
    let core = core.filter(|core| task::runs_tasks(core));
    task::move_to(core.ok_or(Refusal::NotFound)?);
    Ok(0)
}
