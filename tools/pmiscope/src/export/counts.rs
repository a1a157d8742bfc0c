//! What is counted of functions on the tree of stacks: each stack once.

use super::Export;

/// The samples of a function.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Debug)]
pub(super) struct Shares {
    /// Those in which it was executing itself.
    pub own: u64,
    /// Those in which it was on the stack, once each.
    pub total: u64,
}

/// Those of each function of the tree.
pub(super) fn of_functions(export: &Export<'_>) -> Vec<Shares> {
    let tree = &export.tree;
    let mut shares = vec![Shares::default(); tree.functions.len()];
    let mut last_seen = vec![0; shares.len()];
    let stacks = export.tally.numbered_stacks();
    for (turn, (number, stack)) in (1_u64..).zip(stacks) {
        let frames = tree.leaf(number).into_iter();
        let mut frames = frames.flat_map(|leaf| tree.frames_of(leaf)).peekable();
        if let Some(own) = frames.peek() {
            shares[own.function as usize].own += stack.samples;
        }
        for frame in frames {
            let function = frame.function as usize;
            if last_seen[function] != turn {
                last_seen[function] = turn;
                shares[function].total += stack.samples;
            }
        }
    }
    shares
}
