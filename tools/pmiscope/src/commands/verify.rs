//! `verify`: whether the chains of a profile are the true ones.

use anyhow::{Context as _, Result, bail};

use super::print;
use super::programs;
use super::show::{open, warn_incomplete};
use super::symbols::files_of;
use crate::cli::{ReportFormat, VerifyArgs};
use crate::exit::Exit;
use crate::output::Working;
use crate::symbols::Symbols;
use crate::units::grouped;
use crate::verify::report::Report;
use crate::verify::{VerifyError, verify};

pub(super) fn run(arguments: &VerifyArgs) -> Result<Exit> {
    let path = &arguments.profile.profile;
    let name = || path.display().to_string();
    let mut profile = open(path)?;
    if profile.kernel.is_none() && arguments.profile.elf.is_none() {
        return Err(VerifyError::NoKernel).with_context(name);
    }
    let programs = programs::of_profile(&mut profile, &arguments.profile)?;
    let files = files_of(&mut profile, &arguments.profile)?;
    let mut symbols = Symbols::of_files(&files, Some(profile.description.text));
    programs::add(&mut symbols, programs);
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
    Ok(match profile.incomplete() {
        None => Exit::Success,
        Some(_) => Exit::Incomplete,
    })
}
