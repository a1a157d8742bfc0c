//! The samples of the user's processes: in their own code, and in the kernel on their behalf.

use std::collections::BTreeMap;

use profiler::address::UserAddress;
use serde::Serialize;

use super::Tally;
use super::stack::{Chain, Stack};
use crate::chain::Link;
use crate::symbols::Symbols;

/// A process, or those of a program together that its kernel has not announced.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct ProcessRow {
    /// Its program's file's name.
    pub name: String,
    /// The number by which its kernel knows it; left out of several.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pid: Option<u32>,
    /// All samples of it.
    pub samples: u64,
    /// Those of its own code.
    pub user: u64,
    /// Those of the kernel's code, at the end of a chain that begins in the program.
    pub kernel: u64,
}

/// A row for each process, the one with most samples first.
pub(super) fn rows(tally: &Tally, symbols: &Symbols) -> Vec<ProcessRow> {
    // A process has a number for each time that it was announced, as behind each exec.
    let mut counts: BTreeMap<(u16, Option<u32>), [u64; 2]> = BTreeMap::new();
    for (stack, number) in by_stack(tally) {
        if let Some(number) = number {
            let is_user = stack.is_user();
            let process = (symbols.program_of(number), symbols.pid_of(number));
            counts.entry(process).or_default()[usize::from(!is_user)] += stack.samples;
        }
    }
    let row = |((program, pid), [user, kernel]): (_, [u64; 2])| ProcessRow {
        name: symbols.program_name(program),
        pid,
        samples: user + kernel,
        user,
        kernel,
    };
    let mut rows: Vec<_> = counts.into_iter().map(row).collect();
    rows.sort_by_key(|row| std::cmp::Reverse(row.samples));
    rows
}

/// The process that ran in a stack, or that the kernel served in it.
pub(crate) fn of_stack(stack: &Stack<'_>) -> Option<u16> {
    match stack.is_user() {
        true => Some(program_of(stack)),
        false => served_by(&stack.outer),
    }
}

/// Each different stack, with the process that ran or that the kernel served, if there was one.
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

/// The processes of a program together.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct ProgramSum {
    pub(super) name: String,
    /// How many of them have a number, and samples.
    pub(super) processes: usize,
    /// There are samples of others.
    pub(super) has_more: bool,
    pub(super) user: u64,
    pub(super) kernel: u64,
}

/// A row for each program, the one with most samples first.
pub(super) fn by_program(rows: &[ProcessRow]) -> Vec<ProgramSum> {
    let mut sums: Vec<ProgramSum> = Vec::new();
    for row in rows {
        let place = sums.iter().position(|sum| sum.name == row.name);
        let place = place.unwrap_or_else(|| {
            sums.push(ProgramSum {
                name: row.name.clone(),
                processes: 0,
                has_more: false,
                user: 0,
                kernel: 0,
            });
            sums.len() - 1
        });
        let sum = &mut sums[place];
        sum.processes += usize::from(row.pid.is_some());
        sum.has_more |= row.pid.is_none();
        sum.user += row.user;
        sum.kernel += row.kernel;
    }
    sums.sort_by_key(|sum| std::cmp::Reverse(sum.user + sum.kernel));
    sums
}

/// The process that the kernel serves in this chain.
fn served_by(chain: &Chain<'_>) -> Option<u16> {
    let mut behind = chain
        .links()
        .skip_while(|link| !matches!(link, Link::Border { .. }))
        .peekable();
    behind.peek()?;
    // It may be about to go on at no address of its own, and is known by its callers then.
    let numbers = behind.filter_map(|link| match link {
        Link::Border { pc: address, .. } | Link::UserReturn(address) => UserAddress::of(address),
        _ => None,
    });
    let mut numbers = numbers.map(|user| user.program);
    Some(numbers.next().unwrap_or(0))
}

/// The process that was interrupted. One that is about to execute an address of the kernel's, and so to
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn processes_of_a_program_add_up() {
        let row = |name: &str, pid, user, kernel| ProcessRow {
            name: name.into(),
            pid,
            samples: user + kernel,
            user,
            kernel,
        };
        let rows = [
            row("spawn", Some(1), 5, 4),
            row("exit", Some(2), 1, 6),
            row("exit", Some(3), 2, 1),
            row("exit", None, 1, 0),
        ];
        let sum = |name: &str, (processes, has_more), user, kernel| ProgramSum {
            name: name.into(),
            processes,
            has_more,
            user,
            kernel,
        };
        assert_eq!(
            by_program(&rows),
            [sum("exit", (2, true), 4, 7), sum("spawn", (1, false), 5, 4)]
        );
    }
}
