//! What differs between two profiles, as text.

use super::{Diff, Row, Side};
use crate::report::SortBy;
use crate::report::text::{Out, WIDTH, keep_end, keep_ends};
use crate::units::{counted, grouped, percent};

/// A profile of the two.
fn side(side: &Side) -> String {
    let samples = counted(side.samples, "sample");
    match &side.build_id {
        Some(id) => format!("{}: {samples}, build-id {id}", side.profile),
        None => format!("{}: {samples}, imported", side.profile),
    }
}

/// The diff as text.
#[must_use]
pub fn text(diff: &Diff, sort: SortBy) -> String {
    let mut out = Out::default();
    out.fact("before", &side(&diff.before));
    out.fact("after", &side(&diff.after));
    if !diff.only.is_empty() {
        out.fact("only", &diff.only.join(", "));
    }
    out.fact(
        "marks",
        "+ hotter, - colder beyond chance (5 % of those that are marked may be by chance, as if samples were independent); ±: of the difference, to 95 %",
    );
    let whole = [diff.before.samples, diff.after.samples];
    let by = match sort {
        SortBy::Own => "self",
        SortBy::Total => "total",
    };
    let functions = counted(diff.functions_in_all as u64, "function");
    let shown = grouped(diff.functions.len() as u64);
    heading(
        &mut out,
        &format!("{shown} of {functions}, those whose {by} share differs most"),
    );
    for row in &diff.functions {
        let of = |samples: [u64; 2]| match sort {
            SortBy::Own => [samples[0], samples[1]],
            SortBy::Total => [row.before_total, row.after_total],
        };
        let name = keep_ends(&row.name.join(";"), WIDTH - NUMBERS);
        line(
            &mut out,
            row,
            of([row.before_self, row.after_self]),
            whole,
            &name,
        );
    }
    let stacks = counted(diff.stacks_in_all as u64, "stack");
    let shown = grouped(diff.stacks.len() as u64);
    heading(
        &mut out,
        &format!("{shown} of {stacks}, those whose share differs most"),
    );
    for row in &diff.stacks {
        let name = keep_end(&row.name.join(";"), WIDTH - NUMBERS);
        line(
            &mut out,
            row,
            [row.before_self, row.after_self],
            whole,
            &name,
        );
    }
    out.0
}

/// The columns before a name.
const NUMBERS: usize = 38;

fn heading(out: &mut Out, what: &str) {
    out.line("");
    out.line(what);
    out.line(&format!(
        "{:>8} {:>8} {:>9} {:>7}",
        "before", "after", "delta", "±"
    ));
}

fn line(out: &mut Out, row: &Row, samples: [u64; 2], whole: [u64; 2], name: &str) {
    let mark = match (row.is_significant, row.delta > 0.0) {
        (false, _) => ' ',
        (true, true) => '+',
        (true, false) => '-',
    };
    out.line(&format!(
        "{:>7.2}% {:>7.2}% {:>+8.2}% {:>6.2}% {mark} {name}",
        percent(samples[0], whole[0]),
        percent(samples[1], whole[1]),
        row.delta,
        row.error,
    ));
}
