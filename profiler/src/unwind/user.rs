//! The user's part of a chain: the frames of a program, read without a fault.
//!
//! A program's stack is whatever the program makes of it: its frame pointers lead anywhere, its pages
//! come and go. So the walk never loads from one of its addresses. It translates each by the
//! program's page tables, as the processor would, and reads tables and stack where the kernel has
//! all memory mapped for ever, in its direct map:
//!
//! * A word is read only within [`UserMemory::ram`], whatever an entry of a table says.
//! * Every table on the way has to say "present" and "user", so no word of the kernel's is read; and
//!   the root is the program's own, so none of another program's.
//! * Words are aligned, so none crosses a page.
//!
//! The chain's addresses have the program's number above them ([`UserAddress`]).
//!
//! What another core unmaps meanwhile gives a wrong word at worst. Such a frame pointer is an
//! allegation as any is: frames have to rise, a return address has to lie where the program may
//! execute, and a chain has at most [`MAX_CHAIN`] words.
//!
//! [`MAX_CHAIN`]: crate::format::sample::MAX_CHAIN

use super::{Append, Registers, Slot, Target, WORD, Walked};
pub use crate::address::USER_END;
use crate::address::{CodeAddress, StackAddress, UserAddress};
use crate::format::sample::{ChainEnd, ChainEntry};

/// Memory at physical addresses: from `start` up to, not including, `end`.
///
/// ```
/// use profiler::unwind::user::PhysicalRange;
///
/// let low = PhysicalRange { start: 0, end: 0xa_0000 };
/// assert!(low.start < low.end);
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct PhysicalRange {
    /// The first address.
    pub start: u64,
    /// The first address past it.
    pub end: u64,
}

/// Where a program's memory is found.
///
/// ```
/// use profiler::unwind::user::{PhysicalRange, UserMemory};
///
/// // What a kernel says whose direct map has 512 MiB.
/// static RAM: [PhysicalRange; 1] = [PhysicalRange { start: 0, end: 512 << 20 }];
///
/// fn of_process(cr3: u64) -> UserMemory {
///     UserMemory {
///         root: cr3,
///         program: 1,
///         direct_map: 0xffff_8000_0000_0000,
///         ram: &RAM,
///         has_five_levels: false,
///     }
/// }
/// # assert_eq!(of_process(0x1000).root, 0x1000);
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct UserMemory {
    /// The root of the program's page tables, as CR3 has it: bits that are no address are left out.
    pub root: u64,
    /// The number of the program, by which a reader knows it, from 1 on: that of the boot module that
    /// it is from; or that of a process of it which was announced
    /// ([`Sampler::announce`](crate::sampler::Sampler::announce)). 0: none.
    pub program: u16,
    /// Where physical address 0 is mapped.
    pub direct_map: u64,
    /// What is mapped there, for ever, and may be read without an effect: RAM. Looked through at each
    /// word, so it should be short, and the usual memory first.
    pub ram: &'static [PhysicalRange],
    /// The page tables have five levels (CR4.LA57). Programs have addresses below 2^47 all the same.
    pub has_five_levels: bool,
}

/// In an entry of a page table.
mod bit {
    pub(super) const PRESENT_AND_USER: u64 = 1 | 1 << 2;
    pub(super) const HUGE: u64 = 1 << 7;
    pub(super) const NO_EXECUTE: u64 = 1 << 63;
    pub(super) const ADDRESS: u64 = 0x000f_ffff_ffff_f000;
}

/// The number of bits of an address below what an entry maps, by the level of its table: the root is the
/// first.
mod below {
    /// Of five levels.
    pub(super) const ROOT_OF_FIVE: u32 = 48;
    pub(super) const ROOT: u32 = 39;
    pub(super) const GIB: u32 = 30;
    pub(super) const TWO_MIB: u32 = 21;
    pub(super) const PAGE: u32 = 12;
}

/// A page of a program.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Page {
    /// Its first address.
    start: u64,
    /// Its size less one.
    within: u64,
    /// Its first physical address.
    physical: u64,
    is_executable: bool,
}

impl Page {
    /// One that contains no address.
    const NONE: Self = Self {
        start: u64::MAX,
        within: 0,
        physical: 0,
        is_executable: false,
    };

    /// The page of `address` by the entry that maps it, of which so many bits of an address are below;
    /// `any` has the bits that any entry on the way to it has.
    #[inline(always)]
    const fn of(address: u64, entry: u64, below: u32, any: u64) -> Self {
        let within = (1 << below) - 1;
        Self {
            start: address & !within,
            within,
            physical: entry & bit::ADDRESS & !within,
            is_executable: any & bit::NO_EXECUTE == 0,
        }
    }

    const fn contains(&self, address: u64) -> bool {
        address & !self.within == self.start
    }
}

/// Where aligned words of RAM may be loaded from.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Words {
    start: u64,
    /// From there up to, not including, the first that is not all in it, in bytes.
    room: u64,
}

impl Words {
    const NONE: Self = Self { start: 0, room: 0 };

    const fn of(ram: PhysicalRange) -> Self {
        let bytes = ram.end.saturating_sub(ram.start);
        Self {
            start: ram.start,
            room: bytes.saturating_sub(WORD - 1),
        }
    }

    #[inline(always)]
    const fn contain(self, address: u64) -> bool {
        address.wrapping_sub(self.start) < self.room
    }
}

/// The page of a stack that was looked at last, where all of it is RAM.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Pairs {
    /// Its first address.
    start: u64,
    /// From there up to, not including, the first at which there is no pair of words in it, in bytes.
    room: u64,
    /// Where the kernel has its first word mapped.
    mapped: u64,
}

impl Pairs {
    const NONE: Self = Self {
        start: 0,
        room: 0,
        mapped: 0,
    };
}

/// A program's memory, as the walk reads it. The pages that were looked at last need no tables again:
/// for what is loaded, which is a stack, and for what may be executed.
struct Memory<'a, T> {
    target: &'a T,
    memory: UserMemory,
    /// Of what held the last physical address.
    ram: Words,
    data: Page,
    /// Those of `data`, of which a frame needs no more than a comparison.
    pairs: Pairs,
    code: Page,
}

impl<'a, T: Target> Memory<'a, T> {
    #[inline]
    fn new(memory: UserMemory, target: &'a T) -> Self {
        Self {
            target,
            memory,
            ram: Words::NONE,
            data: Page::NONE,
            pairs: Pairs::NONE,
            code: Page::NONE,
        }
    }

    /// Loads the word at an aligned physical address, if that is in RAM.
    #[inline(always)]
    fn physical_word(&mut self, address: u64) -> Option<u64> {
        if !self.ram.contain(address) {
            self.ram = self.other_ram(address)?;
        }
        // All RAM is mapped there, so no address of it is past the end.
        let mapped = self.memory.direct_map.wrapping_add(address);
        Some(self.target.load(Slot(mapped)))
    }

    #[cold]
    fn other_ram(&self, address: u64) -> Option<Words> {
        let mut words = self.memory.ram.iter().map(|ram| Words::of(*ram));
        words.find(|words| words.contain(address))
    }

    /// The page that `address` is in, if the program may read it (SDM vol. 3, 5.5.4).
    #[inline(never)]
    fn translate(&mut self, address: u64) -> Option<Page> {
        if address >= USER_END {
            return None;
        }
        let mut root = self.memory.root;
        if self.memory.has_five_levels {
            root = self.entry(root, address, below::ROOT_OF_FIVE)?;
            if root & bit::HUGE != 0 {
                // Reserved, as in the next level.
                return None;
            }
        }
        // Level by level: each is a few instructions, and a walk has two of these.
        let root = self.entry(root, address, below::ROOT)?;
        if root & bit::HUGE != 0 {
            // Reserved: no processor goes on here.
            return None;
        }
        let upper = self.entry(root, address, below::GIB)?;
        let any = root | upper;
        if upper & bit::HUGE != 0 {
            return Some(Page::of(address, upper, below::GIB, any));
        }
        let middle = self.entry(upper, address, below::TWO_MIB)?;
        let any = any | middle;
        if middle & bit::HUGE != 0 {
            return Some(Page::of(address, middle, below::TWO_MIB, any));
        }
        let page = self.entry(middle, address, below::PAGE)?;
        Some(Page::of(address, page, below::PAGE, any | page))
    }

    /// The entry for `address` of the table that `of` leads to, an entry or CR3, if it lets the program go
    /// on.
    #[inline(always)]
    fn entry(&mut self, of: u64, address: u64, below: u32) -> Option<u64> {
        let index = address >> below & 511;
        let entry = self.physical_word((of & bit::ADDRESS) + index * WORD)?;
        (entry & bit::PRESENT_AND_USER == bit::PRESENT_AND_USER).then_some(entry)
    }

    /// Loads the word at an address of the program, if it is aligned and may be read.
    #[inline]
    fn word(&mut self, address: u64) -> Option<u64> {
        if !address.is_multiple_of(WORD) {
            return None;
        }
        self.look_at(address)?;
        let Page {
            physical, within, ..
        } = self.data;
        self.physical_word(physical | address & within)
    }

    /// Looks at the page of a stack that `address` is in.
    #[inline(always)]
    fn look_at(&mut self, address: u64) -> Option<()> {
        if !self.data.contains(address) {
            self.data = self.translate(address)?;
            self.set_pairs();
        }
        Some(())
    }

    /// Sets the pairs of the page that is looked at.
    #[inline]
    fn set_pairs(&mut self) {
        let Page {
            start,
            within,
            physical,
            ..
        } = self.data;
        // The last word of a page is a multiple of 8 as its first one is.
        let holds =
            |ram: Words| ram.contain(physical) && ram.contain(physical | (within - (WORD - 1)));
        if !holds(self.ram) {
            let ram = self.other_ram(physical);
            let Some(ram) = ram.filter(|&ram| holds(ram)) else {
                self.pairs = Pairs::NONE;
                return;
            };
            self.ram = ram;
        }
        self.pairs = Pairs {
            start,
            room: within + 1 - (2 * WORD - 1),
            mapped: self.memory.direct_map.wrapping_add(physical),
        };
    }

    /// Returns true if the program may execute what is at `address`.
    #[inline]
    fn is_code(&mut self, address: u64) -> bool {
        if self.code.contains(address) {
            return true;
        }
        // Words of a stack lead to it as often as to code.
        let page = if self.data.contains(address) {
            Some(self.data)
        } else {
            self.translate(address)
        };
        match page {
            Some(page) if page.is_executable => {
                self.code = page;
                true
            }
            _ => false,
        }
    }

    /// The two words on top of the stack, if they may be return addresses; else 0.
    #[inline]
    fn top(&mut self, sp: StackAddress) -> [u64; 2] {
        let words = match self.pair(sp.0, 0) {
            Ok(words) => words.map(Some),
            // One of them may be there.
            Err(_) => [Some(sp.0), sp.0.checked_add(WORD)].map(|it| self.word(it?)),
        };
        words.map(|word| match word {
            Some(word) if self.is_code(word) => self.recorded(word).0,
            _ => 0,
        })
    }

    /// An address as a record has it.
    const fn recorded(&self, address: u64) -> CodeAddress {
        let program = self.memory.program;
        UserAddress { program, address }.code()
    }

    /// Proves the pair of words that a frame pointer leads to, and loads it.
    #[inline(always)]
    fn pair(&mut self, fp: u64, floor: u64) -> Result<[u64; 2], ChainEnd> {
        let is_usual = fp.is_multiple_of(WORD) && fp >= floor;
        if is_usual && let Some(pair) = self.pair_of_page(fp) {
            return Ok(pair);
        }
        self.other_pair(fp, floor)
    }

    /// Loads an aligned pair, if it is in the page that is looked at.
    #[inline(always)]
    fn pair_of_page(&self, fp: u64) -> Option<[u64; 2]> {
        let within = fp.wrapping_sub(self.pairs.start);
        // All of the page is RAM, which is mapped for ever.
        let mapped = self.pairs.mapped.wrapping_add(within);
        let load = |address| self.target.load(Slot(address));
        (within < self.pairs.room).then(|| [load(mapped), load(mapped.wrapping_add(WORD))])
    }

    /// The same, wherever it may be.
    #[inline(never)]
    fn other_pair(&mut self, fp: u64, floor: u64) -> Result<[u64; 2], ChainEnd> {
        if !fp.is_multiple_of(WORD) {
            return Err(ChainEnd::FrameMisaligned);
        }
        if fp < floor {
            return Err(ChainEnd::FrameBelow);
        }
        if fp >= USER_END - WORD {
            return Err(ChainEnd::FrameAbove);
        }
        self.look_at(fp).ok_or(ChainEnd::UserUnmapped)?;
        if let Some(pair) = self.pair_of_page(fp) {
            return Ok(pair);
        }
        let mut word = |address| self.word(address).ok_or(ChainEnd::UserUnmapped);
        Ok([word(fp)?, word(fp + WORD)?])
    }
}

/// A border that the walk has come to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Border {
    /// What brought the program into the kernel; `None`: SYSCALL.
    pub vector: Option<u8>,
    /// The program's.
    pub registers: Registers,
}

/// Appends a border, and the program's frames behind it.
pub(super) fn cross(
    border: Border,
    kernel_sp: Option<StackAddress>,
    target: &impl Target,
    chain: &mut impl Append,
) -> ChainEnd {
    let Some(memory) = target.user_memory(kernel_sp) else {
        return ChainEnd::UserUnknown;
    };
    let mut memory = Memory::new(memory, target);
    let pushed = chain.push(ChainEntry::Border {
        vector: border.vector,
        pc: memory.recorded(border.registers.pc.0),
        stack_top: memory.top(border.registers.sp),
    });
    match pushed {
        Ok(()) => walk_frames(border.registers, &mut memory, chain),
        Err(end) => end,
    }
}

/// Appends what was interrupted of a program as a border that the program itself came to, and its
/// callers behind it.
pub(crate) fn walk_to_border(
    interrupted: Registers,
    target: &impl Target,
    chain: &mut impl Append,
) -> ChainEnd {
    let border = Border {
        vector: None,
        registers: interrupted,
    };
    cross(border, None, target, chain)
}

/// Appends the callers of a program that was interrupted.
pub(super) fn walk(
    interrupted: Registers,
    target: &impl Target,
    chain: &mut impl Append,
) -> ChainEnd {
    let Some(memory) = target.user_memory(None) else {
        return ChainEnd::UserUnknown;
    };
    walk_frames(interrupted, &mut Memory::new(memory, target), chain)
}

/// The same, with all that a record has of what was interrupted.
pub(super) fn walk_with_top(
    interrupted: Registers,
    target: &impl Target,
    chain: &mut impl Append,
) -> Walked {
    let Registers { pc, sp, .. } = interrupted;
    let Some(memory) = target.user_memory(None) else {
        return Walked {
            end: ChainEnd::UserUnknown,
            pc,
            stack_top: [0; 2],
        };
    };
    let mut memory = Memory::new(memory, target);
    Walked {
        stack_top: memory.top(sp),
        pc: memory.recorded(pc.0),
        end: walk_frames(interrupted, &mut memory, chain),
    }
}

/// An address of a program that was interrupted, as a record has it.
pub(super) fn recorded(address: CodeAddress, target: &impl Target) -> CodeAddress {
    let memory = target.user_memory(None);
    memory.map_or(address, |UserMemory { program, .. }| {
        let address = address.0;
        UserAddress { program, address }.code()
    })
}

#[inline]
fn walk_frames<T: Target>(
    at: Registers,
    memory: &mut Memory<'_, T>,
    chain: &mut impl Append,
) -> ChainEnd {
    let mut fp = at.fp.0;
    let mut floor = at.sp.0;
    // A chain holds a bounded number of words and each turn appends one.
    loop {
        // How a program's first function is begun (System V ABI, 3.4.1).
        if fp == 0 {
            return ChainEnd::Complete;
        }
        let [next, code] = match memory.pair(fp, floor) {
            Ok(pair) => pair,
            Err(end) => return end,
        };
        if next == 0 && code == 0 {
            return ChainEnd::Complete;
        }
        if !memory.is_code(code) {
            return ChainEnd::ReturnOutsideText;
        }
        let program = memory.memory.program;
        let caller = UserAddress {
            program,
            address: code,
        };
        if let Err(end) = chain.push_of_program(caller) {
            return end;
        }
        floor = fp + 2 * WORD;
        fp = next;
    }
}
