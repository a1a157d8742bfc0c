//! A tree of calls as text.

use super::{CallTree, Node};
use crate::output::width;
use crate::report::groups::text::samples;
use crate::report::statistics::error;
use crate::report::text::{Out, WIDTH, keep_ends};
use crate::units::{counted, grouped, percent};

/// What is left out of a tree.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Limits {
    /// What has less of all samples, in percent.
    pub percent: f64,
    /// The most lines; all if `None`.
    pub top: Option<usize>,
}

/// The tree as text.
#[must_use]
pub fn text(tree: &CallTree, limits: Limits) -> String {
    let mut writer = Writer {
        out: Out::default(),
        of: tree.samples,
        limits,
        lines: 0,
        left_out: 0,
    };
    samples(&mut writer.out, tree.samples, &tree.only);
    writer.out.line("");
    if tree.roots.is_empty() {
        writer.out.line("no calls: no samples");
        return writer.out.0;
    }
    let what = match tree.inverted {
        true => "callers below what they call",
        false => "callees below what calls them",
    };
    writer.out.line(&format!(
        "{what}; below {}% left out; ±: to 95 %, as if samples were independent",
        limits.percent
    ));
    let head = format!("{:>7} {:>7} {:>8} {:>12}", "total", "±", "self", "samples");
    writer.out.line(&head);
    writer.children(&tree.roots, "");
    if writer.left_out > 0 {
        let left_out = counted(writer.left_out, "function");
        writer
            .out
            .line(&format!("({left_out} and what is below them left out)"));
    }
    writer.out.0
}

/// Lines of a tree.
struct Writer {
    out: Out,
    of: u64,
    limits: Limits,
    lines: usize,
    left_out: u64,
}

impl Writer {
    /// The nodes that stand below one whose lines have this before them. An only one stands as far left
    /// as what it is below: long chains of calls would leave the page.
    fn children(&mut self, nodes: &[Node], before: &str) {
        let is_shown = |node: &&Node| percent(node.total, self.of) >= self.limits.percent;
        let shown: Vec<_> = nodes.iter().filter(is_shown).collect();
        self.left_out += (nodes.len() - shown.len()) as u64;
        let is_only = shown.len() == 1;
        for (place, node) in shown.iter().enumerate() {
            if self.limits.top.is_some_and(|top| self.lines >= top) {
                self.left_out += (shown.len() - place) as u64;
                return;
            }
            let is_last = place + 1 == shown.len();
            let (mark, below) = match (is_only, is_last) {
                (true, _) => ("", ""),
                (false, false) => ("├─", "│ "),
                (false, true) => ("└─", "  "),
            };
            self.node(node, &format!("{before}{mark}"));
            self.children(&node.children, &format!("{before}{below}"));
        }
    }

    fn node(&mut self, node: &Node, before: &str) {
        self.lines += 1;
        let numbers = format!(
            "{:>6.2}% {:>6.2}% {:>7.2}% {:>12}  {before}",
            percent(node.total, self.of),
            error(node.total, self.of),
            percent(node.own, self.of),
            grouped(node.total),
        );
        let room = WIDTH.saturating_sub(width(&numbers)).max(20);
        let line = format!("{numbers}{}", keep_ends(&node.function, room));
        self.out.line(&line);
    }
}
