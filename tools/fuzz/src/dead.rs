//! The memory of a dead kernel, which is damaged, or was made by somebody else.

use std::cell::Cell;
use std::sync::OnceLock;

use kernel_core::log_ring::{Level, LogRing, RING_BYTES};
use kernel_core::postmortem::{
    Block, LOG_OFFSET, MAGIC, NO_TASK, ROOT_BYTES, Root, TASK_BLOCKED, TASK_FREE,
};
use pmiscope::internals::postmortem::{Memory, told_without_files};

use crate::input::Input;

const PAGE: usize = 4096;
/// The kernel's first address, which is that of the first byte of memory: one page of 2 MiB.
const START: u64 = 0xffff_ffff_8000_0000;
/// Where the tables of pages are, one behind the other.
const TABLES: usize = PAGE;
const BLOCK: usize = 4 * PAGE;
/// The log lies a page behind the block's begin.
const LOG: usize = BLOCK + PAGE;
const _: () = assert!(LOG_OFFSET == PAGE as u64);
/// Blocks of cores, their variables, tasks.
const DATA: usize = LOG + RING_BYTES.next_multiple_of(PAGE);
const CORES: usize = 2;
const STACKS: usize = DATA + PAGE;
/// Bytes of a stack, with its slot.
const STACK: usize = PAGE;
/// Of each core eight kinds, then one of each task.
const TASK_STACKS: usize = STACKS + CORES * 8 * STACK;
const MEMORY: usize = TASK_STACKS + 4 * STACK;

/// Words of a root before what its checksum is of.
const HEADER_WORDS: usize = 3;

/// How much of the story a person would ever look at. Nothing of it may grow with what a number in
/// memory says.
const MOST_TEXT: usize = 4 << 20;

/// Memory of which pages may be missing.
struct Pages {
    bytes: Vec<u8>,
    missing: [bool; MEMORY / PAGE],
    /// Reads so far.
    reads: Cell<u64>,
}

/// More reads than a person would wait for.
const MOST_READS: u64 = 20_000_000;

impl Memory for Pages {
    fn read(&self, address: u64, into: &mut [u8]) -> bool {
        self.reads.set(self.reads.get() + 1);
        assert!(self.reads.get() < MOST_READS, "there is no end of reading");
        let Ok(start) = usize::try_from(address) else {
            return false;
        };
        let end = start.checked_add(into.len());
        let Some(bytes) = end.and_then(|end| self.bytes.get(start..end)) else {
            return false;
        };
        into.copy_from_slice(bytes);
        let last = (start + into.len().max(1) - 1) / PAGE;
        !(start / PAGE..=last).any(|page| self.missing[page])
    }

    fn pages_like_roots(&self) -> Vec<u64> {
        let pages = (0_u64..).zip(self.bytes.chunks(PAGE));
        let like = pages.filter(|(_, page)| page.starts_with(&MAGIC));
        like.map(|(number, _)| number * PAGE as u64).collect()
    }
}

/// A kernel's memory in which words are changed, those of its root with a checksum that is right, and
/// pages left out.
///
/// # Panics
///
/// What is told of it has no end, or is no text for a terminal.
pub fn dead(data: &[u8]) {
    let mut input = Input(data);
    let mut pages = Pages {
        bytes: machine().to_vec(),
        missing: [false; MEMORY / PAGE],
        reads: Cell::new(0),
    };
    while !input.is_empty() {
        edit(&mut pages, &mut input);
    }
    let Ok((text, lacks)) = told_without_files(Box::new(pages)) else {
        return;
    };
    assert!(text.len() < MOST_TEXT, "{} bytes of text", text.len());
    let is_shown = |c: char| c == '\n' || !c.is_control();
    assert!(text.chars().all(is_shown), "{text:?}");
    for lack in lacks {
        assert!(!lack.chars().any(char::is_control), "{lack:?}");
    }
}

fn edit(pages: &mut Pages, input: &mut Input<'_>) {
    let kind = input.u8();
    let value = |input: &mut Input<'_>, old: u64| match kind >> 4 & 3 {
        0 => input.u64(),
        // What leads somewhere.
        1 => START + input.below(MEMORY) as u64,
        2 => old.wrapping_add_signed(i64::from(input.u8().cast_signed())),
        _ => input.u16().into(),
    };
    match kind & 7 {
        0 => pages.missing[input.below(MEMORY / PAGE)] = true,
        1 => {
            let at = LOG + input.below(RING_BYTES);
            pages.bytes[at] ^= input.u8();
        }
        2..=4 => {
            let place = HEADER_WORDS + input.below(ROOT_BYTES / 8 - HEADER_WORDS);
            change(&mut pages.bytes, BLOCK + place * 8, |old| value(input, old));
            seal(&mut pages.bytes[BLOCK..][..ROOT_BYTES]);
        }
        _ => {
            let start = if kind & 8 == 0 { DATA } else { TABLES };
            let end = if kind & 8 == 0 { MEMORY } else { BLOCK };
            let at = start + input.below((end - start) / 8) * 8;
            change(&mut pages.bytes, at, |old| value(input, old));
        }
    }
}

fn change(bytes: &mut [u8], at: usize, to: impl FnOnce(u64) -> u64) {
    let word = &mut bytes[at..][..8];
    let old = u64::from_le_bytes(std::array::from_fn(|i| word[i]));
    word.copy_from_slice(&to(old).to_le_bytes());
}

/// Makes a root's checksum right.
fn seal(root: &mut [u8]) {
    let (header, body) = root.split_at_mut(HEADER_WORDS * 8);
    let words = body
        .as_chunks()
        .0
        .iter()
        .map(|word| u64::from_le_bytes(*word));
    let sum = words.fold(0xcbf2_9ce4_8422_2325, |hash: u64, word| {
        (hash ^ word)
            .wrapping_mul(0x0000_0100_0000_01b3)
            .rotate_left(23)
    });
    header[16..].copy_from_slice(&sum.to_le_bytes());
}

/// The bytes of a value of words without padding.
fn bytes_of<T>(value: &T) -> &[u8] {
    // SAFETY: it is called with a block and a ring, which are words that nobody writes meanwhile.
    unsafe { std::slice::from_raw_parts(std::ptr::from_ref(value).cast(), size_of::<T>()) }
}

/// Two cores, one of which has failed, three tasks and a log.
fn machine() -> &'static [u8] {
    static MACHINE: OnceLock<Vec<u8>> = OnceLock::new();
    MACHINE.get_or_init(|| {
        let machine = made();
        let mut sealed = machine.clone();
        seal(&mut sealed[BLOCK..][..ROOT_BYTES]);
        assert!(sealed == machine, "the checksum is another one by now");
        machine
    })
}

fn made() -> Vec<u8> {
    let mut bytes = vec![0; MEMORY];
    let mut poke = |at: usize, word: u64| bytes[at..][..8].copy_from_slice(&word.to_le_bytes());
    poke(TABLES + 511 * 8, (TABLES + PAGE) as u64 | 3);
    poke(TABLES + PAGE + 510 * 8, (TABLES + 2 * PAGE) as u64 | 3);
    poke(TABLES + 2 * PAGE, 0x83);
    for core in 0..CORES {
        let block = DATA + 0x100 * (core + 1);
        poke(DATA + core * 8, START + block as u64);
        poke(block, core as u64 | 7 << 32);
        poke(block + 8, 1);
        poke(block + 16, 0x40 * core as u64);
        let own = DATA + 0x400 + 0x40 * core;
        let fp = STACKS + core * 8 * STACK + STACK - 0x100;
        let registers = [0x100, fp - 0x10, fp].map(|offset| START + offset as u64);
        (registers.iter().enumerate()).for_each(|(place, word)| poke(own + place * 8, *word));
        let fails = u64::from(core == 0);
        poke(own + 24, fails | u64::from(NO_TASK) << 16);
        poke(fp, START + fp as u64 + 0x40);
        poke(fp + 8, START + 0x110);
        poke(fp + 0x48, START + 0x805);
    }
    for (number, state) in [TASK_BLOCKED, 1, TASK_FREE].into_iter().enumerate() {
        let task = DATA + 0x800 + number * 16;
        let sp = TASK_STACKS + number * STACK + STACK - 0x100;
        poke(task, START + sp as u64);
        poke(task + 8, u64::from(state) | 1 << 16 | 1 << 32);
        poke(sp + 48, START + 0x805);
    }
    // The assembly is the root of all stacks.
    poke(DATA + 0xc00, 0x800_u64.wrapping_sub(DATA as u64 + 0xc00));
    poke(DATA + 0xc08, 4);
    poke(DATA + 0xc80, 3);
    let block = Box::new(Block::new());
    block.publish(&root());
    bytes[BLOCK..][..ROOT_BYTES].copy_from_slice(&bytes_of(&*block)[..ROOT_BYTES]);
    let log = log();
    bytes[LOG..][..RING_BYTES].copy_from_slice(bytes_of(&*log));
    bytes
}

fn root() -> Root {
    let at = |offset: usize| START + offset as u64;
    let mut root = Root::default();
    root.set_build_id([7; 20]);
    root.set_name(1, "waits");
    let image = &mut root.image;
    [image.block_physical, image.block] = [BLOCK as u64, at(BLOCK)];
    [image.text_start, image.text_end] = [START, START + 0x1000];
    image.page_tables = TABLES as u64;
    let cores = &mut root.cores;
    [cores.pointers, cores.count] = [at(DATA), CORES as u64];
    [cores.apic_id, cores.online, cores.distance] = [4, 8, 16];
    let own = &mut root.variables;
    own.left_registers = at(DATA + 0x400);
    [own.fails, own.state, own.current_task] = [24, 25, 26].map(|byte| at(DATA + 0x400 + byte));
    let tasks = &mut root.tasks;
    [tasks.table, tasks.count, tasks.stride] = [at(DATA + 0x800), 3, 16];
    [tasks.state, tasks.name, tasks.home] = [8, 10, 12];
    let stacks = &mut root.stacks;
    [stacks.cores, stacks.core_stride] = [at(STACKS), 8 * STACK as u64];
    [stacks.slot, stacks.kibibytes] = [STACK as u64, 0x0404_0404_0404];
    [stacks.tasks, stacks.task_bytes] = [at(TASK_STACKS), STACK as u64];
    stacks.made = at(DATA + 0xc80);
    let code = &mut root.code;
    [code.assembly_start, code.assembly_end] = [START + 0x800, START + 0x900];
    [code.rules_start, code.rules_end] = [0xc00, 0xc10].map(|offset| at(DATA + offset));
    code.stubs = u64::MAX;
    root
}

fn log() -> Box<LogRing> {
    use std::fmt::Write as _;
    let log = Box::new(LogRing::new());
    for (level, text) in [
        (Level::Info, "all is well".to_owned()),
        (Level::Warn, "a line of several parts, ".repeat(9)),
        (Level::LastWords, "panicked at a.rs:1:2:\nthis".to_owned()),
    ] {
        let mut message = log.begin(0, level, 0);
        message.write_str(&text).expect("a ring takes all");
        message.finish();
    }
    log
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is changed is in order: otherwise the target would look at refusals alone.
    #[test]
    fn all_is_told_of_the_memory_that_nothing_is_changed_in() {
        let pages = Pages {
            bytes: machine().to_vec(),
            missing: [false; MEMORY / PAGE],
            reads: Cell::new(0),
        };
        let (text, lacks) = told_without_files(Box::new(pages)).unwrap();
        assert_eq!(lacks, [""; 0], "{text}");
        for part in [
            "it has failed: [ERROR core0] panicked at a.rs:1:2:\n  this\n",
            "core 0 (APIC id 7): has failed, no task\nwhere it failed:\n  #00 [<0xffffffff80000100>]",
            "  #02 [<0xffffffff80000805>] 0xffffffff80000804\n  -- chain: complete --\n",
            "task 0 (waits), of core 1: blocked\n  #00 [<0xffffffff80000805>]",
            "task 1 (waits), of core 1: ready\n",
            "  [INFO core0] all is well\n",
        ] {
            assert!(text.contains(part), "{part:?} is not in {text}");
        }
    }
}
