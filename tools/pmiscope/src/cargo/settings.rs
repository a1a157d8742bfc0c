//! What a package says of how its kernel is built and run.

use std::ffi::{OsStr, OsString};
use std::path::PathBuf;

use serde::Deserialize;

/// `package.metadata.pmiscope`.
#[derive(Deserialize, Default, Debug)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Settings {
    /// More of the command line of `cargo build`.
    pub(super) cargo: Vec<String>,
    /// What builds in place of it: a program and its arguments.
    pub(super) build: Vec<String>,
    /// The kernel, from the package's folder.
    pub(super) kernel: Option<PathBuf>,
    /// Options of `pmiscope run`.
    pub(super) run: Vec<String>,
}

/// Whether there is an option, with its value behind it or in it.
pub(super) fn has(options: &[OsString], long: &str, short: Option<&str>) -> bool {
    options.iter().take_while(|it| *it != "--").any(|option| {
        let option = option.to_string_lossy();
        let value = option.strip_prefix(long);
        value.is_some_and(|value| value.is_empty() || value.starts_with('='))
            || short.is_some_and(|short| option.starts_with(short))
    })
}

/// The options of a package with those of the command line behind them. An option that is there has
/// its value there: pmiscope takes none twice.
pub(super) fn merged(settings: &[String], given: Vec<OsString>) -> Vec<OsString> {
    let is_option = |word: &str| word.starts_with('-') && word.len() > 1;
    let mut all: Vec<OsString> = Vec::new();
    let mut is_replaced = false;
    for word in settings {
        if is_option(word) {
            let name = word.split('=').next().unwrap_or(word);
            is_replaced = has(&given, name, None) && !MAY_REPEAT.contains(&name);
        }
        if !is_replaced {
            all.push(word.into());
        }
    }
    // What is QEMU's stays behind what is pmiscope's.
    let end = all.iter().position(|word| word == OsStr::new("--"));
    let mut behind = end.map_or_else(Vec::new, |end| all.split_off(end));
    let mut given = given;
    let given_end = given.iter().position(|word| word == OsStr::new("--"));
    let given_behind = given_end.map_or_else(Vec::new, |end| given.split_off(end));
    all.extend(given);
    let skipped = usize::from(!behind.is_empty());
    behind.extend(given_behind.into_iter().skip(skipped));
    all.extend(behind);
    all
}

/// Options that pmiscope takes several times.
const MAY_REPEAT: [&str; 3] = ["--append", "--module", "--debug-file"];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_before_the_package() {
        for (settings, given, expected) in [
            ("", "", ""),
            ("--smp 2 --period 100", "", "--smp 2 --period 100"),
            ("--smp 2 --period 100", "--smp 8", "--period 100 --smp 8"),
            ("--smp 2 --verbose", "--smp=8", "--verbose --smp=8"),
            (
                "--smp=2 --verbose",
                "--smp 8 --verbose",
                "--smp 8 --verbose",
            ),
            ("--append a=1", "--append b=2", "--append a=1 --append b=2"),
            // Of QEMU's options nothing is known.
            ("--smp 2 -- -device x", "--smp 3", "--smp 3 -- -device x"),
            (
                "-- -device x",
                "--smp 3 -- -device y",
                "--smp 3 -- -device x -device y",
            ),
            ("--smp 2", "-- -device y", "--smp 2 -- -device y"),
        ] {
            let settings: Vec<_> = settings.split_whitespace().map(str::to_owned).collect();
            let given = given.split_whitespace().map(OsString::from).collect();
            let found = merged(&settings, given).join(OsStr::new(" "));
            assert_eq!(found, expected);
        }
    }

    #[test]
    fn an_output_is_seen_however_it_is_said() {
        for (line, is_there) in [
            ("--output x", true),
            ("--output=x", true),
            ("-o x", true),
            ("-ox", true),
            ("--outputs x", false),
            ("--smp 2 -- -o x", false),
        ] {
            let words: Vec<_> = line.split_whitespace().map(OsString::from).collect();
            assert_eq!(has(&words, "--output", Some("-o")), is_there, "{line}");
        }
    }
}
