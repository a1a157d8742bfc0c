//! A memory that is made by hand: page tables, cores, tasks, stacks and a log, each at a known place.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use anyhow::Result;
use kernel_core::log_ring::{Level, LogRing};
use kernel_core::postmortem::{
    Block, LOG_OFFSET, MAGIC, NO_TASK, ROOT_BYTES, Root, TASK_BLOCKED, TASK_FREE,
};
use kernel_core::rest::CoreState;

use super::find::{Dead, find_in, is_mapped};
use super::kernel;
use super::memory::Memory;
use super::registers::processor;
use super::space::{Fault, Space};
use super::story::{Files, Story, told_without_files};
use crate::symbols::{BuildId, Lines, Symbols};

const PAGE: u64 = 4096;

/// Pages of memory; all others are missing.
#[derive(Clone, Default)]
struct Pages {
    pages: BTreeMap<u64, Vec<u8>>,
    notes: Vec<Vec<u8>>,
}

impl Memory for Pages {
    fn read(&self, address: u64, into: &mut [u8]) -> bool {
        let mut at = address;
        let mut rest = into;
        while !rest.is_empty() {
            let within = usize::try_from(at % PAGE).unwrap();
            let (part, behind) = rest.split_at_mut(rest.len().min(4096 - within));
            let Some(page) = self.pages.get(&(at / PAGE)) else {
                return false;
            };
            part.copy_from_slice(&page[within..within + part.len()]);
            at = at.wrapping_add(part.len() as u64);
            rest = behind;
        }
        true
    }

    fn pages_like_roots(&self) -> Vec<u64> {
        let pages = self
            .pages
            .iter()
            .filter(|(_, page)| page.starts_with(&MAGIC));
        pages.map(|(number, _)| number * PAGE).collect()
    }

    fn notes(&self) -> Vec<Vec<u8>> {
        self.notes.clone()
    }
}

impl Pages {
    fn poke(&mut self, address: u64, bytes: &[u8]) {
        for (at, byte) in (address..).zip(bytes) {
            let page = self.pages.entry(at / PAGE);
            let page = page.or_insert_with(|| vec![0; 4096]);
            page[usize::try_from(at % PAGE).unwrap()] = *byte;
        }
    }

    fn word(&self, address: u64) -> u64 {
        let mut bytes = [0; 8];
        self.read(address, &mut bytes);
        u64::from_le_bytes(bytes)
    }
}

/// Where the page tables begin, the table for each level and part behind it.
const TABLES: u64 = 0x10_0000;
const TEXT: u64 = 0xffff_ffff_8000_0000;
const BLOCK: u64 = TEXT + 0x10_0000;
const DATA: u64 = TEXT + 0x20_0000;
/// As far as a core's variables are from the template's.
const DISTANCE: u64 = 0x1000;
const CORE_STACKS: u64 = 0xffff_fe00_0000_0000;
const TASK_STACKS: u64 = 0xffff_fe01_0000_0000;
const SLOT: u64 = 0x2_0000;
const ROOT_CODE: u64 = TEXT + 0x8000;

/// A memory with page tables.
struct Machine {
    memory: Pages,
    /// The next page of the memory that is free.
    free: u64,
    root: Root,
    log: Box<LogRing>,
}

impl Machine {
    /// A page that nothing is in.
    fn page(&mut self) -> u64 {
        self.free += PAGE;
        self.memory.poke(self.free, &[0; 4096]);
        self.free
    }

    /// Maps a page of addresses.
    fn map(&mut self, address: u64, physical: u64) {
        let mut table = TABLES;
        for shift in [39, 30, 21] {
            let entry = table + (address >> shift & 0x1ff) * 8;
            if self.memory.word(entry) == 0 {
                let next = self.page();
                self.memory.poke(entry, &(next | 3).to_le_bytes());
            }
            table = self.memory.word(entry) & !0xfff;
        }
        let entry = table + (address >> 12 & 0x1ff) * 8;
        self.memory.poke(entry, &(physical | 3).to_le_bytes());
    }

    fn space(&self) -> Space<'_> {
        Space {
            memory: &self.memory,
            tables: TABLES,
        }
    }

    /// Writes to an address, which is mapped if it is not yet.
    fn write(&mut self, address: u64, bytes: &[u8]) {
        for (at, byte) in (address..).zip(bytes) {
            if self.space().physical(at).is_err() {
                let page = self.page();
                self.map(at & !0xfff, page);
            }
            let physical = self.space().physical(at).unwrap();
            self.memory.poke(physical, &[*byte]);
        }
    }

    fn write_word(&mut self, address: u64, word: u64) {
        self.write(address, &word.to_le_bytes());
    }

    /// Frames on a stack, innermost first: pairs of frame pointer and return address.
    fn frames(&mut self, mut fp: u64, returns: &[u64]) {
        for (place, address) in returns.iter().enumerate() {
            let is_last = place + 1 == returns.len();
            let next = if is_last { 0 } else { fp + 0x40 };
            self.write_word(fp, next);
            self.write_word(fp + 8, *address);
            fp = next;
        }
    }

    fn core(&mut self, index: u32, left: [u64; 3], (fails, stopped, task): (bool, bool, u16)) {
        let block = DATA + 0x1_0000 * (u64::from(index) + 1);
        self.write_word(DATA + u64::from(index) * 8, block);
        self.write(block, &index.to_le_bytes());
        self.write(block + 4, &(index + 10).to_le_bytes());
        self.write(block + 8, &[1]);
        let distance = DISTANCE * u64::from(index + 1);
        self.write_word(block + 16, distance);
        let variables = DATA + 0x100 + distance;
        for (place, word) in (0..).zip(left) {
            self.write_word(variables + place * 8, word);
        }
        let state = if stopped {
            CoreState::Stopped
        } else {
            CoreState::Running
        };
        self.write(variables + 24, &[u8::from(fails), state as u8]);
        self.write(variables + 26, &task.to_le_bytes());
    }

    fn task(&mut self, number: u16, state: u8, sp: u64) {
        let task = self.root.tasks.table + u64::from(number) * self.root.tasks.stride;
        self.write_word(task, sp);
        self.write(task + 8, &[state, 0]);
        self.write(task + 10, &1_u16.to_le_bytes());
        self.write(task + 12, &1_u32.to_le_bytes());
    }

    /// The memory with what leads to all.
    fn finish(mut self) -> Pages {
        let block = Box::new(Block::new());
        let physical = self.free + 0x10_000;
        let pages = 1 + size_of::<LogRing>() as u64 / PAGE + 1;
        for page in 0..pages {
            self.memory.poke(physical + page * PAGE, &[0; 4096]);
            self.map(BLOCK + page * PAGE, physical + page * PAGE);
        }
        self.root.image.block = BLOCK;
        self.root.image.block_physical = physical;
        block.publish(&self.root);
        self.memory.poke(physical, &bytes_of(&*block)[..ROOT_BYTES]);
        self.memory
            .poke(physical + LOG_OFFSET, bytes_of(&*self.log));
        self.memory
    }
}

/// The bytes of a value of words without padding.
fn bytes_of<T>(value: &T) -> &[u8] {
    // SAFETY: both types that it is called with are words, which nobody writes meanwhile.
    unsafe { std::slice::from_raw_parts(std::ptr::from_ref(value).cast(), size_of::<T>()) }
}

/// Registers of a core that was in a function at `TEXT + offset`, with its frame at `fp`.
fn registers(offset: u64, fp: u64) -> [u64; 3] {
    [TEXT + offset, fp - 0x10, fp]
}

/// The end of a core's first stack, and of a task's.
fn core_stack(core: u64) -> u64 {
    CORE_STACKS + core * 8 * SLOT + SLOT
}

fn task_stack(task: u64) -> u64 {
    TASK_STACKS + (task + 1) * SLOT
}

/// Two cores, of which the first has failed and the second was stopped in a task, and a task that
/// waits.
fn machine() -> Machine {
    let mut machine = Machine {
        memory: Pages::default(),
        free: TABLES,
        root: Root::default(),
        log: Box::new(LogRing::new()),
    };
    machine.memory.poke(TABLES, &[0; 4096]);
    let root = &mut machine.root;
    root.set_build_id([7; 20]);
    root.set_name(1, "waits");
    root.image.text_start = TEXT;
    root.image.text_end = TEXT + 0x1_0000;
    root.image.page_tables = TABLES;
    root.cores.pointers = DATA;
    root.cores.count = 2;
    [root.cores.apic_id, root.cores.online, root.cores.distance] = [4, 8, 16];
    root.variables.left_registers = DATA + 0x100;
    root.variables.fails = DATA + 0x100 + 24;
    root.variables.state = DATA + 0x100 + 25;
    root.variables.current_task = DATA + 0x100 + 26;
    root.tasks.table = DATA + 0x8000;
    root.tasks.count = 4;
    root.tasks.stride = 16;
    [root.tasks.state, root.tasks.name, root.tasks.home] = [8, 10, 12];
    root.stacks.cores = CORE_STACKS;
    root.stacks.core_stride = 8 * SLOT;
    root.stacks.slot = SLOT;
    root.stacks.kibibytes = 0x1010_1020_1040;
    root.stacks.tasks = TASK_STACKS;
    root.stacks.task_bytes = 64 << 10;
    root.stacks.made = DATA + 0x80;
    root.code.assembly_start = ROOT_CODE;
    root.code.assembly_end = ROOT_CODE + 0x100;
    root.code.rules_start = DATA + 0x9000;
    root.code.rules_end = DATA + 0x9010;
    root.code.stubs = u64::MAX;
    // The assembly is the root of all stacks.
    let distance = ROOT_CODE.wrapping_sub(DATA + 0x9000);
    machine.write_word(DATA + 0x9000, distance);
    machine.write(DATA + 0x9008, &[4, 0, 0, 0, 0, 0, 0, 0]);
    machine.write(DATA + 0x80, &2_u16.to_le_bytes());

    let fp = core_stack(0) - 0x200;
    machine.frames(fp, &[TEXT + 0x110, TEXT + 0x120, ROOT_CODE + 5]);
    machine.core(0, registers(0x100, fp), (true, false, NO_TASK));
    let fp = task_stack(0) - 0x800;
    machine.frames(fp, &[TEXT + 0x210, ROOT_CODE + 5]);
    machine.core(1, registers(0x200, fp), (false, true, 0));
    machine.task(0, 1, 0);
    // Five registers, then the frame.
    let sp = task_stack(1) - 0x300;
    machine.frames(sp + 40, &[TEXT + 0x310, TEXT + 0x320, ROOT_CODE + 5]);
    machine.task(1, TASK_BLOCKED, sp);
    machine.task(2, TASK_FREE, 0x1234);
    machine.task(3, TASK_FREE, 0);

    for (level, text) in [
        (Level::Info, "all is well"),
        (
            Level::LastWords,
            "panicked at a.rs:1:2:\nthis\n#00 [<…>] f+0x1",
        ),
    ] {
        let mut message = machine.log.begin(0, level, 0);
        message.write_str(text).unwrap();
        message.finish();
    }
    machine
}

const WHOLE: &str = "\
kernel: build-id 0707070707070707070707070707070707070707
it has failed: [ERROR core0] panicked at a.rs:1:2:
  this

core 0 (APIC id 10): has failed, no task
where it failed:
  #00 [<0xffffffff80000100>] 0xffffffff80000100
  #01 [<0xffffffff80000110>] 0xffffffff8000010f
  #02 [<0xffffffff80000120>] 0xffffffff8000011f
  #03 [<0xffffffff80008005>] 0xffffffff80008004
  -- chain: complete --

core 1 (APIC id 11): was stopped, task 0 (waits)
where it was stopped:
  #00 [<0xffffffff80000200>] 0xffffffff80000200
  #01 [<0xffffffff80000210>] 0xffffffff8000020f
  #02 [<0xffffffff80008005>] 0xffffffff80008004
  -- chain: complete --

task 0 (waits): runs on core 1

task 1 (waits), of core 1: blocked
  #00 [<0xffffffff80000310>] 0xffffffff8000030f
  #01 [<0xffffffff80000320>] 0xffffffff8000031f
  #02 [<0xffffffff80008005>] 0xffffffff80008004
  -- chain: complete --

the log:
  [INFO core0] all is well
  [ERROR core0] panicked at a.rs:1:2:
  this
  #00 [<…>] f+0x1
";

fn story(memory: &Pages) -> Result<(String, Vec<String>)> {
    told_without_files(Box::new(memory.clone()))
}

fn told(dead: &Dead<'_>) -> (String, Vec<String>) {
    let mut files = Files {
        symbols: Symbols::without_elf(),
        lines: Lines::default(),
    };
    Story::new(dead, &mut files, &[]).whole()
}

#[test]
fn all_of_a_whole_memory_is_told() {
    let memory = machine().finish();
    let (text, lacks) = story(&memory).unwrap();
    assert_eq!(text, WHOLE);
    assert!(lacks.is_empty(), "{lacks:?}");
}

#[test]
fn the_core_that_has_failed_is_told_first() {
    let memory = machine().finish();
    let dead = find_in(Box::new(memory), None).unwrap();
    let mut files = Files {
        symbols: Symbols::without_elf(),
        lines: Lines::default(),
    };
    let text = Story::new(&dead, &mut files, &[]).short();
    let (_, chain) = WHOLE.split_once("where it failed:\n").unwrap();
    let (chain, _) = chain.split_once("\n\n").unwrap();
    assert_eq!(text, format!("core 0 has failed here:\n{chain}\n"));
}

/// Of a memory that lacks a page all that is told is true: it is told of the whole one as well.
#[test]
fn a_memory_that_lacks_any_page_tells_nothing_else() {
    let memory = machine().finish();
    let whole: Vec<_> = WHOLE.lines().collect();
    let mut told_something = 0;
    for missing in memory.pages.keys() {
        let mut cut = memory.clone();
        cut.pages.remove(missing);
        let Ok((text, lacks)) = story(&cut) else {
            continue;
        };
        told_something += 1;
        for line in text.lines() {
            let is_true = |whole: &&str| whole.starts_with(line);
            let is_known = whole.iter().any(is_true) || line == "  -- chain: cut --";
            assert!(is_known, "without page {missing:#x}: {line}\n{text}");
        }
        // What was not told is said.
        let is_whole = text == WHOLE || !lacks.is_empty();
        assert!(is_whole, "without page {missing:#x}:\n{text}");
    }
    // All but the root's own page.
    assert_eq!(told_something, memory.pages.len() - 1);
}

#[test]
fn a_memory_that_is_damaged_anywhere_ends_nothing() {
    let memory = machine().finish();
    let mut random = fastrand::Rng::with_seed(18);
    for (number, page) in &memory.pages {
        for _ in 0..4 {
            let mut damaged = memory.clone();
            let used: Vec<_> = page
                .iter()
                .enumerate()
                .filter(|(_, byte)| **byte != 0)
                .collect();
            let at = used
                .get(random.usize(0..used.len().max(1)))
                .map_or(0, |(at, _)| *at);
            damaged.pages.get_mut(number).unwrap()[at] ^= 1 << random.u8(0..8);
            let _ = story(&damaged);
            let garbage = std::iter::repeat_with(|| random.u8(..))
                .take(4096)
                .collect();
            damaged.pages.insert(*number, garbage);
            let _ = story(&damaged);
        }
    }
}

/// All numbers of a root but where it is itself.
fn numbers(root: &mut Root) -> Vec<&mut u64> {
    let Root {
        image,
        cores,
        variables,
        tasks,
        stacks,
        code,
        ..
    } = root;
    vec![
        &mut image.text_start,
        &mut image.text_end,
        &mut image.page_tables,
        &mut cores.pointers,
        &mut cores.count,
        &mut cores.index,
        &mut cores.apic_id,
        &mut cores.online,
        &mut cores.distance,
        &mut variables.left_registers,
        &mut variables.fails,
        &mut variables.state,
        &mut variables.current_task,
        &mut tasks.table,
        &mut tasks.count,
        &mut tasks.stride,
        &mut tasks.sp,
        &mut tasks.state,
        &mut tasks.name,
        &mut tasks.home,
        &mut stacks.cores,
        &mut stacks.core_stride,
        &mut stacks.slot,
        &mut stacks.kibibytes,
        &mut stacks.tasks,
        &mut stacks.task_bytes,
        &mut stacks.made,
        &mut code.assembly_start,
        &mut code.assembly_end,
        &mut code.calls_start,
        &mut code.calls_end,
        &mut code.rules_start,
        &mut code.rules_end,
        &mut code.stubs,
    ]
}

/// A kernel that tells anything of itself, with a right checksum.
#[test]
fn whatever_a_root_says_ends_nothing() {
    let memory = machine().finish();
    let address = memory.pages_like_roots()[0];
    let dead = find_in(Box::new(memory.clone()), None).unwrap();
    let block = Box::new(Block::new());
    for number in 0..numbers(&mut Root::default()).len() {
        for value in [
            0,
            1,
            7,
            0x8000_0000_0000_0000,
            u64::MAX - 7,
            u64::MAX,
            DATA,
            CORE_STACKS,
        ] {
            let mut root = dead.root;
            *numbers(&mut root)[number] = value;
            block.publish(&root);
            let mut memory = memory.clone();
            memory.poke(address, &bytes_of(&*block)[..ROOT_BYTES]);
            let _ = story(&memory);
        }
    }
}

#[test]
fn what_is_no_kernel_is_said_to_be_none() {
    let said = |memory: &Pages| story(memory).unwrap_err().to_string();
    assert!(said(&Pages::default()).contains("no kernel of pmiscope's has left word"));
    let memory = machine().finish();
    let root = memory.pages_like_roots()[0];
    let mut damaged = memory.clone();
    damaged.poke(root + 100, &[0xff]);
    assert!(said(&damaged).contains("is damaged"));
    let mut other = memory.clone();
    other.poke(root + 8, &[9]);
    assert!(said(&other).contains("another version of what it leaves behind (9)"));
    // A copy of the root, as in a file that was loaded, is none.
    let mut copied = memory.clone();
    let page = copied.pages.remove(&(root / PAGE)).unwrap();
    copied.pages.insert(7, page);
    assert!(said(&copied).contains("no kernel of pmiscope's has left word"));
}

#[test]
fn of_two_kernels_the_one_that_is_asked_for_is_taken() {
    let memory = machine().finish();
    let mut other = machine();
    other.root.set_build_id([8; 20]);
    other.root.image.page_tables = 0;
    other.free += 0x100_0000;
    let other = other.finish();
    let mut both = memory;
    let root = other.pages_like_roots()[0];
    both.pages
        .insert(root / PAGE, other.pages[&(root / PAGE)].clone());
    for (wanted, found, is_whole) in [(None, 7, true), (Some(7), 7, true), (Some(8), 8, false)] {
        let wanted = wanted.map(|byte| BuildId([byte; 20]));
        let dead = find_in(Box::new(both.clone()), wanted).unwrap();
        assert_eq!(dead.build_id(), BuildId([found; 20]));
        assert_eq!(is_mapped(&dead), is_whole);
        assert!(
            dead.notes[0].starts_with("1 more was found"),
            "{:?}",
            dead.notes
        );
    }
}

#[test]
fn a_core_of_a_dump_is_where_its_processor_was() {
    let mut machine = machine();
    let fp = core_stack(0) - 0x200;
    machine.core(0, [0; 3], (false, false, NO_TASK));
    let mut note = vec![0; 112 + 27 * 8];
    let mut set = |place: usize, word: u64| {
        note[112 + place * 8..][..8].copy_from_slice(&word.to_le_bytes());
    };
    let [pc, sp, fp] = registers(0x100, fp);
    for (place, word) in [(4, fp), (16, pc), (19, sp), (22, DATA + 0x1_0000)] {
        set(place, word);
    }
    let mut memory = machine.finish();
    memory.notes = vec![note.clone(), vec![0; 40]];
    let (text, _) = story(&memory).unwrap();
    let expected = WHOLE
        .replacen("has failed, no task", "has not stopped, no task", 1)
        .replacen("where it failed", "where it was when the dump was made", 1);
    assert_eq!(text, expected);
    // One that is no core's.
    memory.notes = vec![vec![0; 112 + 27 * 8]];
    let (text, lacks) = story(&memory).unwrap();
    assert!(text.contains("its registers are not known, and there are no samples"));
    assert_eq!(lacks, ["a processor at 0x0 is none of the kernel's cores"]);
    for length in 0..note.len() {
        let is_whole = length >= 112 + 23 * 8;
        assert_eq!(processor(&note[..length]).is_some(), is_whole, "{length}");
    }
}

#[test]
fn addresses_are_followed_through_pages_of_all_sizes() {
    let mut machine = machine();
    machine.map(0x7000, 0x5000);
    // 2 MiB at 0x4020_0000, 1 GiB at 0x8000_0000, by the tables that lead to 0x7000.
    let second = machine.memory.word(TABLES) & !0xfff;
    let third = machine.page();
    machine.memory.poke(second + 8, &(third | 3).to_le_bytes());
    machine
        .memory
        .poke(third + 8, &(0x60_0000_u64 | 0x83).to_le_bytes());
    machine
        .memory
        .poke(second + 16, &(0x1_4000_0000_u64 | 0x83).to_le_bytes());
    // A table that is not there, and one that leads to itself.
    machine
        .memory
        .poke(second + 24, &(0xdead_b000_u64 | 3).to_le_bytes());
    machine.memory.poke(TABLES + 8, &(TABLES | 3).to_le_bytes());
    let space = machine.space();
    for (address, physical) in [
        (0x7123, Ok(0x5123)),
        (0x4020_0000, Ok(0x60_0000)),
        (0x403f_ffff, Ok(0x7f_ffff)),
        (0x8000_0000, Ok(0x1_4000_0000)),
        (0xbfff_fff8, Ok(0x1_7fff_fff8)),
        (0x8000, Err(Fault::Unmapped)),
        (0xc000_0000, Err(Fault::Missing)),
        (0x0000_8000_0000_0000, Err(Fault::Unmapped)),
        (0xfff0_0000_0000_0000, Err(Fault::Unmapped)),
    ] {
        assert_eq!(space.physical(address), physical, "{address:#x}");
    }
    assert_eq!(space.physical(0x80_4020_1000), Ok(TABLES));
    // A page behind the last that is mapped.
    assert_eq!(space.read(0x7ffc, &mut [0; 8]), Err(Fault::Missing));
    let other = Space {
        tables: 0xfff_f000,
        ..space
    };
    assert_eq!(other.physical(0x7000), Err(Fault::Missing));
}

#[test]
fn a_core_whose_block_is_lost_does_not_hide_the_others() {
    let mut machine = machine();
    machine.write_word(DATA + 8, 0xffff_a000_0000_0000);
    let memory = machine.finish();
    let dead = find_in(Box::new(memory), None).unwrap();
    let (cores, _) = kernel::cores(&dead);
    assert_eq!(cores.iter().flatten().count(), 1);
    let (text, lacks) = told(&dead);
    assert!(text.contains("core 0 (APIC id 10): has failed"));
    assert_eq!(
        lacks,
        [
            "core 1: what is known of it is not mapped",
            "task 0 (waits): it is ready, or runs on a core that cannot be read"
        ]
    );
    assert!(!text.contains("task 0") && text.contains("task 1 (waits), of core 1: blocked"));
}
