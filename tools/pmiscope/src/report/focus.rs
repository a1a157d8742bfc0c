//! The callers and callees of functions, each with its share.

pub mod text;

use std::collections::BTreeMap;
use std::rc::Rc;

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

/// Where a function stands on a stack.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Place<'a> {
    name: &'a str,
    caller: Option<&'a str>,
    callee: Option<&'a str>,
}

impl<'a> Place<'a> {
    fn new(frames: &'a [Rc<str>], depth: usize) -> Self {
        Self {
            name: &frames[depth],
            caller: depth.checked_sub(1).map(|it| &*frames[it]),
            callee: frames.get(depth + 1).map(|it| &**it),
        }
    }
}

/// Counts a stack's samples: once for each function and each of its neighbours, however often it is
/// there.
fn count<'a>(counts: &mut BTreeMap<&'a str, Counts<'a>>, places: &[Place<'a>], samples: u64) {
    for (index, place) in places.iter().enumerate() {
        let before = places[..index].iter().filter(|it| it.name == place.name);
        let is_known = before.clone().next().is_some();
        let has_caller = before.clone().any(|it| it.caller == place.caller);
        let has_callee = before.clone().any(|it| it.callee == place.callee);
        let counts = counts.entry(place.name).or_default();
        if !is_known {
            counts.total += samples;
        }
        if !has_caller {
            let caller = place.caller.unwrap_or(NO_CALLER);
            *counts.callers.entry(caller).or_default() += samples;
        }
        match place.callee {
            None => counts.own += samples,
            Some(callee) if !has_callee => *counts.callees.entry(callee).or_default() += samples,
            Some(_) => {}
        }
    }
}

impl Focus {
    /// The functions that a pattern means: those of this whole name, or else all that match.
    #[must_use]
    pub fn new(stacks: &Stacks, pattern: &Pattern, only: Vec<String>) -> Self {
        let names = stacks.iter().flat_map(|(frames, _)| frames);
        let is_by_name = pattern.is_mark() || names.into_iter().any(|name| pattern.is_name(name));
        let is_meant = |name: &str| match is_by_name {
            true => pattern.is_name(name),
            false => pattern.is_in(name),
        };
        let mut counts: BTreeMap<&str, Counts<'_>> = BTreeMap::new();
        let mut places: Vec<Place<'_>> = Vec::new();
        for (frames, samples) in stacks.iter() {
            places.clear();
            let meant = (0..frames.len()).filter(|&depth| is_meant(&frames[depth]));
            places.extend(meant.map(|depth| Place::new(frames, depth)));
            count(&mut counts, &places, samples);
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
