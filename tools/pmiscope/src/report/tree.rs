//! The stacks of samples as a tree: from the outermost functions in, or from the executing ones out.

pub mod text;

use std::rc::Rc;

use hashbrown::HashMap;
use serde::Serialize;

use crate::flame::Stacks;
use crate::units::percent;

/// The most functions on the way to a node: far more than a kernel's chain has, while an imported stack
/// may have any number of them.
const DEEPEST: usize = 2000;
/// In place of those that are deeper.
const DEEPER: &str = "[deeper]";

/// A tree of calls.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct CallTree {
    /// What is asked of the samples that are counted.
    pub only: Vec<String>,
    /// All that are.
    pub samples: u64,
    /// Whether callers stand below what they call.
    pub inverted: bool,
    /// The functions that all begins with, those with most samples first.
    pub roots: Vec<Node>,
}

/// A function as it was come to.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize)]
pub struct Node {
    pub function: String,
    /// Samples whose stacks go through here.
    pub total: u64,
    /// Those that end here: in which it was executing itself; in an inverted tree, those that began
    /// with it.
    #[serde(rename = "self")]
    pub own: u64,
    pub children: Vec<Node>,
}

/// A node while the tree grows.
#[derive(Default)]
struct Growing {
    total: u64,
    own: u64,
    children: HashMap<Rc<str>, usize>,
}

impl CallTree {
    #[must_use]
    pub fn new(stacks: &Stacks, inverted: bool, only: Vec<String>) -> Self {
        let mut nodes = vec![Growing::default()];
        for (frames, samples) in stacks.iter() {
            let mut grow = Grow {
                nodes: &mut nodes,
                at: 0,
            };
            match inverted {
                true => grow.steps(frames.iter().rev(), samples),
                false => grow.steps(frames.iter(), samples),
            }
            let at = grow.at;
            nodes[at].own += samples;
        }
        Self {
            only,
            samples: stacks.samples(),
            inverted,
            roots: children(&nodes, 0),
        }
    }
}

impl CallTree {
    /// Leaves out what has less of all samples, in percent.
    pub fn cut(&mut self, limit: f64) {
        cut(&mut self.roots, limit, self.samples);
    }
}

fn cut(nodes: &mut Vec<Node>, limit: f64, of: u64) {
    nodes.retain(|node| percent(node.total, of) >= limit);
    for node in nodes {
        cut(&mut node.children, limit, of);
    }
}

/// Where a stack has come to in a tree.
struct Grow<'a> {
    nodes: &'a mut Vec<Growing>,
    at: usize,
}

impl Grow<'_> {
    fn steps<'a>(&mut self, mut names: impl Iterator<Item = &'a Rc<str>>, samples: u64) {
        for name in names.by_ref().take(DEEPEST) {
            self.step(name, samples);
        }
        if names.next().is_some() {
            self.step(&DEEPER.into(), samples);
        }
    }

    fn step(&mut self, name: &Rc<str>, samples: u64) {
        let next = self.nodes.len();
        let known = &mut self.nodes[self.at].children;
        self.at = *known.entry(Rc::clone(name)).or_insert(next);
        if self.at == next {
            self.nodes.push(Growing::default());
        }
        self.nodes[self.at].total += samples;
    }
}

/// A node's children, those with most samples first.
fn children(nodes: &[Growing], at: usize) -> Vec<Node> {
    let children_of = nodes[at].children.iter();
    let mut all: Vec<_> = children_of
        .map(|(name, &child)| Node {
            function: name.to_string(),
            total: nodes[child].total,
            own: nodes[child].own,
            children: children(nodes, child),
        })
        .collect();
    all.sort_by(|a, b| {
        b.total
            .cmp(&a.total)
            .then_with(|| a.function.cmp(&b.function))
    });
    all
}
