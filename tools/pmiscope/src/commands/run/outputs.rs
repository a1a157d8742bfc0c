//! The files that a run writes, checked before its guest starts.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use anyhow::{Result, bail};

use crate::output::{Target, beginning};
use crate::profile::is_profile;

/// What a picture of a run has near its beginning: its title.
const TITLE: &[u8] = b">pmiscope: ";

/// Where a run's profile goes, and its flame graph if it has one.
pub(in crate::commands) struct Outputs {
    pub(in crate::commands) profile: Target,
    pub(in crate::commands) picture: Option<Target>,
}

impl Outputs {
    /// Checks that the profile can be written to this path, and the flame graph beside it if
    /// there is to be one; and that nothing else is lost by that: neither of what the run
    /// reads, each given with what it is, nor a file that is no profile or no flame graph.
    ///
    /// # Errors
    ///
    /// What stands against it.
    pub(in crate::commands) fn new(
        path: &Path,
        has_picture: bool,
        read: &[(&str, PathBuf)],
    ) -> Result<Self> {
        let read = || read.iter().map(|(what, path)| (*what, &**path));
        let name = path.display();
        if path == "-" {
            bail!("-o -: the profile is a file, which the report is read from: name one");
        }
        if has_ending(path, "svg") {
            let profile = path.with_extension("pmi");
            bail!(
                "-o {name} is the profile's name, and the flame graph has that of the profile and the ending svg: say -o {}",
                profile.display()
            );
        }
        let may_replace = |beginning: &[u8]| beginning.is_empty() || is_profile(beginning).is_ok();
        let profile = Target::new(path)?;
        profile.is_none_of(read())?;
        if !may_replace(&profile.beginning()?) {
            bail!(
                "-o {name}: the file that is there is no profile, and is not written over: name another file, or remove it before"
            );
        }
        let picture = has_picture.then(|| picture(path, read())).transpose()?;
        if picture.as_ref().is_some_and(|picture| picture.is(&profile)) {
            bail!("-o {name}: its flame graph would be the same file: name another");
        }
        if let Some(picture) = &picture
            && let Some(other) = shown_by(picture, &profile)
        {
            bail!(
                "-o {name}: its flame graph would be written over {}, which is that of the profile {}: name another file",
                picture.path().display(),
                other.display()
            );
        }
        Ok(Self { profile, picture })
    }
}

/// The flame graph of the profile at `path`.
fn picture<'a>(path: &Path, read: impl IntoIterator<Item = (&'a str, &'a Path)>) -> Result<Target> {
    let may_replace =
        |beginning: &[u8]| beginning.is_empty() || memchr::memmem::find(beginning, TITLE).is_some();
    let picture = Target::new(&picture_of(path))?;
    let is_read = picture.is_none_of(read).is_err();
    if is_read || !may_replace(&picture.beginning()?) {
        bail!(
            "-o {}: its flame graph would be written over {}, which is something else: name another file",
            path.display(),
            picture.path().display()
        );
    }
    Ok(picture)
}

/// Another profile that a flame graph may be of that is there: several names have one.
fn shown_by(picture: &Target, own: &Target) -> Option<PathBuf> {
    if !picture.exists() {
        return None;
    }
    let named = |ending: &str| {
        let mut name = picture.path().with_extension("").into_os_string();
        name.push(ending);
        PathBuf::from(name)
    };
    let others = ["", ".pmi", ".PMI"].map(named).into_iter();
    let is_own = |other: &Path| own.is_none_of([("", other)]).is_err();
    let is_other = |other: &PathBuf| {
        let is_profile = |it: Vec<u8>| is_profile(&it).is_ok();
        picture_of(other) == picture.path()
            && !is_own(other)
            && beginning(other).is_ok_and(is_profile)
    };
    others.into_iter().find(is_other)
}

/// The name of a profile's flame graph: with svg for pmi, or behind any other name.
fn picture_of(profile: &Path) -> PathBuf {
    if has_ending(profile, "pmi") {
        return profile.with_extension("svg");
    }
    let mut name = profile.as_os_str().to_owned();
    name.push(".svg");
    name.into()
}

fn has_ending(path: &Path, ending: &str) -> bool {
    let found = path.extension().and_then(OsStr::to_str);
    found.is_some_and(|found| found.eq_ignore_ascii_case(ending))
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::picture_of;

    #[test]
    fn each_profile_has_a_picture_of_its_own() {
        for (profile, picture) in [
            ("run.pmi", "run.svg"),
            ("a/run.PMI", "a/run.svg"),
            ("run.v1", "run.v1.svg"),
            ("run.v2", "run.v2.svg"),
            ("results-1.5", "results-1.5.svg"),
            ("run", "run.svg"),
            (".pmi", ".pmi.svg"),
            ("run.pmi.old", "run.pmi.old.svg"),
        ] {
            assert_eq!(picture_of(Path::new(profile)), Path::new(picture));
        }
    }
}
