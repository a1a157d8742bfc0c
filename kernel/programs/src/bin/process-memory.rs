//! A storm of page faults: blocks of pages are mapped, each page is touched for the first time, and most
//! of them are unmapped again. Its samples are mostly in the kernel, behind exception 14 and two calls.

#![no_std]
#![no_main]

use programs::{map, mix, unmap};

programs::program!(main);

const PAGE: usize = 4096;
const BLOCKS: usize = 6;

fn main(_: u64) -> u64 {
    let mut failed = 0;
    let mut kept: [Option<*mut u8>; BLOCKS] = [None; BLOCKS];
    for round in 0..12_usize {
        let place = round % BLOCKS;
        let pages = 1 + round % 4;
        if let Some(block) = kept[place].take() {
            failed += u64::from(!gives_back(block, 1 + (round - BLOCKS) % 4));
        }
        let Ok(block) = map((pages * PAGE) as u64) else {
            return 1;
        };
        for page in 0..pages {
            failed += u64::from(!touch(block.wrapping_add(page * PAGE), page as u64));
        }
        kept[place] = Some(block);
    }
    failed
}

/// Writes to a page that nothing was written to. Returns true if it was zero, and keeps what it is given.
#[inline(never)]
fn touch(page: *mut u8, seed: u64) -> bool {
    let word = page.cast::<u64>();
    let value = mix(seed, 20);
    // SAFETY: it is mapped, can be written to, and is aligned.
    let was_zero = unsafe { word.read_volatile() } == 0;
    // SAFETY: likewise.
    unsafe { word.write_volatile(value) };
    // SAFETY: likewise.
    was_zero && unsafe { word.read_volatile() } == value
}

#[inline(never)]
fn gives_back(block: *mut u8, pages: usize) -> bool {
    // SAFETY: nothing refers to it.
    unsafe { unmap(block, (pages * PAGE) as u64) }.is_ok()
}
