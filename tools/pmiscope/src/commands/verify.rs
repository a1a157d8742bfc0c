//! `verify`: whether the chains of a profile are the true ones.

use anyhow::{Context as _, Result, bail};

use super::print;
use super::show::{checked_elf, open, warn_incomplete};
use crate::cli::{ReportFormat, VerifyArgs};
use crate::exit::Exit;
use crate::symbols::Symbols;
use crate::units::grouped;
use crate::verify::report::Report;
use crate::verify::{VerifyError, verify};

pub(super) fn run(arguments: &VerifyArgs) -> Result<Exit> {
    let path = &arguments.profile.profile;
    let name = || path.display().to_string();
    let mut profile = open(path)?;
    let (elf, beside) = match &arguments.profile.elf {
        Some(elf) => (checked_elf(elf, &profile, arguments.profile.force)?, elf),
        None => {
            let kernel = profile.kernel.take();
            let kernel = kernel.ok_or(VerifyError::NoKernel).with_context(name)?;
            (kernel, path)
        }
    };
    let mut symbols = Symbols::of_run(&elf, profile.description.text, beside)
        .with_context(|| beside.display().to_string())?;
    let found = verify(&profile, &symbols, arguments.examples).with_context(name)?;
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
