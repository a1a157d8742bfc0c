//! What cargo says of a project.

use std::env;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, bail};
use serde::Deserialize;

use super::settings::Settings;

/// A workspace.
#[derive(Deserialize, Debug)]
pub(super) struct Project {
    packages: Vec<Package>,
    #[serde(rename = "target_directory")]
    pub(super) build_directory: PathBuf,
}

/// One of its packages.
#[derive(Deserialize, Debug)]
pub(super) struct Package {
    pub(super) id: String,
    pub(super) name: String,
    manifest_path: PathBuf,
    #[serde(default)]
    metadata: Option<Metadata>,
}

#[derive(Deserialize, Debug)]
struct Metadata {
    pmiscope: Option<serde_json::Value>,
}

/// The cargo that has started this, or the one in PATH.
pub(super) fn cargo() -> Command {
    Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
}

impl Project {
    /// Asks cargo.
    ///
    /// # Errors
    ///
    /// There is no project, or cargo cannot be started; it has said why.
    pub(super) fn find(manifest: Option<&Path>) -> Result<Self> {
        let mut command = cargo();
        command.args(["metadata", "--no-deps", "--format-version", "1"]);
        if let Some(path) = manifest {
            command.arg("--manifest-path").arg(path);
        }
        let output = command.stderr(Stdio::inherit()).output();
        let output = output.context("cannot start cargo")?;
        if !output.status.success() {
            bail!("cargo metadata has failed: see above");
        }
        serde_json::from_slice(&output.stdout).context("what cargo metadata says cannot be read")
    }

    /// The package whose folder this is in.
    pub(super) fn of_folder(&self, folder: &Path) -> Option<&Package> {
        let is_above = |it: &&Package| folder.starts_with(it.folder());
        let above = self.packages.iter().filter(is_above);
        above.max_by_key(|it| it.folder().as_os_str().len())
    }

    /// The package that is to be built: the named one, or that of the folder, or, where that is
    /// the workspace's, the only one that there is or has settings.
    ///
    /// # Errors
    ///
    /// It cannot be told.
    pub(super) fn package(&self, named: Option<&str>, folder: &Path) -> Result<&Package> {
        let names = || {
            let names: Vec<_> = self.packages.iter().map(|it| &*it.name).collect();
            names.join(", ")
        };
        if let Some(name) = named {
            let found = self.packages.iter().find(|it| it.name == name);
            return found.with_context(|| {
                format!(
                    "-p {name}: the project has no such package, but {}",
                    names()
                )
            });
        }
        if let Some(package) = self.of_folder(folder) {
            return Ok(package);
        }
        let with_settings = self.packages.iter().filter(|it| it.has_settings());
        match (&*self.packages, &*with_settings.collect::<Vec<_>>()) {
            ([package], _) => Ok(package),
            (_, [package]) => Ok(package),
            _ => bail!("which package is the kernel? say -p NAME: {}", names()),
        }
    }
}

impl Package {
    pub(super) fn folder(&self) -> &Path {
        self.manifest_path.parent().unwrap_or(Path::new("/"))
    }

    fn given(&self) -> Option<&serde_json::Value> {
        self.metadata.as_ref()?.pmiscope.as_ref()
    }

    fn has_settings(&self) -> bool {
        self.given().is_some()
    }

    /// What it says under `package.metadata.pmiscope`.
    ///
    /// # Errors
    ///
    /// A key that there is not, or a value that makes no sense.
    pub(super) fn settings(&self) -> Result<Settings> {
        let Some(given) = self.given() else {
            return Ok(Settings::default());
        };
        Settings::deserialize(given).with_context(|| {
            format!(
                "{}: [package.metadata.pmiscope]",
                self.manifest_path.display()
            )
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn project(packages: &[(&str, &str, bool)]) -> Project {
        let packages = packages
            .iter()
            .map(|&(name, folder, has_settings)| Package {
                id: name.into(),
                name: name.into(),
                manifest_path: Path::new(folder).join("Cargo.toml"),
                metadata: Some(Metadata {
                    pmiscope: has_settings.then(|| serde_json::json!({ "run": ["--smp", "2"] })),
                }),
            });
        Project {
            packages: packages.collect(),
            build_directory: "/w/target".into(),
        }
    }

    #[test]
    fn the_package_is_that_of_the_folder_or_the_one_that_has_settings() {
        let all = [
            ("tool", "/w/tool", false),
            ("kernel", "/w/kernel", true),
            ("in", "/w/kernel/in", false),
        ];
        let whole = project(&all);
        for (named, folder, expected) in [
            (None, "/w/kernel/src", "kernel"),
            (None, "/w/kernel/in/src", "in"),
            (None, "/w", "kernel"),
            (Some("tool"), "/w", "tool"),
        ] {
            let found = whole.package(named, Path::new(folder)).unwrap();
            assert_eq!(found.name, expected, "{named:?} {folder}");
        }
        let said = whole
            .package(Some("x"), Path::new("/w"))
            .unwrap_err()
            .to_string();
        assert_eq!(
            said,
            "-p x: the project has no such package, but tool, kernel, in"
        );
        let two = project(&[("a", "/w/a", false), ("b", "/w/b", false)]);
        let said = two.package(None, Path::new("/w")).unwrap_err().to_string();
        assert_eq!(said, "which package is the kernel? say -p NAME: a, b");
        let one = project(&[("a", "/w/a", false)]);
        assert_eq!(one.package(None, Path::new("/w")).unwrap().name, "a");
        assert_eq!(whole.packages[1].settings().unwrap().run, ["--smp", "2"]);
    }

    #[test]
    fn a_key_that_there_is_not_is_refused() {
        let mut project = project(&[("a", "/w", true)]);
        let wrong = serde_json::json!({ "runs": [] });
        project.packages[0].metadata = Some(Metadata {
            pmiscope: Some(wrong),
        });
        let said = format!("{:#}", project.packages[0].settings().unwrap_err());
        let says = "/w/Cargo.toml: [package.metadata.pmiscope]: unknown field `runs`, expected one of `cargo`, `build`, `kernel`, `run`";
        assert_eq!(said, says);
    }
}
