//! Callers and callees as text.

use super::{Focus, Focused};
use crate::report::groups::text::samples;
use crate::report::statistics::error;
use crate::report::text::{Out, WIDTH, keep_ends};
use crate::units::{counted, grouped, percent};

/// Which sides of functions are shown.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Sides {
    pub callers: bool,
    pub callees: bool,
}

/// The most functions that are shown.
const FUNCTIONS: usize = 10;

/// The functions as text, each with at most so many callers and callees.
#[must_use]
pub fn text(focus: &Focus, sides: Sides, top: usize) -> String {
    let mut out = Out::default();
    samples(&mut out, focus.samples, &focus.only);
    if focus.functions.is_empty() {
        out.line("");
        out.line("no function: no samples");
        return out.0;
    }
    out.fact(
        "shares",
        "of these samples; ±: to 95 %, as if samples were independent",
    );
    for focused in focus.functions.iter().take(FUNCTIONS) {
        out.line("");
        if sides.callers {
            rows(&mut out, "callers", &focused.callers, focus.samples, top);
        }
        function(&mut out, focused, focus.samples);
        if sides.callees {
            rows(&mut out, "callees", &focused.callees, focus.samples, top);
        }
    }
    let others = focus.functions.len().saturating_sub(FUNCTIONS) as u64;
    if others > 0 {
        out.line("");
        let others = counted(others, "function");
        out.line(&format!(
            "{others} more: ask for one by its whole name, or for JSON"
        ));
    }
    out.0
}

fn function(out: &mut Out, focused: &Focused, of: u64) {
    let (own, total) = (focused.own, focused.total);
    out.line(&format!(
        "{:>6.2}% {:>6.2}% {:>12}  {}  (self {:.2}%)",
        percent(total, of),
        error(total, of),
        grouped(total),
        keep_ends(&focused.function, WIDTH - 48),
        percent(own, of),
    ));
}

fn rows(out: &mut Out, head: &str, rows: &[(String, u64)], of: u64, top: usize) {
    out.line(&format!(
        "{:>7} {:>7} {:>12}    {head}",
        "share", "±", "samples"
    ));
    for (name, samples) in rows.iter().take(top) {
        out.line(&format!(
            "{:>6.2}% {:>6.2}% {:>12}    {}",
            percent(*samples, of),
            error(*samples, of),
            grouped(*samples),
            keep_ends(name, WIDTH - 32),
        ));
    }
    if rows.is_empty() {
        out.line(&format!("{:>32}(none)", ""));
    }
    if rows.len() > top {
        out.line(&format!(
            "{:>32}({} more)",
            "",
            grouped((rows.len() - top) as u64)
        ));
    }
}
