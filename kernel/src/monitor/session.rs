//! The prompt: from the moment that a core holds all others to the one at which it lets them go.

use core::fmt::Write;
use core::sync::atomic::{AtomicU8, AtomicU32, Ordering};

use kernel_core::monitor::{Arguments, Completions, Edit, Editor, Problem, find_command};
use profiler::format::Text;
use spin::mutex::SpinMutex;

use super::commands;
use super::console::{self, Console, Echo};
use crate::cpu::{self, stop};
use crate::memory::image;
use crate::{screen, serial};

const PROMPT: &str = "pmiscope> ";

/// How a session ends.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum Leave {
    /// It goes on.
    Stay,
    /// All go on where they were.
    Resume,
    /// The same, but for this core, which goes to its idle loop.
    Idle,
    /// The run ends.
    End,
    /// Another core holds all now, or ends the run.
    Lost,
}

/// What the last command wants.
static LEAVE: AtomicU8 = AtomicU8::new(0);

const NOBODY: u32 = u32::MAX;

/// The core at whose prompt somebody is.
static OWNER: AtomicU32 = AtomicU32::new(NOBODY);

/// The lines that were typed.
static EDITOR: SpinMutex<Editor> = SpinMutex::new(Editor::new(PROMPT));

/// Returns true if a core is at the prompt.
#[must_use]
pub fn is_open() -> bool {
    OWNER.load(Ordering::Acquire) != NOBODY
}

/// Lets the session end behind the running command.
///
/// # Errors
///
/// It is not the session's core that asks.
pub fn leave_by(leave: Leave) -> Result<(), Problem> {
    check_is_here()?;
    LEAVE.store(leave as u8, Ordering::Release);
    Ok(())
}

/// Makes sure that the prompt is the running core's.
///
/// # Errors
///
/// It is not.
pub fn check_is_here() -> Result<(), Problem> {
    let problem = || {
        Problem::new(format_args!(
            "only the core with the prompt can do that: leave out `on`"
        ))
    };
    is_here().then_some(()).ok_or_else(problem)
}

fn wanted() -> Leave {
    match LEAVE.swap(0, Ordering::AcqRel) {
        1 => Leave::Resume,
        2 => Leave::Idle,
        3 => Leave::End,
        _ => Leave::Stay,
    }
}

/// Shows the prompt on the running core, which holds all others, until it is left.
pub fn run() -> Leave {
    serial::set_receive_interrupt(false);
    OWNER.store(cpu::current_index(), Ordering::Release);
    // One that was lost to another core has it still.
    let mut spare = Editor::new(PROMPT);
    let mut lock = EDITOR.try_lock();
    let editor = lock.as_deref_mut().unwrap_or(&mut spare);
    let leave = loop {
        match read_line(editor) {
            None => break Leave::Lost,
            Some(Edit::End) => break Leave::Resume,
            Some(Edit::Line) => {}
            Some(Edit::Cancelled | Edit::Pending) => continue,
        }
        let line = Text::<128>::new(editor.line());
        screen::write(PROMPT);
        screen::write(line.as_str());
        screen::write("\n");
        execute(line.as_str(), &mut Console);
        match wanted() {
            Leave::Stay => {}
            leave => break leave,
        }
    };
    console::forget_ahead();
    let me = cpu::current_index();
    let _ = OWNER.compare_exchange(me, NOBODY, Ordering::AcqRel, Ordering::Relaxed);
    leave
}

/// The next line, or how it ended; `None` if there is no session any more.
fn read_line(editor: &mut Editor) -> Option<Edit> {
    // The port takes what it is given, here and below.
    let _ = editor.begin(&mut Echo);
    loop {
        let byte = console::read()?;
        match editor.byte(byte, &Known, &mut Echo) {
            Ok(Edit::Pending) => {}
            Ok(edit) => return Some(edit),
            Err(_) => return Some(Edit::Cancelled),
        }
    }
}

/// Executes a line on the running core.
pub fn execute(line: &str, out: &mut dyn Write) {
    let mut arguments = Arguments::new(line);
    let Some(name) = arguments.word() else { return };
    let outcome = find_command(commands::all(), name);
    let outcome = outcome.and_then(|command| (command.run)(arguments, out));
    if let Err(problem) = outcome {
        let _ = writeln!(out, "monitor: {problem}");
    }
}

/// The names that there are.
struct Known;

impl Completions for Known {
    fn each(&self, before: &str, each: &mut dyn FnMut(&str)) {
        let mut words = before.split_ascii_whitespace();
        let is_command = match words.next() {
            None => true,
            Some(word) if "help".starts_with(word) => true,
            // A core's number comes before.
            Some("on") => words.next().is_some() && words.next().is_none(),
            Some(_) => false,
        };
        if is_command {
            commands::all().for_each(|command| each(command.name));
            return;
        }
        for function in image::functions() {
            let name = Text::<404>::of(&function.name);
            // Words have no space.
            if !name.as_str().contains(' ') {
                each(name.as_str());
            }
        }
    }
}

/// Returns true if another core is the one that asks for something now.
#[must_use]
pub fn is_lost() -> bool {
    !stop::is_asking()
}

/// Returns true if the prompt is the running core's.
#[must_use]
pub fn is_here() -> bool {
    is_of(cpu::current_index())
}

/// Returns true if the prompt is that core's.
#[must_use]
pub fn is_of(core: u32) -> bool {
    OWNER.load(Ordering::Acquire) == core
}
