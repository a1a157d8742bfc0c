//! Every command line that a document or a help text shows is one that the tool takes.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};

use clap::error::ErrorKind;
use clap::{CommandFactory as _, Parser as _};

use super::{Cli, Mistake};

/// The documents, with their texts.
fn documents() -> Vec<(PathBuf, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let folders = ["", "docs", "tools/adopters", "tools/qemu-pmu"].map(|folder| root.join(folder));
    let mut found = Vec::new();
    for entry in folders.iter().flat_map(|it| fs::read_dir(it).unwrap()) {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|extension| extension == "md") {
            let text = fs::read_to_string(&path).unwrap();
            found.push((path, text));
        }
    }
    found
}

/// The command of a line of a shell: up to a comment, a pipe or what follows.
fn command(line: &str) -> Option<&str> {
    let line = line.trim_start().trim_start_matches("$ ");
    let line = line.split(" #").next()?.split(" | ").next()?;
    let line = line.split(" && ").next()?.trim();
    line.starts_with("pmiscope ").then_some(line)
}

/// The commands in blocks of code, each a line, and those between backticks in a text.
fn commands(text: &str) -> (Vec<&str>, Vec<&str>) {
    let (mut whole, mut mentioned) = (Vec::new(), Vec::new());
    let mut is_code = false;
    for line in text.lines() {
        if line.starts_with("```") {
            is_code = !is_code;
        } else if is_code {
            whole.extend(command(line));
        } else {
            mentioned.extend(line.split('`').skip(1).step_by(2).filter_map(command));
        }
    }
    (whole, mentioned)
}

/// What is wrong with a command, if anything is.
fn problem(command: &str) -> Option<(ErrorKind, String)> {
    // Where a word stands for any of several.
    let words = command.split_whitespace().map(|word| match word {
        "FUNCTION:N..M" => "f:0..2",
        "SUBCOMMAND" => "run",
        word => word,
    });
    let words: Vec<_> = words.map(OsString::from).collect();
    let error = Cli::try_parse_from(&words).err()?;
    let is_help = error.kind() == ErrorKind::DisplayHelp;
    let line = Mistake::new(&Cli::command(), words).line(&error);
    (!is_help).then_some((error.kind(), line))
}

#[test]
fn each_command_in_a_document_is_one() {
    let (mut whole_ones, mut mentioned_ones) = (0, 0);
    for (path, text) in documents() {
        let (whole, mentioned) = commands(&text);
        whole_ones += whole.len();
        mentioned_ones += mentioned.len();
        for command in whole {
            if let Some((_, problem)) = problem(command) {
                panic!("{}: {command}: {problem}", path.display());
            }
        }
        for command in mentioned {
            // A text that tells of a subcommand does not say all that it needs.
            const LEFT_OUT: [ErrorKind; 2] = [
                ErrorKind::MissingRequiredArgument,
                ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand,
            ];
            if let Some((kind, problem)) = problem(command)
                && !LEFT_OUT.contains(&kind)
            {
                panic!("{}: {command}: {problem}", path.display());
            }
        }
    }
    // If none is wrong, then not because none was found.
    assert!(
        whole_ones >= 18 && mentioned_ones >= 30,
        "{whole_ones}, {mentioned_ones}"
    );
}

#[test]
fn each_example_of_a_help_text_is_a_command() {
    let mut examples = 0;
    for subcommand in Cli::command().get_subcommands() {
        let help = subcommand.get_after_help().map(ToString::to_string);
        for line in help.unwrap_or_default().lines() {
            // Two spaces, and behind them what it does.
            let Some(command) = line.trim().split("  ").next().and_then(command) else {
                continue;
            };
            if let Some((_, problem)) = problem(command) {
                panic!("{command}: {problem}");
            }
            examples += 1;
        }
    }
    assert!(examples >= 10, "{examples}");
}
