//! Builds a kernel by its project's settings.

use std::io::{BufRead as _, BufReader};
use std::path::PathBuf;
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, bail};
use serde::Deserialize;

use super::RunArgs;
use super::metadata::{Package, cargo};
use super::settings::Settings;

/// A line of what cargo says of a build.
#[derive(Deserialize, Debug)]
struct Message {
    reason: String,
    package_id: Option<String>,
    executable: Option<PathBuf>,
    target: Option<Target>,
}

#[derive(Deserialize, Debug)]
struct Target {
    name: String,
}

/// Builds, and returns where the kernel is.
///
/// # Errors
///
/// It was not built, or it cannot be told which file it is.
pub(super) fn kernel(
    package: &Package,
    settings: &Settings,
    arguments: &RunArgs,
) -> Result<PathBuf> {
    let built = match &settings.build[..] {
        [] => by_cargo(package, settings, arguments)?,
        [program, rest @ ..] => {
            let mut command = Command::new(program);
            command.args(rest).current_dir(package.folder());
            let status = command.status();
            let status = status.with_context(|| format!("build: cannot start {program}"))?;
            if !status.success() {
                bail!("build: {program} has failed: {status}");
            }
            Vec::new()
        }
    };
    if let Some(path) = &settings.kernel {
        let path = package.folder().join(path);
        if !path.is_file() {
            bail!(
                "kernel: there is no {}, and the build has not made it",
                path.display()
            );
        }
        return Ok(path);
    }
    chosen(&built, &package.name)
}

/// The only program that was built.
fn chosen(built: &[(String, PathBuf)], package: &str) -> Result<PathBuf> {
    match built {
        [(_, path)] => Ok(path.clone()),
        [] => bail!(
            "the build of {package} has made no program: say which file is the kernel, by kernel = \"…\" under [package.metadata.pmiscope]"
        ),
        several => {
            let names: Vec<_> = several.iter().map(|(name, _)| &**name).collect();
            bail!(
                "{package} has several programs: say --bin: {}",
                names.join(", ")
            )
        }
    }
}

/// Lets cargo build, and returns the package's programs, with their names.
fn by_cargo(
    package: &Package,
    settings: &Settings,
    arguments: &RunArgs,
) -> Result<Vec<(String, PathBuf)>> {
    let mut command = cargo();
    command
        .args([
            "build",
            "--message-format=json-render-diagnostics",
            "--package",
        ])
        .arg(&package.name)
        // The settings of .cargo/config.toml there are the project's own.
        .current_dir(package.folder())
        .args(words(settings, arguments));
    let mut cargo = command
        .stdout(Stdio::piped())
        .spawn()
        .context("cannot start cargo")?;
    let said = cargo.stdout.take().context("cargo says nothing")?;
    let mut built = Vec::new();
    for line in BufReader::new(said).lines() {
        built.extend(program_of(&line?, &package.id));
    }
    if !cargo.wait()?.success() {
        bail!("cargo build has failed: see above");
    }
    Ok(built)
}

/// The program that a line of cargo's tells of.
fn program_of(line: &str, package: &str) -> Option<(String, PathBuf)> {
    let message: Message = serde_json::from_str(line).ok()?;
    let is_it = message.reason == "compiler-artifact" && message.package_id? == package;
    Some((message.target?.name, message.executable?)).filter(|_| is_it)
}

/// The options of `cargo build`.
fn words(settings: &Settings, arguments: &RunArgs) -> Vec<String> {
    let mut words = settings.cargo.clone();
    let is_there = |words: &[String], word: &str| words.iter().any(|it| it == word);
    if arguments.release && !is_there(&words, "--release") {
        words.push("--release".into());
    }
    let valued = [
        ("--bin", &arguments.bin),
        ("--profile", &arguments.profile),
        ("--target", &arguments.target),
    ];
    for (option, value) in valued {
        if let Some(value) = value {
            words.extend([option.to_owned(), value.clone()]);
        }
    }
    for list in &arguments.features {
        words.extend(["--features".to_owned(), list.clone()]);
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn programs_of_the_package_are_taken_from_what_cargo_says() {
        let line = |reason: &str, package: &str, executable: &str| {
            format!(
                r#"{{"reason":"{reason}","package_id":"{package}","target":{{"name":"k","kind":["bin"]}},"executable":{executable}}}"#
            )
        };
        let found = program_of(&line("compiler-artifact", "own", r#""/t/k""#), "own");
        assert_eq!(found, Some(("k".into(), "/t/k".into())));
        for other in [
            line("compiler-artifact", "other", r#""/t/k""#),
            line("compiler-artifact", "own", "null"),
            line("build-script-executed", "own", r#""/t/k""#),
            r#"{"reason":"build-finished","success":true}"#.into(),
            "kernel says".into(),
        ] {
            assert_eq!(program_of(&other, "own"), None, "{other}");
        }
    }

    #[test]
    fn one_program_is_the_kernel() {
        let program = |name: &str| (name.to_owned(), PathBuf::from(name));
        assert_eq!(chosen(&[program("k")], "p").unwrap(), PathBuf::from("k"));
        let said = chosen(&[program("a"), program("b")], "p")
            .unwrap_err()
            .to_string();
        assert_eq!(said, "p has several programs: say --bin: a, b");
        let said = chosen(&[], "p").unwrap_err().to_string();
        assert!(
            said.starts_with("the build of p has made no program"),
            "{said}"
        );
    }

    #[test]
    fn cargo_is_given_what_both_say() {
        let settings = Settings {
            cargo: vec!["--release".into(), "-Zbuild-std=core".into()],
            ..Settings::default()
        };
        let arguments = RunArgs {
            release: true,
            bin: Some("k".into()),
            features: vec!["a,b".into()],
            ..RunArgs::default()
        };
        let expected = [
            "--release",
            "-Zbuild-std=core",
            "--bin",
            "k",
            "--features",
            "a,b",
        ];
        assert_eq!(words(&settings, &arguments), expected);
    }
}
