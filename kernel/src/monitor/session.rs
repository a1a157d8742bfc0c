//! The prompt: from the moment that a core holds all others to the one at which it lets them go.

use core::fmt::Write;

use kernel_core::monitor::{Arguments, Completions, Edit, Editor, find_command};
use profiler::format::Text;
use spin::mutex::SpinMutex;

use super::commands;
use super::console::{self, Console, Echo};
use super::owner::{self, Leave};
use crate::memory::image;
use crate::{screen, serial};

const PROMPT: &str = "pmiscope> ";

/// The lines that were typed.
static EDITOR: SpinMutex<Editor> = SpinMutex::new(Editor::new(PROMPT));

/// Shows the prompt on the running core, which holds all others, until it is left.
pub fn run() -> Leave {
    serial::set_receive_interrupt(false);
    owner::open();
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
        match owner::wanted() {
            Leave::Stay => {}
            leave => break leave,
        }
    };
    console::forget_ahead();
    owner::close();
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
