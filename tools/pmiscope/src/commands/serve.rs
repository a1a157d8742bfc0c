//! `serve`: the page of a profile, and of a run that has not come to its end.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};

use super::html::{Exported, Loaded};
use super::print;
use crate::cli::{ProfileArgs, ServeArgs};
use crate::exit::Exit;
use crate::output::{parts_of, say};
use crate::page::{self, Answer, Request, Server};
use crate::signals;

pub(super) fn serve(arguments: &ServeArgs) -> Result<Exit> {
    let server = Server::new(arguments.port);
    let server = server.with_context(|| format!("cannot listen on port {}", arguments.port))?;
    // What cannot be served is said now, if it is there.
    match file_of(&arguments.profile.profile) {
        Some(file) => drop(blob(arguments, &file)?),
        None => wait_for(&arguments.profile.profile)?,
    }
    signals::end_with(Exit::Success).context("cannot catch signals")?;
    print(&format!("{}\n", server.url()?)).context("cannot write the address")?;
    let mut last: Option<(String, Vec<u8>)> = None;
    loop {
        server
            .answer(|request| match request {
                Request::Page => match page::live() {
                    Ok(page) => Answer::Page(page),
                    Err(error) => Answer::Unavailable(format!("{error:#}")),
                },
                Request::Data(known) => data(arguments, known.as_deref(), &mut last),
                Request::Other => Answer::NotFound,
            })
            .context("cannot listen")?;
    }
}

/// Says that a profile is waited for, which may be a typing error, or refuses one that no run can write.
fn wait_for(profile: &Path) -> Result<()> {
    let folder = profile.parent();
    if let Some(folder) = folder.filter(|it| !it.as_os_str().is_empty() && !it.is_dir()) {
        bail!(
            "{}: there is no folder {}",
            profile.display(),
            folder.display()
        );
    }
    say!(
        "pmiscope: waiting for {}: it is not there, and no run is writing it yet",
        profile.display()
    );
    Ok(())
}

/// The file to read: the profile, or the newest that a run is writing in its place.
fn file_of(profile: &Path) -> Option<PathBuf> {
    let newest = parts_of(profile).into_iter().next();
    let written = |path: &Path| fs::metadata(path).and_then(|it| it.modified()).ok();
    match (newest, written(profile)) {
        (Some(part), Some(whole)) => {
            let is_newer = written(&part).is_some_and(|part| part > whole);
            Some(if is_newer { part } else { profile.to_owned() })
        }
        (Some(part), None) => Some(part),
        (None, Some(_)) => Some(profile.to_owned()),
        (None, None) => None,
    }
}

/// The data, unless they are known, or have not changed since they were made last.
fn data(
    arguments: &ServeArgs,
    known: Option<&str>,
    last: &mut Option<(String, Vec<u8>)>,
) -> Answer {
    let path = &arguments.profile.profile;
    let Some(file) = file_of(path) else {
        return Answer::Unavailable(format!("waiting for {}", path.display()));
    };
    let Ok(found) = fs::metadata(&file) else {
        return Answer::Unavailable(format!("waiting for {}", path.display()));
    };
    let mark = format!("\"{}-{}-{}\"", found.ino(), found.len(), found.mtime_nsec());
    if known == Some(&mark) {
        return Answer::Unchanged;
    }
    if last.as_ref().is_none_or(|last| last.0 != mark) {
        match blob(arguments, &file) {
            Ok(bytes) => *last = Some((mark, bytes)),
            Err(error) => return Answer::Unavailable(format!("{error:#}")),
        }
    }
    let Some((mark, bytes)) = last.clone() else {
        return Answer::Unchanged;
    };
    Answer::Data { mark, bytes }
}

fn blob(arguments: &ServeArgs, file: &Path) -> Result<Vec<u8>> {
    let profile = ProfileArgs {
        profile: file.to_owned(),
        ..arguments.profile.clone()
    };
    let mut loaded = Loaded::quietly(&profile, &arguments.select)?;
    let name = arguments.profile.profile.file_name();
    loaded.name = name.unwrap_or_default().to_string_lossy().into_owned();
    let export = loaded.export(&arguments.source)?;
    page::blob(&[Exported::shown(&export)])
}
