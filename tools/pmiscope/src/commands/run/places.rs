//! Where the files of a build are that nobody has named, and where a run leaves its profile.

use std::env;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};

/// Where `make build` puts the kernel and the loader, in the build directory.
const BUILT: &str = "x86_64-unknown-none/release";

/// Where `make install` puts them, in the prefix.
const INSTALLED: &str = "lib/pmiscope";

/// The folder of a prefix that programs are in.
const PROGRAMS: &str = "bin";

/// The directories that a tool knows of.
pub(super) struct Places {
    /// That with the folder that the tool is in: a build directory, or the prefix that it is
    /// installed in.
    own: PathBuf,
    is_installed: bool,
    /// The build directory that the tool was built in.
    source: PathBuf,
}

impl Places {
    /// Those of this program.
    ///
    /// # Errors
    ///
    /// It cannot be told where it is.
    pub(super) fn of_this_tool() -> Result<Self> {
        let executable = env::current_exe().context("cannot tell where this program is")?;
        let places = Self::new(&executable, env!("BUILD_DIRECTORY").into());
        places.context("this program is in no build directory")
    }

    /// Those of the program that is there.
    fn new(executable: &Path, source: PathBuf) -> Option<Self> {
        let folder = executable.parent()?;
        Some(Self {
            own: folder.parent()?.to_owned(),
            is_installed: folder.ends_with(PROGRAMS),
            source,
        })
    }

    /// The file of this name that goes with the tool.
    ///
    /// # Errors
    ///
    /// It is nowhere: says where it was looked for.
    pub(super) fn find(&self, name: &str) -> Result<PathBuf> {
        let places = self.candidates(name);
        if let Some(found) = places.iter().find(|path| path.is_file()) {
            return Ok(found.clone());
        }
        let shown: Vec<_> = places.iter().map(|it| it.display().to_string()).collect();
        bail!(
            "no {name} at {}: run `make build`, or say where it is by --{name} ELF",
            shown.join(", ")
        )
    }

    /// Where a file of this name may be, the likeliest first. A tool in a build directory takes no
    /// other build's: it would be another version's, maybe.
    fn candidates(&self, name: &str) -> Vec<PathBuf> {
        let own = self.own.join(BUILT).join(name);
        if !self.is_installed {
            return vec![own];
        }
        let beside = self.own.join(INSTALLED).join(name);
        let source = self.source.join(BUILT).join(name);
        vec![beside, source]
    }

    /// Where the output of this name goes: nobody looks for it in a prefix, or may write there.
    pub(super) fn output(&self, name: &str) -> PathBuf {
        if self.is_installed {
            name.into()
        } else {
            self.own.join(name)
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    /// A file, and the folders on the way to it.
    fn make(path: &Path) -> PathBuf {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, "").unwrap();
        path.to_owned()
    }

    #[test]
    fn an_installed_tool_takes_what_is_installed_with_it_before_its_build() {
        let folder = tempfile::tempdir().unwrap();
        let tool = folder.path().join("usr/bin/pmiscope");
        let places = Places::new(&tool, folder.path().join("target")).unwrap();
        let said = places.find("kernel").unwrap_err().to_string();
        let path = folder.path().display();
        assert_eq!(
            said,
            format!(
                "no kernel at {path}/usr/lib/pmiscope/kernel, {path}/target/{BUILT}/kernel: run `make build`, or say where it is by --kernel ELF"
            )
        );
        let built = make(&places.source.join(BUILT).join("kernel"));
        assert_eq!(places.find("kernel").unwrap(), built);
        let installed = make(&places.own.join(INSTALLED).join("kernel"));
        assert_eq!(places.find("kernel").unwrap(), installed);
        // Nothing is left in the prefix.
        assert_eq!(places.output("profile.pmi"), Path::new("profile.pmi"));
    }

    #[test]
    fn a_tool_in_a_build_directory_takes_that_build_alone() {
        let folder = tempfile::tempdir().unwrap();
        let tool = folder.path().join("target/release/pmiscope");
        let places = Places::new(&tool, folder.path().join("other")).unwrap();
        make(&places.source.join(BUILT).join("kernel"));
        let path = folder.path().display();
        let said = places.find("kernel").unwrap_err().to_string();
        let says = format!("no kernel at {path}/target/{BUILT}/kernel: ");
        assert!(said.starts_with(&says), "{said}");
        let built = make(&places.own.join(BUILT).join("kernel"));
        assert_eq!(places.find("kernel").unwrap(), built);
        let output = places.output("profile.pmi");
        assert_eq!(output, folder.path().join("target/profile.pmi"));
    }
}
