//! The samples of the user's programs: in their own code, and in the kernel on their behalf.

use std::collections::BTreeMap;

use profiler::address::UserAddress;
use serde::Serialize;

use super::Tally;
use super::stack::{Chain, Stack};
use crate::chain::Link;
use crate::symbols::Symbols;

/// A program.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct ProcessRow {
    /// Its file's name.
    pub name: String,
    /// All samples of it.
    pub samples: u64,
    /// Those of its own code.
    pub user: u64,
    /// Those of the kernel's code, at the end of a chain that begins in the program.
    pub kernel: u64,
}

/// A row for each program, the one with most samples first.
pub(super) fn rows(tally: &Tally, symbols: &Symbols) -> Vec<ProcessRow> {
    let mut counts: BTreeMap<u16, [u64; 2]> = BTreeMap::new();
    for (stack, program) in by_stack(tally) {
        if let Some(program) = program {
            let is_user = stack.is_user();
            counts.entry(program).or_default()[usize::from(!is_user)] += stack.samples;
        }
    }
    let row = |(number, [user, kernel]): (u16, [u64; 2])| ProcessRow {
        name: symbols.program_name(number),
        samples: user + kernel,
        user,
        kernel,
    };
    let mut rows: Vec<_> = counts.into_iter().map(row).collect();
    rows.sort_by_key(|row| std::cmp::Reverse(row.samples));
    rows
}

/// The program that ran in a stack, or that the kernel served in it.
pub(super) fn of_stack(stack: &Stack<'_>) -> Option<u16> {
    match stack.is_user() {
        true => Some(program_of(stack)),
        false => served_by(&stack.outer),
    }
}

/// Each different stack, with the program that ran or that the kernel served, if there was one.
pub(super) fn by_stack(tally: &Tally) -> impl Iterator<Item = (Stack<'_>, Option<u16>)> {
    let served: Vec<_> = tally.chains().map(|chain| served_by(&chain)).collect();
    tally.stacks().map(move |stack| {
        let program = if stack.is_user() {
            Some(program_of(&stack))
        } else {
            served[stack.outer.number]
        };
        (stack, program)
    })
}

/// The program that the kernel serves in this chain.
fn served_by(chain: &Chain<'_>) -> Option<u16> {
    chain.links().find_map(|link| match link {
        Link::Border { pc, .. } => Some(UserAddress::of(pc).map_or(0, |user| user.program)),
        _ => None,
    })
}

/// The program that was interrupted. One that is about to execute an address of the kernel's, and so to
/// fault, is known by its callers.
fn program_of(stack: &Stack<'_>) -> u16 {
    let callers = stack.outer.links().filter_map(|link| match link {
        Link::UserReturn(address) => Some(address),
        _ => None,
    });
    let mut addresses = std::iter::once(stack.pc).chain(callers);
    addresses
        .find_map(UserAddress::of)
        .map_or(0, |user| user.program)
}
