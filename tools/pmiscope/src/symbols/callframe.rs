//! Where the code at an address keeps its return address, according to DWARF
//! call-frame information (`.debug_frame`, `.eh_frame`); where there is none, according to
//! the instructions ([`super::by_code`]).
//!
//! A walk over frame pointers finds the caller of every function that is past its
//! first instructions. For the others the *canonical frame address* (CFA, the
//! stack pointer before the call) is known relative to the stack pointer, and
//! the return address is the word below it.

use std::collections::BTreeMap;
use std::sync::Arc;

use gimli::{
    self, BaseAddresses, CfaRule, CieOrFde, DebugFrame, EhFrame, EndianSlice, LittleEndian,
    RegisterRule, UnwindContext, UnwindSection, X86_64,
};
use hashbrown::HashMap;
use object::{Object as _, ObjectSection as _};
use profiler::address::{CodeAddress, UserAddress};

use super::by_code::ByCode;
use super::code::Code;
use super::elf::Elf;
use super::names::SymbolTable;
use super::recorded::RecordedCallers;
use super::slide::{LinkAddress, Slide};

/// Bytes in a word.
const WORD: i64 = 8;

/// Words that the processor pushes when an interrupt is taken, an error code not
/// among them (SDM vol. 3, figure 7-8): the CFA lies above them.
const PUSHED_WORDS: i64 = 5;

/// Words on top of the stack that a sample has.
const TOP_WORDS: usize = 2;

/// Where the return address of the code at an address is, before the instruction
/// there has been executed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Caller {
    /// Where the frame pointer says.
    InFrame,
    /// On top of the stack: the word with this index, 0 or 1, of those that a
    /// sample has.
    OnTop(usize),
    /// Nowhere: the code is the root of a stack.
    None,
    /// The code was entered by an interrupt: what the processor pushed, lowest
    /// the interrupted program counter, lies so many words above the stack
    /// pointer.
    Pushed(u64),
    /// The code was entered by SYSCALL, or leaves by SYSRET: the user's program counter is in
    /// `rcx`.
    InRcx,
    /// Relative to the stack pointer, but not among the words of a sample, or by a
    /// rule that is not followed here.
    OutOfReach,
    /// Not known: no call-frame information covers the address, and the instructions do not
    /// say it for certain.
    Unknown,
}

/// A range of addresses at which the answer is the same.
#[derive(Clone, Copy, Debug)]
struct Range {
    start: u64,
    /// The first address past it.
    end: u64,
    caller: Caller,
}

/// Where a kernel's code keeps its return addresses, by the addresses at which it ran.
#[derive(Clone, Debug, Default)]
pub struct Callers {
    /// By their starts; they do not overlap.
    ranges: Vec<Range>,
    /// Where functions start, in order.
    starts: Vec<u64>,
    slide: Slide,
    /// What is asked where no range is.
    by_code: Arc<ByCode>,
    /// Those of the user's programs, by their numbers.
    programs: BTreeMap<u16, Arc<Callers>>,
    /// Where a profile has it by address.
    recorded: Option<RecordedCallers>,
    has_recorded_frames: bool,
}

/// What a profile says of the code at an address.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct RecordedCaller {
    pub caller: Caller,
    pub has_frames: bool,
    pub has_code: bool,
}

impl Callers {
    /// Reads the sections of this name, of the files that `file_of` says, as far as they are
    /// there and not damaged.
    pub(super) fn new<'a>(
        file_of: impl Fn(&str) -> Option<&'a Elf<'a>>,
        slide: Slide,
        code: Arc<Code>,
        table: Arc<SymbolTable>,
    ) -> Self {
        let section = |name: &str| {
            let section = file_of(name)?.section_by_name(name)?;
            Some((section.address(), section.uncompressed_data().ok()?))
        };
        let mut callers = Self {
            slide,
            by_code: Arc::new(ByCode::new(code, table)),
            ..Self::default()
        };
        let bases = BaseAddresses::default();
        if let Some((_, data)) = section(".debug_frame") {
            let mut frames = DebugFrame::from(EndianSlice::new(&data, LittleEndian));
            frames.set_address_size(8);
            callers.read(&frames, &bases);
        }
        if let Some((address, data)) = section(".eh_frame") {
            let mut frames = EhFrame::from(EndianSlice::new(&data, LittleEndian));
            frames.set_address_size(8);
            callers.read(&frames, &bases.set_eh_frame(address));
        }
        callers.sort();
        callers
    }

    /// Puts all that was read in order.
    fn sort(&mut self) {
        self.starts.sort_unstable();
        // As a rule the ranges of each function are in order, and none overlap.
        let mut functions: Vec<_> = self
            .ranges
            .chunk_by(|one, next| one.end == next.start)
            .collect();
        functions.sort_unstable_by_key(|function| function[0].start);
        let sorted = functions.concat();
        if sorted.is_sorted_by(|one, next| one.end <= next.start) {
            self.ranges = sorted;
            return;
        }
        self.ranges.sort_by_key(|range| range.start);
        // Of two that overlap (what both sections have) the first one stays.
        let mut end = 0;
        self.ranges.retain(|range| {
            let is_new = range.start >= end;
            if is_new {
                end = range.end;
            }
            is_new
        });
    }

    fn read<'a, S: UnwindSection<EndianSlice<'a, LittleEndian>>>(
        &mut self,
        frames: &S,
        bases: &BaseAddresses,
    ) {
        let mut context = UnwindContext::new();
        // An entry that cannot be read ends the section: where the next one starts
        // is not known then.
        for entry in frames.entries(bases).map_while(Result::ok) {
            let CieOrFde::Fde(partial) = entry else {
                continue;
            };
            let fde = partial.parse(|_, bases, offset| frames.cie_from_offset(bases, offset));
            let Ok(fde) = fde else { continue };
            let Ok(mut rows) = fde.rows(frames, bases, &mut context) else {
                continue;
            };
            self.starts.push(fde.initial_address());
            let return_address = fde.cie().return_address_register();
            while let Ok(Some(row)) = rows.next_row() {
                let range = Range {
                    start: row.start_address(),
                    end: row.end_address(),
                    caller: caller(row.cfa(), row.register(return_address)),
                };
                if range.start < range.end {
                    self.ranges.push(range);
                }
            }
        }
    }

    /// Returns true if there is no call-frame information.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.ranges.is_empty() && !self.has_recorded_frames
    }

    /// How far the kernel's text was moved.
    #[must_use]
    pub fn slide(&self) -> &Slide {
        &self.slide
    }

    /// The kernel's code.
    pub(crate) fn code(&self) -> &Code {
        self.by_code.code()
    }

    /// Where the code that is about to execute `pc` keeps its return address.
    #[must_use]
    pub fn of(&self, pc: CodeAddress) -> Caller {
        if let Some(recorded) = &self.recorded {
            let known = recorded.get(&pc);
            return known.map_or(Caller::Unknown, |it| it.caller);
        }
        if let Some(user) = UserAddress::of_program(pc) {
            let program = self.program(user.program);
            return program.map_or(Caller::Unknown, |it| it.of(CodeAddress(user.address)));
        }
        let Some(address) = self.slide.link(pc) else {
            return Caller::Unknown;
        };
        self.by_frames(address)
            .unwrap_or_else(|| self.by_code.of(address))
    }

    /// Returns true if call-frame information covers the code at `pc`.
    #[must_use]
    pub fn has_frames_at(&self, pc: CodeAddress) -> bool {
        if let Some(recorded) = &self.recorded {
            return recorded.get(&pc).is_some_and(|it| it.has_frames);
        }
        if let Some(user) = UserAddress::of_program(pc) {
            let program = self.program(user.program);
            return program.is_some_and(|it| it.has_frames_at(CodeAddress(user.address)));
        }
        let address = self.slide.link(pc);
        address.is_some_and(|address| self.by_frames(address).is_some())
    }

    /// Returns true if there is an ELF file, the kernel's or the program's, with code that ran at
    /// `pc`.
    #[must_use]
    pub fn has_code_at(&self, pc: CodeAddress) -> bool {
        if let Some(recorded) = &self.recorded {
            return recorded.get(&pc).is_some_and(|it| it.has_code);
        }
        match UserAddress::of_program(pc) {
            Some(user) => self
                .program(user.program)
                .is_some_and(|program| program.slide.has_code_at(CodeAddress(user.address))),
            None => self.slide.has_code_at(pc),
        }
    }

    /// Those that a profile has by address.
    pub(super) fn recorded(
        all: HashMap<CodeAddress, RecordedCaller>,
        slide: Slide,
        has_frames: bool,
    ) -> Self {
        Self {
            slide,
            recorded: Some(Arc::new(all)),
            has_recorded_frames: has_frames,
            ..Self::default()
        }
    }

    /// Adds those of a program.
    pub(super) fn add_program(&mut self, number: u16, callers: Self) {
        self.programs.insert(number, Arc::new(callers));
    }

    /// Has what is known of a program for a process of it, by that one's number.
    pub(super) fn add_process(&mut self, number: u16, program: u16) {
        if let Some(callers) = self.programs.get(&program).cloned() {
            self.programs.insert(number, callers);
        }
    }

    fn program(&self, number: u16) -> Option<&Self> {
        self.programs.get(&number).map(|callers| &**callers)
    }

    /// What call-frame information says, if it covers the address.
    fn by_frames(&self, address: LinkAddress) -> Option<Caller> {
        let after = self
            .ranges
            .partition_point(|range| range.start <= address.0);
        let range = self.ranges[..after].last()?;
        (address.0 < range.end).then_some(range.caller)
    }

    /// What the instructions say, whatever call-frame information does.
    #[doc(hidden)]
    #[must_use]
    pub fn by_code(&self, pc: CodeAddress) -> Caller {
        let address = self.slide.link(pc);
        address.map_or(Caller::Unknown, |address| self.by_code.of(address))
    }

    /// Returns true if the code at `pc` is the root of a stack: it has no caller.
    #[must_use]
    pub fn is_root_at(&self, pc: CodeAddress) -> bool {
        self.of(pc) == Caller::None
    }

    /// Returns true if `return_address` is the root of a stack: the call before it is made
    /// by code that has no caller.
    #[must_use]
    pub fn is_root(&self, return_address: CodeAddress) -> bool {
        self.is_root_at(CodeAddress(return_address.0.wrapping_sub(1)))
    }

    /// The code of a program, and where it ran.
    pub(crate) fn code_of(&self, program: u16) -> Option<(&Code, &Slide)> {
        let callers = self.program(program)?;
        Some((callers.code(), callers.slide()))
    }

    /// The programs of which any code is said to be the root of a stack.
    pub(crate) fn programs_with_roots(&self) -> Vec<u16> {
        let programs = self.programs.iter();
        let with_roots = programs.filter(|(_, callers)| callers.has_roots());
        with_roots.map(|(&number, _)| number).collect()
    }

    /// Whether SYSCALL enters the kernel at `pc`.
    #[must_use]
    pub fn is_system_call_entry(&self, pc: CodeAddress) -> bool {
        let Some(address) = self.slide.link(pc) else {
            return false;
        };
        self.by_frames(address) == Some(Caller::InRcx)
            && self.starts.binary_search(&address.0).is_ok()
    }

    /// Whether any code is said to be the root of a stack. In a kernel without assembly at
    /// the bottom of its stacks none is.
    #[must_use]
    pub fn has_roots(&self) -> bool {
        self.ranges.iter().any(|range| range.caller == Caller::None)
    }

    /// Whether any code is said to be entered by interrupts.
    #[must_use]
    pub fn has_entries(&self) -> bool {
        let mut ranges = self.ranges.iter();
        ranges.any(|range| matches!(range.caller, Caller::Pushed(_)))
    }

    /// If `pc` is in code that interrupts enter, where a sample's words have the
    /// interrupted program counter: the first instruction of that code, and the
    /// word's index. It is 1 where something was pushed since, such as an error
    /// code by the processor.
    #[must_use]
    pub fn entry(&self, pc: CodeAddress) -> Option<(CodeAddress, usize)> {
        let (start, words) = self.entered(pc)?;
        let words = usize::try_from(words).ok();
        Some((start, words.filter(|&words| words < TOP_WORDS)?))
    }

    /// The same, however far above the stack pointer that is, in words.
    #[must_use]
    pub fn entered(&self, pc: CodeAddress) -> Option<(CodeAddress, u64)> {
        let address = self.slide.link(pc)?;
        let Some(Caller::Pushed(words)) = self.by_frames(address) else {
            return None;
        };
        let after = self.starts.partition_point(|&start| start <= address.0);
        let start = self.starts[..after].last()?;
        Some((self.slide.run(LinkAddress(*start)), words))
    }
}

#[cfg(test)]
impl Callers {
    /// That of functions, in order: for each the addresses from which on an answer
    /// holds, the last one being its end.
    pub(crate) fn of_functions(functions: &[&[(u64, Caller)]]) -> Self {
        let ranges = functions.iter().flat_map(|function| {
            function.windows(2).map(|pair| Range {
                start: pair[0].0,
                end: pair[1].0,
                caller: pair[0].1,
            })
        });
        Self {
            ranges: ranges.collect(),
            starts: functions.iter().map(|function| function[0].0).collect(),
            ..Self::default()
        }
    }

    /// The same, with the code of a program, which has this number.
    pub(crate) fn and_program(mut self, number: u16, program: Self, code: Code) -> Self {
        let by_code = ByCode::new(Arc::new(code), Arc::default());
        let by_code = Arc::new(by_code);
        self.add_program(number, Self { by_code, ..program });
        self
    }
}

fn caller<T: gimli::ReaderOffset>(
    cfa: &CfaRule<T>,
    return_address: Option<RegisterRule<T>>,
) -> Caller {
    let saved = match return_address {
        Some(RegisterRule::Register(X86_64::RCX)) => return Caller::InRcx,
        None | Some(RegisterRule::Undefined) => return Caller::None,
        Some(RegisterRule::Offset(saved)) => saved,
        Some(_) => return Caller::OutOfReach,
    };
    let &CfaRule::RegisterAndOffset { register, offset } = cfa else {
        return Caller::OutOfReach;
    };
    if register == X86_64::RBP {
        return Caller::InFrame;
    }
    let above = offset.saturating_add(saved);
    if register != X86_64::RSP || above < 0 || above % WORD != 0 {
        return Caller::OutOfReach;
    }
    let words = (above / WORD).unsigned_abs();
    if saved == -WORD * PUSHED_WORDS {
        return Caller::Pushed(words);
    }
    match usize::try_from(words) {
        Ok(index) if saved == -WORD && index < TOP_WORDS => Caller::OnTop(index),
        _ => Caller::OutOfReach,
    }
}

#[cfg(test)]
mod tests {
    use gimli::Register;

    use super::*;

    fn based(register: Register, offset: i64) -> CfaRule<usize> {
        CfaRule::RegisterAndOffset { register, offset }
    }

    #[test]
    fn rules_say_where_the_return_address_is() {
        let (rsp, rbp) = (X86_64::RSP, X86_64::RBP);
        let below = Some(RegisterRule::Offset(-8));
        let pushed = Some(RegisterRule::Offset(-40));
        for (cfa, saved, expected) in [
            (based(rsp, 8), below.clone(), Caller::OnTop(0)),
            (based(rsp, 16), below.clone(), Caller::OnTop(1)),
            (based(rsp, 24), below.clone(), Caller::OutOfReach),
            (based(rsp, 0), below.clone(), Caller::OutOfReach),
            (based(rsp, 12), below.clone(), Caller::OutOfReach),
            (based(rbp, 16), below.clone(), Caller::InFrame),
            (based(X86_64::RAX, 16), below, Caller::OutOfReach),
            (based(rsp, 40), pushed.clone(), Caller::Pushed(0)),
            (based(rsp, 56), pushed, Caller::Pushed(2)),
            (based(rsp, 8), Some(RegisterRule::Undefined), Caller::None),
            (
                based(rsp, 0),
                Some(RegisterRule::Register(X86_64::RCX)),
                Caller::InRcx,
            ),
            (
                based(rsp, 8),
                Some(RegisterRule::SameValue),
                Caller::OutOfReach,
            ),
        ] {
            assert_eq!(caller(&cfa, saved), expected, "{cfa:?}");
        }
    }

    #[test]
    fn addresses_that_nothing_covers_are_unknown() {
        let callers = Callers::of_functions(&[
            &[
                (0x10, Caller::OnTop(0)),
                (0x14, Caller::InFrame),
                (0x20, Caller::Unknown),
            ],
            &[(0x30, Caller::None), (0x38, Caller::Unknown)],
            &[
                (0x40, Caller::Pushed(1)),
                (0x42, Caller::Pushed(3)),
                (0x50, Caller::Unknown),
            ],
        ]);
        let of = |pc| callers.of(CodeAddress(pc));
        assert_eq!(of(0xf), Caller::Unknown);
        assert_eq!(of(0x13), Caller::OnTop(0));
        assert_eq!(of(0x14), Caller::InFrame);
        assert_eq!(of(0x20), Caller::Unknown);
        assert!(callers.is_root(CodeAddress(0x38)) && !callers.is_root(CodeAddress(0x30)));
        let entry = CodeAddress(0x40);
        assert_eq!(callers.entry(CodeAddress(0x41)), Some((entry, 1)));
        assert_eq!(callers.entry(CodeAddress(0x42)), None);
        assert_eq!(callers.entered(CodeAddress(0x42)), Some((entry, 3)));
        assert_eq!(callers.entry(CodeAddress(0x10)), None);
    }
}
