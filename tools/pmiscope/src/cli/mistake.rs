//! What is said of a command line that cannot be taken.

use std::ffi::OsString;

use clap::error::{ContextKind, ErrorKind};
use clap::{Arg, Command, Error};

use crate::output::shell_word;

/// A command line that cannot be taken.
pub struct Mistake<'a> {
    command: &'a Command,
    words: Vec<String>,
}

impl<'a> Mistake<'a> {
    /// `words` are those of the command line, the program's name first.
    #[must_use]
    pub fn new(command: &'a Command, words: impl IntoIterator<Item = OsString>) -> Self {
        let words = words.into_iter();
        let words = words.map(|word| word.to_string_lossy().into_owned());
        Self {
            command,
            words: words.collect(),
        }
    }

    /// Clap's message about it, in one line.
    #[must_use]
    pub fn line(&self, error: &Error) -> String {
        let text = error.render().to_string();
        let lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
        let said =
            lines.take_while(|line| !line.starts_with("Usage:") && !line.starts_with("For more"));
        let line = said.collect::<Vec<_>>().join(" ");
        let line = line.strip_prefix("error: ").unwrap_or(&line);
        self.with_tip(line, error)
            .unwrap_or_else(|| line.to_owned())
    }

    /// The message with a tip that can be taken as it stands. Clap takes a value that begins with a dash
    /// for an option, names its first letter alone, and advises what is for values without an option.
    fn with_tip(&self, line: &str, error: &Error) -> Option<String> {
        if error.kind() != ErrorKind::UnknownArgument {
            return None;
        }
        let unknown = error.get(ContextKind::InvalidArg)?.to_string();
        let is_it = |word: &String| {
            let rest = word.strip_prefix(&unknown);
            rest.is_some_and(|it| it.is_empty() || it.starts_with('=') || !word.starts_with("--"))
        };
        let place = self.words.iter().position(is_it)?;
        let word = &self.words[place];
        let line = line.replace(&format!("{unknown}'"), &format!("{word}'"));
        let option = self.words[..place].last().filter(|it| self.takes_value(it));
        let Some(option) = option else {
            return Some(line);
        };
        let (said, _) = line.split_once(" tip: ").unwrap_or((&line, ""));
        let both = format!("{option}={word}");
        Some(format!(
            "{said} tip: to pass '{word}' as a value, say {}",
            shell_word(&both)
        ))
    }

    /// Returns true if a value may stand behind this word.
    fn takes_value(&self, option: &str) -> bool {
        let is_option = |it: &Arg| match option.strip_prefix("--") {
            Some(name) => {
                let aliases = it.get_all_aliases().unwrap_or_default();
                it.get_long() == Some(name) || aliases.contains(&name)
            }
            None => it
                .get_short()
                .is_some_and(|short| option == format!("-{short}")),
        };
        let mut options = self.subcommand().get_arguments().filter(|it| is_option(it));
        options.any(|it| it.get_action().takes_values() && !it.is_require_equals_set())
    }

    fn subcommand(&self) -> &Command {
        let words = self.words.iter().skip(1);
        words.fold(self.command, |command, word| {
            command.find_subcommand(word).unwrap_or(command)
        })
    }
}
