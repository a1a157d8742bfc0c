//! The callers and callees of functions, each with its share.

pub mod text;

use std::collections::BTreeMap;

use serde::{Serialize, Serializer};

use super::Pattern;
use crate::flame::Stacks;

/// Functions with what is next to them on stacks.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Focus {
    /// What is asked of the samples that are counted.
    pub only: Vec<String>,
    /// All that are.
    pub samples: u64,
    /// Those that have the most samples first.
    pub functions: Vec<Focused>,
}

/// A function, with its callers and callees.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Focused {
    pub function: String,
    /// Samples in which it was executing itself.
    #[serde(rename = "self")]
    pub own: u64,
    /// Samples in which it was on the stack, once each.
    pub total: u64,
    /// The samples in which each called it: once each, so that those of recursive functions may be
    /// more than all.
    #[serde(serialize_with = "neighbours")]
    pub callers: Vec<(String, u64)>,
    /// Those in which it called each.
    #[serde(serialize_with = "neighbours")]
    pub callees: Vec<(String, u64)>,
}

/// What stands for a caller that is not there: the function is the outermost.
pub const NO_CALLER: &str = "(no caller)";

fn neighbours<S: Serializer>(rows: &[(String, u64)], serializer: S) -> Result<S::Ok, S::Error> {
    #[derive(Serialize)]
    struct Row<'a> {
        function: &'a str,
        samples: u64,
    }
    serializer.collect_seq(rows.iter().map(|(function, samples)| Row {
        function,
        samples: *samples,
    }))
}

/// What is counted of a function.
#[derive(Default)]
struct Counts<'a> {
    own: u64,
    total: u64,
    callers: BTreeMap<&'a str, u64>,
    callees: BTreeMap<&'a str, u64>,
}

impl Focus {
    /// The functions that a pattern means: those of this whole name, or else all that match.
    #[must_use]
    pub fn new(stacks: &Stacks, pattern: &Pattern, only: Vec<String>) -> Self {
        let names = stacks.iter().flat_map(|(frames, _)| frames);
        let is_by_name =
            pattern.is_crossing() || names.into_iter().any(|name| pattern.is_name(name));
        let is_meant = |name: &str| match is_by_name {
            true => pattern.is_name(name),
            false => pattern.is_in(name),
        };
        let mut counts: BTreeMap<&str, Counts<'_>> = BTreeMap::new();
        let mut seen: Vec<(&str, Option<&str>, Option<&str>)> = Vec::new();
        for (frames, samples) in stacks.iter() {
            seen.clear();
            for (depth, name) in frames.iter().enumerate() {
                if is_meant(name) {
                    let caller = depth.checked_sub(1).map(|it| &*frames[it]);
                    let callee = frames.get(depth + 1).map(|it| &**it);
                    seen.push((name, caller, callee));
                }
            }
            for (place, &(name, caller, callee)) in seen.iter().enumerate() {
                let before = &seen[..place];
                let of_name = before.iter().filter(|it| it.0 == name);
                let is_new = |is: &dyn Fn(&(&str, Option<&str>, Option<&str>)) -> bool| {
                    !of_name.clone().any(is)
                };
                let counts = counts.entry(name).or_default();
                if is_new(&|_| true) {
                    counts.total += samples;
                }
                if is_new(&|it| it.1 == caller) {
                    *counts
                        .callers
                        .entry(caller.unwrap_or(NO_CALLER))
                        .or_default() += samples;
                }
                match callee {
                    None => counts.own += samples,
                    Some(callee) if is_new(&|it| it.2 == Some(callee)) => {
                        *counts.callees.entry(callee).or_default() += samples;
                    }
                    Some(_) => {}
                }
            }
        }
        let mut functions: Vec<_> = counts.into_iter().map(focused).collect();
        functions.sort_by_key(|it| std::cmp::Reverse(it.total));
        Self {
            only,
            samples: stacks.samples(),
            functions,
        }
    }
}

fn focused((function, counts): (&str, Counts<'_>)) -> Focused {
    let Counts {
        own,
        total,
        callers,
        callees,
    } = counts;
    let sorted = |rows: BTreeMap<&str, u64>| {
        let rows = rows.into_iter().map(|(name, it)| (name.to_owned(), it));
        let mut rows: Vec<_> = rows.collect();
        rows.sort_by_key(|row| std::cmp::Reverse(row.1));
        rows
    };
    Focused {
        function: function.to_owned(),
        own,
        total,
        callers: sorted(callers),
        callees: sorted(callees),
    }
}
