//! Looks whether the user's part of each chain lies in the program that it is of: in what that may
//! execute, by its ELF file.
//!
//! A chain's words are read from a stack of which a program makes what it likes, and by page tables
//! that change meanwhile; the guest believes none that does not lead to code of the program. So what
//! lies elsewhere was read from the kernel's or another program's memory, or was believed wrongly.
//! That holds of any profile, not only of those that [`super::verify`] can replay.
//!
//! The program counter of user code is no word of a stack: a program may jump anywhere, and fault
//! there. It is counted by itself.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use iced_x86::{Decoder, DecoderOptions, FlowControl};
use object::read::elf::ElfFile64;
use object::{LittleEndian, Object as _, ObjectKind, ObjectSegment as _};
use profiler::address::{CodeAddress, UserAddress};
use profiler::format::{ChainEntry, Sample, State};
use serde::Serialize;
use thiserror::Error;

use crate::output::one_line;
use crate::profile::{EmbeddedProgram, ProcessEnd, Profile, ReadError, RunEnd};
use crate::units::{counted, grouped};

/// A page: what a program may execute is known no finer.
const PAGE: u64 = 4096;

/// Examples of what lies elsewhere.
const EXAMPLES: usize = 8;

/// Why a profile's programs cannot be checked.
#[derive(Debug, Error)]
pub enum ContainedError {
    /// It has none.
    #[error("it has no sample with code of a program of the user")]
    NoUserCode,
    /// Chains are counted.
    #[error("the run kept chains and counts, not samples: run it without --keep chains")]
    Chains,
    /// Samples cannot be read that were there when the profile was opened.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// Nothing is known of any of its programs.
    #[error("the files of its programs are not in it: give them by --program")]
    NoPrograms,
}

/// What was found.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Contained {
    /// The programs whose files are known.
    pub programs: Vec<String>,
    /// Samples.
    pub samples: u64,
    /// Those with code of programs.
    pub with_user_code: u64,
    /// Addresses of programs in chains: return addresses, what was interrupted, words on top of
    /// stacks.
    pub addresses: u64,
    /// Those that do not lie where their program may execute.
    pub outside: u64,
    /// The first of them.
    pub examples: Vec<Outside>,
    /// Return addresses with no call before them: a program may write any to its stack.
    pub behind_no_call: u64,
    /// Program counters of user code that do not lie there: the program has jumped there, and faults.
    pub program_counters_outside: u64,
    /// Addresses of programs whose files are not known, or which run elsewhere than they are linked
    /// for.
    pub unknown: u64,
}

/// An address that is not where it belongs.
#[derive(Clone, Debug, Serialize)]
pub struct Outside {
    pub core: u32,
    /// The number of the sample on it.
    pub sequence: u32,
    pub address: String,
    /// What the chain is of.
    pub program: String,
}

/// A part of a program that it may execute.
struct Code<'a> {
    start: u64,
    /// The first address of a page past it.
    end: u64,
    bytes: &'a [u8],
}

struct Program<'a> {
    name: &'a str,
    /// `None`: where it runs is not known.
    code: Option<Vec<Code<'a>>>,
}

impl<'a> Program<'a> {
    fn of(program: &'a EmbeddedProgram) -> Self {
        let elf = ElfFile64::<LittleEndian>::parse(&*program.elf).ok();
        let elf = elf.filter(|elf| elf.kind() == ObjectKind::Executable);
        Self {
            name: &program.name,
            code: elf.map(|elf| code_of(&elf)),
        }
    }

    fn part(&self, address: u64) -> Option<&Code<'a>> {
        let mut parts = self.code.iter().flatten();
        parts.find(|part| (part.start..part.end).contains(&address))
    }

    /// Returns true if a call returns to this address.
    fn is_behind_call(&self, address: u64) -> bool {
        const LENGTHS: std::ops::RangeInclusive<u64> = 2..=7;
        let Some(part) = self.part(address) else {
            return false;
        };
        LENGTHS.into_iter().any(|length| {
            let start = (address - part.start / PAGE * PAGE).checked_sub(length);
            let offset = start.and_then(|it| it.checked_sub(part.start % PAGE));
            let offset = offset.and_then(|it| usize::try_from(it).ok());
            let Some(bytes) = offset.and_then(|it| part.bytes.get(it..)) else {
                return false;
            };
            let raw = Decoder::with_ip(64, bytes, address - length, DecoderOptions::NONE).decode();
            let is_call = matches!(
                raw.flow_control(),
                FlowControl::Call | FlowControl::IndirectCall
            );
            is_call && raw.len() as u64 == length
        })
    }
}

fn code_of<'a>(elf: &ElfFile64<'a, LittleEndian>) -> Vec<Code<'a>> {
    let segments = elf.segments();
    let executable = segments.filter(|segment| segment.permissions().executable());
    let part = executable.map(|segment| {
        let end = segment.address().saturating_add(segment.size());
        Code {
            start: segment.address(),
            end: end.checked_next_multiple_of(PAGE).unwrap_or(end),
            bytes: segment.data().unwrap_or_default(),
        }
    });
    part.collect()
}

/// What an address is in a chain.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Role {
    Return,
    /// What was interrupted, and words on top of its stack.
    Other,
    /// The sample's own program counter.
    Own,
}

/// Checks all samples of a profile, with the files of its programs.
///
/// # Errors
///
/// [`ContainedError`] if there is nothing that can be checked.
pub fn contained(
    profile: &Profile,
    programs: &[EmbeddedProgram],
) -> Result<Contained, ContainedError> {
    if profile.keeps_chains() {
        return Err(ContainedError::Chains);
    }
    let known = programs.iter().map(|it| (it.number, Program::of(it)));
    let known: BTreeMap<_, _> = known.collect();
    let mut check = Check {
        found: Contained {
            programs: programs.iter().map(|it| it.name.clone()).collect(),
            ..Contained::default()
        },
        programs: known,
        processes: profile
            .end
            .iter()
            .flat_map(RunEnd::processes)
            .copied()
            .collect(),
    };
    for (core, mut samples) in (0..).zip(profile.samples_of_cores()?) {
        while let Some(sample) = samples.next()? {
            check.sample(core, &sample);
        }
    }
    match check.found {
        found if found.with_user_code == 0 => Err(ContainedError::NoUserCode),
        found if found.addresses == 0 && found.unknown > 0 => Err(ContainedError::NoPrograms),
        found => Ok(found),
    }
}

struct Check<'a> {
    found: Contained,
    programs: BTreeMap<u16, Program<'a>>,
    /// Those of programs that have a number of their own.
    processes: Vec<ProcessEnd>,
}

impl Check<'_> {
    fn sample(&mut self, core: u32, sample: &Sample<'_>) {
        self.found.samples += 1;
        let place = (core, sample.sequence);
        let mut program = None;
        if sample.state.has(State::RING) {
            // One that faults at an address of the kernel's is known by its callers.
            let own = UserAddress::of(sample.pc).map(|user| user.program);
            let callers = sample.chain().filter_map(|entry| match entry {
                ChainEntry::Return(address) => Some(UserAddress::of(address)?.program),
                _ => None,
            });
            let number = own.into_iter().chain(callers).next().unwrap_or(0);
            program = Some(number);
            self.address(place, number, sample.pc, Role::Own);
            self.top(place, number, sample.stack_top);
        }
        for entry in sample.chain() {
            match (entry, program) {
                (ChainEntry::Border { pc, stack_top, .. }, _) => {
                    let number = UserAddress::of(pc).map_or(0, |user| user.program);
                    program = Some(number);
                    // It may have faulted where it had jumped to.
                    self.address(place, number, pc, Role::Own);
                    self.top(place, number, stack_top);
                }
                (ChainEntry::Return(address), Some(number)) => {
                    self.address(place, number, address, Role::Return);
                }
                (ChainEntry::Crossing { pc, .. }, Some(number)) => {
                    self.address(place, number, pc, Role::Other);
                }
                _ => {}
            }
        }
        self.found.with_user_code += u64::from(program.is_some());
    }

    /// The words on top of a stack: 0 is none.
    fn top(&mut self, place: (u32, u32), program: u16, words: [u64; 2]) {
        for word in words.into_iter().filter(|&word| word != 0) {
            self.address(place, program, CodeAddress(word), Role::Other);
        }
    }

    /// Checks an address that is of a program.
    fn address(
        &mut self,
        (core, sequence): (u32, u32),
        number: u16,
        address: CodeAddress,
        role: Role,
    ) {
        let process = self.processes.iter().find(|it| it.number == number);
        let of_program = process.map_or(number, |process| process.program);
        let program = self.programs.get(&of_program);
        let Some(program) = program.filter(|program| program.code.is_some()) else {
            self.found.unknown += 1;
            return;
        };
        self.found.addresses += 1;
        let user = UserAddress::of(address).filter(|user| user.program == number);
        let is_inside = user.is_some_and(|user| program.part(user.address).is_some());
        match (role, user) {
            _ if !is_inside && role == Role::Own => self.found.program_counters_outside += 1,
            _ if !is_inside => {
                self.found.outside += 1;
                if self.found.examples.len() < EXAMPLES {
                    self.found.examples.push(Outside {
                        core,
                        sequence,
                        address: format!("{:#x}", address.0),
                        program: program.name.to_owned(),
                    });
                }
            }
            (Role::Return, Some(user)) => {
                let is_call = program.is_behind_call(user.address);
                self.found.behind_no_call += u64::from(!is_call);
            }
            _ => {}
        }
    }
}

impl Contained {
    /// In words.
    #[must_use]
    pub fn text(&self) -> String {
        let mut out = String::new();
        // Writing to a string does not fail.
        let _ = self.write(&mut out);
        out
    }

    fn write(&self, out: &mut String) -> std::fmt::Result {
        let names: Vec<_> = self.programs.iter().map(|name| one_line(name)).collect();
        writeln!(out, "programs    {}", names.join(", "))?;
        let samples = counted(self.samples, "sample");
        let with = grouped(self.with_user_code);
        writeln!(out, "checked     {samples}, {with} with code of programs")?;
        for (count, what) in [
            (Some(self.addresses), "in their chains"),
            (Some(self.outside), "outside what the program may execute"),
            (some(self.behind_no_call), "that no call returns to"),
            (
                some(self.program_counters_outside),
                "outside that the program has jumped to",
            ),
            (some(self.unknown), "of programs that are not known"),
        ] {
            if let Some(count) = count {
                let noun = if count == 1 { "address" } else { "addresses" };
                writeln!(out, "{:>12}  {noun} {what}", grouped(count))?;
            }
        }
        for example in &self.examples {
            let Outside {
                core,
                sequence,
                address,
                program,
            } = example;
            let program = one_line(program);
            writeln!(
                out,
                "  core {core}, sample {sequence}: {address} of {program}"
            )?;
        }
        Ok(())
    }
}

fn some(count: u64) -> Option<u64> {
    (count > 0).then_some(count)
}
