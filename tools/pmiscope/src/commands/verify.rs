//! `verify`: whether the chains of a profile are the true ones.

use anyhow::{Context as _, Result, bail};

use super::print;
use super::programs;
use super::show::{NAMES_ALONE, exit, open, warn_incomplete};
use super::symbols::files_of;
use crate::cli::{ReportFormat, VerifyArgs};
use crate::exit::Exit;
use crate::output::Working;
use crate::profile::Profile;
use crate::symbols::Symbols;
use crate::units::grouped;
use crate::verify::contained::contained;
use crate::verify::report::Report;
use crate::verify::{VerifyError, verify};

/// Checks what lies where in the programs' part of chains.
fn check_programs(profile: &mut Profile, arguments: &VerifyArgs) -> Result<Exit> {
    let path = &arguments.profile.profile;
    let programs = programs::of_profile(profile, &arguments.profile)?;
    let found = contained(profile, &programs).with_context(|| path.display().to_string())?;
    warn_incomplete(profile, path);
    let text = match arguments.format {
        ReportFormat::Text => found.text(),
        ReportFormat::Json => crate::output::json(&found)?,
    };
    print(&text).context("cannot write the report")?;
    if found.outside > 0 {
        bail!(
            "{} of {} addresses in chains lie outside what their program may execute",
            grouped(found.outside),
            grouped(found.addresses)
        );
    }
    Ok(exit(profile, true))
}

pub(super) fn run(arguments: &VerifyArgs) -> Result<Exit> {
    let path = &arguments.profile.profile;
    let name = || path.display().to_string();
    let mut profile = open(path)?;
    if profile.host.imported.is_some() {
        bail!("{}: {NAMES_ALONE}: there is nothing to verify", name());
    }
    if arguments.programs {
        return check_programs(&mut profile, arguments);
    }
    if profile.kernel.is_none() && arguments.profile.elf.is_none() {
        return Err(VerifyError::NoKernel).with_context(name);
    }
    let programs = programs::of_profile(&mut profile, &arguments.profile)?;
    let files = files_of(&mut profile, &arguments.profile)?;
    let mut symbols = Symbols::of_files(&files, Some(profile.description.text));
    programs::add(&mut symbols, &programs, profile.end.as_ref());
    let working = Working::new("comparing chains");
    let found = verify(&profile, &symbols, arguments.examples).with_context(name)?;
    drop(working);
    warn_incomplete(&profile, path);
    let report = Report::new(&profile, &found, &mut symbols);
    let text = match arguments.format {
        ReportFormat::Text => report.text(),
        ReportFormat::Json => report.json()?,
    };
    print(&text).context("cannot write the report")?;
    if report.different > 0 {
        bail!(
            "{} of {} instructions have another chain than the true one",
            grouped(report.different),
            grouped(report.instructions)
        );
    }
    Ok(exit(&profile, true))
}
