//! Chains that go on into the user's program: its memory by page tables, whatever these hold.

use std::cell::RefCell;
use std::collections::HashMap;

use proptest::prelude::*;

use super::*;
use crate::format::sample::compact::{self, Context, EXTENT_UNITS, Offsets, Width};
use crate::format::{Sample, State};
use crate::unwind::fast::{CompactChain, CompiledCode};
use crate::unwind::user::{self, PhysicalRange, USER_END, UserMemory};

const DIRECT_MAP: u64 = 0xffff_8000_0000_0000;
/// Two pieces of RAM, with a hole between them.
static RAM: [PhysicalRange; 2] = [
    PhysicalRange {
        start: 0x10_0000,
        end: 0x14_0000,
    },
    PhysicalRange {
        start: 0x2000,
        end: 0xa000,
    },
];
const ROOT_TABLE: u64 = 0x2000;
/// That above it, where there are five levels.
const TOP_TABLE: u64 = 0x9000;
/// Where the program executes.
const CODE: u64 = 0x40_0000;
const CODE_FRAME: u64 = 0x10_0000;
/// Where its stack is.
const STACK: u64 = 0x7fff_ffff_0000;
const STACK_FRAME: u64 = 0x10_8000;

const PRESENT: u64 = 1;
const USER: u64 = 4;
const HUGE: u64 = 0x80;
const NO_EXECUTE: u64 = 1 << 63;

/// Code of SYSCALL's entry: rows as those of [`RULE_CODES`].
const AT_SYSCALL: u64 = TEXT.start.0 + 0xb00;
const AFTER_SWITCH: u64 = TEXT.start.0 + 0xb10;
const PUSHED: u64 = TEXT.start.0 + 0xb20;
const BY_SYSCALL: u64 = TEXT.start.0 + 0xb30;

/// The program's number, and above an address.
const PROGRAM: u16 = 3;
const NUMBER: u64 = 3 << 48;

const USER_CS: u64 = 0x2b;
const RCX: u64 = 3;

/// A machine with a program.
struct WithProgram {
    kernel: Machine,
    ram: HashMap<u64, u64>,
    /// Where the next table goes.
    next: u64,
    has_program: bool,
    /// There is a table above the root's.
    has_five_levels: bool,
    /// For which stacks it was asked.
    asked: RefCell<Vec<Option<u64>>>,
    saved_sp: Option<u64>,
    loads: Cell<usize>,
}

impl WithProgram {
    /// A program with a page of code, which may also be on its stack's page.
    fn new() -> Self {
        let mut machine = Self::without_tables();
        machine.map(CODE, CODE_FRAME, 3, USER);
        machine.map(STACK, STACK_FRAME, 3, USER | NO_EXECUTE);
        machine.map(STACK + 0x1000, STACK_FRAME + 0x5000, 3, USER | NO_EXECUTE);
        machine
    }

    fn without_tables() -> Self {
        Self {
            kernel: Machine::new(),
            ram: HashMap::new(),
            next: ROOT_TABLE + 0x1000,
            has_program: true,
            has_five_levels: false,
            asked: RefCell::default(),
            saved_sp: None,
            loads: Cell::new(0),
        }
    }

    /// The physical address of the entry for `address` in the table of this level.
    fn entry(&mut self, address: u64, level: usize) -> u64 {
        let mut table = ROOT_TABLE;
        for above in 0..level {
            let at = table + (address >> (39 - 9 * above) & 511) * 8;
            if !self.ram.contains_key(&at) {
                self.ram.insert(at, self.next | PRESENT | USER);
                self.next += 0x1000;
            }
            table = self.ram[&at] & !0xfff;
        }
        table + (address >> (39 - 9 * level) & 511) * 8
    }

    /// The physical address of the table that CR3 leads to.
    const fn root(&self) -> u64 {
        if self.has_five_levels {
            TOP_TABLE
        } else {
            ROOT_TABLE
        }
    }

    /// Puts a table with this first entry above the root.
    fn with_five_levels(mut self, entry: u64) -> Self {
        self.has_five_levels = true;
        self.ram.insert(TOP_TABLE, entry);
        self
    }

    /// Maps a page by an entry in the table of this level.
    fn map(&mut self, address: u64, frame: u64, level: usize, bits: u64) {
        let at = self.entry(address, level);
        let huge = if level < 3 { HUGE } else { 0 };
        self.ram.insert(at, frame | huge | bits | PRESENT);
    }

    /// Writes to the program's stack.
    fn set(&mut self, address: u64, words: &[u64]) {
        for (place, word) in (0..).zip(words) {
            let at = address - STACK + 8 * place;
            let frame = if at < 0x1000 { 0 } else { 0x4000 };
            self.ram.insert(STACK_FRAME + frame + at, *word);
        }
    }

    /// Three frames: the program's first function, which has called another, which has called the leaf.
    fn with_frames(mut self) -> Self {
        self.set(STACK + 0xf00, &[0, 0]);
        self.set(STACK + 0xc00, &[STACK + 0xf00, CODE + 0x10]);
        self.set(STACK + 0x800, &[STACK + 0xc00, CODE + 0x20]);
        self.set(STACK + 0x7f0, &[CODE + 0x44, 22]);
        self
    }

    fn walk(&self, start: Start) -> (ChainEnd, Vec<ChainEntry>) {
        let mut chain = Chain::new();
        let end = walk_from(start, self, &mut chain);
        (end, entries(&chain))
    }
}

/// The compact sample of what the walk finds, as the handler that is not fast writes it.
fn encoded(start: Start, machine: &WithProgram) -> Option<Vec<u8>> {
    let mut chain = Chain::new();
    let walked = walk_with_top(start, machine, &mut chain);
    let sample = Sample {
        sequence: 0,
        handler_cost: 0,
        event: 0,
        task: 0,
        state: State(if start.is_user { State::RING } else { 0 }),
        time: 0,
        period: 0,
        sp: start.registers.sp,
        stack_top: walked.stack_top,
        pc: walked.pc,
        exact: None,
        end: walked.end,
        chain_words: chain.words(),
    };
    let context = Context {
        sp: start.registers.sp.0,
        ..Context::default()
    };
    let mut record = [0; 4 * EXTENT_UNITS];
    let place = record.as_mut_ptr();
    // SAFETY: it has as many units.
    let units = unsafe { compact::encode(&sample, context, Offsets::new(TEXT), place) }.ok()?;
    Some(record[..4 * units as usize].to_vec())
}

/// What of it the fast handler writes, from the stack pointer on; `None` if it leaves it to the other one.
fn written(start: Start, machine: &WithProgram) -> Option<Vec<u8>> {
    let mut record = [0; 4 * EXTENT_UNITS];
    let place = record.as_mut_ptr();
    // No kernel code is compiled: the machine's stacks are not where they say.
    let code = CompiledCode {
        start: TEXT.start,
        len: 0,
    };
    let len = TEXT.end.0 - TEXT.start.0;
    let chain = place.wrapping_add(Width::Bits24.chain());
    // SAFETY: there is room for a whole record; none of its stacks is read by its addresses.
    let mut chain = unsafe { CompactChain::new(code, len, chain) };
    let sp = start.registers.sp;
    let end = if start.is_user {
        // SAFETY: as above.
        unsafe { compact::put_program(place, Some(sp)) }?;
        chain = chain.with_border();
        user::walk_to_border(start.registers, machine, &mut chain)
    } else {
        walk_to(&mut chain, start, machine)
    };
    let is_told = matches!(end, ChainEnd::Complete | ChainEnd::DepthLimit);
    let len = chain.end()?.addr() - place.addr();
    is_told.then(|| record[..len.next_multiple_of(4)].to_vec())
}

/// Asserts that the fast handler writes what the other one does, or nothing. Returns whether it has
/// written it.
fn is_written(start: Start, machine: &WithProgram) -> bool {
    let (fast, exact) = (written(start, machine), encoded(start, machine));
    // Of the kernel's code the handler itself writes the first fields.
    let from = if start.is_user { 14 } else { 27 };
    let behind = |record: Vec<u8>| record[from..].to_vec();
    assert_eq!(fast.clone().map(behind), exact.map(behind));
    fast.is_some()
}

/// The words on top of the stack, as a record has them.
fn top_words(start: Start, machine: &WithProgram) -> [u64; 2] {
    let mut chain = Chain::new();
    let walked = walk_with_top(start, machine, &mut chain);
    assert_eq!(machine.walk(start), (walked.end, entries(&chain)));
    assert_eq!(walked.pc, recorded(start.registers.pc, start, machine));
    walked.stack_top
}

// SAFETY: `load` reads no memory by an address.
unsafe impl Target for WithProgram {
    fn text(&self) -> CodeRange {
        TEXT
    }

    fn rule(&self, address: CodeAddress) -> Rule {
        let row = |start: u64| {
            let place = address.0.wrapping_sub(start);
            (place < RULE_CODES).then_some(place)
        };
        if row(AT_SYSCALL).is_some() {
            let sp = UserSp::Register;
            return Rule::SystemCall { sp };
        }
        if row(AFTER_SWITCH).is_some() {
            let sp = UserSp::Saved;
            return Rule::SystemCall { sp };
        }
        if let Some(words) = row(PUSHED) {
            let sp = UserSp::Pushed(words);
            return Rule::SystemCall { sp };
        }
        if let Some(words) = row(BY_SYSCALL) {
            let vector = Some(SYSCALL);
            return Rule::Interrupted { words, vector };
        }
        self.kernel.rule(address)
    }

    fn has_root_rules(&self) -> bool {
        true
    }

    fn is_called_by_stub(&self, address: CodeAddress) -> bool {
        self.kernel.is_called_by_stub(address)
    }

    fn trap_frame_layout(&self) -> TrapFrameLayout {
        crate::entry::TrapFrame::LAYOUT
    }

    fn rcx_in_trap_frame(&self) -> Option<u64> {
        Some(RCX)
    }

    fn stack_of(&self, sp: StackAddress) -> Option<StackBounds> {
        self.kernel.stack_of(sp)
    }

    fn user_memory(&self, stack: Option<StackAddress>) -> Option<UserMemory> {
        self.asked.borrow_mut().push(stack.map(|it| it.0));
        self.has_program.then_some(UserMemory {
            // Bits of CR3 that are no address.
            root: self.root() | 0xfff | 1 << 63,
            program: PROGRAM,
            direct_map: DIRECT_MAP,
            ram: &RAM,
            has_five_levels: self.has_five_levels,
        })
    }

    fn user_sp(&self) -> Option<StackAddress> {
        self.saved_sp.map(StackAddress)
    }

    fn load(&self, slot: Slot) -> u64 {
        let physical = slot.address().wrapping_sub(DIRECT_MAP);
        if physical >= 1 << 40 {
            return self.kernel.load(slot);
        }
        self.loads.set(self.loads.get() + 1);
        assert!(physical.is_multiple_of(8), "{physical:#x}");
        let is_ram = |ram: &PhysicalRange| (ram.start..ram.end).contains(&physical);
        assert!(RAM.iter().any(is_ram), "load outside RAM: {physical:#x}");
        self.ram.get(&physical).copied().unwrap_or(0)
    }
}

fn at(pc: u64, sp: u64, fp: u64) -> Registers {
    Registers {
        pc: CodeAddress(pc),
        sp: StackAddress(sp),
        fp: StackAddress(fp),
    }
}

fn in_program(sp: u64, fp: u64) -> Start {
    Start {
        is_user: true,
        ..at(CODE, sp, fp).into()
    }
}

const LEAF: (u64, u64) = (STACK + 0x7f0, STACK + 0x800);

/// Return addresses of the program.
fn programs(addresses: &[u64]) -> Vec<ChainEntry> {
    let recorded: Vec<_> = addresses.iter().map(|it| NUMBER + it).collect();
    returns(&recorded)
}

/// The callers of the leaf.
fn callers() -> Vec<ChainEntry> {
    programs(&[CODE + 0x20, CODE + 0x10])
}

fn border(vector: Option<u8>) -> ChainEntry {
    ChainEntry::Border {
        vector,
        pc: CodeAddress(NUMBER + CODE + 0x30),
        stack_top: [NUMBER + CODE + 0x44, 0],
    }
}

/// The chain of the leaf behind a border.
fn beyond(vector: Option<u8>) -> (ChainEnd, Vec<ChainEntry>) {
    let mut chain = vec![border(vector)];
    chain.extend(callers());
    (ChainEnd::Complete, chain)
}

#[test]
fn a_program_is_walked_to_its_first_function() {
    let machine = WithProgram::new().with_frames();
    let walked = machine.walk(in_program(LEAF.0, LEAF.1));
    assert_eq!(walked, (ChainEnd::Complete, callers()));
    assert_eq!(*machine.asked.borrow(), [None]);
    let start = in_program(LEAF.0, LEAF.1);
    assert_eq!(
        recorded(CodeAddress(CODE), start, &machine).0,
        NUMBER + CODE
    );
    // What is no program's stays as it is.
    assert_eq!(recorded(TEXT.start, start, &machine), TEXT.start);
    assert_eq!(top_words(start, &machine), [NUMBER + CODE + 0x44, 0]);
    assert_eq!(
        machine.walk(in_program(LEAF.0, 0)),
        (ChainEnd::Complete, vec![])
    );
}

#[test]
fn page_tables_may_have_five_levels() {
    let leads_on = ROOT_TABLE | PRESENT | USER;
    let no_table = [0, ROOT_TABLE | PRESENT, leads_on | HUGE];
    let cut = (ChainEnd::UserUnmapped, vec![]);
    for (entry, walked) in [(leads_on, (ChainEnd::Complete, callers()))]
        .into_iter()
        .chain(no_table.map(|entry| (entry, cut.clone())))
    {
        let machine = WithProgram::new().with_frames().with_five_levels(entry);
        let start = in_program(LEAF.0, LEAF.1);
        assert_eq!(machine.walk(start), walked, "{entry:#x}");
    }
}

#[test]
fn a_program_is_written_fast_as_it_is_otherwise() {
    let machine = WithProgram::new().with_frames();
    assert!(is_written(in_program(LEAF.0, LEAF.1), &machine));
    assert!(is_written(in_program(LEAF.0, 0), &machine));
    // Its stack pointer is anything.
    assert!(is_written(in_program(0x1000, 0), &machine));
    assert!(!is_written(in_program(LEAF.0 + 1, 0), &machine));
    // Its frames lead nowhere.
    assert!(!is_written(in_program(LEAF.0, 0x1000), &machine));
    // It has called the kernel.
    let calling = Start {
        rcx: Some(CODE + 0x30),
        ..at(AT_SYSCALL, LEAF.0, LEAF.1).into()
    };
    assert!(is_written(calling, &machine));
    for (vector, cs) in [(14, USER_CS), (SYSCALL.into(), USER_CS), (1 << 20, USER_CS)] {
        let mut machine = entered(TASK + 0x50, vector, cs);
        machine.kernel.set(TASK + 0x20, &[TASK + 0x50, TRAP_RETURN]);
        let start = at(code(0x300), TASK + 0x10, TASK + 0x20).into();
        assert!(is_written(start, &machine), "{vector}");
    }
    let mut machine = machine;
    machine.has_program = false;
    assert!(!is_written(in_program(LEAF.0, LEAF.1), &machine));
}

/// The second word of a frame is on a page that lies elsewhere than behind the first one's.
#[test]
fn a_frame_may_lie_on_two_pages() {
    let mut machine = WithProgram::new();
    let (inner, outer) = (STACK + 0xf00, STACK + 0xff8);
    machine.set(inner, &[outer, CODE + 0x10]);
    machine.set(outer, &[0, CODE + 0x20]);
    let walked = machine.walk(in_program(inner, inner));
    let callers = programs(&[CODE + 0x10, CODE + 0x20]);
    assert_eq!(walked, (ChainEnd::Complete, callers));
}

#[test]
fn a_program_of_which_nothing_is_known_has_no_chain() {
    let mut machine = WithProgram::new().with_frames();
    machine.has_program = false;
    let start = in_program(LEAF.0, LEAF.1);
    assert_eq!(machine.walk(start), (ChainEnd::UserUnknown, vec![]));
    assert_eq!(top_words(start, &machine), [0; 2]);
}

#[test]
fn each_bad_frame_pointer_of_a_program_ends_the_walk_with_its_reason() {
    for (saved, end) in [
        (0, ChainEnd::Complete),
        (STACK + 0xc01, ChainEnd::FrameMisaligned),
        (STACK + 0x800, ChainEnd::FrameBelow), // its own
        (STACK + 0x808, ChainEnd::FrameBelow), // inside it
        (8, ChainEnd::FrameBelow),
        (STACK + 0x1ff8, ChainEnd::UserUnmapped), // its second word is past the stack
        (STACK + 0x2000, ChainEnd::UserUnmapped),
        (USER_END - 16, ChainEnd::UserUnmapped),
        (USER_END - 8, ChainEnd::FrameAbove),
        (TASK + 0x80, ChainEnd::FrameAbove), // a stack of the kernel's
        (DIRECT_MAP + ROOT_TABLE, ChainEnd::FrameAbove),
        (u64::MAX - 7, ChainEnd::FrameAbove),
    ] {
        let mut machine = WithProgram::new().with_frames();
        machine.set(STACK + 0x800, &[saved]);
        let walked = machine.walk(in_program(LEAF.0, LEAF.1));
        assert_eq!(walked, (end, programs(&[CODE + 0x20])), "{saved:#x}");
    }
}

#[test]
fn a_return_address_has_to_lie_where_the_program_may_execute() {
    for wild in [
        STACK + 0x100, // no execution there
        CODE - 1,
        CODE + 0x1000,
        TEXT.start.0,
        0x0100_c055_0000_0000, // as a marker
        u64::MAX,
    ] {
        let mut machine = WithProgram::new().with_frames();
        machine.set(STACK + 0xc08, &[wild]);
        let walked = machine.walk(in_program(LEAF.0, LEAF.1));
        let expected = (ChainEnd::ReturnOutsideText, programs(&[CODE + 0x20]));
        assert_eq!(walked, expected, "{wild:#x}");
    }
}

#[test]
fn each_level_has_to_say_present_and_user() {
    for (level, missing) in [0, 1, 2, 3]
        .into_iter()
        .flat_map(|level| [(level, PRESENT), (level, USER)])
    {
        let mut machine = WithProgram::new().with_frames();
        let entry = machine.entry(STACK, level);
        *machine.ram.get_mut(&entry).unwrap() &= !missing;
        let start = in_program(LEAF.0, LEAF.1);
        let walked = machine.walk(start);
        assert_eq!(
            walked,
            (ChainEnd::UserUnmapped, vec![]),
            "level {level}, bit {missing}"
        );
        assert_eq!(top_words(start, &machine), [0; 2]);
    }
    // A page of code that is not executed, by any level.
    for level in 0..4 {
        let mut machine = WithProgram::new().with_frames();
        let entry = machine.entry(CODE, level);
        *machine.ram.get_mut(&entry).unwrap() |= NO_EXECUTE;
        let walked = machine.walk(in_program(LEAF.0, LEAF.1));
        assert_eq!(
            walked,
            (ChainEnd::ReturnOutsideText, vec![]),
            "level {level}"
        );
    }
}

#[test]
fn huge_pages_are_read_and_none_of_512_gib() {
    for level in 0..3 {
        let mut machine = WithProgram::without_tables();
        machine.map(CODE, CODE_FRAME, 3, USER);
        let page = 0x1234_4000_0000;
        let frame = 0;
        machine.map(page, frame, level, USER);
        let stack = page + STACK_FRAME;
        machine.ram.insert(STACK_FRAME, 0);
        machine.ram.insert(STACK_FRAME + 8, CODE + 0x10);
        let walked = machine.walk(in_program(stack, stack));
        let expected = match level {
            0 => (ChainEnd::UserUnmapped, vec![]),
            _ => (ChainEnd::Complete, programs(&[CODE + 0x10])),
        };
        assert_eq!(walked, expected, "level {level}");
    }
}

#[test]
fn tables_and_pages_outside_ram_are_not_read() {
    // Below the first piece, in the hole, past the end, and far away.
    for frame in [
        0,
        0xa000,
        0xf_f000,
        0x14_0000,
        0xfee0_0000,
        0xf_ffff_ffff_f000,
    ] {
        for level in 0..4 {
            let mut machine = WithProgram::new().with_frames();
            let entry = machine.entry(STACK, level);
            machine.ram.insert(entry, frame | PRESENT | USER);
            let start = in_program(LEAF.0, LEAF.1);
            let walked = machine.walk(start);
            assert_eq!(
                walked,
                (ChainEnd::UserUnmapped, vec![]),
                "{frame:#x} at {level}"
            );
            assert_eq!(top_words(start, &machine), [0; 2]);
        }
    }
}

#[test]
fn tables_that_lead_to_themselves_are_bounded() {
    let mut machine = WithProgram::without_tables();
    for index in 0..512 {
        let entry = ROOT_TABLE + index * 8;
        machine.ram.insert(entry, ROOT_TABLE | PRESENT | USER);
    }
    // Each word is an entry: of an address whose frame pointer is the table's.
    let walked = machine.walk(in_program(0x1000, 0x1000));
    assert_eq!(walked.0, ChainEnd::FrameMisaligned);
    assert!(machine.loads.get() <= 4 + 2 + 4, "{}", machine.loads.get());
}

/// The kernel's stack of a task that a program has entered, with a trap frame whose first word is at
/// `frame`.
fn entered(frame: u64, vector: u64, cs: u64) -> WithProgram {
    let mut machine = WithProgram::new().with_frames();
    let mut words = [0x5a; 22];
    words[0] = LEAF.1;
    words[15] = vector;
    words[17..].copy_from_slice(&[CODE + 0x30, cs, 0x202, LEAF.0, 0x33]);
    machine.kernel.set(frame, &words);
    machine
}

#[test]
fn a_trap_frame_of_the_user_is_the_border() {
    for (vector, named) in [
        (14, Some(14)),
        (SYSCALL.into(), None),
        (1 << 20, Some(UNKNOWN_VECTOR)),
    ] {
        let mut machine = entered(TASK + 0x50, vector, USER_CS);
        machine.kernel.set(TASK + 0x20, &[TASK + 0x50, TRAP_RETURN]);
        let (end, chain) = machine.walk(at(code(0x300), TASK + 0x10, TASK + 0x20).into());
        assert_eq!(
            (end, &chain[1..]),
            (ChainEnd::Complete, &beyond(named).1[..])
        );
        assert_eq!(chain[0], returns(&[TRAP_RETURN])[0]);
        // Which program it is, the stack tells.
        assert_eq!(*machine.asked.borrow(), [Some(TASK + 0x10)]);
    }
    // The same words of the kernel: its program counter is not in the text.
    let mut machine = entered(TASK + 0x50, 14, 8);
    machine.kernel.set(TASK + 0x20, &[TASK + 0x50, TRAP_RETURN]);
    let walked = machine.walk(at(code(0x300), TASK + 0x10, TASK + 0x20).into());
    let end = ChainEnd::InterruptedOutsideText;
    assert_eq!(walked, (end, returns(&[TRAP_RETURN])));
}

#[test]
fn before_the_call_of_the_dispatcher_is_a_frame_the_border_is_found() {
    let mut machine = entered(TASK + 0x50, 14, USER_CS);
    machine.kernel.set(TASK + 0x48, &[TRAP_RETURN]);
    let walked = machine.walk(at(code(0x300), TASK + 0x48, TASK + 0x50).into());
    assert_eq!(walked, beyond(Some(14)));
}

#[test]
fn pushed_words_of_the_user_are_the_border() {
    // At an `iretq` to the program, and where the entry of SYSCALL has pushed what it would.
    for (pc, named) in [(INTERRUPTED_BY_NMI, Some(NMI_VECTOR)), (BY_SYSCALL, None)] {
        for words in 0..RULE_CODES {
            let machine = entered(TASK + 0x50, 0, USER_CS);
            let sp = TASK + 0x50 + 8 * (17 - words);
            let walked = machine.walk(at(pc + words, sp, LEAF.1).into());
            assert_eq!(walked, beyond(named), "{words} words");
        }
    }
}

#[test]
fn a_system_call_has_its_program_at_each_instruction_of_its_entry() {
    let rcx = Some(CODE + 0x30);
    let machine = WithProgram::new().with_frames();
    let start = |pc, sp| Start {
        rcx,
        ..at(pc, sp, LEAF.1).into()
    };
    assert_eq!(machine.walk(start(AT_SYSCALL, LEAF.0)), beyond(None));
    assert_eq!(*machine.asked.borrow(), [None]);
    let saved = WithProgram {
        saved_sp: Some(LEAF.0),
        ..machine
    };
    assert_eq!(saved.walk(start(AFTER_SWITCH, TASK + 0x100)), beyond(None));
    assert_eq!(saved.asked.borrow()[1..], [Some(TASK + 0x100)]);
    let mut pushed = WithProgram {
        saved_sp: None,
        ..saved
    };
    pushed.kernel.set(TASK + 0xf0, &[LEAF.0, 0x33]);
    for words in 0..RULE_CODES {
        let sp = TASK + 0xf0 - 8 * words;
        let walked = pushed.walk(start(PUSHED + words, sp));
        assert_eq!(walked, beyond(None), "{words} words");
    }
    // Where a register is not known, nothing is made up.
    let unknown = (ChainEnd::UserUnknown, vec![]);
    assert_eq!(pushed.walk(start(AFTER_SWITCH, TASK + 0x100)), unknown);
    assert_eq!(pushed.walk(start(PUSHED + 1, TASK + 0xf8)), unknown);
    assert_eq!(pushed.walk(start(PUSHED, 0x1000)), unknown);
    let without_rcx = Start::from(at(AT_SYSCALL, LEAF.0, LEAF.1));
    assert_eq!(pushed.walk(without_rcx), unknown);
}

#[test]
fn an_nmi_in_the_entry_of_a_system_call_leads_through_it_to_the_program() {
    let crossing = ChainEntry::Crossing {
        vector: NMI_VECTOR,
        pc: CodeAddress(AT_SYSCALL),
        caller_known: true,
        stack_top: [0; 2],
    };
    let mut chain = vec![crossing];
    chain.extend(beyond(None).1);
    let expected = (ChainEnd::Complete, chain);
    // In its handler, and at each instruction of its entry: before `rcx` is pushed it is still in the
    // register, then where a whole frame has it.
    for words in 0..=17 {
        let mut machine = WithProgram::new().with_frames();
        let frame = NMI + 0x40;
        let mut frame_words = [0x5a; 22];
        frame_words[0] = LEAF.1;
        frame_words[3] = if words >= 14 { CODE + 0x30 } else { 0xbad };
        frame_words[15] = NMI_VECTOR.into();
        frame_words[17..].copy_from_slice(&[AT_SYSCALL, 8, 0x2, LEAF.0, 0x10]);
        machine.kernel.set(frame, &frame_words);
        let (pc, sp, fp) = if words == 17 {
            machine.kernel.set(NMI + 0x10, &[frame, TRAP_RETURN]);
            (code(0x300), NMI + 0x10, NMI + 0x10)
        } else {
            let row = if words < RULE_CODES { words } else { 15 };
            let sp = frame + 8 * (17 - row);
            (INTERRUPTED_BY_NMI + row, sp, LEAF.1)
        };
        let rcx = Some(if words >= 14 { 0xbad } else { CODE + 0x30 });
        let (end, mut chain) = machine.walk(Start {
            rcx,
            ..at(pc, sp, fp).into()
        });
        if words == 17 {
            assert_eq!(chain.remove(0), returns(&[TRAP_RETURN])[0]);
        }
        assert_eq!((end, chain), expected, "{words} words");
    }
}

#[test]
fn a_stack_pointer_of_the_kernels_shows_nothing_of_it() {
    // A program that has the address of a kernel's stack in its stack pointer, and calls.
    let mut machine = WithProgram::new();
    machine.kernel.set(TASK + 0x80, &[TASK + 0xf0, code(0x200)]);
    let secret = TASK + 0x80;
    let executing = in_program(secret, secret);
    let calling = Start {
        rcx: Some(CODE),
        ..at(AT_SYSCALL, secret, secret).into()
    };
    let border = ChainEntry::Border {
        vector: None,
        pc: CodeAddress(NUMBER + CODE),
        stack_top: [0; 2],
    };
    assert_eq!(machine.walk(executing), (ChainEnd::FrameAbove, vec![]));
    assert_eq!(machine.walk(calling), (ChainEnd::FrameAbove, vec![border]));
    for start in [executing, calling] {
        assert_eq!(top_words(start, &machine), [0; 2]);
    }
    assert_eq!(machine.kernel.loads.get(), 0);
}

/// An entry of a page table: likely one that leads on.
fn table_entry() -> impl Strategy<Value = u64> {
    let bits = prop_oneof![
        6 => Just(PRESENT | USER),
        1 => Just(PRESENT | USER | HUGE),
        1 => Just(PRESENT | USER | NO_EXECUTE),
        1 => any::<u64>().prop_map(|it| it & (0xfff | NO_EXECUTE)),
    ];
    let frame = prop_oneof![
        8 => (0x2_u64..0xa).prop_map(|it| it << 12),
        4 => (0x100_u64..0x140).prop_map(|it| it << 12),
        1 => any::<u64>().prop_map(|it| it & 0x000f_ffff_ffff_f000),
    ];
    prop_oneof![
        8 => (bits, frame).prop_map(|(bits, frame)| bits | frame),
        1 => any::<u64>(),
        1 => (0..USER_END).prop_map(|it| it & !7),
    ]
}

proptest! {
    /// Whatever tables and memory hold, nothing is loaded outside RAM (which `load` asserts), and the
    /// walk ends after as many loads as its words explain.
    #[test]
    fn no_tables_lead_outside_memory(
        words in prop::collection::hash_map(0_u64..0x800, table_entry(), 0..600),
        low in prop::collection::vec(table_entry(), 8),
        sp in (0..USER_END).prop_map(|it| it & !7),
        above in 0_u64..0x2000,
        fp_is_wild in any::<Option<u64>>(),
        is_border in any::<bool>(),
    ) {
        let mut machine = WithProgram::without_tables();
        // Pages of tables whose every entry of a row is the same, so that most addresses lead on.
        for (page, entry) in (0..).zip(&low) {
            for index in 0..512 {
                machine.ram.insert(0x2000 + page * 0x1000 + index * 8, *entry);
            }
        }
        for (place, word) in words {
            machine.ram.insert(0x2000 + place * 0x10, word);
        }
        let fp = fp_is_wild.unwrap_or(sp + above * 8);
        let registers = at(CODE, sp, fp);
        let start = if is_border {
            Start { rcx: Some(CODE), ..at(AT_SYSCALL, sp, fp).into() }
        } else {
            Start { is_user: true, ..registers.into() }
        };
        let (_, chain) = machine.walk(start);
        prop_assert!(chain.len() <= MAX_CHAIN);
        let loads = machine.loads.get();
        is_written(start, &machine);
        // Of a frame: two words, which may be on two pages, and where its return address leads.
        let most = (chain.len() + 2) * (2 * 5 + 4);
        prop_assert!(loads <= most, "{loads} loads for {} entries", chain.len());
        for entry in &chain {
            if let ChainEntry::Return(address) = entry {
                prop_assert_eq!(address.0 & !(USER_END - 1), NUMBER);
            }
        }
        prop_assert_eq!(machine.kernel.loads.get(), 0);
    }

    /// However frames are laid out over pages, a whole stack is walked to its root, and not past the
    /// depth of a record.
    #[test]
    fn a_whole_program_is_walked_as_it_called(
        gaps in prop::collection::vec(2_u64..12, 1..70),
        calls in prop::collection::vec(1_u64..0x1000, 70),
        below in 0_u64..5,
    ) {
        let mut machine = WithProgram::new();
        let first = STACK + below * 8;
        let places = gaps.iter().scan(first, |place, gap| {
            let at = *place;
            *place += gap * 8;
            Some(at)
        });
        let places: Vec<_> = places.collect();
        for (frame, place) in places.iter().enumerate() {
            let next = places.get(frame + 1).copied().unwrap_or(0);
            machine.set(*place, &[next, CODE + calls[frame]]);
        }
        prop_assert!(is_written(in_program(STACK, first), &machine));
        let expected: Vec<_> = calls[..places.len()].iter().map(|it| CODE + it).collect();
        let (end, chain) = machine.walk(in_program(STACK, first));
        if expected.len() > MAX_CHAIN {
            prop_assert_eq!(end, ChainEnd::DepthLimit);
            prop_assert_eq!(chain, programs(&expected[..MAX_CHAIN]));
        } else {
            prop_assert_eq!(end, ChainEnd::Complete);
            prop_assert_eq!(chain, programs(&expected));
        }
    }
}
