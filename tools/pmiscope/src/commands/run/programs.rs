//! The programs that workloads of processes run: files beside the kernel, which are brought as modules
//! without being named.

use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result};
use profiler::contract::settings::Settings;

use crate::qemu::{Load, Module};

/// How the names of programs, of workloads that run one, and of self-tests of them begin.
const PREFIX: &str = "process-";

/// The workload that runs all programs.
const ALL: &str = "processes";

/// Returns true if the kernel is asked to run processes.
pub(super) fn are_wanted(settings: &Settings<'_>) -> bool {
    let is_program = |name: &str| name.starts_with(PREFIX) || name == ALL;
    is_program(settings.workload) || settings.test.is_some_and(is_program)
}

/// Adds the programs beside the kernel, in the order of their names, but for those that are named
/// among the modules. A kernel that has none beside it says what it lacks.
///
/// # Errors
///
/// The folder cannot be read.
pub(super) fn add(load: &mut Load, kernel: &Path) -> Result<()> {
    let folder = kernel.parent().unwrap_or_else(|| Path::new("."));
    let problem = || format!("cannot look for programs in {}", folder.display());
    let mut programs = Vec::new();
    for entry in fs::read_dir(folder).with_context(problem)? {
        let file = entry.with_context(problem)?.path();
        let name = file.file_name().and_then(|name| name.to_str());
        let is_program = name.is_some_and(|it| it.starts_with(PREFIX) && !it.contains('.'));
        if is_program && file.is_file() {
            programs.push(file);
        }
    }
    programs.sort();
    for file in programs {
        let module = Module {
            file,
            command_line: String::new(),
        };
        if !load.modules.iter().any(|it| it.path() == module.path()) {
            load.modules.push(module);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn programs_are_brought_by_name_unless_one_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        for name in ["process-b", "process-a", "process-a.d", "kernel", "other"] {
            fs::write(at(name), "").unwrap();
        }
        let module = |file| Module {
            file,
            command_line: String::new(),
        };
        let mut load = Load {
            seed: None,
            modules: vec![module("elsewhere/process-b".into())],
        };
        add(&mut load, &at("kernel")).unwrap();
        let expected = [
            module("elsewhere/process-b".into()),
            module(at("process-a")),
        ];
        assert_eq!(load.modules, expected);
    }

    #[test]
    fn they_are_wanted_by_workloads_and_tests_of_processes() {
        let of = |workload, test| Settings {
            workload,
            test,
            ..Settings::default()
        };
        assert!(are_wanted(&of("process-yield", None)));
        assert!(are_wanted(&of("processes", None)));
        assert!(are_wanted(&of("mix", Some("process-faults"))));
        assert!(!are_wanted(&of("mix", None)));
        assert!(!are_wanted(&of("ping-pong", Some("panic"))));
    }
}
