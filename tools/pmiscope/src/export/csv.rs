//! A table of functions, for spreadsheets and data frames (RFC 4180).

use std::io::Write;

use anyhow::Result;

use super::Export;
use super::counts::{Shares, of_functions};
use crate::output::one_line;

/// Writes it, the functions that were executing most often first.
pub(super) fn write(export: &Export<'_>, out: &mut dyn Write) -> Result<()> {
    let all = export.tally.samples();
    let mut table = csv::Writer::from_writer(out);
    table.write_record([
        "function",
        "file",
        "line",
        "self",
        "total",
        "self_percent",
        "total_percent",
    ])?;
    let mut rows: Vec<_> = export
        .tree
        .functions
        .iter()
        .zip(of_functions(export))
        .collect();
    rows.sort_by(|(a, a_counts), (b, b_counts)| {
        b_counts.cmp(a_counts).then_with(|| a.name.cmp(&b.name))
    });
    for (function, Shares { own, total }) in rows {
        let (file, line) = export.tree.declared(function);
        table.write_record([
            &*cell(&function.name),
            &cell(file.unwrap_or_default()),
            &line.map(|line| line.to_string()).unwrap_or_default(),
            &own.to_string(),
            &total.to_string(),
            &percent(own, all),
            &percent(total, all),
        ])?;
    }
    table.flush()?;
    Ok(())
}

/// A text that no spreadsheet takes for a formula: what could begin one has an apostrophe before it.
fn cell(text: &str) -> String {
    let line = one_line(text);
    match line.starts_with(['=', '+', '-', '@', '\'']) {
        true => format!("'{line}"),
        false => line.into_owned(),
    }
}

#[allow(clippy::cast_precision_loss)] // it is rounded anyway
fn percent(samples: u64, all: u64) -> String {
    match all {
        0 => "0".into(),
        all => format!("{:.4}", samples as f64 * 100.0 / all as f64),
    }
}

#[cfg(test)]
mod tests {
    use super::cell;

    #[test]
    fn no_cell_is_a_formula() {
        for (name, expected) in [
            ("=HYPERLINK(\"http://…\")", "'=HYPERLINK(\"http://…\")"),
            ("+1", "'+1"),
            ("-[View draw]", "'-[View draw]"),
            ("@SUM(A1)", "'@SUM(A1)"),
            // One that has an apostrophe itself stays another one.
            ("'=1", "''=1"),
            ("main", "main"),
            ("operator=", "operator="),
            ("", ""),
        ] {
            assert_eq!(cell(name), expected);
        }
    }
}
