//! What somebody types at the prompt of the kernel's monitor.

use std::fmt;

use kernel_core::monitor::editor::CONTROL_C;
use kernel_core::monitor::find_command;
use kernel_core::monitor::names::{Fit, fit};
use kernel_core::monitor::place::Place;
use kernel_core::monitor::{Arguments, Command, Completions, Edit, Editor, Line, Problem};

const fn command(name: &'static str) -> Command {
    Command {
        name,
        arguments: "ADDR|NAME [LEN]",
        summary: "",
        run,
    }
}

const COMMANDS: [Command; 4] = [
    command("help"),
    command("hexdump"),
    command("resume"),
    command("regs"),
];

/// As most commands take their words.
fn run(mut arguments: Arguments<'_>, out: &mut dyn fmt::Write) -> Result<(), Problem> {
    let word = arguments.required("ADDR|NAME")?;
    let place = Place::parse(word);
    let length = arguments.number("LEN")?.unwrap_or(1);
    arguments.end()?;
    let _ = place.from(length);
    assert!(fit(&word, word) == Some(Fit::Whole));
    write!(out, "{place:?}")?;
    Ok(())
}

struct Known;

impl Completions for Known {
    fn each(&self, before: &str, each: &mut dyn FnMut(&str)) {
        if before.is_empty() {
            COMMANDS.iter().for_each(|command| each(command.name));
        }
    }
}

/// Bytes from a terminal. Each line is executed.
///
/// # Panics
///
/// A line is none, a problem is no line, or the key for it does not lead out of a line.
pub fn monitor(data: &[u8]) {
    let mut editor = Editor::new("> ");
    let mut terminal = String::new();
    let mut begin = |editor: &mut Editor| editor.begin(&mut terminal).expect("a string takes all");
    begin(&mut editor);
    let mut shown = String::new();
    for &byte in data {
        let edit = editor.byte(byte, &Known, &mut shown);
        assert!(Line::can_be(editor.line()), "{:?}", editor.line());
        match edit.expect("a string takes all") {
            Edit::Pending => {}
            Edit::Line => {
                execute(editor.line());
                begin(&mut editor);
            }
            Edit::Cancelled | Edit::End => begin(&mut editor),
        }
    }
    let edit = editor.byte(CONTROL_C, &Known, &mut shown);
    assert_eq!(edit, Ok(Edit::Cancelled));
    // What a terminal is sent are lines and sequences for it.
    let is_known = |c: char| matches!(c, ' '..='~' | '\r' | '\n' | '\x07' | '\x1b');
    assert!(shown.chars().all(is_known), "{shown:?}");
}

fn execute(line: &str) {
    let mut arguments = Arguments::new(line);
    let Some(name) = arguments.word() else { return };
    let mut out = String::new();
    let command = find_command(COMMANDS.iter(), name);
    let outcome = command.and_then(|command| (command.run)(arguments, &mut out));
    if let Err(problem) = outcome {
        let text = problem.to_string();
        assert!(!text.is_empty() && Line::can_be(&text), "{text:?}");
    }
}
