//! Annotated code for a terminal.

use std::fmt::Write as _;

use super::counts::{Annotation, CodeRows, InstructionRow};
use super::source::Sources;
use crate::output::one_line;
use crate::units::{grouped, percent};

/// The code of functions; writing to a text does not fail.
pub(crate) fn text(annotations: &[Annotation], sources: &Sources<'_>) -> String {
    let mut out = String::new();
    for (place, annotation) in annotations.iter().enumerate() {
        if place > 0 {
            out.push('\n');
        }
        let _ = function(annotation, sources, &mut out);
    }
    out
}

fn function(it: &Annotation, sources: &Sources<'_>, out: &mut String) -> std::fmt::Result {
    let declared = match (&it.file, it.line) {
        (Some(file), Some(line)) => format!("  {file}:{line}"),
        (Some(file), None) => format!("  {file}"),
        _ => String::new(),
    };
    writeln!(out, "{}{}", one_line(&it.function), one_line(&declared))?;
    writeln!(
        out,
        "self {:.2}% ({}), total {:.2}% ({}) of {} samples",
        percent(it.own, it.samples),
        grouped(it.own),
        percent(it.total, it.samples),
        grouped(it.total),
        grouped(it.samples),
    )?;
    if it.lines.iter().all(|line| line.file.is_none()) && it.code.is_empty() {
        return writeln!(out, "\nneither its source nor its instructions are known");
    }
    lines(it, sources, out)?;
    for code in &it.code {
        instructions(it, code, sources, out)?;
    }
    Ok(())
}

/// A line that is not known, or its file.
const UNKNOWN: &str = "??";

/// A share, if there is any.
fn share(samples: u64, all: u64) -> String {
    match samples {
        0 => String::new(),
        _ => format!("{:.2}%", percent(samples, all)),
    }
}

fn lines(it: &Annotation, sources: &Sources<'_>, out: &mut String) -> std::fmt::Result {
    let mut before = None;
    for line in &it.lines {
        if before != Some(&line.file) {
            before = Some(&line.file);
            let file = line.file.as_deref().unwrap_or(UNKNOWN);
            let is_lacking = line.file.is_some() && sources.lacks(file);
            let lacking = if is_lacking {
                "  (the source is not here)"
            } else {
                ""
            };
            writeln!(
                out,
                "\n   self    total   line  {}{lacking}",
                one_line(file)
            )?;
        }
        let text = line
            .text
            .as_deref()
            .unwrap_or_default()
            .replace('\t', "    ");
        let row = format!(
            "{:>7}  {:>7}  {:>5}  {}",
            share(line.own, it.samples),
            share(line.total, it.samples),
            line.line
                .map_or_else(|| UNKNOWN.to_owned(), |it| it.to_string()),
            text
        );
        writeln!(out, "{}", row.trim_end())?;
    }
    Ok(())
}

/// The instructions, each line of source before those that follow it.
fn instructions(
    it: &Annotation,
    code: &CodeRows,
    sources: &Sources<'_>,
    out: &mut String,
) -> std::fmt::Result {
    let inlined_here = match code.symbol == it.function {
        true => "",
        false => "  (it is inlined here)",
    };
    writeln!(
        out,
        "\n   self    total   {}{inlined_here}",
        one_line(&code.symbol)
    )?;
    let mut before: Option<&InstructionRow> = None;
    for row in &code.instructions {
        let is_new = before.is_none_or(|it| (&it.file, it.line) != (&row.file, row.line));
        if before.map_or(!row.inlined.is_empty(), |it| it.inlined != row.inlined) {
            let inlined: Vec<_> = row.inlined.iter().map(|name| one_line(name)).collect();
            match &inlined[..] {
                [] => writeln!(out, "{:18} ▏{}", "", one_line(&code.symbol))?,
                all => writeln!(out, "{:18} ▏inlined: {}", "", all.join(" ← "))?,
            }
        }
        if is_new && row.line.is_none() && before.is_some() {
            writeln!(out, "{:18} ▏{UNKNOWN}", "")?;
        }
        if let (true, Some(file), Some(line)) = (is_new, &row.file, row.line) {
            let text = sources.line(file, line).unwrap_or_default();
            let short = file.rsplit('/').next().unwrap_or(file);
            let row = format!("{:18} ▏{}:{line}  {}", "", one_line(short), text.trim());
            writeln!(out, "{}", row.trim_end())?;
        }
        writeln!(
            out,
            "{:>7}  {:>7}  {:>16}  {}",
            share(row.own, it.samples),
            share(row.total, it.samples),
            row.address.trim_start_matches("0x"),
            one_line(&row.text)
        )?;
        before = Some(row);
    }
    Ok(())
}
