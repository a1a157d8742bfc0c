//! Where a walk finds the memory of a process.

use alloc::vec::Vec;
use core::cmp::Reverse;

use profiler::unwind::user::{PhysicalRange, UserMemory};
use spin::Once;

use super::thread;
use crate::boot;
use crate::memory::{direct, paging};

/// RAM, for walks.
static RAM: Once<Vec<PhysicalRange>> = Once::new();

fn find_ram() -> Vec<PhysicalRange> {
    let mut ram: Vec<_> = paging::ram(boot::info())
        .map(|range| PhysicalRange {
            start: range.start.as_u64(),
            end: range.end.as_u64(),
        })
        .collect();
    // Where most is, is looked first.
    ram.sort_by_key(|range| Reverse(range.end - range.start));
    ram
}

/// Finds it, before anybody walks.
pub(super) fn start() {
    RAM.call_once(find_ram);
}

/// Where the memory is of the process that the task with this number is a thread of: for walks, at
/// any instruction.
#[must_use]
#[inline]
pub fn memory_of_task(number: u16) -> Option<UserMemory> {
    let thread::Place { root, number } = thread::place_of(number)?;
    Some(UserMemory {
        root,
        direct_map: direct::offset().as_u64(),
        ram: RAM.get()?,
        program: number,
        // As the boot loaders are asked for, which know four by default.
        has_five_levels: false,
    })
}
