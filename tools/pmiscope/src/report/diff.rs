//! Two profiles, by the names of functions: what is hotter and what is colder in the second.

pub mod text;

use std::collections::BTreeMap;
use std::rc::Rc;

use serde::{Serialize, Serializer};

use super::model::SortBy;
use super::statistics::{TwoShares, significant};
use crate::flame::Stacks;

/// What differs between two profiles.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct Diff {
    /// What is asked of the samples that are counted.
    pub only: Vec<String>,
    pub before: Side,
    pub after: Side,
    /// Functions, those whose shares differ most first.
    pub functions: Vec<Row>,
    pub functions_in_all: usize,
    /// Stacks by the names of their functions, likewise.
    pub stacks: Vec<Row>,
    pub stacks_in_all: usize,
}

/// A profile of the two.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Side {
    pub profile: String,
    /// `null` if it was imported, and that is not known.
    pub build_id: Option<String>,
    pub samples: u64,
}

/// A function or a stack in both.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct Row {
    /// The function's name; of a stack all of them, outermost first.
    #[serde(serialize_with = "names")]
    pub name: Vec<Rc<str>>,
    /// Samples in which it was executing itself, in each profile.
    pub before_self: u64,
    pub after_self: u64,
    /// Samples in which it was on the stack.
    pub before_total: u64,
    pub after_total: u64,
    /// By how much the share of all samples that it is sorted by has grown, in percent points, and
    /// half the width of the 95 % confidence interval of that.
    pub delta: f64,
    pub error: f64,
    /// How likely it is for shares that are the same.
    pub chance: f64,
    /// Whether it is no accident: at most one in twenty of those that are said to be none is one.
    pub is_significant: bool,
}

fn names<S: Serializer>(names: &[Rc<str>], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(names.iter().map(|name| &**name))
}

/// How much of a diff is shown, and in what order.
#[derive(Clone, Copy, Debug)]
pub struct DiffOptions {
    pub sort: SortBy,
    pub functions: Option<usize>,
    pub stacks: Option<usize>,
}

/// Samples of a function or a stack: `self` and `total` of each profile.
#[derive(Clone, Copy, Default)]
struct Counts {
    own: [u64; 2],
    total: [u64; 2],
}

impl Diff {
    /// Compares the stacks of two profiles.
    #[must_use]
    pub fn new(sides: [(Side, &Stacks); 2], only: Vec<String>, options: DiffOptions) -> Self {
        let stacks = [sides[0].1, sides[1].1];
        let whole = stacks.map(Stacks::samples);
        let (mut functions, functions_in_all) = rows(functions(stacks), whole, options.sort);
        let (mut all, stacks_in_all) = rows(whole_stacks(stacks), whole, SortBy::Own);
        functions.truncate(options.functions.unwrap_or(usize::MAX));
        all.truncate(options.stacks.unwrap_or(usize::MAX));
        let [(before, _), (after, _)] = sides;
        Self {
            only,
            before,
            after,
            functions,
            functions_in_all,
            stacks: all,
            stacks_in_all,
        }
    }
}

/// Functions by their names.
fn functions(stacks: [&Stacks; 2]) -> BTreeMap<Vec<Rc<str>>, Counts> {
    let mut counts: BTreeMap<Rc<str>, Counts> = BTreeMap::new();
    let mut seen: Vec<Rc<str>> = Vec::new();
    for (side, stacks) in stacks.into_iter().enumerate() {
        for (frames, samples) in stacks.iter() {
            seen.clear();
            seen.extend(frames.iter().map(Rc::clone));
            seen.sort_unstable();
            seen.dedup();
            for name in &seen {
                counts.entry(Rc::clone(name)).or_default().total[side] += samples;
            }
            if let Some(own) = frames.last() {
                counts.entry(Rc::clone(own)).or_default().own[side] += samples;
            }
        }
    }
    let counts = counts.into_iter();
    counts.map(|(name, counts)| (vec![name], counts)).collect()
}

fn whole_stacks(stacks: [&Stacks; 2]) -> BTreeMap<Vec<Rc<str>>, Counts> {
    let mut counts: BTreeMap<Vec<Rc<str>>, Counts> = BTreeMap::new();
    for (side, stacks) in stacks.into_iter().enumerate() {
        for (frames, samples) in stacks.iter() {
            let counts = counts.entry(frames.to_vec()).or_default();
            counts.own[side] += samples;
            counts.total[side] += samples;
        }
    }
    counts
}

/// The rows, those that differ most first, and how many there are.
fn rows(
    counts: BTreeMap<Vec<Rc<str>>, Counts>,
    whole: [u64; 2],
    sort: SortBy,
) -> (Vec<Row>, usize) {
    let shares = |counts: &Counts| TwoShares {
        part: match sort {
            SortBy::Own => counts.own,
            SortBy::Total => counts.total,
        },
        whole,
    };
    let chances: Vec<_> = counts.values().map(|it| shares(it).chance()).collect();
    let significant = significant(&chances);
    let mut rows: Vec<_> = counts
        .into_iter()
        .zip(chances.into_iter().zip(significant))
        .map(|((name, counts), (chance, is_significant))| {
            let shares = shares(&counts);
            Row {
                name,
                before_self: counts.own[0],
                after_self: counts.own[1],
                before_total: counts.total[0],
                after_total: counts.total[1],
                delta: shares.delta(),
                error: shares.error(),
                chance,
                is_significant,
            }
        })
        .collect();
    // Of equal ones those with most samples first, then in the order of their names.
    let samples = |row: &Row| match sort {
        SortBy::Own => row.before_self + row.after_self,
        SortBy::Total => row.before_total + row.after_total,
    };
    rows.sort_by(|a, b| {
        let by_delta = b.delta.abs().total_cmp(&a.delta.abs());
        by_delta.then_with(|| samples(b).cmp(&samples(a)))
    });
    let in_all = rows.len();
    (rows, in_all)
}
