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
    rows(&mut out, &diff.functions, (whole, sort), keep_ends);
    let stacks = counted(diff.stacks_in_all as u64, "stack");
    let shown = grouped(diff.stacks.len() as u64);
    heading(
        &mut out,
        &format!("{shown} of {stacks}, those whose share differs most"),
    );
    rows(&mut out, &diff.stacks, (whole, SortBy::Own), keep_end);
    out.0
}

/// The columns before a name.
const NUMBERS: usize = 38;

/// Digits behind the point of shares, and the most where a difference beyond chance is too small for them.
const DIGITS: usize = 2;
const MOST_DIGITS: usize = 6;

fn heading(out: &mut Out, what: &str) {
    out.line("");
    out.line(what);
    out.line(&format!(
        "{:>8} {:>8} {:>9} {:>7}",
        "before", "after", "delta", "±"
    ));
}

/// A row as it is shown: what is there adds up, and stands in its order.
struct Line<'a> {
    row: &'a Row,
    before: f64,
    after: f64,
}

impl<'a> Line<'a> {
    fn new(row: &'a Row, whole: [u64; 2], sort: SortBy, digits: usize) -> Self {
        let samples = match sort {
            SortBy::Own => [row.before_self, row.after_self],
            SortBy::Total => [row.before_total, row.after_total],
        };
        Self {
            row,
            before: rounded(percent(samples[0], whole[0]), digits),
            after: rounded(percent(samples[1], whole[1]), digits),
        }
    }

    fn delta(&self) -> f64 {
        self.after - self.before
    }

    /// Returns true if it is marked and shown as if it did not differ.
    fn contradicts_itself(&self, digits: usize) -> bool {
        self.row.is_significant && rounded(self.delta(), digits) == 0.0
    }
}

/// A share as it is shown with so many digits behind the point.
fn rounded(share: f64, digits: usize) -> f64 {
    format!("{share:.digits$}").parse().unwrap_or(share)
}

fn rows(
    out: &mut Out,
    rows: &[Row],
    (whole, sort): ([u64; 2], SortBy),
    keep: fn(&str, usize) -> String,
) {
    let lines = |digits: usize| -> Vec<Line<'_>> {
        let rows = rows.iter();
        rows.map(|row| Line::new(row, whole, sort, digits))
            .collect()
    };
    let is_enough = |&digits: &usize| !lines(digits).iter().any(|it| it.contradicts_itself(digits));
    let digits = (DIGITS..MOST_DIGITS).find(is_enough).unwrap_or(MOST_DIGITS);
    let mut lines = lines(digits);
    // What is rounded may be the other way round.
    let shown = |line: &Line<'_>| rounded(line.delta().abs(), digits);
    lines.sort_by(|a, b| shown(b).total_cmp(&shown(a)));
    for line in &lines {
        line.write(out, digits, keep);
    }
}

impl Line<'_> {
    fn write(&self, out: &mut Out, digits: usize, keep: fn(&str, usize) -> String) {
        let mark = match (self.row.is_significant, self.row.delta > 0.0) {
            (false, _) => ' ',
            (true, true) => '+',
            (true, false) => '-',
        };
        // None of them is wider than that by more than the digits.
        let more = digits - DIGITS;
        let name = keep(&self.row.name.join(";"), WIDTH - NUMBERS - 4 * more);
        let [before, after, delta, error] = [7, 7, 8, 6].map(|width| width + more);
        out.line(&format!(
            "{:>before$.digits$}% {:>after$.digits$}% {:>+delta$.digits$}% {:>error$.digits$}% {mark} {name}",
            self.before,
            self.after,
            self.delta(),
            self.row.error,
        ));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A diff of these functions, with samples before and after of so many.
    fn diff(whole: u64, functions: &[(&str, [u64; 2], bool)]) -> Diff {
        let side = |profile: &str| Side {
            profile: profile.into(),
            build_id: None,
            samples: whole,
        };
        let row = |&(name, [before, after], is_significant): &(&str, [u64; 2], bool)| Row {
            name: vec![name.into()],
            before_self: before,
            after_self: after,
            before_total: before,
            after_total: after,
            delta: percent(after, whole) - percent(before, whole),
            error: 0.0,
            chance: 0.0,
            is_significant,
        };
        Diff {
            only: Vec::new(),
            before: side("a"),
            after: side("b"),
            functions: functions.iter().map(row).collect(),
            functions_in_all: functions.len(),
            stacks: Vec::new(),
            stacks_in_all: 0,
        }
    }

    fn assert_has(diff: &Diff, expected: &[&str]) {
        let text = text(diff, SortBy::Own);
        assert!(text.contains(&expected.join("\n")), "{text}");
    }

    #[test]
    fn what_is_shown_adds_up_and_stands_in_its_order() {
        let thirds = diff(3, &[("f", [1, 2], false), ("g", [2, 1], false)]);
        assert_has(
            &thirds,
            &[
                "  33.33%   66.67%   +33.34%   0.00%   f",
                "  66.67%   33.33%   -33.34%   0.00%   g",
            ],
        );
        let close = [
            ("first", [100_030, 100_140], false),
            ("second", [100_049, 100_151], false),
            ("less", [100_141, 100_139], false),
        ];
        assert_has(
            &diff(1_000_000, &close),
            &[
                "  10.00%   10.02%    +0.02%   0.00%   second",
                "  10.00%   10.01%    +0.01%   0.00%   first",
                "  10.01%   10.01%    +0.00%   0.00%   less",
            ],
        );
    }

    #[test]
    fn what_is_marked_differs_in_what_is_shown() {
        let rows = [
            ("f", [1_000_000, 1_000_400], true),
            ("g", [5_000_000, 5_000_000], false),
        ];
        assert_has(
            &diff(100_000_000, &rows),
            &[
                "   1.0000%    1.0004%    +0.0004%   0.0000% + f",
                "   5.0000%    5.0000%    +0.0000%   0.0000%   g",
            ],
        );
    }
}
